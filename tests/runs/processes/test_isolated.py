import os
import time
from concurrent.futures import CancelledError

import pytest

from ntkflow.errors import InputError
from ntkflow.runs.processes.isolated import ATTEMPTS, IsolatedProcesses, WorkerDiedError
from ntkflow.sweep.runner import fill
from ntkflow.sweep.stored.cache import Cache
from tests.sweep.laboured import Labour, count, labour


def test_a_cell_whose_process_dies_is_run_again_and_given_up_after_some_attempts(tmp_path):
    log = str(tmp_path / "log")
    grid = [Labour("a", log), Labour("once", log, deadly="once"), Labour("always", log, deadly="always")]
    (tmp_path / "cells").mkdir()
    cache, seen = Cache(tmp_path), []
    with IsolatedProcesses(2) as executor:
        fill(grid, cache, executor, labour, lambda *counts: seen.append(counts))
    assert [count(log, f"start {key} ") for key in ("a", "once", "always")] == [1, 2, ATTEMPTS]
    assert count(log, "end") == 2
    assert cache.read("once")["pid"] != os.getpid()
    assert "died 3 times, the last with exit code 7" in cache.read_failed("always")["error"]["message"]
    assert seen[-1] == ("cells (1 failed)", 3, 3)


def test_environment_and_exceptions_travel():
    with IsolatedProcesses(1, [{"NTKFLOW_COLOUR": "blue"}]) as executor:
        assert executor.submit(os.getenv, "NTKFLOW_COLOUR").result() == "blue"
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
    assert os.getenv("NTKFLOW_COLOUR") is None


def test_an_interruption_ends_what_runs():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), IsolatedProcesses(1) as executor:
        future = executor.submit(time.sleep, 600)
        time.sleep(0.5)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60
    assert isinstance(future.exception(), WorkerDiedError | CancelledError)


def test_workers_are_counted_from_one():
    with pytest.raises(InputError, match=r"must be 1 \.\. 1024"):
        IsolatedProcesses(0)
