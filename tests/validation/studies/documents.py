"""Documents of runs that nobody trained, whose numbers follow the laws exactly."""

import numpy as np
from ntkflow_validation.studies.document import FloorRow, KernelLine, LawRow, StudyRun, WindowRow


def run(cell, rate=5.0, floor=0.01, visible=0.01):
    """A run whose invisible variability falls as 10 e^(-rate lambda t) and whose filters decay as they should."""
    t = np.linspace(0, 2, 41)
    decay = cell.value * t
    invisible = 10 * np.exp(-rate * decay)
    seen = visible + floor * decay / (1 + decay)
    NC1 = (invisible + seen) / 10
    filters = 4 * np.exp(t / 4 - 2 * decay)
    series = {
        "NC1": NC1,
        "NC1_visible": seen / 10,
        "visible": seen,
        "invisible": invisible,
        "filters": filters,
        "accuracy_train": np.ones_like(t),
    }
    if cell.config.model.name == "mlp" or cell.config.model.readout == "pool-linear":
        series |= {"Q_error": 0 * t + 1e-3, "Q_norm": np.exp(-2 * decay), "foretold": 1.1 * invisible}
    steps = tuple(range(len(t)))
    kernels = (KernelLine(0, 2, 1, 0.5, 3.0), KernelLine(40, 2, 1, 0.5, 3.0 * 4 / filters[-1]))
    name = "residual channel: a, b"
    return StudyRun(
        "0", cell.name, cell.group, cell.value, cell.digest, cell.settings, 1.0, steps, tuple(t), tuple(decay),
        {name: tuple(float(v) for v in values) for name, values in series.items()},
        (LawRow(name, 4, 0.01, 0.5), LawRow("channel: c, d", 4, 0.4, 0.5)),
        kernels, (FloorRow(0.02, 0.025),) if cell.value else (),
        (
            WindowRow(0, 5, {"block": {"M": 0.1, "W": 0.5}, "weighted-block": {"M": 0.3, "W": 0.9}}),
            WindowRow(5, 9, {"block": {"M": 0.1, "W": None}, "weighted-block": {"M": 0.0, "W": 0.9}}),
        ),
    )  # fmt: skip
