"""Damaged sweeps, fits, calibrations, configurations and checkpoints: one line each, and never a traceback.

Readers are called with many damaged files; the slow tests do the same through the commands.
"""

import json
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.calibration import store
from ntkflow_validation.cli.sweep import read_table
from ntkflow_validation.report.calibration import calibration_section
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.sweep.grid import TrainingSweep, sweep_from_tables
from ntkflow_validation.sweep.lookup import found_table
from ntkflow_validation.sweep.records import CellFile, content_of
from ntkflow_validation.sweep.settings import SETTINGS

import ntkflow as nf
from ntkflow.runs.border.records import document
from ntkflow.runs.files import dump_json, read_toml
from ntkflow.sweep import spec_from_tables
from ntkflow.sweep.stored import lines
from ntkflow.sweep.stored.cache import Cache
from tests.cli import damage
from tests.cli.damage import check, refused_or_read
from tests.fitting.trajectories import BLOCK, simulated
from tests.sweep.grids import grid, run_here
from tests.validation.report.synthetic import calibration

TIMES = np.linspace(0, 0.5, 4)


@pytest.fixture
def here(monkeypatch):
    """Cells are run in a thread of this process."""

    def thread(workers=None):
        return ThreadPoolExecutor(1)

    monkeypatch.setattr("ntkflow.sweep.runner.local_processes", thread)
    monkeypatch.setattr("ntkflow_validation.sweep.running.local_workers", thread)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "sweep"
    run_here(grid("scale=1,2", seeds=2, y=("nc.NC1.final",), log_x=True), out)
    return out


@pytest.fixture(scope="module")
def trainings(trained, tmp_path_factory):
    """A sweep of trainings with one cell, made from a run."""
    run = RunDirectory.open(trained)
    axes = (nf.sweep.Axis(("training.weight_decay",), (0.0,), schema=SETTINGS),)
    sweep = TrainingSweep(run.config, rates=(0.02,), inits=("lecun-normal",), axes=axes)
    cache = Cache(tmp_path_factory.mktemp("trainings") / "sweep")
    cache.open(sweep)
    (cell,) = sweep.cells
    content = document(CellFile(cell.run.to_dict(), replace(content_of(run), seconds=1.0)))
    cache.write(cell.key, json.loads(dump_json(content)))
    return cache.directory


def tables_of(path):
    return tomllib.loads(path.read_text())


def arrays_of(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def test_specifications_of_sweeps(swept, trainings, tmp_path):
    path = tmp_path / "sweep.toml"
    cases = damage.tables({"sweep": tables_of(swept / "sweep.toml")["sweep"]}, 150)
    assert refused_or_read(path, cases, lambda: len(spec_from_tables(read_toml(path), tmp_path).identity()))
    cases = damage.tables({"sweep": tables_of(trainings / "sweep.toml")["sweep"]}, 60)
    assert refused_or_read(path, cases, lambda: len(sweep_from_tables(read_toml(path)).cells))


def test_an_axis_without_fields_is_refused():
    with pytest.raises(nf.InputError, match="no field"):
        nf.sweep.Axis((), (1.0,))


def test_cells_of_sweeps_of_trainings(trainings, tmp_path):
    out = shutil.copytree(trainings, tmp_path / "sweep")
    (path,) = (out / "cells").glob("*.json")
    cases = list(damage.documents(json.loads(path.read_text()), 40))
    assert refused_or_read(path, cases, lambda: list(read_table(out).rows()))
    refused_or_read(path, cases, lambda: found_table([out]))


def test_tables_of_sweeps(swept, tmp_path):
    out = shutil.copytree(swept, tmp_path / "sweep")
    good = arrays_of(out / "table.npz")

    def shown():
        table = nf.load(out)
        return repr(table), table._repr_html_(), list(table.rows()), table.failed

    for name in ("header", "scale"):
        assert refused_or_read(out / "table.npz", damage.archives(good, name), shown)


@pytest.mark.parametrize("kind", ["block", "class-block", "schedule"])
def test_fits(tmp_path, kind):
    path = tmp_path / "fit.json"
    nf.save(nf.fit(simulated(nf.Sizes(2, 2, 3), nf.BlockKernel(**BLOCK), TIMES), kind), path)
    cases = damage.documents(json.loads(path.read_text()), 60)
    assert refused_or_read(path, cases, lambda: (repr(nf.load(path)), nf.load(path).as_dict()))


def test_calibrations(tmp_path):
    path = tmp_path / "calibration.json"
    cases = damage.documents(document(calibration()), 150)
    refused_or_read(path, cases, lambda: calibration_section(store.read(path), "1"))
    path.write_text(dump_json(document(calibration())))
    assert store.read(path) == calibration()


@pytest.mark.slow
def test_commands_on_specifications_of_sweeps(swept, tmp_path, told, here):
    path = tmp_path / "sweep.toml"
    words = ("sweep", "--config", path, "--out", tmp_path / "new", "--overwrite", "--no-figures", "--quiet")
    check(damage.tables(tables_of(swept / "sweep.toml"), 120), lambda content: told(path, content, words))


@pytest.mark.slow
def test_commands_on_directories_of_sweeps(swept, tmp_path, told, here):
    out = shutil.copytree(swept, tmp_path / "sweep")
    path, good = out / "sweep.toml", tables_of(swept / "sweep.toml")
    words = ("sweep", "--config", swept / "sweep.toml", "--out", out, "--no-figures", "--quiet")
    for table in (good, good["record"]):
        check(damage.tables(table, 40), lambda content: told(path, content, words))


@pytest.mark.slow
def test_commands_on_cells_of_sweeps(swept, tmp_path, told, here):
    out = shutil.copytree(swept, tmp_path / "sweep")
    path = next((out / "cells").glob("*.shard"))
    words = ("sweep", "--config", swept / "sweep.toml", "--out", out, "--no-figures", "--quiet")
    head, schema, done, *_ = path.read_bytes().splitlines(keepends=True)
    line = next(lines.read(done))
    kinds = (schema, lines.SCHEMA, ""), (done, lines.DONE, line.key), (b"", lines.FAILED, line.key)
    payloads = [b"", b"{}", b"[]", b"null", b"[" * 10**5, b'{"message": 1}', b"\x00" * 40, line.payload[:-3]]
    cases = [head + schema[:40], head + done, b"", b"\xff" * 99, schema + head]
    # Whole by their checksums, and nothing a writer writes.
    cases += [
        head + before + lines.written(kind, key, n, p)
        for before, kind, key in kinds
        for p in payloads
        for n in (0, 7)
    ]
    check([(f"{k}", case) for k, case in enumerate(cases)], lambda content: told(path, content, words))


@pytest.mark.slow
def test_commands_on_sweeps_of_trainings(trainings, tmp_path, told):
    out = shutil.copytree(trainings, tmp_path / "sweep")
    path, (cell,) = out / "sweep.toml", (out / "cells").glob("*.json")
    commands = [("validate", *words) for words in (("table", out), ("sweep", "--config", path, "--dry-run"))]
    good = path.read_bytes()
    check(damage.tables(tables_of(path), 60), lambda content: told(path, content, *commands))
    path.write_bytes(good)
    commands = [("validate", "table", out), ("validate", "show", out)]
    check(damage.documents(json.loads(cell.read_text()), 60), lambda content: told(cell, content, *commands))


@pytest.mark.slow
def test_commands_on_observations(tmp_path, told):
    seen = simulated(nf.Sizes(2, 2, 3), nf.BlockKernel(**BLOCK), TIMES)
    states = {name: np.array([getattr(state, name) for state in seen.states]) for name in "HWb"}
    good, path = {"times": TIMES, "labels": seen.sizes.labels, **states}, tmp_path / "seen.npz"
    for name in ("times", "H", "labels"):
        check(damage.archives(good, name), lambda content: told(path, content, ("fit", path, "--json")))


@pytest.mark.slow
def test_commands_on_calibrations(trained, tmp_path, told, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = calibration(fingerprint=store.fingerprint())
    monkeypatch.setattr("ntkflow_validation.calibration.run.calibrate", lambda *_, **__: good)
    path, words = run / "calibration.json", ("validate", "report", run, "--quiet")
    check(damage.documents(document(good), 60), lambda content: told(path, content, words))


@pytest.mark.slow
def test_commands_on_configurations_of_runs(trained, tmp_path, told):
    run = shutil.copytree(trained, tmp_path / "run")
    path, good = run / "config.toml", trained / "config.toml"
    readers = (("show", run), ("frontier", run), ("train", "--config", good, "--out", run, "--quiet"))
    commands = [("validate", *words) for words in readers]
    check(damage.tables(tables_of(good), 60), lambda content: told(path, content, *commands))


@pytest.mark.slow
def test_commands_on_checkpoints(trained, tmp_path, told):
    run = shutil.copytree(trained, tmp_path / "run")
    good = {"step": np.array(59), **arrays_of(sorted((run / "parameters").iterdir())[-1])}
    facts = json.loads((run / "training.json").read_text())
    for name in ("result", "step", "message"):
        facts.pop(name)
    words = ("validate", "train", "--config", run / "config.toml", "--out", run, "--quiet")

    def train(content):
        for folder in ("snapshots", "parameters"):
            for path in sorted((run / folder).iterdir())[-1:]:
                if path.stem == "step_0000060":
                    path.unlink()
        (run / "training.json").write_text(json.dumps(facts))
        return told(run / "checkpoint.npz", content, words)

    for name in ("step", list(good)[-1]):
        check(damage.archives(good, name), train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("parameters", "", ("kernels", "--full", "--overwrite", "--quiet")),
        ("snapshots", "H", ("compare", "--rungs", "block", "--quiet")),
    ],
)
def test_commands_on_states_of_runs(trained, tmp_path, told, folder, name, words):
    run = shutil.copytree(trained, tmp_path / "run")
    path = sorted((run / folder).iterdir())[-1]
    good = arrays_of(path)
    command = ("validate", words[0], run, *words[1:])
    check(damage.archives(good, name or list(good)[-1]), lambda content: told(path, content, command))
