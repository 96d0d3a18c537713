"""From the results of all windows to the record of comparison.json."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ntkflow import __version__
from ntkflow.problem.state import State
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.comparing import Scored, WindowResult, conserved, ensemble_band
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.nulls import says_little
from ntkflow_validation.ladder.recorded import Recorded
from ntkflow_validation.ladder.rungs import SPECS, build
from ntkflow_validation.ladder.score.attribution import chain, sentence
from ntkflow_validation.ladder.score.frontier import THRESHOLD, cheapest
from ntkflow_validation.ladder.score.rates import COMPONENTS, fitted
from ntkflow_validation.ladder.score.scores import CENTRED, UNCENTRED, Horizon
from ntkflow_validation.ladder.score.windows import Window
from ntkflow_validation.metrics.compare import series
from ntkflow_validation.runs.compared import (
    NO_SKILL,
    Band,
    ComparedKernel,
    ComparedRun,
    ComparedRung,
    ComparedShape,
    ComparedWindow,
    Edges,
    Ends,
    Numbers,
    Rates,
    Samples,
    Series,
    Skill,
    Skills,
)
from ntkflow_validation.runs.documents import KernelRow

# series with a band over probe sets, and the quantity whose norm each comes from
FROM_NORMS = {
    "loss_global": "residual_global",
    "loss_class": "residual_class",
    "loss_individual": "residual_individual",
    "M_norm": "M",
    "H2_norm": "H2",
}
# Why a part of the kernel's shape has no number.
MISSING_PART = {
    "cv": "it is of two classes or more, of which a contrast is learnt",
    "leak": "the N x N kernel was not formed; measure by kernels.method = 'gram'",
    "iso": "it takes the N x N kernel and what neurons share; have 'pair-norms' or 'tensor' among kernels.quantities",
    "drift": "no N x N kernel was measured later; raise kernels.count",
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
    "until": "skill_until pools the times until the squared class residual |Rc|^2 is down to this share of its start",
    "baselines": "persistence: nothing changes; constant-velocity: the derivative at the start goes on; frozen-features: "
    "K = 0, only the classifier learns; no-class-structure: kappa_c = kappa_n",
    "shape": "cv, leak, iso: departures of the kernel from three constants; foretold: the error 1 - skill on M that they "
    "make likely, fitted to trainings of MLPs until |Rc|^2 is at 1/30",
    "skill": "1 - |predicted - observed|^2 / |observed - observed at the start|^2, pooled over the window",
}


def comparison_document(
    results: Sequence[WindowResult],
    kernels: Mapping[int, Measurement],
    deviations: Sequence[str],
    refused: str | None = None,
) -> ComparedRun:
    """The whole file; the first result leads. Without results `refused` says why."""
    return ComparedRun(
        version=__version__,
        from_snapshot=results[0].window.steps[0] if results else None,
        refused=refused,
        deviations=tuple(deviations),
        meaning=MEANING,
        windows=tuple(compared_window(result, i == 0) for i, result in enumerate(results)),
        kernels=tuple(
            ComparedKernel(KernelRow.of(step, found), _share(step, results))
            for step, found in kernels.items()
        ),
    )


def _share(step: int, results: Sequence[WindowResult]) -> float | None:
    """Known where a window begins and its class kernels were measured."""
    begun = [
        r
        for r in results
        if r.window.steps[0] == step and (known := r.of("class-matrix")) and not known.prediction.refused
    ]
    return begun[0].measured.classes.off_neuron_share_of_means if begun else None


def compared_window(result: WindowResult, leading: bool) -> ComparedWindow:
    """One window."""
    window, losses = result.window, result.observed["loss"]
    block = result.of("block")
    skill = block.horizon.skill("M").written if block and block.horizon else NO_SKILL
    return ComparedWindow(
        name=window.name,
        step=window.steps[0],
        last_step=window.steps[-1],
        leading=leading,
        halved=window.halved,
        times=tuple(result.times.tolist()),
        steps=window.steps,
        loss=Ends(*(_number(losses[i]) for i in (0, -1))),
        step_times_rate=_step_times_rate(result),
        samples=Samples(result.measured.sizes.N, result.measured.trained),
        observed=_series(result.observed),
        rungs=tuple(compared_rung(scored, result) for scored in result.scored),
        attribution=tuple(result.costs),
        sentence=sentence(result.costs, skill.value, _missing(result)),
        frontier=tuple(result.points),
        cheapest=cheapest(result.points),
        threshold=THRESHOLD,
        clock=result.clock,
        until=window.until,
        class_residual=Ends(*(_number(result.observed["loss_class"][i]) for i in (0, -1))),
        accuracy=Ends(*(_accuracy(result.states[i], result) for i in (0, -1))),
        shape=_shape(result),
        baselines=tuple(compared_rung(scored, result) for scored in result.baselines),
        tests=says_little(
            [(s.prediction.rung.spec.title, s.horizon) for s in result.baselines],
            None if block is None else block.horizon,
        ),
    )


def _accuracy(state: State, result: WindowResult) -> float:
    return float(np.mean(state.logits.argmax(axis=0) == result.measured.sizes.labels))


def _shape(result: WindowResult) -> ComparedShape:
    measured = result.measured
    kernel, shape = measured.kernel, measured.kernel.shape
    parts = {"cv": shape.cv, "leak": shape.leak, "iso": shape.iso, "drift": measured.drift}
    missing = {name: MISSING_PART[name] for name, value in parts.items() if value is None}
    return ComparedShape(
        kernel.features.block_residual, **parts, foretold=shape.foretold, missing=missing or None
    )


def _missing(result: WindowResult) -> dict[str, str]:
    """Rungs of the chain that predicted nothing, and why."""
    flows = {s.prediction.rung.spec.name: s for s in result.scored if not s.prediction.modifications}
    found = {}
    for name in chain(result.measured.coupled):
        if name not in flows:
            found[name] = _lacking(name, result.measured) or "not run"
        elif flows[name].horizon is None:
            found[name] = flows[name].prediction.refused or "no prediction"
    return found


def _lacking(name: str, measured: Measured) -> str | None:
    """What a recorded run would have needed for a rung; of ours the network is there to ask, and nothing lacks."""
    if not isinstance(measured, Recorded):
        return None
    return build(next(spec for spec in SPECS if spec.name == name), measured).refused


def compared_rung(scored: Scored, result: WindowResult) -> ComparedRung:
    """One prediction."""
    prediction, found = scored.prediction, scored.horizon
    rung = prediction.rung
    base = ComparedRung(
        name=rung.spec.name,
        title=rung.spec.title,
        constants=rung.constants,
        refused=prediction.refused,
        modifications=tuple(prediction.modifications),
        instantaneous=scored.instant,
        finite_difference=result.finite_difference.get(rung.spec.name),
        draws=plain(scored.draws),
    )
    if found is None or prediction.states is None:
        return base
    centred, uncentred = ({q: found.skill(q).written for q in names} for names in (CENTRED, UNCENTRED))
    return replace(
        base,
        skill=Skills(centred, uncentred),
        skill_at={q: plain(found.skill_at(q)) for q in CENTRED},
        skill_until=_until(found, result.window),
        predicted=_series(scored.predicted),
        band=_band(scored, found, result),
        rates={part: _rates(q, found, result) for part, q in COMPONENTS.items()},
        invariant=conserved(scored, result),
    )


def _until(found: Horizon, window: Window) -> dict[str, dict[str, Skill]]:
    last = {share: window.steps.index(step) for share, step in window.until.items()}
    return {share: {q: found.skill(q, i).written for q in CENTRED} for share, i in last.items()}


def _band(scored: Scored, found: Horizon, result: WindowResult) -> Band | None:
    """Over draws of the batches where there are any, otherwise over probe sets."""
    if scored.prediction.members:
        of = result.measured.sizes, result.measured.objective
        members = [series(states, *of) for states in scored.prediction.members]
        spans = {name: ensemble_band(members, name) for name in scored.predicted}
        return Band("draws of the batches", {k: _edges(*v) for k, v in spans.items() if v is not None})
    N = result.measured.sizes.N
    m = N / result.measured.sizes.C
    bands = {}
    for name, quantity in FROM_NORMS.items():
        band = found.band(quantity)
        if band is None:
            return None
        # Scored quantities are divided by sqrt(N); losses are half squares of sums over samples.
        if name.startswith("loss"):
            bands[name] = _edges(*(0.5 * N * np.maximum(edge, 0.0) ** 2 for edge in band))
        else:
            bands[name] = _edges(*(edge * np.sqrt(N / m) if quantity == "H2" else edge for edge in band))
    return Band("probe sets", bands)


def _edges(low: np.ndarray, high: np.ndarray) -> Edges:
    return Edges(plain(low), plain(high))


def _rates(quantity: str, found: Horizon, result: WindowResult) -> Rates:
    """The rung's rate and the run's, fitted in the same way, so that what no exponential is errs alike in both."""
    part = quantity.removeprefix("residual_")
    seen = np.sqrt(2 * result.observed[f"loss_{part}"] / result.measured.sizes.N)
    observed, predicted = fitted(result.times, seen), fitted(result.times, found.norms[quantity][0])
    return Rates(
        predicted.value if predicted else None,
        *((observed.value, observed.low, observed.high) if observed else (None, None, None)),
    )


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


def _series(found: Mapping[str, np.ndarray]) -> Series:
    return {name: plain(values) for name, values in found.items()}


def plain(values: Sequence[float] | np.ndarray) -> Numbers:
    """Plain numbers, NaN and infinities as None."""
    return tuple(_number(v) for v in np.asarray(values, dtype=np.float64))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
