"""Gradients of metrics against independent differences and forward sensitivities; metrics against the series."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow as nf
from ntkflow.derivatives import sensitivity, vmapped
from ntkflow.derivatives.gradient import setting, split
from ntkflow.derivatives.jax_metrics import METRICS, metric
from ntkflow.integrate.engines import jax_flow
from ntkflow.integrate.engines.precision import x64
from ntkflow.metrics import neural_collapse

SIZES, TIME = nf.Sizes(3, (2, 4, 3), 5), 0.8
KAPPAS = {"kappa_d": 1.3, "kappa_c": 0.6, "kappa_n": 0.2}


def problem(kappas=KAPPAS):
    rng = np.random.default_rng(0)
    state = nf.State(rng.normal(size=(5, 9)), rng.normal(size=(3, 5)), rng.normal(size=3))
    return nf.Problem(SIZES, nf.BlockKernel(**kappas), state)


@pytest.fixture(scope="module")
def found():
    return nf.gradient("loss", problem(), TIME)


def test_the_value_and_the_derivative_by_time(found):
    step = 1e-4
    series = nf.solve(problem(), save_at=[TIME - step, TIME, TIME + step], rtol=1e-11).series["loss"]
    np.testing.assert_allclose(found.value, series[1], rtol=1e-8)
    np.testing.assert_allclose(found.t, (series[2] - series[0]) / (2 * step), rtol=1e-6)


def test_forward_sensitivities_give_the_same_gradient(found):
    rng = np.random.default_rng(1)
    push = nf.State(rng.normal(size=(5, 9)), rng.normal(size=(3, 5)), rng.normal(size=3))
    base = problem()
    directions = sensitivity.kernel_directions(base.kernel, SIZES)
    directions["push"] = sensitivity.Direction(state=push)
    forward = sensitivity.sensitivity(base, directions, [TIME], rtol=1e-9)
    end = forward.states[0]
    R = end.logits - np.eye(3)[:, SIZES.labels]
    # dL = <R, dW H + W dH + db 1^T>
    gradient = {
        name: np.vdot(R, d[0].W @ end.H + end.W @ d[0].H + d[0].b[:, None])
        for name, d in forward.derivatives.items()
    }
    for name in KAPPAS:
        np.testing.assert_allclose(getattr(found, name), gradient[name], rtol=1e-6)
    along = sum(np.vdot(getattr(found.state, part), getattr(push, part)) for part in "HWb")
    np.testing.assert_allclose(along, gradient["push"], rtol=1e-6)


@pytest.mark.slow
def test_members_of_an_ensemble_may_hold_their_biases():
    base = replace(problem(), train_bias=False)
    members = vmapped.ensemble([base], [0.2, TIME], names=("NC3", "b_error"))
    series = nf.solve(base, save_at=[0.0, 0.2, TIME], rtol=1e-10).series
    for name, values in members.series.items():
        np.testing.assert_allclose(values[0], series[name][1:], rtol=1e-7)
    assert np.ptp(members.series["b_error"]) < 1e-14


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_the_series(name):
    base = problem()
    series = nf.solve(base, save_at=[0.0, 0.1]).series[name][0]
    s = base.state
    with x64():
        H1, deviations = split(jnp.asarray(s.H), SIZES)
        value = metric(name)(
            H1,
            deviations,
            jnp.asarray(s.W),
            jnp.asarray(s.b),
            setting(jnp.asarray([*KAPPAS.values()]), SIZES),
        )
    np.testing.assert_allclose(float(value), series, rtol=1e-12)


def test_every_metric_of_a_summary_has_a_derivative_that_differences_confirm():
    """Along one direction of the state, for all metrics at once; NC4 is piecewise constant."""
    assert set(neural_collapse.NAMES) - {"NC4"} <= set(METRICS)
    rng = np.random.default_rng(3)
    s, sizes = problem().state, SIZES
    push = [rng.normal(size=part.shape) for part in (s.H, s.W, s.b)]
    with x64():
        around = setting(jnp.asarray([*KAPPAS.values()]), sizes)

        def values(c):
            H, W, b = (
                jnp.asarray(x) + c * jnp.asarray(d) for x, d in zip((s.H, s.W, s.b), push, strict=True)
            )
            return jnp.stack([f(*split(H, sizes), W, b, around) for f in METRICS.values()])

        slope = np.asarray(jax.jit(jax.jacfwd(values))(jnp.asarray(0.0)))
        plus, minus = (np.asarray(values(c)) for c in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (plus - minus) / 2e-5, rtol=1e-5, atol=1e-7)


def test_members_of_an_ensemble_are_what_solve_gives_and_are_compiled_once(monkeypatch):
    traced = []
    solved = jax_flow.solve
    monkeypatch.setattr(jax_flow, "solve", lambda *a, **k: traced.append(k["m"]) or solved(*a, **k))
    second = problem({"kappa_d": 2.0, "kappa_c": 0.5, "kappa_n": 0.0})
    times = [0.2, 0.7]
    found = vmapped.ensemble([problem(), second], times, names=("loss", "E_alignment"))
    assert not found.failed.any()
    for i, member in enumerate((problem(), second)):
        series = nf.solve(member, save_at=times, rtol=1e-10).series
        for name, values in found.series.items():
            np.testing.assert_allclose(values[i], series[name], rtol=1e-7)
    later = vmapped.ensemble([second, problem()], [0.2, 0.9], names=("loss", "E_alignment"))
    assert len(traced) == 1
    assert later.series["loss"][0, 0] == pytest.approx(found.series["loss"][1, 0], rel=1e-7)
    assert later.series["loss"][0, 1] < found.series["loss"][1, 1]


def test_jax_stays_as_it_was(found):
    assert isinstance(found.value, float)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(2).dtype == jnp.float32


def test_refusals():
    with pytest.raises(nf.InputError, match="metric"):
        nf.gradient("NC4", problem(), 1.0)
    with pytest.raises(nf.InputError, match="positive"):
        nf.gradient("loss", problem(), 0.0)
    with pytest.raises(nf.InputError, match="solver"):
        nf.gradient("loss", problem(), 1.0, solver="Euler")
    decaying = nf.Problem(SIZES, problem().kernel, problem().state, decay=nf.Decay(0.1, 0.1, 0.1))
    with pytest.raises(nf.InputError, match="decay"):
        nf.gradient("loss", decaying, 1.0)
    with pytest.raises(nf.InputError, match="same sizes"):
        vmapped.ensemble([], [1.0])
    with pytest.raises(nf.InputError, match="increase"):
        vmapped.ensemble([problem()], [1.0, 0.5])
    traced = jax.eval_shape  # traces in float32 outside x64
    s = problem().state
    with pytest.raises(nf.InputError, match="x64"):
        traced(lambda t: jax_flow.solve(1.0, 0.5, 0.1, s.H[:, :3], s.H, s.W, s.b, t, m=3), jnp.float32(1.0))


def test_gradients_of_held_biases_agree_with_differences():
    rng, base = np.random.default_rng(4), replace(problem(), train_bias=False)
    push = nf.State(rng.normal(size=(5, 9)), rng.normal(size=(3, 5)), rng.normal(size=3))
    found, step = nf.gradient("NC3", base, TIME), 1e-4

    def value(c=0.0, kappa_c=0.0, t=0.0):
        s = base.state
        moved = nf.State(*(getattr(s, part) + c * getattr(push, part) for part in "HWb"))
        kernel = nf.BlockKernel(**{**KAPPAS, "kappa_c": KAPPAS["kappa_c"] + kappa_c})
        run = nf.solve(
            replace(base, state=moved, kernel=kernel), save_at=[0.0, TIME + t], rtol=1e-11, engine="DOP853"
        )
        return run.series["NC3"][-1]

    assert found.value == pytest.approx(value(), rel=1e-8)
    along = sum(np.vdot(getattr(found.state, part), getattr(push, part)) for part in "HWb")
    for slope, name in ((along, "c"), (found.kappa_c, "kappa_c"), (found.t, "t")):
        difference = (value(**{name: step}) - value(**{name: -step})) / (2 * step)
        assert slope == pytest.approx(difference, rel=1e-5), name
    # The push of b counts: NC3 does not depend on b, the flow does.
    assert np.linalg.norm(found.state.b) > 1e-3
    with pytest.raises(nf.InputError, match="biases that are held: must be the same flow"):
        vmapped.ensemble([base, problem()], [TIME])
