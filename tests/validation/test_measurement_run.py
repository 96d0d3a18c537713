import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from ntkflow.errors import InputError
from validation.cli import app
from validation.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from validation.kernels import FolderStore
from validation.measurement_run import Settings, batch_features, measure_in_full, measure_snapshot
from validation.pipeline import prepare, train_run
from validation.rundir import RunDirectory
from validation.train import head, probe, start
from validation.training_run import silent

CONFIG = RunConfig(
    data=DataConfig(name="digits", classes=3, per_class=4),
    model=ModelConfig(name="cnn", features=4, width=2, norm="batch"),
    training=TrainConfig(steps=20, learning_rate=0.05, snapshots=3),
    kernels=KernelConfig(count=2),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = RunDirectory.create(tmp_path_factory.mktemp("runs") / "run", CONFIG)
    train_run(directory)
    return directory


@pytest.fixture(scope="module")
def trained(run):
    dataset, network = prepare(run.config)
    state = run.read_train_state(run.steps()[-1], start(network, run.config.training))
    return network, state.variables, dataset


def test_the_snapshots_own_head_and_features_are_used(trained):
    network, variables, dataset = trained
    W, _ = head(variables)
    H = probe(network, variables, dataset.x)
    found = measure_snapshot(
        network, variables, dataset, Settings(quantities=("outputs", "row-space", "tensor"))
    )
    # gamma_d is the mean of W Theta^h W^T on the diagonal plus |h|^2 + 1.
    own = np.einsum("kp,piqi,kq->", W, found.full.values, W) / (3 * 12)
    assert found.gamma_d.value == pytest.approx(own + (H**2).sum(axis=0).mean() + 1, rel=1e-5)
    assert found.row_space.directions == 3


def test_modes_of_batch_normalisation_differ_and_are_said(trained):
    network, variables, dataset = trained
    # Running statistics that lag behind, as those of momentum 0.99 do.
    lagging = variables._replace(statistics=jax.tree.map(lambda s: s + 0.1, variables.statistics))
    values = {}
    for bn in ("eval", "recalibrated", "batch"):
        found = measure_snapshot(network, lagging, dataset, Settings(method="probes", bn=bn, probes=8))
        assert found.bn == bn
        values[bn] = found.kappa_d.value
    assert len(set(values.values())) == 3
    with pytest.raises(InputError, match="all others"):
        measure_snapshot(*trained, Settings(method="gram", bn="batch"))


def test_recalibrated_features_are_those_of_the_batch(trained):
    network, variables, dataset = trained
    # With the statistics of the whole batch, inference gives what training mode gives on it.
    batch = np.asarray(batch_features(network)(variables.params["body"], variables, dataset.x))
    statistics = jax.jit(network.calibrated)(*variables, dataset.x)
    own = network.features(variables.params, statistics, dataset.x)
    np.testing.assert_allclose(own, batch, atol=1e-4)


def test_files_are_written_and_an_interrupted_step_goes_on(run, trained):
    network, _, dataset = trained
    settings = Settings(quantities=("outputs", "tensor", "matrix"))

    def stop(what, done, total):
        raise KeyboardInterrupt

    step = run.steps()[-1]
    with pytest.raises(KeyboardInterrupt):
        list(measure_in_full(run, [step], dataset, network, settings, stop))
    folder = run.path / "measurements"
    assert len(list((folder / f".chunks-{step}").iterdir())) == 1
    assert not (folder / f"{step}.json").exists()
    ((_, found, document),) = measure_in_full(run, [step], dataset, network, settings, lambda *_: None)
    assert sorted(path.name for path in folder.iterdir()) == [f"{step}.json", f"{step}.npz"]
    written = json.loads((folder / f"{step}.json").read_text())
    assert (
        written["features"]["kappa_d"]["value"]
        == found.kappa_d.value
        == document["features"]["kappa_d"]["value"]
    )
    assert written["settings"]["quantities"] == ["outputs", "tensor", "matrix"]
    with np.load(folder / f"{step}.npz") as arrays:
        np.testing.assert_array_equal(arrays["Theta"], found.full.values)
        np.testing.assert_array_equal(arrays["A_d"], found.matrix.single)
        np.testing.assert_array_equal(arrays["features_pair_norms"], found.full.norms)


def test_the_command(run):
    runner = CliRunner()
    command = ["kernels", "--out", str(run.path), "--full", "--method", "class-sums"]
    refused = runner.invoke(app, command)
    assert "other settings" in str(refused.exception)
    done = runner.invoke(app, [*command, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert "class-sums, bn eval, 4 neurons (n = 4), 12 of 12 samples" in done.output
    assert "gamma_d" in done.output
    refused = runner.invoke(app, ["kernels", "--out", str(run.path), "--method", "gram"])
    assert isinstance(refused.exception, InputError)
    assert "--full" in str(refused.exception)


def test_a_store_is_only_read_for_the_same_question(trained, tmp_path):
    network, variables, dataset = trained
    store = FolderStore(tmp_path)
    first = measure_snapshot(network, variables, dataset, Settings(quantities=()), store)
    count = len(list(tmp_path.iterdir()))
    moved = variables._replace(statistics=jax.tree.map(lambda s: s + 0.1, variables.statistics))
    second = measure_snapshot(network, moved, dataset, Settings(quantities=()), store)
    assert len(list(tmp_path.iterdir())) == 2 * count
    assert second.kappa_d.value != first.kappa_d.value
    third = measure_snapshot(
        network, variables, dataset, replace(Settings(), quantities=(), per_class=2), store
    )
    assert third.kappa_d.value != first.kappa_d.value


def test_chunks_that_a_kill_left_beside_their_document_are_removed(run):
    """The document is written first; the next command that measures the step finds it done."""
    step, settings = run.steps()[1], Settings(quantities=("outputs",), neurons=2)
    for times in (1, 2):
        chunks = run.path / "measurements" / f".chunks-{step}"
        if times == 2:
            chunks.mkdir()
            (chunks / "left.npz").touch()
        ((_, found, _),) = measure_in_full(run, [step], *prepare(CONFIG), settings, silent)
        assert (found is None) is (times == 2)
        assert not chunks.exists()
