"""The rewrite rules behind the proofs are true of concrete matrices: no proof rests on contradictory hypotheses."""

from fractions import Fraction

import numpy as np
import pytest

from ntkflow.prove.algebra.letters import assume, model
from ntkflow.prove.claims import biases, misprints, relaxations
from ntkflow.prove.claims.ladder import class_dependent_algebra, matrix_blocks_model
from ntkflow.prove.claims.limits import at_zero_loss, with_frame
from ntkflow.prove.claims.spectrum import with_unit_vectors
from ntkflow.prove.instances import Instance, counterexample, small_model


@pytest.fixture
def base():
    return small_model(C=3, m=2, n=4)


def extended(instance, **matrices):
    return Instance({**instance.matrices, **matrices}, instance.numbers)


def test_unit_vectors(base):
    e = np.eye(6)[:, 3:4]
    instance = extended(base, e=e, f=np.eye(3)[:, 1:2])
    assert instance.violations(with_unit_vectors()[0].algebra) == []
    assert extended(instance, f=np.eye(3)[:, :1]).violations(with_unit_vectors()[0].algebra)


def zero_loss_state():
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
    H1 = np.linalg.pinv(W) @ (np.eye(3) - b @ np.ones((1, 3)))
    kernel_of_W = np.linalg.svd(W)[2][3:].T
    return {"W": W, "b": b, "H1": H1, "H2": kernel_of_W @ rng.normal(size=(1, 3))}


def test_zero_loss(base):
    M = at_zero_loss()
    assert extended(base, **zero_loss_state()).violations(M.algebra) == []
    assert base.violations(M.algebra)


def test_gram_equations_at_a_concrete_zero_loss_state(base):
    from ntkflow.prove.claims.limits import any_invariant

    instance = extended(base, **zero_loss_state())
    for equation in any_invariant():
        left, right = (instance.value(side).astype(float) for side in (equation.left, equation.right))
        np.testing.assert_allclose(left, right, atol=1e-10 * max(1, np.abs(left).max()))


def test_frame():
    base = small_model(C=3, m=4, n=4, p=2, q=1, c_1=Fraction(1, 2))
    V = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 3)))[0]
    assert extended(base, V=V).violations(with_frame(1)[0].algebra) == []


def test_class_dependent_blocks_with_imbalanced_classes():
    counts, mu = np.array([1, 2, 3]), np.array([0.7, 1.1, 1.9])
    labels = np.repeat(np.arange(3), counts)
    Y = np.eye(3)[:, labels]
    D, V = np.diag(counts.astype(float)), np.diag(mu)
    F = np.array([[3.0, 1, 0.5], [1, 4, 1], [0.5, 1, 5]])
    T = np.diag(mu[labels])
    matrices = {"Y": Y, "D": D, "V": V, "F": F, "T": T, "u": np.ones((3, 1)), "o": np.ones((6, 1))}
    matrices |= {name + "i": np.linalg.inv(matrices[name]) for name in "DVFT"}
    instance = Instance(matrices, {"C": 3, "m": 2, "n": 4})
    assert instance.violations(class_dependent_algebra().algebra) == []


def test_matrix_blocks_that_do_not_commute_with_each_other(base):
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(3, 4, 4))
    parts = {name: A @ A.T + np.eye(4) for name, A in zip(("Bd", "Bc", "Bg"), factors, strict=True)}
    parts |= {name + "i": np.linalg.inv(A) for name, A in list(parts.items())}
    assert extended(base, **parts, Z=np.eye(4)).violations(matrix_blocks_model()[0].algebra) == []


def test_centred_states(base):
    M = model()
    rules = assume(M, H1_u=0, b=M.u / 3, Wt_u=0)
    state = zero_loss_state()
    centred = {
        "H1": state["H1"] @ (np.eye(3) - 1 / 3),
        "W": (np.eye(3) - 1 / 3) @ state["W"],
        "b": np.full((3, 1), 1 / 3),
    }
    assert extended(base, **centred).violations(rules.algebra) == []


@pytest.mark.parametrize(
    ("build", "instance"),
    [
        (lambda: misprints.weights_against_features(1), misprints.diagonal_instance()),
        (lambda: misprints.second_line(misprints.m), misprints.collapsed_instance()),
        (lambda: misprints.component_rate(2, diagonal=False), misprints.frozen_instance()),
        (lambda: relaxations.rotated_part(transposed=False), relaxations.rotated_instance()),
        (lambda: relaxations.invariant_rate("77", 1), relaxations.relaxed_instance()),
    ],
)
def test_counterexamples_obey_the_hypotheses_of_their_claim(build, instance):
    algebra = build()[0].left.algebra
    free = {"Nn W' R", "R' W Nn'"}  # a hypothesis of the second half of the claim only
    assert [rule for rule in instance.violations(algebra) if rule not in free | {"H2", "H2'"}] == []


def test_no_counterexample_where_both_sides_agree():
    equation = biases.means_gram(biases.s / biases.r)[0]
    assert counterexample(equation, small_model(**biases.HALVES), "here") is None
    wrong = biases.means_gram(biases.s)[0]
    assert "here" in counterexample(wrong, small_model(**biases.HALVES), "here")


def test_exact_instances_hold_no_floats():
    value = small_model().value(model().X)
    assert all(isinstance(entry, (int, Fraction)) for entry in value.ravel())
