import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw

import ntkflow as nf
from ntkflow.integrate.engines import choose
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.metrics import invariant
from ntkflow.metrics.neural_collapse import centring
from ntkflow.theory import limits
from tests import oracle, strategies

NEVER = nf.Stop(None, None, None)


def normal_problem(seed=0, C=3, m=4, n=7, init="gaussian", kernel=(1.3, 0.5, 0.1)):
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(*kernel)
    return nf.Problem(sizes, kernel, nf.initial.make(init, sizes, kernel, seed))


# Positive on these sizes, but not in the paper's order of kappa_c, kappa_n and 0.
NEGATIVE, CROSSED = (1.3, 0.5, -0.1), (1.3, 0.2, 0.4)


@pytest.mark.parametrize("kappas", [(1.3, 0.5, 0.1), NEGATIVE, CROSSED])
def test_thin_and_raw_agree_with_the_written_out_kernel_to_1e_10(kappas):
    problem = normal_problem(kernel=kappas)
    times = np.array([0.05, 0.3, 2.0])
    expected = oracle.integrate_raw(problem, times)
    for form in ("thin", "raw"):
        solution = nf.solve(problem, save_at=times, rtol=1e-12, engine="DOP853", form=form)
        for i, state in enumerate(expected):
            assert oracle.distance(solution.state(i), state) < 1e-10, form


@pytest.mark.parametrize("engine", choose.NAMES)
def test_every_engine_gives_the_same_trajectory(engine):
    problem = normal_problem(C=3, m=3, n=4, kernel=NEGATIVE)
    times = np.array([0.1, 0.5, 3.0])
    expected = oracle.integrate_raw(problem, times)
    solution = nf.solve(problem, save_at=times, rtol=1e-7, engine=engine)
    for i, state in enumerate(expected):
        assert oracle.distance(solution.state(i), state) < 1e-7


@strategies.costly(15)
@given(strategies.problems())
def test_what_the_theory_says_holds_along_every_trajectory(problem):
    sizes, kernel = problem.sizes, problem.kernel
    clock = np.sqrt(sizes.per_class * kernel.eigenvalues(sizes).mu_class)
    solution = nf.solve(problem, save_at=np.linspace(0, 4 / clock, 9), rtol=1e-9)
    states = [solution.state(i) for i in range(len(solution))]
    series = solution.series
    assert series["E_drift"].max() <= 1e-9
    assert np.all(np.diff(series["loss"]) <= 1e-9 * series["loss"][0])
    assert np.all(np.diff([lyapunov(s, sizes, kernel) for s in states]) <= 1e-9)
    assert_within_class_part_shrinks(states, sizes)
    assert_floor(states, sizes, kernel)


def lyapunov(state, sizes, kernel):
    """V = |b - 1/C|^2 + (N / mu_global) |g|^2 (theory 3.3)."""
    g = state.H.mean(axis=1)
    return np.sum((state.b - 1 / sizes.C) ** 2) + sizes.N / kernel.eigenvalues(sizes).mu_global * g @ g


def within(state, sizes):
    means = np.add.reduceat(state.H, sizes.starts, axis=1) / sizes.per_class
    return (state.H - np.repeat(means, sizes.counts, axis=1)) / np.sqrt(sizes.per_class)


def assert_within_class_part_shrinks(states, sizes):
    """H2^T H2 decreases in the Loewner order (theory 3.4)."""
    grams = [within(s, sizes).T @ within(s, sizes) for s in states]
    for before, after in pairwise(grams):
        assert np.linalg.eigvalsh(after - before).max() <= 1e-8 * (1 + np.trace(grams[0]))


def assert_floor(states, sizes, kernel):
    """tr S >= mu_single sum over j > C of max(lambda_j(-E), 0) (theory 3.5)."""
    E = invariant.terms(states[0], sizes, kernel).E
    eigenvalues = np.sort(np.linalg.eigvalsh(-E))[::-1]
    floor = kernel.eigenvalues(sizes).mu_single * np.maximum(eigenvalues[sizes.C :], 0).sum()
    assert min(np.sum(within(s, sizes) ** 2) for s in states) >= floor - 1e-9 * (1 + floor)


@strategies.costly(10)
@given(strategies.sizes(least_m=2), strategies.kernels(), draw.integers(0, 99))
def test_nc1_is_at_most_the_guaranteed_rate_when_E_is_positive(sizes, kernel, seed):
    # 3.6: tr S <= tr S0 / (1 + 2 m t tr S0 / r) and the largest eigenvalue likewise, r = rank S0.
    problem = nf.Problem(sizes, kernel, nf.initial.make("balanced", sizes, kernel, seed))
    solution = nf.solve(problem, t_end=4 / kernel.eigenvalues(sizes).mu_single, stop=NEVER)
    spectra = [np.linalg.svd(solution.thin(i)[0].L, compute_uv=False) ** 2 for i in range(len(solution))]
    tr_S = np.array([values.sum() for values in spectra]) / sizes.per_class
    largest = np.array([values[0] for values in spectra]) / sizes.per_class
    growth = 2 * sizes.per_class * solution.times
    assert np.all(tr_S <= tr_S[0] / (1 + growth * tr_S[0] / len(spectra[0])) * (1 + 1e-7))
    assert np.all(largest <= 1 / (1 / largest[0] + growth) * (1 + 1e-7))


@strategies.costly(10)
@given(strategies.problems(least_m=2))
def test_the_flow_commutes_with_rotations_and_class_permutations(problem):
    sizes = problem.sizes
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((sizes.n, sizes.n)))[0]
    classes = rng.permutation(sizes.C)
    samples = np.concatenate([np.arange(c * sizes.per_class, (c + 1) * sizes.per_class) for c in classes])

    def moved(state):
        return nf.State((rotation @ state.H)[:, samples], (state.W @ rotation.T)[classes], state.b[classes])

    times = [0.3 / sizes.N, 3.0 / sizes.N]
    plain = nf.solve(problem, save_at=times, rtol=1e-9)
    turned = nf.solve(nf.Problem(sizes, problem.kernel, moved(problem.state)), save_at=times, rtol=1e-9)
    assert oracle.distance(turned.final, moved(plain.final)) < 1e-7


@pytest.mark.parametrize("kappas", [NEGATIVE, CROSSED])
@pytest.mark.parametrize("beta", [-0.2, 0.6])
def test_equal_biases_end_in_the_gram_matrices_of_any_positive_kernel(kappas, beta):
    # 5.3: gamma and theta by sqrt(mu_class/mu_global), which is above 1 for alpha < 0.
    sizes, kernel = nf.Sizes(3, 3, 5), nf.BlockKernel(*kappas)
    state = nf.initial.make("equal-bias", sizes, kernel, 1, beta=beta)
    solution = nf.solve(nf.Problem(sizes, kernel, state), t_end=100.0)
    thin, _ = solution.thin(-1)
    limit = limits.equal_bias(sizes, kernel, float(thin.b.mean()))
    np.testing.assert_allclose(thin.W @ thin.W.T, limit.X, atol=1e-6)
    np.testing.assert_allclose(thin.H1.T @ thin.H1, limit.G, atol=1e-6)
    assert solution.series["NC3"][-1] == pytest.approx(limit.NC3, abs=1e-6)
    assert np.sign(kernel.alpha(sizes)) == np.sign(kernel.kappa_n)


def test_zero_invariant_and_zero_mean_end_in_the_gram_matrices_of_the_theory():
    # 5.4: X = x* P, G = P / x*, H1 = W^T / x*.
    problem = normal_problem(C=4, m=5, n=9, init="balanced-contrast", kernel=NEGATIVE)
    mu = problem.kernel.eigenvalues(problem.sizes)
    x = np.sqrt(5 / mu.mu_class)
    solution = nf.solve(problem, rtol=1e-10)
    assert solution.reason is nf.Reason.NC1
    thin, _ = solution.thin(-1)
    P = centring(4)
    np.testing.assert_allclose(thin.W @ thin.W.T, x * P, atol=1e-9)
    np.testing.assert_allclose(thin.H1.T @ thin.H1, P / x, atol=1e-9)
    np.testing.assert_allclose(thin.H1, thin.W.T / x, atol=1e-9)


def test_nc1_decays_at_the_rate_mu_single_x_star():
    # 7.2: the within-class features decay as exp(-mu_single x* t).
    problem = normal_problem(C=4, m=5, n=9, init="balanced-contrast")
    mu = problem.kernel.eigenvalues(problem.sizes)
    rate = mu.mu_single * np.sqrt(5 / mu.mu_class)
    start, stop = 12 / rate, 15 / rate
    solution = nf.solve(problem, save_at=[start, stop], rtol=1e-10)
    fitted = -np.log(solution.series["NC1"][1] / solution.series["NC1"][0]) / (stop - start)
    assert fitted == pytest.approx(rate, rel=1e-4)


def test_under_theorem_5_2_alone_collapse_is_algebraic():
    # 7.3: tr S -> 1/(2mt), |W^T 1|^2/C -> 1/(2 mu_s t), L -> 1/(8 mu_s t^2), NC3 -> (2 mu_s t)^-1/2 / sqrt((C-1) x*).
    sizes, kernel = nf.Sizes(3, 4, 5), nf.BlockKernel(1.5, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("balanced-centred", sizes, kernel, 1))
    mu = kernel.eigenvalues(sizes)
    # The initial state shifts the clock, w^2 = 1/(2 mu_s t + 1/w0^2), so the laws are tested as slopes.
    times = np.array([1000.0, 2000.0])
    solution = nf.solve(problem, save_at=times, rtol=1e-10)
    series = solution.series
    ones = np.array([np.sum(solution.state(i).W.sum(axis=0) ** 2) for i in range(2)])

    def slope(values):
        return np.diff(values)[0] / np.diff(times)[0]

    x = np.sqrt(sizes.per_class / mu.mu_class)
    assert slope(1 / series["tr_S"]) == pytest.approx(2 * sizes.per_class, rel=1e-3)
    assert slope(sizes.C / ones) == pytest.approx(2 * mu.mu_single, rel=1e-3)
    assert slope(1 / np.sqrt(series["loss"])) == pytest.approx(np.sqrt(8 * mu.mu_single), rel=1e-3)
    assert slope(series["NC3"] ** -2) == pytest.approx(2 * mu.mu_single * (sizes.C - 1) * x, rel=1e-3)
    assert series["NC2"][0] < 1e-8


def test_equal_biases_follow_the_symmetric_sector():
    # 4.5 with eP = 0 but sP > 0 has no closed form: integrate the scalar systems instead, and check the symmetry.
    from scipy.integrate import solve_ivp

    sizes, kernel = nf.Sizes(4, 3, 6), nf.BlockKernel(1.2, 0.6, 0.2)
    mu, m, C = kernel.eigenvalues(sizes), 3, 4
    state = nf.initial.equal_bias(sizes, kernel, np.random.default_rng(2), share=0.4, beta=0.05)

    def field(_, y):
        wP, hP, sP, wJ, hJ, sJ, beta = y
        rP, rJ = wP * hP - 1, wJ * hJ + C * beta - 1
        return [
            -m * (rP * hP + wP * sP), -mu.mu_class * wP * rP, -2 * mu.mu_single * wP**2 * sP,
            -m * (rJ * hJ + wJ * sJ), -mu.mu_global * wJ * rJ, -2 * mu.mu_single * wJ**2 * sJ, -m * rJ,
        ]  # fmt: skip

    P, J = centring(C), np.full((C, C), 1 / C)
    s = 0.6 * mu.mu_single / m
    y0 = [1.0, np.sqrt(0.4 * mu.mu_class / m), s, 1.0, np.sqrt(0.4 * mu.mu_global / m), s, 0.05]
    t = 2.0
    wP, hP, _, wJ, hJ, _, beta = solve_ivp(field, (0, t), y0, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    final = nf.solve(nf.Problem(sizes, kernel, state), save_at=[t], rtol=1e-11).final
    np.testing.assert_allclose(final.b, beta, atol=1e-10)
    np.testing.assert_allclose(final.W @ final.W.T, wP**2 * P + wJ**2 * J, atol=1e-9)
    H1 = final.H.reshape(6, C, m).mean(axis=2)
    np.testing.assert_allclose(final.W @ H1, wP * hP * P + wJ * hJ * J, atol=1e-9)


def test_the_symmetric_sector_is_its_closed_form():
    # 4.5 with eP = eJ = 0 and sP = sJ = 0: logistic contrast part, Lambert-W bias.
    from scipy.special import lambertw

    sizes, kernel = nf.Sizes(4, 3, 6), nf.BlockKernel(1.2, 0.6, 0.2)
    mu, m, C = kernel.eigenvalues(sizes), 3, 4
    beta0, w0 = 0.03, 0.7
    state = nf.initial.equal_bias(sizes, kernel, np.random.default_rng(2), scale=w0, share=1.0, beta=beta0)
    x, k = np.sqrt(m / mu.mu_class), np.sqrt(mu.mu_global / m)
    u = C / (2 * k) * lambertw(2 * k**2 / C * w0**2 * np.exp(2 * k * (1 / C - beta0))).real
    P, J = centring(C), np.full((C, C), 1 / C)
    early, late = 0.2, 60.0
    solution = nf.solve(nf.Problem(sizes, kernel, state), save_at=[early, late], rtol=1e-11)
    logistic = x / (1 + (x / w0**2 - 1) * np.exp(-2 * np.sqrt(m * mu.mu_class) * early))
    X = solution.state(0).W @ solution.state(0).W.T
    np.testing.assert_allclose(P @ X @ P, logistic * P, atol=1e-10)
    final = solution.final
    np.testing.assert_allclose(final.b, (1 - u) / C, atol=1e-10)
    np.testing.assert_allclose(final.W @ final.W.T, x * P + u / k * J, atol=1e-9)


def sample_kernel(sizes, seed=0):
    """Positive definite, far from blocks."""
    X = np.random.default_rng(seed).standard_normal((2 * sizes.N, sizes.N)) / np.sqrt(sizes.N)
    return nf.SampleKernel(nf.BlockKernel(1.3, 0.5, 0.1).matrix(sizes) + X.T @ X)


@pytest.mark.parametrize("engine", ["structured", "LSODA", "DOP853"])
def test_a_kernel_without_blocks_has_a_thin_form_by_samples(engine):
    sizes = nf.Sizes(3, (2, 4, 3), 12)
    kernel = sample_kernel(sizes)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, seed=1))
    times = np.array([0.1, 1.0, 5.0])
    expected = oracle.integrate_raw(problem, times)
    solution = nf.solve(problem, save_at=times, rtol=1e-8, engine=engine)
    assert solution.stats.form == "sample"
    for i, state in enumerate(expected):
        assert oracle.distance(solution.state(i), state) < 3e-8
    assert solution.series["E_drift"].max() <= 1e-8


def test_a_moving_kernel_without_blocks_agrees_with_the_raw_system():
    sizes = nf.Sizes(3, 3, 4)
    kernel = nf.ScheduledKernel((0.0, 0.5, 1.0), tuple(sample_kernel(sizes, seed) for seed in range(3)))
    problem = nf.Problem(
        sizes, kernel, nf.initial.make("gaussian", sizes, seed=1), decay=nf.Decay(0.1, 0.05, 0.2)
    )
    raw = nf.solve(problem, save_at=[0.3, 2.0], rtol=1e-10, form="raw", engine="DOP853")
    thin = nf.solve(problem, save_at=[0.3, 2.0], rtol=1e-9, engine="structured")
    for i in range(2):
        assert oracle.distance(thin.state(i), raw.state(i)) < 1e-8


def test_every_stop_condition_ends_a_run_and_says_so():
    problem = normal_problem(C=3, m=3, n=5, init="balanced-contrast")
    assert nf.solve(problem, t_end=0.1).reason is nf.Reason.T_END
    assert nf.solve(problem, stop=nf.Stop(nc1=1e-3)).reason is nf.Reason.NC1
    assert nf.solve(problem, stop=nf.Stop(nc1=None, loss=1e-2)).reason is nf.Reason.LOSS
    still = nf.solve(problem, t_end=1e3, stop=nf.Stop(nc1=None, stationarity=1e-5))
    assert still.reason is nf.Reason.STATIONARY
    stopped = nf.solve(problem, stop=nf.Stop(nc1=1e-3))
    assert stopped.series["NC1"][-1] <= 1e-3


def test_a_stationary_state_moves_no_faster_than_the_target():
    sizes, kernel, target = nf.Sizes(3, 4, 5), nf.BlockKernel(13.0, 5.0, 1.0), 1e-4
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, kernel, 0))
    solution = nf.solve(problem, t_end=1e4, stop=nf.Stop(None, None, target))
    assert solution.reason is nf.Reason.STATIONARY
    H, W, b = solution.final.H, solution.final.W, solution.final.b
    R = W @ H + b[:, None] - np.repeat(np.eye(3), 4, axis=1)
    moves = (W.T @ R @ kernel.matrix(sizes), R @ H.T, R.sum(axis=1))
    speed = np.sqrt(sum(np.sum(move**2) for move in moves))
    size = np.sqrt(sum(np.sum(part**2) for part in (H, W, b)))
    clock = np.sqrt(4 * kernel.eigenvalues(sizes).mu_class)
    # Below the target at the end, by no more than the length of a step.
    assert 0.2 * target < speed / size / clock <= target


def test_a_failed_run_raises_or_hands_over_what_it_has():
    problem = normal_problem()
    with pytest.raises(nf.SolveError, match="step limit"):
        nf.solve(problem, max_steps=3)
    part = nf.solve(problem, max_steps=3, throw=False)
    assert part.reason is nf.Reason.MAX_STEPS
    assert part.stats.steps == 3


@pytest.mark.skipif(os.environ.get("NTKFLOW_SHAPES") == "all", reason="checking types looks at every state")
def test_states_are_made_only_where_they_are_looked_at(monkeypatch):
    """Without targets a run looks at every eighth step, besides every fiftieth and the times to save."""
    made, leave = [], Coordinates.leave
    monkeypatch.setattr(Coordinates, "leave", lambda self, z: made.append(1) or leave(self, z))
    times = [0.0, 1.0, 30.0]
    plain = nf.solve(normal_problem(n=30), save_at=times, engine="structured")
    few = len(made)
    assert few < plain.stats.steps / 5
    asked = nf.solve(
        normal_problem(n=30),
        save_at=times,
        engine="structured",
        stop=nf.Stop(nc1=None, loss=1e-300, stationarity=None),
    )
    assert len(made) - few > asked.stats.steps / 2
    np.testing.assert_array_equal(asked.packed, plain.packed)


def test_saved_times_are_exactly_those_asked_for():
    times = [0.0, 0.01, 0.5]
    solution = nf.solve(normal_problem(), save_at=times)
    np.testing.assert_array_equal(solution.times, times)
    assert oracle.distance(solution.state(0), normal_problem().state) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rtol": 0.0}, "rtol = 0.0: must lie in"),
        ({"t_end": -1.0}, "t_end = -1.0: must be positive"),
        ({"t_end": float("nan")}, "t_end = nan"),
        ({"save_at": [1.0, 0.5]}, "must increase"),
        ({"save_at": []}, "must be a list of finite times"),
        ({"save_at": [2.0], "t_end": 1.0}, "lies after t_end"),
        ({"engine": "euler"}, "engine = 'euler': must be one of auto"),
        ({"form": "fat"}, "form = 'fat'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(nf.InputError, match=message):
        nf.solve(normal_problem(), **arguments)


def test_a_negative_stop_target_is_refused():
    with pytest.raises(nf.InputError, match=r"stop\.nc1 = -1: must be positive"):
        nf.Stop(nc1=-1)


def test_the_end_of_training_invariant_settles_but_is_not_conserved():
    # eq. (27): E_eot moves while the class means are fitted and stands still once R1 = 0.
    problem = normal_problem(C=3, m=4, n=7, init="balanced")
    solution = nf.solve(problem, save_at=[0.0, 1.0, 60.0, 90.0], rtol=1e-10)
    values = solution.series["E_eot_norm"]
    expected = np.linalg.norm(invariant.end_of_training(problem.state, problem.sizes, problem.kernel))
    assert values[0] == pytest.approx(expected)
    assert abs(values[1] - values[0]) > 1e-2 * values[0]
    assert abs(values[3] - values[2]) < 1e-6 * values[2]


def test_an_nc1_target_waits_for_the_classes_to_settle():
    # Decay of H takes the spread away long before it has decided what stays of the smallest classes.
    sizes, kernel = nf.Sizes(4, (8, 4, 2, 2), 5), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 1), decay=nf.Decay(1.8, 1.8))

    def apart(solution):
        H1 = solution.thin(-1)[0].H1
        return np.linalg.norm(H1[:, 2] - H1[:, 3])

    # The contrast of the two classes of two dies, at a tenth of the rate of the spread.
    thin, raw = (nf.solve(problem, form=form, rtol=1e-6) for form in ("thin", "raw"))
    for solution in (thin, raw):
        assert solution.reason is nf.Reason.NC1
        assert apart(solution) < 1e-6
    early = nf.solve(problem, save_at=[0.4 * thin.times[-1]], rtol=1e-6)
    assert early.series["NC1_frobenius"][-1] < 1e-8
    assert apart(early) > 1e-4
    # A large mu_single does the same without decay: the spread is gone before the classes are fitted.
    fast = normal_problem(init="balanced-contrast", kernel=(200.0, 0.5, 0.1))
    assert nf.solve(fast).series["loss"][-1] < 1e-10
    # A coarse target waits for as coarse a rest only.
    assert nf.solve(problem, stop=nf.Stop(1e-2, None, None), rtol=1e-6).times[-1] < 0.5 * thin.times[-1]


def test_neither_nc1_nor_rest_ends_a_run_before_its_kernel_has_stopped_moving():
    slow, fast = nf.BlockKernel(1.0, 0.5, 0.1), nf.BlockKernel(4.0, 1.0, 0.1)
    kernel = nf.ScheduledKernel((0.0, 30.0, 31.0), (slow, slow, fast))
    sizes = nf.Sizes(3, 4, 5)
    state = nf.initial.make("gaussian", sizes, None, 1)
    problem = nf.Problem(sizes, kernel, state, decay=nf.Decay(0.8, 0.8))
    solution = nf.solve(problem, t_end=200.0)
    assert solution.reason is not nf.Reason.T_END
    assert solution.times[-1] > 31
    after = nf.theory.exact.regularised_limit(sizes, fast, problem.decay)
    W = solution.final.W
    np.testing.assert_allclose(W @ W.T, after.X, atol=1e-6)
