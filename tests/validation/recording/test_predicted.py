"""Predictions on a training's clock: the known answer, the band, and inputs that were not trained on."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.kernels import measure
from ntkflow_validation.metrics.compare import compare as scored
from ntkflow_validation.metrics.skill import skill
from ntkflow_validation.recording import Recorder, predict

import ntkflow as nf
from ntkflow.errors import InputError
from tests.validation.recording.loops import CLOCK, C, N, Y, inputs, loop, n

STEPS = [0, 5, 10, 20, 30]
ORDER = np.argsort(Y, kind="stable")


@pytest.fixture(scope="module")
def walk():
    """The flow itself, in steps of a hundredth."""
    return {step: (H, W, b, V) for step, H, W, b, V in loop(parts=50) if step in STEPS}


@pytest.fixture(scope="module")
def measured(walk):
    _, W, b, V = walk[0]
    return measure(lambda p, x: x @ p, V.astype(np.float32), inputs().astype(np.float32), Y, head=(W, b))


@pytest.fixture(scope="module")
def found(measured):
    return predict(measured, None, CLOCK, steps=STEPS, rung="sample")


def states(walk):
    return [(step, nf.State(H[ORDER].T.copy(), W, b)) for step, (H, W, b, _) in walk.items()]


def test_the_linear_network_is_predicted(found, walk):
    beside = found.against(states(walk))
    assert min(beside.skill.values()) > 0.9999
    assert beside.steps == STEPS
    np.testing.assert_allclose(found.steps, STEPS, atol=1e-9)
    np.testing.assert_allclose(found.times, CLOCK.time(STEPS))
    assert len(beside.figure().axes) >= 8
    for figure in (found.figure(panes=["NC1"]), nf.figure(found, panes=["NC1"])):
        np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), found.times[1:])
    assert len(nf.figure(found, found.solution, panes=["NC1"]).axes[0].lines) == 2
    assert len(nf.figure(beside, panes=["NC1"]).axes) == len(beside.figure(panes=["NC1"]).axes)


def test_a_tensor_that_is_singular_but_for_rounding_is_predicted_from(walk):
    _, W, b, V = walk[0]
    X = inputs().astype(np.float32)
    known = measure(lambda p, x: x @ p, V.astype(np.float32), X, Y, head=(W, b), quantities=("tensor",))
    # Seven inputs, twelve samples: most eigenvalues are rounding, some of it below zero.
    assert np.linalg.eigvalsh(known.full.values.reshape(n * N, n * N))[0] < 1e-7
    told = predict(known, None, CLOCK, steps=STEPS, rung="tensor").against(states(walk))
    assert min(told.skill.values()) > 0.9999


def test_a_head_without_a_bias_is_predicted_without_one():
    walk = {step: (H, W, b, V) for step, H, W, b, V in loop(parts=50, biased=False) if step in STEPS}
    _, W, _, V = walk[0]
    measured = measure(
        lambda p, x: x @ p, V.astype(np.float32), inputs().astype(np.float32), Y, head=(W, None)
    )
    told = predict(measured, None, CLOCK, steps=STEPS, rung="sample")
    assert not told.problem.train_bias
    assert min(told.against(states(walk)).skill.values()) > 0.9999


def test_what_is_observed_may_begin_later_and_be_a_run(measured, walk, tmp_path):
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, snapshots=1)
    for step, (H, W, b, _) in walk.items():
        recorder(step, H, W, b)
    H, W, b, _ = walk[10]
    found = predict(measured, nf.State(H.T, W, b), CLOCK, steps=30, start=10, rung="sample")
    assert min(found.against(recorder).skill.values()) > 0.9999
    with pytest.raises(InputError, match="must have one at step 10"):
        found.against([pair for pair in states(walk) if pair[0] > 10])


def test_a_run_without_flow_time_is_laid_beside_by_its_states_alone(found, walk, tmp_path):
    with Recorder(tmp_path / "run", Y, clock=None) as recorder:
        for step, (H, W, b, _) in walk.items():
            recorder(step, H, W, b)
    for training in (recorder, tmp_path / "run", recorder.run):
        with pytest.raises(InputError, match=r"^training = .*no flow time.*give pairs \(step, state\)"):
            found.against(training)
    run = recorder.run
    beside = found.against([(step, run.read_snapshot(step).state) for step in run.steps()])
    assert min(beside.skill.values()) > 0.999


def test_what_is_laid_beside_is_what_was_asked_for(measured, walk):
    seen = states(walk)

    def beside(steps):
        return predict(measured, None, CLOCK, steps=steps, rung="sample").against(seen)

    assert beside([0, 3, 5, 20]).steps == [0, 5, 20]
    assert beside(12).steps == [0, 5, 10]
    assert beside(None).steps == STEPS
    assert beside([0, 20]).skill == pytest.approx(
        predict(measured, None, CLOCK, steps=[0, 20], rung="sample").against(seen[::3]).skill
    )
    with pytest.raises(InputError, match=r"holds 1 of the observed steps \[0, 5, 10"):
        beside([0, 3])


@pytest.mark.parametrize(
    ("clock", "factor", "cause"),
    [
        ({"loss": "squared", "reduction": "sum"}, 0.5, "the 1/2 in the loss: it is there"),
        ({"reduction": "batch-mean"}, 12, "the mean over samples: the loss is a sum"),
    ],
    ids=["1/2", "sum"],
)
def test_a_wrong_clock_is_hinted_at_and_a_right_one_not(measured, walk, found, clock, factor, cause):
    seen = states(walk)
    assert found.against(seen).clock is None
    wrong = nf.Clock(0.002, samples=N, classes=C, **clock)
    beside = predict(measured, None, wrong, steps=STEPS, rung="sample").against(seen)
    assert f"multiplied by {factor:g} " in beside.clock
    assert cause in beside.clock
    assert beside.clock in repr(beside)


def test_a_kernel_that_is_wrong_is_not_the_clocks_fault(measured, walk):
    assert predict(measured, None, CLOCK, steps=STEPS, rung="block").against(states(walk)).clock is None


def test_logits_of_unseen_inputs_follow_from_the_cross_kernel(found, walk):
    new = inputs(seed=5, count=4)
    cross = new @ inputs().T
    told = found.unseen(cross, new @ walk[0][3])
    seen = np.stack([new @ V @ W.T + b for _, W, b, V in walk.values()])
    assert told.shape == (len(STEPS), 4, C)
    np.testing.assert_allclose(told, seen, atol=2e-3 * np.abs(seen[-1] - seen[0]).max())


def test_training_inputs_are_no_exception(found):
    start = found.state(0)
    # Samples are given in the order that was measured.
    back = np.argsort(ORDER)
    told = found.unseen((inputs() @ inputs().T).astype(np.float32), start.H[:, back].T)
    for i in range(len(STEPS)):
        np.testing.assert_allclose(told[i], found.state(i).logits[:, back].T, atol=1e-5)


def test_decay_pulls_unseen_inputs_too(measured, walk):
    clock = nf.Clock(0.002, "half-squared", "sum", samples=N, classes=C, weight_decay=0.5)
    found = predict(measured, None, clock, steps=STEPS, rung="sample")
    np.testing.assert_allclose(found.problem.decay.H, 0.5)
    still = found.unseen(np.zeros((2, N)), np.ones((2, n)))
    for i, t in enumerate(found.solution.times):
        state = found.state(i)
        shrunk = np.exp(-0.5 * t) * state.W.sum(axis=1) + state.b
        np.testing.assert_allclose(still[i], np.stack([shrunk, shrunk]), rtol=1e-6)


def test_unseen_inputs_that_do_not_follow_are_refused(found, measured):
    with pytest.raises(InputError, match="one row per input"):
        found.unseen(np.ones((2, N)), np.ones((3, n)))
    # No inputs have this kernel with the training's: it is not zero where theirs is.
    with pytest.raises(InputError, match="not singular"):
        found.unseen(np.random.default_rng(0).normal(size=(2, N)), np.ones((2, n)))


@pytest.fixture(scope="module")
def part():
    """Three of the four samples of each class: the constants have standard errors."""
    *_, W, b, V = next(loop(0))
    X = inputs().astype(np.float32) + np.eye(C)[Y] @ np.ones((C, inputs().shape[1])).astype(np.float32) * 0.4
    return measure(
        lambda p, x: x @ p, V.astype(np.float32), X.astype(np.float32), Y, head=(W, b), per_class=3
    )


def test_the_band_is_that_of_the_standard_errors(part):
    clock = nf.Clock(0.002, "half-squared", "sum", samples=N, classes=C)
    found = predict(part, None, clock, steps=[0, 10, 20], members=4)
    assert "4 draws" in repr(found)
    low, high = found.band["loss"]
    assert low[0] == pytest.approx(high[0])
    assert np.all(low[1:] < found.series["loss"][1:])
    assert np.all(found.series["loss"][1:] < high[1:])
    again = predict(part, None, clock, steps=[0, 10, 20], members=4)
    np.testing.assert_array_equal(again.band["loss"][0], low)


@pytest.mark.slow
def test_the_band_covers_what_the_constants_of_all_samples_foretell():
    from ntkflow_validation.recording.problems import _probe

    sizes, steps = (4, 12), [0, 10, 50, 200]
    y = np.repeat(np.arange(sizes[0]), sizes[1])
    clock = nf.Clock(0.001, "half-squared", "sum", samples=len(y), classes=sizes[0])
    away = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        X = (rng.normal(size=(4, 10))[y] + 0.5 * rng.normal(size=(len(y), 10))).astype(np.float32)
        V, head = rng.normal(size=(10, 6)).astype(np.float32) / 3, (rng.normal(size=(4, 6)) / 3, np.zeros(4))
        few = measure(lambda p, x: x @ p, V, X, y, head=head, per_class=5, seed=seed)
        every = measure(lambda p, x: x @ p, V, X, y, head=head)
        found = predict(few, None, clock, steps=steps)
        kernel = nf.BlockKernel(every.kappa_d.value, every.kappa_c.value, every.kappa_n.value)
        truth = replace(found.problem, kernel=_probe(kernel, found.problem.sizes, found.share))
        told = nf.solve(truth, save_at=found.solution.times).series
        for name in ("loss", "NC1", "NC2", "NC3"):
            low, high = (edge[1:] for edge in found.band[name])
            away.append((told[name] - found.series[name])[1:] / ((high - low) / 2))
    # In standard deviations, 1 if the errors are as large as they are said to be; of 16 draws of the samples.
    assert 0.6 < np.sqrt(np.mean(np.square(away))) < 1.4
    assert np.mean(np.abs(away) <= 2) > 0.9


def test_a_part_stands_for_all_only_by_its_constants(part):
    with pytest.raises(InputError, match="rung='block'"):
        predict(part, None, CLOCK, rung="sample")


def test_what_was_measured_exactly_has_no_band(measured, found):
    assert found.band == {}
    assert "sample kernel has no standard errors" in found.without_band
    assert "measured exactly" in predict(measured, None, CLOCK, steps=STEPS).without_band


@pytest.mark.parametrize("steps", [[5, 10], [0], [0, 5, 5], 0], ids=str)
def test_steps_increase_from_the_start(measured, steps):
    with pytest.raises(InputError):
        predict(measured, None, CLOCK, steps=steps)


def test_a_clock_is_needed_and_its_body_trained(measured):
    with pytest.raises(InputError, match="clock"):
        predict(measured)
    with pytest.raises(InputError, match="frozen"):
        predict(measured, None, nf.Clock(0.1, samples=N, classes=C, frozen="body"))


def test_a_negative_kappa_n_is_predicted_with_by_blocks_too():
    # Inputs of opposite classes, as batch normalisation makes features: kappa_n < 0.
    rng = np.random.default_rng(0)
    X = (np.array([1.0, -1.0]).repeat(4)[:, None] + 0.5 * rng.normal(size=(8, 6))).astype(np.float32)
    V, W = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(2, 3))
    measured = measure(lambda p, x: x @ p, V, X, np.repeat([0, 1], 4), head=(W, np.zeros(2)))
    assert measured.features.constants["n"].value < 0
    clock = nf.Clock(0.01, "half-squared", "sum", samples=8, classes=2)
    assert measured.broken_order is None
    for rung in ("block", "class-block"):
        found = predict(measured, None, clock, steps=20, rung=rung)
        assert found.series["loss"][-1] < found.series["loss"][0]


def test_skill_has_one_definition(walk):
    seen = [state for _, state in states(walk)]
    told = [nf.State(s.H * 1.01, s.W, s.b) for s in seen]
    sizes = nf.Sizes(C=C, m=N // C, n=n)
    assert skill(told, seen, sizes) == scored(np.arange(5.0), seen, told, sizes).pooled
    assert skill(np.stack([s.W for s in told]), np.stack([s.W for s in seen])) == 1.0
    assert np.isnan(skill([1.0, 1.0], [1.0, 1.0]))
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(InputError):
            skill(wrong, [1.0, 2.0])
    with pytest.raises(InputError, match="sizes"):
        skill(told, seen)
