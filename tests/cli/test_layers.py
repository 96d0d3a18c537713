"""`ntkflow simulate --widths`, `theory --widths` and what reads such a run."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.layers.series import describe
from ntkflow.problem.layers import initial
from ntkflow.runs import files
from ntkflow.runs.border.records import document
from ntkflow.runs.layered import summarise_layers
from ntkflow.runs.saved import layers
from ntkflow.runs.simulate import prepare
from tests.commands import exit_code

OPTIONS = ("-C", "3", "-m", "3", "--widths", "5,4", "--t-end", "3")


def run(*words):
    assert exit_code(*words) == 0


def refused(capsys, *words):
    """What a command says that refuses, in one line."""
    assert exit_code(*words) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    return said


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("layers") / "run"
    run("simulate", *OPTIONS, "--no-figures", "--quiet", "--out", directory)
    return directory


def test_a_run_holds_summary_states_and_configuration(done, capsys):
    summary = json.loads((done / "summary.json").read_text())
    assert json.loads(files.dump_json(document(layers.read_summary(done)))) == summary
    assert summary["kind"] == "layers"
    assert summary["sizes"]["widths"] == [5, 4]
    assert summary["invariants"]["gap"] < 1e-8
    assert summary["predicted"]["Q"]["zero"] is True
    solution = nf.load(done)
    assert isinstance(solution, nf.LayeredSolution)
    assert solution.problem.widths == (5, 4)
    assert solution.times[-1] == pytest.approx(3.0)
    again = nf.solve_layers(solution.problem, save_at=[3.0])
    np.testing.assert_allclose(again.final.W, solution.final.W, atol=1e-7)
    assert all(describe(name) for name in solution.series)
    run("show", done)
    said = capsys.readouterr().out
    assert "linear layers of 5, 4 features" in said
    assert "all Q_l >= 0" in " ".join(said.split())
    assert summary["outcome"] == {"outcome": "unfinished", "contrasts": 2, "agrees": None}
    assert "In the end: unfinished" in said
    run("show", done, "--json")
    assert json.loads(capsys.readouterr().out)["kind"] == "layers"
    run("plot", done, "--quiet")
    assert (done / "figures" / "run.png").stat().st_size > 10_000


def test_the_same_command_finds_it_done_and_its_configuration_replays_it(done, tmp_path, capsys):
    run("simulate", *OPTIONS, "--no-figures", "--out", done)
    assert "already complete" in capsys.readouterr().out
    assert "another t_end" in refused(capsys, "simulate", *OPTIONS[:-1], "4", "--no-figures", "--out", done)
    run("simulate", "--config", done / "config.toml", "--no-figures", "--quiet", "--out", tmp_path / "again")
    np.testing.assert_array_equal(nf.load(tmp_path / "again").packed, nf.load(done).packed)


def test_it_is_put_beside_other_runs_and_laid_over_them(done, tmp_path, capsys):
    run(
        "simulate",
        "-C",
        3,
        "-m",
        2,
        "-n",
        5,
        "--t-end",
        1,
        "--quiet",
        "--no-figures",
        "--out",
        tmp_path / "flow",
    )
    run("show", done, tmp_path / "flow")
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["kind", "linear", "layers", "simulation"]
    assert [line.split()[1] for line in said if line.startswith("loss")] == [
        f"{nf.load(done).series['loss'][-1]:.4g}"
    ]
    run("plot", done, done, tmp_path / "flow", "--panes", "NC1,p_least", "--out", tmp_path / "all", "--quiet")
    assert (tmp_path / "all.png").stat().st_size > 10_000
    figure = nf.figure([done, tmp_path / "flow"], panes=["NC1"])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), nf.load(done).series["NC1"][1:])


def test_solutions_of_any_kernel_loss_and_start_are_kept(tmp_path):
    sizes = nf.Sizes(2, (2, 3), 4)
    kernel = nf.ClassBlockKernel([1.0, 0.9], [[0.5, -0.1], [-0.1, 0.4]])
    rng = np.random.default_rng(0)
    state = nf.LayeredState(
        rng.standard_normal((3, 5)), (rng.standard_normal((4, 3)),), rng.standard_normal((2, 4)), np.zeros(2),
        (np.ones(3), np.zeros(4)),
    )  # fmt: skip
    problem = nf.LayeredProblem(
        sizes, kernel, state, nf.CrossEntropy(), nf.LayerDecay((0.1, 0.2), 0.3, 0.0, 0.1)
    )
    solution = nf.solve_layers(problem, t_end=1.0)
    nf.save(solution, tmp_path / "kept")
    back = nf.load(tmp_path / "kept")
    np.testing.assert_array_equal(back.packed, solution.packed)
    assert back.problem.decay == problem.decay
    assert back.problem.loss == problem.loss
    assert back.problem.sizes == sizes
    np.testing.assert_array_equal(back.final.c[0], solution.final.c[0])
    np.testing.assert_array_equal(back.series["loss"], solution.series["loss"])
    run("show", tmp_path / "kept")
    with pytest.raises(nf.InputError, match="exists"):
        nf.save(solution, tmp_path / "kept")


def compared(solution):
    return summarise_layers(solution).compared


def test_predictions_that_have_come_due_are_compared():
    sizes, kernel = nf.Sizes(3, 3, 4), nf.BlockKernel(1.0, 0.4, 0.15)
    state = initial.make("balanced-contrast", sizes, (5, 4), kernel, 0, 0.8)
    early = nf.solve_layers(nf.LayeredProblem(sizes, kernel, state), t_end=0.1)
    assert compared(early) == {}
    late = nf.solve_layers(nf.LayeredProblem(sizes, kernel, state))
    assert set(compared(late)) == {"W W^T", "G[1]", "G[2]", "kappa_n, W-weighted"}
    assert max(compared(late).values()) < 1e-6
    decay = nf.LayerDecay(0.1, 0.1)
    found = compared(nf.solve_layers(nf.LayeredProblem(sizes, kernel, state, decay=decay), t_end=60.0))
    assert found["share fitted under decay"] < 1e-6


def test_theory_says_what_decay_decides(capsys):
    run("theory", "-C", "3", "-m", "3", "--widths", "5,4", "--decay-layers", "0.1", "--decay-w", "0.1")
    said = capsys.readouterr().out
    assert "global minimum" in " ".join(said.split())
    run("theory", "-C", "3", "-m", "3", "--widths", "4", "--init", "gaussian", "--json")
    predicted = json.loads(capsys.readouterr().out)["predicted"]
    assert predicted["kernel"]["kappa_n"] == 0.1
    said = dict(predicted["sentences"])
    assert "not promised: Q_1" in said["NC1"]
    assert said["this run"].startswith("keeps deviations as far as")
    assert predicted["verdict"]["certain"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--features", "7"), "contradicts --widths"),
        (("--init", "relu"), "must be one of gaussian"),
        (("--decay-h", "0.1"), "--decay-layers"),
        (("--decay-layers", "0.1,0.2,0.3"), "one rate for each of 2 layers"),
        (("--step-size", "0.01", "--momentum", "0.9"), "plain gradient descent"),
        (("--depth", "2"), "--widths"),
        (("--label-smoothing", "1.0"), "0 <= epsilon < 1"),
        (("--engine", "structured"), "for layers"),
        (("--no-train-bias",), "--no-train-bias"),
        (("--widths", "1,4"), "too narrow"),
        (("--widths", "a,4"), "whole number"),
        (("--kappa-n", "-0.9"), "mu_global > 0"),
        (("--spectators", "0.1"), "no meaning for init"),
    ],
)
def test_refusals(options, words, capsys):
    assert words in refused(capsys, "simulate", *OPTIONS, *options, "--no-figures")


def test_a_state_file_starts_a_run_and_a_run_copies_it_in(done, tmp_path, capsys):
    place = tmp_path / "state.npz"
    first = nf.load(done)
    nf.save(first.final, place, sizes=first.problem.sizes, kernel=first.problem.kernel)
    options = ("--widths", "5,4", "--state", place, "--t-end", "0.2", "--no-figures", "--quiet")
    run("simulate", *options, "--out", tmp_path / "run")
    found = nf.load(tmp_path / "run")
    np.testing.assert_array_equal(found.problem.state.pack(), first.final.pack())
    assert found.problem.kernel.kappas == first.problem.kernel.kappas
    place.unlink()
    again = ("--config", tmp_path / "run" / "config.toml", "--no-figures", "--quiet")
    run("simulate", *again, "--out", tmp_path / "again")
    np.testing.assert_array_equal(nf.load(tmp_path / "again").packed, found.packed)
    copied = tmp_path / "run" / "initial_state.npz"
    assert "give --widths too" in refused(capsys, "simulate", "--state", copied)
    assert "contradicts the state file" in refused(capsys, "simulate", "--widths", "6,4", "--state", copied)
    for name, value in (("--seed", "1"), ("--spectators", "0.1")):
        assert name in refused(capsys, "simulate", "--widths", "5,4", "--state", copied, name, value)
    other = initial.make("gaussian", first.problem.sizes, (5, 4), first.problem.kernel, 5)
    nf.save(other, place, sizes=first.problem.sizes, kernel=first.problem.kernel)
    assert "another initial state" in refused(capsys, "simulate", *options, "--out", tmp_path / "run")


def test_layers_of_one_width_with_biases_in_discrete_steps(tmp_path, capsys):
    options = ("-C", "3", "-m", "3", "-n", "4", "--depth", "2", "--layer-biases", "--label-smoothing", "0.1")
    run(
        "simulate", *options, "--step-size", "0.05", "--steps", "8", "--no-figures", "--out", tmp_path / "run"
    )
    assert "8 steps" in capsys.readouterr().out
    found = nf.load(tmp_path / "run")
    assert found.discrete
    assert found.problem.widths == (4, 4)
    assert found.problem.loss == nf.Smoothed(nf.MSE(), 0.1)
    assert [c.shape for c in found.final.c] == [(4,), (4,)]
    assert np.linalg.norm(found.final.c[0]) > 0
    assert found.gaps.max() < 1e-12

    replay = ("--config", tmp_path / "run" / "config.toml", "--no-figures", "--quiet")
    run("simulate", *replay, "--out", tmp_path / "again")
    np.testing.assert_array_equal(nf.load(tmp_path / "again").packed, found.packed)


def test_what_needs_layers_is_refused_without_them(capsys):
    assert "give --widths or --depth too" in refused(
        capsys, "simulate", "--decay-layers", "0.1", "--no-figures"
    )
    with pytest.raises(nf.InputError, match=r"nf\.solve_layers"):
        prepare(nf.SimulateConfig(depth=2))


def test_members_of_an_ensemble_are_the_runs_of_their_seeds(tmp_path, capsys):
    config = nf.SimulateConfig(classes=3, per_class=3, widths=(5, 4), init="gaussian", t_end=0.5)
    times = [0.0, 0.1, 0.5]
    with ThreadPoolExecutor(1) as executor:
        found = nf.ensemble(config, (3, 4), executor, times=times)
    state = initial.make("gaussian", nf.Sizes(3, 3, 4), (5, 4), nf.BlockKernel(1.0, 0.5, 0.1), 4)
    problem = nf.LayeredProblem(nf.Sizes(3, 3, 4), nf.BlockKernel(1.0, 0.5, 0.1), state)
    alone = nf.solve_layers(problem, save_at=times, rtol=1e-6)
    for name, values in alone.series.items():
        np.testing.assert_array_equal(found.series[name][1], values)
    nf.save(found, tmp_path / "kept", figures=True)
    assert nf.load(tmp_path / "kept").members == found.members
    run("show", tmp_path / "kept")
    said = capsys.readouterr().out
    assert "linear layers of 5, 4 features" in said
    assert "Drift of Q_1 .. Q_L" in said
    with pytest.raises(nf.InputError, match="must be of one"):
        nf.ensemble(
            [problem, nf.Problem(problem.sizes, problem.kernel, nf.State(np.ones((4, 9)), state.W, state.b))]
        )
    with pytest.raises(nf.InputError, match="no form for linear layers"):
        nf.ensemble([problem], engine="jax", times=[1.0])


@pytest.mark.slow
def test_an_ensemble_of_the_command_replays(tmp_path):
    options = ("--depth", "2", "-C", "3", "-m", "2", "-n", "4", "--init", "gaussian", "--t-end", "0.1")
    run("simulate", *options, "--ensemble", "2", "--no-figures", "--quiet", "--out", tmp_path / "a")
    replay = ("--config", tmp_path / "a" / "config.toml", "--no-figures", "--quiet")
    run("simulate", *replay, "--out", tmp_path / "b")
    first, again = nf.load(tmp_path / "a"), nf.load(tmp_path / "b")
    np.testing.assert_array_equal(first.series["loss"], again.series["loss"])
    assert first.about["widths"] == [4, 4]


@pytest.mark.parametrize("damage", ["cut", "states", "summary"])
def test_a_damaged_run_is_refused_in_one_line(done, tmp_path, damage, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(done, broken)
    if damage == "cut":
        (broken / "layers.npz").write_bytes((done / "layers.npz").read_bytes()[:200])
    elif damage == "states":
        with np.load(done / "layers.npz") as file:
            np.savez(broken / "layers.npz", **{**file, "packed": file["packed"][:, 1:]})
    else:
        (broken / "summary.json").write_text("{}")
        assert "summary.json" in refused(capsys, "show", broken)
        return
    with pytest.raises(nf.InputError, match=r"layers\.npz"):
        nf.load(broken)
