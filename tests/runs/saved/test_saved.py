"""What is saved comes back as it was: solutions of every rung and form, ensembles, fits, states, sweeps."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.fitting.spread import Estimate
from ntkflow.runs import carried, states
from ntkflow.runs.files import dump_json, read_toml
from ntkflow.runs.saved.fits import load_fit
from tests.problem.kernels import ladder

SIZES, BLOCK = nf.Sizes(3, 4, 2), nf.BlockKernel(1.0, 0.5, 0.1)
TIMES = [0.0, 0.1, 0.3]
A = np.array([[1.5, 0.2], [0.2, 0.7]])
KERNELS = {
    **{name: ladder.make(name, SIZES) for name in ladder.NAMES},
    "moving": nf.ScheduledKernel((0.0, 0.2), (BLOCK, nf.BlockKernel(2.0, 0.5, 0.1))),
    "moving product": nf.ScheduledKernel(
        (0.0, 0.2), (nf.KroneckerKernel(BLOCK, A), nf.KroneckerKernel(BLOCK, 2 * A))
    ),
    "product of classes": nf.KroneckerKernel(nf.ClassBlockKernel.from_block(BLOCK, 3), A),
}


def command(*words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return caught.value.code or 0


def solved(kernel=BLOCK, **options):
    problem = nf.Problem(SIZES, kernel, nf.initial.make("gaussian", SIZES, seed=3), **options)
    return nf.solve(problem, save_at=TIMES)


def assert_same(found, solution):
    assert repr(found) == repr(solution)
    np.testing.assert_array_equal(found.times, solution.times)
    np.testing.assert_array_equal(found.packed, solution.packed)
    for i in range(len(solution)):
        for part in "HWb":
            np.testing.assert_array_equal(getattr(found.state(i), part), getattr(solution.state(i), part))
    assert found.series.keys() == solution.series.keys()
    for name, values in solution.series.items():
        np.testing.assert_array_equal(found.series[name], values)
    # As text: the steps have no tolerance, and NaN is not itself.
    assert str(vars(found.stats)) == str(vars(solution.stats))
    assert (found.reason, found.law) == (solution.reason, solution.law)
    assert (found.problem.decay, found.problem.sizes) == (solution.problem.decay, solution.problem.sizes)


@pytest.mark.parametrize("name", KERNELS)
def test_a_solution_of_every_rung_comes_back(name, tmp_path):
    solution = solved(KERNELS[name])
    assert solution.save(str(tmp_path / "run")) == tmp_path / "run"
    found = nf.load(str(tmp_path / "run"))
    assert_same(found, solution)
    G = np.random.default_rng(0).normal(size=(2, 12))
    for t in (0.0, 0.1):
        np.testing.assert_allclose(
            found.problem.kernel.at(t).apply(G, SIZES), KERNELS[name].at(t).apply(G, SIZES), rtol=1e-14
        )
    # And what is loaded can be integrated on, and evaluated anew to the same numbers.
    again = dict(found.__dict__)
    del again["series"]
    fresh = nf.Solution(**again)
    np.testing.assert_allclose(fresh.series["loss"], solution.series["loss"], rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{"decay": nf.Decay(0.1, 0.2, 0.3)}, {"loss": nf.CrossEntropy()}], ids=["decay", "softmax"]
)
def test_decay_and_loss_come_back(options, tmp_path):
    solution = solved(**options)
    assert_same(nf.load(solution.save(tmp_path / "run")), solution)


@pytest.mark.parametrize(
    "words", [[], ["--step-size", "0.01", "--t-end", "1", "--momentum", "0.5"]], ids=["flow", "steps"]
)
def test_what_the_command_wrote_comes_back_and_is_saved_to_the_same_numbers(words, tmp_path):
    given = ["-C", 3, "-m", 4, "-n", 5, *words, "--no-figures", "-q", "--out"]
    assert command("simulate", *given, tmp_path / "a") == 0
    found = nf.load(tmp_path / "a")
    found.save(tmp_path / "b")
    assert_same(nf.load(tmp_path / "b"), found)
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab")
    assert {**one, "config": 0} == {**two, "config": 0}
    assert one == json.loads(dump_json({**found.summary(), "config": one["config"]}))
    # The saved one replays: same settings, the start from its copy.
    assert (
        command(
            "simulate",
            "--config",
            tmp_path / "b" / "config.toml",
            "--no-figures",
            "-q",
            "--out",
            tmp_path / "c",
        )
        == 0
    )
    third = json.loads((tmp_path / "c" / "summary.json").read_text())
    assert third["loss"]["final"] == pytest.approx(one["loss"]["final"], rel=1e-6)
    assert third["t_end"] == pytest.approx(one["t_end"])


def test_a_frame_of_another_machine_is_taken_as_it_was_written(tmp_path):
    solution = solved()
    solution.save(tmp_path / "run")
    path = tmp_path / "run" / states.STATES
    arrays, header = states.files.read_arrays(path)
    # Another machine's singular vectors differ in their signs, and the packed states with them.
    r, n = arrays["Q"].shape[1], arrays["V"].shape[1]
    arrays["Q"] = -arrays["Q"]
    for row in (*arrays["packed"], arrays["start"]):
        row[n * 3 : n * 3 + n * r] *= -1
    states.files.write_arrays(path, arrays, header)
    np.testing.assert_array_equal(nf.load(tmp_path / "run").state(-1).H, solution.state(-1).H)


def test_long_trajectories_keep_states_among_which_the_first_and_the_last(tmp_path):
    solution = nf.solve(nf.Problem(SIZES, BLOCK, nf.initial.make("gaussian", SIZES)), t_end=5.0)
    states.write_states(tmp_path / "few.npz", solution, most=solution.packed.nbytes // 10)
    found, kept = states.read_states(tmp_path / "few.npz")
    np.testing.assert_array_equal(found.times, solution.times[kept])
    assert 2 < len(found) <= 12
    assert (found.times[0], found.times[-1]) == (0.0, solution.times[-1])
    np.testing.assert_array_equal(found.final.H, solution.final.H)


def test_each_file_of_a_run_is_read_once(tmp_path, monkeypatch):
    solved().save(tmp_path / "run")
    read, plain = [], states.files.read_arrays
    monkeypatch.setattr(
        states.files, "read_arrays", lambda path, *args: read.append(path.name) or plain(path, *args)
    )
    nf.load(tmp_path / "run")
    assert sorted(read) == ["states.npz", "trajectory.npz"]


class Diagonal(nf.Kernel):
    rung = "diagonal"

    def apply(self, G, sizes):
        return 2 * G

    def solve(self, H, sizes):
        return H / 2

    def check(self, sizes):
        pass

    def as_dict(self):
        return {"rung": self.rung}


def test_what_no_file_can_hold_is_asked_for(tmp_path):
    loss = nf.LossPair(lambda F, Y: np.sum(np.cosh(F - Y) - 1), lambda F, Y: np.sinh(F - Y), "cosh")
    solution = solved(Diagonal(), loss=loss)
    solution.save(tmp_path / "run")
    with pytest.raises(nf.InputError, match="kernel = None: of rung 'diagonal' is not in the file; pass it"):
        nf.load(tmp_path / "run")
    with pytest.raises(nf.InputError, match="loss = None: 'cosh' cannot be found"):
        nf.load(tmp_path / "run", kernel=Diagonal())
    assert_same(nf.load(tmp_path / "run", kernel=Diagonal(), loss=loss), solution)


def test_a_user_s_loss_named_by_its_module_comes_back(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import numpy as np, ntkflow as nf\n"
        "cosh = nf.LossPair(lambda F, Y: np.sum(np.cosh(F - Y) - 1), lambda F, Y: np.sinh(F - Y), 'cosh')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["-C", 3, "-m", 4, "-n", 5, "--loss", "mine:cosh", "--t-end", 1, "--no-figures", "-q"]
    assert command("simulate", *words, "--out", tmp_path / "run") == 0
    assert nf.load(tmp_path / "run").problem.loss.name == "cosh"


def test_nothing_else_is_replaced(tmp_path):
    solution = solved()
    solution.save(tmp_path / "run")
    with pytest.raises(nf.InputError, match="exists"):
        solution.save(tmp_path / "run")
    solution.save(tmp_path / "run", overwrite=True, figures=True)
    assert (tmp_path / "run" / "figures" / "run.png").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(nf.InputError):
        solution.save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_damaged_and_older_runs_are_refused_by_name(tmp_path):
    solved().save(tmp_path / "run")
    path = tmp_path / "run" / states.STATES
    arrays, header = states.files.read_arrays(path)
    for absent in ("packed", "kept"):
        states.files.write_arrays(path, {k: v for k, v in arrays.items() if k != absent}, header)
        with pytest.raises(nf.InputError, match="is damaged"):
            nf.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(nf.InputError, match="keeps no states"):
        nf.load(tmp_path / "run")
    with pytest.raises(nf.InputError, match="does not exist"):
        nf.load(tmp_path / "nowhere")
    with pytest.raises(nf.InputError, match="no file of its own"):
        nf.save(BLOCK, tmp_path / "kernel")
    (tmp_path / "text").write_text("no fit")
    with pytest.raises(nf.InputError, match="cannot be read as JSON"):
        nf.load(tmp_path / "text")


def test_states_come_back_with_labels_or_sizes(tmp_path):
    state = nf.initial.make("gaussian", SIZES)
    state.save(tmp_path / "a.npz", sizes=SIZES, kernel=BLOCK)
    labels = np.arange(12) % 3
    nf.save(state, tmp_path / "b.npz", labels=labels)
    one, two = nf.load(tmp_path / "a.npz"), nf.load(str(tmp_path / "b.npz"))
    np.testing.assert_array_equal(one.state.H, state.H)
    np.testing.assert_array_equal(two.state.H, state.H[:, np.argsort(labels, kind="stable")])
    assert (one.kernel, one.sizes, two.kernel) == (BLOCK, SIZES, None)
    with pytest.raises(nf.InputError, match="are needed"):
        state.save(tmp_path / "c.npz")
    with pytest.raises(nf.InputError, match="exists"):
        state.save(tmp_path / "a.npz", sizes=SIZES)


def test_ensembles_come_back_of_configurations_of_problems_and_of_the_command(tmp_path):
    config = nf.SimulateConfig(classes=3, per_class=4, features=5, t_end=1.0, rtol=1e-6)
    problems = [nf.Problem(SIZES, BLOCK, nf.initial.make("gaussian", SIZES, seed=k)) for k in range(2)]
    inline = ThreadPoolExecutor(1)
    for name, found in {
        "config": nf.ensemble(config, [4, 2], inline),
        "problems": nf.ensemble(problems, executor=inline, times=[0.5, 1.0]),
    }.items():
        found.save(tmp_path / name)
        again = nf.load(tmp_path / name)
        assert repr(again) == repr(found)
        assert again.members == found.members
        for series, values in found.series.items():
            np.testing.assert_array_equal(again.series[series], values)
        assert command("show", tmp_path / name) == 0
    tables = read_toml(tmp_path / "config" / "config.toml")
    assert tables["sizes"]["classes"] == 3


def test_the_compiled_engine_gives_the_ensemble_of_the_others_and_keeps_its_program(tmp_path, monkeypatch):
    problems = [nf.Problem(SIZES, BLOCK, nf.initial.make("gaussian", SIZES, seed=k)) for k in range(3)]
    plain = nf.ensemble(problems, executor=ThreadPoolExecutor(1), times=[0.0, 0.5, 1.0])
    seen = []
    fast = nf.ensemble(problems, times=[0.0, 0.5, 1.0], engine="jax", progress=lambda *now: seen.append(now))
    assert seen == [("members", k, 3) for k in (1, 2, 3)]
    np.testing.assert_array_equal(fast.times, plain.times)
    assert [(member.engine, member.reason) for member in fast.members] == [("jax", nf.Reason.T_END)] * 3
    assert [member.steps for member in fast.members] == [member.steps for member in plain.members]
    assert list(fast.series) == list(plain.series)
    for name, values in plain.series.items():
        # Of E, which is projected now and then, the drift is known to the tolerance.
        np.testing.assert_allclose(fast.series[name], values, rtol=1e-6, atol=1e-7)
    # Prepared and evaluated by others.
    monkeypatch.setattr(carried, "PART", 2)
    spread = nf.ensemble(problems, executor=ThreadPoolExecutor(2), times=[0.0, 0.5, 1.0], engine="jax")
    assert [replace(m, seconds=0.0) for m in spread.members] == [
        replace(m, seconds=0.0) for m in fast.members
    ]
    for name, values in fast.series.items():
        np.testing.assert_array_equal(spread.series[name], values)
    fast.save(tmp_path / "fast")
    assert nf.load(tmp_path / "fast").members == fast.members
    # Others of the same shapes: states, kernels and times are what the program is given, not what it is.
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    others = [
        nf.Problem(SIZES, nf.BlockKernel(2.0 + k, 0.5, 0.25), nf.initial.make("gaussian", SIZES, seed=7 + k))
        for k in range(5)
    ]
    later = nf.ensemble(others, times=[0.25, 0.5, 0.75, 0.8], engine="jax")
    assert not [event for event in compiled if "compile" in event]
    expected = nf.solve(others[0], save_at=[0.25], rtol=1e-9).series["loss"][0]
    assert later.series["loss"][0, 0] == pytest.approx(expected, rel=1e-6)
    jax.jit(lambda x: x + 1)(2.0)
    assert [event for event in compiled if "compile" in event]


def test_fits_come_back(tmp_path):
    found = nf.Fit(
        kind="block",
        kernel=BLOCK,
        estimates={"kappa_d": Estimate(1.0, 0.1), "kappa_n": Estimate(float("nan"), float("inf"))},
        start={"kappa_d": 0.9, "kappa_n": 0.0},
        noise=0.1,
        misfit=0.2,
        condition=float("inf"),
        warnings=("one",),
        converged=True,
        evaluations=7,
    )
    found.save(tmp_path / "fit.json")
    again = nf.load(tmp_path / "fit.json")
    assert repr(again) == repr(found)
    assert again.as_dict()["kernel"] == found.as_dict()["kernel"]
    classes = nf.ClassBlockKernel.from_block(BLOCK, 3)
    for kernel in (classes, nf.ScheduledKernel((0.0, 1.0), (BLOCK, BLOCK))):
        nf.save(nf.Fit(**{**vars(found), "kernel": kernel}), tmp_path / "other.json", overwrite=True)
        assert load_fit(tmp_path / "other.json").kernel.as_dict() == kernel.as_dict()


def test_a_sweep_comes_back_as_its_table(tmp_path):
    table = nf.sweep.Table(
        ("seed",),
        {
            "seed": np.array([0, 1]),
            "key": np.array(["a", "b"]),
            "status": np.array(["done", "failed"]),
            "error": np.array(["", "no"]),
            "loss.final": np.array([1.0, np.nan]),
        },
    )
    table.write(tmp_path)
    found = nf.load(tmp_path)
    assert found.swept == ("seed",)
    np.testing.assert_array_equal(found.columns["loss.final"], table.columns["loss.final"])
    assert repr(found) == "Table(2 cells over seed; 1 numbers each, 1 failed)"
    assert found._repr_html_().count("<tr>") == 3
