import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.errors import InputError
from ntkflow.integrate.engines.structured import StructuredBDF, formulas, projection
from tests.integrate.engines.test_structured_newton import NO_DECAY, moving_system, random_system


def flow(init="gaussian", C=4, m=5, n=7, kernel=(1.3, 0.5, 0.1), seed=0):
    sizes, blocks = nf.Sizes(C, m, n), nf.BlockKernel(*kernel)
    return ThinFlow.build(nf.Problem(sizes, blocks, nf.initial.make(init, sizes, blocks, seed)))


def absolute(system, y, rtol):
    """A thousandth of rtol times the size of each block."""
    s = system.unpack(y)
    rms = [np.sqrt(np.mean(block**2)) if block.size else 1.0 for block in (s.H1, s.L, s.W, s.b)]
    return np.concatenate(
        [
            np.full(block.size, 1e-3 * rtol * (size or 1.0))
            for block, size in zip((s.H1, s.L, s.W, s.b), rms, strict=True)
        ]
    )


def start(system, y, t_end, rtol, **options):
    return StructuredBDF(system, 0.0, y, t_end, rtol, absolute(system, y, rtol), **options)


def finish(stepper, limit=5000):
    while stepper.status == "running" and stepper.steps < limit:
        stepper.step()
    assert stepper.status == "finished", stepper.message
    return stepper


def reference(system, y, times):
    solution = solve_ivp(
        system.flat_field, (0, times[-1]), y, method="DOP853", rtol=1e-13, atol=1e-15, t_eval=times
    )
    return solution.y.T


def error(system, y, expected):
    a, b = system.unpack(y), system.unpack(expected)
    pairs = ((a.H1, b.H1), (a.L, b.L), (a.W, b.W), (a.b, b.b))
    return max(np.linalg.norm(x - e) / np.linalg.norm(e) for x, e in pairs if e.size)


@pytest.mark.parametrize("decay", [NO_DECAY, (0.3, 0.2, 0.1)])
@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 1, 1), (5, 6, 0), (4, 30, 7)])
def test_agrees_with_dop853_for_class_dependent_imbalanced_systems(shape, decay):
    system, y = random_system(*shape, decay=decay)
    stepper = finish(start(system, y, 1.5, 1e-9))
    assert error(system, stepper.y, reference(system, y, [1.5])[0]) < 1e-7


def test_error_follows_the_tolerance():
    system = flow().system
    y = flow().start()
    expected = reference(system, y, [2.0])[0]
    tolerances = 10.0 ** -np.arange(5, 11)
    errors = [error(system, finish(start(system, y, 2.0, rtol)).y, expected) for rtol in tolerances]
    assert np.all(errors < 100 * tolerances)
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.6 < slope < 1.2


@pytest.mark.parametrize("order", range(1, 6))
def test_formulas_have_their_order(order):
    """One step of formula k from exact differences of exp(-t): error h^(k+1) times the error constant."""
    steps = np.array([0.1, 0.05])
    gaps = []
    for h in steps:
        past = np.exp(h * np.arange(order + 1))
        D = [past[0]]
        while len(past) > 1:
            past = past[:-1] - past[1:]
            D.append(past[0])
        predicted, known = formulas.PREDICT[order] @ np.array(D)
        d = (-h * predicted - known) / (formulas.LEADING[order] + h)
        gaps.append(predicted + d - np.exp(-h))
        estimate = formulas.ERROR[order] * d / formulas.LEADING[order]
        assert gaps[-1] == pytest.approx(estimate, rel=0.4)
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(order + 1, abs=0.25)


def test_every_order_is_stable_on_the_negative_real_axis():
    assert np.array_equal(formulas.EVEN.kappa, formulas.PLAIN.kappa)
    for order in range(1, formulas.HIGHEST_ORDER + 1):
        nabla = [np.poly1d([1, -1]) ** j * np.poly1d([1] + [0] * (order + 1 - j)) for j in range(order + 2)]
        free = sum(nabla[j] / j for j in range(1, order + 1))
        free = free - formulas.PLAIN.kappa[order] * formulas.GAMMA[order] * nabla[order + 1]
        for z in np.geomspace(1e-2, 1e6, 200):
            assert np.abs((free + z * np.poly1d([1] + [0] * (order + 1))).roots).max() < 1


def test_change_of_step_keeps_the_polynomial():
    D = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(formulas.change_step(formulas.change_step(D, 0.4), 2.5), D, atol=1e-12)
    np.testing.assert_allclose(
        formulas.evaluate(formulas.change_step(D, 0.4), 1.0), formulas.evaluate(D, 0.4), atol=1e-12
    )


def stiff(kernel, init, m):
    """A thin system of m samples per class and the state of one of 12, so that rho T is up to 1e9."""
    blocks = nf.BlockKernel(*kernel)
    f = flow(init, C=5, m=12, n=12, kernel=kernel)
    system = ThinSystem(
        np.full(5, float(m)), blocks.class_kernel(nf.Sizes(5, m, 12)), f.system.rates, f.system.n
    )
    slowest = f.system.rates[0] * np.sqrt(m / (system.class_kernel[0, 0] - system.class_kernel[0, 1]))
    return system, f.start(), 1e3 / slowest


@pytest.mark.parametrize("kernel", [(1, 0.5, 0.1), (23.2, 20.2, 19.1)])
@pytest.mark.parametrize("init", ["gaussian", "relu"])
@pytest.mark.parametrize("m", [12, 6000])
def test_steps_stay_few_however_stiff(kernel, init, m):
    stepper = finish(start(*stiff(kernel, init, m), 1e-8))
    assert stepper.steps <= 650
    assert stepper.nfev <= 2.5 * stepper.steps
    assert stepper.nlu <= stepper.steps / 2
    assert stepper.rejected <= stepper.steps / 20


def test_a_matrix_that_ages_at_once_is_not_tried_twice():
    """On this long drift along a stiff manifold a matrix one step old already makes Newton diverge."""
    stepper = finish(start(*stiff((23.2, 20.2, 19.1), "relu", 6000), 3e-10))
    assert stepper.nfev <= 2.1 * stepper.steps


def test_a_first_step_that_is_too_large_is_taken_back():
    f = flow()
    stepper = start(f.system, f.start(), 2.0, 1e-8, first_step=1.0)
    stepper.step()
    assert stepper.rejected > 0
    assert stepper.t < 1e-3


def test_stiff_end_state_is_a_zero_of_the_field():
    """Within-class deviations decay as exp(-mu_single sqrt(m/mu_class) t), all else faster (theory 7.2)."""
    f = flow("balanced-contrast", C=3, m=2000, n=6)
    slowest = f.system.rates[0] * 2000 / f.clock
    stepper = finish(start(f.system, f.start(), 40 / slowest, 1e-9))
    assert np.linalg.norm(f.field(0.0, stepper.y)) < 1e-9 * f.clock
    assert stepper.steps < 600


def test_dense_output_is_as_good_as_the_steps_and_meets_them():
    f = flow()
    stepper = start(f.system, f.start(), 1.0, 1e-8)
    with pytest.raises(RuntimeError, match="call step first"):
        stepper.dense()
    times, values = [], []
    while stepper.status == "running":
        stepper.step()
        inside = stepper.dense()
        np.testing.assert_allclose(inside(stepper.t), stepper.y, rtol=1e-13, atol=1e-15)
        times.append(stepper.t_old + 0.37 * (stepper.t - stepper.t_old))
        values.append(inside(times[-1]))
    gaps = np.abs(values - reference(f.system, f.start(), np.array(times)))
    assert gaps.max() < 1e-7 * np.abs(stepper.y).max()


def test_interpolants_outlive_the_next_step():
    f = flow()
    stepper = start(f.system, f.start(), 1.0, 1e-8)
    stepper.step()
    inside, t, before = stepper.dense(), stepper.t, stepper.y.copy()
    for _ in range(30):
        stepper.step()
    np.testing.assert_allclose(inside(t), before, rtol=1e-13)


def test_invariant_is_restored_to_rounding():
    f = flow(n=9, m=12)
    drifts = {}
    for project in (True, False):
        stepper = start(f.system, f.start(), 5.0, 1e-6, project=project)
        initial = projection.leaf(stepper._coordinates, stepper._D[0])
        for _ in range(100):
            stepper.step()
        final = projection.leaf(stepper._coordinates, stepper._D[0])
        drifts[project] = np.linalg.norm(final - initial) / np.linalg.norm(initial)
    assert drifts[True] < 1e-12
    assert 1e-8 < drifts[False] < 1e-4


def test_in_many_dimensions_the_invariant_is_restored_where_it_is_off(monkeypatch):
    f, moves, restore = flow("relu", C=4, m=8, n=24), [], projection.restore

    def counted(coordinates, z, target, allowed):
        before = z.copy()
        found = restore(coordinates, z, target, allowed)
        moves.append(not np.array_equal(z, before))
        return found

    monkeypatch.setattr(projection, "restore", counted)
    stepper = start(f.system, f.start(), 20.0, 1e-7)
    initial, drifts = projection.leaf(stepper._coordinates, stepper._D[0]), []
    while stepper.status == "running":
        stepper.step()
        final = projection.leaf(stepper._coordinates, stepper._D[0])
        drifts.append(np.linalg.norm(final - initial) / np.linalg.norm(initial))
    # A right run is off by some of rtol in ten steps; without any restoring this one ends at several.
    assert max(drifts) < 2e-7
    assert 0 < sum(moves) < len(moves)


def test_beside_a_singular_kernel_the_invariant_is_looked_at_more_often(monkeypatch):
    """There some steps of loose tolerance move E by more than is allowed."""
    f, looks, restore = (
        flow("relu", C=2, m=40, n=46, kernel=(8.744855, 0.214716, -0.107164)),
        [],
        projection.restore,
    )

    def counted(*arguments):
        looks.append(stepper.steps)
        return restore(*arguments)

    monkeypatch.setattr(projection, "restore", counted)
    stepper = start(f.system, 0.1407653 * f.start(), 0.86, 1e-8)
    finish(stepper)
    assert np.diff(looks).max() == 5
    assert np.diff(looks).min() < 5


def test_a_moving_kernel_lands_on_its_knots():
    system, y = moving_system()
    stepper = start(system, y, 0.5, 1e-9)
    times = []
    while stepper.status == "running":
        stepper.step()
        times.append(stepper.t)
    assert 0.2 in times
    assert error(system, stepper.y, reference(system, y, [0.2, 0.5])[1]) < 1e-7


def test_a_saddle_is_passed_in_a_few_steps():
    """W = 0, H = 0 and b the class frequencies is a critical point (theory 7.4)."""
    system, y = random_system(4, 5, 4)
    y = np.concatenate([np.zeros(y.size - 4), system.masses / system.masses.sum()])
    stepper = finish(StructuredBDF(system, 0.0, y, 10.0, 1e-8, 1e-11), limit=20)
    np.testing.assert_allclose(stepper.y, y, rtol=0, atol=1e-13)


def test_starts_from_nothing():
    system, y = random_system(3, 5, 4)
    stepper = finish(StructuredBDF(system, 0.0, np.zeros_like(y), 10.0, 1e-8, 1e-11))
    np.testing.assert_allclose(system.unpack(stepper.y).b, system.masses / system.masses.sum(), atol=1e-7)


def test_equal_bits_from_equal_input():
    f = flow()
    a, b = (finish(start(f.system, f.start(), 1.0, 1e-8)) for _ in range(2))
    assert np.array_equal(a.y, b.y)
    assert (a.steps, a.nfev) == (b.steps, b.nfev)


def test_steps_do_not_depend_on_the_basis_of_feature_space():
    system, y = random_system(3, 6, 4)
    s = system.unpack(y)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    turned = np.concatenate(
        [(rotation @ s.H1).ravel(), (rotation @ s.L).ravel(), (s.W @ rotation.T).ravel(), s.b]
    )
    a, b = (finish(StructuredBDF(system, 0.0, v, 1.0, 1e-8, 1e-11)) for v in (y, turned))
    assert abs(a.steps - b.steps) <= 2
    np.testing.assert_allclose(system.unpack(b.y).W @ rotation, system.unpack(a.y).W, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_values_that_overflow_end_with_a_sentence(bad):
    system, y = random_system(3, 5, 4)
    y[0] = bad
    stepper = StructuredBDF(system, 0.0, y, 1.0, 1e-8, 1e-11)
    while stepper.status == "running" and stepper.steps < 10:
        stepper.step()
    assert stepper.status == "failed"
    assert "not finite" in stepper.message
    with pytest.raises(RuntimeError, match="has failed"):
        stepper.step()


def test_a_step_that_rounds_away_ends_with_a_sentence():
    system, y = random_system(3, 5, 4)
    stepper = StructuredBDF(system, 1e12, y, 2e12, 1e-8, 1e-11)
    stepper.step()
    assert stepper.status == "failed"
    assert "too small" in stepper.message
    assert "loosen rtol" in stepper.message


def test_bad_input_names_the_argument():
    system, y = random_system(3, 5, 4)
    good = {"t0": 0.0, "y0": y, "t_end": 1.0, "rtol": 1e-8, "atol": 1e-11}
    for name, value in (("y0", y[:-1]), ("t_end", 0.0), ("rtol", 0.0), ("atol", 0.0), ("first_step", -1.0)):
        with pytest.raises(InputError) as caught:
            StructuredBDF(system, **(good | {name: value}))
        assert caught.value.argument == name


def test_no_step_is_accepted_with_an_error_beyond_the_tolerance():
    """First steps of all sizes, some of them a little too long: what is accepted is good to the tolerance."""
    system, y, rtol = flow().system, flow().start(), 1e-5
    y[-4:] = 0.5, -0.3, 0.2, 0.4
    refused = 0
    for first in np.geomspace(2e-4, 1.5e-3, 12):
        stepper = start(system, y, 1.0, rtol, first_step=float(first), project=False)
        stepper.step()
        refused += stepper.rejected
        assert error(system, stepper.y, reference(system, y, [stepper.t])[0]) < 3 * rtol
    assert refused > 0


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("h", [0.05, 0.2, 0.5, 0.8, 1.2])
def test_the_next_order_is_the_one_that_allows_the_longest_step(order, h):
    """On exp(-t) with exact history, where the error of every formula is known."""
    past, D = np.exp(h * np.arange(order + 3)), []
    while len(past):
        D.append(past[0])
        past = past[:-1] - past[1:]
    growth = {}
    for k in (order - 1, order, order + 1):
        # The step has been taken: the differences end at its point, and D[k + 1] is its correction.
        growth[k] = max(abs(formulas.ERROR[k] * D[k + 1]), 1e-10) ** (-1 / (k + 1))
    system, y = flow().system, flow().start()
    stepper = start(system, y, 1.0, 1e-5)
    stepper._order = order
    stepper._D[: order + 3] = np.array(D)[:, None] * np.ones(stepper._D.shape[1])
    stepper._norm = lambda e: abs(float(e[0]))
    best, ratio = stepper._choose(abs(formulas.ERROR[order] * D[order + 1]))
    assert ratio == 1.0 or best == max(growth, key=growth.get)
