"""The kernel figure: which panes, which numbers in them, from memory and from files alike."""

import jax.numpy as jnp
import ntkflow_validation
import numpy as np
import pytest
from ntkflow_validation.cli import app
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.figures.kernel_panes import in_full, kernel_figure
from ntkflow_validation.kernels import measure
from ntkflow_validation.pipeline.pipeline import train_run
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.steps import epochs_of
from typer.testing import CliRunner

from ntkflow.errors import InputError

LABELS = np.repeat([0, 1, 2], [3, 4, 5])
WANTED = ("outputs", "pair-norms", "output-pair-norms")


def linear(p, x):
    return x @ p["V"]


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(0)
    params = {"V": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)}
    x = rng.normal(size=(12, 5)).astype(np.float32)
    head = rng.normal(size=(3, 4)), np.zeros(3)
    return {
        step: measure(linear, params, x * (1 + step), LABELS, head=head, quantities=WANTED, probes=4)
        for step in (0, 1, 100)
    }


def heat_maps(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_every_pane_shows_its_quantity_as_a_fraction_of_the_largest_value(measured):
    assert ntkflow_validation.kernel_figure is kernel_figure
    found = measured[100]
    figure = kernel_figure(measured, axis="step")
    figure.canvas.draw()
    expected = (found.outputs.trace, found.features.trace, found.output_pairs.norms, found.pairs.norms)
    for shown, values in zip(heat_maps(figure), expected, strict=True):
        np.testing.assert_allclose(shown, values / np.abs(values).max(), rtol=1e-12)
    separators = [line.get_xdata()[0] for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert separators == [2.5, 6.5]
    curves = {axes.get_title()[3:]: axes for axes in figure.axes if axes.get_title()[:1] in ("e", "f")}
    alignment, distance = curves["Alignment with YᵀY"], curves["Distance from three constants"]
    (outputs, features) = alignment.lines
    np.testing.assert_array_equal(features.get_xdata(), [0, 1, 100])
    np.testing.assert_allclose(features.get_ydata(), [m.features.alignment for m in measured.values()])
    np.testing.assert_allclose(outputs.get_ydata(), [m.outputs.alignment for m in measured.values()])
    residuals = [m.pairs.block_residual(m.features.block_square) for m in measured.values()]
    np.testing.assert_allclose(distance.lines[2].get_ydata(), residuals)
    assert f"{found.pairs.share:.2f}" in figure.axes[3].get_xlabel()


def test_the_panes_are_those_that_were_measured(measured):
    alone = measure(linear, {"V": jnp.eye(5, 2)}, np.eye(12, 5, dtype=np.float32), LABELS)
    assert len(heat_maps(kernel_figure(alone))) == 1
    first = kernel_figure(measured, at=0)
    np.testing.assert_allclose(heat_maps(first)[3], measured[0].pairs.norms / measured[0].pairs.norms.max())
    with pytest.raises(InputError, match=r"\[0, 1, 100\]"):
        kernel_figure(measured, at=7)
    with pytest.raises(InputError, match="nothing"):
        kernel_figure({})


def test_pictures_show_classes_as_blocks_in_whatever_order_the_samples_came(measured):
    labels = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0, 2])
    x = np.random.default_rng(1).normal(size=(10, 5)).astype(np.float32)
    found = measure(linear, {"V": jnp.eye(5, 2)}, x, labels)
    order = np.argsort(labels, kind="stable")
    K = found.sample(order="class").K
    (shown,) = heat_maps(kernel_figure(found))
    np.testing.assert_allclose(shown, K / np.abs(K).max(), rtol=1e-12)
    np.testing.assert_array_equal(K, found.features.mean[np.ix_(order, order)])


@pytest.mark.slow
def test_the_command_draws_a_run_and_measures_each_step_once(tmp_path):
    config = RunConfig(
        data=DataConfig(name="digits", classes=3, per_class=6),
        model=ModelConfig(name="cnn", features=4, width=2),
        training=TrainConfig(steps=4, snapshots=2, batch_per_class=3),
        kernels=KernelConfig(count=2, per_class=4, neurons=3),
    )
    run = RunDirectory.create(tmp_path / "run", config)
    train_run(run)
    runner = CliRunner()
    command = ["kernels", "--out", str(run.path), "--figure"]
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "3 neurons (n = 4), 12 of 18 samples" in done.output
    drawn = run.path / "figures" / "kernels.png"
    assert f"figure: {drawn}" in done.output
    assert drawn.read_bytes()[:4] == b"\x89PNG"
    found = in_full(run)
    assert list(found) == [0, 4]
    assert [epochs_of(config.training, step, config.data.per_class) for step in found] == [0, 2]
    written = {path: path.stat().st_mtime_ns for path in (run.path / "measurements").iterdir()}
    again = runner.invoke(app, [*command, "--from-snapshot", "0"])
    assert again.output.count("was measured before") == 2
    more = runner.invoke(app, [*command, "--quantity", "rayleigh", "--samples", "4"])
    assert more.exit_code == 0, more.output
    # What was there before is there still, and the new quantity with it.
    now = run.measurement(4)
    np.testing.assert_array_equal(now.pairs.norms, found[4].pairs.norms)
    assert now.rayleigh is not None
    assert all(path.stat().st_mtime_ns > time for path, time in written.items())
    other = runner.invoke(app, [*command, "--samples", "5"])
    assert "other settings" in str(other.exception)
    assert runner.invoke(app, [*command, "--samples", "5", "--overwrite"]).exit_code == 0
