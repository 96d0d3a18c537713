"""What stands beside axes: quantities and fields in words, with units where they have one."""

from collections.abc import Sequence

FLOW_TIME = "flow time of the sum loss"
WORDS = {
    "classes": "classes C",
    "per_class": "samples per class m",
    "features": "features n",
    "depth": "linear layers L",
    "decay_layers": f"decay rate of the layers (1 / {FLOW_TIME})",
    "spectators": "size of the spectators",
    "label_smoothing": r"label smoothing $\epsilon$",
    "kappa_d": r"$\kappa_d$",
    "kappa_c": r"$\kappa_c$",
    "kappa_n": r"$\kappa_n$",
    "init": "initial state",
    "scale": "scale of the initial state",
    "seed": "seed",
    "beta": r"initial bias $\beta$",
    "decay_w": f"decay rate of W (1 / {FLOW_TIME})",
    "decay_h": f"decay rate of H (1 / {FLOW_TIME})",
    "decay_b": f"decay rate of b (1 / {FLOW_TIME})",
    "weight_decay": "weight decay of the optimiser",
    "learning_rate": "learning rate of the optimiser",
    "t_end": f"end time t ({FLOW_TIME})",
    "alpha": r"$\alpha$",
    "invariant.eigen_signs.negative": "negative eigenvalues of E",
    "invariant.eigen_signs.positive": "positive eigenvalues of E",
    "invariant.eigen_signs.zero": "zero eigenvalues of E",
    "invariant.norm_initial": r"$\|E\|_F$ at the start",
    "invariant.norm_final": r"$\|E\|_F$ at the end",
    "invariant.alignment_initial": "alignment of E's terms at the start (cosine)",
    "invariant.alignment_final": "alignment of E's terms at the end (cosine)",
    "invariant.drift": "relative drift of E",
    "predicted.floor_tr_S": "floor of tr S",
    "final.bias_mean": "mean bias at the end",
    "theory.nc1_floor": r"theory: floor of $\sqrt{\mathrm{tr}\,S/C}$",
    "theory.nc3_equal_bias": "theory: NC3 with equal biases",
    "theory.E_norm": r"theory: $\|E\|_F$ at the end",
    "nc.NC1_frobenius": r"NC1 $= \sqrt{\mathrm{tr}\,S/C}$",
    "solver.seconds": "seconds",
    "solver.steps": "steps of the integrator",
    "eigenvalues.mu_single": r"$\mu_{\rm single}$",
    "eigenvalues.mu_class": r"$\mu_{\rm class}$",
    "eigenvalues.mu_global": r"$\mu_{\rm global}$",
    "predicted.nc1_possible": "border of where theory allows NC1",
    "predicted.collapse_time": "predicted time of collapse (flow time)",
    "predicted.stiffness_ratio": "predicted ratio of the rates",
    "predicted.largest_step": "largest stable step",
    "predicted.rates.contrast, within class.rate": "predicted rate of NC1",
    "predicted.rates.contrast, class contrast.rate": "predicted rate of NC2",
}
# Cosines and shares: a log scale would only hide them.
BOUNDED = ("alignment", "NC4")
ENDS = {"final": "at the end", "initial": "at the start"}


def label(name: str) -> str:
    """A quantity or field in words; a dotted path without an entry keeps its parts."""
    if name in WORDS:
        return WORDS[name]
    if "/" in name:
        return " / ".join(label(part) for part in name.split("/"))
    named = [words for known, words in WORDS.items() if known.endswith(f".{name}")]
    if len(named) == 1:
        return named[0]
    stem, _, end = name.rpartition(".")
    if end in ENDS and stem:
        return f"{WORDS.get(stem, _plain(stem))} {ENDS[end]}"
    return _plain(name)


def axis_label(names: Sequence[str]) -> str:
    """The label of an axis on which several fields may move together."""
    # The usual pair gets words of its own; any other set of fields is said to be equal, which is what it means.
    letters = [name.removeprefix("decay_") for name in names]
    if len(names) > 1 and all(name.startswith("decay_") for name in names):
        return f"decay rate of {' and '.join(letter.upper() if letter != 'b' else 'b' for letter in letters)} (1 / {FLOW_TIME})"
    return " = ".join(label(name) for name in names)


def bounded(name: str) -> bool:
    """Whether a quantity lies between -1 and 1 by its nature, so that log scales pass it over."""
    return any(word in name for word in BOUNDED)


def short(value: object) -> str:
    """A value in a legend: three digits."""
    return f"{float(f'{value:.3g}'):g}" if isinstance(value, float) else str(value)


def _plain(name: str) -> str:
    for prefix in ("nc.", "series.", "config."):
        name = name.removeprefix(prefix)
    return name.replace("_", " ").replace(".", ": ")
