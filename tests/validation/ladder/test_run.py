"""The command's numbers: the known answer through the whole pipeline, and what is written."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ntkflow.errors import InputError
from validation.cli.frontier import frontier
from validation.config import KernelConfig
from validation.ladder import measured as measuring
from validation.pipeline import compare_run, measure_run, train_run
from validation.rundir import RunDirectory

from .networks import CONFIG, NONLINEAR

RUNGS = ("block", "block-in-time", "class-block", "row-product", "class-matrix", "sample", "tensor")


def finished(path, config):
    recipe = replace(config.training, steps=300, learning_rate=1e-3, snapshots=16)
    run = RunDirectory.create(path, replace(config, training=recipe, kernels=KernelConfig(count=4)))
    train_run(run)
    measure_run(run)
    return run


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    run = finished(tmp_path_factory.mktemp("ladder") / "linear", CONFIG)
    return run, compare_run(run, rungs=RUNGS)


def test_the_known_answer_is_predicted_by_every_rung(linear):
    _, document = linear
    window = document["windows"][0]
    assert (window["name"], window["leading"], window["halved"]) == ("early", True, True)
    assert window["loss"]["last"] <= window["loss"]["first"] / 2
    for rung in window["rungs"]:
        # The row space of W turns a little, which what is restricted to it does not see.
        assert rung["skill"]["M"]["value"] > (0.998 if rung["name"] == "row-product" else 0.999), rung["name"]
        assert rung["instantaneous"]["M"]["error"] < 1e-3
        assert (
            rung["rates"]["class"]["low"]
            < rung["rates"]["class"]["predicted"]
            < rung["rates"]["class"]["high"]
        )
    assert window["cheapest"] == "block"
    block = window["rungs"][0]
    assert block["invariant"]["relative_to_terms"] < 1e-3
    assert block["invariant"]["relative_to_E0"] < 1e-2
    assert block["skill"]["uncentred"]["H1"]["value"] > 0.999


def test_bands_contain_their_prediction(linear):
    _, document = linear
    for rung in document["windows"][0]["rungs"]:
        for name, band in (rung["band"] or {}).items():
            if name != "of":
                low, high = np.array(band["low"]), np.array(band["high"])
                middle = np.array(rung["predicted"][name])
                assert np.all(low <= middle * (1 + 1e-9) + 1e-12), (rung["name"], name)
                assert np.all(middle <= high * (1 + 1e-9) + 1e-12)
    assert "loss_class" in document["windows"][0]["rungs"][0]["band"]


def test_the_file_is_plain_json_and_the_same_again(linear):
    run, document = linear
    text = (run.path / "comparison.json").read_text()
    assert json.loads(text) == document
    json.dumps(document, allow_nan=False)
    assert compare_run(run, rungs=RUNGS) == document


def test_what_was_measured_is_not_measured_again(linear, monkeypatch):
    run, document = linear

    def unexpected(*_):
        raise AssertionError

    for name in ("class_kernels", "training_direction"):
        monkeypatch.setattr(measuring, name, unexpected)
    assert compare_run(run, rungs=RUNGS)["windows"] == document["windows"]


def test_a_nonlinear_network_is_attributed(tmp_path):
    config = replace(NONLINEAR, training=replace(NONLINEAR.training, momentum=0.5, batch_per_class=2))
    run = finished(tmp_path / "run", config)
    window = compare_run(run, rungs=("block", "class-block", "neuron-diagonal", "class-matrix", "tensor"))[
        "windows"
    ][0]
    chain = [c for c in window["attribution"] if c["chain"]]
    skill = {r["name"]: r["skill"]["M"]["value"] for r in window["rungs"] if not r["modifications"]}
    assert sum(c["cost"] for c in chain) == pytest.approx(1 - skill["block"])
    assert skill["tensor"] > 0.9 > skill["block"]
    assert chain[-1]["to"] == "observed"
    carried = [r["modifications"] for r in window["rungs"] if r["name"] == "class-matrix"]
    assert carried == [[], ["discrete step", "momentum"], ["discrete step", "momentum", "minibatch"]]
    ensemble = next(r for r in window["rungs"] if "minibatch" in r["modifications"])
    assert ensemble["band"]["of"] == "draws of the batches"


def test_another_loss_is_refused_in_words(tmp_path):
    config = replace(CONFIG, training=replace(CONFIG.training, loss="cross-entropy"))
    run = finished(tmp_path / "run", config)
    document = compare_run(run)
    assert document["windows"] == []
    assert "cross-entropy" in document["refused"]
    assert run.read_json("comparison.json") == document


def test_the_evidence_is_the_comparison_without_its_series(linear, tmp_path, capsys):
    run, document = linear
    frontier(run.path, tmp_path, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0].lstrip("*") for line in lines} >= {*RUNGS, "early:"}
    assert any(line.startswith(" *block") for line in lines)
    kept = json.loads((tmp_path / "linear-ladder.json").read_text())
    assert kept["command"].startswith("ntkflow validate compare --out linear --rungs block,")
    skill = kept["windows"][0]["rungs"][0]["skill"]["M"][0]
    assert skill == pytest.approx(document["windows"][0]["rungs"][0]["skill"]["M"]["value"], rel=1e-3)
    assert not {"predicted", "skill_at", "band"} & set(kept["windows"][0]["rungs"][0])
    assert (tmp_path / "linear-ladder.json").stat().st_size < (
        run.path / "comparison.json"
    ).stat().st_size / 3


def test_there_is_no_frontier_without_a_comparison(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="validate compare"):
        frontier(run.path, None, quiet=False)
