import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.problem.kernels import KAPPAS, kernel_files
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare

SIZES = nf.Sizes(3, 2, 4)
KERNEL = nf.BlockKernel(1.0, 0.5, 0.1)


@pytest.fixture
def state():
    return nf.initial.gaussian(SIZES, np.random.default_rng(0))


def test_a_state_file_comes_back_whole(tmp_path, state):
    path = tmp_path / "state.npz"
    files.write_state(path, state, SIZES.labels, KERNEL, {"network": "mlp", "step": 7})
    back = files.read_state(path)
    np.testing.assert_array_equal(back.state.H, state.H)
    assert (back.sizes, back.kernel, back.meta) == (SIZES, KERNEL, {"network": "mlp", "step": 7})


def test_unsorted_float32_states_are_sorted_and_widened(tmp_path, state):
    path = tmp_path / "state.npz"
    shuffle = np.array([3, 0, 5, 1, 4, 2])
    K = KERNEL.matrix(SIZES) + np.diag(np.arange(6.0))
    np.savez(
        path, H=state.H[:, shuffle].astype(np.float32), W=state.W, b=state.b, labels=SIZES.labels[shuffle],
        K=K[np.ix_(shuffle, shuffle)],
    )  # fmt: skip
    back = files.read_state(path)
    assert back.state.H.dtype == np.float64
    np.testing.assert_allclose(back.state.H[:, back.sizes.labels == 2].sum(), state.H[:, 4:].sum(), rtol=1e-6)
    inverse = shuffle[back.order]
    np.testing.assert_array_equal(back.arrays["K"], K[np.ix_(inverse, inverse)])


def good(state):
    return {"H": state.H, "W": state.W, "b": state.b, "labels": SIZES.labels}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": None}, "lacks the array 'W'"),
        ({"H": np.zeros((4, 5))}, "labels = array of shape"),
        ({"H": np.full((4, 6), np.inf)}, "24 NaN or infinite"),
        ({"labels": np.array([0, 0, 1, 1, 2, 3])}, r"labels\[5\] = 3"),
        ({"labels": np.array([0, 0, 1, 1, 0, 0])}, "no sample of class 2"),
        ({"kappa_d": np.float64(1.0)}, "has kappa_d but not kappa_c"),
        (
            {"kappa_d": np.float64(1), "kappa_c": np.float64(2), "kappa_n": np.float64(0)},
            "breaks kappa_d >= kappa_c",
        ),
        ({"K": np.eye(5)}, "K = array of shape"),
        ({"H": np.zeros(6)}, "must have 2 axes"),
    ],
)
def test_bad_state_files_are_refused_by_name(tmp_path, state, change, message):
    content = {name: value for name, value in (good(state) | change).items() if value is not None}
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(nf.InputError, match=message):
        files.read_state(tmp_path / "bad.npz")


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "truncated", "corrupted", "pickle"])
def test_unreadable_files_are_refused_in_one_line(tmp_path, state, kind):
    path = tmp_path / "state.npz"
    files.write_state(path, state, SIZES.labels)
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "pickle":
        np.savez(path, H=np.array([{}], dtype=object))
    else:
        middle = len(data) // 2
        path.write_bytes(
            {
                "text": b"not an archive",
                "empty": b"",
                "truncated": data[:middle],
                "corrupted": data[: middle - 40] + bytes(80) + data[middle + 40 :],
            }[kind]
        )
    with pytest.raises(nf.InputError) as caught:
        files.read_state(path)
    assert "\n" not in str(caught.value)


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"), files.atomic(path) as handle:
        handle.write(b"half of the new")
        raise OSError("disk full")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_half_run(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(nf.InputError, match="could not be written"), files.staged_directory(run) as staged:
        (staged / "config.toml").write_text("")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_like_a_run(tmp_path):
    script = (
        "import sys, time, pathlib\nfrom ntkflow.runs import files as store\n"
        "with store.staged_directory(pathlib.Path(sys.argv[1])) as staged:\n"
        "    (staged / 'summary.json').write_text('{}')\n    print('staged', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "run"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"staged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.05)
    assert not (tmp_path / "run").exists()
    with files.staged_directory(tmp_path / "run") as staged:
        (staged / "summary.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_existing_directories_are_refused_and_replaced_only_when_they_are_runs(tmp_path):
    run = tmp_path / "run"
    with files.staged_directory(run) as staged:
        (staged / "config.toml").write_text("a = 1")
    with pytest.raises(nf.InputError, match="exists already"), files.staged_directory(run):
        pass
    with files.staged_directory(run, overwrite=True) as staged:
        (staged / "config.toml").write_text("a = 2")
    assert (run / "config.toml").read_text() == "a = 2"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("")
    with (
        pytest.raises(nf.InputError, match="is not a run directory"),
        files.staged_directory(precious, overwrite=True),
    ):
        pass
    assert (precious / "thesis.tex").exists()


def test_a_failed_replacement_keeps_the_old_run(tmp_path):
    run = tmp_path / "run"
    with files.staged_directory(run) as staged:
        (staged / "config.toml").write_text("old")
    with pytest.raises(ValueError, match="bad"), files.staged_directory(run, overwrite=True):
        raise ValueError("bad")
    assert (run / "config.toml").read_text() == "old"


def test_a_run_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with files.staged_directory(run) as staged:
        (staged / "config.toml").write_text("old")
    honest = pathlib.Path.rename

    def refuse(self, target):
        if self.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return honest(self, target)

    with (
        pytest.raises(nf.InputError, match="could not be written"),
        files.staged_directory(run, overwrite=True) as staged,
    ):
        (staged / "config.toml").write_text("new")
        monkeypatch.setattr(pathlib.Path, "rename", refuse)
    assert (run / "config.toml").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_json_has_no_nan_and_keeps_numpy_numbers():
    text = files.dump_json({"a": np.float64(1.5), "b": float("nan"), "c": np.arange(2), "d": np.bool_(True)})
    assert json.loads(text) == {"a": 1.5, "b": None, "c": [0, 1], "d": True}


def test_toml_leaves_out_what_is_none(tmp_path):
    files.write_toml(tmp_path / "a.toml", {"run": {"t_end": None, "rtol": 1e-8}})
    assert files.read_toml(tmp_path / "a.toml") == {"run": {"rtol": 1e-8}}


@pytest.mark.parametrize("content", [None, b"a = = 1", b"\xff\xfe"])
def test_bad_toml_is_refused(tmp_path, content):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(nf.InputError, match="config"):
        files.read_toml(path)


def test_two_processes_never_take_the_same_place(tmp_path):
    script = (
        "import sys, time, pathlib\nfrom ntkflow.runs.atomic import numbered_directory\n"
        "with numbered_directory(pathlib.Path(sys.argv[1]), 'run') as (path, staged):\n"
        "    (staged / 'config.toml').write_text('')\n    time.sleep(1)\nprint(path.name)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "runs")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = sorted(process.communicate()[0].strip() for process in processes)
    assert taken == ["run-001", "run-002", "run-003"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == taken


def test_a_run_interrupted_while_it_was_replaced_comes_back(tmp_path):
    old = tmp_path / ".run.89abcdef-0123abcd.replaced"
    old.mkdir()
    (old / "config.toml").write_text("old")
    with pytest.raises(nf.InputError, match="exists already"), files.staged_directory(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "config.toml").read_text() == "old"


def test_overwriting_spares_foreign_files_links_and_other_kinds_of_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("")
    (run / "thesis.tex").write_text("years of work")
    owned = frozenset({"config.toml"})
    with pytest.raises(nf.InputError, match=r"holds .thesis\.tex."), files.staged_directory(run, True, owned):
        pass
    assert (run / "thesis.tex").exists()
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(nf.InputError, match="is a symbolic link"), files.staged_directory(link, True, owned):
        pass


def test_the_current_directory_can_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("old")
    monkeypatch.chdir(tmp_path / "run")
    with files.staged_directory(pathlib.Path(), overwrite=True) as staged:
        (staged / "config.toml").write_text("new")
    assert (tmp_path / "run" / "config.toml").read_text() == "new"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": np.zeros((4, 3))}, "transpose one of them"),
        ({"meta": "{not json"}, "has a meta that is not JSON"),
        ({"kappa_d": np.array("one"), "kappa_c": 0.5, "kappa_n": 0.1}, "not text"),
    ],
)
def test_content_of_the_wrong_kind_is_named(tmp_path, state, change, message):
    np.savez(tmp_path / "bad.npz", **(good(state) | change))
    with pytest.raises(nf.InputError, match=message):
        files.read_state(tmp_path / "bad.npz")


def test_python_objects_are_never_loaded_and_nobody_is_told_to(tmp_path):
    np.savez(tmp_path / "bad.npz", H=np.array([{}], dtype=object))
    with pytest.raises(nf.InputError, match="never loaded") as caught:
        files.read_state(tmp_path / "bad.npz")
    assert "allow_pickle" not in str(caught.value)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(nf.InputError, match="cannot be read"):
        files.read_state(tmp_path / "array.npz")


@pytest.mark.parametrize("content", ["text", "one array", "nothing"])
def test_what_is_no_archive_is_called_that(content, tmp_path):
    path = tmp_path / "file.npz"
    if content == "one array":
        with path.open("wb") as handle:
            np.save(handle, np.ones(3))
    else:
        path.write_text("no archive" if content == "text" else "")
    with pytest.raises(nf.InputError, match=r"it is no \.npz archive"):
        files.read_arrays(path)


@pytest.fixture
def read(monkeypatch):
    """Names of the arrays that are read from files."""
    names, archive = [], files.archive

    def told(*args):
        arrays, all_names = archive(*args)
        names.extend(arrays)
        return arrays, all_names

    monkeypatch.setattr(files, "archive", told)
    return names


@pytest.mark.parametrize(
    ("rung", "needed"),
    [
        (None, {"kappa_d", "kappa_c", "kappa_n", "K", "Theta"}),
        ("block", {"kappa_d", "kappa_c", "kappa_n"}),
        ("sample", {"K"}),
        ("kronecker", {"K", "kappa_d", "kappa_c", "kappa_n"}),
        ("matrix-block", {"kappa_d", "kappa_c", "kappa_n", "K", "Theta"}),
    ],
)
def test_of_a_kernel_file_only_the_arrays_of_the_rung_are_read(tmp_path, read, rung, needed):
    """Where none of the rung's is there the others are, to say what there is instead."""
    kappas = dict(zip(KAPPAS, np.array([1.0, 0.5, 0.1]), strict=True))
    large = {"K": np.eye(6), "Theta": np.zeros((2, 6, 2, 6)), "chunks": np.zeros(1000), "H": np.zeros((2, 6))}
    np.savez(tmp_path / "kernel.npz", **kappas, **large)
    with pytest.warns(kernel_files.UnusedArraysWarning, match="chunks is no array of a kernel"):
        found = files.read_kernel(tmp_path / "kernel.npz", rung)
    assert set(found) == set(read) == needed


def test_a_file_without_a_kernel_says_what_it_holds_and_nothing_of_it_is_read(tmp_path, read):
    np.savez(tmp_path / "state.npz", H=np.zeros(3), W=np.zeros(3))
    with pytest.raises(InputError, match="it holds H, W"):
        files.read_kernel(tmp_path / "state.npz")
    assert read == []


def test_a_state_is_read_without_its_kernel_where_that_is_not_wanted(tmp_path, state, read):
    files.write_state(tmp_path / "state.npz", state, SIZES.labels, KERNEL, K=KERNEL.matrix(SIZES))
    found = files.read_state(tmp_path / "state.npz", kernel=False)
    assert (found.kernel, found.arrays) == (None, {})
    np.testing.assert_array_equal(found.state.H, state.H)
    assert set(read) == {"H", "W", "b", "labels"}
    # A kernel file beside the state takes the place of the state's own kernel.
    np.savez(tmp_path / "kernel.npz", K=KERNEL.matrix(SIZES))
    read.clear()
    given = SimulateConfig(state=tmp_path / "state.npz", kernel_file=tmp_path / "kernel.npz")
    assert prepare(given).problem.kernel.rung == "sample"
    assert read.count("K") == 1
    assert "kappa_d" not in read
