"""The page in a real headless browser, at the width of a desk and of a phone."""

import pytest
from ntkflow_validation.report.page import write_page

from tests.browser import Browser, installed
from tests.validation.report import synthetic

pytestmark = pytest.mark.skipif(
    installed() is None, reason="no Chromium is installed (apt-get install chromium)"
)
WIDTHS = (1200, 390)
# Elements wider than the screen that do not scroll within a parent.
OVERFLOWING = """[...document.querySelectorAll('body *')].filter(e => {
  const r = e.getBoundingClientRect();
  return r.width && r.right > innerWidth + 1 && !e.closest('.scroll') && !e.closest('pre') && !e.closest('svg');
}).map(e => e.outerHTML.slice(0, 80))"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('svg[role=img]')].filter(s => s.getBoundingClientRect().width)
  .map(s => 10.5 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"""
VISIBLE = "[...document.querySelectorAll('.window[open] .panes .{key}')].filter(e => e.getClientRects().length).length"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    reports = [synthetic.report(), synthetic.report(title="Another run")]
    return write_page(tmp_path_factory.mktemp("page") / "report.html", reports, synthetic.calibration())


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_it_renders_quietly_without_network_and_fits_the_screen(browser, path, width):
    browser.open(path, width)
    assert browser.complaints == []
    assert all(address.startswith(("file:", "data:")) for address in browser.requests)
    assert sum(address.startswith("file:") for address in browser.requests) == 1
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(OVERFLOWING) == []
    assert browser.value(SMALLEST_TEXT) >= 9
    assert browser.value("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    images = browser.value(
        "[...document.querySelectorAll('svg image')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(images) == 8
    assert min(images) > 100


def test_the_calibration_table_shows_its_last_column_beside_a_scroll_bar(browser, path):
    # A bar takes up to 17 pixels of a window of 1200, and fonts differ from machine to machine.
    browser.open(path, 1120)
    hidden = "[...document.querySelectorAll('#calibration .scroll')].map(e => e.scrollWidth - e.clientWidth)"
    assert browser.value(hidden) == [0]


def test_rungs_can_be_switched_off_and_on_without_scripts(browser, path):
    browser.open(path, 1200)
    switch = "document.querySelector('.window[open] .legend input:checked')"
    key = browser.value(f"{switch}.id.split('-').slice(2).join('-')")
    shown = VISIBLE.format(key=f"run1-{key.split('-')[-1]}")
    assert browser.value(shown) > 5
    browser.value(f"{switch}.click()")
    assert browser.value(shown) == 0


def test_a_broken_page_is_noticed(browser, path, tmp_path):
    wide = '<div style="width:5000px">.</div><img src="http://127.0.0.1:9/x.png">'
    broken = tmp_path / "broken.html"
    broken.write_text(path.read_text(encoding="utf-8").replace("</main>", wide + "</main>"), encoding="utf-8")
    browser.open(broken, 390)
    assert browser.complaints
    assert any(address.startswith("http:") for address in browser.requests)
    assert browser.value(OVERFLOWING)
