"""Several linear layers on block inputs, through the real training and measuring code (theory 18.2)."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.predictions import by_flow
from ntkflow_validation.ladder.rungs import SPECS, build
from ntkflow_validation.pipeline.pipeline import prepare
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.train import train

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.metrics.layers import kernels

KERNEL = nf.BlockKernel(1.5, 0.9, 0.2)
CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4, kappa_d=1.5, kappa_c=0.9, kappa_n=0.2),
    model=ModelConfig(name="linear", features=4, layers=3, scale=0.8),
    training=TrainConfig(steps=120, learning_rate=5e-3, reduction="sum", snapshots=5),
    kernels=KernelConfig(quantities=("tensor",)),
)


def layers_of(variables, x):
    """V_1 .. V_L, W and b of the network as a state of the theory, whose samples are sorted by class."""
    body, head = variables.params["body"], variables.params["head"]
    upper = [body["upper"][l]["kernel"] for l in sorted(body.get("upper", {}))]
    V = [np.asarray(kernel, dtype=np.float64).T for kernel in (body["dense"]["kernel"], *upper)]
    W, b = (np.asarray(head[name], dtype=np.float64) for name in ("kernel", "bias"))
    return nf.LayeredState.of_weights(np.asarray(x, dtype=np.float64).reshape(len(x), -1).T, tuple(V), W.T, b)


def problem_of(snapshot, dataset, sizes):
    return nf.LayeredProblem(sizes, KERNEL, layers_of(snapshot.train.variables, dataset.x))


def trained(**changes):
    config = replace(CONFIG, training=replace(CONFIG.training, **changes))
    dataset, network = prepare(config)
    return config, dataset, network, list(train(config, dataset, network))


def test_the_measured_kernel_is_that_of_the_layers_along_training():
    config, dataset, network, snapshots = trained()
    seen = []
    for snapshot in (snapshots[0], snapshots[-1]):
        problem = problem_of(snapshot, dataset, snapshots[0].sizes)
        flow = LayeredFlow.build(problem)
        known = kernels(flow, flow.start)
        found = measure_snapshot(network, snapshot.train.variables, dataset, config.kernels)
        for name, value in zip(("kappa_d", "kappa_c", "kappa_n"), known.mean.kappas, strict=True):
            assert getattr(found, name).value == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert found.mu_single.value == pytest.approx(known.mean.mu_single, rel=1e-5)
        assert found.features.block_residual == pytest.approx(known.mean.block_residual, rel=1e-4)
        # All of it: sum_l (B_l B_l^T) (x) H[l-1]^T H[l-1].
        state, B, total = problem.state, np.eye(4), 0.0
        grams = [KERNEL.matrix(problem.sizes), *(H.T @ H for H in state.layers[:-1])]
        for layer, gram in zip((*reversed(state.V), None), reversed(grams), strict=True):
            total = total + np.einsum("pq,ij->piqj", B @ B.T, gram)
            B = B if layer is None else B @ layer
        Theta = found.tensor("given").Theta.reshape(total.shape)
        np.testing.assert_allclose(Theta, total, atol=1e-5 * np.abs(total).max())
        seen.append(known.mean.kappas)
    # The kernel has moved, so that the comparison is of something.
    assert abs(seen[1][1] / seen[0][1] - 1) > 0.3


@pytest.mark.slow
def test_the_trajectory_of_the_layers_is_followed_to_the_order_of_the_step():
    errors = []
    for rate, steps in ((5e-3, 120), (1.25e-3, 480)):
        _, dataset, _, snapshots = trained(learning_rate=rate, steps=steps)
        times = np.array([s.time for s in snapshots])
        solution = nf.solve_layers(
            problem_of(snapshots[0], dataset, snapshots[0].sizes), save_at=times - times[0]
        )
        errors.append(max(np.abs(solution.state(i).W - s.state.W).max() for i, s in enumerate(snapshots)))
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "name"),
    # With as many features as contrasts means over neurons are those over the rows of W; with more only these are right.
    [(2, "block-in-time"), (6, "weighted-block-in-time")],
)
def test_constants_moving_between_snapshots_give_the_trajectory_where_the_kernel_is_blocks_all_along(
    features, name
):
    config = replace(
        CONFIG,
        model=ModelConfig(name="linear", features=features, layers=2, start="aligned", scale=0.4),
        training=replace(CONFIG.training, steps=400, learning_rate=1e-3, snapshots=25, spacing="even"),
        kernels=KernelConfig(quantities=("row-space",)),
    )
    dataset, network = prepare(config)
    snapshots = list(train(config, dataset, network))
    first, times = snapshots[0], np.array([s.time for s in snapshots])
    schedule = []
    for snapshot in snapshots:
        kernel = measure_snapshot(network, snapshot.train.variables, dataset, config.kernels)
        # W-weighted means as the layers have them: with all singular values s alike, s^2 (mu_single, 2 mu_class, mu_global).
        known, s2 = KERNEL.eigenvalues(first.sizes), np.sum(snapshot.state.W**2) / 2
        found = kernel.block("weighted").eigenvalues(first.sizes)
        for part, depth in (("mu_single", 1), ("mu_class", 2), ("mu_global", 1)):
            assert getattr(found, part) == pytest.approx(depth * s2 * getattr(known, part), rel=2e-3)
        schedule.append((snapshot.time - first.time, kernel))
    found = Measured(
        network, first.train, dataset, config, 0, first.state, first.sizes, schedule[0][1], tuple(schedule)
    )
    errors = {}
    for rung_name in ("block", "block-in-time", name):
        rung = build(next(spec for spec in SPECS if spec.name == rung_name), found)
        states = by_flow(rung, first.state, times - times[0]).states
        errors[rung_name] = max(np.abs(a.H - s.state.H).max() for a, s in zip(states, snapshots, strict=True))
    moved = np.abs(snapshots[-1].state.H - first.state.H).max()
    assert schedule[-1][1].kappa_c.value > 2 * schedule[0][1].kappa_c.value
    # What is left are steps of 1e-3 and straight lines between 25 kernels; constants of the start miss most of the way.
    assert errors[name] < 0.01 * moved
    assert errors["block"] > 0.1 * moved
    if features > 2:
        assert errors["block-in-time"] > 3 * errors[name]
