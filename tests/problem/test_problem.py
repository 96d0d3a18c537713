import pickle

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import KroneckerKernel, SampleKernel, ScheduledKernel
from ntkflow.problem.losses import MSE, CrossEntropy
from tests.metrics.test_quantities import random_state

SIZES, BLOCK = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.5, 0.1)


def problem(kernel=BLOCK, **changes):
    return nf.Problem(SIZES, kernel, random_state(SIZES), **changes)


def test_the_paper_s_flow_is_the_default():
    default = problem()
    assert default.loss == MSE()
    assert default.decay == Decay()
    assert default.has_thin
    assert default.plain


@pytest.mark.parametrize(
    ("changes", "has_thin"),
    [
        ({"loss": CrossEntropy()}, False),
        ({"decay": Decay(W=0.1)}, True),
        ({"kernel": ScheduledKernel((0.0, 1.0), (BLOCK, nf.BlockKernel(2, 1, 0)))}, True),
    ],
)
def test_modifications_are_not_plain(changes, has_thin):
    assert not problem(**changes).plain
    assert problem(**changes).has_thin is has_thin


def test_blocks_are_equal_where_they_are_scalar_and_classes_balanced():
    assert problem().blocks is problem().equal_blocks is BLOCK
    sizes = nf.Sizes(2, (2, 3), 4)
    uneven = nf.Problem(sizes, BLOCK, random_state(sizes))
    assert uneven.blocks is BLOCK
    assert uneven.equal_blocks is None
    assert problem(SampleKernel(np.eye(6))).blocks is None
    assert problem(loss=CrossEntropy()).cross_entropy
    assert not problem(loss=CrossEntropy()).squared_error


def test_a_kernel_without_blocks_has_no_thin_form():
    assert problem(SampleKernel(np.eye(6))).has_thin
    assert not problem(KroneckerKernel(np.eye(6), np.eye(SIZES.n))).has_thin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": np.eye(6)}, "kernel = ndarray: must be a Kernel"),
        ({"loss": "mse"}, "loss = str: must be a Loss"),
        ({"loss": MSE}, "loss = type: must be a Loss"),
        ({"decay": 0.1}, "decay = float: must be a Decay"),
        ({"kernel": SampleKernel(np.eye(5))}, r"must have shape \(6, 6\)"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(arguments, message):
    with pytest.raises(nf.InputError, match=message):
        problem(**arguments)


def test_a_state_of_other_sizes_is_refused():
    with pytest.raises(nf.InputError, match=r"H = array of shape \(4, 6\): must have shape \(4, 9\)"):
        nf.Problem(nf.Sizes(3, 3, 4), BLOCK, random_state(SIZES))


def test_a_run_asks_a_kernel_once_how_it_acts_on_means_and_deviations(monkeypatch):
    sizes, kernel, asked = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1), []
    state, of_block = nf.initial.make("gaussian", sizes), nf.BlockKernel.thin
    monkeypatch.setattr(nf.BlockKernel, "thin", lambda self, sizes: asked.append(0) or of_block(self, sizes))
    nf.solve(nf.Problem(sizes, kernel, state), t_end=0.1)
    assert len(asked) == 1


def test_what_follows_of_a_problem_is_made_once_and_stays_in_its_process():
    given, asked = problem(), []

    def made(one):
        asked.append(one)
        return lambda: one.sizes

    assert given.once(made) is given.once(made)
    assert asked == [given]
    again = pickle.loads(pickle.dumps(given))
    assert (again.kernel, again.sizes, again.decay) == (given.kernel, given.sizes, given.decay)
    again.once(made)
    assert asked == [given, again]
