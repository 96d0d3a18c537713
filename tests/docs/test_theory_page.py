"""docs/theory.md: references resolve, named modules and proofs exist, and formulas are right as printed."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.special import lambertw

from ntkflow.prove.catalogue import claims

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "theory.md").read_text()
NUMBER = r"(?:L\d|\d+(?:\.\d+)?)"
REFERENCE = re.compile(rf"\btheory(?: sections?)? ({NUMBER}\b(?:(?:, and |, | and | to | or |-){NUMBER}\b)*)")
ITEMS = {
    *map(str, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18)),
    *(
        f"{section}.{i}"
        for section, last in ((3, 8), (4, 6), (5, 7), (7, 6), (11, 8), (16, 5), (18, 9))
        for i in range(1, last + 1)
    ),
    *(f"L{i}" for i in range(6)),
}


def anchors(page):
    return set(re.findall(rf"^(?:#{{2,3}} |\*\*)({NUMBER})[. ]", page, re.MULTILINE))


def references(text):
    """Numbers cited after the word theory; a citation may continue on the next line of a comment."""
    joined = re.sub(r"\s*\n\s*#?\s*", " ", text)
    return {number for found in REFERENCE.findall(joined) for number in re.findall(NUMBER, found)}


def sources():
    return [path for package in ("ntkflow", "validation") for path in sorted((ROOT / package).rglob("*.py"))]


def test_every_item_is_there():
    assert anchors(PAGE) == ITEMS


def test_references_are_found_in_all_their_forms():
    text = "(theory 4.1 and 4.3), theory\n    # 7.2, 3.5; theory L1; theory section 2; the theory of 1 paper"
    assert references(text) == {"4.1", "4.3", "7.2", "3.5", "L1", "2"}


def test_references_in_the_code_resolve():
    cited = {path: references(path.read_text()) for path in sources()}
    assert any(cited.values())
    lost = {
        path.relative_to(ROOT): cites - anchors(PAGE)
        for path, cites in cited.items()
        if cites - anchors(PAGE)
    }
    assert not lost


def test_references_inside_the_page_resolve():
    assert references(PAGE.replace('"theory', "theory")) <= anchors(PAGE)
    in_brackets = re.findall(r"\(((?:\d+\.\d+(?:, | and )?)+)\)", PAGE)
    assert in_brackets
    assert {number for found in in_brackets for number in re.findall(r"\d+\.\d+", found)} <= anchors(PAGE)


def test_named_modules_exist():
    names = set(re.findall(r"`((?:ntkflow|validation)(?:\.\w+)+)`", PAGE))
    assert names
    paths = {name: ROOT / name.replace(".", "/") for name in names}
    assert not [
        name
        for name, path in paths.items()
        if not (path.with_suffix(".py").exists() or (path / "__init__.py").exists())
    ]


def test_named_proofs_exist():
    keys = {
        key
        for block in re.findall(r"Proof entr(?:y|ies): (.*?)\.\n", PAGE, re.DOTALL)
        for key in re.findall(r"`([^`]+)`", block)
    }
    assert len(keys) > 40
    assert not keys - {claim.key for claim in claims()}


# Formulas as printed.


def printed(formula, **values):
    """The value of a scalar formula that stands on the page; a space between factors is a product."""
    assert formula in PAGE
    code = formula.replace("^", "**").replace(")(", ")*(")
    code = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", code)
    return eval(code, {"sqrt": np.sqrt}, values)


C, m, n = 3, 4, 6
N = C * m
KAPPA = {"kappa_d": 1.5, "kappa_c": 0.9, "kappa_n": 0.2}


@pytest.fixture
def mu():
    mu_s = printed("kappa_d - kappa_c", **KAPPA)
    mu_c = printed("mu_s + m (kappa_c - kappa_n)", mu_s=mu_s, m=m, **KAPPA)
    return {"mu_s": mu_s, "mu_c": mu_c, "mu_g": printed("mu_c + N kappa_n", mu_c=mu_c, N=N, **KAPPA)}


@pytest.fixture
def K():
    same = np.kron(np.eye(C), np.ones((m, m)))
    d, c, k = KAPPA.values()
    return (d - c) * np.eye(N) + (c - k) * same + k


@pytest.fixture
def rng():
    return np.random.default_rng(5)


P, J = np.eye(C) - 1 / C, np.full((C, C), 1 / C)
Y = np.repeat(np.eye(C), m, axis=1)


def test_kernel_table(mu, K):
    expected = [mu["mu_s"]] * (N - C) + [mu["mu_c"]] * (C - 1) + [mu["mu_g"]]
    np.testing.assert_allclose(np.linalg.eigvalsh(K), expected, rtol=1e-12)


def test_three_forms_of_the_inverse_class_kernel(mu, K):
    assert "Mc = m Kc^{-1} = Y K^{-1} Y^T = m (P/mu_c + J/mu_g) = (m/mu_c) (I - alpha 1 1^T)" in PAGE
    alpha = printed("kappa_n m / mu_g", m=m, **KAPPA, **mu)
    Mc = Y @ np.linalg.inv(K) @ Y.T
    np.testing.assert_allclose(m * (P / mu["mu_c"] + J / mu["mu_g"]), Mc, atol=1e-12)
    np.testing.assert_allclose(m / mu["mu_c"] * (np.eye(C) - alpha), Mc, atol=1e-12)


def test_both_forms_of_the_invariant_and_the_floor(mu, K, rng):
    assert "m E = W^T W - H K^{-1} H^T = W^T W - H1 Mc H1^T - (m/mu_s) S" in PAGE
    assert "E = W^T W/m - H1 P H1^T/mu_c - (C/mu_g) g g^T - S/mu_s" in PAGE
    W, H = rng.standard_normal((C, 9)), rng.standard_normal((9, N))
    H1 = H @ Y.T / m
    g, S = H1.mean(axis=1), (H - H1 @ Y) @ (H - H1 @ Y).T / m
    E = (W.T @ W - H @ np.linalg.solve(K, H.T)) / m
    split = W.T @ W / m - H1 @ P @ H1.T / mu["mu_c"] - C / mu["mu_g"] * np.outer(g, g) - S / mu["mu_s"]
    np.testing.assert_allclose(split, E, atol=1e-12)
    assert "tr S(t) >= mu_s sum_{j > C} max(lambda_j(-E), 0)" in PAGE
    floor = mu["mu_s"] * np.maximum(np.linalg.eigvalsh(-E)[::-1][C:], 0).sum()
    assert 0 < floor <= np.trace(S)


def test_limit_for_any_biases(mu, rng):
    assert "A Mc A^T = (m/mu_c) [ I - alpha 1 1^T + (1 - alpha C)(C b b^T - b 1^T - 1 b^T) ]" in PAGE
    assert "1 - alpha C = mu_c / mu_g" in PAGE
    b, one = rng.standard_normal(C), np.ones(C)
    share = mu["mu_c"] / mu["mu_g"]
    Mc = m * (P / mu["mu_c"] + J / mu["mu_g"])
    A = np.eye(C) - np.outer(b, one)
    right = C * np.outer(b, b) - np.outer(b, one) - np.outer(one, b)
    expansion = m / mu["mu_c"] * (np.eye(C) - (1 - share) / C * np.outer(one, one) + share * right)
    np.testing.assert_allclose(expansion, A @ Mc @ A.T, atol=1e-12)


def test_limit_for_equal_biases(mu):
    beta = -0.4
    assert "1 - gamma C = |1 - beta C| sqrt(mu_c/mu_g)" in PAGE
    assert "1 - theta C = |1 - beta C| sqrt(mu_g/mu_c)" in PAGE
    x = printed("sqrt(m / mu_c)", m=m, **mu)
    ratio = np.sqrt(mu["mu_c"] / mu["mu_g"])
    gap = abs(1 - beta * C)
    X, G = x * (P + gap * ratio * J), (P + gap / ratio * J) / x
    A = np.eye(C) - beta
    Mc = m * (P / mu["mu_c"] + J / mu["mu_g"])
    np.testing.assert_allclose(X @ X, A @ Mc @ A.T, atol=1e-12)
    np.testing.assert_allclose(G @ Mc @ G, A.T @ A, atol=1e-12)


def test_spectrum_at_collapse(mu, K):
    e = -0.02
    x = printed("(m/2) (e + sqrt(e^2 + 4/(m mu_c)))", m=m, e=e, **mu)
    values = {"x": x, "m": m, "N": N, "C": C, **mu}
    rows = re.findall(
        r"^\| (?:contrast|constant) \| [a-z ]+ \| `?([^|`]+?)`? \| .*? \| ([^|]+) \|$", PAGE, re.MULTILINE
    )
    assert len(rows) == 6
    expected = [
        rate
        for formula, times in rows
        for rate in [printed(formula, **values)] * int(printed(times, **values))
    ]
    HtH = Y.T @ (P / x) @ Y
    operator = np.kron(np.eye(C), HtH + 1) + np.kron(x * P, K)
    np.testing.assert_allclose(np.sort(expected), np.linalg.eigvalsh(operator), atol=1e-10)
    first = printed("sqrt((m mu_c e)^2 + 4 m mu_c)", e=e, **values)
    assert first == pytest.approx(m / x + mu["mu_c"] * x, rel=1e-12)


def test_limit_of_the_bias_by_lambert(mu):
    start, beta0 = 0.7, -0.3
    formula = "(C/(2k)) LambertW((2 k^2/C) wJ(0)^2 exp(2k (1/C - beta(0))))"
    assert formula in PAGE
    k = np.sqrt(mu["mu_g"] / m)
    u = C / (2 * k) * lambertw(2 * k**2 / C * start**2 * np.exp(2 * k * (1 / C - beta0))).real
    beta = (1 - u) / C
    d = beta - beta0
    w = start * np.cosh(k * d) + start * np.sinh(k * d)
    h = k * start * np.cosh(k * d) + k * start * np.sinh(k * d)
    assert w * h + C * beta == pytest.approx(1, rel=1e-12)
    assert w**2 == pytest.approx(u / k, rel=1e-12)


def test_drift_of_the_scale_follows_from_the_decay_law(mu):
    x, lw = 0.8, 0.01
    speed = printed("-2 lw mu_c x^3/(mu_c x^2 + m)", x=x, lw=lw, m=m, **mu)
    # dE/dt = -2 lw (E + H K^{-1} H^T / m) on E = x/m - 1/(mu_c x), where the bracket is x/m
    slope = 1 / m + 1 / (mu["mu_c"] * x**2)
    assert slope * speed == pytest.approx(-2 * lw * x / m, rel=1e-12)


def test_change_of_the_invariant_in_a_descent_step(K, rng):
    assert "m dE = eta^2 (H R^T R H^T - W^T R K R^T W)" in PAGE
    W, H, R = (rng.standard_normal(shape) for shape in ((C, n), (n, N), (C, N)))
    eta = 0.3

    def mE(W, H):
        return W.T @ W - H @ np.linalg.solve(K, H.T)

    change = mE(W - eta * R @ H.T, H - eta * W.T @ R @ K) - mE(W, H)
    expected = eta**2 * (H @ R.T @ R @ H.T - W.T @ R @ K @ R.T @ W)
    np.testing.assert_allclose(change, expected, atol=1e-11 * np.abs(expected).max())
