"""A run with a comparison as the pages take it, made of formulas: no network is trained for these tests."""

import numpy as np
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.report.gather import KernelPicture, RunReport
from ntkflow_validation.report.words import run_facts, run_title

T = np.concatenate([[0.0], np.geomspace(0.01, 10, 14)])
RATES = {"loss": 1.4, "loss_class": 1.5, "loss_individual": 0.3, "NC1": 0.35, "NC2": 0.2, "NC3": 0.1}
GROWING = {"M_norm": 0.8, "H2_norm": -0.1, "W_norm": 0.4, "b_norm": 0.9}
# name, title, constants, factor by which its rates are wrong, skill on M
LADDER = (
    ("block", "three constants", 3, 0.4, 0.41),
    ("block-scheduled", "three constants, κ(t)", 12, 0.5, 0.46),
    ("class-block", "class-dependent blocks", 110, 0.6, 0.55),
    ("sample", "traced N × N kernel", 7260, 0.9, 0.93),
    ("kronecker", "K ⊗ A", 7788, 0.93, 0.95),
    ("row-block", "three constants on row(W)", 3, 0.45, -1.7),
    ("matrix-block", "matrix blocks", 1584, 0.7, 0.71),
    ("tensor", "full tensor", 7374720, 1.0, 0.99),
)
COST = ("assumption", "from", "to", "cost", "error")
QUANTITIES = ("M", "H2", "F_centred", "residual_class", "residual_individual", "residual_global", "W", "b")


def series(factor=1.0):
    falling = {name: (3 * np.exp(-factor * rate * T) + 0.01).tolist() for name, rate in RATES.items()}
    return {**falling, **{n: (1 + a * (1 - np.exp(-factor * T))).tolist() for n, a in GROWING.items()}}


def rung(name, title, constants, factor, skill, modifications=()):
    predicted = series(factor)
    band = {n: {"low": [0.9 * v for v in y], "high": [1.1 * v for v in y]} for n, y in predicted.items()}
    return {
        "name": name,
        "title": title,
        "constants": constants,
        "refused": None,
        "modifications": list(modifications),
        "instantaneous": {
            part: {"cosine": 0.5 + 0.5 * skill / 2, "error": 0.4, "cosine_error": 0.02, "error_error": None}
            for part in ("dH_means", "M", "global", "within", "row_space", "off_row_space")
        },
        "skill": {
            q: {"value": skill - 0.05 * i, "error": 0.02 if i % 2 else None} for i, q in enumerate(QUANTITIES)
        },
        "skill_at": {"M": [None, *(skill * (1 - np.exp(-T[1:]))).tolist()]},
        "predicted": predicted,
        "band": band if name in ("block", "sample") else None,
        "rates": {"class": {"predicted": 1.1, "fitted": 1.3, "low": 1.2, "high": 1.4}},
        "invariant": {"of": None, "reason": "has none: its kernel moves in time"}
        if name == "block-scheduled"
        else {
            "of": "E",
            "reason": None,
            "relative_to_E0": 0.03,
            "relative_to_terms": 0.4,
            "predicted": {"relative_to_E0": 1e-6, "relative_to_terms": 2e-6},
        },
    }


def window(name="early", step=0, leading=True, exact=False):
    rungs = [rung(n, t, k, 1.0 if exact else f, 1.0 if exact else s) for n, t, k, f, s in LADDER]
    rungs[5] |= {"refused": "measured constants break κ_c ≥ κ_n <0.1, 0.2>"}
    rungs.append(rung("block", "three constants", 4, 0.42, 0.43, ("decay",)))
    loss = {"first": 3.01, "last": 0.0123}
    costs = (
        ("homogeneous blocks", "block", "class-block", 0.14, 0.03),
        ("block structure", "class-block", "sample", 0.38, 0.02),
        ("isotropic neurons", "sample", "kronecker", 0.02, None),
        ("neuron-diagonal", "kronecker", "tensor", -0.04, 0.01),
        ("constants that do not move", "block", "block-scheduled", 0.05, 0.01),
    )
    attribution = [
        {**dict(zip(COST, cost, strict=True)), "quantity": "M", "chain": i < 4}
        for i, cost in enumerate(costs)
    ]
    return {
        "name": name, "step": step, "last_step": 4000, "times": T.tolist(), "steps": list(range(15)),
        "leading": leading, "loss": loss, "step_times_rate": 0.12, "observed": series(), "rungs": rungs,
        "attribution": attribution,
        "sentence": "Block structure costs most: 0.38 of the skill on M is lost to it <b>.",
        "frontier": [{"rung": n, "constants": k, "skill": s} for n, _, k, _, s in LADDER],
        "cheapest": "sample", "threshold": 0.8,
    }  # fmt: skip


def report(**changes):
    config = RunConfig.from_dict({"model": {"name": "cnn", "features": 32}}).to_dict()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    K = 0.1 + 0.4 * (labels[:, None] == labels) + 0.5 * np.eye(120) + 0.02 * rng.standard_normal((120, 120))
    constants = ("kappa_d", "kappa_c", "kappa_n", "mu_single")
    facts = {**dict.fromkeys(constants, 0.5), "errors": dict.fromkeys(constants, 0.01)}
    facts |= {"alignment": 0.8, "block_residual": 0.1}
    metrics = [
        {
            "step": int(step),
            "accuracy_train": 0.9,
            "accuracy_test": None,
            **{n: v[i] for n, v in series().items()},
        }
        for i, step in enumerate([0, *np.geomspace(1, 4000, 14)])
    ]
    found = {
        "title": run_title(config),
        "facts": run_facts(config, {"learning_rate": 0.2, "parameters": 12345}),
        "config": config,
        "toml": 'seed = 0\n[data]\nname = "digits" # <not a tag>\n',
        "metrics": metrics,
        "kernels": [
            KernelPicture(0, facts, K),
            KernelPicture(40, facts, None),
            KernelPicture(4000, facts, K.T),
        ],
        "comparison": {
            "from_snapshot": 0,
            "deviations": ["momentum 0.9: time is mapped, inertia is not modelled"],
            "windows": [window("late", 300, False), window()],
        },
    }
    return RunReport(**(found | changes))


def calibration(**changes):
    rows = [
        {
            "departure": kind,
            "value": a,
            "seeds": 3,
            "block_residual": 0.05 + 0.5 * a,
            **{
                f"{rung}_{q}": {"value": 1 - a**2 * f, "error": 0.01}
                for rung in ("block", "traced", "best")
                for q in ("M", "H2")
            },
            "blamed": {"homogeneous blocks": 2, "isotropic neurons": 1},
        }
        for kind, f in (("noise", 0.8), ("bend", 1.2), ("width", 2.0))
        for a in (0.1, 0.3, 0.6, 0.9)
    ]
    known = {"version": "0.1.0", "block_skill": 0.99993, "kappa_error": 4e-8, "passed": True}
    return {**known, "departures": rows, **changes}
