"""comparison.json: plain values, NaN as null."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.comparing import Scored, WindowResult, ensemble_band, invariant_ratios
from ntkflow_validation.ladder.score.attribution import sentence
from ntkflow_validation.ladder.score.frontier import THRESHOLD, cheapest
from ntkflow_validation.ladder.score.rates import COMPONENTS, fitted
from ntkflow_validation.ladder.score.scores import CENTRED, UNCENTRED, Horizon
from ntkflow_validation.metrics.compare import series

# series with a band over probe sets, and the quantity whose norm each comes from
FROM_NORMS = {
    "loss_global": "residual_global",
    "loss_class": "residual_class",
    "loss_individual": "residual_individual",
    "M_norm": "M",
    "H2_norm": "H2",
}
MEANING = {
    "observed_motion": "derivative of the features along the gradient that training follows, the mean over one "
    "epoch of batches, normalisation as in training; features in inference mode",
    "finite_difference": "difference of the first two snapshots over their flow time",
    "errors": "standard errors over probe sets: jackknife, leaving out a fifth of the samples of each class; "
    "of W and b over classes: jackknife, leaving out the row of one class",
    "invariant": "of what each rung conserves, |change| over its size at the start, and over the sum of the norms of the "
    "changes of its two terms, W^T W and sym(Op^-1[H] H^T); along the run, and along the prediction",
    "draws": "skill on M with other draws of the batches than the training's own",
    "skill": "1 - |predicted - observed|^2 / |observed - observed at the start|^2, pooled over the window",
}


def comparison_document(
    results: Sequence[WindowResult],
    kernels: Mapping[int, Measurement],
    deviations: Sequence[str],
    refused: str | None = None,
) -> Json:
    """The whole file; the first result leads. Without results `refused` says why."""
    return {
        "version": __version__,
        "from_snapshot": results[0].window.steps[0] if results else None,
        "refused": refused,
        "deviations": list(deviations),
        "meaning": MEANING,
        "windows": [window_document(result, i == 0) for i, result in enumerate(results)],
        "kernels": [_kernel(step, found, results) for step, found in kernels.items()],
        "calibration": None,
    }


def _kernel(step: int, found: Measurement, results: Sequence[WindowResult]) -> Json:
    share = next((_share(r) for r in results if r.window.steps[0] == step), None)
    return {"step": step, **found.row(), "off_neuron_share_of_means": share}


def _share(result: WindowResult) -> float | None:
    return result.measured.classes.off_neuron_share_of_means if result.of("class-matrix") else None


def window_document(result: WindowResult, leading: bool) -> Json:
    """One window."""
    window, losses = result.window, result.observed["loss"]
    block = result.of("block")
    skill = block.horizon.skill("M").value if block and block.horizon else float("nan")
    return {
        "name": window.name,
        "step": window.steps[0],
        "last_step": window.steps[-1],
        "leading": leading,
        "halved": window.halved,
        "times": result.times.tolist(),
        "steps": list(window.steps),
        "loss": {"first": float(losses[0]), "last": float(losses[-1])},
        "step_times_rate": _step_times_rate(result),
        "samples": {"observed": result.measured.sizes.N, "trained": result.measured.trained},
        "observed": {name: plain(values) for name, values in result.observed.items()},
        "rungs": [rung_document(scored, result) for scored in result.scored],
        "attribution": [cost.to_dict() for cost in result.costs],
        "sentence": sentence(result.costs, skill),
        "frontier": [point.to_dict() for point in result.points],
        "cheapest": cheapest(result.points),
        "threshold": THRESHOLD,
    }


def rung_document(scored: Scored, result: WindowResult) -> Json:
    """One prediction."""
    prediction, found = scored.prediction, scored.horizon
    rung = prediction.rung
    name = rung.spec.name
    difference = result.finite_difference.get(name)
    base: Json = {
        "name": name,
        "title": rung.spec.title,
        "constants": rung.constants,
        "refused": prediction.refused,
        "modifications": list(prediction.modifications),
        "instantaneous": scored.instant,
        "finite_difference": difference,
        "draws": plain(scored.draws),
    }
    if found is None or prediction.states is None:
        empty: dict[str, Any] = dict.fromkeys(
            ("skill", "skill_at", "predicted", "band", "rates", "invariant")
        )
        return {**base, **empty}
    centred = {q: found.skill(q).to_dict() for q in CENTRED}
    return {
        **base,
        "skill": {**centred, "uncentred": {q: found.skill(q).to_dict() for q in UNCENTRED}},
        "skill_at": {q: plain(found.skill_at(q)) for q in CENTRED},
        "predicted": {q: plain(v) for q, v in scored.predicted.items()},
        "band": _band(scored, found, result),
        "rates": {part: _rates(q, found, result) for part, q in COMPONENTS.items()},
        "invariant": invariant_ratios(scored, result),
    }


def _band(scored: Scored, found: Horizon, result: WindowResult) -> Json | None:
    """Over draws of the batches where there are any, otherwise over probe sets."""
    if scored.prediction.members:
        members = [series(states, result.measured.sizes) for states in scored.prediction.members]
        spans = {name: ensemble_band(members, name) for name in scored.predicted}
        return {"of": "draws of the batches", **_spans(spans)}
    factor = {"loss_global": 0.5, "loss_class": 0.5, "loss_individual": 0.5}
    N = result.measured.sizes.N
    m = N / result.measured.sizes.C
    bands = {}
    for name, quantity in FROM_NORMS.items():
        band = found.band(quantity)
        if band is None:
            return None
        # Scored quantities are divided by sqrt(N); losses are half squares of sums over samples.
        if name in factor:
            bands[name] = tuple(0.5 * N * np.maximum(edge, 0.0) ** 2 for edge in band)
        else:
            bands[name] = tuple(edge * np.sqrt(N / m) if quantity == "H2" else edge for edge in band)
    return {"of": "probe sets", **_spans(bands)}


def _spans(bands: Mapping[str, tuple[np.ndarray, np.ndarray] | None]) -> Json:
    return {k: {"low": plain(v[0]), "high": plain(v[1])} for k, v in bands.items() if v is not None}


def _rates(quantity: str, found: Horizon, result: WindowResult) -> Json:
    seen = [row for row in _observed_norms(quantity, result)]
    observed, predicted = fitted(result.times, np.array(seen)), fitted(result.times, found.norms[quantity][0])
    return {
        "predicted": predicted.value if predicted else None,
        "fitted": observed.value if observed else None,
        "low": observed.low if observed else None,
        "high": observed.high if observed else None,
    }


def _observed_norms(quantity: str, result: WindowResult) -> np.ndarray:
    part = quantity.removeprefix("residual_")
    return np.sqrt(2 * result.observed[f"loss_{part}"] / result.measured.sizes.N)


def _step_times_rate(result: WindowResult) -> float | None:
    """Largest step in flow time times the fastest rate under the block kernel at the start."""
    block = result.of("block")
    if block is None or block.prediction.rung.operator is None:
        return None
    state, sizes = result.measured.state, result.measured.sizes
    gain = block.prediction.rung.operator.gain
    rate = np.linalg.norm(state.H, 2) ** 2 + sizes.N + np.linalg.norm(state.W, 2) ** 2 * gain
    step = np.max(np.diff(result.times) / np.diff(result.window.steps)) / result.measured.share
    return float(step * rate)


def plain(values: Any) -> list[float | None]:
    """A list, NaN and infinities as None."""
    return [_number(v) for v in np.asarray(values, dtype=np.float64)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
