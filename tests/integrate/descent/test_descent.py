import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.integrate.descent import StepLaw, accumulated_bound, descend
from ntkflow.integrate.descent import descent as module
from ntkflow.integrate.descent.drift import force
from ntkflow.integrate.descent.momentum import Momentum
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import ScheduledKernel
from ntkflow.problem.losses import MSE, CrossEntropy
from tests import oracle
from tests.flows import integrate
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder
from tests.strategies import costly

SIZES = nf.Sizes(3, 4, 5)


def problem(name="block", sizes=SIZES, **changes):
    return nf.Problem(sizes, ladder.make(name, sizes), random_state(sizes), **changes)


@pytest.mark.parametrize("eta", [1e-1, 1e-2])
@pytest.mark.parametrize("sizes", [SIZES, nf.Sizes(2, 1, 3), nf.Sizes(3, (1, 4, 2), 2)], ids=str)
def test_one_step_changes_m_E_by_eta_squared_times_the_commutator_of_the_paper_s_terms(eta, sizes):
    # m dE = eta^2 [H R^T R H^T - W^T R K R^T W], with nothing of first order in eta.
    p = problem(sizes=sizes)
    s, K, m = p.state, p.kernel.matrix(sizes), sizes.N / sizes.C
    R = s.logits - np.eye(sizes.C)[:, sizes.labels]
    law = eta**2 * (s.H @ R.T @ R @ s.H.T - s.W.T @ R @ K @ R.T @ s.W)
    after = descend(p, 1, eta).final
    before, now = (invariant.terms(state, sizes, p.kernel) for state in (s, after))
    gap = np.linalg.norm(m * (now.E - before.E) - law)
    # Rounding of E itself is eps |terms|; the law is of size eta^2 |law|.
    assert gap < 1e-12 * np.linalg.norm(law) + 1e-14 * m * now.scale
    assert np.linalg.norm(law) > 1e-3 * eta**2


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=["mse", "cross-entropy"])
@pytest.mark.parametrize(
    "decay", [Decay(), Decay.equal(0.3), Decay(0.5, 0.2, 0.1)], ids=["free", "equal", "unequal"]
)
@pytest.mark.parametrize("name", ladder.NAMES)
def test_plain_steps_obey_their_law_exactly_on_every_rung(name, decay, loss, batch):
    run = descend(problem(name, loss=loss, decay=decay), 40, 2e-3, batch_per_class=batch, every=7)
    assert run.error < run.rounding < 1e-12
    assert run.neglected is None
    assert run.drift > 1e-6
    assert run.steps.tolist() == [0, 7, 14, 21, 28, 35, 40]


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("decay", [Decay(), Decay(0.5, 0.2, 0.1)], ids=["free", "decay"])
@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy-ball", "nesterov"])
@pytest.mark.parametrize("name", ladder.NAMES)
def test_momentum_obeys_its_law_exactly_on_every_rung(name, nesterov, decay, batch):
    # A step far too large for the leading order, which is off by more than a tenth of the motion.
    run = descend(problem(name, decay=decay), 60, 2e-3, 0.9, nesterov, batch, every=7)
    assert run.error < run.rounding < 1e-12
    assert run.neglected > 0.1 * run.drift > 1e-3


@given(
    beta=st.floats(0.01, 0.99),
    eta=st.floats(1e-5, 5e-3),
    nesterov=st.booleans(),
    batch=st.sampled_from([None, 1]),
    seed=st.integers(0, 10**6),
    cross=st.booleans(),
)
@costly(15)
def test_any_momentum_obeys_its_law_exactly(beta, eta, nesterov, batch, seed, cross):
    sizes = nf.Sizes(2, (3, 2), 3)
    loss = CrossEntropy() if cross else MSE()
    p = nf.Problem(
        sizes, ladder.make("sample", sizes, seed), random_state(sizes, seed), loss, Decay(0.2, 0.5)
    )
    run = descend(p, 40, eta * (1 - beta), beta, nesterov, batch, seed)
    assert run.error < run.rounding


def test_the_heavy_ball_s_law_is_a_sum_over_its_velocities():
    # m dE_k = eta^2 [q(v_{k+1}) + 2 sum_{j=1..k} beta^j q(v_{k+1-j})], from the states alone.
    p, eta, beta = problem("sample"), 3e-3, 0.8
    run = descend(p, 12, eta, beta)
    K, E = p.kernel.K, [invariant_of(p, state) for state in run.states]

    def q(k):
        vW, vH = ((b - a) / eta for a, b in zip(*(parts(run.states[i]) for i in (k - 1, k)), strict=True))
        return vW.T @ vW - vH @ np.linalg.solve(K, vH.T)

    for k in range(12):
        law = eta**2 * (q(k + 1) + 2 * sum(beta**j * q(k + 1 - j) for j in range(1, k + 1)))
        np.testing.assert_allclose(4 * (E[k + 1] - E[k]), law, atol=1e-12 * np.abs(E[0]).max())
    assert np.abs(E[12] - E[0]).max() > 1e-3


def parts(state):
    return state.W, state.H


def invariant_of(p, state):
    return (state.W.T @ state.W - state.H @ np.linalg.solve(p.kernel.K, state.H.T)) * 3 / p.sizes.N


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_a_step_that_is_not_the_law_s_is_noticed(beta, nesterov, monkeypatch):
    right = module._moved

    def wrong(state, eta, by):
        return right(state, eta * (1 + 1e-7), by)

    monkeypatch.setattr(module, "_moved", wrong)
    with pytest.warns(nf.LawWarning, match="E does not move as its exact law says"):
        run = descend(problem(), 40, 2e-3, beta, nesterov)
    assert run.error > 10 * run.rounding
    assert run.law.failed


def test_an_ill_conditioned_kernel_leaves_more_to_rounding():
    sizes = nf.Sizes(2, 3, 3)
    spread = nf.SampleKernel(np.diag(10.0 ** np.linspace(-9, 0, 6)))
    p = nf.Problem(sizes, spread, random_state(sizes))
    run = descend(p, 30, 1e-3, 0.5)
    assert run.error < run.rounding


def test_equal_decay_shrinks_m_E_by_the_square_of_1_minus_eta_l():
    p, eta, rate = problem(decay=Decay.equal(0.3)), 0.01, 0.3
    s, K, m = p.state, p.kernel.matrix(SIZES), 4
    R = s.logits - np.eye(3)[:, SIZES.labels]
    law = eta**2 * (s.H @ R.T @ R @ s.H.T - s.W.T @ R @ K @ R.T @ s.W)
    before, now = (invariant.terms(x, SIZES, p.kernel).E for x in (s, descend(p, 1, eta).final))
    np.testing.assert_allclose(m * now, (1 - eta * rate) ** 2 * m * before + law, atol=1e-12)


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)])
def test_a_moving_kernel_adds_its_own_motion(beta, nesterov):
    kernel = ScheduledKernel((0.0, 0.05), (ladder.make("sample", SIZES, 0), ladder.make("sample", SIZES, 1)))
    run = descend(nf.Problem(SIZES, kernel, random_state(SIZES), decay=Decay(0.2)), 30, 2e-3, beta, nesterov)
    assert run.error < 1e-12
    assert run.drift > 1e-2


@pytest.mark.parametrize(
    ("arguments", "tolerance"),
    [
        ({"momentum": 0.9}, 0.01),
        ({"momentum": 0.9, "nesterov": True}, 0.01),
        ({"momentum": 0.6, "nesterov": True}, 0.01),
        ({"momentum": 0.8, "batch_per_class": 1}, 0.05),
        ({"momentum": 0.8, "batch_per_class": 2, "nesterov": True}, 0.05),
    ],
    ids=str,
)
def test_momentum_drifts_by_its_law_to_leading_order(arguments, tolerance):
    eta = 8e-4 * (1 - arguments["momentum"]) ** 2
    run = descend(problem(sizes=nf.Sizes(2, 3, 3)), 4000, eta, every=2000, **arguments)
    change = run.values[-1] - run.values[0]
    assert np.linalg.norm(run.values[-1] - run.leading[-1]) < tolerance * np.linalg.norm(change)
    assert 0 < run.neglected < 0.1 * run.drift


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_momentum_law_holds_with_decay_to_second_order(nesterov):
    p = problem(sizes=nf.Sizes(2, 3, 3), decay=Decay(0.8, 0.4, 0.1))
    gaps = []
    for steps in (600, 1200):
        run = descend(p, steps, 0.3 * 0.4 / steps, momentum=0.6, nesterov=nesterov, every=steps)
        gaps.append(np.linalg.norm(run.values[-1] - run.leading[-1]))
    assert gaps[1] < 0.3 * gaps[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.5, "nesterov": True},
        {"decay": Decay(0.3, 0.2, 0.1), "momentum": 0.5},
    ],
    ids=str,
)
def test_descent_follows_the_flow_to_first_order(arguments):
    p = problem(sizes=nf.Sizes(3, 2, 4), decay=arguments.pop("decay", Decay()))
    beta, t = arguments.get("momentum", 0.0), 0.2
    want = integrate(p, [t])[0]
    gaps = []
    for steps in (600, 1200):
        run = descend(p, steps, t * (1 - beta) / steps, every=steps, **arguments)
        assert run.times[-1] == pytest.approx(t)
        gaps.append(oracle.distance(run.final, want))
    assert gaps[1] < 0.05
    assert 0.4 < gaps[1] / gaps[0] < 0.6


def test_the_total_drift_is_within_the_bound_of_the_loss_it_paid_for():
    # Trace norm of the change <= (eta / m)(L(0) - L(end)) to leading order.
    p, eta = problem(), 1e-4
    run = descend(p, 3000, eta, every=3000)
    change = invariant.terms(run.final, SIZES, p.kernel).E - invariant.terms(p.state, SIZES, p.kernel).E
    bound = eta / 4 * (run.losses[0] - run.losses[-1])
    assert 0.2 * bound < np.linalg.norm(change, "nuc") < 1.01 * bound


def test_seeds_decide_minibatches():
    first, again, other = (descend(problem(), 5, 1e-3, batch_per_class=1, seed=seed) for seed in (1, 1, 2))
    assert oracle.distance(first.final, again.final) == 0
    assert oracle.distance(first.final, other.final) > 1e-4
    whole = descend(problem(), 5, 1e-3, batch_per_class=4)
    assert oracle.distance(whole.final, descend(problem(), 5, 1e-3).final) < 1e-14


def test_E_of_the_batch_is_not_what_minibatch_descent_nearly_conserves():
    # 11.5: the data set's m belongs in E; with the batch's the change is of order one.
    p = problem()
    run = descend(p, 500, 1e-4, batch_per_class=2, every=500)
    batch = nf.Sizes(3, 2, 5)
    columns = np.concatenate([np.arange(c * 4, c * 4 + 2) for c in range(3)])

    def of_batch(state):
        return invariant.terms(nf.State(state.H[:, columns], state.W, state.b), batch, p.kernel)

    start, end = of_batch(p.state), of_batch(run.final)
    assert invariant.drift(start, end) > 20 * run.drift


def test_too_large_a_step_is_said_to_be_so():
    with pytest.raises(nf.SolveError, match=r"left the finite numbers at step \d+: eta = 5.0 is too large"):
        descend(problem(), 200, 5.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 0.1), "steps = 0: must be at least 1"), ((5, -0.1), "eta = -0.1: must be positive")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(nf.InputError, match=message):
        descend(problem(), *arguments)


def test_the_law_is_not_that_of_another_step_size():
    p = problem()
    R = p.state.logits - np.eye(3)[:, SIZES.labels]
    quantities = conserved(p.kernel, SIZES)
    changes = [
        StepLaw(p, quantities, Momentum(eta)).change(p.state, 0, force(p, p.kernel, p.state, R))
        for eta in (0.1, 0.2)
    ]
    np.testing.assert_allclose(changes[1], 4 * changes[0], rtol=1e-12)


@pytest.mark.parametrize("loss", [nf.MSE(), nf.CrossEntropy()], ids=["mse", "cross-entropy"])
def test_the_drift_of_E_adds_up_to_at_most_the_fall_of_the_loss(loss):
    # Theory 11.3: to leading order, and by no more than a factor of a few less than the bound.
    sizes, kernel = nf.Sizes(3, 4, 6), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, kernel, 2), loss)
    ratios = []
    for eta, steps in ((2e-3, 600), (1e-3, 1200)):
        descent = descend(problem, steps, eta)
        before, after = (
            nf.metrics.invariant_terms(state, sizes, kernel).E for state in (problem.state, descent.final)
        )
        moved = np.linalg.norm(after - before, "nuc")
        ratios.append(moved / accumulated_bound(eta, sizes, descent.losses[0], descent.losses[-1]))
    assert all(0.2 < ratio <= 1 for ratio in ratios)
    assert ratios[0] == pytest.approx(ratios[1], rel=0.05)
