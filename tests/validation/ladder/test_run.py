"""The command's numbers: the known answer through the whole pipeline, and what is written."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.cli.frontier import frontier
from ntkflow_validation.config.config import DataConfig, KernelConfig
from ntkflow_validation.ladder import measured as measuring
from ntkflow_validation.ladder import rungs as rungs_module
from ntkflow_validation.ladder.export import table
from ntkflow_validation.ladder.seeds import read
from ntkflow_validation.pipeline.pipeline import compare_run, measure_run, train_run
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.sweep.settings import changed

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.runs.border.records import document
from ntkflow.runs.files import read_arrays, write_arrays
from tests.validation.ladder.networks import CONFIG, NONLINEAR

RUNGS = ("block", "block-in-time", "class-block", "row-product", "class-matrix", "sample", "tensor")


def finished(path, config, per_class=0, **how):
    recipe = replace(config.training, steps=300, learning_rate=1e-3, snapshots=16)
    run = RunDirectory.create(
        path, replace(config, training=recipe, kernels=KernelConfig(count=4, per_class=per_class, **how))
    )
    train_run(run)
    measure_run(run)
    return run


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    run = finished(tmp_path_factory.mktemp("ladder") / "linear", CONFIG)
    return run, compare_run(run, rungs=RUNGS)


def test_the_known_answer_is_predicted_by_every_rung(linear):
    _, document = linear
    window = document.windows[0]
    assert (window.name, window.leading, window.halved) == ("early", True, True)
    assert window.loss.last <= window.loss.first / 2
    for rung in window.rungs:
        # The row space of W turns a little, which what is restricted to it does not see.
        assert rung.score().value > (0.997 if rung.name == "row-product" else 0.999), rung.name
        assert rung.skill_until["1/2"]["M"] == rung.score()
        assert rung.instantaneous["M"].error < 1e-3
        rate = rung.rates["class"]
        assert rate.low < rate.predicted < rate.high
    assert window.cheapest == "block"
    assert window.until == {"1/2": window.last_step}
    assert window.class_residual.last <= window.class_residual.first / 2
    assert window.accuracy.last > window.accuracy.first
    assert window.shape.cv == pytest.approx(0, abs=1e-5)
    assert window.shape.drift == pytest.approx(0, abs=1e-5)
    # Every part has a number or a reason.
    absent = {name for name in ("cv", "leak", "iso", "drift") if getattr(window.shape, name) is None}
    assert absent == set(window.shape.missing or {})
    persistence, velocity, frozen, classless = (r.score().value for r in window.baselines)
    assert (persistence, frozen) == pytest.approx((0, 0), abs=1e-9)
    assert max(velocity, classless) < 0.9
    block = window.rungs[0]
    # Steps of finite length move E a little against the changes of its terms (theory 11.4); the flow does not.
    assert block.invariant.run.relative_to_terms < 1e-2
    assert block.invariant.run.relative_to_E0 < 1e-2
    assert max(block.invariant.predicted.relative_to_terms, block.invariant.predicted.relative_to_E0) < 1e-3
    said = {r.name: r.invariant for r in window.rungs if not r.modifications}
    assert said["class-block"].of == "E"
    assert "no inverse" in said["row-product"].reason
    assert block.skill.uncentred["H1"].value > 0.999


def test_bands_contain_their_prediction(linear):
    _, document = linear
    for rung in document.windows[0].rungs:
        for name, edges in (rung.band.edges if rung.band else {}).items():
            low, high = np.array(edges.low), np.array(edges.high)
            middle = np.array(rung.predicted[name])
            assert np.all(low <= middle * (1 + 1e-9) + 1e-12), (rung.name, name)
            assert np.all(middle <= high * (1 + 1e-9) + 1e-12)
    assert "loss_class" in document.windows[0].rungs[0].band.edges


def test_the_file_is_plain_json_and_the_same_again(linear):
    run, found = linear
    text = (run.path / "comparison.json").read_text()
    assert json.loads(text) == document(found)
    json.dumps(document(found), allow_nan=False)
    assert run.comparison() == found
    assert compare_run(run, rungs=RUNGS) == found


def test_what_was_measured_is_not_measured_again(linear, monkeypatch):
    run, document = linear

    own = measuring.measure

    def unexpected(*given, quantities=(), **how):
        # The tensor is too large to be kept.
        assert quantities == ("tensor",)
        return own(*given, quantities=quantities, **how)

    for name in ("measure", "training_direction"):
        monkeypatch.setattr(measuring, name, unexpected)
    assert compare_run(run, rungs=RUNGS).windows == document.windows


COSTLY = ("block", "row-class-matrix", "row-block", "krylov-2", "class-matrix", "sample", "residual-3", "residual-6",
          "components", "tensor")  # fmt: skip


@pytest.mark.slow
def test_the_same_bytes_with_and_without_what_was_kept_in_any_order_and_after_a_kill(tmp_path, monkeypatch):
    # The tensor applied and not stored, whose predictions are kept too; class kernels in the row space as well.
    monkeypatch.setattr(rungs_module, "TENSOR_ROWS", 0)
    config = replace(NONLINEAR, training=replace(NONLINEAR.training, momentum=0.5, batch_per_class=2))
    run = finished(tmp_path / "run", config, per_class=3)

    def compared(rungs=COSTLY):
        compare_run(run, rungs=rungs)
        return (run.path / "comparison.json").read_bytes()

    fresh, files = compared(), sorted((run.path / "ladder").iterdir())
    # STEP-HASH.npz; what is measured has a file each, STEP-HASH-NAME.npz, which is there or is not.
    kept = [path for path in files if path.stem.count("-") == 1]
    assert compared() == fresh
    # A run that ended after any of its measurements goes on from the others.
    names = read_arrays(kept[0])[0].keys()
    assert {"residual_images", "observed_motion"} < set(names)
    for left in (lambda i: i % 2, lambda i: not i % 2, lambda i: i > len(names) // 2):
        for path in kept:
            arrays = read_arrays(path)[0]
            write_arrays(path, {name: a for i, (name, a) in enumerate(sorted(arrays.items())) if left(i)})
        assert compared() == fresh
    for path in files:
        path.unlink()
    for rung in ("residual-3", "tensor", "krylov-2", "row-block"):
        compared((rung,))
    assert compared() == fresh


def test_a_nonlinear_network_is_attributed(tmp_path):
    config = replace(NONLINEAR, training=replace(NONLINEAR.training, momentum=0.5, batch_per_class=2))
    run = finished(tmp_path / "run", config)
    rungs = ("block", "class-block", "neuron-diagonal", "class-matrix", "tensor")
    window = compare_run(run, rungs=rungs).windows[0]
    chain = [c for c in window.attribution if c.chain]
    skill = {r.name: r.score().value for r in window.rungs if not r.modifications}
    assert sum(c.cost for c in chain) == pytest.approx(1 - skill["block"])
    assert skill["tensor"] > 0.9 > skill["block"]
    assert chain[-1].end == "observed"
    carried = [r.modifications for r in window.rungs if r.name == "class-matrix"]
    assert carried == [(), ("discrete step", "momentum"), ("discrete step", "momentum", "minibatch")]
    ensemble = next(r for r in window.rungs if "minibatch" in r.modifications)
    assert ensemble.band.of == "draws of the batches"


def test_the_schedule_and_draws_of_the_batches_are_accounted_for(tmp_path):
    recipe = replace(NONLINEAR.training, batch_per_class=2, warmup=30)
    run = finished(tmp_path / "run", replace(NONLINEAR, training=recipe))
    window = compare_run(run, rungs=("block", "class-matrix")).windows[0]
    by_key = {(r.name, *r.modifications): r for r in window.rungs}
    skill = {key: r.score().value for key, r in by_key.items()}
    cost = next(c for c in window.attribution if c.assumption == "a rate that does not change")
    assert not cost.chain
    assert cost.cost == pytest.approx(skill["class-matrix",] - skill["class-matrix", "nominal rate"])
    assert cost.cost > 0.01
    assert any(c.assumption == "all samples at once" for c in window.attribution)
    draws = by_key["class-matrix", "discrete step", "minibatch"].draws
    assert len(draws) == len(set(draws)) == 3
    assert by_key["class-matrix",].draws == ()
    marked = [line for line in table([window]) if line.startswith(" *")]
    assert len(marked) == sum(point.best for point in window.frontier)


@pytest.mark.slow
def test_the_kernel_of_all_samples_is_measured_when_asked_for(tmp_path, monkeypatch):
    run = finished(tmp_path / "run", NONLINEAR, per_class=2)
    whole = finished(tmp_path / "whole", NONLINEAR)

    def skills(run, announce=None):
        document = compare_run(run, rungs=("sample",), announce=announce or (lambda _: None))
        return next(r for r in document.windows[0].rungs if r.key == "sample").score().value

    exact = skills(whole)
    assert skills(run) == pytest.approx(exact, abs=1e-6)
    for kept in (run.path / "ladder").iterdir():
        kept.unlink()
    monkeypatch.setattr(measuring, "SIDE_LIMIT", 0)
    said = []
    assert skills(run, said.append) == pytest.approx(exact, abs=1e-6)
    assert "N x N kernel of all neurons: about" in said[0]
    # Not named it is refused, in the same words, whether or not it has been measured.
    for remove in (False, True):
        if remove:
            for kept in (run.path / "ladder").iterdir():
                kept.unlink()
        rungs = compare_run(run).windows[0].rungs
        reason = next(r for r in rungs if r.name == "sample").refused
        assert "60 gradients and 5 products" in reason
        assert "name sample or kronecker in --rungs" in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"model.head_bias": False, "training.label_smoothing": 0.3},
        pytest.param({"model.head_bias": False}, marks=pytest.mark.slow),
        pytest.param({"training.label_smoothing": 0.3}, marks=pytest.mark.slow),
        pytest.param({"training.loss": "cross-entropy"}, marks=pytest.mark.slow),
    ],
    ids=["held and smoothed", "held", "smoothed", "cross-entropy"],
)
def test_the_known_answer_of_other_losses_and_heads_is_predicted_by_every_rung(changes, tmp_path):
    # The linear network's kernel is known and still: what is missed is the length of the steps. By the flow of another
    # loss, or with b trained, the skill is far lower.
    run = finished(tmp_path / "run", changed(CONFIG, changes))
    rungs = ("block", "class-matrix", "residual-6", "tensor")
    window = compare_run(run, rungs=rungs).windows[0]
    assert window.loss.last < 0.95 * window.loss.first
    for rung in window.rungs:
        assert rung.score().value > (0.995 if rung.name.startswith("residual") else 0.999), rung.name
        assert rung.instantaneous["M"].error < 1e-3, rung.name
        assert rung.skill.centred["residual_class"].value > 0.99, rung.name
    # Steps and all: nothing is left but float32.
    stepped = [r.score().value for r in window.rungs if r.modifications == ("discrete step",)]
    assert len(stepped) == len(rungs)
    assert min(stepped[:2]) > 1 - 1e-6


@pytest.mark.slow
def test_the_known_answer_of_unequal_classes_is_predicted_by_every_rung(tmp_path):
    # Inputs whose Gram matrix is a block kernel of classes of 4, 6 and 2: that of the linear network's features.
    sizes = nf.Sizes(3, (4, 6, 2), 5)
    X = np.linalg.cholesky(nf.BlockKernel(1.5, 0.9, 0.2).matrix(sizes)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", X=X, y=sizes.labels)
    data = DataConfig(name=str(tmp_path / "mine.npz"), classes=0, per_class=0)
    config = replace(CONFIG, data=data, training=replace(CONFIG.training, batch_per_class=2))
    run = finished(tmp_path / "run", config, while_training=True)
    rungs = ("block", "block-in-time", "row-block", "class-block", "matrix-block", "class-matrix", "kronecker",
             "sample", "rayleigh", "krylov-2", "residual-3", "residual-6", "tensor")  # fmt: skip
    window = compare_run(run, rungs=rungs).windows[0]
    flows = {r.name: r for r in window.rungs if not r.modifications}
    assert set(flows) == set(rungs)
    assert "no eigenspaces where classes differ in size" in flows.pop("rayleigh").refused
    # The rest of these, elsewhere than on their directions, is the three quotients, and unequal classes have more
    # eigenspaces; until the classes are learnt that adds up.
    about = {"krylov-2": 0.99, "residual-3": 0.99, "residual-6": 0.998}
    assert (
        flows["krylov-2"].score().value
        < flows["residual-3"].score().value
        < flows["residual-6"].score().value
    )
    batched = {r.name: r for r in window.rungs if "minibatch" in r.modifications}
    for name, rung in flows.items():
        assert rung.score().value > about.get(name, 0.9999), name
        assert rung.instantaneous["M"].error < 1e-3 or name == "krylov-2", name
        # With the training's own batches, each class in its proportion, nothing is left but float32.
        assert batched[name].score().value > about.get(name, 1 - 1e-9), name
    assert {r.invariant.of for r in flows.values()} >= {"E", "tr E"}
    assert flows["block"].invariant.predicted.relative_to_terms < 1e-3
    assert flows["block"].invariant.run.relative_to_terms < 0.05
    E = [row.get("invariant_norm") for row in run.metrics() if row.get("invariant_norm") is not None]
    assert len(E) == 4
    assert np.ptp(E) < 1e-2 * E[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"data.name": "digits", "data.class_sizes": (4, 3, 5), "data.probe_per_class": 3},
            "3 to 5 samples",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"training.optimiser": "adam", "training.learning_rate": 0.01},
            "trained with adam",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_another_training_than_the_theorys_is_refused_in_words(changes, words, tmp_path):
    config = changed(CONFIG, changes)
    run = finished(tmp_path / "run", config)
    document = compare_run(run)
    assert document.windows == ()
    assert words in document.refused
    for asked in (run.compared, lambda: read(run.path)):
        with pytest.raises(InputError, match=words):
            asked()
    assert run.comparison() == document


def test_the_evidence_is_the_comparison_without_its_series(linear, tmp_path, capsys):
    run, document = linear
    frontier(run.path, tmp_path, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0].lstrip("*") for line in lines} >= {*RUNGS, "early:"}
    assert any(line.startswith(" *block") for line in lines)
    kept = json.loads((tmp_path / "linear-ladder.json").read_text())
    assert kept["command"].startswith("ntkflow validate compare linear --rungs block,")
    skill = kept["windows"][0]["rungs"][0]["skill"]["M"][0]
    assert skill == pytest.approx(document.windows[0].rungs[0].score().value, rel=1e-3)
    assert not {"predicted", "skill_at", "band"} & set(kept["windows"][0]["rungs"][0])
    assert (tmp_path / "linear-ladder.json").stat().st_size < (
        run.path / "comparison.json"
    ).stat().st_size / 3


def test_there_is_no_frontier_without_a_comparison(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="validate compare"):
        frontier(run.path, None, quiet=False)
