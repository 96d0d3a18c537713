import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.cli import app
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.kernels import FolderStore
from ntkflow_validation.pipeline.pipeline import prepare, train_run
from ntkflow_validation.runs.measurement_run import batch_features, measure_snapshot, measure_steps
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import head, probe, start
from typer.testing import CliRunner

from ntkflow.errors import InputError

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
        network, variables, dataset, KernelConfig(quantities=("outputs", "row-space", "tensor"))
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
        found = measure_snapshot(network, lagging, dataset, KernelConfig(method="probes", bn=bn, probes=8))
        assert found.bn == bn
        values[bn] = found.kappa_d.value
    assert len(set(values.values())) == 3
    with pytest.raises(InputError, match="all others"):
        measure_snapshot(*trained, KernelConfig(method="gram", bn="batch"))


def test_recalibrated_features_are_those_of_the_batch(trained):
    network, variables, dataset = trained
    x = jnp.asarray(dataset.x)
    # With the statistics of the whole batch, inference gives what training mode gives on it.
    batch = np.asarray(batch_features(network)(variables.params["body"], variables, x))
    statistics = jax.jit(network.calibrated)(*variables, x)
    own = network.features(variables.params, statistics, x)
    np.testing.assert_allclose(own, batch, atol=1e-4)


def test_a_file_is_written_and_an_interrupted_step_goes_on(run, trained):
    how = KernelConfig(quantities=("outputs", "tensor", "matrix"))

    def stop(what, done, total):
        raise KeyboardInterrupt

    step = run.steps()[-1]
    with pytest.raises(KeyboardInterrupt):
        list(measure_steps(run, [step], how, stop))
    folder = run.path / "measurements"
    assert len(list((folder / f".chunks-{step}").iterdir())) == 1
    assert run.measured() == []
    ((_, found, now),) = measure_steps(run, [step], how)
    assert now
    assert [path.name for path in folder.iterdir()] == [f"{step}.npz"]
    assert run.measured_how(step) == how
    written = run.measurement(step)
    assert written.to_dict() == found.to_dict()
    np.testing.assert_array_equal(written.full.values, found.full.values)
    np.testing.assert_array_equal(written.matrix.single, found.matrix.single)
    W, b = head(trained[1])
    np.testing.assert_array_equal(written.head.W, W)
    np.testing.assert_array_equal(written.head.b, b)


def test_what_is_asked_besides_is_measured_with_what_was_there(run):
    step, how = run.steps()[0], KernelConfig(quantities=("outputs",), neurons=3)
    ((_, first, _),) = measure_steps(run, [step], how)
    ((_, both, now),) = measure_steps(
        run, [step], KernelConfig(quantities=("rayleigh",), neurons=3, memory="1GiB")
    )
    assert now
    assert both.row() == first.row()
    assert both.outputs.to_dict("gamma") == first.outputs.to_dict("gamma")
    assert both.rayleigh is not None
    # In whatever way a step was measured, it was measured; other settings are said.
    ((_, kept, now),) = measure_steps(run, [step])
    assert (kept.to_dict(), now) == (both.to_dict(), False)
    with pytest.raises(InputError, match=f"step {step} was measured with other settings"):
        list(measure_steps(run, [step], KernelConfig()))
    ((_, _, now),) = measure_steps(run, [step], KernelConfig(), overwrite=True)
    assert (now, run.measured_how(step)) == (True, KernelConfig())


def test_the_command(run):
    runner = CliRunner()
    command = ["kernels", "--out", str(run.path), "--full", "--method", "class-sums"]
    list(measure_steps(run, run.steps(), overwrite=True, how=KernelConfig()))
    refused = runner.invoke(app, command)
    assert "other settings" in str(refused.exception)
    done = runner.invoke(app, [*command, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert "class-sums, bn eval, 4 neurons (n = 4), 12 of 12 samples" in done.output
    assert "gamma_d" in done.output
    # What class sums cannot say is a dash.
    assert "block_residual -" in done.output
    kept = runner.invoke(app, ["kernels", "--out", str(run.path)])
    assert kept.exit_code == 0
    refused = runner.invoke(app, ["kernels", "--out", str(run.path), "--method", "gram"])
    assert "other settings" in str(refused.exception)
    refused = runner.invoke(app, ["kernels", "--out", str(run.path), "--samples", "5"])
    assert "exceeds data.per_class" in str(refused.exception)


def test_a_store_is_only_read_for_the_same_question(trained, tmp_path):
    network, variables, dataset = trained
    store = FolderStore(tmp_path)
    first = measure_snapshot(network, variables, dataset, KernelConfig(), store=store)
    count = len(list(tmp_path.iterdir()))
    moved = variables._replace(statistics=jax.tree.map(lambda s: s + 0.1, variables.statistics))
    second = measure_snapshot(network, moved, dataset, KernelConfig(), store=store)
    assert len(list(tmp_path.iterdir())) == 2 * count
    assert second.kappa_d.value != first.kappa_d.value
    third = measure_snapshot(network, variables, dataset, KernelConfig(per_class=2), store=store)
    assert third.kappa_d.value != first.kappa_d.value


def test_chunks_that_a_kill_left_beside_their_measurement_are_removed(run):
    """The measurement is written first; the next command that measures the step finds it done."""
    step, how = run.steps()[1], KernelConfig(quantities=("outputs",), neurons=2)
    for times in (1, 2):
        chunks = run.path / "measurements" / f".chunks-{step}"
        if times == 2:
            chunks.mkdir()
            (chunks / "left.npz").touch()
        ((_, _, now),) = measure_steps(run, [step], how, overwrite=times == 1)
        assert now is (times == 1)
        assert not chunks.exists()
