"""Scores over seeds: what is averaged, what is left apart, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.cli.frontier import frontier
from ntkflow_validation.cli.seeds import seeds
from ntkflow_validation.ladder.export import compact
from ntkflow_validation.ladder.seeds import HeldOut, Spread, over_seeds, read, spread, table
from ntkflow_validation.pipeline.pipeline import compare_run

from ntkflow.errors import InputError
from tests.validation.ladder.networks import NONLINEAR
from tests.validation.ladder.test_run import finished

RUNGS = ("block", "krylov-1", "class-matrix")
BASELINES = ("persistence", "constant-velocity", "frozen-features", "no-class-structure")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("seeds")
    found = []
    for seed in (0, 1, 2):
        run = finished(place / f"net-seed{seed}", NONLINEAR.with_seed(seed))
        compare_run(run, rungs=RUNGS)
        found.append(run)
    return found


def test_mean_and_deviation_are_those_of_the_runs_own_files(runs, tmp_path, capsys):
    seeds([run.path for run in runs], tmp_path, json=False, quiet=False)
    text = capsys.readouterr().out
    document = json.loads((tmp_path / "net-seed0-seeds.json").read_text())
    assert document["command"] == "ntkflow validate seeds net-seed0 net-seed1 net-seed2"
    assert document["seeds"] == [0, 1, 2]
    for window in document["windows"]:
        own = [run.comparison().windows[0] for run in runs]
        if window["name"] == "early":
            assert window["cheapest"] == [w.cheapest for w in own]
            for rung in window["rungs"]:
                if not rung["modifications"]:
                    for q in ("M", "H2", "W"):
                        values = [_of(w, rung["name"]).score(q).value for w in own]
                        # Four digits of each are kept.
                        size = max(np.abs(values))
                        digits = 2e-4 if size <= 1 else 1e-3 * size
                        assert rung["skill"][q]["mean"] == pytest.approx(np.mean(values), abs=digits)
                        assert rung["skill"][q]["sd"] == pytest.approx(np.std(values, ddof=1), abs=digits)
                    if rung["name"] in BASELINES:
                        continue
                    cosines = [_of(w, rung["name"]).instantaneous["M"].cosine for w in own]
                    assert rung["instantaneous"]["M"]["cosine"]["values"] == pytest.approx(cosines, abs=2e-4)
            costs = [c.cost for w in own for c in w.attribution if c.assumption == "infinitesimal steps"]
            row = next(c for c in window["attribution"] if c["assumption"] == "infinitesimal steps")
            assert row["mean"] == pytest.approx(np.mean(costs), abs=2e-4)
    assert "cheapest with skill 0.8 by seed: 0:" in text
    assert text.count("krylov-1") >= 2


def _of(window, name):
    return next(r for r in window.all_rungs if r.key == name)


def test_rungs_designed_on_a_seed_are_also_scored_without_it(runs):
    document = over_seeds([read(run.path) for run in runs])
    rungs = {r.name: r for r in document.windows[0].rungs if not r.modifications}
    found = rungs["krylov-1"].skill["M"]
    assert found.untouched == pytest.approx(np.mean(found.values[1:]), abs=2e-4)
    assert found.untouched != found.mean
    assert not isinstance(rungs["block"].skill["M"], HeldOut)
    line = next(line for line in table(document) if line.split()[0] == "krylov-1")
    assert f"{found.untouched:.3g}" in line


def test_a_seed_without_a_value_leaves_no_mean():
    assert spread([0.5, None, 0.7], [0, 1, 2]) == HeldOut((0.5, None, 0.7), None, None, None)
    assert spread([None, 0.5, 0.7], [0, 1, 2]).untouched == pytest.approx(0.6)
    assert spread([1.0, 2.0], [1, 2]) == Spread((1.0, 2.0), 1.5, 0.7071)


def test_committed_files_say_the_same_as_the_directories(runs, tmp_path):
    for run in runs:
        frontier(run.path, tmp_path, quiet=True)
    files = [tmp_path / f"{run.path.name}-ladder.json" for run in runs]
    assert over_seeds([read(path) for path in files]) == over_seeds([read(run.path) for run in runs])


def test_comparisons_of_earlier_versions_are_read(runs, tmp_path):
    frontier(runs[0].path, tmp_path, quiet=True)
    path = tmp_path / "net-seed0-ladder.json"
    old = json.loads(path.read_text())
    del old["config"]["training"]["nesterov"]
    for window in old["windows"]:
        for rung in window["rungs"]:
            rung.pop("draws", None)
    path.write_text(json.dumps(old))
    assert read(path).config == read(runs[0].path).config
    del old["config"]
    path.write_text(json.dumps(old))
    with pytest.raises(InputError, match="of which configuration"):
        read(path)


def test_the_file_has_one_line_a_score():
    value = {"a": {"values": [1.5, None], "mean": None}, "rows": [[1, 2], [3, 4]], "said": "[x] {y}"}
    text = compact(json.dumps(value, indent=2))
    assert json.loads(text) == value
    assert '"a": {"values": [1.5, null], "mean": null},' in text.replace("\n", "|")


def test_what_is_no_set_of_seeds_is_refused(runs, tmp_path):
    first, second, _ = (read(run.path) for run in runs)
    with pytest.raises(InputError, match="at least two"):
        over_seeds([first])
    with pytest.raises(InputError, match="repeat a seed"):
        over_seeds([first, first])
    other = {**second.config, "training": {**second.config["training"], "steps": 7}}
    with pytest.raises(InputError, match=r"training\.steps \(7, not 300\)"):
        over_seeds([first, replace(second, config=other)])
    seeds([run.path for run in runs], tmp_path, json=False, quiet=True)
    with pytest.raises(InputError, match="frontier --to"):
        read(tmp_path / "net-seed0-seeds.json")
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match=r"lacks command.*frontier --to"):
        read(tmp_path / "empty.json")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "absent.json")
    frontier(runs[0].path, tmp_path, quiet=True)
    document = json.loads((tmp_path / "net-seed0-ladder.json").read_text())
    middle = {**document["windows"][0], "name": "step 5"}
    document["windows"] = [*document["windows"], middle, {**middle, "name": "step 9"}]
    (tmp_path / "several.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="several windows between early and late"):
        read(tmp_path / "several.json")


def test_a_damaged_file_is_named(runs, tmp_path):
    frontier(runs[0].path, tmp_path, quiet=True)
    path = tmp_path / "net-seed0-ladder.json"
    good = json.loads(path.read_text())
    assert read(path).seed == 0
    for name, value in (("attribution", 3), ("rungs", [{"name": "block"}]), ("loss", None)):
        path.write_text(json.dumps({**good, "windows": [{**good["windows"][0], name: value}]}))
        with pytest.raises(InputError, match=r"net-seed0-ladder.json.*cannot be read as a comparison"):
            read(path)


def test_a_motion_that_was_not_measured_leaves_no_mean(runs, tmp_path):
    frontier(runs[0].path, tmp_path, quiet=True)
    path = tmp_path / "net-seed0-ladder.json"
    good = json.loads(path.read_text())
    good["windows"][0]["rungs"][0]["instantaneous"]["M"] = None
    path.write_text(json.dumps(good))
    document = over_seeds([read(path), read(runs[1].path)])
    rung = document.windows[0].rungs[0]
    assert rung.instantaneous["M"]["cosine"].values[0] is None
    assert table(document)
