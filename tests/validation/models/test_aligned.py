"""Networks of aligned layers: what the theory's state is, in the parameters of a network."""

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig
from ntkflow_validation.training.train import prepare

import ntkflow as nf
from ntkflow.problem.layers import initial

DATA = DataConfig(name="block", classes=3, per_class=4, kappa_d=1.5, kappa_c=0.9, kappa_n=0.2)


@pytest.mark.parametrize("layers", [1, 3])
def test_its_parameters_have_the_images_of_the_state(layers):
    model = ModelConfig(name="linear", features=5, layers=layers, start="aligned", scale=0.4)
    dataset, network = prepare(RunConfig(seed=3, data=DATA, model=model))
    sizes, kernel = nf.Sizes(3, 4, 5), nf.BlockKernel(1.5, 0.9, 0.2)
    state = initial.make("aligned", sizes, (5,) * layers, kernel, 3, 0.4)
    params = network.initial.params
    X = np.asarray(dataset.x, dtype=np.float64).reshape(12, -1).T
    V1 = np.asarray(params["body"]["dense"]["kernel"], dtype=np.float64).T
    np.testing.assert_allclose(V1 @ X, state.H, atol=1e-6)
    # Nothing of V_1 acts on what no input has.
    np.testing.assert_allclose(np.linalg.svd(V1, compute_uv=False), [0.4, 0.4, 0, 0, 0], atol=1e-6)
    upper = params["body"].get("upper", {})
    for name, V in zip(sorted(upper), state.V, strict=True):
        np.testing.assert_allclose(np.asarray(upper[name]["kernel"]).T, V, atol=1e-6)
    np.testing.assert_allclose(np.asarray(params["head"]["kernel"]).T, state.W, atol=1e-6)
    np.testing.assert_allclose(params["head"]["bias"], 1 / 3, atol=1e-7)
    assert params["head"]["kernel"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": DataConfig(name="digits")}, "blocks"),
        ({"data": DataConfig(name="block", noise=0.1)}, "blocks"),
        ({"model": ModelConfig(name="linear", features=5, start="aligned", head_bias=False)}, "b = 1/C"),
        ({"model": ModelConfig(name="linear", features=1, start="aligned")}, "contrasts"),
        ({"model": ModelConfig(name="linear", features=5, start="aligned", scale=0.0)}, "scale > 0"),
    ],
)
def test_what_has_no_such_start_is_refused(changes, words):
    model = ModelConfig(name="linear", features=5, start="aligned")
    with pytest.raises(nf.InputError, match=words):
        RunConfig(**{"data": DATA, "model": model, **changes})


def test_it_is_of_linear_layers_alone():
    with pytest.raises(nf.InputError, match="not a setting of mlp"):
        ModelConfig(name="mlp", start="aligned")
