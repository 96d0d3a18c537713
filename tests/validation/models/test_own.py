import hashlib
import sys
import tomllib

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.models import build
from ntkflow_validation.models.own import SourceWarning
from ntkflow_validation.precision import full
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.sweep.settings import changed
from ntkflow_validation.training.complete import completed
from ntkflow_validation.training.train import prepare, train

from ntkflow.errors import InputError
from tests.commands import exit_code

SOURCE = """
import equinox
import jax
import jax.numpy as jnp
from flax import linen, nnx


class Body(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.norm = nnx.Linear(5, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.layer(x)))


class Lin(linen.Module):
    width: int = 4

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(self.width)(x))
        return linen.Dense(3)(linen.relu(x))


lin = Lin(width=6)


class Eqx(equinox.Module):
    layer: equinox.nn.Linear

    def __init__(self, key):
        self.layer = equinox.nn.Linear(5, 3, key=key)

    def __call__(self, x):
        return jax.nn.tanh(self.layer(x))


def sized(input_shape, rngs):
    return nnx.Linear(input_shape[0], 7, rngs=rngs)


def still(key):
    return equinox.nn.Sequential([equinox.nn.Linear(5, 3, key=key), equinox.nn.Dropout(0.5, inference=True)])


def drops(key):
    return equinox.nn.Sequential([equinox.nn.Linear(5, 3, key=key), equinox.nn.Dropout(0.5)])


def stateful(key):
    return equinox.nn.Sequential([equinox.nn.Linear(5, 3, key=key), equinox.nn.BatchNorm(3, "batch", mode="ema")])


class Dropping(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.drop = nnx.Linear(5, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.layer(x))


class LinenDropping(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dropout(0.5, deterministic=not train)(linen.Dense(3)(x))


class Untold(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=True)(linen.Dense(3)(x))


class Needy(nnx.Module):
    def __init__(self, width, rngs):
        pass


class Several(Body):
    def __call__(self, x):
        return super().__call__(x), x


class Empty(nnx.Module):
    def __init__(self, rngs):
        pass

    def __call__(self, x):
        return x


class Flat(Body):
    def __call__(self, x):
        return super().__call__(x).sum(axis=1)


def half(rngs):
    return nnx.Linear(5, 4, param_dtype=jnp.bfloat16, rngs=rngs)


def nothing():
    return 3


def made(rngs):
    raise RuntimeError("not today")


ready = nnx.Linear(5, 4, rngs=nnx.Rngs(0))
number = 3
"""
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "my.npz"
    np.savez(path, X=RNG.normal(size=(12, 5)), y=np.arange(12) % 3)
    return DataConfig(str(path), classes=0, per_class=0)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    """The user's module lies where one works."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "ownnetworks.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        yield folder / "ownnetworks.py"
        sys.modules.pop("ownnetworks", None)


def config_of(data, name, **training):
    recipe = TrainConfig(**{"steps": 3, "learning_rate": 0.1, "snapshots": 3, **training})
    return RunConfig(data=data, model=ModelConfig(f"ownnetworks:{name}"), training=recipe)


@pytest.mark.parametrize(
    ("name", "features", "norm"),
    [
        ("Body", 4, "batch"), ("Eqx", 3, "none"), ("sized", 7, "none"),
        pytest.param("Lin", 3, "batch", marks=pytest.mark.slow), pytest.param("lin", 3, "batch", marks=pytest.mark.slow),
        pytest.param("still", 3, "none", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_network_tells_what_it_is(name, features, norm, data, module):
    model = completed(config_of(data, name)).model
    assert (model.features, model.norm) == (features, norm)
    assert (model.source, model.sha256) == (str(module), hashlib.sha256(module.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("drops", "dropout"), ("Dropping", "dropout"), ("LinenDropping", "dropout"), ("stateful", "keeps a state"),
        ("Untold", "not told whether it trains"), ("Needy", "width"), ("Several", "gives tuple"), ("Empty", "no parameters"),
        ("Flat", r"of shape \(2,\)"), ("half", "type bfloat16"), ("nothing", "gives int"), ("made", "RuntimeError: not today"),
        ("ready", "seed"), ("number", "is int"), ("none", "cannot be imported"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_here_is_refused_in_words(name, words, data):
    with pytest.raises(InputError, match=words) as caught:
        completed(config_of(data, name))
    assert caught.value.argument == "model.name"


def test_a_network_that_does_not_fit_the_data_or_the_settings_is_refused(data):
    with pytest.raises(InputError, match=r"does not run on inputs of shape \(8, 8, 1\)"):
        completed(config_of(DataConfig(), "Body"))
    with pytest.raises(InputError, match="gives 4 features"):
        build(ModelConfig("ownnetworks:Body", features=5), (5,), 3, 0)
    for setting in ({"width": 3}, {"depth": 3}, {"norm": "batch"}, {"scale": 2.0}, {"readout": "pool"}):
        with pytest.raises(InputError, match=f"model.{next(iter(setting))}"):
            ModelConfig("ownnetworks:Body", **setting)
    with pytest.raises(InputError, match=r"model.sha256"):
        ModelConfig("mlp", sha256="0")


def test_a_network_of_ones_own_is_only_named_until_it_is_made():
    """A configuration of others runs nothing."""
    assert RunConfig.from_dict({"model": {"name": "no_such_module:Body"}}).model.features == 0


@pytest.mark.slow
def test_batches_of_linen_and_nnx_normalise_alike(data):
    """The same numbers in both frameworks give the same outputs, statistics and recalibration."""
    network = build(ModelConfig("ownnetworks:Lin"), (5,), 3, seed=0)
    x = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
    params, statistics = network.initial
    calibrated = network.compiled_calibrated(params, statistics, x)
    trained, moved = jax.jit(full(network.train_outputs))(params, statistics, x)
    np.testing.assert_allclose(full(network.outputs)(params, calibrated, x), trained, atol=1e-5)
    hidden = full(jnp.matmul)(x, params["body"]["params"]["Dense_0"]["kernel"])
    seen = calibrated["body"]["statistics"]["BatchNorm_0"]
    np.testing.assert_allclose(seen["mean"], hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(seen["var"], hidden.var(0), atol=1e-5)
    np.testing.assert_allclose(
        moved["body"]["statistics"]["BatchNorm_0"]["mean"], 0.01 * seen["mean"], atol=1e-5
    )


def test_equinox_is_applied_to_each_sample(data):
    network = build(ModelConfig("ownnetworks:Eqx"), (5,), 3, seed=2)
    x = jnp.asarray(RNG.normal(size=(4, 5)), jnp.float32)
    weights = equinox.nn.Linear(5, 3, key=jax.random.key(2))
    expected = np.tanh(x @ weights.weight.T + weights.bias)
    np.testing.assert_allclose(network.features(*network.initial, x), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Body", "Lin", "Eqx"])
def test_training_moves_it_and_its_kernel_is_measured(name, data):
    config = completed(config_of(data, name))
    dataset, network = prepare(config)
    first, *_, last = train(config, dataset, network)
    assert (first.sizes.C, first.sizes.n) == (3, config.model.features)
    body = [jax.tree.leaves(s.train.variables.params["body"]) for s in (first, last)]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(*body, strict=True) if a.ndim == 2)
    found = measure_snapshot(network, last.train.variables, dataset, KernelConfig())
    variables = last.train.variables
    jacobian = jax.jacobian(network.body_features)(
        variables.params["body"], variables, jnp.asarray(dataset.x)
    )
    squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(jacobian))
    np.testing.assert_allclose(
        np.mean(found.class_block().kappa_d), squares / (12 * config.model.features), rtol=1e-4
    )


def test_a_source_that_has_changed_is_warned_of(data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    path = tmp_path / "package" / "changing.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    plain = RunConfig(data=data, model=ModelConfig("package.changing:sized"))
    config = completed(plain)
    # From elsewhere, in a process that has not seen it: found where it was.
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    for name in ("package", "package.changing"):
        monkeypatch.delitem(sys.modules, name)
    assert completed(config) is config
    build(config.model, (5,), 3, 0)
    path.write_text(SOURCE + "\n")
    with pytest.warns(SourceWarning, match=config.model.sha256):
        build(config.model, (5,), 3, 0)
    with pytest.warns(SourceWarning):
        again = completed(config, again=True)
    assert again.model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != config.model.sha256
    assert changed(again, {"model.name": "mlp"}).model.source == ""


@pytest.mark.slow
def test_a_run_of_ones_own_network_is_followed_up_from_elsewhere(data, module, tmp_path, monkeypatch, capsys):
    settings = ("model.name=ownnetworks:sized", "training.steps=4", "training.snapshots=3", "kernels.count=2")
    words = [word for text in settings for word in ("--set", text)]
    out = tmp_path / "run"
    assert exit_code("validate", "train", "--data", data.name, "--out", out, *words, "--quiet") == 0
    model = tomllib.loads((out / "config.toml").read_text())["model"]
    assert (model["features"], model["source"]) == (7, str(module))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(module.parent)])
    monkeypatch.delitem(sys.modules, "ownnetworks")
    assert exit_code("validate", "kernels", out, "--quiet") == 0
    assert exit_code("validate", "compare", out, "--rungs", "class-block", "--quiet") == 0
    assert exit_code("validate", "report", out, "--quiet") == 0
    assert (
        exit_code(
            "validate", "train", "--config", out / "config.toml", "--out", tmp_path / "again", "--quiet"
        )
        == 0
    )
    assert capsys.readouterr().err == ""
