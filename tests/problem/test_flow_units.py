"""Conversions against a loop of optimiser steps on the loss as frameworks write it."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem import flow_units
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare

SIZES, KERNEL = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1)
NC = SIZES.N * SIZES.C


def trained(rate, weight_decay, steps, reduction="mean", decay="coupled", momentum=0.0):
    """W, H and b by SGD on the mean (or sum) of squares / 2, features moved in the metric of their kernel."""
    state, K = nf.initial.make("gaussian", SIZES, None, 1), KERNEL.matrix(SIZES)
    Y, scale = np.repeat(np.eye(3), 4, axis=1), NC if reduction == "mean" else 1
    x = [state.H.copy(), state.W.copy(), state.b.copy()]
    v = [np.zeros_like(part) for part in x]
    for _ in range(steps):
        H, W, b = x
        R = (W @ H + b[:, None] - Y) / scale
        g = [W.T @ R @ K, R @ H.T, R.sum(axis=1)]
        coupled = weight_decay if decay == "coupled" else 0.0
        g = [p + coupled * q for p, q in zip(g[:2], x[:2], strict=True)] + g[2:]
        v = [momentum * a + p for a, p in zip(v, g, strict=True)]
        shrink = 1 - rate * weight_decay if decay == "decoupled" else 1.0
        x = [shrink * H - rate * v[0], shrink * W - rate * v[1], b - rate * v[2]]
    return nf.State(*x)


@pytest.mark.parametrize(
    ("reduction", "decay", "momentum"),
    [("mean", "coupled", 0.0), ("sum", "coupled", 0.0), ("mean", "coupled", 0.8), ("mean", "decoupled", 0.8)],
)
def test_small_steps_follow_the_flow_of_the_converted_time_and_decay(reduction, decay, momentum):
    scale = flow_units.loss_scale("mse", reduction, SIZES.N, SIZES.C)
    rate, steps = 2e-4 * scale * (1 - momentum), 2000
    weight_decay = 0.6 / scale
    lam = flow_units.theory_decay(weight_decay, scale, momentum, decay)
    t = flow_units.times(np.full(steps, rate), scale, momentum)[-1]
    end = trained(rate, weight_decay, steps, reduction, decay, momentum)
    problem = nf.Problem(SIZES, KERNEL, nf.initial.make("gaussian", SIZES, None, 1), decay=nf.Decay(lam, lam))
    flow = nf.solve(problem, save_at=[t]).final
    assert np.linalg.norm(end.H - flow.H) < 3e-3 * np.linalg.norm(flow.H)
    unconverted = nf.solve(nf.Problem(SIZES, KERNEL, problem.state), save_at=[t]).final
    assert np.linalg.norm(end.H - unconverted.H) > 0.03 * np.linalg.norm(flow.H)


def test_the_scale_of_every_loss_and_reduction():
    assert flow_units.loss_scale("mse", "mean", 12, 3) == 36
    assert flow_units.loss_scale("cross-entropy", "mean", 12, 3) == 12
    assert flow_units.loss_scale("mse", "sum", 12, 3) == 1
    assert flow_units.loss_scale("mse", "sum", 12, 3, batch=6) == 2
    assert flow_units.theory_decay(5e-4, 36.0) == pytest.approx(36 * 5e-4)
    assert flow_units.optimiser_decay(flow_units.theory_decay(5e-4, 36.0), 36.0) == pytest.approx(5e-4)


def test_weight_decay_of_the_options_is_that_of_the_theory():
    base = {"classes": 3, "per_class": 4, "features": 5, "init": "gaussian"}
    prepared = prepare(SimulateConfig(**base, weight_decay=0.02, learning_rate=0.1, momentum=0.5))
    assert prepared.problem.decay.rates == (pytest.approx(0.72), pytest.approx(0.72), 0)
    assert prepared.optimiser.time_step == pytest.approx(0.1 / 36 / 0.5)
    assert prepare(SimulateConfig(**base, weight_decay=0.02, loss_reduction="sum")).problem.decay.W == 0.02
    entropy = prepare(SimulateConfig(**base, weight_decay=0.02, loss="cross-entropy"))
    assert pytest.approx(0.24) == entropy.problem.decay.W
    # What is written out can be replayed, and changed.
    assert prepare(prepared.config).problem.decay.rates == prepared.problem.decay.rates
    assert pytest.approx(0.36) == prepare(prepared.config.updated({"weight_decay": 0.01})).problem.decay.W


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": 0.1, "decay_w": 0.2}, "--weight-decay = 0.1: contradicts --decay-w"),
        (
            {"learning_rate": 0.1, "step_size": 0.2},
            "--learning-rate = 0.1: has no meaning beside --step-size",
        ),
        ({"loss_reduction": "sum"}, "--loss-reduction = sum: says how to convert"),
        ({"momentum": 0.9}, "--momentum = 0.9: has no meaning for the flow"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(nf.InputError, match=message):
        SimulateConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -0.1}, "weight_decay = -0.1: must be finite and at least 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be positive"),
        ({"learning_rate": 0.1, "momentum": 1.0}, "momentum = 1.0: must lie in"),
        (
            {"weight_decay": 0.1, "loss_reduction": "max"},
            "reduction = 'max': must be one of mean, sum, batch-mean",
        ),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(nf.InputError, match=message):
        prepare(SimulateConfig(**options))


def test_an_unknown_kind_of_decay_is_refused():
    with pytest.raises(nf.InputError, match="must be one of coupled, decoupled"):
        flow_units.theory_decay(0.1, 1.0, 0.0, "other")
