"""Every damaged file is one line that names it, with an exit code of 0 to 3, and never a traceback."""

import io
import json
import shutil

import numpy as np
import pytest

import ntkflow as nf
from tests.cli import damage
from tests.cli.damage import check
from tests.commands import exit_code

SIZES = nf.Sizes(3, 2, 4)

# Tables of damaged files through the commands are long; the readers' own, in tests/runs/border, are not.
pytestmark = pytest.mark.slow


def state_arrays():
    state = nf.initial.gaussian(SIZES, np.random.default_rng(0))
    return {"H": state.H, "W": state.W, "b": state.b, "labels": SIZES.labels}


def test_state_files(tmp_path, told):
    path = tmp_path / "state.npz"
    check(
        damage.archives(state_arrays(), "H"),
        lambda content: told(path, content, ("theory", "--state", path, "--json")),
    )


@pytest.mark.parametrize("name", ["W", "b", "labels", "meta", "kappa_d"])
def test_every_array_of_state_files(tmp_path, told, name):
    good = {**state_arrays(), "meta": np.array("{}"), "kappa_d": np.float64(1.0), "kappa_c": np.float64(0.5)}
    good["kappa_n"] = np.float64(0.1)
    path = tmp_path / "state.npz"
    check(
        damage.archives(good, name),
        lambda content: told(path, content, ("theory", "--state", path, "--json")),
    )


@pytest.mark.parametrize(
    ("good", "name"),
    [
        ({"K": nf.BlockKernel(1.0, 0.5, 0.1).matrix(SIZES)}, "K"),
        ({"times": np.array([0.0, 1.0]), "kappa_d": np.ones(2), "kappa_c": np.ones(2) / 2, "kappa_n": np.zeros(2)}, "times"),
    ],
)  # fmt: skip
def test_kernel_files(tmp_path, told, good, name):
    path = tmp_path / "kernel.npz"
    words = ("theory", "-C", 3, "-m", 2, "-n", 4, "--kernel-file", path, "--json")
    check(damage.archives(good, name), lambda content: told(path, content, words))


def test_configurations(tmp_path, told):
    path = tmp_path / "config.toml"
    huge, far = 10**30, "9" * 400
    cases = {
        **damage.TOMLS,
        "too large": f"[sizes]\nclasses = {huge}".encode(),
        "no float": f"[kernel]\nkappa_d = {far}".encode(),
        "seed": f"[initial]\nseed = {huge}".encode(),
        "list": f"[sizes]\nper_class = [{huge}, 3]".encode(),
        "nan": b"[kernel]\nkappa_d = nan",
        "date": b"[sizes]\nclasses = 2020-01-01",
        "path": f'[initial]\nstate = "{"x" * 300}"'.encode(),
        "NUL": b'[initial]\nstate = "a\\u0000b"',
        "table": b"sizes = 3",
    }
    commands = (
        ("theory", "--config", path, "--json"),
        ("sweep", "--config", path, "--out", tmp_path / "sweep", "--quiet"),
        ("validate", "train", "--config", path, "--out", tmp_path / "train", "--quiet"),
    )
    check(cases.items(), lambda content: told(path, content, *commands))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    place = tmp_path_factory.mktemp("simulated")
    words = ("-C", 2, "-m", 2, "-n", 3, "--no-figures", "--quiet")
    assert exit_code("simulate", *words, "--out", place / "run") == 0
    return place


def test_summaries(simulated, told):
    path = simulated / "run" / "summary.json"
    good = path.read_bytes()
    check(
        damage.documents(json.loads(good), 100),
        lambda content: told(path, content, ("show", simulated / "run")),
    )
    path.write_bytes(good)


def test_trajectories(simulated, told):
    path = simulated / "run" / "trajectory.npz"
    good = path.read_bytes()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("t", "NC1", "header"):
        check(damage.archives(arrays, name), lambda content: told(path, content, ("show", simulated / "run")))
    path.write_bytes(good)


READERS = {
    "training.json": (("show",), ("report", "--quiet")),
    "comparison.json": (("show",), ("frontier",), ("report", "--quiet")),
}


@pytest.mark.parametrize("name", READERS)
def test_documents_of_trainings(trained, tmp_path, told, name):
    run = shutil.copytree(trained, tmp_path / "run")
    good = json.loads((run / name).read_text())
    commands = [("validate", words[0], run, *words[1:]) for words in READERS[name][:1]]
    check(damage.documents(good, 40), lambda content: told(run / name, content, *commands))


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_documents_of_trainings(trained, tmp_path, told, name):
    run = shutil.copytree(trained, tmp_path / "run")
    good = json.loads((run / name).read_text())
    commands = [("validate", words[0], run, *words[1:]) for words in READERS[name][1:]]
    check(damage.documents(good, 60, seed=1), lambda content: told(run / name, content, *commands))


@pytest.mark.parametrize("name", ["K", "measured.features.sums.within"])
def test_measurements_of_trainings(trained, tmp_path, told, name):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "measurements" / "0.npz"
    with np.load(path) as file:
        arrays = dict(file)
    check(
        damage.archives(arrays, name),
        lambda content: told(path, content, ("validate", "show", run)),
    )


def test_numbers_of_measurements_of_trainings(trained, tmp_path, told):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "measurements" / "0.npz"
    with np.load(path) as file:
        arrays = dict(file)
    good = json.loads(str(arrays.pop("header")))

    def read(content):
        arrays["header"] = np.array(content.decode(errors="replace"))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        words = (("show",), ("compare", "--rungs", "block", "--quiet"), ("kernels", "--quiet"))
        return told(path, buffer.getvalue(), *(("validate", word, run, *rest) for word, *rest in words))

    check(damage.documents(good, 60), read)


def test_metrics(trained, tmp_path, told):
    run = shutil.copytree(trained, tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    cases = [(what, text + b"\n") for what, text in damage.documents(json.loads(lines[0]), 30)]
    check(cases, lambda content: told(run / "metrics.jsonl", content, ("validate", "show", run)))


@pytest.mark.parametrize("step", [10**9, -1, 2.5, "text", [3, 4]])
def test_a_checkpoint_of_another_training_is_no_end_of_this_one(trained, tmp_path, told, step):
    run = shutil.copytree(trained, tmp_path / "run")
    with np.load(sorted((run / "parameters").iterdir())[0]) as file:
        parameters = {name: file[name] for name in file.files}
    facts = json.loads((run / "training.json").read_text())
    for name in ("result", "step", "message"):
        facts.pop(name)
    (run / "training.json").write_text(json.dumps(facts))
    np.savez(run / "checkpoint.npz", step=np.array(step), **parameters)
    content = (run / "checkpoint.npz").read_bytes()
    words = ("validate", "train", "--config", run / "config.toml", "--out", run, "--quiet")
    assert told(run / "checkpoint.npz", content, words) == []
    # Nothing is recorded as finished.
    assert "result" not in json.loads((run / "training.json").read_text())


def test_parameters_as_text(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    path = sorted((run / "parameters").iterdir())[-1]
    with np.load(path) as file:
        np.savez(path.with_suffix(".new.npz"), **{name: file[name].astype(str) for name in file.files})
    path.with_suffix(".new.npz").replace(path)
    assert exit_code("validate", "kernels", run, "--full", "--quiet") == 2
    assert "must be int32 of shape" in capsys.readouterr().err


def test_features_of_other_tools(tmp_path, told):
    arrays = state_arrays()
    path = tmp_path / "f.npz"
    check(
        damage.archives({"H": arrays["H"].T, "y": arrays["labels"]}, "H"),
        lambda content: told(path, content, ("metrics", path, "--json")),
    )
    # safetensors: bytes of a small one changed, and lengths that it may be cut to.
    H, y = arrays["H"].T.astype("<f8").tobytes(), arrays["labels"].astype("<i8").tobytes()
    entries = {
        "H": {"dtype": "F64", "shape": [SIZES.N, SIZES.n], "data_offsets": [0, len(H)]},
        "y": {"dtype": "I64", "shape": [SIZES.N], "data_offsets": [len(H), len(H) + len(y)]},
    }
    text = json.dumps(entries).encode()
    good = len(text).to_bytes(8, "little") + text + H + y
    cut = [("cut", good[:k]) for k in range(0, len(good), 97)]
    changed = [
        ("changed", good[:k] + bytes([good[k] ^ 1 << k % 8]) + good[k + 1 :])
        for k in range(0, 8 + len(text), 13)
    ]
    place = tmp_path / "f.safetensors"
    check([*cut, *changed], lambda content: told(place, content, ("metrics", place, "--json")))
