"""`validate laws` on a small network: Q follows its law, plain steps explain what moves, the file says what it saw."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.cli.laws import laws
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig
from ntkflow_validation.pipeline.laws import laws_of_run
from ntkflow_validation.pipeline.laws_told import sentence, table
from ntkflow_validation.pipeline.pipeline import measure_run, train_run
from ntkflow_validation.report.laws import laws_section
from ntkflow_validation.runs.followed import read_laws
from ntkflow_validation.runs.rundir import RunDirectory

import ntkflow as nf
from ntkflow.errors import InputError
from tests.validation.ladder.networks import NONLINEAR


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    training = replace(
        NONLINEAR.training, steps=400, learning_rate=2e-3, snapshots=24, weight_decay=1.0, decay_on="all"
    )
    model = replace(NONLINEAR.model, hidden_bias=False, readout_bias=False)
    config = replace(NONLINEAR, model=model, training=training, kernels=KernelConfig(count=1))
    run = RunDirectory.create(tmp_path_factory.mktemp("laws") / "run", config)
    train_run(run)
    measure_run(run)
    return run, laws_of_run(run)


def test_Q_and_the_laws_follow_theirs(followed):
    _, found = followed
    assert found.imbalance is not None
    assert found.imbalance.error[0] == 0
    assert max(found.imbalance.error) < 0.02
    assert found.decay[-1] == pytest.approx(0.8)
    readout, hidden = (next(f for f in found.families if kind in f.name) for kind in ("head", "hidden"))
    for family in (readout, hidden):
        assert family.error < 0.05 * family.error_if_constant
        assert family.balance[-1] == pytest.approx(
            family.expected[-1], abs=0.05 * abs(family.balance[0]) + 1e-3
        )


def test_momentum_and_batches_have_their_law(tmp_path):
    training = replace(
        NONLINEAR.training, steps=60, learning_rate=1e-3, snapshots=30, weight_decay=1.0, momentum=0.8,
        nesterov=True, batch_per_class=2,
    )  # fmt: skip
    run = RunDirectory.create(tmp_path / "run", replace(NONLINEAR, training=training))
    train_run(run)
    found = laws_of_run(run)
    assert "Nesterov's momentum 0.8, each of its batch" in found.how
    for family in found.families:
        # The flow's law neglects what the law of steps has: that is what it is off by.
        assert family.error < 0.1 * family.error_of_flow < 0.1 * family.error_if_constant
        assert family.neglected == pytest.approx(family.error_of_flow, rel=0.1)
        assert family.error < 20 * family.interpolated + 1e-6
    assert found.imbalance.error[-1] < 0.1 * found.imbalance.error_of_flow[-1]


@pytest.mark.slow
def test_running_statistics_are_no_obstacle(tmp_path):
    # Laws are looked for in double precision; networks, and what training mode writes of batches, are single.
    training = replace(NONLINEAR.training, steps=2, snapshots=2)
    data = DataConfig(name="digits", classes=3, per_class=2)
    model = ModelConfig(name="cnn", features=4, width=2, norm="batch", readout="pool")
    config = replace(NONLINEAR, data=data, model=model, training=training)
    run = RunDirectory.create(tmp_path / "run", config)
    train_run(run)
    assert any("normalis" in family.name for family in laws_of_run(run).families)


def test_what_is_seen_and_what_is_not(followed):
    run, found = followed
    rows = run.metrics()
    np.testing.assert_allclose(found.visible, [row.get("variability_visible") for row in rows])
    assert all(
        bound >= seen - 1e-6 for bound, seen in zip(found.imbalance.bound, found.invisible, strict=True)
    )
    assert found.imbalance.estimate[-1] == pytest.approx(found.imbalance.foretold[-1], rel=0.1)
    (floor, *_) = found.floors
    assert 0 < floor.foretold < 1


def test_the_command_writes_and_prints(followed, capsys):
    run, found = followed
    laws(run.path, None, json=True, quiet=False)
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((run.path / "laws.json").read_text())
    assert said["sentence"] == found.sentence
    text = "\n".join(table(found))
    assert "Q = W^T W" in text
    assert "if constant" in text


def test_adam_has_none(followed, tmp_path):
    run, _ = followed
    config = replace(run.config, training=replace(run.config.training, optimiser="adam"))
    with pytest.raises(InputError, match="no gradient flow"):
        laws_of_run(RunDirectory.create(tmp_path / "adam", config))


def test_the_page_says_why_it_collapsed(followed):
    run, found = followed
    page = laws_section(read_laws(run))
    assert "Why it collapsed, or what it did not forget" in page
    assert "foretold from Q at the start" in page
    assert "Floor of NC1" in page
    assert laws_section(None) == ""
    assert read_laws(run) == found
    bare = replace(found, imbalance=None, no_imbalance="it pools <its> pixels", floors=())
    assert "No Q: it pools &lt;its&gt; pixels." in laws_section(bare)


def test_a_figure_has_panes_of_laws_where_they_were_followed(followed, tmp_path):
    run, found = followed
    loaded = nf.load(run.path)
    np.testing.assert_allclose(loaded.series["Q_error"], found.imbalance.error)
    titles = [axes.get_title() for axes in loaded.figure().axes]
    assert "Conservation laws: off by" in titles
    assert "Imbalance" in titles
    (laws_pane,) = loaded.figure(panes=["laws"], size=3.25, style="paper").axes
    assert len(laws_pane.get_lines()) == 3
    assert min(text.get_fontsize() for text in laws_pane.get_legend().get_texts()) >= 6
    assert "Laws against what they should be" in laws_section(found)
    # A file of before has fewer numbers.
    bare = replace(found, together=None, imbalance=replace(found.imbalance, law=()))
    assert set(bare.series) == {"Q_norm", "Q_error", "Q_over_weights"}
    without = nf.save(loaded, tmp_path / "without")
    (without / "laws.json").unlink()
    with pytest.raises(InputError, match="trainings whose laws were followed"):
        nf.load(without).figure(panes=["laws"])
    assert "Imbalance" not in [axes.get_title() for axes in nf.load(without).figure().axes]


def test_the_sentence_tells_what_was_not_forgotten_from_what_was_not_learnt():
    assert "has not gone" in sentence(0.5, 0.3, 1.0, 1.0, 0.0)
    assert sentence(0.05, 0.04, 1.0, 0.1, 0.0).endswith("it has collapsed.")
    unseen = sentence(0.26, 0.003, 0.006, 1.0, 0.0)
    # That it vanishes where the classifier sees is the fit, and no collapse.
    assert "it fits its samples and has not collapsed; 99.4%" in unseen
    assert unseen.endswith("nothing decayed of what the flow conserves.")
    assert "decay left 0.37 of what the flow conserves" in sentence(0.26, 0.003, 0.006, 1.0, 0.5)
    assert "it has collapsed; 99.4%" in sentence(0.01, 0.003, 0.006, 1.0, 0.5)
    assert "coincide" in sentence(None, None, 0.0, 0.0, 0.0)
