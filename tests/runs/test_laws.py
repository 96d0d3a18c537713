import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.cli.printed.table import verdict
from ntkflow.integrate.descent import descend
from ntkflow.integrate.descent.solution import as_solution
from ntkflow.integrate.motion import Motion
from ntkflow.runs.agreement import Agreement, compare, warnings_of
from ntkflow.runs.laws import _RISES, EXACT, LEADING, LIMIT, laws, look_at_spread, slack, step_laws
from ntkflow.runs.rundir import load_run
from ntkflow.runs.summary import AgreementRow
from tests import strategies
from tests.cli.test_simulate import run

SIZES, KERNEL = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1)
STATE = nf.initial.make("gaussian", SIZES, KERNEL, 1)
OPEN = nf.Stop(None, None, None)


def lines(solution):
    return {line.quantity: line for line in compare(solution, None)}


@given(st.floats(0) | st.just(math.nan), st.sampled_from([EXACT, LEADING, LIMIT]), st.booleans())
def test_no_number_of_digits_is_negative_and_no_failure_is_silent(error, order, bound):
    line = Agreement("it", error, "so", bound, order, 1e-8 if order == EXACT else None)
    assert 0 <= line.digits <= 16
    assert line.failed == (order == EXACT and not error <= 1e-8)
    assert bool(warnings_of([line])) == line.failed
    words = verdict(AgreementRow.of(line))
    assert "agrees to -" not in words
    assert ("FAILS" in words or "BROKEN" in words) == line.failed


def test_nesterov_is_exact_and_its_leading_order_says_what_it_neglects():
    # A step of 0.01 with momentum 0.9 is no small one: the leading order misses more than the motion itself.
    solution = as_solution(descend(nf.Problem(SIZES, KERNEL, STATE), 400, 0.01, 0.9, True), 0.0)
    found = lines(solution)
    exact, leading = found["motion of E"], found["motion of E, leading order"]
    assert exact.order == EXACT
    assert exact.digits > 12
    assert not exact.failed
    assert leading.order == LEADING
    assert leading.error == leading.neglected == solution.law.neglected > solution.law.motion > 1e-2
    assert leading.tolerance is None
    assert "off by" in verdict(AgreementRow.of(leading))
    assert "leading order" in verdict(AgreementRow.of(leading))


def test_plain_steps_have_the_one_exact_law():
    solution = as_solution(descend(nf.Problem(SIZES, KERNEL, STATE), 20, 0.01), 0.0)
    assert set(lines(solution)) == {"motion of E"}
    assert [law.order for law in step_laws(False)] == [EXACT]
    assert [law.order for law in step_laws(True)] == [EXACT, LEADING]


@pytest.mark.parametrize("decay", [nf.Decay(), nf.Decay(0.1, 0.3), nf.Decay.equal(0.2)], ids=str)
def test_every_law_of_the_flow_is_exact_and_kept_by_a_right_run(decay):
    problem = nf.Problem(SIZES, KERNEL, STATE, decay=decay)
    solution = nf.solve(problem, t_end=3.0)
    assert all(law.order == EXACT for law in laws(problem))
    of_laws = [line for line in compare(solution, None) if line.order == EXACT]
    assert {law.quantity for law in laws(problem)} <= {line.quantity for line in of_laws}
    assert warnings_of(of_laws) == []
    if decay.moves_E:
        assert "E moved by 0." in lines(solution)["motion of E"].sentence


def test_the_leading_order_of_the_drift_states_about_what_it_neglects():
    problem = nf.Problem(
        SIZES, KERNEL, nf.initial.make("balanced-contrast", SIZES, KERNEL), decay=nf.Decay(W=0.01)
    )
    line = lines(nf.solve(problem, t_end=40.0))["drift of W W^T"]
    assert line.order == LEADING
    assert 0.2 < line.error / line.neglected < 5


OPTIONS = ["-C", 3, "-m", 2, "-n", 4, "--init", "gaussian", "--t-end", 0.3, "--no-figures", "--decay-w", 0.5]


def test_a_broken_law_is_said_in_the_terminal_and_the_summary_and_costs_no_data(
    tmp_path, capsys, monkeypatch
):
    right = Motion.observe

    def disturbed(self, step):
        # E jumps between two steps, as it would under a decay that nobody knows of.
        right(self, step)
        self._integral += 1e-3

    monkeypatch.setattr(Motion, "observe", disturbed)
    run("simulate", *OPTIONS, "--out", tmp_path / "r")
    text = " ".join(capsys.readouterr().out.split())
    assert "WARNING: motion of E: an exact law fails" in text
    assert "FAILS, off by" in text
    summary = load_run(tmp_path / "r").summary
    assert len(summary.warnings) == 1
    assert summary.invariant.law_error > summary.invariant.law_tolerance
    assert np.isfinite(summary.loss.final)
    run("simulate", *OPTIONS, "--out", tmp_path / "s", "--json")
    captured = capsys.readouterr()
    assert json.loads(captured.out)["warnings"]
    assert "ntkflow: warning: motion of E" in captured.err


def test_a_right_run_warns_of_nothing_and_formulas_keep_their_brackets(tmp_path, capsys):
    steps = ["--step-size", 0.01, "--steps", 5, "--momentum", 0.5]
    run("simulate", *OPTIONS[:8], *steps, "--no-figures", "--out", tmp_path / "r")
    text = " ".join(capsys.readouterr().out.split())
    assert "WARNING" not in text
    assert "eta^2 [q(v) + 2 sum_j" in text
    summary = load_run(tmp_path / "r").summary
    assert summary.warnings == ()
    assert [law.order for law in summary.predicted.laws] == [EXACT, LEADING]
    assert math.isfinite(summary.invariant.law_neglected)


def test_a_rise_of_V_is_told_against_its_start_and_the_size_of_b():
    V = np.array([1.0, 0.4, 0.6, 0.5])
    (law,) = (law for law in laws(nf.Problem(SIZES, KERNEL, STATE)) if law.quantity == "V of biases and mean")
    solution = SimpleNamespace(series={"V": V}, problem=SimpleNamespace(sizes=SIZES))
    assert law.error(solution) == pytest.approx(0.2 / (1 + 1 / 3), rel=1e-12)


@pytest.mark.parametrize(("rtol", "allowed"), [(1e-6, 1e-5), (1e-12, 1e-9), (math.nan, 1e-9)])
def test_a_law_of_saved_states_may_be_off_by_ten_rtol(rtol, allowed):
    assert slack(SimpleNamespace(stats=SimpleNamespace(rtol=rtol))) == pytest.approx(allowed, rel=1e-12)


def test_an_own_rung_on_features_is_not_said_to_keep_all_of_E():
    class Own(nf.KroneckerKernel):
        rung = "mine"

    own = Own(KERNEL, np.diag(np.arange(1.0, SIZES.n + 1)))
    law = laws(nf.Problem(SIZES, own, STATE))[0]
    assert law.sentence.startswith(f"{SIZES.n} numbers are constant: tr(x E) for the x that commute")
    whole = laws(nf.Problem(SIZES, KERNEL, STATE))[0]
    assert whole.sentence.startswith(f"the {SIZES.n * (SIZES.n + 1) // 2} entries of the symmetric matrix E")


@given(
    st.lists(st.tuples(strategies.kernels(), st.integers(0, 9)), min_size=1, max_size=3), st.integers(1, 3)
)
@strategies.costly(5)
def test_the_spread_of_many_runs_is_that_of_each_whatever_the_others(starts, m):
    sizes, small = nf.Sizes(3, m, 5), nf.Sizes(2, 2, 3)
    problems = [nf.Problem(sizes, k, nf.initial.make("gaussian", sizes, k, seed)) for k, seed in starts]
    # Another shape beside them, and a loss for which there is no such law.
    problems.append(nf.Problem(small, KERNEL, nf.initial.make("gaussian", small, KERNEL)))
    problems.append(nf.Problem(SIZES, KERNEL, STATE, loss=nf.CrossEntropy()))
    runs = [nf.solve(p, t_end=0.02, stop=OPEN, engine="DOP853") for p in problems]
    look_at_spread(runs)
    known = {one: _RISES.pop(one) for one in runs if one in _RISES}
    assert set(known) == set(runs[:-1] if m > 1 else [runs[-2]])
    for one, rise in known.items():
        look_at_spread([one])
        assert _RISES.pop(one) == rise
        # Asked for by itself.
        assert lines(one)["spread within classes"].error == pytest.approx(max(0.0, rise), rel=1e-9, abs=1e-14)
        assert _RISES[one] == pytest.approx(rise, rel=1e-9, abs=1e-14)


def test_a_spread_that_rises_is_seen_by_many_and_by_one():
    start = nf.solve(nf.Problem(SIZES, KERNEL, STATE), t_end=0.1, stop=OPEN, engine="DOP853")
    back = replace(start, packed=start.packed[::-1].copy())
    look_at_spread([back])
    many = _RISES.pop(back)
    assert many > 1e-3
    assert lines(back)["spread within classes"].error >= many
    assert _RISES[back] == pytest.approx(many)
