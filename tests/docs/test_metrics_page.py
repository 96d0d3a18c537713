"""The table of docs/metrics.md is the registry's."""

from ntkflow.metrics.published import collapse  # noqa: F401 -- formulas register themselves
from ntkflow.metrics.published.registry import METRICS
from tests.docs.pages import ROOT


def test_the_page_has_every_measure_with_its_formula_source_and_condition():
    page = (ROOT / "docs" / "metrics.md").read_text()
    for metric in METRICS.values():
        formula = metric.formula.replace("|", "\\|")
        told = "yes" if metric.of_samples else ""
        assert f"| `{metric.name}` | {formula} | {metric.source} | {metric.applies} | {told} |" in page
