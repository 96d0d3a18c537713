"""What lies in the folder where a command is started is never imported, not even by the processes it starts."""

import os
import signal
import subprocess
import sys

import pytest

TRAPS = (
    "numpy",
    "random",
    "select",
    "signal",
    "socket",
    "struct",
    "multiprocessing",
    "matplotlib",
    "ntkflow",
)
POOL = """
import os, sys
from ntkflow.runs.processes.executors import local_processes
from ntkflow.runs.processes.isolated import IsolatedProcesses
if __name__ == "__main__":
    for make in (local_processes, IsolatedProcesses):
        with make(1) as pool:
            print(pool.submit(os.getenv, "PYTHONSAFEPATH").result())
    print(os.getenv("PYTHONSAFEPATH"))
"""


@pytest.fixture
def trapped(tmp_path):
    """A folder full of modules that say so when they are imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\n")
    return folder


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {**kept, **changes}


@pytest.mark.parametrize("safe", ["-P", "-s"])
def test_simulate_and_its_drawing_process_import_nothing_from_there(trapped, safe):
    if safe == "-s":
        # `python -m` itself looks there for what it is told to run.
        (trapped / "ntkflow.py").unlink()
    command = [
        sys.executable,
        safe,
        "-m",
        "ntkflow",
        "simulate",
        "-C",
        "2",
        "-m",
        "2",
        "-n",
        "3",
        "--out",
        "run",
    ]
    done = subprocess.run(
        command, cwd=trapped, env=environment(), capture_output=True, text=True, check=False
    )
    assert not (trapped.parent / "sprung").exists()
    assert (done.returncode, done.stderr) == (0, "")
    assert (trapped / "run" / "figures" / "run.png").is_file()


def test_workers_import_nothing_from_there(trapped):
    (trapped.parent / "pool.py").write_text(POOL)
    done = subprocess.run(
        [sys.executable, trapped.parent / "pool.py"], cwd=trapped, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert not (trapped.parent / "sprung").exists()
    assert (done.stderr, done.stdout.split()) == ("", ["1", "1", "None"])


STARTING = """
import os, signal, time
if __name__ == "__main__":
    # Shells let background jobs, such as these tests, inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ntkflow.runs.processes.executors import local_processes
    try:
        with local_processes(2) as pool:
            pool.submit(time.sleep, 60)
            pool.submit(time.sleep, 60)
            time.sleep(60)
    except KeyboardInterrupt:
        raise SystemExit(130)
else:
    os.write(1, b"starting\\n")  # in one piece
    time.sleep(1)  # a worker reads this script before it can answer
"""


@pytest.mark.parametrize("group", [True, False], ids=["terminal", "parent alone"])
def test_ctrl_c_while_workers_start_is_answered_in_silence(tmp_path, group):
    (tmp_path / "script.py").write_text(STARTING)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "starting\n"
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


STRUCK = """
import os, signal, time
from pathlib import Path
from ntkflow.runs.processes.children import spawn_context
from ntkflow.runs.processes.executors import start_worker
if __name__ == "__main__":
    worker = spawn_context().Process(target=start_worker)
    worker.start()
    while not Path("starting").exists():
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGINT)
    worker.join()
    print(worker.exitcode)
else:
    Path("starting").touch()
    time.sleep(0.5)
"""


def test_ctrl_c_waits_until_a_starting_worker_can_answer(tmp_path):
    (tmp_path / "script.py").write_text(STRUCK)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"{-signal.SIGINT}\n", "")


LAUNCHED = """
import os, signal
from multiprocessing.context import SpawnProcess
from ntkflow.runs.processes.executors import local_processes
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    usual, started = SpawnProcess._Popen, []
    def struck(process):
        # Ctrl-C comes when the worker runs, and nobody knows of it yet.
        started.append(usual(process))
        os.kill(os.getpid(), signal.SIGINT)
        return started[0]
    SpawnProcess._Popen = staticmethod(struck)
    try:
        with local_processes(1) as pool:
            pool.submit(len, ())
    except KeyboardInterrupt:
        print(started[0].poll())
        raise SystemExit(130)
"""


def test_a_worker_that_had_just_been_started_does_not_outlive_ctrl_c(tmp_path):
    (tmp_path / "script.py").write_text(LAUNCHED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, f"{-signal.SIGTERM}\n", "")
