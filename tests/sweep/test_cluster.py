"""A real dask scheduler and several worker processes on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from ntkflow.runs.processes import host
from ntkflow.sweep import run_sweep
from ntkflow.sweep.cluster import dask_cluster
from ntkflow.sweep.runner import fill
from ntkflow.sweep.stored.cache import Cache
from ntkflow.sweep.stored.lines import read
from tests.sweep.grids import grid, run_here
from tests.sweep.laboured import Labour, count, lines, recorded_labour

pytest.importorskip("distributed")
# dask warns of its own ports and clocks on a busy machine.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent


class Loopback:
    """Scheduler and workers as processes of their own, at one address for the whole test."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address, self.folder, self.processes = f"tcp://127.0.0.1:{self.port}", folder, []

    def start(self, *words):
        # What only waits at a worker that dies is suspected too: once would be by chance, four times is not.
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def scheduler(self):
        host = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        return self.start("distributed.cli.dask_scheduler", *host)

    def worker(self, *options):
        return self.start(
            "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard", *options
        )


@pytest.fixture
def loopback(tmp_path):
    running = Loopback(tmp_path)
    yield running
    for process in running.processes:
        process.kill()
        process.wait()


@contextmanager
def filling(grid, cache, executor):
    """`fill` in a thread, while the test disturbs it."""
    raised = []

    def run():
        try:
            fill(grid, cache, executor, recorded_labour)
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(120)
    assert not thread.is_alive()
    assert not raised


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def pid_of_a_running_cell(log):
    ended = {line.split()[1] for line in lines(log) if line.startswith("end")}
    return next((int(line.split()[2]) for line in lines(log) if line.split()[1] not in ended), None)


def test_killed_workers_cost_no_cell_and_no_cell_is_done_twice(loopback, tmp_path):
    log = str(tmp_path / "log")
    grid = [Labour(f"k{i}", log, 0.5) for i in range(8)]
    grid.insert(3, Labour("failing", log, deadly="error"))
    grid.insert(5, Labour("deadly", log, deadly="always"))
    (tmp_path / "cells").mkdir()
    cache = Cache(tmp_path)
    loopback.scheduler()
    for _ in range(2):
        loopback.worker("--nanny")
    with dask_cluster(loopback.address) as executor, filling(grid, cache, executor):
        # Asked once: a moment later it may have ended.
        os.kill(wait_for(lambda: pid_of_a_running_cell(log)), signal.SIGKILL)
    assert all(cache.read(f"k{i}") for i in range(8))
    assert [count(log, f"end k{i} ") for i in range(8)] == [1] * 8
    assert count(log, "start k") >= 9
    assert cache.read_failed("failing")["error"]["message"] == "failing cannot be done"
    assert cache.read_failed("deadly")["error"]["kind"] == "KilledWorker"
    assert cache.read("deadly") is None


def test_a_sweep_outlives_its_scheduler(loopback, tmp_path):
    log = str(tmp_path / "log")
    grid = [Labour(f"k{i}", log, 0.4) for i in range(8)]
    (tmp_path / "cells").mkdir()
    cache = Cache(tmp_path)
    scheduler, workers = loopback.scheduler(), [loopback.worker("--no-nanny") for _ in range(2)]
    with dask_cluster(loopback.address) as executor, filling(grid, cache, executor):
        wait_for(lambda: sum(cache.read(cell.key) is not None for cell in grid) >= 2)
        for process in (scheduler, *workers):
            process.kill()
            process.wait()
        before = {cell.key for cell in grid if cache.read(cell.key)}
        loopback.scheduler()
        loopback.worker("--no-nanny")
    assert 2 <= len(before) < 8
    assert all(cache.read(cell.key) for cell in grid)
    # What had been recorded was not done again.
    assert all(count(log, f"end {key} ") == 1 for key in before)


def test_workers_that_see_the_directory_write_cells_of_simulations_by_themselves(loopback, tmp_path):
    loopback.scheduler()
    for _ in range(2):
        loopback.worker("--no-nanny")
    spec = grid("scale=0.5:2:6", "kappa_d=1,2")
    with dask_cluster(loopback.address) as executor:
        table = run_sweep(spec, tmp_path / "s", executor)
    assert table.columns["status"].tolist() == 12 * ["done"]
    heads = [next(read(p.read_bytes())).payload for p in (tmp_path / "s" / "cells").glob("*.shard")]
    writers = {json.loads(head)["process"] for head in heads}
    assert writers
    assert str(host.this_process()) not in writers
    expected = run_here(spec, tmp_path / "here")
    np.testing.assert_array_equal(table.column("loss.final"), expected.column("loss.final"))
