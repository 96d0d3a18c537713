import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as draw

import ntkflow as nf
from ntkflow.problem.thin import remembering
from ntkflow.theory.exact import Sector, recognise, sector_of
from ntkflow.theory.exact.sector import NAMES
from ntkflow.theory.prediction import predict_flow
from tests import oracle

SIZES, KERNEL = nf.Sizes(4, 3, 6), nf.BlockKernel(2.0, 1.1, 0.4)
FRAME = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 4)))[0]
numbers = draw.floats(-2, 2).map(lambda x: round(x, 3))


@example(w=1.0, h=0.0, s=2.2e-16, wJ=0.0, hJ=1.0, beta=0.0)
@example(w=1.0, h=0.0, s=5e-324, wJ=0.0, hJ=0.0, beta=0.0)
@given(w=draw.floats(0.1, 2), h=numbers, s=draw.floats(0, 1), wJ=numbers, hJ=numbers, beta=numbers)
def test_a_symmetric_state_gives_its_numbers_back(w, h, s, wJ, hJ, beta):
    sector = Sector(SIZES, KERNEL, w, h, s, wJ, hJ, 0.0, beta)
    found = sector_of(sector.state(FRAME), SIZES, KERNEL)
    sign = -1 if wJ < 0 else 1
    if wJ == 0 and hJ < 0:
        sign = -1
    want = [w, h, s, sign * wJ, sign * hJ, 0.0, beta]
    np.testing.assert_allclose([getattr(found, name) for name in NAMES], want, atol=1e-9)


@pytest.mark.parametrize("change", ["weights", "means", "biases", "spread", "rotated means"])
def test_states_without_the_symmetry_are_not_recognised(change):
    state = Sector(SIZES, KERNEL, 0.7, 0.4, 0.2, 0.3, 0.1, 0.05, -0.2).state(FRAME)
    assert sector_of(state, SIZES, KERNEL) is not None
    H, W, b = state.H.copy(), state.W.copy(), state.b.copy()
    if change == "weights":
        W[0] *= 1.001
    elif change == "means":
        H[:, :3] *= 1.001
    elif change == "biases":
        b[0] += 1e-3
    elif change == "spread":
        H += 1e-3 * np.outer(np.ones(6), [1, -1, 0] + [0] * 9)
    else:
        # All Gram matrices stay symmetric, but W^T and H1 are no longer parallel.
        W = W @ np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    assert sector_of(nf.State(H, W, b), SIZES, KERNEL) is None


@pytest.mark.parametrize("sP", [0.0, 0.3])
def test_the_limit_of_a_symmetric_state_is_predicted_with_its_bias_and_reached(sP):
    # No E = 0 here: the limit follows from Lambert's W, or the root, of theory 4.5.
    state = Sector(SIZES, KERNEL, 0.7, 0.3, sP, 0.9, 0.2, 0.0, -0.4).state(FRAME)
    problem = nf.Problem(SIZES, KERNEL, state)
    found = predict_flow(problem)
    assert found.limit is not None
    assert not found.facts.zero_E
    end = oracle.integrate_raw(problem, np.array([60.0]), rtol=1e-12)[0]
    np.testing.assert_allclose(end.W @ end.W.T, found.limit.X, atol=1e-10)
    np.testing.assert_allclose(end.b, found.limit.b, atol=1e-10)
    measured = nf.metrics.nc(end, SIZES)
    assert measured["NC3"] == pytest.approx(found.limit.NC3, abs=1e-9)
    verdicts = {name: answer.verdict for name, answer in found.conditions.items()}
    assert (verdicts["NC1"], verdicts["NC2"], verdicts["NC3"]) == ("yes", "yes", "no")
    assert f"{found.limit.b[0]:.4g}" in found.conditions["NC3"].sentence


def test_into_the_saddle_no_limit_is_promised():
    x = nf.theory.limits.x_star(SIZES, KERNEL)
    state = Sector(SIZES, KERNEL, 0.5, -0.5 / x, 0.0, 0.0, 0.0, 0.0, 0.1).state(FRAME)
    assert predict_flow(nf.Problem(SIZES, KERNEL, state)).limit is None


def test_it_is_found_once_while_states_are_remembered(monkeypatch):
    state, asked = Sector(SIZES, KERNEL, 1.0, 0.5, 0.1, 0.0, 0.0, 0.0, 0.25).state(FRAME), []
    find = recognise._sector_of
    monkeypatch.setattr(recognise, "_sector_of", lambda *given: asked.append(given) or find(*given))
    with remembering():
        first, again = sector_of(state, SIZES, KERNEL), sector_of(state, SIZES, KERNEL)
        assert first is again
        assert first is not None
        # Another measure of zero, another kernel: another question.
        sector_of(state, SIZES, KERNEL, 1e-12)
        sector_of(state, SIZES, nf.BlockKernel(2.0, 1.0, 0.4))
    assert len(asked) == 3
