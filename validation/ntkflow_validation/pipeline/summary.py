"""What a finished run says in short: summary.json, and the figure of its comparison."""

from collections.abc import Mapping

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.runs.files import atomic, run_versions
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.pipeline.pipeline import deviations
from ntkflow_validation.runs.rundir import RunDirectory

# Snapshots below which a curve shows nothing.
FEW = 6


def summary(run: RunDirectory) -> Json:
    """summary.json, from what the run directory holds so far."""
    metrics = run.metrics()
    first, last = (metrics[0], metrics[-1]) if metrics else ({}, {})
    comparison = run.read_json("comparison.json")
    return {
        "version": __version__,
        **run_versions(),
        "seed": run.config.seed,
        "config": run.config.to_dict(),
        "deviations": deviations(run.config),
        "training": {
            **run.read_json("training.json"),
            "steps": last.get("step"),
            "flow_time": last.get("time"),
            "first": first,
            "last": last,
        },
        "kernels": kernel_rows(run),
        "from_snapshot": comparison.get("from_snapshot"),
        "refused": comparison.get("refused"),
        "windows": [window_summary(window) for window in comparison.get("windows", [])],
    }


def kernel_rows(run: RunDirectory) -> list[Json]:
    """Constants of every measured kernel in short (`Measurement.row`), in order of steps."""
    return [{"step": step, **found.row()} for step, found in run.measurements().items()]


def window_summary(window: Json) -> Json:
    """One window of comparison.json, short: skills of every rung's flow, and the cheapest that predicts."""
    flows = [rung for rung in window["rungs"] if not rung["modifications"]]
    return {
        **{key: window[key] for key in ("name", "step", "last_step", "loss", "step_times_rate", "cheapest")},
        "sentence": window["sentence"],
        "skill": {
            r["name"]: {q: s["value"] for q, s in r["skill"].items() if q != "uncentred"}
            for r in flows
            if r["skill"]
        },
        "refused": {r["name"]: r["refused"] for r in flows if r["refused"]},
    }


def draw(run: RunDirectory) -> str | None:
    """Write figures/comparison.png for one window's first rung; its path, or None without one.

    The window is the leading one, or the one with most snapshots where that has too few to see a curve in.
    """
    from ntkflow_validation.figures.figures import comparison_figure

    windows = run.read_json("comparison.json").get("windows", [])
    found = {w["step"]: comparison_of(w) for w in windows}
    scored = {step: pair for step, pair in found.items() if pair is not None}
    if not windows or windows[0]["step"] not in scored:
        return None
    first = worth_drawing(windows[0]["step"], {step: len(c.times) for step, (_, c) in scored.items()})
    config, (rung, lead) = run.config, scored[first]
    title = (
        f"{config.data.title}, {config.model.name}, N = {config.data.samples}, "
        f"n = {config.model.features}: predicted from step {first} with {rung}"
    )
    final = run.path / "figures" / "comparison.png"
    final.parent.mkdir(exist_ok=True)
    with atomic(final) as handle:
        figure = comparison_figure(lead, {step: c for step, (_, c) in scored.items()}, title)
        figure.savefig(handle, dpi=110, format="png")
    return str(final)


def worth_drawing(leading: int, counts: Mapping[int, int]) -> int:
    """The leading window's step, or that of the window with most snapshots where it has fewer than `FEW`."""
    return leading if counts[leading] >= FEW else max(counts, key=lambda step: counts[step])


def comparison_of(window: Json) -> tuple[str, Comparison] | None:
    """The first rung that predicted a window, in words, and its comparison."""
    rung = next((r for r in window["rungs"] if r["skill"] and not r["modifications"]), None)
    if rung is None:
        return None
    observed, predicted, skill = (
        _arrays(part) for part in (window["observed"], rung["predicted"], rung["skill_at"])
    )
    pooled = {q: _number(rung["skill"][q]["value"]) for q in skill}
    times = np.array(window["times"])
    return str(rung["title"]), Comparison(times, observed, predicted, skill, pooled)


def _arrays(series: Json) -> dict[str, np.ndarray]:
    return {name: np.array([_number(v) for v in values]) for name, values in series.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
