"""Runs of layers together: the runs of `solve_layers`, and no digit of one depends on another."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers import lockstep
from ntkflow.integrate.layers.many import LayersTask, solve_layers_many
from ntkflow.integrate.layers.solve import begin
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.problem.layers import initial

SIZES = nf.Sizes(3, 3, 5)
TIMES = [0.0, 0.1, 0.35, 0.5]
RTOL = 1e-6


def problem(seed=0, widths=(4, 5), decay=None, biases=False, init="gaussian", kappa_c=0.4, **options):
    kernel = nf.BlockKernel(1.0, kappa_c, 0.15)
    sizes = nf.Sizes(3, 3, widths[-1])
    state = initial.make(init, sizes, widths, kernel, seed, options.pop("scale", 0.8))
    if biases:
        rng = np.random.default_rng(seed)
        c = tuple(0.2 * rng.standard_normal(n) for n in widths)
        state = nf.LayeredState(state.H, state.V, state.W, state.b, c)
    return nf.LayeredProblem(sizes, kernel, state, decay=decay or nf.LayerDecay(), **options)


def solved(tasks):
    found = {}
    solve_layers_many(tasks, lambda k, solution: found.__setitem__(k, solution))
    return [found[k] for k in range(len(tasks))]


MIXED = [
    problem(0),
    problem(1, decay=nf.LayerDecay(0.1, 0.1)),
    problem(2, decay=nf.LayerDecay((0.1, 0.3), 0.05, 0.2), kappa_c=0.2),
    problem(3, biases=True),
    problem(4, biases=True, decay=nf.LayerDecay(0.2, 0.1, 0.05, 0.3)),
    problem(5, widths=(5,)),
    problem(6, widths=(4, 6, 5)),
    problem(7, widths=(14, 12), init="balanced"),
    problem(8, loss=nf.CrossEntropy()),
]


def test_the_field_of_many_is_the_field_of_each():
    for biased in (False, True):
        decay = nf.LayerDecay((0.1, 0.3, 0.2), 0.05, 0.2, 0.4 if biased else 0.0)
        flows = [
            LayeredFlow.build(problem(k, (4, 6, 5), decay if k else None, biased, kappa_c=0.1 + 0.1 * k))
            for k in range(3)
        ]
        y = np.random.default_rng(0).standard_normal((3, len(flows[0].start)))
        found = lockstep.Systems(flows).field(y)
        for flow, row, own in zip(flows, found, y, strict=True):
            np.testing.assert_allclose(row, flow.field(0.0, own), rtol=1e-12, atol=1e-12)


def test_each_is_the_run_alone():
    for p, found in zip(
        MIXED, solved([LayersTask.of(p, save_at=TIMES, rtol=RTOL) for p in MIXED]), strict=True
    ):
        alone = nf.solve_layers(p, save_at=TIMES, rtol=RTOL)
        np.testing.assert_array_equal(found.times, alone.times)
        assert found.reason is alone.reason
        # Both go by the steps of one engine, one layer of features by those of another.
        if p.L > 1:
            assert found.stats.steps == alone.stats.steps
            assert found.stats.because == alone.stats.because
        close = 1e-9 if p.L > 1 else RTOL
        np.testing.assert_allclose(
            found.packed, alone.packed, rtol=0, atol=close * np.abs(alone.packed).max()
        )
        assert found.gaps.max() < RTOL


def test_no_digit_depends_on_companions_or_slots():
    problems = [problem(k, decay=nf.LayerDecay(0.05 * k, 0.05 * k)) for k in range(3)]
    marches = [begin(p, 0.5, Stop(), None, RTOL) for p in problems]
    few = {id(march): march.solution(reason) for march, reason in lockstep.together(marches, slots=2)}
    for p, march in zip(problems, marches, strict=True):
        (alone,) = solved([LayersTask.of(p, t_end=0.5, rtol=RTOL)])
        np.testing.assert_array_equal(few[id(march)].packed, alone.packed)
        np.testing.assert_array_equal(few[id(march)].times, alone.times)


def test_targets_and_failures_end_each_at_its_own_time():
    targets = [Stop(loss=2.0), Stop(loss=0.5), Stop(nc1=0.068), Stop(stationarity=0.05)]
    found = solved([LayersTask.of(problem(1), t_end=10.0, stop=stop, rtol=RTOL) for stop in targets])
    for stop, one in zip(targets, found, strict=True):
        alone = nf.solve_layers(problem(1), t_end=10.0, stop=stop, rtol=RTOL)
        assert one.reason is alone.reason
        assert one.times[-1] == pytest.approx(alone.times[-1], rel=1e-3)
    assert [one.reason for one in found] == [Reason.LOSS, Reason.LOSS, Reason.NC1, Reason.STATIONARY]


def test_a_step_that_is_no_number_is_tried_shorter_until_there_is_none():
    member = lockstep._Member(begin(problem(0), 0.5, Stop(), None, RTOL))
    assert not member.judge(0.1, np.nan)
    assert member.h == pytest.approx(0.1 * lockstep.LEAST)
    assert not member.judge(0.1, 2.0)
    assert member.h == pytest.approx(0.1 * lockstep.SAFETY * 2 ** (-1 / 8))
    assert member.reason is None
    member.h = 0.0
    member.length()
    assert member.reason is Reason.STEP_FAILED
    # After a step that was refused the next one is no longer than it.
    assert member.judge(0.1, 1e-9)
    assert member.h == 0.1


def test_what_is_not_faster_together_is_not_taken():
    assert LayersTask.of(problem()).joins
    assert LayersTask.of(problem(widths=(5,))).joins
    assert not LayersTask.of(problem(), engine="LSODA").joins
    assert not LayersTask.of(problem(), form="raw").joins
    assert not LayersTask.of(problem(loss=nf.CrossEntropy())).joins


def test_of_one_rate_the_law_needs_no_quadrature():
    from ntkflow.integrate.layers.law import LawOfLayers

    flow = LayeredFlow.build(problem(0, decay=nf.LayerDecay(0.3, 0.3)))
    closed, summed = LawOfLayers(flow), LawOfLayers(flow)
    assert closed.one == 0.3
    found = nf.solve_layers(
        flow.problem, save_at=[0.0, *(0.01 + 0.005 * lockstep.np.polynomial.legendre.leggauss(5)[0]), 0.02]
    )
    inside = dict(zip(found.times, found.packed, strict=True))
    summed.advance(0.0, 0.02, lambda t: inside[min(inside, key=lambda s: abs(s - t))])
    closed.at(0.02)
    for Q, by in zip(closed.expected, summed.expected, strict=True):
        np.testing.assert_allclose(Q, by, atol=1e-6)
    assert LawOfLayers(LayeredFlow.build(problem(0, decay=nf.LayerDecay(0.3, 0.1)))).one is None
    assert LawOfLayers(LayeredFlow.build(problem(0))).one == 0.0
