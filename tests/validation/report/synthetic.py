"""A run with a comparison as the pages take it, made of formulas: no network is trained for these tests."""

from dataclasses import replace

import numpy as np
from ntkflow_validation.calibration.document import SCORES, Bars, Calibration, CellRow, Departure
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.report.gather import KernelPicture, RunReport
from ntkflow_validation.report.words import run_facts, run_title
from ntkflow_validation.runs.compared import (
    Band,
    ComparedRun,
    ComparedRung,
    ComparedWindow,
    Conserved,
    Cost,
    Edges,
    Ends,
    Motion,
    Point,
    Rates,
    Ratios,
    Samples,
    Skill,
    Skills,
)
from ntkflow_validation.runs.documents import KernelRow, Line, Training

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
QUANTITIES = ("M", "H2", "F_centred", "residual_class", "residual_individual", "residual_global", "W", "b")


def series(factor=1.0):
    falling = {name: (3 * np.exp(-factor * rate * T) + 0.01).tolist() for name, rate in RATES.items()}
    return {**falling, **{n: (1 + a * (1 - np.exp(-factor * T))).tolist() for n, a in GROWING.items()}}


def numbers(values):
    return tuple(float(v) for v in values)


def rung(name, title, constants, factor, skill, modifications=()):
    predicted = {n: numbers(values) for n, values in series(factor).items()}
    edges = {n: Edges(numbers(0.9 * v for v in y), numbers(1.1 * v for v in y)) for n, y in predicted.items()}
    motion = Motion(0.5 + 0.5 * skill / 2, 0.4, 0.02)
    return ComparedRung(
        name=name,
        title=title,
        constants=constants,
        refused=None,
        modifications=modifications,
        instantaneous=dict.fromkeys(
            ("dH_means", "M", "global", "within", "row_space", "off_row_space"), motion
        ),
        skill=Skills(
            {q: Skill(skill - 0.05 * i, 0.02 if i % 2 else None) for i, q in enumerate(QUANTITIES)},
            {"H1": Skill(-9.0, None)},
        ),
        skill_at={"M": (None, *(skill * (1 - np.exp(-T[1:]))).tolist())},
        predicted=predicted,
        band=Band(None, edges) if name in ("block", "sample") else None,
        rates={"class": Rates(1.1, 1.3, 1.2, 1.4)},
        invariant=Conserved(reason="has none: its kernel moves in time")
        if name == "block-scheduled"
        else Conserved("E", None, Ratios(0.03, 0.4), Ratios(1e-6, 2e-6)),
    )


def window(name="early", step=0, leading=True, exact=False):
    rungs = [rung(n, t, k, 1.0 if exact else f, 1.0 if exact else s) for n, t, k, f, s in LADDER]
    rungs[5] = replace(rungs[5], refused="measured constants break κ_c ≥ κ_n <0.1, 0.2>")
    rungs.append(rung("block", "three constants", 4, 0.42, 0.43, ("decay",)))
    costs = (
        Cost("homogeneous blocks", "block", "class-block", 0.14, 0.03),
        Cost("block structure", "class-block", "sample", 0.38, 0.02),
        Cost("isotropic neurons", "sample", "kronecker", 0.02, None),
        Cost("neuron-diagonal", "kronecker", "tensor", -0.04, 0.01),
        Cost("constants that do not move", "block", "block-scheduled", 0.05, 0.01, chain=False),
    )
    return ComparedWindow(
        name=name,
        step=step,
        last_step=4000,
        leading=leading,
        halved=True,
        times=numbers(T),
        steps=tuple(range(15)),
        loss=Ends(3.01, 0.0123),
        step_times_rate=0.12,
        samples=Samples(120, 120),
        observed={n: numbers(values) for n, values in series().items()},
        rungs=tuple(rungs),
        attribution=costs,
        sentence="Block structure costs most: 0.38 of the skill on M is lost to it <b>.",
        frontier=tuple(Point(n, k, s, None) for n, _, k, _, s in LADDER),
        cheapest="sample",
        threshold=0.8,
    )


def comparison(*windows):
    return ComparedRun("0.1.0", 0, None, (), {}, windows, ())


def report(**changes):
    config = RunConfig.from_dict({"model": {"name": "cnn", "features": 32}})
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    K = 0.1 + 0.4 * (labels[:, None] == labels) + 0.5 * np.eye(120) + 0.02 * rng.standard_normal((120, 120))
    errors = dict.fromkeys(("kappa_d", "kappa_c", "kappa_n", "mu_single"), 0.01)
    row = KernelRow(0, 0.5, 0.5, 0.5, 0.5, errors, 0.8, 6, 0.1, None)
    metrics = [
        Line(
            int(step),
            None,
            {"accuracy_train": 0.9, "accuracy_test": None, **{n: v[i] for n, v in series().items()}},
        )
        for i, step in enumerate([0, *np.geomspace(1, 4000, 14)])
    ]
    pictures = ((0, K), (40, None), (4000, K.T))
    found = {
        "title": run_title(config),
        "facts": run_facts(config, Training(0.2, 12345, {})),
        "config": config,
        "toml": 'seed = 0\n[data]\nname = "digits" # <not a tag>\n',
        "metrics": metrics,
        "kernels": [KernelPicture(replace(row, step=step), matrix) for step, matrix in pictures],
        "comparison": comparison(window("late", 300, False), window()),
        "deviations": ("momentum 0.9: time is mapped, inertia is not modelled",),
    }
    return RunReport(**(found | changes))


def calibration(**changes):
    rows = tuple(
        Departure(
            kind,
            a,
            3,
            {name: Skill(1 - a**2 * f, 0.01) for name in SCORES},
            0.05 + 0.5 * a,
            {"homogeneous blocks": 2, "isotropic neurons": 1},
        )
        for kind, f in (("noise", 0.8), ("bend", 1.2), ("width", 2.0))
        for a in (0.1, 0.3, 0.6, 0.9)
    )
    control = CellRow(0.0, dict.fromkeys(SCORES, 1.0), 0.99993, 4e-8, None, {})
    known = Calibration("0.1.0", "x", False, 0.99993, 4e-8, True, Bars(0.999, 1e-6), control, rows)
    return replace(known, **changes)
