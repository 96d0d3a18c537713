"""A recorded run is compared as our own are, with what was measured of it alone."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.cli.main import app
from ntkflow_validation.config.config import KernelConfig
from ntkflow_validation.kernels import measure
from ntkflow_validation.ladder.run import compare_run
from ntkflow_validation.pipeline.pipeline import measure_run, train_run
from ntkflow_validation.recording import Recorder, compare, predict
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import prepare, train
from typer.testing import CliRunner

import ntkflow as nf
from ntkflow.errors import InputError
from tests.validation.ladder.networks import NONLINEAR
from tests.validation.recording.loops import CLOCK, RATE, C, N, Y, inputs, loop

RUNGS = ("block", "class-block", "class-matrix", "sample", "tensor", "rayleigh")
CONFIG = replace(
    NONLINEAR,
    training=replace(NONLINEAR.training, steps=30, learning_rate=0.02, snapshots=8),
    kernels=KernelConfig(count=1),
)


def features(params, x):
    return x @ params["V"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """The linear loop, its kernel measured at two steps."""
    recorder = Recorder(
        tmp_path_factory.mktemp("recorded") / "linear", Y, clock=CLOCK, X=inputs(), features=features,
        head=lambda p: (p["W"], p["b"]), snapshots=1, kernels=[0, 10],
    )  # fmt: skip
    for step, _, W, b, V in loop():
        recorder(step, {"V": V.astype(np.float32), "W": W, "b": b})
    return recorder


@pytest.fixture(scope="module")
def compared(linear):
    return compare(
        linear, windows=1, rungs=("block", "sample", "kronecker", "tensor", "class-block"), report=False
    )


def test_rungs_that_follow_from_what_was_measured_predict(compared, linear):
    skills = compared.skill()
    # The linear network has the sample kernel itself, the same for every neuron.
    assert min(skills[name] for name in ("sample", "kronecker", "tensor")) > 0.999
    assert skills["block"] < skills["sample"]
    assert compared.skill("W")["sample"] > 0.999
    as_trained = [r for r in compared.windows[0].rungs if r.name == "sample" and r.modifications]
    assert as_trained[0].skill.on("M").value > 1 - 1e-6
    assert linear.recording


@pytest.mark.parametrize(
    ("kind", "smoothing", "biased"),
    [("cross-entropy", 0.0, True), ("half-squared", 0.2, False)],
    ids=["cross-entropy", "smoothed and held"],
)
def test_other_losses_and_heads_are_predicted_and_compared_by_one_rule(tmp_path, kind, smoothing, biased):
    clock = nf.Clock(RATE, kind, "sum", samples=N, classes=C, label_smoothing=smoothing)
    recorder = Recorder(
        tmp_path / "run", Y, clock=clock, X=inputs(), features=features,
        head=lambda p: (p["W"], p["b"] if biased else None), snapshots=1, kernels=[0],
    )  # fmt: skip
    for step, H, W, b, V in loop(parts=50, biased=biased, loss=clock.flow_loss):
        if step == 0:
            first = measure(
                features, {"V": V.astype(np.float32)}, inputs(), Y, head=(W, b if biased else None)
            )
            at_start = nf.State(H.T, W, b)
        recorder(step, {"V": V.astype(np.float32), "W": W, "b": b})
    found = compare(recorder, rungs=["sample", "rayleigh"], windows=1, report=False)
    recorder.close()
    again = RunDirectory.open(recorder.path).config.time_keeper()
    assert again.flow_loss == clock.flow_loss
    window = found.windows[0]
    sample, rayleigh = (next(r for r in window.rungs if r.name == name) for name in ("sample", "rayleigh"))
    assert min(s.value for q, s in sample.skill.centred.items() if s.value is not None) > 0.999
    assert (sample.skill.on("b").value is None) is not biased
    assert f"the training followed {clock.flow_loss.name}" in rayleigh.refused
    told = predict(first, at_start, clock, steps=window.steps, rung="sample").against(recorder.run)
    assert told.steps == list(window.steps)
    for name, value in told.skill.items():
        assert np.isnan(value) or value == pytest.approx(sample.skill.on(name).value, abs=2e-5), name


def test_a_wrong_clock_is_hinted_at(compared, tmp_path):
    assert compared.windows[0].clock is None
    wrong = nf.Clock(RATE, "squared", "sum", samples=N, classes=C)
    recorder = Recorder(
        tmp_path / "run", Y, clock=wrong, X=inputs(), features=features, head=lambda p: (p["W"], p["b"]),
        snapshots=1, kernels=[0], measure={"quantities": ["class-kernels"]},
    )  # fmt: skip
    for step, _, W, b, V in loop(steps=12, parts=20):
        recorder(step, {"V": V.astype(np.float32), "W": W, "b": b})
    found = compare(recorder, rungs=["block", "sample", "class-matrix", "tensor"], windows=1, report=False)
    recorder.close()
    refused = {rung.name: rung.refused for rung in found.windows[0].rungs}
    # Kernels between classes were measured; the tensor was not.
    assert refused["class-matrix"] is None
    assert "was not measured" in refused["tensor"]
    said = found.windows[0].clock
    assert "multiplied by 0.5 " in said
    assert "it is there (loss='half-squared')" in said
    assert said in repr(found)
    assert RunDirectory.open(recorder.path).comparison().windows[0].clock == said


def test_a_body_that_is_not_trained_is_refused_as_predict_refuses_it(tmp_path):
    clock = nf.Clock(RATE, "half-squared", "sum", samples=N, classes=C, frozen="body")
    recorder = Recorder(
        tmp_path / "run", Y, clock=clock, X=inputs(), features=features, head=lambda p: (p["W"], p["b"]),
        snapshots=1, kernels=[0],
    )  # fmt: skip
    body = None
    for step, _, W, b, V in loop(3):
        body = V.astype(np.float32) if body is None else body
        recorder(step, {"V": body, "W": W, "b": b})
    found = compare(recorder, rungs=["block"], report=False)
    recorder.close()
    assert "not compared: recorded with frozen='body': its features stay where they are" in repr(found)
    with pytest.raises(InputError, match="features that stay where they are"):
        predict(recorder.run.measurement(0), None, clock, steps=2)


def test_a_loop_without_kernels_is_told_where_they_come_from(tmp_path):
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, snapshots=1)
    for step, H, W, b, _ in loop(2):
        recorder(step, H, W, b)
    with pytest.raises(InputError, match=r"no kernel measured.*nf\.Recorder\(.*kernels="):
        compare(recorder, report=False)
    with pytest.raises(InputError, match=r"nf\.Recorder"):
        compare(tmp_path / "nothing", report=False)


def test_it_gives_a_table(compared):
    text = repr(compared)
    assert "cos dM, err dM: direction and relative error" in text
    assert "In brackets: the skill on M" in text
    assert (
        "Missing of the chain, each counted with the next rung: neuron-diagonal, class-matrix (not run)"
        in text
    )
    assert "sample" in text
    assert "recorded outside" in text
    with pytest.raises(InputError, match="there are 1"):
        compared.skill(window=3)
    with pytest.raises(InputError, match="quantity"):
        compared.skill("mass")


@pytest.mark.slow
def test_it_gives_a_figure_and_a_page(linear):
    compared = compare(linear, windows=1, rungs=["sample"])
    assert compared.report.read_text().startswith("<!DOCTYPE html>")
    assert "own network on own data" in compared.report.read_text()
    assert len(compared.figure().axes) >= 8
    assert (compared.run.path / "figures" / "comparison.png").exists()


@pytest.mark.slow
def test_the_commands_read_it(compared, linear, tmp_path):
    path, runner = str(linear.path), CliRunner()
    linear.close()
    for words in (
        ["show", path],
        ["report", path],
        ["export", path, "--to", str(tmp_path)],
        ["frontier", path],
    ):
        done = runner.invoke(app, words)
        assert done.exit_code == 0, (words, done.output, done.exception)
    for words in (["figure", "1", path], ["figure", "2", path]):
        assert runner.invoke(app, [*words, "--out", str(tmp_path)]).exit_code == 0
    refused = runner.invoke(app, ["kernels", path])
    assert "recorded from another program" in str(refused.exception)


@pytest.mark.slow
def test_the_comparison_is_that_of_our_own_run(tmp_path):
    own = RunDirectory.create(tmp_path / "own", CONFIG)
    train_run(own)
    measure_run(own)
    dataset, network = prepare(CONFIG)
    clock = nf.Clock(0.02, "half-squared", "sum", samples=N, classes=3)

    def body(params, x):
        return network.body_features(params["body"], network.initial._replace(params=params), x)

    with Recorder(
        tmp_path / "recorded",
        dataset.labels,
        clock=clock,
        X=dataset.x,
        features=body,
        head="head",
        snapshots=1,
    ) as recorder:
        for snapshot in train(CONFIG, dataset, network):
            recorder(snapshot.step, snapshot.train.variables.params)
    wanted = compare_run(own, settings=replace(_settings(), rungs=RUNGS))
    found = compare(recorder.path, rungs=RUNGS, windows=1, report=False).document
    a, b = (document.windows[0].rungs for document in (wanted, found))
    assert [(r.name, r.modifications) for r in a] == [(r.name, r.modifications) for r in b]
    for one, other in zip(a, b, strict=True):
        # Our own class kernels within classes are estimated by two draws of signs.
        close = 0.02 if one.name in ("class-block", "class-matrix") else 1e-5
        for q in ("M", "F_centred", "W"):
            assert other.skill.on(q).value == pytest.approx(one.skill.on(q).value, abs=close), one["name"]


def _settings():
    from ntkflow_validation.ladder.run import DEFAULT

    return replace(DEFAULT, windows=1)


def test_a_part_of_the_samples_runs_on_its_own_clock(tmp_path):
    """12 samples stand for 24, each twice: a step on these moves the means twice as far."""
    twice = nf.Clock(0.002, "half-squared", "sum", samples=2 * N, classes=3)
    recorder = Recorder(
        tmp_path / "run", Y, clock=twice, X=inputs(), features=features, head=lambda p: (p["W"], p["b"]),
        snapshots=1, kernels=[0],
    )  # fmt: skip
    for step, _, W, b, V in loop(rate=0.004):
        recorder(step, {"V": V.astype(np.float32), "W": W, "b": b})
    document = compare(recorder, rungs=["block", "sample"], windows=1, report=False).document
    recorder.close()
    assert (document.windows[0].samples.observed, document.windows[0].samples.trained) == (N, 2 * N)
    sample = next(r for r in document.windows[0].rungs if r.name == "sample" and not r.modifications)
    assert sample.skill.on("W").value > 0.99


def test_of_a_part_of_the_samples_it_is_said_what_tells_the_assumptions(tmp_path):
    twice = nf.Clock(RATE, "half-squared", "sum", samples=2 * N, classes=C)
    of = dict(
        clock=twice, X=inputs(), features=features, head=lambda p: (p["W"], p["b"]), snapshots=1, kernels=[0]
    )
    plain = Recorder(tmp_path / "plain", Y, measure={"quantities": ["row-space"]}, **of)
    asked = Recorder(tmp_path / "asked", Y, measure={"quantities": ["class-kernels"]}, **of)
    for step, _, W, b, V in loop(3):
        for recorder in plain, asked:
            recorder(step, {"V": V.astype(np.float32), "W": W, "b": b})
    for rungs in None, "all":
        said = compare(plain, rungs=rungs, windows=1, report=False).windows[0].sentence
        assert "the three-constant kernel has skill" in said
        assert "class-block, neuron-diagonal, class-matrix (the class kernel was not measured when" in said
        assert "give measure={'quantities': ['class-kernels', ...]} of the recorder" in said
        assert "tensor (tensor needs all training samples observed; give the recorder y and X of all" in said
    said = compare(asked, windows=1, report=False).windows[0].sentence
    assert "What costs most" in said
    assert "class-matrix (" not in said
