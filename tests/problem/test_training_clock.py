"""What a clock says: time, decay, its own error, and what it refuses; `test_steps_of_frameworks` has the steps."""

import math
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.problem import flow_units
from tests.strategies import costly

SIZES = nf.Sizes(3, 4, 5)
N, C = SIZES.N, SIZES.C
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def shrunk(rule, rate, steps):
    """How much a parameter without a gradient loses in the last of so many steps, as a rate per learning rate."""
    position = jnp.ones(1)
    state = rule.init(position)
    for _ in range(steps):
        before = position
        updates, state = rule.update(jnp.zeros(1), state, position)
        position = optax.apply_updates(position, updates)
    return float(-np.log(position / before)[0]) / rate


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_decay_under_built_up_momentum(decay):
    rate, beta = 1e-4, 0.8
    chain = {
        "coupled": (optax.add_decayed_weights(1.0), optax.trace(beta)),
        "decoupled": (optax.trace(beta), optax.add_decayed_weights(1.0)),
    }[decay]
    with jax.enable_x64():
        # Enough steps that momentum has built up to rounding, and few enough to be quick.
        found = shrunk(optax.chain(*chain, optax.scale(-rate)), rate, 60)
    clock = nf.Clock(rate, reduction="sum", momentum=beta, weight_decay=1.0, decay=decay, samples=N)
    expected = clock.decay.W * clock.time_step / rate
    assert found == pytest.approx(expected, rel=2e-2)


@needs_torch
def test_adamws_decay_is_decoupled():
    import torch

    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    x.grad = torch.zeros(1, dtype=torch.float64)
    rate = 1e-3
    torch.optim.AdamW([x], lr=rate, weight_decay=0.5).step()
    clock = nf.Clock(rate, reduction="sum", weight_decay=0.5, decay="decoupled", samples=N)
    assert x.item() == pytest.approx(math.exp(-clock.decay.W * clock.time(1)), abs=2e-7)


def test_features_of_degree_two_decay_twice_as_fast():
    rng = np.random.default_rng(0)
    V, U, X = rng.normal(size=(4, 6)), rng.normal(size=(5, 4)), rng.normal(size=(6, 7))
    clock = nf.Clock(1e-4, reduction="sum", weight_decay=1.0, degree=2, samples=N, decay_on="weights")
    keep = 1 - 1e-4  # one step of decay alone
    moved = (keep * U) @ np.maximum(keep * V @ X, 0)
    expected = (U @ np.maximum(V @ X, 0)) * math.exp(-clock.decay.H * clock.time(1))
    np.testing.assert_allclose(moved, expected, rtol=1e-7)
    assert clock.decay.rates == (1.0, 2.0, 0.0)


@costly(40)
@given(
    st.sampled_from([0.0, 0.3, 0.9, 0.99]), st.booleans(), st.lists(st.integers(0, 5000), min_size=1, max_size=5)
)  # fmt: skip
def test_a_constant_rate_is_the_schedule_of_its_repetition(beta, nesterov, steps):
    of = {"momentum": beta, "nesterov": nesterov, "samples": N, "classes": C}
    rate, listed, asked = (
        nf.Clock(0.3, **of),
        nf.Clock(schedule=[0.3] * 5000, **of),
        nf.Clock(schedule=lambda s: 0.3, **of),
    )
    np.testing.assert_allclose(rate.time(steps), listed.time(steps), rtol=1e-9)
    np.testing.assert_allclose(rate.time(steps), asked.time(steps), rtol=1e-9)
    for clock in (rate, listed):
        np.testing.assert_allclose(clock.step(clock.time(steps)), steps, rtol=1e-9, atol=1e-9)
        assert clock.step(float(clock.time(steps[-1]))) == pytest.approx(steps[-1], rel=1e-9)


@pytest.mark.parametrize(
    "schedule",
    [
        optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 60, 0.01),
        optax.piecewise_constant_schedule(0.1, {20: 0.1, 40: 0.1}),
        optax.cosine_onecycle_schedule(60, 0.1),
        lambda step: 0.1 if step < 20 else 0.01,
    ],
)
def test_time_follows_a_schedule_step_by_step(schedule):
    rule, position, travelled = optax.sgd(schedule, momentum=0.7), jnp.zeros(()), [0.0]
    state = rule.init(position)
    for _ in range(60):
        updates, state = rule.update(-jnp.ones(()), state, position)
        position = optax.apply_updates(position, updates)
        travelled.append(float(position))
    clock = nf.Clock(schedule=schedule, momentum=0.7, reduction="sum", samples=N)
    np.testing.assert_allclose(clock.time(np.arange(61)), travelled, rtol=2e-5, atol=1e-7)
    assert clock.step(clock.time(33.5)) == pytest.approx(33.5, rel=1e-9)


@needs_torch
def test_the_rates_that_a_torch_scheduler_had():
    import torch

    x = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([x], lr=0.4, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 3, 0.1)
    rates, travelled = [], [0.0]
    for _ in range(10):
        rates.append(scheduler.get_last_lr())
        x.grad = -torch.ones(1)
        optimiser.step()
        scheduler.step()
        travelled.append(float(x.detach()))
    clock = nf.Clock(schedule=rates, momentum=0.5, reduction="sum", samples=N)
    np.testing.assert_allclose(clock.time(np.arange(11)), travelled, rtol=1e-5)
    with pytest.raises(nf.InputError, match=r"append scheduler\.get_last_lr"):
        nf.Clock(schedule=scheduler, samples=N, classes=C)


def test_where_rates_are_zero_time_stands_still():
    clock = nf.Clock(schedule=[0.0, 1.0, 0.0, 1.0], reduction="sum", samples=N)
    assert clock.time([0, 1, 2, 3, 4]).tolist() == [0, 0, 1, 1, 2]
    assert clock.step([0.0, 0.5, 1.0, 2.0]).tolist() == [0, 1.5, 2, 4]


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_stated_error_is_that_of_a_mode(nesterov):
    """The rate of a mode under the optimiser, by the eigenvalue of its map, less that of the flow."""
    b, rate, off = 0.6, 1.0, []
    for eta in (2e-3, 1e-3):
        clock = nf.Clock(eta, reduction="sum", momentum=b, nesterov=nesterov, samples=N)
        own, carried = (1 + b, b * b) if nesterov else (1, b)
        root = np.abs(np.linalg.eigvals([[1 - eta * own, -eta * carried], [1, b]])).max()
        off.append(abs(-np.log(root) / clock.time_step - rate * (1 + clock.error(rate))))
        assert clock.error(rate) == pytest.approx(clock.effective_step / 2)
    assert off[0] / off[1] == pytest.approx(4, rel=0.1)


def test_the_options_of_the_command_are_the_same_clock():
    from ntkflow.runs.config import SimulateConfig
    from ntkflow.runs.simulate import prepare

    config = SimulateConfig(
        classes=3, per_class=4, features=5, learning_rate=0.1, momentum=0.5, weight_decay=0.02
    )
    clock = nf.Clock(0.1, momentum=0.5, weight_decay=0.02, samples=N, classes=C, decay_on="weights")
    assert prepare(config).optimiser.as_dict() == clock.as_dict()


def test_scales():
    def scale(loss, reduction, **more):
        return nf.Clock(loss=loss, reduction=reduction, samples=12, classes=3, **more).scale

    assert [scale("half-squared", r) for r in flow_units.REDUCTIONS] == [36, 1, 12]
    assert [scale("squared", r) for r in flow_units.REDUCTIONS] == [18, 0.5, 6]
    assert [scale("cross-entropy", r) for r in flow_units.REDUCTIONS] == [12, 1, 12]
    assert scale("squared", "sum", batch=4, accumulate=3) == 0.5
    assert scale("mylosses:huber", "mean") == 12


def test_it_shows_itself_in_a_few_lines_and_as_plain_values():
    import json

    clock = nf.Clock(0.1, "squared", momentum=0.9, samples=1000, classes=10, weight_decay=5e-4)
    assert len(repr(clock).splitlines()) <= 4
    assert "5000 times" in repr(clock)
    assert "coupled weight decay 0.0005: W 2.5, H 2.5, b 2.5)" in repr(clock)
    assert json.loads(json.dumps(clock.as_dict()))["loss_scale"] == 5000
    assert "a list of 2 rates" in repr(nf.Clock(schedule=[1, 2], samples=2, classes=2))
    assert nf.Clock(weight_decay=0.1, samples=4, classes=2).decay == nf.Decay.equal(0.8)


REFUSED = {
    "unknown loss": ({"loss": "mse"}, "loss = 'mse': must be one of half-squared, squared, cross-entropy"),
    "unknown reduction": ({"reduction": "none"}, "reduction = 'none': must be one of mean, sum, batch-mean"),
    "unknown decay": ({"decay": "l1"}, "decay = 'l1': must be one of coupled, decoupled"),
    "no classes": ({"classes": None}, "over samples and outputs, of which there are C"),
    "no samples": ({"samples": 0}, "samples = 0: must be at least 1"),
    "large batch": ({"batch": 13}, "batch = 13: is more than the 12 samples"),
    "rate of zero": ({"learning_rate": 0.0}, "learning_rate = 0.0: must be positive"),
    "momentum": ({"momentum": 1.0}, "momentum = 1.0: must lie in 0 <= momentum < 1"),
    "negative decay": ({"weight_decay": -1}, "weight_decay = -1: must be finite and at least 0"),
    "both rates": ({"learning_rate": 1.0, "schedule": [1.0]}, "contradicts schedule"),
    "negative schedule": ({"schedule": [0.1, -0.1]}, "-0.1 at step 1: must be finite and at least 0"),
    "schedule of pairs": ({"schedule": lambda s: [0.1, 0.2]}, "must give one rate for a step"),
    "groups": ({"schedule": [[0.1, 0.2]]}, "groups of parameters with different rates"),
    "empty schedule": ({"schedule": []}, "an empty list: has no rate; .* a scheduler tells them beforehand"),
    "adam": ({"optimiser": "Adam"}, "scales each parameter's gradient by its own history"),
    "adamw": ({"optimiser": "AdamW"}, "compare at equal loss"),
    "lbfgs": ({"optimiser": "LBFGS"}, "curvature"),
    "unknown optimiser": ({"optimiser": "mine"}, "give one of sgd, momentum, nesterov"),
    "ema": ({"ema": 0.999}, "ema = 0.999: an average of the weights lags"),
    "clip": ({"clip": 1.0}, "clip = 1.0: a clipped step is shorter"),
    "layer rates": ({"layer_rates": {"head": 0.1}}, "parameters with different rates have no one clock"),
    "dampening": ({"dampening": 0.1}, r"give learning_rate times \(1 - dampening\)"),
    "frozen head": ({"frozen": "head"}, "W and b stay where they are"),
    "frozen what": ({"frozen": "stem"}, "must be one of body, head"),
    "precision": ({"precision": "int8"}, "must be one of float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_clock_is_refused_with_a_remedy(name):
    given, message = REFUSED[name]
    with pytest.raises(nf.InputError, match=message) as caught:
        nf.Clock(**{"samples": 12, "classes": 3, **given})
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("given", "ask", "message"),
    [
        ({}, lambda c: c.time(1), "learning_rate = None: is needed to tell time"),
        ({}, lambda c: c.step(1.0), "learning_rate = None: is needed"),
        ({}, lambda c: c.error(1.0), "learning_rate = None: is needed"),
        ({"learning_rate": 1.0}, lambda c: c.time(-1), "step = -1.0: must be at least 0"),
        ({"learning_rate": 1.0}, lambda c: c.step(-1), "time = -1.0: must be at least 0"),
        ({"schedule": [1.0, 1.0]}, lambda c: c.time(3), "says nothing of step 3"),
        ({"schedule": [1.0, 1.0]}, lambda c: c.step(1.0), "is not reached in 2 steps"),
    ],
)
def test_questions_without_an_answer(given, ask, message):
    with pytest.raises(nf.InputError, match=message):
        ask(nf.Clock(samples=12, classes=3, **given))


def test_what_is_mapped_changes_nothing_but_what_it_should():
    plain = nf.Clock(0.1, samples=12, classes=3, weight_decay=0.1)
    frozen = nf.Clock(
        0.1, samples=12, classes=3, weight_decay=0.1, frozen="body", precision="mixed", clip=None, ema=0
    )
    assert frozen.time(7) == plain.time(7)
    # Features that are not trained have no decay either.
    assert frozen.decay.rates == (plain.decay.W, 0.0, plain.decay.b)


def test_the_error_is_that_of_the_rate_of_its_step():
    clock = nf.Clock(schedule=[1.0, 0.5, 0.25], reduction="sum", samples=N)
    assert [clock.error(0.2, step) for step in range(3)] == pytest.approx([0.1, 0.05, 0.025], rel=1e-12)
