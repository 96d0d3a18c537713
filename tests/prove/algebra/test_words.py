import numpy as np
import pytest

from ntkflow.prove.algebra.letters import assume, model
from ntkflow.prove.algebra.scalars import C, N, m, symbol
from ntkflow.prove.instances import Instance, small_model


@pytest.fixture
def M():
    return model()


def float_instance(C=3, m=2, n=4, seed=0):
    rng = np.random.default_rng(seed)
    N = C * m
    shapes = {"W": (C, n), "b": (C, 1), "H": (n, N), "R": (C, N), "H1": (n, C), "H2": (n, N - C)}
    matrices = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    ones = np.ones((m, 1))
    within = np.linalg.qr(np.hstack([ones, rng.normal(size=(m, m - 1))]))[0][:, 1:]
    A = rng.normal(size=(N, N))
    K = A @ A.T + np.eye(N)
    matrices |= {
        "Y": np.kron(np.eye(C), ones.T),
        "u": np.ones((C, 1)),
        "o": np.ones((N, 1)),
        "Q2": np.kron(np.eye(C), within),
        "K": K,
        "Ki": np.linalg.inv(K),
    }
    return Instance(matrices, {"C": C, "m": m, "n": n, "mu_s": 0.7, "mu_c": 1.9, "mu_g": 3.1})


def test_the_rules_of_the_model_hold_for_concrete_matrices(M):
    assert float_instance().violations(M.algebra) == []
    assert small_model().violations(M.algebra) == []


def test_a_false_rule_is_noticed_by_the_instance(M):
    M.algebra.rule("Y Y'", M.I * (m + 1))
    assert "Y Y'" in float_instance().violations(M.algebra)


def test_projectors_and_label_identities(M):
    assert (M.P * M.P - M.P).is_zero
    assert (M.P * M.u).is_zero
    assert (M.P * M.J).is_zero
    assert (M.Y * M.Y.T - M.I * m).is_zero
    assert not (M.P * M.P - M.P * 2).is_zero


def test_traces_are_cyclic_and_blind_to_transposition(M):
    left = (M.W * M.H * M.R.T).trace()
    assert (left - (M.H * M.R.T * M.W).trace()).is_zero
    assert (left - (M.R * M.H.T * M.W.T).trace()).is_zero
    assert not (left - (M.W * M.H * M.Y.T).trace()).is_zero


def test_trace_of_an_identity_is_the_size_of_its_space(M):
    assert (M.P.trace() - M.algebra.number(C - 1)).is_zero
    assert ((M.K * M.Ki).trace() - M.algebra.number(N)).is_zero
    assert ((M.Q2.T * M.Q2).trace() - M.algebra.number(N - C)).is_zero


def test_one_by_one_factors_commute_and_equal_their_transpose(M):
    assert (M.u * (M.b.T * M.W * M.g) - M.u * (M.g.T * M.W.T * M.b)).is_zero
    assert ((M.u.T * M.b) * M.W - M.W * (M.b.T * M.u)).is_zero


def test_letters_do_not_commute(M):
    assert not (M.K * M.kernel - M.kernel * M.K).is_zero
    assert not (M.W.T * M.W * M.S - M.S * M.W.T * M.W).is_zero


def test_shapes_are_checked(M):
    with pytest.raises(ValueError, match="cannot multiply"):
        M.W * M.W
    with pytest.raises(ValueError, match="cannot add"):
        M.W + M.H
    with pytest.raises(ValueError, match="no trace"):
        M.W.trace()
    with pytest.raises(ValueError, match="shapes"):
        M.algebra.rule("W H1", M.W)


@pytest.mark.parametrize("seed", range(3))
def test_normal_forms_have_the_value_of_the_plain_product(M, seed):
    numbers = float_instance(seed=seed)
    value, X = numbers.value, numbers.matrices
    direct = X["W"] @ X["H"] @ X["Y"].T @ X["Y"] @ X["o"] @ X["o"].T @ X["K"] @ X["Ki"] @ X["R"].T
    np.testing.assert_allclose(
        value(M.W * M.H * M.Y.T * M.Y * M.o * M.o.T * M.K * M.Ki * M.R.T).astype(float),
        direct,
        rtol=1e-11,
        atol=1e-11,
    )
    projected = X["H"] @ X["Q2"] @ X["Q2"].T @ X["H"].T
    np.testing.assert_allclose(
        value(M.H * M.Q2 * M.Q2.T * M.H.T).astype(float), projected, rtol=1e-11, atol=1e-11
    )
    traced = np.trace(X["Y"] @ X["R"].T @ X["W"] @ X["H1"]) * (X["b"].T @ X["u"])
    np.testing.assert_allclose(
        value((M.Y * M.R.T * M.W * M.H1).trace() * (M.u.T * M.b)).astype(float),
        traced,
        rtol=1e-11,
        atol=1e-11,
    )


def test_time_derivative_agrees_with_finite_differences(M):
    numbers, step = float_instance(), 1e-6
    flow = M.class_flow()
    speeds = {name: numbers.value(speed).astype(float) for name, speed in flow.items()}

    def moved(h):
        shifted = {name: numbers.matrices[name] + h * speeds[name] for name in speeds}
        return Instance({**numbers.matrices, **shifted}, numbers.numbers)

    quantity = M.S * M.W.T * M.b * (M.R1.squared_norm() + (M.X * M.X).trace())
    slope = (moved(step).value(quantity) - moved(-step).value(quantity)) / (2 * step)
    exact = numbers.value(quantity.rate(flow)).astype(float)
    np.testing.assert_allclose(slope.astype(float), exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


def test_coefficients_can_depend_on_time(M):
    rate = (M.S * M.mu_s**2 / m).rate({}, {"mu_s": symbol["t"]})
    assert (rate - M.S * (2 * M.mu_s * symbol["t"] / m)).is_zero


def test_hypotheses_do_not_leak_into_the_model_they_extend(M):
    zero_loss = assume(M, W_H1=M.I - M.b * M.u.T)
    assert zero_loss.R1.is_zero
    assert not M.R1.is_zero
    assert not model().R1.is_zero
