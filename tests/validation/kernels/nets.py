"""Small networks as pure functions, and the naive kernel of each: one gradient per neuron and sample."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from ntkflow_validation.precision import full

N_FEATURES = 4


def mlp(p, x):
    x = jnp.tanh(x.reshape(len(x), -1) @ p["a"] + p["b"])
    return jnp.tanh(x @ p["c"]) @ p["out"] + p["d"]


def no_bias(p, x):
    return jnp.tanh(x.reshape(len(x), -1) @ p["a"]) @ p["out"]


def shared(p, x):
    # The same matrix twice: its gradient is a sum over both places.
    x = jnp.tanh(x.reshape(len(x), -1) @ p["a"])
    return jnp.tanh(jnp.tanh(x @ p["w"]) @ p["w"]) @ p["out"]


def conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def cnn(p, x):
    x = jnp.tanh(conv(x, p["k1"]))
    return jnp.tanh(conv(x, p["k2"])).mean(axis=(1, 2)) @ p["out"]


def residual(p, x):
    x = conv(x, p["k1"])
    x = x + conv(jnp.tanh(x), p["k3"])
    return jnp.tanh(x).mean(axis=(1, 2)) @ p["out"]


def dense(p, x):
    one = jnp.tanh(conv(x, p["k1"]))
    two = jnp.tanh(conv(jnp.concatenate([x, one], axis=-1), p["k4"]))
    return jnp.concatenate([x, one, two], axis=-1).mean(axis=(1, 2)) @ p["out"]


SHAPES = {
    mlp: {"a": (16, 5), "b": (5,), "c": (5, 6), "out": (6, 4), "d": (4,)},
    no_bias: {"a": (16, 5), "out": (5, 4)},
    shared: {"a": (16, 5), "w": (5, 5), "out": (5, 4)},
    cnn: {"k1": (3, 3, 1, 3), "k2": (3, 3, 3, 5), "out": (5, 4)},
    residual: {"k1": (3, 3, 1, 3), "k3": (3, 3, 3, 3), "out": (3, 4)},
    dense: {"k1": (3, 3, 1, 3), "k4": (3, 3, 4, 2), "out": (6, 4)},
}
NETS = list(SHAPES)


def parameters(net, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape) / np.sqrt(max(np.prod(shape[:-1]), 1)), jnp.float32)
        for name, shape in SHAPES[net].items()
    }


def inputs(labels, seed=1):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(int(labels.max()) + 1, 4, 4, 1))
    return (centres[labels] + 0.7 * rng.normal(size=(len(labels), 4, 4, 1))).astype(np.float32)


@lru_cache
def gradient_of(net):
    # A reference has the digits of float32 wherever it is computed.
    return jax.jit(full(lambda p, xi, q: jax.grad(lambda r: net(r, xi[None])[0] @ q)(p)))


def features_of(net, params, x):
    """H in float64, (n, N); what a reference is computed from has the digits of float32 too."""
    return np.asarray(full(net)(params, jnp.asarray(x)), np.float64).T


def pairwise(net, params, x):
    """Theta[p, i, q, j], a gradient for every neuron and sample and a product for every pair, in float64."""
    n = net(params, jnp.asarray(x[:1])).shape[1]
    J = np.empty((n, len(x)), dtype=object)
    for p, i in np.ndindex(n, len(x)):
        leaves = jax.tree.leaves(gradient_of(net)(params, jnp.asarray(x[i]), jnp.eye(n)[p]))
        J[p, i] = np.concatenate([np.asarray(leaf, dtype=np.float64).ravel() for leaf in leaves])
    Theta = np.empty((n, len(x), n, len(x)))
    for p, i, q, j in np.ndindex(*Theta.shape):
        Theta[p, i, q, j] = J[p, i] @ J[q, j]
    return Theta


def means(K, labels):
    """Mean of the diagonal, within-class and between-class entries, by looking at every one."""
    kinds = {"d": [], "c": [], "n": []}
    for i, j in np.ndindex(K.shape):
        kinds["d" if i == j else "c" if labels[i] == labels[j] else "n"].append(K[i, j])
    return {kind: np.mean(values) if values else np.nan for kind, values in kinds.items()}
