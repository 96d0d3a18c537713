"""What cannot be measured is refused by name; precision, modes, memory, stores, frameworks."""

import jax
import jax.numpy as jnp
import ntkflow_validation
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, JaxBackend, measure
from ntkflow_validation.kernels.backends.layers import Layer
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.precision import full

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel, MatrixBlockKernel, TensorKernel
from ntkflow.problem.sizes import Sizes
from tests.validation.kernels.nets import inputs, mlp, parameters

LABELS = np.repeat([0, 1, 2], 4)


def linear(p, x):
    return x @ p["V"]


def normalised(p, x):
    # Batch normalisation in training mode.
    h = x @ p["V"]
    return (h - h.mean(axis=0)) / jnp.sqrt(h.var(axis=0) + 1e-3)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    return {"V": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)}, rng.normal(size=(12, 5)).astype(
        np.float32
    )


def block_inputs(kd, kc, kn):
    """Inputs whose Gram matrix is the block kernel (theory 15)."""
    sizes = Sizes(C=3, m=4, n=3)
    values, vectors = np.linalg.eigh(BlockKernel(kd, kc, kn).matrix(sizes))
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)


def test_the_package_has_the_function():
    assert ntkflow_validation.measure is measure
    with pytest.raises(AttributeError, match="nothing"):
        _ = ntkflow_validation.nothing


@pytest.mark.parametrize("method", ["gram", "class-sums"])
def test_the_linear_network_gives_back_its_inputs_kernel(method):
    x, params = block_inputs(1.5, 0.9, 0.2), {"V": jnp.ones((12, 3))}
    found = measure(linear, params, x, LABELS, method=method, quantities=("tensor", "matrix"))
    values = [found.kappa_d.value, found.kappa_c.value, found.kappa_n.value, found.mu_single.value]
    assert values == pytest.approx([1.5, 0.9, 0.2, 0.6], rel=1e-6)
    expected = BlockKernel(1.5, 0.9, 0.2).eigenvalues(Sizes(C=3, m=4, n=3))
    assert [found.mu_class.value, found.mu_global.value] == pytest.approx(expected[1:], rel=1e-6)
    assert found.neuron_pairs.share == pytest.approx(0, abs=1e-9)
    assert found.to_dict()["tensor_block_residual"] == pytest.approx(0, abs=2e-3)
    np.testing.assert_allclose(found.matrix.single, 0.6 * np.eye(3), atol=1e-6)


def test_every_rung_is_the_same_kernel_where_the_network_is_exactly_block_structured():
    x, params = block_inputs(1.5, 0.9, 0.2), {"V": jnp.ones((12, 3))}
    found = measure(linear, params, x, LABELS, quantities=("tensor", "matrix"))
    sizes, G = Sizes(C=3, m=4, n=3), np.random.default_rng(1).normal(size=(3, 12))
    expected = BlockKernel(1.5, 0.9, 0.2).apply(G, sizes)
    rungs = [getattr(found, name)() for name in
             ("block", "class_block", "sample", "kronecker", "matrix_block", "tensor")]  # fmt: skip
    for rung in rungs:
        np.testing.assert_allclose(rung.apply(G, sizes), expected, atol=1e-5)


def test_matrix_blocks_and_tensor_agree_on_the_directions_they_share():
    labels = np.repeat([0, 1, 2], 4)
    found = measure(mlp, parameters(mlp), inputs(labels), labels, quantities=("tensor", "matrix"))
    blocks, tensor = found.matrix_block(), found.tensor()
    assert isinstance(blocks, MatrixBlockKernel)
    assert isinstance(tensor, TensorKernel)
    Theta = tensor.Theta.reshape(4, 12, 4, 12)
    mean = np.einsum("piqj->pq", Theta) / 12**2
    of_blocks = blocks.A_d / 12 + blocks.A_c / 3 + blocks.A_n
    np.testing.assert_allclose(of_blocks, mean, atol=1e-5)


@pytest.mark.parametrize("method", ["gram", "gram of rows", "class-sums", "probes", "sign-probes"])
def test_mu_single_keeps_its_digits_when_it_is_a_millionth(method, monkeypatch):
    # Samples that differ by 2^-11 of their size: kappa_d - kappa_c is 2e-7 of kappa_d.
    rng = np.random.default_rng(0)
    deviations = np.float64(2**-11) * rng.choice([-1.0, 1.0], size=(2, 20, 50))
    x = (rng.normal(size=(2, 50))[:, None] + deviations).reshape(40, 50).astype(np.float32)
    labels = np.repeat([0, 1], 20)
    exact = np.mean([np.var(x[labels == c].astype(float), axis=0, ddof=1).sum() for c in (0, 1)])
    net = linear
    if method == "gram of rows":
        # Gradients written out, by a function that has not been compiled otherwise.
        method, net = "gram", lambda p, x: linear(p, x)
        monkeypatch.setattr(Layer, "wins", property(lambda _: False))
    found = measure(net, {"V": jnp.ones((50, 2))}, x, labels, method=method, seed=1,
                    probes=400 if method == "sign-probes" else 1)  # fmt: skip
    tolerance = 4 * found.mu_single.standard_error / exact if method == "sign-probes" else 1e-3
    assert tolerance < 0.05
    assert found.mu_single.value == pytest.approx(exact, rel=tolerance)
    assert not jax.config.jax_enable_x64


def test_what_is_not_finite_is_named(problem):
    params, x = problem
    with pytest.raises(InputError, match=r"params\.V = array with 1 NaN"):
        measure(linear, {"V": params["V"].at[0, 0].set(jnp.nan)}, x, LABELS)
    bad = x.copy()
    bad[3, 0] = np.inf
    with pytest.raises(InputError, match=r"^X = "):
        measure(linear, params, bad, LABELS)
    with pytest.raises(InputError, match="neuron 2 of sample"):
        measure(lambda p, x: (x @ p["V"]).at[:, 2].set(jnp.nan), params, x, LABELS)
    with pytest.raises(InputError, match=r"head\.W"):
        measure(linear, params, x, LABELS, head=(np.full((3, 3), np.nan), None))


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"method": "fast"}, "one of auto"),
        ({"bn": "train"}, "one of eval"),
        ({"memory": "lots"}, "size of at least"),
        ({"memory": "5"}, "size of at least"),
        ({"quantities": ("outputs",)}, "classifier"),
        ({"quantities": ("all",)}, "one of outputs"),
        ({"head": (np.ones((2, 3)), None)}, r"\(C, n\)"),
        ({"neurons": 4}, "within 0 .. 2"),
        ({"neurons": [0, 0]}, "different numbers"),
        ({"neurons": 2, "method": "probes"}, "combine all neurons"),
        ({"method": "probes", "probes": 0}, "at least 1"),
        ({"method": "orthogonal-probes", "probes": -1}, "at least 1"),
        ({"per_class": 0}, "at least 1"),
        ({"memory": "1MiB", "quantities": ("tensor",), "copies": 40}, "tensor"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, rule, problem):
    params, x = problem
    copies = settings.pop("copies", 1)
    with pytest.raises(InputError, match=rule):
        measure(linear, params, np.tile(x, (copies, 1)), np.tile(LABELS, copies), **settings)


MASKED = np.ma.masked_array(LABELS, LABELS > 1)


@pytest.mark.parametrize(
    "labels",
    [LABELS[:5], LABELS * 1.0, LABELS - 1, LABELS * 0, LABELS * 2, LABELS > 0, LABELS.astype(str), MASKED],
    ids=str,
)
def test_bad_labels_are_refused(labels, problem):
    with pytest.raises(InputError, match=r"^y = "):
        measure(linear, *problem, labels)


@pytest.mark.parametrize(
    "network", [None, 3, "a network", object()], ids=["none", "number", "text", "object"]
)
def test_what_is_no_network_is_refused(network, problem):
    with pytest.raises(InputError, match="neither a function of"):
        measure(network, None, problem[1], LABELS)


def test_features_of_another_shape_are_refused(problem):
    with pytest.raises(InputError, match="must be"):
        measure(lambda p, x: x @ p["V"][:, 0], *problem, LABELS)


def test_kernels_that_were_not_measured_are_refused(problem):
    found = measure(linear, *problem, LABELS, method="class-sums", neurons=2)
    for name, rule in (("sample", "N x N"), ("tensor", "not measured"), ("matrix_block", "not measured")):
        with pytest.raises(InputError, match=rule):
            getattr(found, name)()
    with pytest.raises(InputError, match="row_space"):
        found.block(of="row_space")
    partial = measure(linear, *problem, LABELS, neurons=2, quantities=("tensor",))
    with pytest.raises(InputError, match="all 3"):
        partial.tensor()
    single = measure(linear, problem[0], problem[1][::4], LABELS[::4])
    for name in ("block", "class_block"):
        with pytest.raises(InputError, match="two samples"):
            getattr(single, name)()


def test_dropout_with_a_fixed_key_is_refused(problem):
    params, x = problem

    def dropped(p, x):
        h = linear(p, x)
        return h * jax.random.bernoulli(jax.random.key(0), 0.5, h.shape)

    with pytest.raises(InputError, match="place among them, as in dropout with a fixed key"):
        measure(dropped, params, x, LABELS)


def test_batch_mode_gives_block_constants_and_nothing_that_looks_at_one_sample(problem):
    params, x = problem
    with pytest.raises(InputError, match="depend on the other samples"):
        measure(normalised, params, x, LABELS)
    for settings in ({"method": "gram"}, {"method": "class-sums"}, {"quantities": ("matrix",)}):
        with pytest.raises(InputError, match="all others"):
            measure(normalised, params, x, LABELS, bn="batch", **settings)
    found = measure(normalised, params, x, LABELS, bn="batch", probes=300)
    assert (found.method, found.bn) == ("sign-probes", "batch")
    # Jacobian of the whole batch at once: samples do see each other here.
    J = np.asarray(full(jax.jacrev(lambda p: normalised(p, jnp.asarray(x))))(params)["V"], dtype=float)
    K = np.einsum("ipab,jpab->ij", J, J) / 3
    same = LABELS[:, None] == LABELS
    for constant, value in ((found.kappa_n, K[~same].mean()), (found.kappa_d, np.diag(K).mean())):
        assert constant.value == pytest.approx(value, abs=4 * constant.standard_error + 1e-5)


def test_the_method_follows_sizes_and_memory(problem, monkeypatch):
    from ntkflow_validation.kernels import measuring

    params, x = problem
    many = np.tile(x, (20, 1)), np.tile(LABELS, 20)
    assert measure(linear, params, x, LABELS).method == "gram"
    assert measure(linear, params, *many, memory="2MiB").method == "class-sums"
    monkeypatch.setattr(measuring, "LONG", 30)
    assert measure(linear, params, x, LABELS).method == "probes"


@pytest.mark.parametrize("method", ["gram", "class-sums", "probes", "sign-probes", "orthogonal-probes"])
def test_an_interrupted_measurement_goes_on(method, problem, tmp_path, monkeypatch):
    from ntkflow_validation.kernels.methods import class_sums, gram

    monkeypatch.setattr(gram, "group_size", lambda *args: 1)
    monkeypatch.setattr(class_sums, "group_size", lambda *args: 1)
    params, x = problem
    whole = measure(linear, params, x, LABELS, method=method, probes=3)

    class StoppedError(Exception):
        pass

    def stop(what, done, total):
        del what, total
        if done == 2:
            raise StoppedError

    store = FolderStore(tmp_path / "chunks")
    with pytest.raises(StoppedError):
        measure(linear, params, x, LABELS, method=method, probes=3, store=store, progress=stop)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "chunks").iterdir()}
    assert len(stored) == 2
    resumed = measure(linear, params, x, LABELS, method=method, probes=3, store=store)
    assert all(path.stat().st_mtime_ns == time for path, time in stored.items())
    assert len(list((tmp_path / "chunks").iterdir())) == 3
    assert resumed.kappa_d == whole.kappa_d
    # Other parameters have other names, and a torn file is measured again.
    next(iter(stored)).write_bytes(b"torn")
    assert measure(linear, params, x, LABELS, method=method, probes=3, store=store).kappa_d == whole.kappa_d
    other = measure(linear, {"V": 2 * params["V"]}, 2 * x, LABELS, method=method, probes=3, store=store)
    assert other.kappa_d.value == pytest.approx(4 * whole.kappa_d.value, rel=1e-5)


def test_memory_is_read_in_words():
    assert Budget.parse("1.5 GiB").bytes == 3 * 2**29
    assert Budget.parse("200MB").bytes == 200 * 10**6
    assert Budget.parse(2**22).bytes == 2**22


def test_flax_and_equinox_modules():
    eqx = pytest.importorskip("equinox")
    from flax import linen, nnx

    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    module = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    structure, params = nnx.split(module)
    K = x.astype(float) @ x.T.astype(float) + 1
    functions = [(lambda p, x: nnx.merge(structure, p)(x), params)]
    dense = linen.Dense(3)
    functions.append((dense.apply, dense.init(jax.random.key(0), x)))
    # A module with an activation function among its leaves.
    net = eqx.nn.MLP(5, 3, 4, 0, key=jax.random.key(0))
    functions.append((lambda m, x: jax.vmap(m)(x), net))
    for function, tree in functions:
        found = measure(function, tree, x, LABELS)
        np.testing.assert_allclose(found.features.mean, K, rtol=1e-5)
        assert found.neurons == 3


def test_functions_as_haiku_makes_them():
    # transform(f) gives init and apply(params, rng, x), params a dict of modules, each a dict of arrays.
    def apply(params, rng, x):
        assert rng is None
        hidden = jnp.tanh(x @ params["mlp/~/linear_0"]["w"] + params["mlp/~/linear_0"]["b"])
        return hidden @ params["mlp/~/linear_1"]["w"]

    flat = parameters(mlp)
    params = {"mlp/~/linear_0": {"w": flat["a"], "b": flat["b"]}, "mlp/~/linear_1": {"w": flat["c"]}}
    x = inputs(LABELS).reshape(12, -1)
    found = measure(lambda p, x: apply(p, None, x), params, x, LABELS)
    J = full(jax.jacrev(lambda p: apply(p, None, jnp.asarray(x))))(params)
    rows = np.concatenate([np.asarray(leaf, float).reshape(12, 6, -1) for leaf in jax.tree.leaves(J)], axis=2)
    naive = np.einsum("ipa,jpa->ij", rows, rows) / 6
    # In float32 a small entry is off by the rounding of the large ones that it is summed from.
    np.testing.assert_allclose(found.features.mean, naive, rtol=1e-5, atol=1e-6 * naive.max())


def test_torch_modules_give_the_same_result():
    torch = pytest.importorskip("torch")
    from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

    params, x = parameters(mlp), inputs(LABELS).reshape(12, -1)
    layers = [torch.nn.Linear(16, 5), torch.nn.Tanh(), torch.nn.Linear(5, 6, bias=False), torch.nn.Tanh()]
    body = torch.nn.Sequential(*layers, torch.nn.Linear(6, 4)).eval()
    given = (params["a"].T, params["b"], params["c"].T, params["out"].T, params["d"])
    with torch.no_grad():
        for parameter, value in zip(body.parameters(), given, strict=True):
            parameter.copy_(torch.from_numpy(np.array(value)))
    wanted = ("outputs", "row-space", "rayleigh", "tensor", "matrix", "output-tensor")
    head = np.random.default_rng(0).normal(size=(3, 4)), np.zeros(3)
    for method in ("gram", "class-sums", "probes", "sign-probes", "orthogonal-probes"):
        settings = {"head": head, "quantities": wanted, "method": method, "probes": 3}
        ours = measure(mlp, params, x, LABELS, **settings)
        theirs = measure(TorchBackend(body, x), None, x, LABELS, **settings)
        for name, constant in ours.features.constants.items():
            assert theirs.features.constants[name].value == pytest.approx(constant.value, rel=1e-4)
    np.testing.assert_allclose(theirs.features.mean, ours.features.mean, rtol=1e-3)
    np.testing.assert_allclose(
        np.sort(theirs.full.norms.ravel()), np.sort(ours.full.norms.ravel()), rtol=1e-3
    )
    assert theirs.rayleigh.features["within"] == pytest.approx(ours.rayleigh.features["within"], rel=1e-3)


def test_backends_name_what_is_missing():
    with pytest.raises(InputError, match="nothing to differentiate"):
        JaxBackend(lambda p, c, x: x, {"count": 3})
