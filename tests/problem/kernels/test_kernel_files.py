import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.kernels import KAPPAS, kernel_files
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.rundir import load_run
from ntkflow.runs.simulate import prepare
from tests.cli.test_simulate import run

SIZES = nf.Sizes(3, 4, 2)
BLOCK = nf.BlockKernel(1.5, 0.5, 0.1)
A = np.array([[2.0, 0.3], [0.3, 1.0]])


def arrays(rung):
    eye = np.eye(2)
    K = BLOCK.matrix(SIZES)
    kappas = {name: np.float64(getattr(BLOCK, name)) for name in KAPPAS}
    return {
        "block": kappas,
        "class-block": {"kappa_d": np.array([1.5, 1.2, 1.0]), "B": 0.4 * np.eye(3) + 0.1},
        "sample": {"K": K + 0.1 * np.diag(np.arange(12.0))},
        "kronecker": {"K": K, "A": A},
        "matrix-block": {"A_d": A, "A_c": 0.4 * eye, "A_n": 0.1 * eye},
        "tensor": {"Theta": np.einsum("ij,st->isjt", A, K)},
        "scheduled": {name: np.array([value, 2 * value]) for name, value in kappas.items()}
        | {"times": np.array([0.0, 1.0])},
    }[rung]


@pytest.mark.parametrize("rung", kernel_files.RUNGS)
def test_every_rung_is_built_from_its_arrays(rung):
    kernel = kernel_files.build(arrays(rung))
    assert kernel.rung == rung
    kernel.check(SIZES)


@pytest.mark.parametrize("rung", kernel_files.RUNGS)
def test_simulate_reaches_every_rung_and_conserves_what_it_should(rung, tmp_path):
    file = tmp_path / "kernel.npz"
    np.savez(file, **arrays(rung))
    common = ["-C", 3, "-m", 4, "-n", 2, "--t-end", 0.5, "--no-figures", "--quiet"]
    run("simulate", *common, "--kernel-file", file, "--init", "gaussian", "--out", tmp_path / "a")
    summary = load_run(tmp_path / "a").summary
    assert summary.kernel["rung"] == rung
    if rung == "scheduled":
        assert not summary.invariant.constant
        assert summary.invariant.drift > 1e-3
    else:
        assert summary.invariant.drift <= 1e-8
    file.unlink()
    run(
        "simulate",
        "--config",
        tmp_path / "a" / "config.toml",
        "--out",
        tmp_path / "b",
        "--no-figures",
        "--quiet",
    )
    again = load_run(tmp_path / "b").summary
    assert again.loss == summary.loss


def test_kernels_from_unsorted_state_files_follow_their_samples(tmp_path):
    state = nf.initial.make("gaussian", SIZES)
    K = arrays("sample")["K"]
    shuffle = np.random.default_rng(0).permutation(12)
    labels = SIZES.labels[shuffle]
    np.savez(
        tmp_path / "s.npz",
        H=state.H[:, shuffle],
        W=state.W,
        b=state.b,
        labels=labels,
        K=K[np.ix_(shuffle, shuffle)],
    )
    measured = files.read_state(tmp_path / "s.npz")
    unsorted = nf.solve(
        nf.Problem(measured.sizes, kernel_files.build(measured.arrays), measured.state), t_end=0.5
    )
    plain = nf.solve(nf.Problem(SIZES, kernel_files.build({"K": K}), state), t_end=0.5)
    assert unsorted.series["loss"][-1] == pytest.approx(plain.series["loss"][-1], rel=1e-9)


def test_imbalanced_classes_run_from_the_command_line(tmp_path):
    run(
        "simulate",
        "-C",
        3,
        "-m",
        "2,5,3",
        "-n",
        4,
        "--out",
        tmp_path / "r",
        "--no-figures",
        "--quiet",
        "--t-end",
        1,
    )
    summary = load_run(tmp_path / "r").summary
    assert summary.sizes.m == [2, 5, 3]
    assert summary.invariant.drift <= 1e-8
    run(
        "simulate",
        "--config",
        tmp_path / "r" / "config.toml",
        "--out",
        tmp_path / "s",
        "--no-figures",
        "--quiet",
    )
    assert load_run(tmp_path / "s").summary.loss == summary.loss


def test_equal_decay_lets_E_fall_exponentially(tmp_path):
    decay = ["--decay-w", 0.1, "--decay-h", 0.1, "--decay-b", 0.1]
    common = ["-C", 3, "-m", 4, "-n", 5, "--init", "gaussian", "--t-end", 2, "--no-figures", "--quiet"]
    run("simulate", *common, *decay, "--out", tmp_path / "r")
    invariant = load_run(tmp_path / "r").summary.invariant
    assert invariant.norm_final == pytest.approx(invariant.norm_initial * np.exp(-0.4), rel=1e-8)


def test_cross_entropy_conserves_E_too(tmp_path):
    common = ["-C", 3, "-m", 4, "-n", 5, "--init", "gaussian", "--t-end", 1, "--no-figures", "--quiet"]
    run("simulate", *common, "--loss", "cross-entropy", "--out", tmp_path / "r")
    loaded = load_run(tmp_path / "r")
    assert loaded.summary.invariant.drift <= 1e-8
    predicted = loaded.summary.predicted
    assert (predicted.nc1_possible, predicted.limit) == (
        None,
        None,
    )  # theory 11.7: what does not carry over
    assert {law.quantity for law in predicted.laws} >= {"invariant", "W^T 1"}
    assert "loss_class" not in loaded.series


def test_the_simplest_kernel_is_taken_unless_another_is_named():
    both = {**arrays("block"), **arrays("sample"), "A": A}
    with pytest.warns(
        kernel_files.UnusedArraysWarning, match="A, K are not used, because the block kernel's"
    ):
        assert kernel_files.build(both).rung == "block"
    assert kernel_files.build(both, "sample").rung == "sample"
    assert kernel_files.build(both, "kronecker").rung == "kronecker"
    assert kernel_files.build({**arrays("block"), "A": A}, "kronecker").rung == "kronecker"


@pytest.mark.parametrize(
    ("content", "rung", "message"),
    [
        ({}, None, "needs kappa_d, kappa_c, kappa_n or the arrays"),
        ({"K": np.eye(3)}, "tensor", "needs the array 'Theta'"),
        ({"K": np.eye(3)}, "fancy", "rung = 'fancy': must be one of"),
        ({"K": np.eye(3)}, "scheduled", "needs the array 'times'"),
        (
            {"times": np.array([0.0]), "K": np.eye(3)[None]},
            None,
            "must be a list of finite times, at least 2",
        ),
        ({"times": np.array([0.0, 1.0]), "K": np.eye(3)}, None, "leading axis of 2 times"),
        ({"times": ["0", "1"], "K": np.stack([np.eye(3)] * 2)}, None, "times .* not text"),
        ({"K": np.eye(3) * 1j}, None, "K = complex128 array: must hold real numbers, not complex numbers"),
        ({"K": np.eye(3).astype(str)}, None, "K .* not text"),
        ({"K": np.eye(3).astype(object)}, None, "K .* not Python objects"),
        ({"K": np.eye(3) > 0}, None, "K .* not truth values"),
        ({"kappa_d": np.str_("1"), "kappa_c": 0.5, "kappa_n": 0.1}, None, "kappa_d .* not text"),
        ({"kappa_d": 1 + 0j, "kappa_c": 0.5, "kappa_n": 0.1}, None, "kappa_d .* not complex"),
        ({"kappa_d": True, "kappa_c": 0.5, "kappa_n": 0.1}, None, "kappa_d .* not truth"),
        ({"kappa_d": np.ones(3), "kappa_c": 0.5, "kappa_n": 0.1}, "block", "must be one number"),
    ],
)
def test_bad_kernel_files_are_named(content, rung, message):
    with pytest.raises(nf.InputError, match=message):
        kernel_files.build(content, rung)


def test_a_kernel_file_without_a_kernel_is_refused_and_nothing_else_is_run_under_its_name(tmp_path, capsys):
    file = tmp_path / "k.npz"
    common = ["-C", 3, "-m", 4, "-n", 2, "--t-end", 0.1, "--no-figures", "--kernel-file", file]
    for content in ({}, {"kernel": np.eye(12)}, {"H": np.ones((2, 12))}):
        np.savez(file, **content)
        run("simulate", *common, "--out", tmp_path / "r", expect=2)
        error = capsys.readouterr().err
        assert "has no array of a kernel" in error
        assert error.count("\n") == 1
        with pytest.raises(nf.InputError, match="has no array of a kernel"):
            nf.ensemble(SimulateConfig(classes=3, per_class=4, features=2, kernel_file=file), [0, 1])
    np.savez(file, K=1j * np.eye(12))
    run("simulate", *common, "--out", tmp_path / "r", expect=2)
    assert "not complex numbers" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_kernel_file_that_is_named_is_read_whoever_prepares(tmp_path):
    np.savez(tmp_path / "k.npz", **arrays("sample"))
    found = prepare(SimulateConfig(classes=3, per_class=4, features=2, kernel_file=tmp_path / "k.npz"))
    np.testing.assert_allclose(found.problem.kernel.K, arrays("sample")["K"])


def test_arrays_that_are_not_used_are_named_on_the_command_line(tmp_path, capsys):
    file = tmp_path / "k.npz"
    common = [
        "-C",
        3,
        "-m",
        4,
        "-n",
        2,
        "--t-end",
        0.1,
        "--no-figures",
        "--init",
        "gaussian",
        "--kernel-file",
        file,
    ]
    np.savez(file, **arrays("block"), **arrays("sample"), kappaa=1.0)
    run("simulate", *common, "--out", tmp_path / "a")
    lines = capsys.readouterr().err.splitlines()
    assert f"ntkflow: warning: {file}: kappaa is no array of a kernel and is not used" in lines
    assert any(
        line.startswith("ntkflow: warning: K is not used, because the block kernel's") for line in lines
    )
    # A rung that is named leaves nothing to wonder about, and what is replayed has one.
    np.savez(file, **arrays("block"), **arrays("sample"))
    run("simulate", *common, "--rung", "sample", "--out", tmp_path / "b")
    config = tmp_path / "b" / "config.toml"
    run("simulate", "--config", config, "--out", tmp_path / "c", "--no-figures")
    assert "warning" not in capsys.readouterr().err
    # As a moving kernel too, once for all its knots.
    moving = {name: np.stack([v, 2 * v]) for name, v in {**arrays("block"), **arrays("sample")}.items()}
    with pytest.warns(kernel_files.UnusedArraysWarning) as caught:
        kernel_files.build({"times": [0.0, 1.0], **moving})
    assert len(caught) == 1


STEPS = ["-C", 3, "-m", 2, "-n", 4, "--init", "gaussian", "--t-end", 0.3, "--no-figures", "--quiet"]


@pytest.mark.parametrize(
    ("options", "engine", "error"),
    [
        (["--step-size", 1e-3], "gradient descent", 1e-12),
        (["--step-size", 1e-3, "--batch-per-class", 2, "--batch-seed", 3], "gradient descent", 1e-12),
        (["--step-size", 1e-3, "--decay-w", 0.1], "gradient descent", 1e-12),
        pytest.param(["--step-size", 1e-4, "--momentum", 0.5], "heavy ball", 1e-4, marks=pytest.mark.slow),
        pytest.param(
            ["--step-size", 1e-4, "--momentum", 0.5, "--nesterov"], "Nesterov", 1e-4, marks=pytest.mark.slow
        ),
    ],
)
def test_discrete_steps_follow_the_exact_law_of_their_drift(options, engine, error, tmp_path):
    run("simulate", *STEPS, *options, "--out", tmp_path / "r")
    summary = load_run(tmp_path / "r").summary
    assert summary.solver.engine == engine
    assert summary.invariant.law_error <= error
    assert summary.invariant.drift > 10 * summary.invariant.law_error
    run(
        "simulate",
        "--config",
        tmp_path / "r" / "config.toml",
        "--out",
        tmp_path / "s",
        "--no-figures",
        "--quiet",
    )
    assert load_run(tmp_path / "s").summary.loss == summary.loss


def test_decay_follows_the_balance_of_E(tmp_path):
    run("simulate", *STEPS, "--decay-w", 0.2, "--out", tmp_path / "r")
    invariant = load_run(tmp_path / "r").summary.invariant
    assert invariant.law_error < 1e-6 < 1e-3 < invariant.drift


def test_options_of_steps_are_refused_without_a_step(tmp_path, capsys):
    run("simulate", *STEPS, "--momentum", 0.9, "--out", tmp_path / "r", expect=2)
    assert "--momentum = 0.9: has no meaning for the flow" in capsys.readouterr().err
    run("simulate", *STEPS, "--step-size", 1e-12, "--out", tmp_path / "r", expect=2)
    assert "needs 300000000000 steps" in capsys.readouterr().err


def test_so_many_steps_are_done_as_are_asked_for(tmp_path, capsys):
    few = [*STEPS[:6], "--no-figures", "--quiet", "--init", "gaussian"]
    for name, ends, steps in (("k", ["--steps", 7], 7), ("t", ["--t-end", 0.003], 10)):
        run("simulate", *few, "--step-size", 0.0003, *ends, "--out", tmp_path / name)
        summary = load_run(tmp_path / name).summary
        assert summary.solver.steps == steps
        assert summary.t_end == pytest.approx(0.0003 * steps, rel=1e-14)
    # Replayed from its file, and with another end.
    again = ["simulate", "--config", tmp_path / "k" / "config.toml", "--no-figures", "--quiet"]
    run(*again, "--out", tmp_path / "again")
    run(*again, "--t-end", 0.003, "--out", tmp_path / "longer")
    assert load_run(tmp_path / "again").summary.solver.steps == 7
    assert load_run(tmp_path / "longer").summary.solver.steps == 10
    run("simulate", *STEPS, "--step-size", 1e-3, "--steps", 3, "--out", tmp_path / "r", expect=2)
    assert "--steps = 3: has no meaning beside --t-end" in capsys.readouterr().err
    run("simulate", *few, "--step-size", 1e-3, "--steps", 10**7, "--out", tmp_path / "r", expect=2)
    assert "--steps = 10000000: are more than 2000000" in capsys.readouterr().err


def test_a_step_beyond_stability_ends_with_one_line(tmp_path, capsys):
    run("simulate", *STEPS, "--t-end", 50, "--step-size", 0.5, "--out", tmp_path / "r", expect=1)
    error = capsys.readouterr().err
    assert "too large" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_loss_of_ones_own_is_reached_by_its_import_path(tmp_path, monkeypatch, capsys):
    (tmp_path / "mylosses.py").write_text(
        "import numpy as np\nimport ntkflow as nf\n"
        "cosh = nf.LossPair(lambda F, Y: np.sum(np.log(np.cosh(F - Y))), lambda F, Y: np.tanh(F - Y), 'cosh')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    common = ["-C", 3, "-m", 2, "-n", 4, "--init", "gaussian", "--t-end", 0.5, "--no-figures", "--quiet"]
    run("simulate", *common, "--loss", "mylosses:cosh", "--out", tmp_path / "r")
    summary = load_run(tmp_path / "r").summary
    assert summary.invariant.drift <= 1e-8
    assert summary.loss.final < summary.loss.initial
    for name, message in (
        ("mylosses:number", "is no loss"),
        ("nowhere:x", "cannot be imported"),
        ("huber", "must be one"),
    ):
        run("simulate", *common, "--loss", name, "--out", tmp_path / "s", expect=2)
        assert message in capsys.readouterr().err
