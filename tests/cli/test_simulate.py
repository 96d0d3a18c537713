import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.metrics import neural_collapse
from ntkflow.runs import files, rundir

SMALL = ["-C", "3", "-m", "4", "-n", "5", "--no-figures"]


def run(*arguments, expect=0):
    """The command in this process; returns nothing, output goes to capsys."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    assert (caught.value.code or 0) == expect


@pytest.fixture
def done(tmp_path):
    directory = tmp_path / "run"
    run("simulate", *SMALL, "--out", directory, "--quiet")
    return directory


def test_the_default_run_needs_no_arguments_and_collapses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("simulate")
    text = capsys.readouterr().out
    for word in (
        "C = 10 classes, m = 12 per class, n = 64 features",
        "mu_single = 0.5",
        "loss",
        "drift of E",
        "Stopped at",
    ):
        assert word in text
    directory = tmp_path / "runs" / "simulate-001"
    assert {path.name for path in directory.iterdir()} == {
        "config.toml", "summary.json", "trajectory.npz", "states.npz", "final_state.npz", "figures",
    }  # fmt: skip
    assert (directory / "figures" / "run.png").read_bytes()[:4] == b"\x89PNG"
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["nc"]["NC1"]["final"] < 1e-8
    assert summary["invariant"]["drift"] <= 1e-8
    assert all(line["digits"] >= 5 for line in summary["agreement"])
    quantities = {line["quantity"] for line in summary["agreement"]}
    assert quantities == {
        "W W^T", "H1^T H1", "ceiling of tr S", "decay rate of NC1", "decay rate of the loss", "invariant", "loss",
        "spread within classes", "V of biases and mean",
    }  # fmt: skip


def test_the_summary_has_the_keys_that_others_build_on(done):
    summary = json.loads((done / "summary.json").read_text())
    assert set(summary) == {
        "version", "config", "sizes", "kernel", "eigenvalues", "alpha", "dimensionless", "invariant", "loss", "nc",
        "predicted", "optimiser", "agreement", "waiting", "warnings", "stop_reason", "t_end", "solver",
    }  # fmt: skip
    assert set(summary["nc"]) == set(neural_collapse.NAMES)
    assert set(summary["eigenvalues"]) == {"mu_single", "mu_class", "mu_global"}
    assert {"engine", "steps", "evaluations", "rtol", "seconds"} <= set(summary["solver"])


def test_a_replay_gives_the_same_numbers(done, tmp_path):
    again = tmp_path / "again"
    run("simulate", "--config", done / "config.toml", "--out", again, "--no-figures", "--quiet")
    first, second = rundir.load_run(done), rundir.load_run(again)
    np.testing.assert_array_equal(first.t, second.t)
    for name in first.series:
        np.testing.assert_array_equal(first.series[name], second.series[name])
    assert (done / "config.toml").read_text() == (again / "config.toml").read_text()


def test_a_measured_state_is_replayed_from_the_run_directory_alone(tmp_path):
    sizes, kernel = nf.Sizes(3, 4, 5), nf.BlockKernel(2, 1, 0.5)
    source = tmp_path / "state.npz"
    files.write_state(source, nf.initial.make("relu", sizes, kernel), sizes.labels, kernel)
    first, second = tmp_path / "a", tmp_path / "b"
    run("simulate", "--state", source, "--t-end", 2, "--out", first, "--no-figures", "--quiet")
    source.unlink()
    run("simulate", "--config", first / "config.toml", "--out", second, "--no-figures", "--quiet")
    np.testing.assert_array_equal(
        rundir.load_run(first).series["loss"], rundir.load_run(second).series["loss"]
    )
    assert rundir.load_run(first).summary.kernel["kappa_d"] == 2


def test_json_prints_the_summary_alone(tmp_path, capsys):
    run("simulate", *SMALL, "--out", tmp_path / "run", "--json")
    assert json.loads(capsys.readouterr().out)["sizes"]["C"] == 3


def test_quiet_prints_nothing(tmp_path, capsys):
    run("simulate", *SMALL, "--out", tmp_path / "run", "--quiet")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_show_and_plot_work_from_the_files(done, capsys):
    run("show", done)
    assert "C = 3 classes" in capsys.readouterr().out
    run("show", done, "--json")
    assert json.loads(capsys.readouterr().out)["sizes"]["m"] == 4
    run("plot", done, "-f", "pdf", "-f", "svg", "--quiet")
    assert (done / "figures" / "run.pdf").read_bytes()[:4] == b"%PDF"
    assert b"<svg" in (done / "figures" / "run.svg").read_bytes()


def test_a_trajectory_is_an_xarray_dataset_with_units(done):
    data = rundir.load_run(done).to_xarray()
    assert data["NC1"].dims == ("t",)
    assert "flow time" in data["t"].attrs["units"]


def bad(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    return {
        "kernel order": (["--kappa-d", "0.2"], "breaks kappa_d >= kappa_c"),
        "negative kappa": (["--kappa-n", "-1"], "breaks mu_global > 0"),
        "singular": (["--kappa-d", "0.5"], "mu_single = 0"),
        "one class": (["-C", "1"], "C = 1: must be at least 2"),
        "nan": (["--kappa-d", "nan"], "must be finite"),
        "missing state": (["--state", tmp_path / "no.npz"], "does not exist"),
        "bad state": (["--state", tmp_path / "text.npz"], "cannot be read as .npz"),
        "existing": (["--out", tmp_path], "exists already"),
        "not a run": (["--out", tmp_path, "--overwrite"], "is not a run directory"),
        "init": (["--init", "zero"], "must be one of gaussian"),
        "engine": (["--engine", "euler"], "must be one of auto"),
        "state and seed": (["--state", "a.npz", "--seed", "1"], "has no meaning beside --state"),
        "no config": (["--config", tmp_path / "no.toml"], "cannot be read"),
        "below a file": (["--out", tmp_path / "text.npz" / "run"], "cannot be written"),
    }


CASES = (
    "kernel order", "negative kappa", "singular", "one class", "nan", "missing state", "bad state", "existing",
    "not a run", "init", "engine", "state and seed", "no config", "below a file",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(case, tmp_path, capsys):
    arguments, message = bad(tmp_path)[case]
    out = [] if "--out" in arguments else ["--out", tmp_path / "run"]
    before = sorted(tmp_path.rglob("*"))
    run("simulate", "--no-figures", *out, *arguments, expect=2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("ntkflow: error: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["show", "plot"])
def test_commands_on_runs_refuse_what_is_no_run(command, tmp_path, capsys):
    run(command, tmp_path, expect=2)
    assert "is not a run directory" in capsys.readouterr().err


def test_unknown_options_and_commands_are_exit_code_2(capsys):
    run("simulate", "--nonsense", expect=2)
    assert "--nonsense" in capsys.readouterr().err
    run("nonsense", expect=2)
    assert "nonsense" in capsys.readouterr().err


def test_help_lists_every_command_and_the_version_is_ours(capsys):
    run("--help")
    text = capsys.readouterr().out
    for name in ("simulate", "plot", "show", "prove", "validate"):
        assert re.search(rf"\b{name}\b", text)
    run("--version")
    assert capsys.readouterr().out.strip() == nf.__version__


def test_help_imports_nothing_slow():
    script = "import sys\nfrom ntkflow.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    script += "print([m for m in ('numpy', 'scipy', 'jax', 'matplotlib', 'sympy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_killed_run_leaves_nothing_that_looks_like_one_and_can_be_run_again(tmp_path):
    command = [sys.executable, "-m", "ntkflow", "simulate", "--init", "gaussian", "-n", "200", "-m", "60"]
    process = subprocess.Popen(
        [*command, "--engine", "DOP853", "--out", tmp_path / "run"], stdout=subprocess.DEVNULL
    )
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run("show", tmp_path / "run", expect=2)
    run("simulate", *SMALL, "--out", tmp_path / "run", "--quiet")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_ctrl_c_ends_the_run_in_one_line(tmp_path):
    """It reaches the whole group of a terminal, and so would reach the process that draws."""
    words = [
        "simulate",
        "-m",
        "2000",
        "-n",
        "200",
        "--init",
        "gaussian",
        "--engine",
        "DOP853",
        "--out",
        tmp_path / "run",
    ]
    # Shells let background jobs, such as these tests, inherit that Ctrl-C is ignored.
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "runpy.run_module('ntkflow', run_name='__main__', alter_sys=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert error == "ntkflow: error: interrupted; nothing half-written was kept\n"
    # Python ends by the signal itself where that struck inside an import; for a shell both are 130.
    assert process.returncode in (130, -signal.SIGINT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulat"], "Did you mean 'simulate'? See ntkflow --help"),
        (["simulate", "-n", "x"], "integer. See ntkflow simulate --help"),
        (["validate", "train", "--presett", "tiny"], "). See ntkflow validate train --help"),
    ],
)
def test_what_is_mistyped_points_to_the_help_of_its_command(words, message, capsys):
    run(*words, expect=2)
    error = capsys.readouterr().err
    assert error.endswith(f"{message}\n")
    assert error.count("\n") == 1


def test_a_group_called_alone_shows_its_help(capsys):
    run("validate")
    shown = capsys.readouterr()
    assert "reproduce" in shown.out
    assert shown.err == ""


def test_the_record_names_versions_and_host(done):
    record = tomllib.loads((done / "config.toml").read_text())["record"]
    assert record["versions"]["ntkflow"] == nf.__version__
    assert record["host"]["cores"] >= 1


def test_a_closed_output_does_not_cost_the_run(tmp_path):
    command = f"{sys.executable} -m ntkflow simulate {' '.join(SMALL)} --out {tmp_path / 'run'} | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert rundir.load_run(tmp_path / "run").summary.sizes.C == 3


@pytest.mark.parametrize("options", [["-m", "1"], ["--scale", "1e-9"]])
def test_a_target_met_at_the_start_does_not_stop_the_run(options, tmp_path):
    run("simulate", "-C", "3", "-n", "4", *options, "--out", tmp_path / "run", "--quiet")
    summary = rundir.load_run(tmp_path / "run").summary
    assert summary.stop_reason.key != "nc1"
    assert summary.loss.final < 1e-6
    assert (tmp_path / "run" / "figures" / "run.png").exists()


def test_a_huge_bias_does_not_hide_that_the_features_move(tmp_path):
    run("simulate", *SMALL, "--init", "equal-bias", "--beta", "1e6", "--out", tmp_path / "run", "--quiet")
    assert rundir.load_run(tmp_path / "run").summary.nc["NC1"].final < 1e-7


@pytest.mark.parametrize(
    "arguments",
    [
        ["-C", "abc"], ["--scale", "1e200"], ["--kappa-d", "1e300"], ["--t-end", "1e-320"], ["--bogus"],
        ["-C", "1000000", "-m", "1000", "-n", "100000"],
    ],
)  # fmt: skip
def test_absurd_numbers_are_one_line_too(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "--no-figures", "--out", str(tmp_path / "run"), *arguments])
    assert caught.value.code in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("ntkflow: error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"sizes": 3}', "no json"])
def test_damaged_summaries_are_refused(content, done, capsys):
    (done / "summary.json").write_text(content)
    for command in ("show", "plot"):
        run(command, done, expect=2)
        assert capsys.readouterr().err.count("\n") == 1


def test_a_finished_run_started_again_is_complete_and_another_one_is_told_apart(tmp_path, capsys):
    words = ("simulate", *SMALL, "--out", tmp_path / "run")
    run(*words)
    first = capsys.readouterr().out
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    run(*words)
    again = capsys.readouterr().out
    assert again.splitlines()[:-1] == first.splitlines()[:-1]
    assert again.endswith(f"{tmp_path / 'run'} is already complete; --overwrite runs it again\n")
    run(*words, "--json")
    assert json.loads(capsys.readouterr().out)["sizes"]["C"] == 3
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    run(*words, "--seed", 4, expect=2)
    assert "exists already, and was made with another seed (0, not 4); choose" in capsys.readouterr().err
    run(*words, "--ensemble", 3, expect=2)
    assert "another ensemble (1, not 3)" in capsys.readouterr().err
    run(*words, "--seed", 4, "--overwrite", "--quiet")


def test_files_count_by_their_content_when_a_run_is_started_again(done, tmp_path, capsys):
    out = tmp_path / "next"
    run("simulate", "--state", done / "final_state.npz", "--out", out, "--no-figures", "--quiet")
    (done / "final_state.npz").rename(tmp_path / "moved.npz")
    words = ("simulate", "--out", out, "--no-figures", "--state")
    run(*words, tmp_path / "moved.npz", "--quiet")
    file = files.read_state(tmp_path / "moved.npz")
    file.state.b[0] += 1e-3
    files.write_state(tmp_path / "moved.npz", file.state, file.sizes.labels, file.kernel)
    run(*words, tmp_path / "moved.npz", expect=2)
    assert "was made with another b in the state file" in capsys.readouterr().err
    run("simulate", *SMALL, "--out", out, expect=2)
    assert "another start (of a state file, not balanced-contrast)" in capsys.readouterr().err


def test_an_ensemble_started_again_is_complete(tmp_path, capsys):
    words = ("simulate", *SMALL, "--t-end", 1, "--ensemble", 2, "--out", tmp_path / "run")
    run(*words, "--quiet")
    run(*words)
    assert "is already complete" in capsys.readouterr().out
