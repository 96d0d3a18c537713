import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.errors import InputError, SolveError
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.processes import host, locks
from ntkflow.sweep import SweepSpec, View, cell, filling, parse_axis, run_sweep, runner, spec_from_tables
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.stored.cache import Cache
from ntkflow.sweep.stored.shards import Shards, Writer
from tests.sweep.grids import BASE, grid, run_here


class Counting(Executor):
    """Runs at once, in this thread, and keeps what it ran."""

    def __init__(self):
        self.ran = []

    def submit(self, function, config):
        self.ran.append(config)
        future = Future()
        future.set_result(function(config))
        return future


class Reversed(ThreadPoolExecutor):
    """Finishes the last cell first."""

    def submit(self, function, config):
        return super().submit(lambda: (time.sleep(0.3 / config.scale), function(config))[1])


def looked_at(directory):
    """What the shards of a directory hold."""
    shards = Shards(directory)
    shards.refresh()
    return shards


def numbers(table):
    """All that must not depend on how cells were run."""
    return {name: list(map(str, v)) for name, v in table.columns.items() if name != "solver.seconds"}


def test_finished_cells_are_never_run_again(tmp_path):
    first, second = Counting(), Counting()
    spec = grid("scale=1,2", seeds=2)
    table = run_sweep(spec, tmp_path / "s", first)
    again = run_sweep(spec, tmp_path / "s", second)
    assert (len(first.ran), len(second.ran)) == (4, 0)
    assert {n: list(map(str, v)) for n, v in table.columns.items()} == {
        n: list(map(str, v)) for n, v in again.columns.items()
    }


def test_another_view_is_the_same_sweep(tmp_path):
    run_here(grid("scale=1,2"), tmp_path / "s")
    counting = Counting()
    run_sweep(replace(grid("scale=1,2"), view=View(y=("nc.NC2.final",))), tmp_path / "s", counting)
    assert counting.ran == []


def test_another_sweep_is_refused_or_keeps_what_both_share(tmp_path):
    run_here(grid("scale=1,2"), tmp_path / "s")
    with pytest.raises(InputError, match="holds another sweep"):
        run_here(grid("scale=1,2,3"), tmp_path / "s")
    counting = Counting()
    table = run_sweep(grid("scale=1,2,3"), tmp_path / "s", counting, overwrite=True)
    assert [config.scale for config in counting.ran] == [3.0]
    assert len(table) == 3


def test_the_table_does_not_depend_on_the_order_of_execution(tmp_path):
    spec = grid("scale=1,2,3")
    with Reversed(3) as executor:
        backwards = run_sweep(spec, tmp_path / "a", executor)
    assert numbers(backwards) == numbers(run_here(spec, tmp_path / "b"))


def test_a_failing_cell_is_recorded_and_tried_again(tmp_path, monkeypatch):
    spec = grid("scale=1,2,3")
    real = cell.summarise

    def fail(solution, prepared):
        if prepared.config.scale == 2:
            raise ValueError("no luck today")
        return real(solution, prepared)

    monkeypatch.setattr(cell, "summarise", fail)
    seen = []
    table = run_here(spec, tmp_path / "s", progress=lambda *counts: seen.append(counts))
    assert table.failed == ["no luck today"]
    assert seen[-1] == ("cells (1 failed)", 3, 3)
    record = looked_at(tmp_path / "s").read_failed(table.columns["key"][1])
    assert record["error"] == {"kind": "ValueError", "message": "no luck today"}
    monkeypatch.undo()
    counting = Counting()
    assert run_sweep(spec, tmp_path / "s", counting).failed == []
    assert [config.scale for config in counting.ran] == [2.0]
    found = looked_at(tmp_path / "s")
    assert len(found.done) == 3
    assert found.read_failed(table.columns["key"][1]) is None


def test_a_sweep_none_of_whose_cells_can_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="kappa_d >= kappa_c"):
        run_here(grid("scale=1,2", base=replace(BASE, kappa_d=0.1)), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "damaged"])
def test_a_damaged_cell_is_run_again(cut, tmp_path):
    run_here(grid("scale=1,2"), tmp_path / "s")
    (shard,) = (tmp_path / "s" / "cells").glob("*.shard")
    data = shard.read_bytes()
    # Head, schema, first cell, second cell; a kill leaves a part of the last line.
    ends = [k for k, byte in enumerate(data) if byte == 10]
    shard.write_bytes(data[:-5] if cut else data[: ends[1] + 20] + b"x" + data[ends[1] + 21 :])
    assert len(looked_at(tmp_path / "s").done) == 1
    counting = Counting()
    table = run_sweep(grid("scale=1,2"), tmp_path / "s", counting)
    assert [config.scale for config in counting.ran] == [2.0 if cut else 1.0]
    assert table.columns["status"].tolist() == ["done", "done"]
    assert np.all(np.isfinite(table.column("nc.NC1.final")))


def test_a_dead_worker_is_no_failed_cell(tmp_path):
    class Broken(Executor):
        def submit(self, function, config):
            future = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    with pytest.raises(SolveError, match=r"a worker died .* below `if __name__ == '__main__':`"):
        run_sweep(grid("scale=1,2"), tmp_path / "s", Broken())
    assert not list((tmp_path / "s" / "cells").iterdir())


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_is_no_sweep_is_left_alone(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a sweep directory"):
        run_here(grid("scale=1,2"), tmp_path / name, overwrite=True)


def test_the_specification_replays_from_the_directory_alone(tmp_path):
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1, 0.5, 0.1)
    source = tmp_path / "state.npz"
    files.write_state(source, nf.initial.make("gaussian", sizes, kernel), sizes.labels, kernel)
    spec = SweepSpec(SimulateConfig(state=source), (parse_axis("t_end=0.1,0.2"),))
    first = run_here(spec, tmp_path / "a")
    source.unlink()
    again = spec_from_tables(files.read_toml(tmp_path / "a" / "sweep.toml"), tmp_path / "a")
    assert numbers(run_here(again, tmp_path / "b"))["key"] == numbers(first)["key"]
    counting = Counting()
    run_sweep(again, tmp_path / "a", counting)
    assert counting.ran == []


def test_at_most_one_cell_more_than_the_workers_waits(tmp_path, monkeypatch):
    waiting = []
    real = filling.Filling._collect

    def told(filling, *args):
        waiting.append(len(filling.waiting))
        return real(filling, *args)

    monkeypatch.setattr(filling.Filling, "_collect", told)
    monkeypatch.setattr(runner, "LOCKSTEP", replace(runner.LOCKSTEP, most=1))
    run_here(grid("scale=1:2:7"), tmp_path / "s")
    assert max(waiting) == 2


@dataclass(frozen=True)
class Plain:
    """A cell whose work is its name."""

    key: str
    problem: InputError | None = None

    @property
    def config(self):
        return self.key


def shared(folder, count, works, monkeypatch):
    """What each of some fillers of one folder told of its progress, and how it ended; each is a thread."""
    (folder / "cells").mkdir(parents=True)
    monkeypatch.setattr(filling, "PAUSE", 0.01)
    tasks = [Plain(f"{i:064x}") for i in range(count)]

    def fill(work):
        told = []
        with ThreadPoolExecutor(1) as pool:
            runner.fill(tasks, Cache(folder), pool, work, lambda *state: told.append(state))
        return told[-1]

    with ThreadPoolExecutor(len(works)) as together:
        return list(together.map(fill, works))


def test_two_processes_divide_a_sweep_evenly_and_no_cell_is_run_twice(tmp_path, monkeypatch):
    """Neither may run ahead of the other by more than three cells, but for the last, which are claimed already."""
    changed, ran = threading.Condition(), ([], [])

    def working(mine, other):
        def work(key):
            with changed:
                assert changed.wait_for(
                    lambda: len(mine) < len(other) + 3 or len(mine) + len(other) >= 24 - 4, timeout=30
                )
                mine.append(key)
                changed.notify_all()
            return {"value": 1}

        return work

    ends = shared(tmp_path / "s", 24, [working(*ran), working(*ran[::-1])], monkeypatch)
    assert ends == [("cells", 24, 24)] * 2
    assert min(map(len, ran)) >= 8
    assert sorted(ran[0] + ran[1]) == [f"{i:064x}" for i in range(24)]
    # No claim is left.
    assert len(list((tmp_path / "s" / "cells").iterdir())) == 24


def test_a_cell_that_failed_elsewhere_is_not_tried_by_everybody(tmp_path, monkeypatch):
    both, ran = threading.Barrier(2, timeout=30), []

    def failing():
        begun = []

        def work(key):
            if not begun:
                both.wait()  # the other one has begun as well
            begun.append(key)
            ran.append(key)
            return {"error": {"kind": "SolveError", "message": "no"}}

        return work

    assert shared(tmp_path / "s", 8, [failing(), failing()], monkeypatch) == [("cells (8 failed)", 8, 8)] * 2
    assert sorted(ran) == [f"{i:064x}" for i in range(8)]


def test_what_another_process_left_behind_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "PAUSE", 0.01)
    spec = grid("scale=1:2:3")
    cache = Shards(tmp_path / "s")
    cache.open(spec)
    first = Grid(spec)[0].key
    claim, slept = ExitStack(), []
    claim.enter_context(cache.claimed(first))
    # It ends without the cell while this one waits for it.
    monkeypatch.setattr(filling.time, "sleep", lambda seconds: (slept.append(seconds), claim.close()))
    assert len(run_here(spec, tmp_path / "s").failed) == 0
    assert slept == [0.01]
    assert first in looked_at(tmp_path / "s").done
    # A killed one leaves the file of its claim.
    remains = tmp_path / "s" / "cells" / f".{first}.lock"
    remains.write_text(host.Process(1, "elsewhere").record().replace("elsewhere", host.this_process().host))
    run_here(spec, tmp_path / "s")
    assert not remains.exists()


def test_a_claim_of_who_may_have_been_killed_elsewhere_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    cells, entered = tmp_path / "cells", []
    monkeypatch.setattr(host, "locks_are_seen_everywhere", lambda path: False)
    (cells / ".abc.lock").write_text(host.Process(1, "elsewhere", "b", "s", "1").record())
    with Cache(tmp_path).claimed("abc"):
        entered.append("killed elsewhere")
    assert entered == ["killed elsewhere"]
    # One that is alive here is.
    alive = locks.held(cells / ".abd.lock", remove=True)
    with alive, pytest.raises(locks.HeldError), Cache(tmp_path).claimed("abd"):
        entered.append("alive here")
    assert entered == ["killed elsewhere"]


SCRIPT = """
import sys
from pathlib import Path
from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import SweepSpec, local_processes, parse_axis, run_sweep
base = SimulateConfig(classes=2, per_class=3, features=4, init="gaussian", t_end=float(sys.argv[2]))
spec = SweepSpec(base, (parse_axis("scale=0.5:3:300"),))
if __name__ == "__main__":
    with local_processes(2) as pool:
        print(run_sweep(spec, Path(sys.argv[1]), pool).columns["nc.NC1.final"].tolist())
"""


def children(pid):
    """Processes whose parent is `pid`."""
    found = []
    for path in os.scandir("/proc"):
        if path.name.isdigit():
            try:
                with open(f"{path.path}/stat") as handle:  # noqa: PTH123
                    parent = int(handle.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(path.name))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as handle:  # noqa: PTH123
            return handle.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_two_processes_share_a_directory(tmp_path):
    script, directory = tmp_path / "script.py", tmp_path / "s"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(directory), "30"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (directory / "sweep.toml").exists() or (
        len(looked_at(directory).done) < 3 and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # A worker ends its batch before it finds itself alone.
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    before = {path: path.stat().st_mtime_ns for path in (directory / "cells").glob("*.shard")}
    done = looked_at(directory).done
    # More cells than fit into one batch of each worker, or all could be there before it is killed.
    assert 3 <= len(done) < 300
    assert len(workers) >= 2
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate(timeout=120)[0] for one in pair]
    assert [one.returncode for one in pair] == [0, 0]
    assert outputs[0] == outputs[1]
    after = {path: path.stat().st_mtime_ns for path in (directory / "cells").glob("*.shard")}
    assert done <= (now := looked_at(directory).done)
    assert len(now) == 300
    # Nobody writes to what another process began.
    assert before.items() < after.items()
    assert sum(len(keys) for _, keys, _ in Shards(directory).rows()) == 300
    assert np.all(np.isfinite(json.loads(outputs[0])))
    # A pool that outlives its parent would wait for work for ever.
    assert not any(alive(pid) for pid in workers)


def test_a_cell_whose_workers_die_again_and_again_is_recorded_and_costs_no_other(tmp_path):
    """What a scheduler says when a cell has killed several workers is an exception of its own, not a broken pool."""

    class Giving(Counting):
        def submit(self, function, config):
            if config.scale != 2:
                return super().submit(function, config)
            future = Future()
            future.set_exception(RuntimeError("killed three workers"))
            return future

    table = run_sweep(grid("scale=1,2,3"), tmp_path / "s", Giving())
    assert table.failed == ["killed three workers"]
    assert list(table.columns["status"]) == ["done", "failed", "done"]


def test_a_sweep_killed_before_it_had_a_specification_starts_again(tmp_path):
    """Whatever was made by then is taken for nothing: a folder for cells, copies, files half written."""
    directory = tmp_path / "s"
    (directory / "cells").mkdir(parents=True)
    (directory / ".sweep.toml.01234567-01234567.partial").touch()
    assert len(run_here(grid("scale=1,2"), directory)) == 2
    (tmp_path / "other" / "cells").mkdir(parents=True)
    (tmp_path / "other" / "cells" / "mine.json").touch()
    with pytest.raises(InputError, match="is not a sweep directory"):
        run_here(grid("scale=1,2"), tmp_path / "other")


def test_a_sweep_is_born_whole(tmp_path, monkeypatch):
    def killed(*_):
        assert not (tmp_path / "s").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("ntkflow.sweep.stored.cache.files.write_toml", killed)
    with pytest.raises(KeyboardInterrupt):
        run_here(grid("scale=1,2"), tmp_path / "s")
    assert not list(tmp_path.iterdir())


TOGETHER = """
import sys, time
from pathlib import Path
from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import SweepSpec, parse_axis
from ntkflow.sweep.stored.cache import Cache
spec = SweepSpec(SimulateConfig(), (parse_axis("scale=1,2"),))
for number in range(40):
    while time.time() < float(sys.argv[2]) + 0.02 * number:
        pass
    Cache(Path(sys.argv[1]) / f"s{number}").open(spec)
"""


def test_sweeps_that_start_together_share_their_directory(tmp_path):
    """As the tasks of a job array do."""
    command = [sys.executable, "-c", TOGETHER, tmp_path, str(time.time() + 2)]
    tasks = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [task.communicate(timeout=120)[1] for task in tasks] == 4 * [""]
    assert [task.returncode for task in tasks] == 4 * [0]
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted(f"s{number}" for number in range(40))
    assert all((tmp_path / name / "sweep.toml").is_file() for name in found)


def test_the_table_is_looked_at_while_it_fills(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(runner, "SHARE", 1e9)
    seen = []
    run_here(grid("scale=1:2:5", base=replace(BASE, engine="structured")), tmp_path / "s", look=seen.append)
    done = [int(np.sum(table.columns["status"] == "done")) for table in seen]
    assert done == sorted(done)
    assert 0 < done[0] < 5
    # Only what the figure shows, and what tells noise from it.
    assert "nc.NC1.final" in seen[0].numbers
    assert len(seen[0].numbers) == 4


def test_what_another_process_finished_before_the_claim_is_not_run_again(tmp_path):
    spec = grid("scale=1,2")
    Shards(tmp_path / "s").open(spec)
    counting = Counting()
    waiting = filling.Filling(Shards(tmp_path / "s"), counting, cell.run_cell, 2)
    Writer(tmp_path / "s" / "cells").write(Grid(spec)[0].key, {"row": {"x": 1.0}})
    assert list(waiting.outcomes(Grid(spec))) == [True, True]
    assert [config.scale for config in counting.ran] == [2.0]
