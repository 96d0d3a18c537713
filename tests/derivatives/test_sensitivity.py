"""Sensitivities against differences of independent runs, and the adjoint against the forward ones."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.derivatives import sensitivity
from ntkflow.derivatives.linearised import Linearised, Path
from ntkflow.derivatives.sensitivity import Direction
from ntkflow.dynamics.fields import ThinSystem, thin_jacobian
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.problem.kernels import ThinCoefficients

STEP = 1e-4


def drawn(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return nf.State(
        rng.normal(size=(sizes.n, sizes.N)), rng.normal(size=(sizes.C, sizes.n)), rng.normal(size=sizes.C)
    )


def states(problem, times, engine="auto"):
    solution = nf.solve(problem, save_at=times, rtol=1e-11, engine=engine)
    return [solution.state(i) for i in range(len(times))]


def gap(sensitivities, plus, minus, step):
    """Largest relative distance of derivatives from central differences."""
    worst = 0.0
    for s, p, m in zip(sensitivities, plus, minus, strict=True):
        for name in "HWb":
            difference = (getattr(p, name) - getattr(m, name)) / (2 * step)
            worst = max(worst, np.linalg.norm(difference - getattr(s, name)) / np.linalg.norm(difference))
    return worst


def test_block_constants_agree_with_differences():
    sizes, times = nf.Sizes(3, 4, 6), [0.1, 0.5, 2.0]
    values = {"kappa_d": 1.3, "kappa_c": 0.6, "kappa_n": 0.2}
    state = drawn(sizes)

    def problem(name, step):
        return nf.Problem(sizes, nf.BlockKernel(**{**values, name: values[name] + step}), state)

    found = sensitivity.sensitivity(problem("kappa_d", 0.0), None, times)
    for name in values:
        plus, minus = (states(problem(name, step), times, "DOP853") for step in (STEP, -STEP))
        assert gap(found.derivatives[name], plus, minus, STEP) < 1e-6


def test_a_direction_of_the_initial_state_agrees_with_differences():
    sizes, kernel, times = nf.Sizes(3, (2, 4, 3), 5), nf.BlockKernel(1.3, 0.6, 0.2), [0.1, 2.0]
    state, push = drawn(sizes), drawn(sizes, 1)

    def problem(c):
        moved = nf.State(state.H + c * push.H, state.W + c * push.W, state.b + c * push.b)
        return nf.Problem(sizes, kernel, moved)

    found = sensitivity.sensitivity(problem(0.0), {"push": Direction(state=push)}, [0.0, *times])
    np.testing.assert_allclose(found.derivatives["push"][0].H, push.H, atol=1e-12)
    plus, minus = (states(problem(step), times, "DOP853") for step in (STEP, -STEP))
    assert gap(found.derivatives["push"][1:], plus, minus, STEP) < 1e-6


def test_class_dependent_constants_with_decay():
    sizes, times, state = nf.Sizes(3, (2, 4, 5), 6), [0.1, 2.0], drawn(nf.Sizes(3, (2, 4, 5), 6))
    kappa_d, B = np.array([1.4, 1.3, 1.2]), np.array([[0.4, 0.1, 0.2], [0.1, 0.3, 0.15], [0.2, 0.15, 0.2]])

    def problem(pushed_d, pushed_B):
        kernel = nf.ClassBlockKernel(kappa_d + pushed_d, B + pushed_B)
        return nf.Problem(sizes, kernel, state, decay=nf.Decay(0.1, 0.05, 0.02))

    one, pair = np.zeros(3), np.zeros((3, 3))
    one[1], pair[0, 2], pair[2, 0] = STEP, STEP, STEP
    # mu_single is 1 for all classes here, so the frame must split what the kernel alone would join.
    found = sensitivity.sensitivity(problem(0, 0), None, times, rtol=1e-9)
    for name, push in (("kappa_d[1]", (one, 0)), ("B[0,2]", (0, pair))):
        plus, minus = states(problem(*push), times), states(problem(*(-1 * p for p in push)), times)
        assert gap(found.derivatives[name], plus, minus, STEP) < 1e-6


def test_knots_of_a_schedule():
    sizes, times, knots = nf.Sizes(2, 3, 4), [0.4, 1.2], (0.0, 0.3, 1.0)
    values, state = np.array([[1.3, 0.6, 0.2], [2.0, 0.8, 0.1], [1.0, 0.5, 0.3]]), drawn(nf.Sizes(2, 3, 4))

    def problem(k, j, step):
        rows = values.copy()
        rows[k, j] += step
        return nf.Problem(sizes, nf.ScheduledKernel(knots, tuple(nf.BlockKernel(*r) for r in rows)), state)

    names = {"kappa_d@0": (0, 0), "kappa_c@1": (1, 1), "kappa_n@2": (2, 2)}
    base = problem(0, 0, 0.0)
    every = sensitivity.kernel_directions(base.kernel, sizes)
    found = sensitivity.sensitivity(base, {name: every[name] for name in names}, times)
    for name, (k, j) in names.items():
        plus, minus = (states(problem(k, j, step), times) for step in (STEP, -STEP))
        assert gap(found.derivatives[name], plus, minus, STEP) < 5e-6


def test_a_direction_with_a_narrow_peak_of_its_own_is_not_stepped_over():
    """A constant kernel, varied by a peak of unit area: as good as a kernel of twice the rate for that moment."""
    sizes, at, width = nf.Sizes(2, 3, 4), 0.3, 1e-4
    kernel, state = nf.BlockKernel(1.3, 0.6, 0.2), drawn(sizes)
    unit = kernel.thin(sizes)
    knots = tuple(
        (t, ThinCoefficients(share * unit.class_kernel, share * unit.within))
        for t, share in ((0.0, 0.0), (at, 0.0), (at + width / 2, 2 / width), (at + width, 0.0), (1.0, 0.0))
    )
    peak = Direction(ThinCoefficients(0 * unit.class_kernel, 0 * unit.within, knots))
    found = sensitivity.sensitivity(nf.Problem(sizes, kernel, state), {"peak": peak}, [1.0])

    def varied(step):
        heights = (1.0, 1.0, 1 + 2 * step / width, 1.0)
        kernels = [nf.BlockKernel(1.3 * x, 0.6 * x, 0.2 * x) for x in heights]
        moving = nf.ScheduledKernel((0.0, at, at + width / 2, at + width), tuple(kernels))
        return states(nf.Problem(sizes, moving, state), [1.0])

    assert gap(found.derivatives["peak"], varied(1e-5), varied(-1e-5), 1e-5) < 1e-4


def test_stiff_runs_where_explicit_methods_would_need_1e5_evaluations():
    sizes, times = nf.Sizes(4, 12, 12), [1.0, 20.0]
    values = {"kappa_d": 23.2, "kappa_c": 20.2, "kappa_n": 19.1}

    def problem(step):
        kernel = nf.BlockKernel(**{**values, "kappa_n": values["kappa_n"] + step})
        return nf.Problem(sizes, kernel, nf.initial.make("relu", sizes, kernel, seed=0))

    base = problem(0.0)
    found = sensitivity.sensitivity(
        base, {"kappa_n": sensitivity.kernel_directions(base.kernel, sizes)["kappa_n"]}, times
    )
    solutions = [nf.solve(problem(step), save_at=times, rtol=1e-12) for step in (1e-3, -1e-3)]
    assert solutions[0].stats.stiffness > 1e4
    plus, minus = ([s.state(i) for i in range(2)] for s in solutions)
    assert gap(found.derivatives["kappa_n"], plus, minus, 1e-3) < 1e-5


@pytest.mark.parametrize("moving", [False, True])
def test_the_adjoint_is_the_transpose_of_the_forward_map(moving):
    sizes, state = nf.Sizes(3, (2, 3, 3), 4), drawn(nf.Sizes(3, (2, 3, 3), 4))
    kernels = (nf.BlockKernel(1.3, 0.6, 0.2), nf.BlockKernel(2.0, 0.7, 0.1))
    kernel = nf.ScheduledKernel((0.0, 0.7), kernels) if moving else kernels[0]
    problem = nf.Problem(sizes, kernel, state, decay=nf.Decay(0.1, 0.05, 0.02))
    push = Direction(state=drawn(sizes, 1))
    fine = sensitivity.thinned(problem, [push])
    times = np.array([0.0, 0.3, 1.5])
    path = Path(fine.system, fine.initial.pack(), 1.5, 1e-10)
    weights = np.random.default_rng(2).normal(size=(3, 2, fine.system.size))
    back = sensitivity.adjoint(path, times, weights, 1e-8)
    ahead = sensitivity.forward(path, fine, [push], times, 1e-9)[:, 0]
    weigh = lambda row: sensitivity.weigh(np.sqrt(sizes.masses), 4, row)  # noqa: E731
    expected = sum(weights[i] @ weigh(ahead[i]) for i in range(3))
    np.testing.assert_allclose(back @ weigh(ahead[0]), expected, rtol=1e-5)


def narrow(begin, width, push=0.0, end=0.5):
    """A peak between knots so close together that the run's own clock has no times between them."""
    knots = [0.0, begin]
    for share in (0.5, 1.0):
        knots.append(max(begin + share * width, float(np.nextafter(knots[-1], 9.0))))
    # The widths are those left after rounding, so that the area under the peak is 0.2.
    heights = (0.1, 0.1, 0.4 / (knots[3] - knots[1]) * (1 + push), 0.1, 0.1)
    return (*knots, end), tuple(nf.BlockKernel(h, 0.5 * h, 0.1 * h) for h in heights)


@pytest.mark.parametrize(("begin", "width"), [(0.3, 1e-9), (0.3, 1e-13), (0.3, 0.0), (1e-50, 1e-50)])
def test_peaks_as_narrow_as_rounding_are_followed(begin, width):
    sizes = nf.Sizes(2, 3, 4)
    state, push = drawn(sizes), drawn(sizes, 1)

    def problem(c=0.0, higher=0.0):
        moved = nf.State(*(getattr(state, x) + c * getattr(push, x) for x in "HWb"))
        return nf.Problem(sizes, nf.ScheduledKernel(*narrow(begin, width, higher)), moved)

    knots, kernels = narrow(begin, width)
    times = [t for t in (0.5 * begin, *knots[1:]) if t > 0]
    changes = [ThinCoefficients(0 * k.thin(sizes).class_kernel, 0 * k.thin(sizes).within) for k in kernels]
    changes[2] = kernels[2].thin(sizes)
    peak = ThinCoefficients(
        changes[0].class_kernel, changes[0].within, tuple(zip(knots, changes, strict=True))
    )
    directions = {"push": Direction(state=push), "peak": Direction(peak)}
    found = sensitivity.sensitivity(problem(), directions, times, rtol=1e-9)
    for name, key in (("push", "c"), ("peak", "higher")):
        plus, minus = (states(problem(**{key: s * STEP}), times) for s in (1, -1))
        size = np.linalg.norm(found.derivatives[name][-1].H)
        assert size > 0.01
        # W and b have no time to move within the peak: relative to each, differences there would be rounding.
        for mine, p, m in zip(found.derivatives[name], plus, minus, strict=True):
            for x in "HWb":
                difference = (getattr(p, x) - getattr(m, x)) / (2 * STEP)
                np.testing.assert_allclose(getattr(mine, x), difference, rtol=0, atol=1e-5 * size)
    for mine, other in zip(found.states, states(problem(), times), strict=True):
        np.testing.assert_allclose(mine.H, other.H, atol=1e-8)


@pytest.mark.parametrize("width", [1e-300, 5e-324])
def test_intervals_near_the_smallest_float_change_nothing(width):
    sizes, state = nf.Sizes(2, 3, 4), drawn(nf.Sizes(2, 3, 4))
    a, b, c = nf.BlockKernel(1.3, 0.6, 0.2), nf.BlockKernel(0.2, 0.1, 0.0), nf.BlockKernel(2.0, 0.8, 0.1)
    push = {"push": Direction(state=drawn(sizes, 1))}
    found, plain = (
        sensitivity.sensitivity(nf.Problem(sizes, kernel, state), push, [0.4, 1.2])
        for kernel in (
            nf.ScheduledKernel((0.0, width, 2 * width, 1.0), (b, a, a, c)),
            nf.ScheduledKernel((0.0, 1.0), (a, c)),
        )
    )
    for mine, other in zip(found.derivatives["push"], plain.derivatives["push"], strict=True):
        np.testing.assert_allclose(mine.H, other.H, atol=1e-8)


@pytest.mark.parametrize("width", [1e-13, 0.0])
def test_the_adjoint_crosses_a_peak_as_narrow_as_rounding(width):
    sizes = nf.Sizes(2, 3, 4)
    knots, kernels = narrow(0.3, width)
    problem = nf.Problem(sizes, nf.ScheduledKernel(knots, kernels), drawn(sizes))
    push = Direction(state=drawn(sizes, 1))
    fine = sensitivity.thinned(problem, [push])
    times = np.array([0.1, knots[2], knots[3], 0.7])
    path = Path(fine.system, fine.initial.pack(), 0.7, 1e-10)
    weights = np.random.default_rng(2).normal(size=(4, 2, fine.system.size))
    back = sensitivity.adjoint(path, times, weights, 1e-8)
    ahead = sensitivity.forward(path, fine, [push], np.array([0.0, *times]), 1e-9)[:, 0]
    weigh = lambda row: sensitivity.weigh(np.sqrt(sizes.masses), 4, row)  # noqa: E731
    expected = sum(weights[i] @ weigh(ahead[i + 1]) for i in range(4))
    np.testing.assert_allclose(back @ weigh(ahead[0]), expected, rtol=1e-5)


def test_the_linearised_field_is_the_dense_jacobian():
    sizes, kernel = nf.Sizes(3, (2, 3, 3), 4), nf.BlockKernel(1.3, 0.6, 0.2)
    problem = nf.Problem(sizes, kernel, drawn(sizes), decay=nf.Decay(0.1, 0.05, 0.02))
    fine = sensitivity.thinned(problem, [])
    path = Path(fine.system, fine.initial.pack(), 0.1, 1e-6)
    line = Linearised(path, (0.0, 0.1))
    directions = np.eye(fine.system.size)
    found = sensitivity.leave(line, line.at(0.0).apply(sensitivity.enter(line, directions)))
    assert isinstance(line.coordinates, Coordinates)
    assert isinstance(fine.system, ThinSystem)
    np.testing.assert_allclose(found.T, thin_jacobian(fine.system, fine.initial), atol=1e-12)


def test_refusals():
    sizes = nf.Sizes(2, 3, 4)
    block = nf.Problem(sizes, nf.BlockKernel(1.3, 0.6, 0.2), drawn(sizes))
    with pytest.raises(nf.InputError, match="increase"):
        sensitivity.sensitivity(block, None, [1.0, 0.5])
    sample = nf.Problem(sizes, nf.SampleKernel(np.eye(6) + 0.1), drawn(sizes))
    with pytest.raises(nf.InputError, match="block"):
        sensitivity.sensitivity(sample, None, [1.0])


HELD = {
    "constant": nf.BlockKernel(1.3, 0.6, 0.2),
    "moving": nf.ScheduledKernel(
        (0.0, 0.4, 1.0),
        (nf.BlockKernel(1.3, 0.6, 0.2), nf.BlockKernel(2.0, 0.8, 0.1), nf.BlockKernel(1.0, 0.5, 0.2)),
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_tangents_of_held_biases_agree_with_differences(name):
    """Also along a change of b, which the flow sees and does not change."""
    sizes, times = nf.Sizes(3, (2, 3, 2), 4), [0.2, 0.7, 2.0]
    state, push = drawn(sizes), drawn(sizes, 1)

    def problem(step):
        start = nf.State(*(getattr(state, x) + step * getattr(push, x) for x in "HWb"))
        return nf.Problem(sizes, HELD[name], start, decay=nf.Decay(0.1, 0.05), train_bias=False)

    found = sensitivity.sensitivity(problem(0), {"push": Direction(state=push)}, times).derivatives["push"]
    plus, minus = (states(problem(step), times, "DOP853") for step in (STEP, -STEP))
    assert gap(found, plus, minus, STEP) < 1e-6
    np.testing.assert_array_equal(found[0].b, push.b)


def test_constants_of_the_kernel_move_no_held_bias():
    sizes = nf.Sizes(3, 2, 4)

    def problem(kappa_c):
        return nf.Problem(sizes, nf.BlockKernel(1.3, kappa_c, 0.2), drawn(sizes), train_bias=False)

    found = sensitivity.sensitivity(problem(0.6), None, [0.5]).derivatives["kappa_c"][0]
    (p,), (q,) = (states(problem(0.6 + step), [0.5]) for step in (STEP, -STEP))
    for part in "HW":
        difference = (getattr(p, part) - getattr(q, part)) / (2 * STEP)
        np.testing.assert_allclose(getattr(found, part), difference, atol=1e-6)
    assert not np.any(found.b)


@pytest.mark.parametrize("name", HELD)
def test_the_adjoint_of_held_biases_is_the_transpose(name):
    sizes, times = nf.Sizes(2, (2, 4), 4), np.array([0.1, 0.7])
    problem = nf.Problem(sizes, HELD[name], drawn(sizes), train_bias=False)
    push = Direction(state=drawn(sizes, 1))
    fine = sensitivity.thinned(problem, [push])
    path = Path(fine.system, fine.initial.pack(), 0.7, 1e-10)
    weights = np.random.default_rng(2).normal(size=(2, 3, fine.system.size))
    back = sensitivity.adjoint(path, times, weights, 1e-8)
    ahead = sensitivity.forward(path, fine, [push], np.array([0.0, *times]), 1e-9)[:, 0]
    weigh = lambda row: sensitivity.weigh(np.sqrt(sizes.masses), 4, row)  # noqa: E731
    expected = sum(weights[i] @ weigh(ahead[i + 1]) for i in range(2))
    np.testing.assert_allclose(back @ weigh(ahead[0]), expected, rtol=1e-5)


def test_the_linearised_field_of_held_biases_is_the_dense_jacobian():
    sizes = nf.Sizes(3, (2, 3, 3), 4)
    problem = nf.Problem(
        sizes, nf.BlockKernel(1.3, 0.6, 0.2), drawn(sizes), decay=nf.Decay(0.1, 0.05), train_bias=False
    )
    fine = sensitivity.thinned(problem, [])
    path = Path(fine.system, fine.initial.pack(), 0.1, 1e-6)
    directions = np.eye(fine.system.size)
    dense = thin_jacobian(fine.system, fine.initial)
    ahead = Linearised(path, (0.0, 0.1))
    found = sensitivity.leave(ahead, ahead.at(0.0).apply(sensitivity.enter(ahead, directions)))
    np.testing.assert_allclose(found.T, dense, atol=1e-12)
    back = Linearised(path, (0.0, 0.1), adjoint=True)
    rows = sensitivity.leave(back, back.at(back.width).apply(sensitivity.enter(back, directions, True)), True)
    # In coordinates in which H1 counts with the roots of the masses.
    scale = sensitivity.weigh(np.sqrt(sizes.masses), 4, np.ones(fine.system.size))
    np.testing.assert_allclose(rows, dense * scale[:, None] / scale, atol=1e-12)
