import math
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.studies import cells, parts, tables

from tests.validation.studies import documents


def test_the_baseline_is_the_start_on_the_clock_of_decay():
    """Of 10 e^(-5 lambda t), a foretelling 1.1 times too large, and e^(-2 lambda t) alone."""
    [run] = [documents.run(c, floor=0.0) for c in cells.forgetting(1, ("mlp",)) if c.value == 1]
    found = parts.baselines([run])
    assert found["over seen, from Q(0)"][run.name] == pytest.approx(1.1)
    # As far as e^(-5 x) >= .01, at snapshots .05 apart.
    kept = np.arange(0, math.log(100) / 5, 0.05)
    assert found["over seen, e^(-2λt)"][run.name] == pytest.approx(math.exp(3 * kept.mean()))
    assert found["furthest off, e^(-2λt)"][run.name] == pytest.approx(math.exp(3 * kept[-1]))
    assert found["furthest off, e^(-4λt)"][run.name] == pytest.approx(math.exp(kept[-1]))
    assert found["furthest off, Q(0) kept"][run.name] == pytest.approx(1.1 * math.exp(2 * kept[-1]))
    assert found["furthest off, from Q(0)"][run.name] == pytest.approx(1.1)
    told = found["time, e^(-2λt)"][run.name]
    assert told == pytest.approx(2.5, rel=2e-3)


def test_without_a_linear_readout_nothing_is_foretold():
    runs = [documents.run(c) for c in cells.forgetting(1, ("resnet8",))]
    assert not any(parts.baselines(runs).values())


def test_what_class_means_do_is_not_variability():
    """NC1 falls by the variability alone; with class means four times further apart at the end, by both."""
    [run] = [documents.run(c) for c in cells.forgetting(1, ("mlp",)) if c.value == 1]
    assert parts.fallen([run])["share of tr S in that fall"][run.name] == pytest.approx(1)
    NC1 = list(run.series["NC1"])
    NC1[-1] /= 4
    found = parts.fallen([replace(run, series={**run.series, "NC1": tuple(NC1)})])
    fell = run.series["NC1"][0] / NC1[-1]
    assert found["NC1 at the start over its end"][run.name] == pytest.approx(fell)
    assert found["share of tr S in that fall"][run.name] == pytest.approx(1 - math.log(4) / math.log(fell))


def test_runs_are_set_against_the_one_without_decay_of_their_seed_and_rate():
    runs = [documents.run(c) for c in cells.normalised(2)]
    found = parts.fallen(runs)["tr S between classes over no decay"]
    assert sorted(found) == [f"recipe-decay{d}-rate0.2-seed{s}" for d in ("0.0005", "0.002") for s in (0, 1)]
    # No twin: nothing is said.
    assert not parts.fallen(runs[1:2])["NC1 without decay over with"]


def test_tables_have_a_row_for_every_group():
    runs = [documents.run(c) for c in cells.forgetting(2, ("mlp",))]
    text = tables.tables([], runs)
    assert "| runs | seeds | NC1 at the start over its end | share of tr S in that fall |" in text
    assert "| mlp-lambda1 | 2 | 1.1 (1.1 to 1.1) |" in text
    assert tables.by_group(runs, {"nothing": {}}) == ""
