"""What is said beforehand where the paper's closed forms do not reach: any kernel on samples, too few features."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.theory.prediction import excluded_by_E, sample_conditions


class Own(nf.Kernel):
    """A rung of one's own: acts on samples by a matrix that nothing but its methods tells of."""

    rung: ClassVar[str] = "own"
    on_samples = True

    def __init__(self, K):
        self._K = K

    def apply(self, G, sizes):
        return G @ self._K

    def check(self, sizes):
        pass

    def as_dict(self):
        return {"rung": self.rung}

    def solve(self, H, sizes):
        return np.linalg.solve(self._K, H.T).T


def balanced(sizes, kernel, **how):
    """E = 0 for a kernel on samples: H = W^T Z K^(1/2), Z with orthonormal rows."""
    rng = np.random.default_rng(4)
    W = rng.standard_normal((sizes.C, sizes.n))
    Z = np.linalg.qr(rng.standard_normal((sizes.N, sizes.C)))[0].T
    values, vectors = np.linalg.eigh(kernel.apply(np.eye(sizes.N), sizes))
    state = nf.State(W.T @ Z @ (vectors * np.sqrt(values)) @ vectors.T, W, np.zeros(sizes.C))
    return nf.Problem(sizes, kernel, state, **how)


def test_an_own_rung_has_the_answers_of_the_rung_that_it_equals():
    sizes = nf.Sizes(3, 4, 12)
    K = nf.BlockKernel(1.0, 0.5, 0.1).matrix(sizes)
    state = nf.initial.make("gaussian", sizes, None, 2)
    own, known = (
        sample_conditions(nf.Problem(sizes, kernel, state))["NC1"] for kernel in (Own(K), nf.SampleKernel(K))
    )
    assert known.verdict == own.verdict == "no"
    assert own.numbers == pytest.approx(known.numbers, rel=1e-9)
    assert own.sentence == known.sentence


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "sizes", [nf.Sizes(2, (3, 2), 1), nf.Sizes(3, 4, 2), nf.Sizes(4, (2, 3, 4, 2), 2), nf.Sizes(3, 4, 3)]
)
def test_nothing_is_promised_where_the_features_are_too_few_for_zero_loss(sizes, held):
    X = np.random.default_rng(3).standard_normal((30, sizes.N))
    problem = balanced(sizes, nf.SampleKernel(X.T @ X / 30), train_bias=not held)
    answer = sample_conditions(problem)["NC1"]
    # b = 0 is held: zero loss is W H = Y, of rank C; trained biases take one dimension from that.
    fits = sizes.n >= sizes.C - (0 if held else 1)
    assert answer.verdict == ("yes" if fits else "undetermined")
    if not fits:
        assert f"the flow has {sizes.n}" in answer.sentence
        floor = nf.solve(problem, t_end=300.0).series["loss"][-1]
        assert floor > 0.1


def test_features_in_a_space_too_small_are_as_few_as_its_dimensions():
    # n = 6, but features and weights lie in one direction, which the flow never leaves.
    sizes = nf.Sizes(3, 4, 1)
    X = np.random.default_rng(3).standard_normal((30, sizes.N))
    small = balanced(sizes, nf.SampleKernel(X.T @ X / 30))
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0][:, :1]
    state = nf.State(Q @ small.state.H, small.state.W @ Q.T, small.state.b)
    wide = replace(small, sizes=nf.Sizes(3, 4, 6), state=state)
    assert excluded_by_E(wide) is None
    assert sample_conditions(wide)["NC1"].verdict == "undetermined"
