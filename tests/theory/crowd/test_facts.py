"""The facts of many states against those of one after another."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.problem.thin import remembering
from ntkflow.theory import initial_facts
from ntkflow.theory.crowd import facts as crowd
from ntkflow.theory.initial_facts import Facts, facts
from tests import strategies
from tests.theory.test_limits import projector_state

# Parts of a state that are zero are known to rounding of what was subtracted.
NEAR = {"rel": 1e-9, "abs": 1e-12}


def same(found: Facts, expected: Facts):
    for field in dataclasses.fields(Facts):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "signs":
            assert (a.positive, a.negative, a.zero) == (b.positive, b.negative, b.zero)
            assert a.tolerance == pytest.approx(b.tolerance)
        elif isinstance(b, float | tuple) and not isinstance(b, bool):
            assert a == pytest.approx(b, **NEAR), field.name
            assert type(a) is type(b)
        else:
            assert a == b, field.name
            assert type(a) is type(b)


def deviating(H, sizes):
    """What is left of features without their class means."""
    return H - np.repeat(H.reshape(sizes.n, sizes.C, -1).mean(axis=2), sizes.m, axis=1)


KINDS = ("random", "nothing", "saddle", "collapsed", "still", "equal", "projector", *nf.initial.NAMES)


def start(kind, sizes, kernel, seed):
    """A random state, or one of which something is true that is not of others."""
    if kind in nf.initial.NAMES:
        try:
            return kernel, nf.initial.make(kind, sizes, kernel, seed)
        except nf.InputError:  # too few samples or features for it
            pass
    rng = np.random.default_rng(seed)
    H, W = rng.standard_normal((sizes.n, sizes.N)), rng.standard_normal((sizes.C, sizes.n))
    b = 0.3 * rng.standard_normal(sizes.C)
    if kind == "projector" and sizes.n >= sizes.C < sizes.N:
        return kernel, projector_state(sizes, kernel, 0.4, sizes.C, rng)
    if kind == "saddle":
        W -= W.mean(axis=0)
        x = np.sqrt(sizes.per_class / kernel.eigenvalues(sizes).mu_class)
        H, b = np.repeat(-W.T / x, sizes.m, axis=1), 0 * b
    if kind in ("nothing", "still"):
        W, H = 0 * W, (0 if kind == "nothing" else 1) * deviating(H, sizes)
    if kind == "collapsed":
        H = np.repeat(H[:, : sizes.C], sizes.m, axis=1)
    if kind == "equal":  # deviations alike in all their directions, of which W and the means see a part
        U, _, Vt = np.linalg.svd(deviating(H, sizes), full_matrices=False)
        rank = min(sizes.n, sizes.N - sizes.C)
        means = np.outer(U[:, 0], rng.standard_normal(sizes.C))
        W = np.outer(rng.standard_normal(sizes.C), U[:, 0])
        H = np.repeat(means, sizes.m, axis=1) + U[:, :rank] @ Vt[:rank]
        # Their axes are anyone's: here none is seen by chance.
        turn = np.linalg.qr(rng.standard_normal((sizes.n, sizes.n)))[0]
        H, W = turn @ H, W @ turn.T
    return kernel, nf.State(H, W, b)


@st.composite
def starts(draw):
    """Some kernels and states of the same sizes."""
    sizes = draw(strategies.sizes())
    # That of projectors checks itself to rounding, which badly conditioned draws do not keep.
    some = [kind for kind in KINDS if kind != "projector"]
    kinds = draw(st.lists(st.sampled_from(some), min_size=1, max_size=4))
    seeds = st.integers(0, 2**32 - 1)
    return sizes, [start(kind, sizes, draw(strategies.kernels()), draw(seeds)) for kind in kinds]


@pytest.mark.parametrize(
    "sizes", [nf.Sizes(2, 4, 6), nf.Sizes(3, 5, 8), nf.Sizes(4, 3, 5), nf.Sizes(3, 1, 4)], ids=str
)
def test_states_of_all_kinds_together_have_the_facts_of_each(sizes):
    many = [start(kind, sizes, nf.BlockKernel(1.0, 0.4, 0.1), seed) for seed, kind in enumerate(KINDS)]
    found = crowd.facts_of_many(sizes, many)
    for (kernel, state), one in zip(many, found, strict=True):
        same(one, facts(sizes, kernel, state))
    # All branches are taken.
    for name in ("zero_E", "centred", "symmetric", "saddle", "still") if sizes.per_class > 1 else ():
        assert {getattr(one, name) for one in found} == {True, False}, name
    assert any(one.frozen > 0 for one in found) == (sizes.per_class > 1)
    assert any(one.projector for one in found) == (sizes.per_class > 1)


@given(starts())
def test_many_have_the_facts_of_each(given_starts):
    sizes, many = given_starts
    for (kernel, state), found in zip(many, crowd.facts_of_many(sizes, many), strict=True):
        same(found, facts(sizes, kernel, state))


@given(starts())
def test_the_facts_of_one_do_not_depend_on_the_others(given_starts):
    sizes, many = given_starts
    for one, found in zip(many, crowd.facts_of_many(sizes, many), strict=True):
        assert crowd.facts_of_many(sizes, [one]) == [found]


def test_what_has_been_found_is_what_is_told_and_forgotten_afterwards(monkeypatch):
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1, 0.5, 0.1)
    states = [nf.initial.make("gaussian", sizes, kernel, seed) for seed in range(3)]
    problems = [nf.Problem(sizes, kernel, state) for state in states]
    # Closed forms do not apply to these, which cost the others nothing.
    others = [
        nf.Problem(sizes, kernel, states[0], decay=nf.Decay(0.1)),
        nf.Problem(nf.Sizes(2, (2, 4), 4), kernel, nf.State(states[0].H, states[0].W[:2], np.zeros(2))),
    ]
    expected = [facts(sizes, kernel, state) for state in states]
    with remembering():
        crowd.look_at_facts([*others, *problems])
        with monkeypatch.context() as patched:
            patched.setattr(initial_facts, "_facts", None)
            for state, one in zip(states, expected, strict=True):
                same(facts(sizes, kernel, state), one)
    with pytest.raises(TypeError), monkeypatch.context() as patched:
        patched.setattr(initial_facts, "_facts", None)
        facts(sizes, kernel, states[0])
