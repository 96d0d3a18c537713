"""The page in a real headless browser: its numbers against `nf.solve`, its sliders, at the width of a desk and of a phone."""

import json

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.explore.page import write_page
from ntkflow.theory.layers.limits import collapse_x
from tests.browser import Browser, installed
from tests.explore.sectors import SETTINGS, of_one_layer, problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium is installed (apt-get install chromium)"),
]
TIMES = [0.0, *np.geomspace(1e-3, 8, 14)]
# Every setting away from its default at least once, alone or with others.
GRID = {
    "default": {},
    "E of both signs": {"share": 0.2, "e_P": 0.5, "e_J": -0.3, "beta": 0.6},
    "spectators": {"e_P": -0.4, "e_J": 0.6, "C": 4, "m": 6, "n": 7, "spectators": 0.5},
    "no mean": {"share_J": 0.0, "beta": 1.0, "kappa_d": 0.8, "kappa_c": 0.7},
    "decay": {"scale_J": 0.0, "share": 0.9, "decay": 0.05},
    "two layers": {"L": 2, "scale": 0.4, "share_J": 0.3},
    "two layers, all": {"L": 2, "spectators": 0.3, "n": 4, "e_P": 0.3, "e_J": 0.2, "kappa_n": -0.05, "beta": -1.5},
    "three layers, decay": {"L": 3, "scale": 0.6, "decay": 0.02, "spectators": 0.2, "C": 2, "n": 3},
    "four layers": {"L": 4, "scale": 0.5, "scale_J": 0.2, "e_P": -0.5},
    "cross-entropy": {"loss": "cross-entropy", "scale_J": 0.6},
    "cross-entropy, all": {"loss": "cross-entropy", "L": 2, "decay": 0.03, "spectators": 0.4, "e_J": 0.3, "beta": 2.0},
}  # fmt: skip
OVERFLOWING = """[...document.querySelectorAll('body *')].filter(e => {
  const r = e.getBoundingClientRect();
  return r.width && r.right > innerWidth + 1 && !e.closest('.scroll, svg, #board');
}).map(e => e.outerHTML.slice(0, 80))"""
# Contrast of colours as WCAG 2 has it, of what is written and of the lines.
CONTRAST = """(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1), full = hex.length === 3 ? [...hex].map(x => x + x).join('') : hex;
    const part = (i) => { const v = parseInt(full.slice(2 * i, 2 * i + 2), 16) / 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2);
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
  const words = ['--ink', '--faint', '--link', '--yes', '--no'].flatMap(c => [ratio(c, '--paper'), ratio(c, '--wash')]);
  return {text: Math.min(...words, ratio('--warn', '--warnwash')),
          lines: Math.min(...['--c1', '--c2', '--c3', '--c4', '--c5'].map(c => ratio(c, '--paper')))};
})()"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page") / "explore.html")


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def came(browser, path):
    """What the page computes for the grid, by name."""
    browser.open(path, 1200)
    settings = {name: {**SETTINGS, **changes} for name, changes in GRID.items()}
    text = browser.value(
        f"(() => {{ const S = {json.dumps(settings)}, T = {json.dumps(TIMES)}; return JSON.stringify("
        "Object.fromEntries(Object.entries(S).map(([k, s]) => [k, flow.run(s, T).series]))); })()"
    )
    return json.loads(text)


def assert_six_digits(found, expected, zero=0.0):
    """To 1e-6 of the value; of what has fallen below 1e-6 of its largest, to that; what is zero, to `zero`."""
    found, expected = np.array(found, dtype=float), np.array(expected, dtype=float)
    allowed = 1e-6 * (np.abs(expected) + 1e-6 * np.abs(expected).max()) + zero
    assert np.all(np.abs(found - expected) <= allowed), np.max(np.abs(found - expected) / (allowed + 1e-300))


def invariant_norms(name, asked, seen, l):
    """|Q_{l+1}| of contrasts, common part and the spectator, which all layers share and W does not have."""
    sigma2 = (GRID[name].get("spectators", 0.0) * np.exp(-asked.decay.W * np.array(TIMES))) ** 2
    alone = sigma2 * collapse_x(asked.sizes, asked.kernel, asked.L) if l == asked.L - 1 else 0.0
    contrasts, common = (np.array([row[l][0] for row in seen[f"invariant_{part}"]]) for part in ("P", "J"))
    return np.sqrt((asked.sizes.C - 1) * contrasts**2 + common**2 + alone**2)


@pytest.mark.parametrize("name", GRID)
def test_numbers_are_those_of_the_package(came, name):
    asked, seen = problem(GRID[name], seed=len(name)), came[name]
    solution = nf.solve_layers(asked, save_at=TIMES, rtol=1e-11)
    series = solution.series
    assert_six_digits(seen["fitted"], series["p_least"])
    for shared in ("loss", "NC1_tirer", "NC1_frobenius", "NC3", "alignment"):
        # Of W^T 1 = 0 the package's matrices keep rounding.
        assert_six_digits(seen[shared], series[shared], 1e-10 if shared == "NC3" else 0.0)
    assert np.max(series["NC2"]) < 1e-6  # as the page says
    assert_six_digits(seen["beta"], [solution.state(i).b[0] for i in range(len(TIMES))], 1e-10)
    for l in range(asked.L):
        assert_six_digits([row[l] for row in seen["alignment_layers"]], series[f"alignment_layer{l + 1}"])
        assert_six_digits(invariant_norms(name, asked, seen, l), series[f"Q_norm_layer{l + 1}"], 1e-9)
    assert max(seen["gap"]) < 1e-8


@pytest.mark.parametrize("name", [name for name, changes in GRID.items() if changes.get("L", 1) == 1])
def test_parts_of_the_loss_are_those_of_the_package(came, name):
    asked, seen = of_one_layer(problem(GRID[name])), came[name]
    series = nf.solve(asked, save_at=TIMES, rtol=1e-11).series
    shared = ["loss", "tr_S", "W_norm", "NC1_frobenius", "NC3"]
    if asked.squared_error:
        shared += ["loss_global", "loss_class", "loss_individual"]
    for key in shared:
        assert_six_digits(seen[key], series[key], 1e-10 if key in ("NC3", "loss_global") else 0.0)


@pytest.mark.parametrize("width", [1200, 390])
def test_it_works_quietly_without_network_and_fits_the_screen(browser, path, width):
    browser.open(path, width)
    for i in range(9):
        browser.value(f"document.querySelectorAll('#presets button')[{i}].click(); view.render()")
        assert browser.value("document.querySelectorAll('#panes svg[role=img]').length") == 5
        assert browser.value("document.querySelectorAll('#presets [aria-pressed=true]').length") == 1
        assert browser.value("document.getElementById('says').textContent.length") > 80
        assert browser.value("document.getElementById('panes').innerHTML.includes('NaN')") is False
    assert browser.complaints == []
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(OVERFLOWING) == []
    assert browser.value("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    # What a finger has to hit.
    buttons = (
        "Math.min(...[...document.querySelectorAll('button')].map(e => e.getBoundingClientRect().height))"
    )
    assert browser.value(buttons) >= 40


def test_on_a_phone_the_curves_stay_in_sight_of_the_sliders(browser, path):
    browser.open(path, 390, 800)
    browser.value("document.getElementById('spectators').scrollIntoView({block: 'end'})")
    place = "(() => {{ const r = document.{}.getBoundingClientRect(); return [r.top, r.bottom]; }})()"
    curve = browser.value(place.format("querySelector('#panes svg[role=img]')"))
    slider = browser.value(place.format("getElementById('spectators')"))
    assert 0 <= curve[0] < curve[1] < slider[0] < slider[1] <= 801


def test_every_slider_has_a_label_and_moves_by_keys(browser, path):
    browser.open(path, 1200)
    unnamed = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length || !e.labels[0].textContent).length"
    assert browser.value(unnamed) == 0
    before = browser.value("document.getElementById('panes').innerHTML")
    browser.value("document.getElementById('scale').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37
        )
    assert browser.value("view.settings().scale") < 1
    browser.value("view.render()")
    assert browser.value("document.getElementById('panes').innerHTML") != before
    assert "s*" in browser.value("document.getElementById('scale').getAttribute('aria-valuetext')")
    assert "scale=" in browser.value("location.hash")


def test_settings_without_a_flow_say_the_rule(browser, path):
    browser.open(path, 1200)
    slide = (
        "(() => {{ const e = document.getElementById('{}'); e.value = {};"
        " e.dispatchEvent(new Event('input', {{bubbles: true}})); view.render(); }})()"
    )
    assert browser.value("document.getElementById('rule').hidden")
    browser.value(slide.format("kappa_n", -0.4))
    assert not browser.value("document.getElementById('rule').hidden")
    assert "μ_global" in browser.value("document.getElementById('rule').textContent")
    browser.value(slide.format("kappa_n", 0.1))
    assert browser.value("document.getElementById('rule').hidden")
    browser.value(slide.format("n", 5))
    assert "n must be at least 10" in browser.value("document.getElementById('rule').textContent")
    assert browser.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(browser, path, scheme):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(path, 1200)
    contrast = browser.value(CONTRAST)
    assert contrast["text"] >= 4.5
    assert contrast["lines"] >= 3
