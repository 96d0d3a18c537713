"""Laws of a network that another program trains: kept by the recorder, followed as ours are."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation import conservation_laws
from ntkflow_validation.cli.laws import laws as laws_command
from ntkflow_validation.pipeline.laws import laws_of_run
from ntkflow_validation.recording import Recorder
from ntkflow_validation.runs.law_values import read_values

import ntkflow as nf
from ntkflow.errors import InputError

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(3), 4)
X = RNG.normal(size=(12, 4)) + 2 * np.eye(3, 4)[Y]
RATE, DECAY, STEPS = 5e-4, 0.5, 60
CLOCK = nf.Clock(RATE, "half-squared", "sum", samples=12, classes=3, weight_decay=DECAY, decay_on="weights")


def outputs(p, x):
    a = x @ p["hidden"]
    return ((a * (a > 0)) @ p["readout"]["kernel"] + p["readout"]["bias"]) @ p["head"]


# Of groups of parameters, over that of the head, in which time is counted.
RATES = {"hidden": 3.0, "readout.kernel": 0.25, "readout.bias": 2.0}


def trained(rates=None):
    """Parameters and features after every step of gradient descent, by hand."""
    rates = rates or dict.fromkeys(RATES, 1.0)
    hidden, kernel, bias = (RATE * rates[name] for name in RATES)
    rng = np.random.default_rng(1)
    p = {
        "hidden": rng.normal(size=(4, 5)),
        "readout": {"kernel": rng.normal(size=(5, 4)), "bias": rng.normal(size=4)},
        "head": rng.normal(size=(4, 3)),
    }
    for _ in range(STEPS):
        z = X @ p["hidden"]
        a = z * (z > 0)
        H = a @ p["readout"]["kernel"] + p["readout"]["bias"]
        yield p, H
        R = H @ p["head"] - np.eye(3)[Y]
        back = R @ p["head"].T
        inner = (back @ p["readout"]["kernel"].T) * (z > 0)
        p = {
            "hidden": p["hidden"] - hidden * (X.T @ inner + DECAY * p["hidden"]),
            "readout": {
                "kernel": p["readout"]["kernel"] - kernel * (a.T @ back + DECAY * p["readout"]["kernel"]),
                "bias": p["readout"]["bias"] - bias * back.sum(axis=0),
            },
            "head": p["head"] - RATE * (H.T @ R + DECAY * p["head"]),
        }


@pytest.fixture(scope="module")
def laws():
    params, _ = next(trained())
    return conservation_laws(outputs, params, X)


@pytest.fixture(scope="module")
def recorded(laws, tmp_path_factory):
    path = tmp_path_factory.mktemp("laws") / "run"
    with Recorder(path, Y, clock=CLOCK, laws=laws) as recorder:
        for step, (p, H) in enumerate(trained()):
            recorder(step, H, p["head"].T, None, params=p)
    return recorder.run


def test_values_are_kept_with_every_snapshot_the_last_one_too(recorded, laws):
    everything = [p for p, _ in trained()]
    for step in (0, recorded.steps()[-1]):
        kept = read_values(recorded, step)
        np.testing.assert_allclose(kept.q, [law.value(everything[step]) for law in laws])
    assert recorded.steps()[-1] == STEPS - 1


def test_Q_is_that_of_the_readout(recorded):
    p, _ = next(trained())
    V, c = p["readout"]["kernel"], p["readout"]["bias"]
    kept = read_values(recorded, 0)
    np.testing.assert_allclose(kept.Q, p["head"] @ p["head"].T - V.T @ V - np.outer(c, c), atol=1e-12)
    # The bias does not decay.
    np.testing.assert_allclose(kept.still_Q, -np.outer(c, c), atol=1e-12)


def test_they_are_followed_as_ours_are(recorded):
    found = laws_of_run(recorded)
    assert found.certified
    assert sum(family.count for family in found.families) == 9
    for family in found.families:
        assert family.error < 0.5 * family.error_if_constant
    assert found.imbalance.error[-1] < 0.02
    # What is left over is what the steps add, eta^2 (|G_W|^2 - |G_V|^2 - |g_c|^2) each, of which decay takes 3 % at most.
    added = 0.0
    before = None
    for p, _ in trained():
        flat = np.concatenate([p["head"].ravel(), p["readout"]["kernel"].ravel(), p["readout"]["bias"]])
        signs = np.repeat([1.0, -1.0, -1.0], [12, 20, 4])
        added += 0.0 if before is None else float(np.sum(signs * (flat - before) ** 2))
        before = flat
    (readout,) = (family for family in found.families if "readout.bias" in family.name)
    assert readout.balance[-1] - readout.expected[-1] == pytest.approx(added, rel=0.04)
    assert found.imbalance.estimate == (None,) * len(found.steps)
    assert "gradients were not recorded" in found.how


def test_groups_with_rates_of_their_own_weight_what_is_conserved(laws, tmp_path):
    weighted = laws.at_rates(RATES)
    runs = []
    for name, own in (("weighted", weighted), ("plain", laws)):
        with Recorder(tmp_path / name, Y, clock=CLOCK, laws=own) as recorder:
            for step, (p, H) in enumerate(trained(RATES)):
                recorder(step, H, p["head"].T, None, params=p)
        runs.append(recorder.run)
    found, plain = (laws_of_run(run) for run in runs)
    for family, other in zip(found.families, plain.families, strict=True):
        assert family.error < 0.02
        assert family.error < 0.3 * min(family.error_if_constant, other.error)
    assert found.imbalance.error[-1] < 0.3 * plain.imbalance.error[-1]
    assert "readout.kernel 0.25" in found.how
    assert "rates" not in plain.how
    p, _ = next(trained())
    V, c = p["readout"]["kernel"], p["readout"]["bias"]
    Q = p["head"] @ p["head"].T - V.T @ V / 0.25 - np.outer(c, c) / 2
    np.testing.assert_allclose(read_values(runs[0], 0).Q, Q, atol=1e-12)


def test_q_moves_by_the_rate_that_its_law_says(laws):
    p, _ = next(trained())
    decay = {"hidden": 0.3, "readout.kernel": 0.5, "head": 0.7}
    names = ("hidden", "readout.kernel", "readout.bias", "head")

    def at(flat):
        return {"hidden": flat[0], "readout": {"kernel": flat[1], "bias": flat[2]}, "head": flat[3]}

    flat = [p["hidden"], p["readout"]["kernel"], p["readout"]["bias"], p["head"]]
    z = X @ flat[0]
    a = z * (z > 0)
    H = a @ flat[1] + flat[2]
    R = H @ flat[3] - np.eye(3)[Y]
    back = R @ flat[3].T
    slopes = [X.T @ ((back @ flat[1].T) * (z > 0)), a.T @ back, back.sum(axis=0), H.T @ R]
    velocity = [
        -RATES.get(n, 1.0) * (g + decay.get(n, 0.0) * t) for n, g, t in zip(names, slopes, flat, strict=True)
    ]
    small = 1e-6
    there, before = (
        at([t + sign * small * v for t, v in zip(flat, velocity, strict=True)]) for sign in (1, -1)
    )
    for law in laws.at_rates(RATES):
        moved = (law.value(there) - law.value(before)) / (2 * small)
        assert moved == pytest.approx(law.rate(p, decay), abs=1e-5)
        assert law.rate(p, 0.5) == pytest.approx(law.rate(p, dict.fromkeys(names, 0.5)))


@pytest.mark.parametrize("rates", [{"hidden": 0.0}, {"hidden": float("nan")}, {"body": 2.0}])
def test_rates_are_positive_and_of_tensors_that_laws_have(laws, rates):
    with pytest.raises(InputError, match="rates"):
        laws.at_rates(rates)


def test_without_laws_it_is_said_what_is_missing(tmp_path):
    with Recorder(tmp_path / "run", Y, clock=CLOCK) as recorder:
        for step, (p, H) in enumerate(trained()):
            recorder(step, H, p["head"].T, None)
    with pytest.raises(InputError, match="needs the layer below") as refused:
        laws_of_run(recorder.run)
    assert "laws=nf.conservation_laws" in refused.value.remedy


def test_what_does_not_fit_is_refused_by_name(laws, recorded, tmp_path):
    p, H = next(trained())
    with pytest.raises(InputError, match="at least one"):
        Recorder(tmp_path / "run", Y, clock=CLOCK, laws=replace(laws, found=()))
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK, laws=laws)
    with pytest.raises(InputError, match="needed by laws"):
        recorder(0, H, p["head"].T, None)
    with pytest.raises(InputError, match="no tensor of these parameters"):
        recorder(0, H, p["head"].T, None, params={"hidden": p["hidden"]})


def test_other_laws_do_not_go_on(laws, tmp_path):
    first, second = list(trained())[:2]
    with Recorder(tmp_path / "run", Y, clock=CLOCK) as recorder:
        recorder(0, first[1], first[0]["head"].T, None)
    again = Recorder(tmp_path / "run", Y, clock=CLOCK, laws=laws)
    with pytest.raises(InputError, match="not followed from the first snapshot on"):
        again(1, second[1], second[0]["head"].T, None, params=second[0])
    assert again.run.steps() == [0]


def test_a_module_of_torch_is_its_own_parameters(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4))
    net = torch.nn.Sequential(body, torch.nn.Linear(4, 3))
    x = X.astype(np.float32)
    found = conservation_laws(net, None, x)
    with Recorder(
        tmp_path / "run",
        Y,
        clock=CLOCK,
        X=x,
        features=lambda net, x: net[0](x),
        head="1",
        kernels=None,
        laws=found,
    ) as recorder:
        for step in range(2):
            recorder(step, net)
    W, V, c = (p.detach().double().numpy() for p in (net[1].weight, net[0][2].weight, net[0][2].bias))
    kept = read_values(recorder.run, 0)
    np.testing.assert_allclose(kept.Q, W.T @ W - V @ V.T - np.outer(c, c), atol=1e-12)
    laws_command(recorder.path, None, json=False, quiet=False)
    assert "Q = W^T W - V V^T - c c^T" in capsys.readouterr().out
