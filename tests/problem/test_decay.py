import numpy as np
import pytest

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.decay import Decay
from ntkflow.problem.losses import MSE, CrossEntropy
from tests.flows import integrate
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 4)


@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=["mse", "cross-entropy"])
@pytest.mark.parametrize("name", ladder.NAMES)
def test_equal_decay_shrinks_every_invariant_by_exp_minus_2_l_t(name, loss):
    kernel, state, rate, t = ladder.make(name, SIZES), random_state(SIZES), 0.7, 0.8
    problem = nf.Problem(SIZES, kernel, state, loss, Decay.equal(rate))
    invariants = conserved(kernel, SIZES)
    final = integrate(problem, [t])[0]
    want = np.exp(-2 * rate * t) * invariants.values(state)
    assert np.abs(invariants.values(final) - want).max() < 1e-10 * invariants.scale(final)


def test_unequal_decay_breaks_the_exponential_law():
    kernel, state = ladder.make("block", SIZES), random_state(SIZES)
    invariants = conserved(kernel, SIZES)
    final = integrate(nf.Problem(SIZES, kernel, state, decay=Decay(0.7, 0.3, 0.7)), [0.8])[0]
    want = np.exp(-2 * 0.7 * 0.8) * invariants.values(state)
    assert np.abs(invariants.values(final) - want).max() > 1e-2 * invariants.scale(final)


def test_decay_of_weights_and_features_ends_in_the_regularised_collapse():
    # 11.1: rho = sqrt(lw lh / (m mu_c)), R1 = -rho P, b = 1/C, X = (1-rho) sqrt(lh m / (lw mu_c)) P, S = 0.
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.5, 0.1)
    lw, lh, m, mu = 0.3, 0.2, 2, kernel.eigenvalues(nf.Sizes(3, 2, 4))
    problem = nf.Problem(sizes, kernel, random_state(sizes, 1), decay=Decay(lw, lh))
    final = integrate(problem, [200.0], rtol=1e-10)[0]
    rho = np.sqrt(lw * lh / (m * mu.mu_class))
    P = centring(3)
    H1 = final.H.reshape(4, 3, 2).mean(axis=2)
    np.testing.assert_allclose(final.W @ H1 + final.b[:, None] - np.eye(3), -rho * P, atol=1e-7)
    np.testing.assert_allclose(final.b, 1 / 3, atol=1e-7)
    np.testing.assert_allclose(H1, np.sqrt(lw * mu.mu_class / (lh * m)) * final.W.T, atol=1e-7)
    x = (1 - rho) * np.sqrt(lh * m / (lw * mu.mu_class))
    np.testing.assert_allclose(final.W @ final.W.T, x * P, atol=1e-7)
    np.testing.assert_allclose(final.H, np.repeat(H1, 2, axis=1), atol=1e-7)


def test_rates_are_kept_in_order_and_checked():
    assert Decay(1.0, 2.0, 3.0).rates == (1.0, 2.0, 3.0)
    assert Decay(1.0, 2.0, 3.0).as_dict() == {"W": 1.0, "H": 2.0, "b": 3.0}
    assert Decay(b=0.1).any
    assert not Decay().any
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(nf.InputError, match=r"decay\.H = .*: must be finite and at"):
            Decay(H=bad)
