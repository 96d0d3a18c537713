import functools
import json
import tomllib
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.integrate.task import Task
from ntkflow.runs import ensembles, files
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.ensembles import common_grid
from ntkflow.runs.saved import ensembles as saved
from ntkflow.runs.simulate import prepare, run

SMALL = SimulateConfig(classes=3, per_class=4, features=5, t_end=2.0, rtol=1e-6)
ARGUMENTS = ["-C", "3", "-m", "4", "-n", "5", "--t-end", "2", "--rtol", "1e-6"]


class Inline(Executor):
    """Runs what is submitted at once and remembers it."""

    def __init__(self, workers=16):
        self.submitted, self._max_workers = [], workers

    def submit(self, function, /, *arguments, **options):
        self.submitted.append(function)
        future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def command(*arguments, expect=0):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    assert (caught.value.code or 0) == expect


def test_members_are_single_runs_within_the_tolerance_in_spawned_processes():
    found = nf.ensemble(SMALL, [5, 2, 3])
    for k, seed in enumerate((5, 2, 3)):
        problem = prepare(SimulateConfig(**{**vars(SMALL), "seed": seed})).problem
        alone = nf.solve(problem, save_at=found.times, rtol=1e-6, engine="structured")
        assert (found.members[k].seed, found.members[k].engine) == (seed, "lockstep")
        assert found.members[k].steps == pytest.approx(alone.stats.steps, abs=2)
        for name, values in alone.series.items():
            np.testing.assert_allclose(found.series[name][k], values, rtol=2e-6, atol=1e-6)
    assert np.any(found.series["loss"][0] != found.series["loss"][1])


def test_two_members_are_solved_one_after_another():
    found = nf.ensemble(SMALL, [5, 2], Inline())
    problem = prepare(SimulateConfig(**{**vars(SMALL), "seed": 2})).problem
    alone = nf.solve(problem, save_at=found.times, rtol=1e-6)
    assert found.members[1].engine == alone.stats.engine != "lockstep"
    np.testing.assert_array_equal(found.series["loss"][1], alone.series["loss"])


def test_generic_states_go_in_lockstep_where_there_are_many(monkeypatch):
    monkeypatch.setattr("ntkflow.integrate.together.many.FEW_GENERIC", 5)
    monkeypatch.setattr("ntkflow.integrate.together.many.GENERIC_TOGETHER", 4)
    wide = replace(SMALL, init="gaussian", features=21, per_class=12)
    many, few = Inline(), Inline()
    found, alone = nf.ensemble(wide, range(5), many), nf.ensemble(wide, range(4), few)
    assert {member.engine for member in found.members} == {"lockstep"}
    assert {member.engine for member in alone.members} == {"structured"}
    # Not one for each of the workers: it would take longer than to solve them.
    assert (len(many.submitted), len(few.submitted)) == (2, 4)
    for name, values in alone.series.items():
        np.testing.assert_allclose(found.series[name][:4], values, rtol=1e-5, atol=1e-5)


def test_a_member_has_the_same_digits_whoever_the_others_are():
    together, apart = Inline(2), Inline()
    whole = nf.ensemble(SMALL, range(5), together)
    one_by_one = nf.ensemble(SMALL, reversed(range(5)), apart)
    assert (len(together.submitted), len(apart.submitted)) == (2, 5)
    for name, values in whole.series.items():
        np.testing.assert_array_equal(values, one_by_one.series[name][::-1])


@pytest.mark.parametrize("engine", ["structured", "DOP853"])
def test_any_executor_and_engine_give_members_in_the_order_of_the_seeds(engine):
    inline = Inline()
    plain = nf.ensemble(SMALL, range(7), inline, engine=engine)
    assert len(inline.submitted) == 7
    with ThreadPoolExecutor(1) as pool:
        pooled = nf.ensemble(SMALL, range(7), pool, engine=engine)
    assert [member.seed for member in pooled.members] == list(range(7))
    assert {member.engine for member in pooled.members} == {engine}
    np.testing.assert_array_equal(plain.series["NC1"], pooled.series["NC1"])


def test_problems_need_no_seeds_and_may_differ():
    problems = [prepare(SimulateConfig(**{**vars(SMALL), "kappa_c": k})).problem for k in (0.2, 0.6)]
    found = nf.ensemble(problems, executor=Inline(), times=[0.0, 0.1, 1.0], engine="DOP853")
    assert [member.seed for member in found.members] == [0, 1]
    for k, problem in enumerate(problems):
        alone = nf.solve(problem, save_at=[0.0, 0.1, 1.0], engine="DOP853", rtol=1e-6)
        np.testing.assert_array_equal(found.series["loss"][k], alone.series["loss"])


def test_members_are_looser_than_single_runs_unless_told_otherwise():
    plain = SimulateConfig(**{**vars(SMALL), "rtol": None})
    assert nf.ensemble(plain, [0], Inline()).about["rtol"] == 1e-6
    assert nf.ensemble(plain, [0], Inline(), rtol=1e-7).about["rtol"] == 1e-7
    assert prepare(plain).config.rtol == 1e-8
    assert prepare(SimulateConfig(**{**vars(plain), "ensemble": 2})).config.rtol == 1e-6


def test_the_common_grid_reaches_the_end_time_and_begins_before_anything_moves():
    grid = common_grid(SMALL)
    assert grid[0] == 0
    assert grid[-1] == 2.0
    assert np.all(np.diff(grid) > 0)
    series = nf.ensemble(SMALL, [0], Inline(), times=grid).series
    assert abs(series["loss"][0, 1] / series["loss"][0, 0] - 1) < 0.05


def test_quantiles_leave_out_what_is_missing():
    series = {"a": np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [3.0, 7.0, np.nan]])}
    found = ensembles.Ensemble(np.arange(3.0), series, ())
    low, middle, high = found.quantiles("a", (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(low, [1, 5, np.nan])
    np.testing.assert_array_equal(middle, [2, 6, np.nan])
    np.testing.assert_array_equal(high, [3, 7, np.nan])
    with pytest.raises(nf.InputError, match="is not a series"):
        found.quantiles("b")
    with pytest.raises(nf.InputError, match="must lie in 0"):
        found.quantiles("a", (2.0,))


def test_a_member_that_fails_is_kept_with_its_reason(monkeypatch):
    short = functools.partial(Task.of, max_steps=5)
    monkeypatch.setattr(ensembles, "Task", SimpleNamespace(of=short))
    found = nf.ensemble(SMALL, [0, 1], Inline())
    assert len(found.failed) == 2
    assert np.isfinite(found.series["loss"][0, 0])
    assert np.isnan(found.series["loss"][0, -1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nf.ensemble(SMALL), "seeds = None"),
        (lambda: nf.ensemble(SMALL, []), "no members"),
        (lambda: nf.ensemble(SMALL, [1, 1]), "a seed twice"),
        (lambda: nf.ensemble([prepare(SMALL).problem], [1, 2]), "one for each of 1 problems"),
        (lambda: nf.ensemble(SimulateConfig(step_size=0.1), [1]), "has no ensemble"),
        (lambda: nf.ensemble(SMALL, [1], Inline(), times=[1.0, 0.5]), "must increase"),
        (lambda: nf.ensemble(SMALL, [1], Inline(), engine="magic"), "engine = 'magic'"),
        (lambda: SimulateConfig(ensemble=0), "--ensemble = 0"),
        (lambda: SimulateConfig(ensemble=2, step_size=0.1), "--step-size"),
        (lambda: run(prepare(SimulateConfig(ensemble=2))), "use ntkflow.ensemble"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(nf.InputError, match=message):
        call()


def test_the_command_writes_every_member_and_can_be_replayed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ensembles, "local_processes", lambda: ThreadPoolExecutor(1))
    out, again = tmp_path / "run", tmp_path / "again"
    command("simulate", *ARGUMENTS, "--ensemble", 3, "--seed", 4, "--out", out)
    assert "3 members, seeds 4 to 6" in capsys.readouterr().out
    arrays, header = files.read_arrays(out / "ensemble.npz")
    assert arrays["seed"].tolist() == [4, 5, 6]
    assert all(arrays[name].shape == (3, len(arrays["t"])) for name in header["series"])
    summary = json.loads((out / "summary.json").read_text())
    np.testing.assert_allclose(
        summary["quantiles"]["NC1"]["final"], np.quantile(arrays["NC1"][:, -1], [0.05, 0.5, 0.95])
    )
    kept = saved.read_summary(out)
    assert json.loads(files.dump_json(document(kept))) == summary
    assert list(document(kept)) == list(summary)
    assert summary["ensemble"]["failed"] == {}
    assert summary["drift"] <= 1e-6
    assert tomllib.loads((out / "config.toml").read_text())["run"]["ensemble"] == 3
    assert (out / "figures" / "ensemble.png").read_bytes()[:4] == b"\x89PNG"

    command("simulate", "--config", out / "config.toml", "--no-figures", "--json", "--out", again)
    capsys.readouterr()
    replayed, _ = files.read_arrays(again / "ensemble.npz")
    np.testing.assert_array_equal(replayed["loss"], arrays["loss"])
    assert not (again / "figures").exists()

    command("show", out)
    assert "3 members" in capsys.readouterr().out
    command("plot", out, "--format", "svg")
    assert (out / "figures" / "ensemble.svg").is_file()
    command("plot", out, "--format", "gif", expect=2)


def test_problems_of_several_sizes_are_shown_without_any(tmp_path, capsys):
    problems = [prepare(replace(SMALL, features=n, t_end=0.1)).problem for n in (4, 5)]
    nf.ensemble(problems, executor=Inline(), times=[0.0, 0.1]).save(tmp_path / "run")
    command("show", tmp_path / "run")
    assert capsys.readouterr().out.startswith("2 members, seeds 0 to 1")


def test_bands_of_the_figure_are_the_quantiles():
    from ntkflow.runs.pictures.ensemble_figure import ensemble_figure

    t = np.array([0.0, 0.1, 1.0])
    values = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 4.0], [1.0, 3.0, 9.0]])
    figure = ensemble_figure(t, {"NC1": values}, "three")
    axes = next(axes for axes in figure.axes if axes.get_title().startswith("NC1"))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2.0, 4.0])
    low, high = np.quantile(values[:, 2], [0.05, 0.95])
    edges = axes.collections[0].get_paths()[0].vertices
    assert edges[:, 1].max() == pytest.approx(high)
    assert edges[edges[:, 0] == 1.0, 1].min() == pytest.approx(low)
    empty = next(axes for axes in figure.axes if axes.get_title().startswith("NC2"))
    assert empty.texts


@pytest.mark.slow
def test_where_E_moves_compiled_members_are_followed_in_this_process():
    sizes = nf.Sizes(3, 4, 2)
    problems = [
        nf.Problem(sizes, nf.BlockKernel(1.0, 0.5, 0.1), nf.initial.make("gaussian", sizes, seed=k), decay=nf.Decay(0.3, 0.1))
        for k in range(3)
    ]  # fmt: skip
    inline = Inline()
    found = nf.ensemble(problems, executor=inline, times=[0.0, 0.5, 1.0], engine="jax")
    assert not inline.submitted
    assert {member.engine for member in found.members} == {"jax"}
    plain = nf.ensemble(problems, executor=inline, times=[0.0, 0.5, 1.0])
    for name, values in plain.series.items():
        np.testing.assert_allclose(found.series[name], values, rtol=1e-5, atol=1e-7)


def test_members_of_linear_layers_go_together():
    config = SimulateConfig(classes=2, per_class=2, widths=(3, 3), t_end=0.5, rtol=1e-6)
    inline, times = Inline(workers=1), [0.0, 0.1, 0.5]
    found = nf.ensemble(config, range(3), inline, times=times)
    assert len(inline.submitted) == 1
    one_by_one = nf.ensemble(config, range(2), Inline(workers=1), times=times)
    for name, values in one_by_one.series.items():
        # NC2 and the like of a hundredth are differences; gaps are rounding.
        np.testing.assert_allclose(found.series[name][:2], values, rtol=1e-5, atol=1e-6)
    assert [member.steps for member in found.members[:2]] == [member.steps for member in one_by_one.members]
