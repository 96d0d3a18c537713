"""Output that goes nowhere, Ctrl-C that is not heard, figures that fail: one line, and what was computed stays."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ntkflow.cli import ends
from ntkflow.cli.printed import output
from ntkflow.errors import StoppedError
from ntkflow.runs import rundir
from ntkflow.runs.pictures import drawing
from tests.commands import exit_code

SMALL = "simulate -C 2 -m 2 -n 3 --out run"


def shell(command, folder, **changes):
    """A command of the shell, `ntkflow` being ours."""
    line = f'ntkflow() {{ "{sys.executable}" -P -m ntkflow "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **changes},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 1, "ntkflow: error: output: No space left on device\n"),
        (">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_closed_and_full_outputs_cost_no_run_and_no_traceback(tmp_path, redirection, code, message):
    done = shell(f"ntkflow {SMALL} --no-figures {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (code, message)
    run = rundir.load_run(tmp_path / "run")
    assert run.summary.sizes.C == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_figure_never_costs_a_run(tmp_path):
    """The broken import is one that only the drawing process has, a name in letters that the terminal lacks another."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError('broken\\nin two lines')")
    terminal = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    path = (
        f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}" if "PYTHONPATH" in os.environ else str(tmp_path)
    )
    done = shell(f"ntkflow {SMALL} --quiet", tmp_path, PYTHONPATH=path)
    line = "ntkflow: warning: no figure (broken in two lines); `ntkflow plot run` draws it\n"
    assert (done.returncode, done.stderr) == (0, line)
    assert rundir.load_run(tmp_path / "run").summary.sizes.C == 2
    (tmp_path / "κ").mkdir()
    done = shell(f"cd κ; ntkflow {SMALL}", tmp_path, **terminal)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "κ" / "run" / "figures" / "run.png").is_file()


@pytest.mark.parametrize("death", ["killed at once", "killed while it draws", "never born"])
def test_a_drawing_process_that_dies_is_a_warning(tmp_path, monkeypatch, capsys, death):
    code = "import os, sys; sys.stdin.read(); os.kill(os.getpid(), 9)"
    command = {"killed at once": "import os; os.kill(os.getpid(), 9)", "killed while it draws": code}
    words = [sys.executable, "-c", command.get(death, "")] if death in command else ["/nowhere/python"]
    monkeypatch.setattr(drawing, "python_command", lambda code: words)
    assert exit_code("simulate", "-C", 2, "-m", 2, "-n", 3, "--out", tmp_path / "run", "--quiet") == 0
    error = capsys.readouterr().err
    assert error.startswith("ntkflow: warning: no figure (")
    assert error.count("\n") == 1
    assert rundir.load_run(tmp_path / "run").summary.sizes.C == 2


def test_figures_of_ensembles_and_sweeps_cost_nothing_either(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ntkflow.runs.pictures.figures.save", lambda *_: 1 / 0)
    # Those that are drawn while the cells end, too.
    monkeypatch.setattr("ntkflow.sweep.runner.BETWEEN_LOOKS", 0.0)
    small = ("-C", 2, "-m", 2, "-n", 3, "--t-end", 0.1)
    assert exit_code("simulate", *small, "--ensemble", 2, "--out", "run", "--quiet") == 0
    assert "warning: no figure (division by zero); `ntkflow plot run` draws it" in capsys.readouterr().err
    assert (tmp_path / "run" / "ensemble.npz").is_file()
    sets = [f"--set={name}" for name in ("classes=2", "per_class=2", "features=3", "t_end=0.1")]
    assert exit_code("sweep", *sets, "--over", "scale=1,2", "--workers", 1, "--out", "s", "--quiet") == 0
    assert "no figure (division by zero); the same command again draws it" in capsys.readouterr().err
    assert (tmp_path / "s" / "table.csv").is_file()


def test_ctrl_c_while_a_figure_is_drawn_says_that_the_rest_is_kept():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="the rest is kept, look again"):
        output.attempted(interrupt, "look again")


DEAF = """
import sys, time
from ntkflow.cli import ends, main
ends.GRACE = 0.2
def deaf():
    said = False
    while True:
        try:
            if not said:
                said = True
                print("deaf", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
main.COMMANDS["show"] = ("__main__:deaf", "")
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
main.main(["show"])
"""


def test_ctrl_c_that_the_command_does_not_hear_ends_it_all_the_same():
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, f"ntkflow: error: {ends.AT_ONCE}\n")


def test_ctrl_c_that_is_heard_is_not_hurried(monkeypatch):
    monkeypatch.setattr(ends, "GRACE", 0.0)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ends.leaving_in_time():
            pass
        with pytest.raises(KeyboardInterrupt), ends.leaving_in_time():
            monkeypatch.setattr(ends, "GRACE", 60.0)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["kernels", "compare", "train", "run", "sweep", "reproduce", "calibrate"])
def test_commands_that_go_on_say_so_wherever_ctrl_c_strikes(command):
    """Typer keeps the function of each command; those that go on are wrapped."""
    from ntkflow_validation.cli.main import app

    (found,) = (info.callback for info in app.registered_commands if info.callback.__name__ == command)
    assert found.__wrapped__ is not None

    @ends.resumable
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="the same command again goes on from here"):
        interrupted()


LOST = """
import gc, signal, sys, time
from ntkflow.cli import main
class Finalised:
    def __del__(self):
        print("finalising", flush=True)
        time.sleep(60)
def show():
    Finalised()
    time.sleep(60)
main.COMMANDS["show"] = ("__main__:show", "")
signal.signal(signal.SIGINT, signal.default_int_handler)
main.main(["show"])
"""


def test_ctrl_c_that_strikes_in_a_finaliser_is_not_lost():
    process = subprocess.Popen(
        [sys.executable, "-c", LOST], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "finalising\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, f"ntkflow: error: {ends.NOTHING_KEPT}\n")
