"""What `ntkflow theory` prints: nothing that contradicts itself, no row without a name, no list in full."""

import json
import re

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli.printed import predicted, table
from ntkflow.runs import files
from ntkflow.runs.predicted import predictions
from ntkflow.theory import decay_conditions
from ntkflow.theory.prediction import predict_flow, predictable
from tests.cli.test_simulate import run
from tests.problem.kernels import ladder

SMALL = ("-C", 4, "-m", 5, "-n", 9)


def printed(capsys, *arguments):
    run("theory", *arguments)
    return capsys.readouterr().out


def words(text):
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def test_what_cannot_collapse_gets_a_floor_in_units_of_NC1_and_no_time(capsys):
    text = words(printed(capsys, *SMALL, "--init", "gaussian"))
    assert "NC1 no: NC1_frobenius cannot fall below" in text
    assert "of tr S stays" in text
    assert "NC1_tirer >=" in text
    assert "falls by 1e6" not in text
    assert "impossible" not in text
    assert "which is not where this run must end" in text


def collapsed(path, header=None):
    """Features at the collapse with E = 0 and a small random spread in all directions."""
    sizes, kernel = nf.Sizes(3, 5, 12), nf.BlockKernel(1.0, 0.5, 0.1)
    x = nf.theory.limits.x_star(sizes, kernel)
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 3)))[0]
    W = np.sqrt(x) * nf.metrics.centring(3) @ V.T
    noise = 1e-3 * np.random.default_rng(1).standard_normal((12, 15))
    arrays = {
        "H": np.repeat(W.T / x, 5, axis=1) + noise, "W": W, "b": np.full(3, 1 / 3),
        "labels": np.repeat(np.arange(3), 5), "kappa_d": 1.0, "kappa_c": 0.5, "kappa_n": 0.1,
    }  # fmt: skip
    files.write_arrays(path, arrays, header)


def test_a_collapsed_network_is_told_that_it_counts_as_collapsed(tmp_path, capsys):
    collapsed(tmp_path / "state.npz")
    text = words(printed(capsys, "--state", tmp_path / "state.npz"))
    assert "NC1 no: NC1_frobenius cannot fall below" in text
    assert "which counts as collapsed" in text


@pytest.mark.parametrize(
    "decay", [(), ("--decay-w", "0.1", "--decay-h", "0.1"), ("--decay-w", "0.1")], ids=["none", "equal", "W"]
)
def test_of_a_measured_network_that_has_collapsed_nothing_is_called_impossible(tmp_path, capsys, decay):
    said = {
        "features": {"block_residual": 0.31},
        "shape": {"cv": 0.52, "leak": 0.13, "iso": 0.24, "foretold": {"lazy": 0.25, "small start": 0.1}},
    }
    collapsed(tmp_path / "state.npz", {"measurement": said})
    text = words(printed(capsys, "--state", tmp_path / "state.npz", *decay))
    # All four, beside each other, before any answer.
    premise = "residual of the blocks 0.31, spread of class contrasts (cv) 0.52, leak into classes 0.13"
    assert f"{premise}, unlike neurons (iso) 0.24" in text
    assert text.index(premise) < text.index("Neural collapse?")
    assert "impossible" not in text
    assert "0.75 (lazy) or 0.90 (small start)" in text


def test_a_measured_kernel_says_what_its_blocks_are_worth(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {
        "H": rng.normal(size=(9, 20)), "W": rng.normal(size=(4, 9)), "b": np.zeros(4), "labels": np.repeat(np.arange(4), 5),
        "kappa_d": 1.0, "kappa_c": 0.5, "kappa_n": 0.1,
    }  # fmt: skip
    said = {
        "features": {"block_residual": 0.31},
        "shape": {"cv": 0.52, "leak": None, "foretold": {"lazy": 0.25}},
    }
    files.write_arrays(tmp_path / "state.npz", arrays, {"measurement": said})
    text = words(printed(capsys, "--state", tmp_path / "state.npz"))
    assert "What the block premise is worth" in text
    assert (
        "residual of the blocks 0.31, spread of class contrasts (cv) 0.52, leak into classes unknown" in text
    )
    assert "a skill of at most 0.75 (lazy)" in text
    run("theory", "--state", tmp_path / "state.npz", "--json")
    found = json.loads(capsys.readouterr().out)["premise"]
    assert found == {
        "block_residual": 0.31,
        "cv": 0.52,
        "leak": None,
        "iso": None,
        "foretold": {"lazy": 0.25},
    }
    # A state of one's own was not measured, and a damaged header says nothing.
    for header in (None, {"measurement": {"features": 3, "shape": [1]}}):
        files.write_arrays(tmp_path / "own.npz", arrays, header)
        text = words(printed(capsys, "--state", tmp_path / "own.npz"))
        assert ("premise" in text) is (header is not None)


def test_times_are_those_of_this_run_or_would_be(capsys):
    assert "NC1 falls by 1e6 within t =" in words(printed(capsys, *SMALL))
    few = words(printed(capsys, "-C", 4, "-m", 5, "-n", 4, "--init", "gaussian"))
    assert "NC1 would fall by 1e6" in few
    assert "if E were 0, which it is not" in few
    tail = words(printed(capsys, *SMALL, "--init", "balanced-centred"))
    assert "no rate: tr S falls like 1/(2 m t)" in tail
    assert "falls by 1e6" not in tail
    assert "at the earliest" in words(printed(capsys, *SMALL, "--init", "equal-bias"))


def test_a_projector_takes_its_own_rate_for_the_time(tmp_path, capsys):
    from tests.theory.test_limits import projector_state

    sizes, kernel, e = nf.Sizes(3, 3, 5), nf.BlockKernel(5.0, 1.1, 0.4), 2.0
    state = projector_state(sizes, kernel, e, 2, np.random.default_rng(5))
    np.savez(
        tmp_path / "state.npz", H=state.H, W=state.W, b=state.b, labels=sizes.labels,
        kappa_d=5.0, kappa_c=1.1, kappa_n=0.4,
    )  # fmt: skip
    run("theory", "--state", tmp_path / "state.npz", "--json")
    told = json.loads(capsys.readouterr().out)["predicted"]
    rate = kernel.eigenvalues(sizes).mu_single * nf.theory.limits.lambda_balanced_x(sizes, kernel, e)
    assert told["collapse_time"] == pytest.approx(np.log(1e6) / rate, rel=1e-6)


def test_classes_that_cannot_be_fitted_get_the_least_loss_and_no_collapse(capsys):
    text = printed(capsys, "-C", 10, "-n", 5, "--init", "gaussian")
    assert "never below 24 = m (C - 1 - n)/2" in words(text)
    assert "x*" not in text
    assert "Rates of the residual" not in text
    assert "1e6" not in text
    run("theory", "-C", 10, "-n", 5, "--init", "gaussian", "--json")
    assert json.loads(capsys.readouterr().out)["predicted"]["collapse_time"] is None


def test_the_least_loss_is_where_a_run_ends():
    sizes, kernel = nf.Sizes(5, 4, 2), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 1))
    assert nf.theory.conditions.facts(sizes, kernel, problem.state).least_loss == 4.0
    loss = nf.solve(problem, t_end=300.0).series["loss"]
    assert loss.min() >= 4.0 - 1e-9
    assert loss[-1] == pytest.approx(4.0, rel=1e-3)


SETTINGS = [
    (),
    *(("--init", name) for name in ("gaussian", "relu", "balanced", "balanced-centred", "equal-bias")),
    ("--decay-w", 0.1, "--decay-h", 0.2, "--init", "gaussian"),
    ("--decay-w", 0.1),
    ("--decay-h", 0.1, "--decay-b", 0.1),
    ("--decay-w", 9, "--decay-h", 9),
    ("--weight-decay", 5e-4, "--learning-rate", 0.1, "--momentum", 0.9),
    ("--loss", "cross-entropy"),
    ("--loss", "cross-entropy", "--decay-w", 0.1, "--decay-h", 0.1),
    ("-m", "20,10,5,5"),
    ("-m", "20,10,5,5", "--decay-w", 2.5, "--decay-h", 2.5),
    ("-n", 2, "--init", "gaussian"),
    ("-C", 2, "-m", 1, "-n", 1),
    ("-C", 100, "-m", ",".join(["12"] * 50 + ["6"] * 50), "-n", 8, "--init", "gaussian"),
]


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("arguments", SETTINGS, ids=lambda a: " ".join(map(str, a))[:40])
def test_every_setting_has_four_answers_named_rows_and_short_lists(arguments, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    shown, print_pairs = [], table.print_pairs

    def recorded(console, pairs):
        pairs = list(pairs)
        shown.extend(pairs)
        print_pairs(console, pairs)

    monkeypatch.setattr(table, "print_pairs", recorded)
    size = () if "-C" in arguments else ("-C", 4)
    shape = () if "-n" in arguments else ("-n", 9)
    text = printed(capsys, *size, *shape, *arguments)
    lines = text.splitlines()
    assert max(map(len, lines)) <= int(columns)
    for name in ("NC1", "NC2", "NC3", "NC4"):
        assert any(name in line.split("  ")[0] for line in lines), name
    assert not re.search(r"(\b\d+, )\1{3,}", text)
    assert not re.search(r"\bnan\b|\binf\b|None", text)
    assert shown
    for name, sentence in shown:
        assert name.strip()
        assert sentence.strip()


@pytest.mark.parametrize("name", [*ladder.NAMES, "scheduled"])
@pytest.mark.parametrize("decay", [nf.Decay(), nf.Decay(0.2, 0.1), nf.Decay(W=0.1), nf.Decay(b=0.3)])
def test_every_rung_gets_answers_with_reasons(name, decay):
    sizes = nf.Sizes(3, 3, 4)
    if name == "scheduled":
        kernel = nf.ScheduledKernel(
            (0.0, 1.0), (nf.BlockKernel(1.0, 0.5, 0.1), nf.BlockKernel(2.0, 0.5, 0.1))
        )
    else:
        kernel = ladder.make(name, sizes)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 1), decay=decay)
    prediction = predict_flow(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if decay.any else None
    found = dict(predicted.answers(predictions(problem, prediction, decayed)))
    assert {name.strip() for names in found for name in names.split(",")} >= {"NC1", "NC2", "NC3", "NC4"}
    assert all(len(sentence) > 3 for sentence in found.values())


def test_rates_are_a_table_of_modes(capsys):
    text = printed(capsys, *SMALL)
    row = next(line for line in text.splitlines() if line.startswith("contrast, class contrast"))
    assert re.fullmatch(r"contrast, class contrast +\d+\.\d+ +9 *", row)


def test_decay_is_told_with_its_loss_its_memory_and_its_name_in_an_optimiser(capsys):
    text = words(printed(capsys, *SMALL, "--weight-decay", 5e-3, "--learning-rate", 0.1, "--momentum", 0.9))
    assert "decay lw = lh = 0.4 per unit of flow time" in text
    assert "weight decay of lw = lh = 0.005" in text
    assert "E shrinks like exp(-0.8 t) exactly: the start is forgotten to 1 in 1e6 by about t = 17.27" in text
    assert "t = 0.0125 of flow time, t = 1 takes 80 steps" in text
    mu = nf.BlockKernel(1.0, 0.5, 0.1).eigenvalues(nf.Sizes(4, 5, 9)).mu_class
    rho = 0.4 / np.sqrt(5 * mu)
    assert f"= {rho:.4g}: {100 * rho:.3g} % of every class contrast stays unfitted" in text
    assert f"ends at {7.5 * rho**2:.4g}, what decay leaves of it" in text


def test_contradicting_decays_are_one_line(capsys):
    run("theory", "--weight-decay", 0.1, "--decay-w", 0.1, expect=2)
    assert "--weight-decay = 0.1: contradicts --decay-w" in capsys.readouterr().err


def test_simulate_says_beforehand_and_afterwards_what_decay_does(tmp_path, capsys):
    run(
        "simulate", "-C", 3, "-m", "4,2,2", "-n", 5, "--init", "gaussian", "--decay-w", 1.8, "--decay-h", 1.8,
        "--no-figures", "--out", tmp_path / "run",
    )  # fmt: skip
    text = words(capsys.readouterr().out)
    assert "NC4 no: classes 2, 3 end with one mean" in text
    assert re.search(r"W W\^T agrees to \d+\.\d digits: where decay of W and H takes a generic start", text)
    run("show", tmp_path / "run")
    assert "How the run compares" in capsys.readouterr().out
    run(
        "simulate", "-C", 3, "-m", 4, "-n", 5, "--init", "gaussian", "--decay-w", 2.7, "--decay-h", 2.7,
        "--t-end", 4, "--no-figures", "--out", tmp_path / "short",
    )  # fmt: skip
    text = words(capsys.readouterr().out)
    assert "W W^T not compared: the run ended at t = 4" in text
    assert "W W^T agrees" not in text


def test_a_head_without_a_bias_has_its_own_limit(capsys):
    text = words(printed(capsys, *SMALL, "--init", "balanced", "--no-train-bias"))
    assert "NC3 no: E = 0 and the biases are held" in text
    assert "limit E = 0 at the start, the biases are held, and the loss tends to 0" in text
    assert "V of biases" not in text
    run("theory", *SMALL, "--no-train-bias", "--decay-b", 0.1, expect=2)
    assert "decay.b = 0.1: has no meaning for biases that are held" in capsys.readouterr().err
