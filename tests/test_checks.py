"""Nothing that is no real number is taken for one: by every argument that takes numbers."""

from decimal import Decimal
from fractions import Fraction

import jaxtyping
import numpy as np
import pytest

import ntkflow as nf
from benchmarks import taylor
from ntkflow import checks, fitting
from ntkflow.derivatives import sensitivity
from ntkflow.metrics.balance import balance
from ntkflow.problem import kernels


@pytest.fixture(autouse=True)
def _as_users_run_it():
    """Without the types that only tests enforce: the check of arguments is what is looked at."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


SIZES = nf.Sizes(2, 2, 3)
EYE = np.eye(4) + 0.1
STATE = nf.initial.make("gaussian", SIZES)
BLOCK = nf.BlockKernel(1.5, 0.5, 0.1)
PROBLEM = nf.Problem(SIZES, BLOCK, STATE)

# What an array of numbers may turn out to be.
WRONG = {
    "complex": lambda a: a + 0j,
    "truth values": lambda a: a > 0,
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S"),
    "objects": lambda a: a.astype(object),
    "masked": lambda a: np.ma.masked_array(a, mask=a > 1e9),
    "dates": lambda a: a.astype("M8[s]"),
}
ARRAYS = {
    "H": lambda f: nf.State(f(STATE.H), STATE.W, STATE.b),
    "W": lambda f: nf.State(STATE.H, f(STATE.W), STATE.b),
    "b": lambda f: nf.State(STATE.H, STATE.W, f(STATE.b)),
    "H, sorted": lambda f: nf.State.from_samples(f(STATE.H), STATE.W, STATE.b, SIZES.labels),
    "labels": lambda f: nf.State.from_samples(STATE.H, STATE.W, STATE.b, f(SIZES.labels)),
    "m": lambda f: nf.Sizes(2, f(np.array([2, 3])), 3),
    "K": lambda f: kernels.SampleKernel(f(EYE)),
    "B": lambda f: kernels.ClassBlockKernel([1.0, 1.0], f(np.eye(2) / 2)),
    "kappa_d": lambda f: kernels.ClassBlockKernel(f(np.ones(2)), np.eye(2) / 2),
    "A": lambda f: kernels.KroneckerKernel(BLOCK, f(np.eye(3))),
    "A_c": lambda f: kernels.MatrixBlockKernel(np.eye(3), f(np.eye(3)), np.eye(3)),
    "diagonal": lambda f: kernels.MatrixBlockKernel.from_values(f(np.eye(3)), np.eye(3) / 2, np.eye(3) / 4),
    "Theta": lambda f: kernels.TensorKernel(f(np.eye(12).reshape(3, 4, 3, 4))),
    "knots": lambda f: kernels.ScheduledKernel(f(np.array([0.0, 1.0])), (BLOCK, BLOCK)),
    "save_at": lambda f: nf.solve(PROBLEM, save_at=f(np.array([0.0, 1.0]))),
    "times of sensitivities": lambda f: sensitivity.checked_times(f(np.array([0.0, 1.0]))),
    "times of a fit": lambda f: fitting.Observed(f(np.array([0.0, 1.0])), (STATE, STATE), SIZES),
    "times of taylor": lambda f: taylor.integrate(PROBLEM, f(np.array([1.0]))),
    "times of a balance": lambda f: balance(PROBLEM, f(np.array([0.0, 1.0])), [STATE, STATE]),
    "times of an ensemble": lambda f: nf.ensemble([PROBLEM], times=f(np.array([0.0, 1.0]))),
    "b of a limit": lambda f: nf.theory.limits.zero_invariant(SIZES, BLOCK, f(np.array([0.1, 0.2]))),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("argument", ARRAYS)
def test_arrays_of_anything_else_are_refused_by_name(argument, kind):
    with pytest.raises(nf.InputError) as refused:
        ARRAYS[argument](WRONG[kind])
    assert refused.value.rule


NUMBERS = {
    "kappa_d": lambda x: nf.BlockKernel(x, 0.0, 0.0),
    "kappa_n": lambda x: nf.BlockKernel(9.0, 9.0, x),
    "decay": lambda x: nf.Decay(x),
    "t_end": lambda x: nf.solve(PROBLEM, t_end=x),
    "scale": lambda x: nf.initial.make("gaussian", SIZES, scale=x),
}
NONE_OF_THEM = ["1", b"1", True, np.True_, 1 + 0j, np.complex128(1), None, [1.0], np.array("1"), np.ma.masked]


@pytest.mark.parametrize("value", NONE_OF_THEM, ids=repr)
@pytest.mark.parametrize("argument", NUMBERS)
def test_a_number_is_a_real_number(argument, value):
    if argument == "t_end" and value is None:
        pytest.skip("the default")
    with pytest.raises(nf.InputError):
        NUMBERS[argument](value)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1), np.array(1.0), Fraction(1)], ids=repr)
def test_every_kind_of_real_number_is_one(value):
    assert checks.real("x", value) == 1.0
    assert nf.BlockKernel(value, 0.5, 0.1).kappa_d == 1.0


def test_decimals_are_objects_to_numpy_and_are_refused():
    with pytest.raises(nf.InputError, match="Python objects"):
        checks.real("x", Decimal("1"))


@pytest.mark.parametrize(
    "value", [True, np.True_, 2.0, "2", 2 + 0j, None, np.array([2]), np.ma.masked], ids=repr
)
@pytest.mark.parametrize("name", ["C", "m", "n"])
def test_a_count_is_an_integer(name, value):
    counts = {"C": 2, "m": 2, "n": 3}
    if name == "m" and isinstance(value, np.ndarray) and value.ndim:
        pytest.skip("one count per class is another refusal")
    with pytest.raises(nf.InputError, match=name):
        nf.Sizes(**{**counts, name: value})


def test_counts_per_class_are_integers():
    for m in ((2, True), (2, 3.0), "23", ["2", "3"]):
        with pytest.raises(nf.InputError, match="m = "):
            nf.Sizes(2, m, 3)
    assert nf.Sizes(2, np.array([2, 3]), 3).m == (2, 3)
    assert nf.Sizes(np.int64(2), np.int32(3), 3).m == 3


def test_truth_values_among_numbers_are_seen():
    with pytest.raises(nf.InputError, match="truth values"):
        checks.numbers("x", [1.0, True])
    with pytest.raises(nf.InputError, match="array of numbers"):
        checks.numbers("x", [[1.0], [1.0, 2.0]])


def test_times_increase_from_where_they_must():
    assert checks.times("t", [0, 1, 2]).dtype == np.float64
    for wrong, rule in (
        ([], "list of finite times"),
        ([1, 1], "increase"),
        ([-1, 1], ">= 0"),
        ([0, np.nan], "finite"),
    ):
        with pytest.raises(nf.InputError, match=rule):
            checks.times("t", wrong)


@pytest.mark.parametrize(
    ("check", "right", "wrong", "rule"),
    [
        (lambda v: checks.positive("x", v), 1e-300, 0.0, "must be positive and finite"),
        (lambda v: checks.positive("x", v), 1, -1, "must be positive and finite"),
        (lambda v: checks.not_negative("x", v), 0, -1e-300, "must be finite and at least 0"),
        (lambda v: checks.not_negative("x", v), 2.5, np.nan, "must be finite"),
        (checks.momentum, 0.0, 1.0, "0 <= momentum < 1"),
        (checks.momentum, 0.999, -0.1, "0 <= momentum < 1"),
        (
            lambda v: checks.choice("x", v, ("thin", "raw")),
            "raw",
            "cooked",
            "x = 'cooked': must be one of thin, raw",
        ),
    ],
)
def test_each_check_gives_the_value_back_or_says_its_rule(check, right, wrong, rule):
    assert check(right) == right
    with pytest.raises(nf.InputError, match=rule):
        check(wrong)


def test_a_shape_is_refused_with_what_it_should_be_and_why():
    checks.shape("b", (3,), (3,), ", one bias per class", "check both")
    with pytest.raises(nf.InputError, match=r"b = array of shape \(2,\): must have shape \(3,\), one bias"):
        checks.shape("b", (2,), (3,), ", one bias per class", "check both")
