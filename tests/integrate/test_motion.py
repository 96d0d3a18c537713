import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.levels import LevelFlow
from ntkflow.dynamics.packed import RawFlow, ThinFlow
from ntkflow.integrate import moving_terms
from ntkflow.integrate.moving_terms import Pencil, Terms
from ntkflow.integrate.task import flow_of
from ntkflow.metrics import balance
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import ScheduledKernel
from ntkflow.problem.losses import MSE, CrossEntropy
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 2, 3)
NEVER = nf.Stop(None, None, None)
FALLING = ScheduledKernel((0.0, 1.0), (nf.BlockKernel(30, 12, 3), nf.BlockKernel(1, 0.5, 0.1)))


def moving(name, sizes=SIZES, seed=0, times=(0.0, 0.6)):
    first = ladder.make(name, sizes, seed)
    other = nf.BlockKernel(2.0, 0.9, 0.4) if name == "block" else ladder.make(name, sizes, seed + 1)
    return ScheduledKernel(times, (first, other))


def solve(kernel, sizes=SIZES, decay=Decay(), loss=MSE(), seed=0, t_end=1.0, **options):  # noqa: B008
    problem = nf.Problem(sizes, kernel, random_state(sizes, seed), loss, decay)
    return nf.solve(problem, t_end=t_end, stop=NEVER, **options)


@given(st.integers(1, 5), st.integers(0, 10**6), st.floats(0, 1))
def test_a_pencil_inverts_every_mixture_and_differentiates_the_inverse(size, seed, s):
    A, B = (ladder.spd(size, np.random.default_rng(seed + k)) for k in (0, 1))
    pencil, K = Pencil.of(A, B), (1 - s) * A + s * B
    np.testing.assert_allclose(pencil.inverse(s) @ K, np.eye(size), atol=1e-11)
    slope = np.linalg.solve(K, (B - A) @ np.linalg.inv(K))
    np.testing.assert_allclose(pencil.slope(s), slope, atol=1e-10 * max(1, np.abs(slope).max()))


@pytest.mark.parametrize("sizes", [SIZES, nf.Sizes(3, (1, 3, 2), 2), nf.Sizes(2, 1, 3)], ids=str)
@pytest.mark.parametrize("form", ["auto", "raw"])
@pytest.mark.parametrize("name", ladder.NAMES)
def test_terms_and_their_motion_are_those_of_the_kernel_at_that_time(name, form, sizes):
    if name in ladder.BALANCED_ONLY and not sizes.balanced:
        return
    kernel = moving(name, sizes)
    problem = nf.Problem(sizes, kernel, random_state(sizes))
    flow, quantities, s = flow_of(problem, form), conserved(kernel, sizes), 0.3
    terms = Terms(flow, sizes, *kernel.kernels)
    # Two states at once, with weights of their own.
    y = np.stack([flow.start(), 1.1 * flow.start()])
    shares, at = np.array([0.4, 0.7]), np.array([s, s])
    states = [flow.state(row) for row in y]
    lift = flow.frame.V if isinstance(flow, ThinFlow) else np.eye(sizes.n)

    def project(F):
        return quantities.symmetries.project(lift @ F @ lift.T)

    t = s * kernel.times[1]
    want = sum(share * quantities.values(state, t) for share, state in zip(shares, states, strict=True))
    found = project(terms.weights(y, shares) - terms.features(y, at, shares))
    np.testing.assert_allclose(found, want, atol=1e-12 * quantities.scale(states[1], t))
    rates = [balance.rate(problem, state, t) * kernel.times[1] for state in states]
    motion = project(terms.features(y, at, 0 * shares, shares))
    np.testing.assert_allclose(motion, shares @ np.array(rates), atol=1e-11 * np.abs(rates[1]).max())


@pytest.mark.parametrize("engine", ["auto", "DOP853", "RK45", "LSODA", "BDF", "Radau", "structured"])
def test_a_right_run_keeps_the_law_to_its_tolerance_in_every_engine(engine):
    # Two saved points only: the law does not look at them.
    run = solve(FALLING, nf.Sizes(3, 4, 6), engine=engine, rtol=1e-5, save_at=[0.0, 1.0])
    assert run.law.error < 1e-5
    assert run.law.motion > 0.5


def test_the_law_is_as_good_as_a_run_at_the_tightest_tolerance():
    run = solve(FALLING, nf.Sizes(3, 4, 6), rtol=1e-12, engine="DOP853")
    assert run.law.error < run.law.tolerance == 1e-11


@pytest.mark.slow
def test_a_right_run_keeps_the_law_in_diffrax():
    run = solve(FALLING, nf.Sizes(3, 4, 6), engine="diffrax", rtol=1e-7)
    assert run.law.error < 1e-7


CASES = {
    "unequal": Decay(0.4, 0.1, 0.2),
    "equal": Decay.equal(0.3),
    "features": Decay(0.0, 0.5),
    "none": Decay(),
}


@given(
    name=st.sampled_from(ladder.NAMES),
    decay=st.sampled_from(list(CASES)),
    moves=st.booleans(),
    knot=st.floats(1e-3, 1.0),
    seed=st.integers(0, 10**6),
    imbalanced=st.booleans(),
    cross=st.booleans(),
    form=st.sampled_from(["auto", "raw"]),
    rtol=st.sampled_from([1e-4, 1e-8]),
)
def test_right_runs_keep_the_law_on_every_rung(name, decay, moves, knot, seed, imbalanced, cross, form, rtol):
    sizes = nf.Sizes(2, (1, 2) if imbalanced and name not in ladder.BALANCED_ONLY else 2, 2)
    kernel = moving(name, sizes, seed, (0.2 * knot, knot)) if moves else ladder.make(name, sizes, seed)
    loss = CrossEntropy() if cross else MSE()
    run = solve(kernel, sizes, CASES[decay], loss, seed, t_end=0.7, form=form, rtol=rtol)
    if not moves and decay == "none":
        assert run.law is None
    else:
        assert run.law.error < rtol
        assert not run.law.failed


@pytest.mark.parametrize("flow", [ThinFlow, RawFlow, LevelFlow])
@pytest.mark.parametrize("decay", ["none", "unequal", "equal"])
def test_a_run_that_is_disturbed_on_purpose_fails(flow, decay, monkeypatch):
    kernel = ladder.make("kronecker" if flow is LevelFlow else "block", SIZES)
    if flow is LevelFlow:
        kernel = nf.KroneckerKernel(nf.BlockKernel(1.3, 0.5, 0.1), kernel.A)
    if decay == "none":
        other = (
            nf.KroneckerKernel(nf.BlockKernel(2, 1, 0.1), kernel.A)
            if flow is LevelFlow
            else FALLING.kernels[0]
        )
        # It moves to the end: where it stands still the audit would be the first to see.
        kernel = ScheduledKernel((0.0, 1.0), (kernel, other))
    right = flow.field
    # Decay that nobody knows of.
    monkeypatch.setattr(flow, "field", lambda self, t, y: right(self, t, y) - 1e-4 * y)
    with pytest.warns(nf.LawWarning, match="do not trust this run"):
        run = solve(
            kernel,
            decay=CASES[decay],
            engine="DOP853",
            form="raw" if flow is RawFlow else "auto",
            throw=False,
        )
    assert type(run.flow) is flow
    assert run.law.failed
    assert 1e-6 < run.law.error < 1e-3


@pytest.mark.parametrize("name", ["block", "kronecker", "tensor"])
def test_a_wrong_law_is_noticed(name, monkeypatch):
    part = moving_terms.TensorPart if name == "tensor" else moving_terms.Part
    right = part.sum
    monkeypatch.setattr(
        part,
        "sum",
        lambda self, Z, s, still, moving: right(
            self, Z, s, still, None if moving is None else 1.001 * moving
        ),
    )
    with pytest.warns(nf.LawWarning):
        run = solve(moving(name), engine="DOP853", form="raw")
    assert run.law.error > 1e-5


def test_a_narrow_peak_between_knots_is_followed():
    def block(size):
        return nf.BlockKernel(size, 0.5 * size, 0.1 * size)

    w = 1e-3
    sizes = nf.Sizes(3, 4, 6)
    peak = ScheduledKernel(
        (0, 0.5, 0.5 + w / 2, 0.5 + w, 1), tuple(block(x) for x in (1e-2, 1e-2, 2 / w, 1e-2, 1e-2))
    )
    g = nf.initial.make("gaussian", sizes, seed=1)
    problem = nf.Problem(sizes, peak, nf.State(0.1 * g.H, 0.1 * g.W, g.b))
    run = nf.solve(problem, t_end=1.0, stop=NEVER)
    assert np.linalg.norm(run.final.H) == pytest.approx(1.8198, abs=1e-4)
    assert run.law.error < 1e-8


@pytest.mark.parametrize("width", [1e-9, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15])
def test_right_runs_past_peaks_as_narrow_as_rounding_are_not_condemned(width):
    """The kernel changes by a factor 4/width, so that its law is known to some roundings times that factor."""
    sizes, knots = nf.Sizes(2, 3, 4), [0.0, 0.3, 0.3 + width / 2, 0.3 + width, 0.5]
    for i in (2, 3):
        knots[i] = max(knots[i], float(np.nextafter(knots[i - 1], 1.0)))
    heights = (0.1, 0.1, 0.4 / (knots[3] - knots[1]), 0.1, 0.1)
    kernel = ScheduledKernel(tuple(knots), tuple(nf.BlockKernel(h, 0.5 * h, 0.1 * h) for h in heights))
    for engine in ("DOP853", "structured"):
        run = solve(kernel, sizes, t_end=0.5, engine=engine, rtol=1e-6)
        assert run.law.error <= run.law.tolerance < 2e-5 + 1e-14 / width


def test_failed_runs_have_a_law_too():
    run = solve(FALLING, max_steps=3, throw=False)
    assert run.reason is nf.Reason.MAX_STEPS
    assert run.law.error < 1e-7
