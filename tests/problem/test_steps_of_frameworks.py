"""One step of an optimiser, as frameworks write it, is one Euler step of the flow up to the square of the rate.

The parameters are W, H and b themselves: a body that is a table of features has the kernel I, so that the flow of the
theory is the gradient flow of the sum loss in these coordinates.
"""

import functools
import itertools
import math
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntkflow as nf

SIZES = nf.Sizes(3, 4, 5)
N, C = SIZES.N, SIZES.C
Y = np.repeat(np.eye(C), 4, axis=1)
LABELS = np.repeat(np.arange(C), 4)
START = nf.initial.make("gaussian", SIZES, None, 1)
# A step of flow time, small enough that the third order is below the tolerance of the second's.
RATE = 1e-3
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def half_squared(f, y):
    return optax.l2_loss(f, y).mean()


def entropy_with_labels(f, y):
    return optax.softmax_cross_entropy_with_integer_labels(f, y.argmax(1)).mean()


# Losses of outputs f and one-hot targets y, both (N, C), with the arguments of the table in docs/your-network.md.
OPTAX = {
    "optax.l2_loss(f, y).mean()": (half_squared, ("half-squared", "mean")),
    "optax.l2_loss(f, y).sum(1).mean()": (
        lambda f, y: optax.l2_loss(f, y).sum(1).mean(), ("half-squared", "batch-mean")),
    "optax.l2_loss(f, y).sum()": (lambda f, y: optax.l2_loss(f, y).sum(), ("half-squared", "sum")),
    "optax.squared_error(f, y).mean()": (
        lambda f, y: optax.squared_error(f, y).mean(), ("squared", "mean")),
    "optax.squared_error(f, y).sum(1).mean()": (
        lambda f, y: optax.squared_error(f, y).sum(1).mean(), ("squared", "batch-mean")),
    "optax.squared_error(f, y).sum()": (lambda f, y: optax.squared_error(f, y).sum(), ("squared", "sum")),
    "optax.softmax_cross_entropy(f, y).mean()": (
        lambda f, y: optax.softmax_cross_entropy(f, y).mean(), ("cross-entropy", "mean")),
    "optax.softmax_cross_entropy_with_integer_labels(f, labels).mean()": (
        entropy_with_labels, ("cross-entropy", "mean")),
    "optax.softmax_cross_entropy(f, y).sum()": (
        lambda f, y: optax.softmax_cross_entropy(f, y).sum(), ("cross-entropy", "sum")),
}  # fmt: skip
OPTAX_OF = {
    "half-squared": half_squared,
    "cross-entropy": lambda f, y: optax.softmax_cross_entropy(f, y).mean(),
}
# Optimisers of a rate, with their arguments; the loss is optax.l2_loss(f, y).mean().
WEIGHT_DECAY = 0.02
STEPPING = {
    "optax.sgd(rate)": (optax.sgd, {}),
    "optax.sgd(rate, momentum=0.9)": (lambda r: optax.sgd(r, momentum=0.9), {"momentum": 0.9}),
    "optax.sgd(rate, momentum=0.9, nesterov=True)": (
        lambda r: optax.sgd(r, momentum=0.9, nesterov=True), {"momentum": 0.9, "nesterov": True}),
    "optax.chain(optax.add_decayed_weights(wd), optax.sgd(rate))": (
        lambda r: optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(r)), {"weight_decay": WEIGHT_DECAY}),
    "optax.chain(optax.sgd(rate), optax.add_decayed_weights(-wd))": (
        lambda r: optax.chain(optax.sgd(r), optax.add_decayed_weights(-WEIGHT_DECAY * r)),
        {"weight_decay": WEIGHT_DECAY}),
}  # fmt: skip


def of_optax(loss, rule, steps=1):
    """W, H, b after steps of a rule from START, in float64."""
    with jax.enable_x64():
        params = {name: jnp.asarray(getattr(START, name)) for name in "WHb"}
        target = jnp.asarray(Y.T)

        def objective(p):
            return loss((p["W"] @ p["H"] + p["b"][:, None]).T, target)

        state = rule.init(params)
        for _ in range(steps):
            updates, state = rule.update(jax.grad(objective)(params), state, params)
            params = optax.apply_updates(params, updates)
        return nf.State(*(np.asarray(params[name]) for name in "HWb"))


def of_torch(loss, rule, steps=1):
    import torch

    W, H, b = (torch.tensor(getattr(START, name), requires_grad=True) for name in "WHb")
    optimiser, target = rule([W, H, b]), torch.tensor(Y.T)
    for _ in range(steps):
        optimiser.zero_grad()
        loss((W @ H + b[:, None]).T, target).backward()
        optimiser.step()
    return nf.State(*(p.detach().numpy() for p in (H, W, b)))


def moved_by_the_flow(clock, loss="half-squared"):
    """The state at the clock's time, by an integration of the flow to rounding."""
    kernel = nf.BlockKernel(1.0, 0.0, 0.0)
    law = nf.CrossEntropy() if loss == "cross-entropy" else nf.MSE()
    problem = nf.Problem(
        SIZES, kernel, START, loss=clock.flow_loss if clock.label_smoothing else law, decay=clock.decay
    )
    return nf.solve(problem, save_at=[clock.time(1)], rtol=1e-12, form="raw").final


def distance(state, other):
    return math.sqrt(sum(np.sum((getattr(state, k) - getattr(other, k)) ** 2) for k in "WHb"))


def gaps(stepped, clock_of, loss="half-squared"):
    """Distances of steps from the flow, in steps of the flow, at a rate and at half of it."""
    found = []
    for part in (1.0, 0.5):
        clock = clock_of(part)
        found.append(distance(stepped(part, clock), moved_by_the_flow(clock, loss)))
    return found


def check_order(stepped, clock_of, loss="half-squared"):
    """Halving the rate quarters the difference, and the difference is far below the step."""
    first, second = gaps(stepped, clock_of, loss)
    assert first / second == pytest.approx(4, rel=0.05)
    clock = clock_of(1.0)
    assert first < 0.05 * distance(START, moved_by_the_flow(clock, loss))


def rate_of(arguments, part):
    """A rate that moves every loss equally far in flow time."""
    probe = nf.Clock(1.0, samples=N, classes=C, **arguments)
    return RATE * part / probe.time(1)


@pytest.mark.parametrize("name", OPTAX)
def test_a_step_of_each_loss_of_optax(name):
    loss, (kind, reduction) = OPTAX[name]
    arguments = {"loss": kind, "reduction": reduction}
    check_order(
        lambda part, clock: of_optax(loss, optax.sgd(clock.learning_rate)),
        lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments),
        kind,
    )


@pytest.mark.parametrize("kind", ["half-squared", "cross-entropy"])
def test_a_step_on_smoothed_labels(kind):
    loss, arguments = OPTAX_OF[kind], {"loss": kind, "label_smoothing": 0.2}

    def smoothed(f, y):
        return loss(f, optax.smooth_labels(y, 0.2))

    check_order(
        lambda part, clock: of_optax(smoothed, optax.sgd(clock.learning_rate)),
        lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments),
        kind,
    )


@pytest.mark.parametrize("name", STEPPING)
def test_steps_of_each_optimiser_of_optax(name):
    rule, arguments = STEPPING[name]
    check_order(
        lambda part, clock: of_optax(half_squared, rule(clock.learning_rate)),
        lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments),
    )


TORCH_LOSSES = {
    "MSELoss()": ("squared", "mean"),
    'MSELoss(reduction="sum")': ("squared", "sum"),
    "CrossEntropyLoss()": ("cross-entropy", "mean"),
    'CrossEntropyLoss(reduction="sum")': ("cross-entropy", "sum"),
}


@needs_torch
@pytest.mark.parametrize("name", TORCH_LOSSES)
def test_a_step_of_each_loss_of_torch(name):
    import torch

    kind, reduction = TORCH_LOSSES[name]
    arguments = {"loss": kind, "reduction": reduction}
    loss = eval(f"torch.nn.{name}", {"torch": torch})
    check_order(
        lambda part, clock: of_torch(loss, lambda p: torch.optim.SGD(p, lr=clock.learning_rate)),
        lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments),
        kind,
    )


TORCH_STEPS = {
    "momentum=0.9": {"momentum": 0.9},
    "momentum=0.9, nesterov=True": {"momentum": 0.9, "nesterov": True},
    "weight_decay=0.02": {"weight_decay": 0.02},
    "momentum=0.9, weight_decay=0.02": {"momentum": 0.9, "weight_decay": 0.02},
}


@needs_torch
@pytest.mark.parametrize("name", TORCH_STEPS)
def test_a_step_of_each_form_of_torchs_sgd(name):
    import torch

    arguments = {"loss": "squared", **TORCH_STEPS[name]}
    check_order(
        lambda part, clock: of_torch(
            torch.nn.MSELoss(), lambda p: torch.optim.SGD(p, lr=clock.learning_rate, **TORCH_STEPS[name])
        ),
        lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments),
    )


@needs_torch
def test_gradients_that_are_summed_over_batches_and_not_averaged():
    import torch

    def stepped(part, clock):
        W, H, b = (torch.tensor(getattr(START, name), requires_grad=True) for name in "WHb")
        optimiser, target = torch.optim.SGD([W, H, b], lr=clock.learning_rate), torch.tensor(Y.T)
        for rows in np.arange(N).reshape(-1, 2).T:  # two batches with all classes
            torch.nn.MSELoss()((W @ H[:, rows] + b[:, None]).T, target[rows]).backward()
        optimiser.step()
        return nf.State(*(p.detach().numpy() for p in (H, W, b)))

    arguments = {"loss": "squared", "accumulate": 2}
    check_order(stepped, lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments))


def test_gradients_that_optax_averages_over_batches_are_one_step():
    halves = np.arange(N).reshape(-1, 2).T  # two batches with all classes

    def stepped(_, clock):
        with jax.enable_x64():
            params, rule = {k: jnp.asarray(getattr(START, k)) for k in "WHb"}, optax.sgd(clock.learning_rate)
            rule = optax.MultiSteps(rule, len(halves))
            state = rule.init(params)
            for rows in halves:

                def objective(p, rows=rows):
                    return half_squared(
                        (p["W"] @ p["H"][:, rows] + p["b"][:, None]).T, jnp.asarray(Y.T[rows])
                    )

                updates, state = rule.update(jax.grad(objective)(params), state, params)
                params = optax.apply_updates(params, updates)
            return nf.State(*(np.asarray(params[k]) for k in "HWb"))

    check_order(stepped, lambda part: nf.Clock(rate_of({}, part), samples=N, classes=C))


def test_sums_over_batches_take_the_whole_gradient_on_average():
    loss = OPTAX["optax.l2_loss(f, y).sum()"][0]

    def stepped(part, clock):
        with jax.enable_x64():
            W, H, b = (jnp.asarray(getattr(START, k)) for k in "WHb")
            moves = []
            for rows in np.arange(N).reshape(-1, 2).T:

                def objective(W, H, b, rows=rows):
                    return loss((W @ H[:, rows] + b[:, None]).T, jnp.asarray(Y.T[rows]))

                moves.append(jax.grad(objective, (0, 1, 2))(W, H, b))
            mean = [np.mean([m[i] for m in moves], axis=0) for i in range(3)]
        eta = clock.learning_rate
        return nf.State(START.H - eta * mean[1], START.W - eta * mean[0], START.b - eta * mean[2])

    arguments = {"reduction": "sum", "batch": N // 2}
    check_order(stepped, lambda part: nf.Clock(rate_of(arguments, part), samples=N, classes=C, **arguments))


# Every form of the optimiser, each with the losses and reductions of all kinds.
FORMS = list(
    itertools.product(
        ["plain", "heavy ball", "nesterov"], [None, "coupled", "decoupled"], ["rate", "schedule"]
    )
)
LOSSES = [OPTAX[name] for name in OPTAX if "integer" not in name]
BETA, BEFORE = 0.5, 30  # momentum has built up to rounding
# So small that the state hardly moves meanwhile.
SHORT = 1e-5
# Cross-entropies have one mean, over samples.
KINDS = [*(arguments for _, arguments in LOSSES), ("cross-entropy", "batch-mean")]


def factor(step, sin=math.sin):
    """Of the rate, in a schedule."""
    return 1 + 0.3 * sin(1.0 * step)


def rule_of(form, rate):
    momentum, decay, course = form
    parts = [] if momentum == "plain" else [optax.trace(BETA, nesterov=momentum == "nesterov")]
    if decay is not None:
        parts.insert(0 if decay == "coupled" else len(parts), optax.add_decayed_weights(WEIGHT_DECAY))
    last = (
        optax.scale(-rate)
        if course == "rate"
        else optax.scale_by_schedule(lambda s: -rate * factor(s, jnp.sin))
    )
    return optax.chain(*parts, last)


@functools.partial(jax.jit, static_argnums=(0, 3))
def before_and_after(form, index, rate, steps):
    """W, H, b before and after the last of so many steps on the loss of an index."""
    params = {name: jnp.asarray(getattr(START, name)) for name in "WHb"}
    losses = [loss for loss, _ in LOSSES] + [LOSSES[-2][0]]

    def objective(p):
        outputs = (p["W"] @ p["H"] + p["b"][:, None]).T
        return jax.lax.switch(
            index, [lambda f, loss=loss: loss(f, jnp.asarray(Y.T)) for loss in losses], outputs
        )

    rule = rule_of(form, rate)

    def step(carried, _):
        params, state = carried
        updates, state = rule.update(jax.grad(objective)(params), state, params)
        return (optax.apply_updates(params, updates), state), params

    (after, _), seen = jax.lax.scan(step, (params, rule.init(params)), length=steps)
    return jax.tree.map(lambda leaf: leaf[-1], seen), after


def euler(state, time, decay, kind):
    """One step of the flow of the sum loss (4) with decay, from (W, H, b)."""
    W, H, b = (np.asarray(state[name]) for name in "WHb")
    F = W @ H + b[:, None]
    outputs = np.exp(F) / np.exp(F).sum(axis=0) if kind == "cross-entropy" else F
    R = outputs - Y
    rates = {"W": R @ H.T + decay.W * W, "H": W.T @ R + decay.H * H, "b": R.sum(axis=1) + decay.b * b}
    return {name: np.asarray(state[name]) - time * rates[name] for name in "WHb"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form)))
def test_a_step_of_every_combination_is_an_euler_step_of_the_flow(form):
    momentum, decay, course = form
    arguments = {} if momentum == "plain" else {"momentum": BETA, "nesterov": momentum == "nesterov"}
    if decay is not None:
        arguments |= {"weight_decay": WEIGHT_DECAY, "decay": decay}
    for index, (loss, reduction) in enumerate(KINDS):
        given = {"loss": loss, "reduction": reduction, "samples": N, "classes": C, **arguments}
        unit, found = SHORT * nf.Clock(1.0, **given).scale, []
        for rate in (unit, unit / 2):
            with jax.enable_x64():
                before, after = before_and_after(form, index, rate, BEFORE + 1)
            of = (
                {"learning_rate": rate} if course == "rate" else {"schedule": lambda s, r=rate: r * factor(s)}
            )
            clock = nf.Clock(**of, **given)
            time = clock.time(BEFORE + 1) - clock.time(BEFORE)
            told = euler(before, time, clock.decay, loss)
            found.append(math.sqrt(sum(np.sum((told[k] - np.asarray(after[k])) ** 2) for k in "WHb")))
            moved = math.sqrt(sum(np.sum((told[k] - np.asarray(before[k])) ** 2) for k in "WHb"))
        # Plain descent is Euler's step itself; momentum differs by the square of the step.
        assert found[1] < 0.01 * moved, (loss, reduction)
        assert found[0] < 1e-12 or found[0] / found[1] == pytest.approx(4, rel=0.1), (loss, reduction)
