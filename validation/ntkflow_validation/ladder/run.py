"""`compare_run`: from a run directory with measured kernels to comparison.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow.progress import Progress, silent
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.kernels.measurement_file import TENSORS
from ntkflow_validation.kernels.methods.shape import drift
from ntkflow_validation.ladder.cache import Cache, fingerprint
from ntkflow_validation.ladder.comparing import WindowResult, compare_window
from ntkflow_validation.ladder.document import comparison_document
from ntkflow_validation.ladder.measured import Measured, objective_of
from ntkflow_validation.ladder.recorded import Recorded, stand_in
from ntkflow_validation.ladder.rungs import SPECS, Spec, build, chosen
from ntkflow_validation.ladder.score.windows import Window, choose
from ntkflow_validation.models.base import Network
from ntkflow_validation.runs.compared import ComparedRun
from ntkflow_validation.runs.results import deviations
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot
from ntkflow_validation.training.train import Prepared, prepare, start

# Parameters times samples: above this the rungs that pass through the network again and again are left out.
LARGE = 20_000_000


@dataclass(frozen=True)
class LadderSettings:
    """What to compare.

    Args:
        rungs: names of rungs; None for those that are cheap enough, ("all",) for all.
        windows: at most so many.
        probes: draws of signs for the kernels within classes.
        ensemble: draws of the batches besides the training's own.
        announce: told in a sentence what a costly part is about to take.
    """

    rungs: tuple[str, ...] | None = None
    windows: int = 3
    probes: int = 2
    ensemble: int = 3
    announce: Callable[[str], None] = lambda _: None

    @property
    def asked(self) -> tuple[str, ...]:
        """Rungs that were named one by one: these are run whatever they cost."""
        return () if self.rungs in (None, ("all",)) else self.rungs or ()


DEFAULT = LadderSettings()


def compare_run(
    run: RunDirectory,
    from_snapshot: int | None = None,
    progress: Progress = silent,
    settings: LadderSettings = DEFAULT,
    kernels: Mapping[int, Measurement] | None = None,
    prepared: Prepared | None = None,
) -> ComparedRun:
    """Predict windows of a run with every rung, write comparison.json, return it.

    Args:
        run: trained, with measured kernels.
        from_snapshot: a measured step that leads, predicted to the end of the run.
        progress: called with (what, done, in all).
        settings: rungs and windows.
        kernels: everything that was measured, by step; None reads it.
        prepared: the run's data set and network; None makes them.

    Raises:
        InputError: nothing was measured, not `from_snapshot`, or an unknown rung.
    """
    chosen(_names(settings), large=True)
    kernels = run.measurements() if kernels is None else kernels
    windows = choose(_residuals(run), list(kernels), from_snapshot, settings.windows)
    results, refused = [], run.config.unpredicted
    if refused is None:
        context = (
            _RecordedContext(run, stand_in(run.config), None, kernels, settings, progress)
            if isinstance(run.config, RecordedConfig)
            else _Context(run, *(prepared or prepare(run.config)), kernels, settings, progress)
        )
        results = [context.compare(window) for window in windows]
    found = comparison_document(results, kernels, deviations(run, run.training()), refused)
    run.write_comparison(found)
    return found


def _residuals(run: RunDirectory) -> dict[int, float]:
    """Half the squared class residual at every snapshot: that of what is trained on, of the observed samples."""
    objective, steps = objective_of(run.config), run.steps()
    if objective.plain:
        seen = set(steps)  # of a recorded run some lines have no snapshot
        rows = [(row.step, row.get("loss_class")) for row in run.metrics() if row.step in seen]
        return {step: np.nan if value is None else float(value) for step, value in rows}
    # The lines have the squared error of one-hot targets, whatever was trained on.
    found = (run.read_snapshot(step) for step in steps)
    return {seen.step: objective.losses(seen.state, seen.sizes)["loss_class"] for seen in found}


def _names(settings: LadderSettings) -> tuple[str, ...] | None:
    if settings.rungs == ("all",):
        return tuple(spec.name for spec in SPECS)
    return settings.rungs


@dataclass(frozen=True, eq=False)
class _Context:
    """A run, loaded once for all windows."""

    run: RunDirectory
    dataset: Dataset
    network: Network | None
    kernels: Mapping[int, Measurement]
    settings: LadderSettings
    progress: Progress

    def compare(self, window: Window) -> WindowResult:
        """One window."""
        snapshots = [self.run.read_snapshot(step) for step in window.steps]
        times = np.array([s.time for s in snapshots])
        measured = self._measured(window, snapshots, times)
        return compare_window(
            window,
            measured,
            times,
            [s.state for s in snapshots],
            self._specs(measured),
            self.progress,
            self.settings.ensemble,
        )

    def _specs(self, measured: Measured) -> list[Spec]:
        large = measured.kernel.parameters * measured.sizes.N > LARGE
        specs = chosen(_names(self.settings), large)
        if self.settings.rungs is not None:
            return specs
        # Nobody asked for rungs of networks of another kind.
        return [s for s in specs if not s.given or build(s, measured).operator]

    def _measured(
        self, window: Window, snapshots: Sequence[StoredSnapshot], times: Float64[np.ndarray, " T"]
    ) -> Measured:
        config, step, first = self.run.trained_config, window.steps[0], snapshots[0]
        assert self.network is not None
        template = start(self.network, config.training, self.dataset.per_class)
        kernel = self.run.measurement(step, TENSORS)
        return Measured(
            self.network,
            self.run.read_train_state(step, template),
            self.dataset,
            config,
            step,
            first.state,
            first.sizes,
            kernel,
            self._schedule(step, first.time, float(times[-1])),
            self.settings.probes,
            Cache(self.run.path / "ladder" / f"{step}-{fingerprint(first.state)}.npz"),
            self.progress,
            self.settings.asked,
            self.settings.announce,
            self._drift(kernel, step, first.time, float(times[-1])),
        )

    def _drift(self, kernel: Measurement, step: int, begin: float, end: float) -> float | None:
        """How far the N x N kernel moves from the start to the first measurement after the end of the window."""
        last, first = self._schedule(step, begin, end)[-1][1], kernel.features.mean
        later = next(s for s, found in self.kernels.items() if found is last)
        if later == step or first is None:
            return None
        moved = self.run.measurement(later, TENSORS).features.mean
        return None if moved is None or moved.shape != first.shape else drift(first, moved)

    def _schedule(self, step: int, begin: float, end: float) -> tuple[tuple[float, Measurement], ...]:
        """Measured constants from the start to the first measurement after the end of the window.

        One beyond the end, so that constants are interpolated to it and not continued.
        """
        knots = []
        for later in sorted(s for s in self.kernels if s >= step):
            time = self.run.read_snapshot(later).time
            knots.append((time - begin, self.kernels[later]))
            if time >= end:
                break
        return tuple(knots)


class _RecordedContext(_Context):
    """A run that was recorded elsewhere: what was measured is all there is."""

    def _specs(self, measured: Measured) -> list[Spec]:
        specs = chosen(_names(self.settings), large=False)
        # Nobody asked for what was not measured.
        return specs if self.settings.rungs is not None else [s for s in specs if build(s, measured).operator]

    def _measured(
        self, window: Window, snapshots: Sequence[StoredSnapshot], times: Float64[np.ndarray, " T"]
    ) -> Measured:
        step, first = window.steps[0], snapshots[0]
        kernel = self.run.measurement(step)
        return Recorded(
            None,
            None,
            self.dataset,
            self.run.config,
            step,
            first.state,
            first.sizes,
            kernel,
            self._schedule(step, first.time, float(times[-1])),
            progress=self.progress,
            drift=self._drift(kernel, step, first.time, float(times[-1])),
            later=(snapshots[1].state, float(times[1] - times[0])),
        )
