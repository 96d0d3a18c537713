"""`ntkflow simulate --widths`, `theory --widths` and what reads such a run."""

import json
import shutil

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.layers.series import describe
from ntkflow.problem.layers import initial
from ntkflow.runs.layered import compared
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


def test_it_is_not_put_beside_other_runs(done, capsys):
    assert "show it alone" in refused(capsys, "show", done, done)
    assert "is a run of linear layers" in refused(capsys, "plot", done, done)


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
    assert "not promised: Q_1" in predicted["sentences"][0][1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--features", "7"), "contradicts --widths"),
        (("--init", "relu"), "must be one of gaussian"),
        (("--decay-h", "0.1"), "--decay-layers"),
        (("--decay-layers", "0.1,0.2,0.3"), "one rate for each of 2 layers"),
        (("--step-size", "0.01"), "discrete steps"),
        (("--engine", "structured"), "for layers"),
        (("--ensemble", "3"), "one by one"),
        (("--no-train-bias",), "--no-train-bias"),
        (("--widths", "1,4"), "too narrow"),
        (("--widths", "a,4"), "whole number"),
        (("--kappa-n", "-0.9"), "mu_global > 0"),
        (("--spectators", "0.1"), "no meaning for init"),
    ],
)
def test_refusals(options, words, capsys):
    assert words in refused(capsys, "simulate", *OPTIONS, *options, "--no-figures")


def test_what_needs_layers_is_refused_without_them(capsys):
    assert "give --widths too" in refused(capsys, "simulate", "--decay-layers", "0.1", "--no-figures")
    with pytest.raises(nf.InputError, match=r"nf\.solve_layers"):
        nf.ensemble(nf.SimulateConfig(widths=(5, 4)), range(2))


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
