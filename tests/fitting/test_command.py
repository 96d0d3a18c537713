"""`ntkflow fit`: every kind of input, both kinds of output, exit codes."""

import json

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli import main as command
from ntkflow.cli.observed import features
from ntkflow.integrate.layers.descent import descend_layers
from ntkflow.problem.layers import initial as layered
from ntkflow.runs import files
from ntkflow.runs.layered_states import named, write_layers
from tests.fitting.trajectories import BLOCK, simulated

SIZES = nf.Sizes(2, 3, 3)
TIMES = np.linspace(0.0, 1.0, 5)


@pytest.fixture(autouse=True)
def mounted(monkeypatch):
    monkeypatch.setitem(command.COMMANDS, "fit", ("ntkflow.cli.fit:fit", "Fit."))


@pytest.fixture(scope="module")
def observed():
    return simulated(SIZES, nf.BlockKernel(**BLOCK), TIMES)


def written(observed, path):
    """A file whose samples are not sorted."""
    order = np.random.default_rng(0).permutation(SIZES.N)
    arrays = {name: np.stack([getattr(s, name) for s in observed.states]) for name in "HWb"}
    arrays["H"] = arrays["H"][:, :, order]
    files.write_arrays(path, {"times": TIMES, "labels": SIZES.labels[order], **arrays})
    return path


@pytest.fixture
def stacked(observed, tmp_path):
    return written(observed, tmp_path / "seen.npz")


def run(*words):
    with pytest.raises(SystemExit) as ended:
        command.main(["fit", *map(str, words)])
    return ended.value.code


def test_json_of_a_stacked_file(stacked, capsys):
    assert run(stacked, "--json", "--from", "0.2") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["observed"] == {"states": 4, "from": 0.25, "to": 1.0}
    for name, value in BLOCK.items():
        np.testing.assert_allclose(report["estimates"][name]["value"], value, rtol=1e-6)
    assert report["kernel"]["rung"] == "block"


def test_biases_that_are_held(tmp_path, capsys):
    held = simulated(SIZES, nf.BlockKernel(**BLOCK), TIMES, train_bias=False)
    path = written(held, tmp_path / "held.npz")
    assert run(path) == 2
    assert "--no-train-bias" in capsys.readouterr().err
    assert run(path, "--json", "--no-train-bias") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["train_bias"] is False
    for name, value in BLOCK.items():
        np.testing.assert_allclose(report["estimates"][name]["value"], value, rtol=1e-6)


def test_a_table_for_people(stacked, capsys):
    assert run(stacked, "--kind", "schedule", "--knots", "0,1") == 0
    out = capsys.readouterr().out
    assert "kappa_d at 1" in out
    assert "standard error" in out


def test_snapshots_of_a_run_in_any_order(observed, tmp_path, capsys):
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for name, i in zip("cabed", range(5), strict=True):
        key = "time" if i % 2 else "t"
        files.write_state(folder / f"{name}.npz", observed.states[i], SIZES.labels, meta={key: TIMES[i]})
    assert run(tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)["estimates"]
    np.testing.assert_allclose(found["kappa_d"]["value"], 1.3, rtol=1e-6)


def test_a_simulated_run(tmp_path, capsys):
    out = tmp_path / "run"
    sizes = ["-C", "2", "-m", "3", "-n", "4", "--t-end", "1", "--init", "gaussian"]
    with pytest.raises(SystemExit):
        command.main(["simulate", *sizes, "--rtol", "1e-10", "--no-figures", "--quiet", "--out", str(out)])
    assert run(out, "--json", "--initial", "exact") == 0
    found = json.loads(capsys.readouterr().out)["estimates"]
    np.testing.assert_allclose(
        [found[name]["value"] for name in ("kappa_d", "kappa_c", "kappa_n")], [1.0, 0.5, 0.1], rtol=1e-6
    )


def test_bad_input_is_one_line_and_exit_code_2(stacked, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    lacking = tmp_path / "lacking.npz"
    files.write_arrays(lacking, {"times": TIMES})
    for words in (
        (tmp_path / "nowhere",),
        (empty,),
        (lacking,),
        (stacked, "--kind", "tensor"),
        (stacked, "--kind", "schedule", "--knots", "a,b"),
        (stacked, "--from", "0.9"),
    ):
        assert run(*words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_states_of_different_samples_are_refused(observed, tmp_path):
    for i, labels in enumerate((SIZES.labels, SIZES.labels[::-1])):
        files.write_state(tmp_path / f"{i}.npz", observed.states[i], labels, meta={"t": float(i)})
    with pytest.raises(nf.InputError, match="other samples"):
        features.read(tmp_path)
    files.write_state(tmp_path / "1.npz", observed.states[1], SIZES.labels)
    with pytest.raises(nf.InputError, match="no flow time"):
        features.read(tmp_path)


LAYERED = nf.BlockKernel(1.4, 0.6, -0.1)
WIDTHS = (4, 3)


@pytest.fixture(scope="module")
def layers():
    state = layered.make("gaussian", SIZES, WIDTHS, LAYERED, 0, 0.8)
    problem = nf.LayeredProblem(SIZES, LAYERED, state, decay=nf.LayerDecay((0.1, 0.05), 0.2))
    return nf.solve_layers(problem, save_at=[0.0, 0.1, 0.4], rtol=1e-9)


def stacked_layers(solution, path, without=()):
    order = np.random.default_rng(0).permutation(SIZES.N)
    states = [solution.state(i) for i in range(len(solution))]
    arrays = {name: np.stack([named(s)[name] for s in states]) for name in ("H", "V2", "W", "b")}
    arrays["H"] = arrays["H"][:, :, order]
    content = {"times": solution.times, "labels": SIZES.labels[order], **arrays}
    files.write_arrays(path, {name: array for name, array in content.items() if name not in without})
    return path


def assert_layers_found(out, widths=WIDTHS):
    report = json.loads(out)
    assert report["kind"] == "layers"
    assert report["sizes"]["widths"] == list(widths)
    found = [report["kernel"][name] for name in ("kappa_d", "kappa_c", "kappa_n")]
    np.testing.assert_allclose(found, LAYERED.kappas, rtol=1e-4)


FLOW = ("--decay-layers", "0.1,0.05", "--decay-w", "0.2", "--rtol", "1e-5")


def test_layers_of_a_file_of_a_folder_and_of_a_run(layers, tmp_path, capsys):
    path = stacked_layers(layers, tmp_path / "deep.npz")
    assert run(path, "--json", "--widths", "4,3", *FLOW) == 0
    assert_layers_found(capsys.readouterr().out)
    folder = tmp_path / "states"
    folder.mkdir()
    for name, i in zip("cab", range(3), strict=True):
        write_layers(folder / f"{name}.npz", layers.state(i), SIZES.labels, meta={"time": layers.times[i]})
    assert run(folder, "--json", *FLOW) == 0
    assert_layers_found(capsys.readouterr().out)
    # A run knows its flow itself.
    nf.save(layers, tmp_path / "run")
    assert run(tmp_path / "run", "--to", "0.2", "--rtol", "1e-5") == 0
    out = capsys.readouterr().out
    assert "kernel of the inputs from 2 states" in out
    assert "-0.1" in out


def test_one_layer_is_the_fit_of_features(observed, tmp_path, capsys):
    path = written(observed, tmp_path / "seen.npz")
    found = []
    for words in ((), ("--widths", "3")):
        assert run(path, "--json", "--initial", "exact", *words) == 0
        found.append(json.loads(capsys.readouterr().out)["estimates"])
    for name, estimate in found[0].items():
        np.testing.assert_allclose(found[1][name]["value"], estimate["value"], rtol=1e-5)


def test_what_does_not_fit_layers_is_one_line_and_exit_code_2(layers, stacked, tmp_path, capsys):
    path, lacking = stacked_layers(layers, tmp_path / "deep.npz"), tmp_path / "lacking.npz"
    stacked_layers(layers, lacking, ("W",))
    saved = nf.save(layers, tmp_path / "run")
    steps = tmp_path / "steps"
    nf.save(descend_layers(layers.problem, 3, 0.01), steps)
    for words, said in (
        ((path, "--widths", "3,3"), "layers of 4, 3"),
        ((path, "--widths", "4,x"), "--widths"),
        ((path, "--kind", "schedule"), "no meaning for linear layers"),
        ((path, "--knots", "0,1"), "no meaning for linear layers"),
        ((path, "--initial", "noisy"), "no meaning for linear layers"),
        ((path, "--no-train-bias"), "no meaning for linear layers"),
        ((path, "--from", "0.2"), "two at least"),
        ((path, "--loss", "nonsense"), "loss"),
        ((path, "--decay-layers", "0.1,0.1,0.1"), "one rate for each of 2 layers"),
        ((lacking,), "lacks the array 'W'"),
        ((saved, "--loss", "mse"), "beside a run of layers"),
        ((steps,), "discrete steps"),
        ((stacked, "--decay-w", "0.1"), "without linear layers"),
        ((tmp_path / "nowhere", "--widths", "3"), "does not exist"),
    ):
        assert run(*words) == 2
        errors = capsys.readouterr().err
        assert said in errors
        assert len(errors.strip().splitlines()) == 1
