"""A network whose running statistics lag behind is recorded with those of the recorded samples, and is left as it was."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState
from ntkflow_validation.kernels import measure
from ntkflow_validation.normalisation import StatisticsWarning
from ntkflow_validation.precision import full
from ntkflow_validation.recording import Recorder, RecordingWarning, each
from ntkflow_validation.recording.dropout import SENTENCE
from ntkflow_validation.recording.statistics import _standing_for_all
from ntkflow_validation.runs.results import deviations
from ntkflow_validation.runs.rundir import RunDirectory

import ntkflow as nf
from tests.validation.recording.loops import CLOCK, C, Y, inputs, n

X = (3 * inputs() + 2).astype(np.float32)
ORDER = np.argsort(Y, kind="stable")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


class Nnx(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        self.one, self.norm = nnx.Linear(7, 6, rngs=rngs), nnx.BatchNorm(6, rngs=rngs)
        self.drop, self.two = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(6, n, rngs=rngs)
        self.head = nnx.Linear(n, C, rngs=rngs)

    def features(self, x):
        return self.two(self.drop(nnx.relu(self.norm(self.one(x)))))


class Linen(linen.Module):
    def setup(self):
        self.one, self.norm, self.two = linen.Dense(6), linen.BatchNorm(), linen.Dense(n)
        self.head = linen.Dense(C)

    def features(self, x, train=False):
        return self.two(linen.relu(self.norm(self.one(x), use_running_average=not train)))

    def __call__(self, x):
        return self.head(self.features(x))


LINEN = Linen()


def torch_net():
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.body = torch.nn.Sequential(
        torch.nn.Linear(7, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(6, n)
    )  # fmt: skip
    net.head = torch.nn.Linear(n, C)
    return net


def of_nnx(net, x):
    return net.features(x)


def of_linen(variables, x):
    return LINEN.apply(variables, x, method="features")


def of_torch(net, x):
    return net.body(x)


def head_of_linen(variables):
    return variables["params"]["head"]


def made(kind):
    """A network with statistics as at the start, the function of its features, where its head is, and H in training mode."""
    if kind == "nnx":
        net, training = Nnx(), Nnx()
        training.drop.deterministic = True
        return net, of_nnx, "head", full(training.features)(X)
    if kind == "torch":
        import torch

        net, training = torch_net(), torch_net()
        training.body[3].eval()
        return net, of_torch, "head", training.body(torch.from_numpy(X)).detach().numpy()
    variables = LINEN.init(jax.random.key(0), X)
    found, _ = full(LINEN.apply)(variables, X, train=True, mutable=["batch_stats"], method="features")
    return variables, of_linen, head_of_linen, found


def contents(network):
    if hasattr(network, "state_dict"):
        return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}
    return {
        str(path): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            nnx.state(network, nnx.Param, nnx.BatchStat) if isinstance(network, nnx.Module) else network
        )
    }


KINDS = ["nnx", "linen", pytest.param("torch", marks=needs_torch)]


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_kernel_are_those_of_the_recorded_samples_statistics(tmp_path, kind):
    net, features, head, wanted = made(kind)
    before = contents(net)
    with Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None
    ) as recorder:
        recorder(0, net)
    run = RunDirectory.open(tmp_path / "run")
    np.testing.assert_allclose(run.read_snapshot(0).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)
    # What was handed over is as it was.
    after = contents(net)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    if kind == "nnx":
        assert (net.norm.use_running_average, net.drop.deterministic) == (False, False)
        assert type(net.norm) is nnx.BatchNorm
    if kind == "torch":
        assert all(part.training for part in net.modules())
    # Of the dropout in a module it is said that features are without it; in Linen none is seen.
    assert run.training().remarks == (None if kind == "linen" else (SENTENCE,))
    assert (run.config.model.norm, run.config.observed) == ("batch", "recalibrated")
    assert any("those of the recorded samples" in sentence for sentence in deviations(run, run.training()))


@pytest.mark.slow
def test_the_kernel_is_that_of_the_recalibrated_network(tmp_path):
    net, features, head, _ = made("nnx")
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=[0])
    recorder(0, net)
    fresh = nf.recalibrate(net, X, forward=features)
    fresh.eval()
    kernel = measure(fresh, None, X, Y, forward=features).features.mean[np.ix_(ORDER, ORDER)]
    found = recorder.run.measurement(0).features.mean
    np.testing.assert_allclose(found, kernel, rtol=1e-4, atol=1e-4)


@needs_torch
def test_random_numbers_of_torch_go_on_as_without_a_recorder(tmp_path):
    import torch

    net, features, head, _ = made("torch")
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None)(0, net)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_a_state_of_flax_is_recorded_with_its_statistics(tmp_path):
    variables, features, head, wanted = made("linen")

    class State(TrainState):
        batch_stats: object

    import optax

    state = State.create(
        apply_fn=LINEN.apply, tx=optax.adam(0.1), params=variables["params"], batch_stats=variables["batch_stats"]
    )  # fmt: skip
    through = Recorder(
        tmp_path / "each", Y, clock=CLOCK, X=X, kernels=[0], head="params.head",
        features=lambda state, x: features({"params": state.params, "batch_stats": state.batch_stats}, x),
    )  # fmt: skip
    each(through)(0, state)
    itself = Recorder(tmp_path / "itself", Y, clock=CLOCK, X=X, features=features, head=head, kernels=[0])
    itself(0, variables)
    a, b = (recorder.run.measurement(0) for recorder in (through, itself))
    np.testing.assert_allclose(through.run.read_snapshot(0).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)
    np.testing.assert_array_equal(*(r.run.read_snapshot(0).state.H for r in (through, itself)))
    # Neither statistics nor what Adam keeps are parameters.
    np.testing.assert_allclose(a.features.mean, b.features.mean, rtol=1e-6)


@pytest.mark.slow
def test_what_a_user_compiled_stays_what_it_is(tmp_path):
    variables, features, head, wanted = made("linen")
    compiled = jax.jit(lambda variables, x: features(variables, x))
    stale = np.asarray(features(variables, X))
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=compiled, head=head, kernels=[0], measure={"bn": "batch"}
    )  # fmt: skip
    recorder(0, variables)
    np.testing.assert_allclose(recorder.run.read_snapshot(0).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)
    np.testing.assert_allclose(compiled(variables, X), stale, atol=1e-6)


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_nothing_is_compiled_twice(tmp_path, kind):
    net, features, head, _ = made(kind)
    traced = []

    def counted(net, x):
        traced.append(1)
        return features(net, x)

    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=counted, head=head, kernels=None)
    recorder(0, net)
    # Statistics and features are one pass.
    assert len(traced) == 1
    traced.clear()
    recorder(1, net)
    assert not traced


@needs_torch
def test_a_record_is_one_pass_and_no_copy(tmp_path, monkeypatch):
    import torch

    net, features, head, wanted = made("torch")
    passed = []
    net.body.register_forward_hook(lambda *_: passed.append(1))
    monkeypatch.setattr(torch.nn.Module, "__deepcopy__", lambda *_: pytest.fail("copied"), raising=False)
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None)
    for step in range(3):
        recorder(step, net)
    assert len(passed) == 3
    np.testing.assert_allclose(recorder.run.read_snapshot(2).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_of_more_samples_than_fit_into_a_pass_some_of_every_class_stand_for_all(tmp_path, kind, monkeypatch):
    net, features, head, _ = made(kind)
    monkeypatch.setattr("ntkflow_validation.recording.statistics.ONE_PASS", 6)
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None)
    recorder(0, net)
    rows = _standing_for_all(Y)
    assert (len(rows), np.bincount(Y[rows]).min()) == (6, 6 // C)
    if kind == "linen":
        fresh = nf.recalibrate(LINEN, X[rows], net, forward=lambda net, x: net.features(x))
        wanted = full(features)(fresh, X)
    elif kind == "nnx":
        fresh = nf.recalibrate(net, X[rows], forward=features)
        fresh.eval()
        wanted = full(features)(fresh, X)
    else:
        import torch

        wanted = features(nf.recalibrate(net, X[rows], forward=features).eval(), torch.from_numpy(X)).detach()
    np.testing.assert_allclose(recorder.run.read_snapshot(0).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)


def test_a_head_that_is_a_function_is_given_the_statistics_of_the_samples(tmp_path):
    net, features, _, _ = made("nnx")

    def head(net):
        return net.head.kernel[...].T, net.norm.mean[...][:C]

    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None)
    recorder(0, net)
    wanted = nf.recalibrate(net, X, forward=features).norm.mean[...][:C]
    np.testing.assert_allclose(recorder.run.read_snapshot(0).state.b, wanted, rtol=1e-6)
    assert np.abs(wanted).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_without_recalibration_stale_statistics_are_said_and_kept(tmp_path, kind):
    net, features, head, _ = made(kind)
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None, recalibrate=False
    )  # fmt: skip
    with pytest.warns(
        StatisticsWarning, match="running statistics of 1 of 1 .* record with recalibrate=True"
    ):
        recorder(0, net)
    recorder(1, net)  # once
    recorder.close()
    run = RunDirectory.open(tmp_path / "run")
    remark = run.training().remarks[0]
    assert remark.startswith("batch normalisation, step 0: running statistics of 1 of 1")
    said = deviations(run, run.training())
    assert remark in said
    assert any("measured on running averages" in sentence for sentence in said)
    fresh = nf.recalibrate(net, X, forward=features) if kind != "linen" else None
    H = run.read_snapshot(0).state.H
    if fresh is not None:
        other = Recorder(
            tmp_path / "fresh", Y, clock=CLOCK, X=X, features=features, head=head, kernels=None, recalibrate=False
        )  # fmt: skip
        other(0, fresh)
        assert other.run.training().remarks == (SENTENCE,)
        assert np.abs(other.run.read_snapshot(0).state.H - H).max() > 0.1


def test_statistics_that_cannot_be_seen_are_said_and_the_run_goes_on(tmp_path):
    graph, state = nnx.split(Nnx())

    def features(state, x):
        net = nnx.merge(graph, state)
        net.eval()
        return net.features(x)

    def record(steps):
        with Recorder(
            tmp_path / "run", Y, clock=CLOCK, X=X, features=features, kernels=None,
            head=lambda state: nnx.merge(graph, state).head,
        ) as recorder:  # fmt: skip
            for step in steps:
                recorder(step, state)
        return recorder.run

    with pytest.warns(RecordingWarning, match="cannot be recomputed.*hand over the module itself"):
        run = record([0, 1])
    remark = run.training().remarks[0]
    assert remark in deviations(run, run.training())
    assert run.config.observed == "as given"
    with pytest.warns(RecordingWarning) as said:
        record([1, 2])
    assert {"cannot be" in str(w.message) or "skipped" in str(w.message) for w in said} == {True}
    assert RunDirectory.open(run.path).metrics()[-1].step == 2


@needs_torch
def test_synchronised_normalisation_waits_for_nobody():
    import torch

    net, other = (torch.nn.Sequential(kind(7)) for kind in (torch.nn.SyncBatchNorm, torch.nn.BatchNorm1d))
    # In training mode it would ask the other processes, and refuses a CPU.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "is_initialized", lambda: True)
        patch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
        patch.setattr(torch.distributed, "get_rank", lambda *_: 0)
        found = nf.recalibrate(net, X)
    wanted = nf.recalibrate(other, X)
    torch.testing.assert_close(found[0].running_mean, wanted[0].running_mean)
    torch.testing.assert_close(found[0].running_var, wanted[0].running_var)


def test_a_network_without_statistics_is_read_as_it_is(tmp_path):
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=lambda p, x: x @ p["V"], head=lambda p: p["W"], kernels=None
    )  # fmt: skip
    recorder(0, {"V": np.ones((7, n), np.float32), "W": np.ones((C, n))})
    assert (recorder.run.config.model.norm, recorder.run.training().remarks) == ("none", None)


def test_another_choice_is_another_run(tmp_path):
    net, features, head, _ = made("nnx")
    made_with = {"clock": CLOCK, "X": X, "features": features, "head": head, "kernels": None}
    with Recorder(tmp_path / "run", Y, **made_with) as recorder:
        recorder(0, net)
    with pytest.raises(nf.InputError, match=r"another model\.observed \(recalibrated, not running\)"):
        Recorder(tmp_path / "run", Y, recalibrate=False, **made_with)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_of_training_mode_are_recorded(tmp_path, kind):
    net, features, head, wanted = made(kind)
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=features, head=head, kernels=[0],
        measure={"bn": "batch", "probes": 64},
    )  # fmt: skip
    recorder(0, net)
    recorder.close()
    found = recorder.run.measurement(0)
    assert recorder.run.config.kernels.quantities == ("outputs", "row-space", "rayleigh")
    assert any("training mode" in sentence for sentence in deviations(recorder.run, recorder.run.training()))
    # Where every sample moves the statistics, adding one number to all inputs of a layer moves no feature.
    np.testing.assert_allclose(recorder.run.read_snapshot(0).state.H, np.asarray(wanted)[ORDER].T, atol=2e-5)
    x = jnp.asarray(X[ORDER])
    if kind == "nnx":
        copy = nnx.clone(net)
        copy.drop.deterministic = True
        exact = measure(copy, None, x, Y[ORDER], forward=features, bn="batch", probes=64)
    elif kind == "linen":

        def in_training(variables, x):
            return LINEN.apply(variables, x, train=True, mutable=["batch_stats"], method="features")[0]

        exact = measure(in_training, net, x, Y[ORDER], bn="batch", probes=64)
    else:
        copy = torch_net().train()
        copy.body[3].eval()
        exact = measure(copy, None, np.asarray(x), Y[ORDER], forward=features, bn="batch", probes=64)
    for name in ("kappa_d", "kappa_c", "kappa_n"):
        assert getattr(found, name).value == pytest.approx(getattr(exact, name).value, rel=1e-3, abs=1e-4)
