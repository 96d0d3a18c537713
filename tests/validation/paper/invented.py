"""Records with invented numbers: a network collapses when its rate is high, diverges when it is too high."""

from pathlib import Path

import numpy as np
from ntkflow_validation.runs.documents import Line, Training
from ntkflow_validation.sweep.presets import DIGITS
from ntkflow_validation.sweep.records import Content, Record
from ntkflow_validation.sweep.settings import changed

RATES = (0.01, 0.1, 1.0, 10.0)


def record(init, rate, rows=2, data="digits", model="resnet8", loss="mse", seed=0):
    config = changed(
        DIGITS,
        {
            "model.name": model, "data.name": data, "model.init": init, "training.learning_rate": rate,
            "training.loss": loss, "seed": seed,
        },
    )  # fmt: skip
    diverged = rate > 5
    steps = np.linspace(0, 800, rows).astype(int)
    metrics = [_row(step, rate, measured=k in (0, rows - 1) or rows > 2) for k, step in enumerate(steps)]
    final = {"H1H1_norm": 2.0, "H2H2_norm": 0.1, "gg_norm": 0.3, "alignment_features": 0.6}
    facts = Training(rate, 1000, {}, result="diverged" if diverged else "complete", step=800)
    kept = tuple(metrics[:1] if diverged else metrics)
    content = Content(facts, kept, (), {**final, "alignment_outputs": 0.8})
    return Record(config, content, Path(f"{init}-{rate}"))


def _row(step, rate, measured):
    left = np.exp(-rate * step / 100)
    row = {
        "NC1": 0.1 + left, "NC1_tirer": left, "NC2": 0.2 + left, "NC3": 0.3 + left,
        "accuracy_train": 1 - left / 3 if rate > 0.05 else 0.995, "accuracy_test": 0.9, "loss": 0.5,
    }  # fmt: skip
    more = {"invariant_norm": 1e-3 + left, "invariant_alignment": 1 - left / 2} if measured else {}
    return Line(int(step), 0.1 * int(step), {**row, **more})


def grid(**options):
    return [
        record(init, rate, **options) for init in ("he-normal", "lecun-normal", "uniform") for rate in RATES
    ]
