"""The page's flow against closed forms, and its rules against those of the package."""

import itertools

import numpy as np
import pytest

import ntkflow as nf
from tests.explore.scripts import evaluate, installed
from tests.explore.sectors import SETTINGS, problem

pytestmark = pytest.mark.skipif(not installed(), reason="neither node nor Chromium is installed")
# All of E = 0, V(0) = 0: no spread (4.5, 18.6), and spread against W along 1 alone (7.3).
FORMS = {
    "logistic": {"scale": 0.02, "share": 1.0, "scale_J": 0.0, "beta": 1.0},
    "two layers": {"scale": 0.2, "share": 1.0, "scale_J": 0.0, "beta": 1.0, "L": 2},
    "three layers": {"scale": 0.3, "share": 1.0, "scale_J": 0.0, "beta": 1.0, "L": 3},
    "tail": {"scale": 0.5, "share": 1.0, "scale_J": 0.7, "share_J": 0.0, "beta": 1.0},
    "clock": {"scale": 0.3, "share": 1.0, "scale_J": 0.0, "beta": 1.0, "loss": "cross-entropy"},
}

TOLD = {
    "decay": {"decay": 0.1},
    "decay of layers": {"decay": 0.05, "L": 3, "scale": 0.9, "share": 1.0},
    "too much decay": {"decay": 0.9, "L": 2},
    "rates": {"L": 2, "e_P": 0.7, "scale_J": 0.0, "beta": 1.0},
    "biases": {"share_J": 1.0, "e_J": 0.3, "beta": -1.5},
}

# Distance of the Jacobian of both systems of a setting from central differences of the field, over its largest entry.
SLIP = """(s) => Math.max(...["P", "J"].map((name) => {
    const p = flow.problem(s), f = flow.system(p, p[name], name === "J"), n = f.start.length, step = 1e-5;
    const J = new Float64Array(n * n), above = new Float64Array(n), below = new Float64Array(n);
    f.jacobian(f.start, J);
    let worst = 0;
    for (let k = 0; k < n; k++) {
      const y = Float64Array.from(f.start);
      y[k] += step; f.field(y, above); y[k] -= 2 * step; f.field(y, below);
      for (let i = 0; i < n; i++) worst = Math.max(worst, Math.abs((above[i] - below[i]) / (2 * step) - J[i * n + k]));
    }
    return worst / Math.max(...J.map(Math.abs)); }))"""


@pytest.fixture(scope="module")
def runs():
    """Everything that these tests ask of node, in one process."""
    settings = {name: {**SETTINGS, **form} for name, form in FORMS.items()}
    times = [0.0, *np.geomspace(0.01, 30, 12)]
    kernels = [
        {**SETTINGS, "kappa_d": kd, "kappa_c": kc, "kappa_n": kn, "m": m}
        for kd, kc, kn, m in itertools.product(
            (0.0, 0.5, 1.0), (-0.2, 0.2, 0.5, 1.0), (-0.3, -0.02, 0.1, 0.9), (3, 20)
        )
    ]
    found = evaluate(
        "({runs: Object.fromEntries(Object.entries(settings).map(([k, s]) => [k, flow.run(s, times).series])),"
        "  broken: kernels.map(flow.broken),"
        "  told: Object.fromEntries(Object.entries(told).map(([k, s]) => [k, foretold.of(s)])),"
        "  corners: corners.map((s) => { const r = flow.run(s); return [r.steps, r.whole]; }),"
        f"  slips: systems.map({SLIP}),"
        "  margin: times.map(foretold.of(settings.clock).margin),"
        "  presets: PRESETS.map((one) => { const s = {...DEFAULTS, ...one.set}, r = flow.run(s);"
        "    return {...one, rule: flow.broken(s), gap: Math.max(...r.series.gap), whole: r.whole, steps: r.steps,"
        "      told: foretold.words(s).foretold, came: r.series.NC3.at(-1), fitted: r.series.fitted.at(-1)}; })})",
        settings=settings,
        times=times,
        kernels=kernels,
        corners=[
            {**SETTINGS, "scale": scale, "L": L, "e_P": e, "length": length, "loss": loss}
            for scale, L, e, length, loss in itertools.product(
                (1e-3, 5.0), (1, 5), (-8.0, 8.0), (1e-4, 1000.0), ("mse", "cross-entropy")
            )
        ],
        told={name: {**SETTINGS, **form} for name, form in TOLD.items()},
        systems=[
            {
                **SETTINGS,
                "L": L,
                "loss": loss,
                "share": share,
                "share_J": share,
                "e_P": 0.4,
                "e_J": -0.3,
                "decay": 0.1,
                "scale": scale,
                "scale_J": 0.7,
                "beta": 0.3,
            }
            for L, loss, share, scale in itertools.product(
                range(1, 6), ("mse", "cross-entropy"), (0.5, 1.0), (0.3, 2.0)
            )
        ],
    )
    return {**found, "times": np.array(times), "kernels": kernels}


def eigenvalues(form):
    s = {**SETTINGS, **FORMS[form]}
    kernel = nf.BlockKernel(s["kappa_d"], s["kappa_c"], s["kappa_n"])
    sizes = nf.Sizes(s["C"], s["m"], s["n"])
    return s, sizes, kernel, kernel.eigenvalues(sizes)


def test_one_layer_follows_the_logistic_law(runs):
    s, sizes, _, mu = eigenvalues("logistic")
    # p = w^2/x*, which starts at scale^2 (theory 4.5).
    law = 1 / (
        1 + (1 / s["scale"] ** 2 - 1) * np.exp(-2 * np.sqrt(sizes.per_class * mu.mu_class) * runs["times"])
    )
    np.testing.assert_allclose(runs["runs"]["logistic"]["fitted"], law, rtol=1e-8)


@pytest.mark.parametrize(("form", "L"), [("two layers", 2), ("three layers", 3)])
def test_more_layers_take_the_time_of_the_closed_form(runs, form, L):
    from ntkflow.theory.layers.course import fit_time

    s, sizes, kernel, mu = eigenvalues(form)
    star = (sizes.per_class / mu.mu_class) ** (1 / (2 * (L + 1)))
    checked = 0
    for t, p in zip(runs["times"], runs["runs"][form]["fitted"], strict=True):
        if s["scale"] ** (L + 1) * 1.01 < p < 0.999:
            assert fit_time(sizes, kernel, L, s["scale"] * star, p) == pytest.approx(t, rel=1e-7)
            checked += 1
    assert checked >= 3


def test_the_spread_along_one_dies_algebraically(runs):
    s, sizes, _, mu = eigenvalues("tail")
    w2 = 1 / (
        2 * mu.mu_single * runs["times"] + 1 / (s["scale_J"] ** 2 * np.sqrt(sizes.per_class / mu.mu_class))
    )
    np.testing.assert_allclose(runs["runs"]["tail"]["tr_S"], mu.mu_single / sizes.per_class * w2, rtol=1e-8)


def test_the_margin_keeps_the_clock_of_the_cross_entropy(runs):
    np.testing.assert_allclose(runs["runs"]["clock"]["fitted"], runs["margin"], rtol=1e-7)


@pytest.mark.parametrize("form", ["decay", "decay of layers"])
def test_what_decay_leaves_is_what_the_package_says(runs, form):
    from ntkflow.theory.layers.decay import decayed
    from ntkflow.theory.layers.limits import collapse_x

    asked, told = problem(TOLD[form]), runs["told"][form]
    expected, x = decayed(asked), collapse_x(asked.sizes, asked.kernel, asked.L)
    assert told["lives"]
    assert not told["falls"]
    assert told["fitted"] == pytest.approx(expected.p_high, rel=1e-9)
    assert told["w2"] == pytest.approx(expected.X, rel=1e-9)
    assert told["threshold"] * asked.sizes.per_class / x == pytest.approx(expected.saddle_node, rel=1e-7)
    assert told["barrier"] * np.sqrt(x) == pytest.approx(expected.barrier or 0.0, rel=1e-9)


def test_too_much_decay_leaves_nothing(runs):
    assert runs["told"]["too much decay"]["lives"] is False
    assert runs["told"]["too much decay"]["fitted"] == 0


def test_rates_at_collapse_are_those_of_the_package(runs):
    from ntkflow.theory.layers.rates import collapse_spectrum

    asked, told = problem(TOLD["rates"]), runs["told"]["rates"]
    singular = (*[np.sqrt(told["y"])] * asked.L, np.sqrt(told["w2"]))
    expected = collapse_spectrum(asked, singular)
    assert np.prod(np.square(singular)) == pytest.approx(
        asked.sizes.per_class / asked.kernel.eigenvalues(asked.sizes).mu_class, rel=1e-12
    )
    assert told["rates"]["within"] == pytest.approx(expected["within classes"], rel=1e-12)
    assert told["rates"]["contrast"] == pytest.approx(expected["contrasts of the class means"], rel=1e-12)


def test_the_bias_at_the_end_is_that_of_the_sector(runs):
    s, sizes, kernel, mu = eigenvalues("logistic")
    s = {**SETTINGS, **TOLD["biases"]}
    x = np.sqrt(sizes.per_class / mu.mu_class)
    below = x * s["scale_J"] ** 2
    sector = nf.theory.exact.Sector(
        sizes, kernel, 1.0, 1.0, 0.0,
        wJ=np.sqrt(below + x * s["e_J"]), hJ=np.sqrt(below * mu.mu_global / sizes.per_class), sJ=0.0,
        beta=s["beta"] / sizes.C,
    )  # fmt: skip
    assert runs["told"]["biases"]["beta"] == pytest.approx(sector.beta_limit(), rel=1e-10)


def test_the_page_refuses_the_kernels_that_the_package_refuses(runs):
    said = dict.fromkeys((True, False), 0)
    for s, rule in zip(runs["kernels"], runs["broken"], strict=True):
        sizes = nf.Sizes(s["C"], s["m"], s["n"])
        try:
            nf.BlockKernel(s["kappa_d"], s["kappa_c"], s["kappa_n"]).check(sizes)
        except nf.InputError:
            assert rule is not None, s
        else:
            assert rule is None, (s, rule)
        said[rule is None] += 1
    assert min(said.values()) > 10
    assert all("must" in rule or "not positive" in rule for rule in runs["broken"] if rule)


def test_presets_are_the_five_states_and_three_phases_with_two_sentences_each(runs):
    names = [preset["name"] for preset in runs["presets"]]
    assert names[:6] == [*nf.initial.NAMES]
    assert [name.split(":")[0] for name in names[6:]] == ["phase 1", "phase 2", "phase 3"]
    for preset in runs["presets"]:
        assert preset["says"].count(". ") == 1, preset["name"]
        assert preset["says"].endswith(".")
        assert preset["rule"] is None
        assert preset["whole"]
        # One for each of 50 times to draw, of two systems: of the first run of a page nothing is compiled.
        assert preset["steps"] < 200
        assert preset["gap"] < 1e-8
    told = {preset["name"]: preset for preset in runs["presets"]}
    assert told["equal-bias"]["told"]["NC3"] == pytest.approx(told["equal-bias"]["came"], rel=1e-6)
    assert told["equal-bias"]["came"] > 0.1
    assert told["balanced-contrast"]["fitted"] == pytest.approx(1, abs=1e-6)
    assert told["balanced-centred"]["told"]["tail"]
    assert told["gaussian"]["told"]["grounded"]


def test_the_jacobian_is_the_derivative_of_the_field(runs):
    assert len(runs["slips"]) == 40
    assert max(runs["slips"]) < 1e-8


def test_no_position_of_the_sliders_takes_more_than_some_hundred_steps(runs):
    # At some 10 us each: what keeps an integration below 20 ms, `benchmarks/explore.py`.
    steps, whole = np.array(runs["corners"]).T
    assert steps.max() < 1500
    assert whole.all()
