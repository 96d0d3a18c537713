from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.pipeline.pipeline import compare_run, kernel_steps, measure_run, train_run
from ntkflow_validation.runs.lock import locked
from ntkflow_validation.runs.rundir import RunDirectory, run_paths

from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.rundir import load_run

CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4),
    model=ModelConfig(name="linear", features=5),
    training=TrainConfig(steps=12, learning_rate=1e-2, reduction="sum", snapshots=6),
    kernels=KernelConfig(count=2),
)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", CONFIG)


class KilledError(Exception):
    pass


def test_an_existing_directory_is_refused_and_overwritten_only_on_request(run):
    (run.path / "metrics.jsonl").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        RunDirectory.create(run.path, CONFIG)
    RunDirectory.create(run.path, CONFIG, overwrite=True)
    assert not (run.path / "metrics.jsonl").exists()
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
        RunDirectory.create(run.path, CONFIG, overwrite=True)


def test_runs_of_the_simulation_are_told_from_those_of_a_network(tmp_path, run):
    files.write_toml(tmp_path / "config.toml", SimulateConfig().tables())
    with pytest.raises(InputError, match="run of `ntkflow simulate`; use `ntkflow show`"):
        RunDirectory.open(tmp_path)
    (run.path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="run of `ntkflow validate`; use `ntkflow validate show`"):
        load_run(run.path)


def test_what_is_not_a_run_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not a run directory"):
        RunDirectory.create(tmp_path, CONFIG, overwrite=True)
    with pytest.raises(InputError, match="not a run directory"):
        RunDirectory.open(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_resuming_with_another_configuration_names_the_difference(run):
    other = replace(CONFIG, training=replace(CONFIG.training, learning_rate=0.5))
    with pytest.raises(InputError, match=r"training\.learning_rate \(0\.01, not 0\.5\)"):
        RunDirectory.create(run.path, other, resume=True)
    assert RunDirectory.create(run.path, CONFIG, resume=True).config == CONFIG


def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(run, tmp_path):
    def kill(what, done, total):
        if done >= 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_run(run, kill)
    assert 0 < len(run.steps()) < 7
    with (run.path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 99, "loss"')
    train_run(RunDirectory.open(run.path))
    whole = RunDirectory.create(tmp_path / "whole", CONFIG)
    train_run(whole)
    assert run.steps() == whole.steps()
    assert run.metrics() == whole.metrics()
    assert (run.path / "metrics.jsonl").read_text() == (whole.path / "metrics.jsonl").read_text()
    np.testing.assert_array_equal(run.read_snapshot(12).state.H, whole.read_snapshot(12).state.H)


@pytest.mark.parametrize("broken", ["parameters", "snapshots"])
def test_a_write_that_is_interrupted_never_looks_complete(run, monkeypatch, broken):
    whole = np.savez_compressed

    def torn(handle, **arrays):
        if f"{broken}/.step_0000001" in getattr(handle, "name", ""):
            handle.write(b"PK torn")
            raise KilledError
        whole(handle, **arrays)

    monkeypatch.setattr(files.np, "savez_compressed", torn)
    with pytest.raises(KilledError):
        train_run(run)
    assert run.steps() == [0]
    assert [row.step for row in run.metrics()] == [0]
    assert not list(run.path.glob("**/*.partial"))
    monkeypatch.undo()
    train_run(run)
    assert run.steps()[-1] == 12


def test_a_finished_training_is_left_alone(run):
    train_run(run)
    stamps = {path: path.stat().st_mtime_ns for path in run.path.glob("**/*") if path.is_file()}
    train_run(run)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_kernels_measured_before_an_interruption_are_kept(run):
    train_run(run)
    seen = []

    def kill(what, done, total):
        seen.append(done)
        if len(seen) > 1:
            raise KilledError

    with pytest.raises(KilledError):
        measure_run(run, progress=kill)
    assert run.measured() == [0]
    before = run.measurement_path(0).read_bytes()
    assert list(measure_run(run)) == [0, 12]
    assert run.measurement_path(0).read_bytes() == before


def test_a_measured_snapshot_is_a_state_file_the_simulator_reads(run):
    train_run(run)
    snapshot = (run.path / "snapshots" / "step_0000000.npz").read_bytes()
    found = measure_run(run)
    file = files.read_state(run.measurement_path(0))
    assert file.kernel == found[0].block()
    np.testing.assert_array_equal(file.arrays["K"], run.measurement(0).features.mean)
    np.testing.assert_allclose(file.state.H, run.read_snapshot(0).state.H, atol=1e-6)
    assert file.sizes.as_dict() == {"C": 3, "m": 4, "n": 5, "N": 12}
    # The snapshot itself is written once.
    assert (run.path / "snapshots" / "step_0000000.npz").read_bytes() == snapshot


def test_steps_out_of_order_say_what_to_do_first(run):
    with pytest.raises(InputError, match="validate train"):
        measure_run(run)
    train_run(run)
    with pytest.raises(InputError, match="validate kernels"):
        compare_run(run)
    with pytest.raises(InputError, match="no snapshot at that step"):
        kernel_steps(run, extra=5_000)
    steps = run.steps()
    evenly = kernel_steps(run)
    spaced = kernel_steps(
        replace(run, config=replace(run.config, kernels=KernelConfig(count=3, spacing="change")))
    )
    assert (spaced[0], spaced[-1], len(spaced)) == (evenly[0], evenly[-1], 3)
    assert set(spaced) <= set(steps)
    measure_run(run)
    with pytest.raises(InputError, match="no kernel was measured there"):
        compare_run(run, from_snapshot=1)


def test_a_chosen_start_is_measured_and_leads(run):
    train_run(run)
    measure_run(run, extra=1)
    document = compare_run(run, from_snapshot=1, rungs=("block",))
    assert [(w.step, w.last_step, w.leading) for w in document.windows] == [(1, 12, True)]
    assert run.comparison() == document
    assert document.from_snapshot == 1


def test_a_kernel_without_block_order_is_refused_and_the_others_compared(run):
    train_run(run)
    measure_run(run, extra=1)
    found = run.measurement(0)
    constants = found.features.constants
    broken = {**constants, "n": replace(constants["n"], value=9.0)}
    found = replace(found, features=replace(found.features, constants=broken))
    run.write_measurement(0, found, CONFIG.kernels, 0.0)
    refused, good = compare_run(run, rungs=("block", "class-block")).windows[0].rungs[:2]
    assert "mu_class > 0" in refused.refused
    assert refused.skill is None
    assert good.score().value > 0.999


def test_a_measurement_that_cannot_be_read_is_refused(run):
    train_run(run)
    measure_run(run)
    run.measurement_path(0).write_text("{")
    with pytest.raises(InputError, match=r"measurements/0\.npz"):
        run.measurements()


def test_a_measurement_without_its_snapshot_is_none(run):
    train_run(run)
    found = measure_run(run)
    run.write_measurement(5_000, found[0], CONFIG.kernels, 0.0)
    assert run.measured() == list(run.measurements()) == [0, 12]


def test_places_may_be_named_in_words(run):
    place = str(run.path)
    with locked(place):
        assert RunDirectory.create(place, CONFIG, resume=True) == RunDirectory.open(place) == run
    assert RunDirectory.difference(place, CONFIG) is None
    assert run_paths(place) == [run.path]
