"""Every published measure: against a public package's values, naive formulas, and what must not change it."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.metrics.published import moments
from ntkflow.metrics.published.labels import LabelsWarning
from ntkflow.metrics.published.moments import Moments
from ntkflow.metrics.published.registry import METRICS

collapse = nf.metrics.collapse
# Values of a public package and of published formulas; README.md says whence.
REFERENCE = json.loads((Path(__file__).parent / "nc_metrics.json").read_text())
NAMES = {
    "covariance_ratio pinv (NC1)": ("NC1_papyan",),
    "covariance_ratio svd": ("NC1_svd",),
    "covariance_ratio quotient": ("NC1_tirer",),
    "variability_cdnv": ("NC1_galanti",),
    "simplex_etf_error (NC2)": ("NC2",),
    "self_duality_error (NC3)": ("NC3_zhu",),
    "clf_ncc_agreement (NC4)": ("NC4_unbiased",),
    "similarities variance (UNC3)": ("UNC3",),
    "zhu NC3 |W M/|W M| - P/sqrt(C-1)|": ("NC3_zhu",),
    "equinorm of means std/mean": ("NC2_equinorm",),
    "equinorm of W rows std/mean": ("NC2_equinorm_W",),
    "equiangle of means mean|cos+1/(C-1)|": ("NC2_equiangular",),
    "std of cosines of means": ("NC2_cosines",),
    "equiangle of W mean|cos+1/(C-1)|": ("NC2_equiangular_W",),
    "zhu NC2 |W W^T/|W W^T| - P/sqrt(C-1)|": ("NC2_W",),
    "mean cos(W_c, M_c)": ("NC3_cosine",),
    "NC0 |W^T 1|/C": ("NC0",),
    "|W g|, g = sample mean": ("bias_Wg",),
    "tr Sw/tr St, samples": ("NC1_total",),
    "pair distance of normalised centred means: mean, population variance (GNC2)": (
        "GNC2_distance",
        "GNC2_distance_var",
    ),
    "-log of the same: mean, population variance (GNC2)": ("GNC2_log", "GNC2_log_var"),
}
ROTATED = {"NC1"}  # depends on the axes
# Powers of the unit of features and of W.
UNITS = {
    "NC1": (1, 0), "NC1_frobenius": (1, 0), "NC0": (0, 1), "UNC3": (2, 2), "bias_Wg": (1, 1), "bias_collapse": (1, 1),
}  # fmt: skip


def drawn(seed, C, n, counts):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(C), counts)
    H = rng.normal(size=(C, n))[y] * 1.5 + 0.6 * rng.normal(size=(len(y), n)) + 0.7
    return H, y, rng.normal(size=(C, n))


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=["balanced", "imbalanced", "C > n"])
def test_values_of_a_public_package_are_met(case):
    found = collapse(*drawn(case["seed"], case["C"], case["n"], case["counts"]))
    assert set(case["values"]) == set(NAMES)
    for key, value in case["values"].items():
        for name, expected in zip(NAMES[key], value if isinstance(value, list) else [value], strict=True):
            if expected is None:
                assert "needs C <= n" in found.absent[name]
            else:
                assert found[name] == pytest.approx(expected, rel=1e-12), name


def naive(H, y, W, b, centre):
    """Every formula as it is written, with loops and a pseudo-inverse."""
    C, N = len(W), len(H)
    mu = np.stack([H[y == c].mean(axis=0) for c in range(C)])
    g = H.mean(axis=0)
    M = mu - (g if centre == "samples" else mu.mean(axis=0))
    D = H - mu[y]
    S_W, S_B, S_T = D.T @ D / N, M.T @ M / C, (H - g).T @ (H - g) / N
    v = [np.mean(np.sum(D[y == c] ** 2, axis=1)) for c in range(C)]
    pairs = [(i, j) for i in range(C) for j in range(i)]
    U, V = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (M, W))
    P, unit = np.eye(C) - 1 / C, lambda A: A / np.linalg.norm(A)
    target = P / np.sqrt(C - 1)
    distances = np.array([np.linalg.norm(U[i] - U[j]) for i, j in pairs])
    cosines, cosines_W = (np.array([A[i] @ A[j] for i, j in pairs]) for A in (U, V))
    nearest = np.array([np.argmin(np.sum((h - mu) ** 2, axis=1)) for h in H])
    plain, biased = (H @ W.T).argmax(axis=1), (H @ W.T + b).argmax(axis=1)
    norms, norms_W = np.linalg.norm(M, axis=1), np.linalg.norm(W, axis=1)
    values, vectors = np.linalg.eigh(S_B)
    top = vectors[:, -(C - 1) :]
    return {
        "NC1": np.mean([H[y == c].std(axis=0) for c in range(C)]),
        "NC1_frobenius": np.sqrt(np.trace(S_W)),
        "NC1_papyan": np.trace(S_W @ np.linalg.pinv(S_B, rcond=1e-10, hermitian=True)) / C,
        "NC1_svd": np.trace(S_W @ top @ np.diag(1 / values[-(C - 1) :]) @ top.T) / C,
        "NC1_tirer": np.trace(S_W) / np.trace(S_B),
        "NC1_galanti": np.mean([(v[i] + v[j]) / (2 * np.sum((mu[i] - mu[j]) ** 2)) for i, j in pairs]),
        "NC1_total": np.trace(S_W) / np.trace(S_T),
        "NC2": np.linalg.norm(unit(M @ M.T) - target),
        "NC2_unit": np.linalg.norm(U @ U.T - C / (C - 1) * P),
        "NC2_equinorm": norms.std() / norms.mean(),
        "NC2_equiangular": np.mean(np.abs(cosines + 1 / (C - 1))),
        "NC2_cosines": cosines.std(),
        "NC2_W": np.linalg.norm(unit(W @ W.T) - target),
        "NC2_equinorm_W": norms_W.std() / norms_W.mean(),
        "NC2_equiangular_W": np.mean(np.abs(cosines_W + 1 / (C - 1))),
        "NC2_cosines_W": cosines_W.std(),
        "GNC2_distance": distances.mean(),
        "GNC2_distance_var": distances.var(),
        "GNC2_log": -np.log(distances).mean(),
        "GNC2_log_var": np.log(distances).var(),
        "NC0": np.linalg.norm(W.sum(axis=0)) / C,
        "NC3": np.linalg.norm(unit(W) - unit(M)),
        "NC3_unit": np.linalg.norm(unit(W) - unit(U)),
        "NC3_zhu": np.linalg.norm(unit(W @ M.T) - target),
        "NC3_cosine": np.mean(np.sum(U * V, axis=1)),
        "UNC3": np.sum(W * M, axis=1).var(ddof=1),
        "bias_Wg": np.linalg.norm(W @ g),
        "bias_collapse": np.linalg.norm(W @ g + b),
        "NC4": np.mean(biased == nearest),
        "NC4_unbiased": np.mean(plain == nearest),
        "accuracy": np.mean(biased == y),
        "accuracy_ncc": np.mean(nearest == y),
    }


def close(found, expected, rel=1e-9):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=rel, abs=1e-12), name


@pytest.mark.parametrize("centre", ["classes", "samples"])
def test_every_measure_is_its_formula(centre):
    H, y, W = drawn(1, 4, 9, (3, 5, 8, 2))
    b = np.array([3.0, -2.0, 0.5, 1.0])
    found, expected = collapse(H, y, W, b, centre=centre), naive(H, y, W, b, centre)
    close(found, expected)
    assert set(found) | set(found.absent) == set(METRICS)
    assert set(found.absent) == {"NC5"}
    assert found["NC4"] != found["NC4_unbiased"]


def test_names_shared_with_states_of_the_flow_mean_the_same():
    sizes = nf.Sizes(3, 4, 6)
    state = nf.initial.make("gaussian", sizes, nf.BlockKernel(1, 0.5, 0.1), seed=2)
    found = collapse(state.H.T, sizes.labels, state.W, state.b)
    for name, value in nf.metrics.nc(state, sizes).items():
        assert found[name] == pytest.approx(value, rel=1e-10), name


cases = st.tuples(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 9), st.integers(2, 5))


def case(drawn_case):
    seed, C, n, m = drawn_case
    counts = np.random.default_rng(seed).integers(2, m + 1, C)
    H, y, W = drawn(seed, C, n, counts)
    return H, y, W, np.random.default_rng(seed + 1).normal(size=C)


@given(cases)
def test_rotating_the_features_changes_only_the_measure_per_feature(drawn_case):
    H, y, W, b = case(drawn_case)
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(H.shape[1],) * 2))[0]
    expected = {k: v for k, v in collapse(H, y, W, b).items() if k not in ROTATED}
    close({k: v for k, v in collapse(H @ Q, y, W @ Q, b).items() if k not in ROTATED}, expected, 1e-6)


@given(cases)
def test_neither_the_order_of_samples_nor_batches_change_anything(drawn_case):
    H, y, W, b = case(drawn_case)
    order = np.random.default_rng(1).permutation(len(y))
    expected = collapse(H, y, W, b)
    close(collapse(H[order], y[order], W, b), expected, 1e-8)
    batches = [(H[part], y[part]) for part in np.array_split(order, 3) if len(part)]
    close(collapse(W=W, b=b, batches=batches), expected, 1e-8)
    close(collapse(W=W, b=b, batches=lambda: iter(batches)), expected, 1e-8)
    # Once: all but what has to meet the samples again.
    once = collapse(W=W, b=b, batches=iter(batches))
    twice = ("NC4", "NC4_unbiased", "accuracy", "accuracy_ncc")
    close(once, {name: value for name, value in expected.items() if name not in twice}, 1e-7)
    assert all("second time" in once.absent[name] for name in twice)


@given(cases, st.sampled_from([(1e25, 1e-25), (1e-25, 1e25), (1e25, 1.0), (1e-140, 1e140), (1e140, 1e-140)]))
def test_units_of_features_and_head_are_seen_only_where_a_measure_has_them(drawn_case, units):
    H, y, W, b = case(drawn_case)
    of_H, of_W = units
    expected = {}
    for name, value in collapse(H, y, W, b).items():
        powers = UNITS.get(name, (0, 0))
        # The large with the small first: their squares may be no numbers.
        factor = (of_H * of_W) ** min(powers) * (
            of_H if powers == (1, 0) else of_W if powers == (0, 1) else 1.0
        )
        expected[name] = (value, factor)
    found = collapse(of_H * H, y, of_W * W, of_H * of_W * b)
    assert set(found) == set(expected)
    for name, (value, factor) in expected.items():
        assert found[name] == pytest.approx(factor * value, rel=1e-8, abs=1e-13 * factor), name


def test_a_head_that_hardly_sees_the_means_is_measured_and_a_blind_one_is_said():
    y = np.repeat(np.arange(3), 2)
    H, W = np.eye(5)[y], np.zeros((3, 5))
    W[:, 3] = 1.0
    assert collapse(H, y, W).absent["NC3_zhu"] == "W sees nothing of the means, W M^T = 0"
    for small in (1e-4, 1e-9):
        seeing = W + small * np.eye(3, 5)
        assert collapse(H, y, seeing)["NC3_zhu"] == pytest.approx(0, abs=1e-14 / small)


def test_classes_whose_means_nearly_meet_lose_no_digits():
    """From the Gram matrix of the means the distance would keep a few digits of its square."""
    rng = np.random.default_rng(0)
    means, y, half = rng.normal(size=(3, 6)), np.tile(np.arange(3), 4), rng.normal(size=(6, 6)) * 2.0**-10
    means[1] = means[0] + 1e-6 * rng.normal(size=6)
    H = means[y] + np.concatenate([half, -half])
    expected = naive(H, y, np.ones((3, 6)), np.zeros(3), "classes")["NC1_galanti"]
    assert collapse(H, y)["NC1_galanti"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e-200])
def test_the_bias_is_left_where_the_outputs_vanish_beside_it(scale):
    rng = np.random.default_rng(0)
    H, W, b, y = (
        rng.normal(size=(12, 5)),
        rng.normal(size=(3, 5)),
        np.arange(1.0, 4.0),
        np.repeat(range(3), 4),
    )
    found = collapse(scale * H, y, W=scale * W, b=b)
    assert found["bias_collapse"] == pytest.approx(np.linalg.norm(scale * W @ (scale * H.mean(axis=0)) + b))


def test_batches_of_very_different_size_are_merged_without_loss():
    H, y, _ = drawn(3, 3, 5, (4, 4, 4))
    H[:, 0] *= 1e-30
    order = np.random.default_rng(0).permutation(12)
    parts = Moments(5, scatter=True)
    for factor, rows in ((0.0, order[:2]), (1e-3, order[2:7]), (1.0, order[7:])):
        parts.add(H[rows] * factor, y[rows], 0.0)
    whole = Moments(5, scatter=True)
    factors = np.repeat([0.0, 1e-3, 1.0], [2, 5, 5])[:, None]
    whole.add(H[order] * factors, y[order], 0.0)
    for name, power in (("squares", 2), ("scatter", 2), ("means", 1)):
        np.testing.assert_allclose(
            getattr(parts, name)[:3] * parts.size**power + (parts.origins[:3] * parts.size if power == 1 else 0),
            getattr(whole, name)[:3] * whole.size**power + (whole.origins[:3] * whole.size if power == 1 else 0),
            rtol=1e-9, atol=1e-18,
        )  # fmt: skip


def test_a_common_offset_costs_no_digits():
    # Whole numbers, so that the offset itself changes none of them.
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 6)
    H = (1000 * rng.normal(size=(3, 7))[y] + 10 * rng.normal(size=(18, 7))).round()
    expected, found = collapse(H, y), collapse(H + 2.0**40, y)
    close(found, expected, 1e-11)


def test_float32_is_measured_in_float64():
    H, y, W = (np.asarray(a) for a in drawn(5, 4, 6, (30,) * 4))
    short = H.astype(np.float32)
    assert dict(collapse(short, y, W)) == dict(collapse(short.astype(np.float64), y, W))


def test_test_features_are_measured_against_training_means():
    H, y, W = drawn(1, 3, 6, (5, 4, 6))
    b, (T, z, _) = np.array([0.3, -0.2, 0.0]), drawn(2, 3, 6, (4, 3, 2))
    found = collapse(H, y, W, b, test=(T, z)).test
    mu = np.stack([H[y == c].mean(axis=0) for c in range(3)])
    M, D = mu - mu.mean(axis=0), T - mu[z]
    S_W, S_B = D.T @ D / len(T), M.T @ M / 3
    v = [np.mean(np.sum(D[z == c] ** 2, axis=1)) for c in range(3)]
    nearest = np.array([np.argmin(np.sum((t - mu) ** 2, axis=1)) for t in T])
    predicted = (T @ W.T + b).argmax(axis=1)
    expected = {
        "NC1": np.mean([np.sqrt(np.mean(D[z == c] ** 2, axis=0)) for c in range(3)]),
        "NC1_frobenius": np.sqrt(np.trace(S_W)),
        "NC1_papyan": np.trace(S_W @ np.linalg.pinv(S_B, rcond=1e-10)) / 3,
        "NC1_svd": np.trace(S_W @ np.linalg.pinv(S_B, rcond=1e-10)) / 3,
        "NC1_tirer": np.trace(S_W) / np.trace(S_B),
        "NC1_galanti": np.mean(
            [(v[i] + v[j]) / 2 / np.sum((mu[i] - mu[j]) ** 2) for i in range(3) for j in range(i)]
        ),
        "NC4": np.mean(predicted == nearest),
        "NC4_unbiased": np.mean((T @ W.T).argmax(axis=1) == nearest),
        "accuracy": np.mean(predicted == z),
        "accuracy_ncc": np.mean(nearest == z),
    }
    close(found, expected)
    assert "training means alone" in found.absent["NC2"]
    some = collapse(H, y, test=(T[z != 1], z[z != 1])).test
    assert some.absent["NC1"] == "no sample of class 1"
    assert "NC1_papyan" in some


def test_what_comes_from_outside_the_classes_is_held_against_their_means():
    y = np.repeat(np.arange(3), 2)
    H = np.eye(5)[y]
    found = collapse(H, y, ood=np.array([[0, 0, 0, 2.0, 0], [0, 0, 0, 0, 4.0]]))
    assert found["NC5"] == 0.0
    assert collapse(H, y, ood=np.ones((2, 5)))["NC5"] == pytest.approx(1 / np.sqrt(5))
    assert "mean of ood is zero" in collapse(H, y, ood=np.zeros((2, 5))).absent["NC5"]


def test_layers_are_measured_one_by_one():
    H, y, _ = drawn(1, 3, 8, (4, 4, 4))
    found = collapse(
        {"body": H.reshape(12, 2, 2, 2), "last": H[:, :3]}, y, test=({"last": H[:, :3], "body": H}, y)
    )
    assert list(found) == ["body", "last"]
    close(found["body"], collapse(H, y))
    close(found["last"], collapse(H[:, :3], y))
    assert found["body"].test["NC1_tirer"] == pytest.approx(found["body"]["NC1_tirer"])
    assert list(collapse([H, H[:, :3]], y)) == ["0", "1"]
    assert "NC1_papyan" in repr(found)
    with pytest.raises(nf.InputError, match="belongs to one layer"):
        collapse({"a": H}, y, W=np.ones((3, 8)))


def everything_finite(found):
    assert set(found) | set(found.absent) == set(METRICS)
    assert all(math.isfinite(value) for value in found.values())
    assert all(found.absent.values())


def test_what_does_not_apply_is_absent_with_a_reason_and_never_NaN():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 3)
    H, W = rng.normal(size=(4, 5))[y] + 0.1 * rng.normal(size=(12, 5)), rng.normal(size=(4, 5))
    same = H.copy()
    same[y == 3] = same[y == 0]
    flat = np.outer(y - 1.5, np.ones(5))
    cases = {
        "zero features": (np.zeros_like(H), y, W, "NC2", "all class means are the same"),
        "one point": (np.full_like(H, 0.1), y, W, "NC1_tirer", "all class means are the same"),
        "zero head": (H, y, 0 * W, "NC4", "W is zero"),
        "a zero row": (H, y, W * np.array([[1], [0], [1], [1]]), "NC3_cosine", "row 1 of W is zero"),
        "two alike": (same, y, W, "NC1_galanti", "classes 0 and 3 have the same mean"),
        "on a line": (flat, y, W, "GNC2_log", "the same direction"),
        "rank one": (flat, y, W, "NC1_svd", "span 1 directions, not C-1 = 3"),
        "single samples": (H[::3], y[::3], W, "NC1", "one sample"),
        "at the centre": (flat[y != 3], y[y != 3], W[:3], "NC2_unit", "class 1 is the centre"),
        "no head": (H, y, None, "NC3", "needs a head"),
    }
    for label, (features, classes, weights, name, reason) in cases.items():
        for scale in (1.0, 1e-25, 1e25, 1e-300, 1e150):
            found = collapse(features * scale, classes, weights)
            everything_finite(found)
            assert reason in found.absent[name], label
            with pytest.raises(KeyError, match=name):
                found[name]
    collapsed = collapse(np.eye(4)[y], y)
    assert [collapsed[name] for name in ("NC1", "NC1_papyan", "NC1_tirer", "NC1_galanti")] == [0, 0, 0, 0]


def test_a_class_of_one_sample_and_a_missing_direction_are_said():
    H, y, _ = drawn(0, 4, 6, (1, 3, 3, 3))
    assert "1 of 4 classes have one sample" in collapse(H, y).notes[0]
    H[:, 2:] = 0
    assert "span 2 of 3 directions" in collapse(H, y).notes[1]
    assert collapse(H, y).sizes["rank"] == 2


def test_rounding_of_short_floats_is_no_direction():
    # In a plane; as float32 it is so up to rounding, which the pseudo-inverse must not take for a direction.
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 5)
    H = (rng.normal(size=(4, 2))[y] + 0.1 * rng.normal(size=(20, 2))) @ rng.normal(size=(2, 6))
    found = collapse(H.astype(np.float32), y)
    assert found.sizes["rank"] == 2
    assert found["NC1_papyan"] == pytest.approx(collapse(H, y)["NC1_papyan"], rel=1e-4)


def test_labels_of_any_kind_are_classes_in_sorted_order_with_a_word():
    H, y, W = drawn(1, 3, 5, (2, 3, 4))
    expected = dict(collapse(H, y, W))
    for labels in (np.array(["ant", "bee", "cat"])[y], y * 2 + 1, np.array([-5, 0, 7])[y].tolist()):
        with pytest.warns(LabelsWarning, match="check that the rows of W are in it"):
            found = collapse(H, labels, W)
        assert dict(found) == expected
        assert "classes 0 to 2 in this order" in found.notes[0]
        assert "classes 0 to 2 in this order" in collapse(H, labels).notes[0]
    for labels in (y.astype(np.uint8), y.astype(np.float32), y.tolist()):
        assert collapse(H, labels, W).notes == ()
    text = np.array(["ant", "bee", "cat"])[y].astype(object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelsWarning)
        assert dict(collapse(W=W, batches=[(H[:4], text[:4]), (H[4:], text[4:])])) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"H": lambda H: H.T}, r"has the 9 samples of y in columns; pass H\.T"),
        ({"H": lambda H: H[:, 0]}, "must have 2 axes"),
        ({"H": lambda H: H[:0]}, "holds no numbers"),
        ({"H": lambda H: np.where(H > 1, np.nan, H)}, "NaN or infinite entries"),
        ({"H": lambda H: H.astype(str)}, "must hold real numbers"),
        ({"y": lambda y: y[:4]}, r"must have shape \(9,\)"),
        ({"y": lambda y: 0.9 * np.eye(3)[y]}, r"one-hot rows: one 1 and else 0; give y\.argmax"),
        ({"y": lambda y: y + 0.5}, "whole numbers"),
        ({"y": lambda y: 0 * y}, "has no sample of class 1"),
        ({"y": lambda y: 0 * y, "W": None, "b": None}, "has one class"),
        ({"y": lambda y: np.minimum(y, 1)}, "has no sample of class 2"),
        ({"y": lambda y: np.arange(9)}, "are not the 3 classes of W"),
        ({"W": lambda W: W.T}, "n = 5 features; transpose it"),
        ({"W": lambda W: W[:, :2]}, r"must be \(C, n\) with n = 5"),
        ({"b": lambda b: b[:2]}, r"must have shape \(3,\)"),
        ({"W": None}, "give W as well"),
        ({"centre": lambda _: "middle"}, "must be one of classes, samples"),
        ({"test": lambda _: (np.ones((2, 4)), [0, 1])}, r"test = array of shape \(2, 4\): must have n = 5"),
        ({"test": lambda _: (np.ones((2, 5)), [0, 3])}, "is no class of the training features"),
        ({"test": lambda _: np.ones((2, 5, 3))}, "must be a pair"),
        ({"ood": lambda _: np.ones((2, 4))}, "must have n = 5 columns"),
        ({"batches": lambda _: []}, "given beside H, y"),
        ({"H": None}, "features and labels are needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),  # no addresses of functions
)  # fmt: skip
def test_bad_input_is_named(change, message):
    H, y, W = drawn(1, 3, 5, (2, 3, 4))
    given = {
        "H": H,
        "y": y,
        "W": W,
        "b": np.zeros(3),
        "centre": "classes",
        "test": None,
        "ood": None,
        "batches": None,
    }
    for name, how in change.items():
        given[name] = None if how is None else how(given[name])
    with pytest.raises(nf.InputError, match=message):
        collapse(**given)


def test_batches_that_are_not_the_same_twice_are_refused():
    H, y, _ = drawn(1, 3, 5, (2, 3, 4))
    rest = iter([[(H, y)], [(H[:-1], y[:-1])]])
    with pytest.raises(nf.InputError, match="the second pass"):
        collapse(batches=lambda: next(rest))
    for batches, message in (([], "no batch"), ([H], "must be a pair"), (3, "iterable of pairs")):
        with pytest.raises(nf.InputError, match=message):
            collapse(batches=batches)


@pytest.mark.parametrize("batched", [False, True], ids=["whole", "batches"])
def test_memory_is_a_few_matrices_of_features_whatever_the_number_of_classes(batched, monkeypatch):
    """And no matrix a class, nor a copy of the features in double precision; n = 2048, C = 1000 is benchmarks/metrics.py."""
    import tracemalloc

    # Blocks of rows are of a fixed size, which is large beside these arrays.
    monkeypatch.setattr(moments, "BLOCK", 1 << 16)
    C, n, m = 200, 256, 100
    rng = np.random.default_rng(0)
    y, W = np.repeat(np.arange(C), m), rng.normal(size=(C, n)).astype(np.float32)
    H = rng.normal(size=(C * m, n)).astype(np.float32)
    H += 3 * W[y]
    batches = [(H[rows], y[rows]) for rows in np.split(np.arange(C * m), 20)] if batched else None
    tracemalloc.start()
    try:
        found = collapse(W=W, batches=batches) if batched else collapse(H, y, W)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "NC1_papyan" in found
    assert "NC4" in found
    assert peak < 24 * 8 * n * n < H.nbytes


def test_arrays_of_frameworks_are_taken_as_they_are():
    jnp = pytest.importorskip("jax.numpy")
    H, y, W = drawn(1, 3, 5, (2, 3, 4))
    short = H.astype(np.float32)
    assert dict(collapse(jnp.asarray(short), jnp.asarray(y), W)) == dict(collapse(short, y, W))
    half = jnp.asarray(short, dtype=jnp.bfloat16)
    assert dict(collapse(half, y)) == dict(collapse(np.asarray(half.astype(jnp.float32)), y))
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(short, requires_grad=True)
    assert dict(collapse(tensor, torch.tensor(y), torch.tensor(W))) == dict(collapse(short, y, W))
    assert dict(collapse(tensor.bfloat16(), y)) == dict(collapse(half, y))


def test_it_prints_and_becomes_plain_values():
    H, y, W = drawn(1, 3, 5, (2, 3, 4))
    found = collapse(H, y, W, test=(H, y))
    assert "NC1_papyan" in repr(found)
    assert "training" in found._repr_html_()
    assert found.explain("NC1_papyan").formula == "tr(S_W S_B^+) / C"
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["values"] == dict(found)
    assert plain["test"]["values"] == dict(found.test)
    with pytest.raises(KeyError, match="no such measure"):
        found["NC9"]


@pytest.mark.parametrize("framework", ["torch", "nnx", "equinox"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
def test_a_head_as_the_layer_of_a_framework(framework, bias):
    H, y = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    if framework == "torch":
        layer = pytest.importorskip("torch").nn.Linear(4, 3, bias=bias)
        W, b = (None if v is None else v.detach().numpy() for v in (layer.weight, layer.bias))
    elif framework == "nnx":
        nnx = pytest.importorskip("flax.nnx")
        layer = nnx.Linear(4, 3, use_bias=bias, rngs=nnx.Rngs(0))
        W, b = np.asarray(layer.kernel).T, np.asarray(layer.bias) if bias else None
    else:
        import jax

        layer = pytest.importorskip("equinox").nn.Linear(4, 3, use_bias=bias, key=jax.random.key(0))
        W, b = layer.weight, layer.bias
    assert dict(collapse(H, y, W=layer)) == dict(collapse(H, y, W=W, b=b))
    if framework == "nnx":  # as Linen has them
        named = {"kernel": W.T} | ({"bias": b} if bias else {})
        assert dict(collapse(H, y, W=named)) == dict(collapse(H, y, W=W, b=b))
