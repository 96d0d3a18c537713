"""Named series of a run of linear layers: losses, NC1-NC4 of the last layer and by layer, kernels, invariants."""

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.metrics import layers, neural_collapse
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
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
}
_BY_LAYER = {
    "NC1": "tr S[l] / tr(P G[l]) of layer l",
    "NC2": "NC2 of layer l's class means",
    "NC3": "NC3 of layer l's class means against U_l = W V_L .. V_{l+1}",
    "alignment": "cosine of the centred H[l]^T H[l] with the centred Y^T Y",
    "Q_norm": "|Q_l|_F, constant without decay",
}


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
    rows = [at_state(flow, y) for y in packed]
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found["Q_gap"] = gaps.max(axis=1)
    return found


def at_state(flow: LayeredFlow, y: Vector) -> dict[str, float]:
    """Every number of one state but Q's gap to its law, which takes the whole run."""
    problem, sizes = flow.problem, flow.problem.sizes
    p = flow.unpack(y)
    loss = flow.loss(y)
    row = {"loss": loss, "loss_reg": loss + flow.penalty(y)}
    columns, below = p.columns(flow.mask), p.below
    views = [_thin(flow, H, U, p.b) for H, U in zip(columns, below, strict=True)]
    row |= neural_collapse.measure_thin(*views[-1])
    for l, view in enumerate(views, 1):
        values = neural_collapse.measure_thin(*view)
        row |= {
            f"NC1_layer{l}": values["NC1_tirer"],
            f"NC2_layer{l}": values["NC2"],
            f"NC3_layer{l}": values["NC3"],
        }
    contrast = neural_collapse.centring(sizes.C)
    fitted = np.linalg.svd(contrast @ p.W @ views[-1][0].H1 @ contrast, compute_uv=False)[: sizes.C - 1]
    row |= {"p_least": float(fitted.min()), "p_most": float(fitted.max())}
    row["bias_gap"] = float(np.linalg.norm(p.b - 1 / sizes.C))
    if problem.equal_blocks is not None:
        g = p.Z[:, : sizes.C].mean(axis=1) if flow.frame is not None else p.Z.mean(axis=1)
        share = sizes.N / problem.equal_blocks.eigenvalues(sizes).mu_global
        row["V"] = row["bias_gap"] ** 2 + share * float(g @ g)
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


def _thin(flow: LayeredFlow, H: Floats, U: Floats, b: Floats) -> tuple[ThinState, Frame]:
    """One layer's features, with the classifier that the layers above make of it, as a thin state of its own."""
    s = flow.problem.sizes
    sizes = Sizes(s.C, s.m, len(H))
    if flow.frame is None:
        return decompose(State(H, U, b), sizes, subspace=False)
    frame = flow.frame
    of_layer = Frame(sizes, frame.Q, np.eye(len(H)), frame.column_class)
    return ThinState(H[:, : s.C], H[:, s.C :], U, b), of_layer
