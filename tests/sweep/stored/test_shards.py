import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.border.records import document
from ntkflow.runs.simulate import prepare, run
from ntkflow.runs.summary import summarise
from ntkflow.sweep import Table, run_sweep
from ntkflow.sweep.cell import ends
from ntkflow.sweep.gather import gathered
from ntkflow.sweep.grid import Grid, key_of
from ntkflow.sweep.stored import lines, shards
from ntkflow.sweep.stored.shards import Shards, Sink, Stored, Writer
from tests.docs.pages import ROOT
from tests.sweep.grids import BASE, grid, run_here


def found(directory):
    store = Shards(directory)
    store.refresh()
    return store


def test_addresses_told_from_the_grid_are_those_of_the_configurations():
    spec = grid("decay_w,decay_h=0,0.1", "kappa_d=1,2", "init=gaussian,relu", seeds=2)
    cells = Grid(spec)
    assert len({cell.key for cell in cells}) == len(cells) == 16
    for cell in cells:
        assert cell.key == cells[cell.number].key == key_of(cell.config)
        assert cell.point == dict(list(spec.points())[cell.number])
    assert [cell.number for cell in cells[3:9:2]] == [3, 5, 7]
    with pytest.raises(IndexError):
        cells[16]


WRITING = """
import sys
from pathlib import Path
from ntkflow.sweep.stored.shards import Writer
writer = Writer(Path(sys.argv[1]))
for number in range(10**9):
    writer.write(f"{number:032x}", {"row": {"a": number * 0.1, "b": 1.0, "why": "end"}})
    if number == 50:
        print("written", flush=True)
"""


def test_what_a_killed_process_had_written_is_there(tmp_path):
    (tmp_path / "cells").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, tmp_path / "cells"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "written\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = found(tmp_path)
    assert len(store.done) > 50
    assert store.done == {f"{k:032x}" for k in range(len(store.done))}
    (shard,) = (tmp_path / "cells").iterdir()
    # Wherever it is cut, only the last one is lost.
    data = shard.read_bytes()
    whole = data[: data.rindex(b"\n", 0, -1) + 1]
    for cut in (1, 7, len(data) - len(whole) - 1):
        shard.write_bytes(data[:-cut])
        assert len(found(tmp_path).done) == len(store.done) - 1
    # Rows come some thousands at a time.
    assert sum(len(packed) for _, _, packed in found(tmp_path).rows()) == len(store.done) - 1


def test_what_others_append_is_seen_without_reading_again(tmp_path):
    (tmp_path / "cells").mkdir()
    store, writer = Shards(tmp_path), Writer(tmp_path / "cells")
    row = {"a": 1.0, "why": "end"}
    for key in "abc":
        writer.write(key, {"row": {**row, "a": ord(key)}})
        store.refresh()
        assert store.finished(key)
    writer.write("d", {"error": {"kind": "ValueError", "message": "no luck"}})
    store.refresh()
    first = store.failed_at("d")
    assert store.read_failed("d")["error"]["message"] == "no luck"
    writer.write("d", {"error": {"kind": "ValueError", "message": "again"}})
    store.refresh()
    assert store.failed_at("d") != first
    writer.write("d", {"row": row})
    store.refresh()
    assert store.finished("d")
    assert store.read_failed("d") is None


def test_a_full_disk_costs_the_cell_and_no_other(tmp_path, monkeypatch):
    writer = Writer(tmp_path)
    writer.write("a", {"row": {"x": 1.0}})
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(shards.os, "write", lambda file, data: real(file, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            writer.write("b", {"row": {"x": 2.0}})
    writer.write("c", {"row": {"x": 3.0}})
    kept = [line.key for path in sorted(tmp_path.iterdir()) for line in lines.read(path.read_bytes()) if line]
    assert sorted(key for key in kept if key) == ["a", "c"]


def test_workers_write_by_themselves_only_where_they_see_the_directory(tmp_path):
    from ntkflow.sweep.cell import run_cell

    spec = grid("scale=1,2")
    store = Shards(tmp_path / "s")
    store.open(spec)
    first, second = Grid(spec)
    assert run_cell(first.config, [first.key], store.sink()) == Stored(succeeded=True)
    elsewhere = Sink(store.sink().directory, "another token")
    assert "row" in run_cell(second.config, [second.key], elsewhere)
    assert found(tmp_path / "s").done == {first.key}
    bad = run_cell(BASE.updated({"engine": "euler"}), ["bad"], store.sink())
    assert bad == Stored(succeeded=False)
    assert "must be one of" in found(tmp_path / "s").read_failed("bad")["error"]["message"]


def test_cells_are_written_when_they_end_not_when_their_batch_does(tmp_path, monkeypatch):
    from ntkflow.sweep import cell

    spec = grid("scale=1:3:6")
    store = Shards(tmp_path / "s")
    store.open(spec)
    cells, seen = Grid(spec), []
    real = cell._recorded
    monkeypatch.setattr(
        cell, "_recorded", lambda work: (seen.append(len(found(tmp_path / "s").done)), real(work))[1]
    )
    cell.run_cells([c.config for c in cells], [c.key for c in cells], store.sink())
    assert seen == [0, 1, 2, 3, 4, 5]


def test_the_table_has_the_columns_asked_for(tmp_path):
    spec = grid(
        "scale=1,2", "kappa_c=0.2,0.4", y=("loss.final",), columns=("nc.NC1.final", "kappa_c/kappa_d")
    )
    table = run_here(spec, tmp_path / "s")
    assert set(table.numbers) == {
        "nc.NC1.final", "loss.final", "config.kernel.kappa_d", "reason", "solver.rtol", "config.stop.stop_nc1",
    }  # fmt: skip
    np.testing.assert_allclose(table.column("kappa_c/kappa_d"), [0.2, 0.4, 0.2, 0.4])
    whole = gathered(spec, Grid(spec), Shards(tmp_path / "s"))
    assert len(whole.numbers) > 150
    np.testing.assert_array_equal(whole.column("loss.final"), table.column("loss.final"))
    with pytest.raises(InputError, match=r"column = 'loss.end': .* did you mean"):
        gathered(spec, Grid(spec), Shards(tmp_path / "s"), ("loss.end",))


def test_a_large_table_lies_in_a_file_that_is_gone_with_it(tmp_path, monkeypatch):
    from ntkflow.sweep import gather

    spec = grid("scale=1,2")
    small = run_here(spec, tmp_path / "s")
    monkeypatch.setattr(gather, "MOST_BYTES", 0)
    large = gathered(spec, Grid(spec), Shards(tmp_path / "s"))
    assert isinstance(large.column("loss.final"), np.memmap)
    for name in small.columns:
        np.testing.assert_array_equal(small.columns[name], large.columns[name])
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "sweep.toml",
        "cells",
        "table.csv",
        "table.npz",
    }


def test_parquet_holds_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = run_sweep_here(grid("scale=1,2"), tmp_path / "s")
    read = parquet.read_table(tmp_path / "s" / "table.parquet")
    assert read.column_names == list(table.columns)
    for name, values in table.columns.items():
        np.testing.assert_array_equal(np.array(read[name].to_pylist()), values)


def run_sweep_here(spec, directory):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return run_sweep(spec, directory, executor, parquet=True)


def test_shards_of_another_directory_are_as_good(tmp_path):
    """Parts of a sweep that ran on machines that see no common disk are put together by copying."""
    spec = grid("scale=1,2")
    whole = run_here(spec, tmp_path / "a")
    Shards(tmp_path / "b").open(spec)
    for shard in (tmp_path / "a" / "cells").glob("*.shard"):
        shutil.copy(shard, tmp_path / "b" / "cells")
    table = Table.read(tmp_path / "b")
    assert table.columns["status"].tolist() == ["done", "done"]
    np.testing.assert_array_equal(table.column("loss.final"), whole.column("loss.final"))
    assert json.loads(next(iter(lines.read(shard.read_bytes()))).payload)["format"] == 1


def test_a_sweep_of_before_is_converted(tmp_path):
    spec = importlib.util.spec_from_file_location("convert_sweep", ROOT / "tools" / "convert_sweep.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    wanted = grid("scale=1,2", "kappa_d=1,0.1")
    store = Shards(tmp_path / "s")
    store.open(wanted)
    for one in Grid(wanted)[::2]:
        prepared = prepare(one.config)
        solution = run(prepared)
        content = {"summary": document(summarise(solution, prepared)), "ends": ends(solution)}
        name = f"{tool.former_address(one.config, '0.0.9')}.json"
        (tmp_path / "s" / "cells" / name).write_text(files.dump_json(content))
    assert [tool.convert(tmp_path / "s", version) for version in ("0.0.8", "0.0.9", "0.0.9")] == [0, 2, 0]
    table = run_here(wanted, tmp_path / "s")
    # What a run by itself used, and no cell does.
    assert table.columns["status"].tolist() == ["done", "failed", "done", "failed"]
    assert set(table.columns["solver.engine"]) - {""} != {"lockstep"}
