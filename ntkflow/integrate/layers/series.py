"""Named series of a run of linear layers: losses, NC1-NC4 of the last layer and by layer, kernels, invariants."""

from collections.abc import Sequence

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow, Parts
from ntkflow.metrics import layers, neural_collapse
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means
from ntkflow.problem.thin import Frame, decompose

_KERNEL = {
    "mu_single": "mean within classes",
    "mu_class": "mean over class contrasts",
    "mu_global": "value along the constant vector",
    "kappa_d": "value of a sample with itself",
    "kappa_c": "value within a class",
    "kappa_n": "value between classes",
}
_KINDS = {
    "": "of the features' kernel, mean over neurons",
    "_W": "of the features' kernel, W-weighted: the one whose rates hold near collapse (theory 18.2)",
    "_out": "of the whole NTK, mean over outputs (gamma)",
}
_FIXED = {
    "loss": "loss (4), a sum over samples",
    "loss_reg": "loss plus the penalty of decay, which never rises",
    "Q_gap": "largest gap of Q_1 .. Q_L to their exact law, relative to their terms (theory 18.3)",
    "V": "|b - 1/C|^2 + (N/mu_global) |g[1]|^2, which never rises for the squared error without decay (theory 18.3)",
    "bias_gap": "|b - 1/C|",
    "alignment": "cosine of the centred mean kernel with the centred Y^T Y",
    "block_residual": "|K - K_block|_F / |K|_F of the mean kernel",
    "off_neuron": "share of |Theta^h|_F that is not identity over neurons",
    "p_least": "smallest singular value of W H[L] on class contrasts, 1 where all are fitted",
    "p_most": "largest of them",
    "contrasts": "how many of them are above 0.1: the rank that has been learned",
}
_BY_LAYER = {
    "NC1": "tr S[l] / tr(P G[l]) of layer l",
    "NC2": "NC2 of layer l's class means",
    "NC3": "NC3 of layer l's class means against U_l = W V_L .. V_{l+1}",
    "alignment": "cosine of the centred H[l]^T H[l] with the centred Y^T Y",
    "Q_norm": "|Q_l|_F, constant without decay",
}

# What is fitted of a contrast that has been learned; under decay the least that can last is (L - 1)/(2 L), or less for L = 1.
LEARNED = 0.1


def describe(name: str) -> str:
    """What a series is."""
    if name in _FIXED:
        return _FIXED[name]
    if name in neural_collapse.NAMES:
        return f"{name} of the last layer, see `ntkflow.metrics.neural_collapse`"
    head, _, tail = name.partition("_layer")
    if tail:
        return _BY_LAYER[head].replace("l's", f"{tail}'s").replace("layer l", f"layer {tail}")
    for kind, words in reversed(_KINDS.items()):
        base = name.removesuffix(kind) if kind else name
        if base in _KERNEL and name == base + kind:
            return f"{_KERNEL[base]} {words}"
    raise KeyError(name)


def evaluate(flow: LayeredFlow, packed: Floats, gaps: Floats) -> dict[str, Floats]:
    """Every series at every saved state."""
    parts = [flow.unpack(y) for y in packed]
    found: dict[str, Floats] = {"loss": np.array([flow.loss(y) for y in packed])}
    found["loss_reg"] = found["loss"] + np.array([flow.penalty(y) for y in packed])
    found |= _of_layers(flow, parts)
    # The numbers of one state at a time.
    rows = [_of_state(flow, y, p) for y, p in zip(packed, parts, strict=True)]
    found |= {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found["Q_gap"] = gaps.max(axis=1)
    return found


def _of_layers(flow: LayeredFlow, parts: Sequence[Parts]) -> dict[str, Floats]:
    """NC1-NC4 by layer, each with the classifier that the layers above make of it; what is fitted; the bias."""
    sizes, L = flow.problem.sizes, flow.problem.L
    columns = [p.columns(flow.mask) for p in parts]
    below = [p.below for p in parts]
    b, W = np.array([p.b for p in parts]), np.array([p.W for p in parts])
    by_layer = [
        _measured(flow, np.array([H[l] for H in columns]), np.array([U[l] for U in below]), b)
        for l in range(L)
    ]
    found = dict(by_layer[-1])
    for l, values in enumerate(by_layer, 1):
        found |= {
            f"NC1_layer{l}": values["NC1_tirer"],
            f"NC2_layer{l}": values["NC2"],
            f"NC3_layer{l}": values["NC3"],
        }
    last = np.array([H[-1] for H in columns])
    H1 = last[..., : sizes.C] if flow.frame is not None else np.array([class_means(H, sizes) for H in last])
    contrast = neural_collapse.centring(sizes.C)
    fitted = np.linalg.svd(contrast @ W @ H1 @ contrast, compute_uv=False)[:, : sizes.C - 1]
    found |= {"p_least": fitted.min(axis=1), "p_most": fitted.max(axis=1)}
    found["contrasts"] = np.sum(fitted > LEARNED, axis=1).astype(np.float64)
    found["bias_gap"] = np.linalg.norm(b - 1 / sizes.C, axis=1)
    return found


def _measured(flow: LayeredFlow, H: Floats, U: Floats, b: Floats) -> dict[str, Floats]:
    """NC1-NC4 of a stack of one layer's columns, (T, n_l, columns), as thin states of their own."""
    s = flow.problem.sizes
    sizes = Sizes(s.C, s.m, H.shape[1])
    if flow.frame is None:
        rows = [
            neural_collapse.measure_thin(*decompose(State(*state), sizes, subspace=False))
            for state in zip(H, U, b, strict=True)
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}
    frame = Frame(sizes, flow.frame.Q, np.eye(H.shape[1]), flow.frame.column_class)
    return neural_collapse.measure_stack(H[..., : s.C], H[..., s.C :], U, b, frame)


def _of_state(flow: LayeredFlow, y: Vector, p: Parts) -> dict[str, float]:
    """Kernels, invariants and the Lyapunov function of one state."""
    problem, sizes = flow.problem, flow.problem.sizes
    row: dict[str, float] = {}
    if problem.equal_blocks is not None:
        g = p.Z[:, : sizes.C].mean(axis=1) if flow.frame is not None else p.Z.mean(axis=1)
        share = sizes.N / problem.equal_blocks.eigenvalues(sizes).mu_global
        row["V"] = float(np.sum((p.b - 1 / sizes.C) ** 2)) + share * float(g @ g)
    row |= {f"Q_norm_layer{l}": float(np.linalg.norm(Q)) for l, Q in enumerate(flow.invariants(y), 1)}
    return row | _of_kernels(layers.kernels(flow, y))


def _of_kernels(found: layers.KernelsOfLayers | None) -> dict[str, float]:
    if found is None:
        return {}
    row: dict[str, float] = {}
    for kind, kernel in zip(_KINDS, (found.mean, found.weighted, found.outputs), strict=True):
        values = (kernel.mu_single, kernel.mu_class, kernel.mu_global, *kernel.kappas)
        row |= {f"{name}{kind}": value for name, value in zip(_KERNEL, values, strict=True)}
    row |= {
        "alignment": found.mean.alignment,
        "block_residual": found.mean.block_residual,
        "off_neuron": found.off_neuron,
    }
    row |= {f"alignment_layer{l}": kernel.alignment for l, kernel in enumerate(found.of_layers, 1)}
    return row
