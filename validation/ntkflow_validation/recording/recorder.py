"""Recorder: a training loop of one's own writes our run format."""

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow import checks
from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.foreign import arrays, heads
from ntkflow.foreign.labels import class_indices, counted
from ntkflow.foreign.modules import ForeignNetwork, unwrapped
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow.runs.atomic import MARK, refuse_existing
from ntkflow.runs.border.records import document
from ntkflow.runs.border.typed import typed
from ntkflow.words import spelled
from ntkflow_validation.config.recorded import GIVEN, RECALIBRATED, RecordedConfig, RecordedModel, described
from ntkflow_validation.conservation.law import Laws
from ntkflow_validation.metrics.variability import line_metrics
from ntkflow_validation.recording import dropout
from ntkflow_validation.recording.cadence import Cadence, KernelCadence, Steps, checked
from ntkflow_validation.recording.kernel import measured, settings, with_terms
from ntkflow_validation.recording.laws import Followed
from ntkflow_validation.recording.ranks import rank as this_rank
from ntkflow_validation.recording.reader import Features, Reader, check_fit, extra
from ntkflow_validation.recording.statistics import Ready, Statistics
from ntkflow_validation.recording.warned import RecordingWarning, Warned
from ntkflow_validation.runs.documents import Line, MadeBy, Training, first_difference
from ntkflow_validation.runs.rundir import OWNED, RunDirectory, StoredSnapshot
from ntkflow_validation.runs.training_run import Result

# Measured beside the block constants; the whole tensor where it is small, from which every rung of the ladder follows.
QUANTITIES = ("outputs", "row-space", "rayleigh")
TENSOR_ROWS = 1000
Sink = Callable[[int, Mapping[str, float]], object]


class Recorder:
    """Writes the metrics, snapshots and kernels of a training loop as `ntkflow validate train` writes its own.

    `recorder(step, H, W, b)` after so many steps of the optimiser, or `recorder(step, network)` with `X`, `features` and
    `head`. `ntkflow validate show, compare, report, figure, export` and `nf.compare` take the directory as it is, also
    while the training runs or after it was killed. The same directory again goes on: steps that are there already are
    skipped, so that a training which goes on from a checkpoint before the last recorded step leaves no second line.

    In data-parallel training rank 0 alone writes (torch.distributed, jax.distributed, the variable RANK); on the others
    every call returns at once.

    Args:
        directory: the run directory; made at the first call.
        y: class of each recorded sample, 0 .. C-1, in any order, (N,) or one-hot (N, C).
        clock: `nf.Clock` of the training; its `samples` are those that are trained on, of which those of `y` may be a part.
            Without a rate, or None, of Adam and its like, whose steps are in no flow time: recorded against steps alone.
        X: inputs of the same samples, in that order; for `recorder(step, network)`.
        features: h(x) of a batch: features(network, x), (B, n). A module of torch or Flax NNX is put into inference mode for
            it and then back; other networks are trees of parameters, of which this is a pure function of JAX.
        head: the last layer: path of it in the network, as "model.head", or a function of the network that gives it, as a
            layer or (W, b).
        rows: whether samples are the rows of H, (N, n), or its columns; None where the shape tells.
        snapshots: H, W, b are kept at the first call and whenever the step has grown by this factor, and at the end;
            1 keeps them at every call. Or a list of steps.
        kernels: the same for kernels, at snapshots; None for none.
        kernel_change: in place of that factor, the share (as 0.25) by which the blocks of H^T H or |W|^2 have to have changed
            since the last kernel, a cheap sign of its own change; at the latest the step has grown tenfold.
        budget: the share of the time gone by that measuring may take; for a list of steps it does not count.
        recalibrate: whether a network with running statistics of batch normalisation is read, and its kernel measured, with
            those of X, of more than 1024 samples those of 1024 that stand for all classes alike; what is given stays as it
            is. Where this is off or impossible, stale statistics are warned of and said in the run.
        measure: how: settings of `nf.measure` that `[kernels]` of a config.toml has, as {"per_class": 20, "probes": 8}.
        laws: `nf.conservation_laws` of the network: their values are kept with every snapshot, for `ntkflow validate laws`, which
            holds them against the law of the flow; that of the steps would need gradients. `laws.at_rates` where groups of
            parameters have rates of their own.
        name: of the network, for titles.
        data: of the data set.
        sinks: called with (step, metrics) after every line, see `TensorBoard`, `WandB`.
        rank: of this process, where it cannot be found.
        overwrite: replace a run that lies there.

    Raises:
        InputError: the labels or settings are impossible, or the directory holds something else or another run.
        InUseError: another process, or another recorder, works on the directory.
    """

    @spelled
    def __init__(
        self,
        directory: Path | str,
        y: ArrayLike,
        *,
        clock: Clock | None,
        X: ArrayLike | None = None,
        features: Features | None = None,
        head: str | Callable[[ForeignNetwork], object] | None = None,
        rows: bool | None = None,
        snapshots: Steps = 1.2,
        kernels: Steps | None = 2.0,
        kernel_change: float | None = None,
        budget: float = 0.1,
        recalibrate: bool = True,
        measure: Document | None = None,
        laws: Laws | None = None,
        name: str = "own network",
        data: str = "own data",
        sinks: Sequence[Sink] = (),
        rank: int | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(directory)
        self.labels = class_indices(y)
        self.classes = len(counted(self.labels, None if clock is None else clock.classes))
        clock = clock or Clock(samples=len(self.labels), classes=self.classes)
        self.clock, self.rows, self.name, self.data = clock, rows, str(name), str(data)
        if len(self.labels) > clock.samples:
            rule = f"are more than the clock's {clock.samples} samples"
            raise InputError("y", f"{len(self.labels)} labels", rule, "correct one")
        if X is None and features is not None:
            raise InputError("X", None, "is what features are read on", "give the inputs of the samples of y")
        self._reader = None if features is None else Reader(features, X)
        if self._reader is not None and len(self._reader.X) != len(self.labels):
            raise InputError("X", f"{len(self._reader.X)} inputs", "must be y's", "give one for each label")
        self._head, self._remarks = heads.found_anew(head), list[str]()
        how = self.labels, bool(typed("recalibrate", bool, recalibrate)), self._remark
        self._statistics = None if self._reader is None else Statistics(self._reader, *how)
        self._snapshots = Cadence(checked("snapshots", snapshots))
        self._kernels = KernelCadence(kernels, kernel_change, budget)
        self._how = settings(measure)
        self._followed = None if laws is None else Followed(laws, clock)
        self._sinks = tuple(sinks)
        self._run: RunDirectory | None = None
        self._latest: StoredSnapshot | None = None
        self._warned = Warned()
        self._stack = ExitStack()
        self.last: int | None = None
        self.stopped = ""
        self._biased = True
        self.writes = (this_rank() if rank is None else rank) == 0
        if self.writes:
            self._overwrite = overwrite
            self._found()
        # Only the process that locked it lets it go: forked children inherit the recorder.
        self._release = weakref.finalize(self, _close, self._stack, os.getpid())

    def __repr__(self) -> str:
        done = "nothing recorded" if self.last is None else f"recorded to step {self.last}"
        state = "open" if self.recording else self.stopped or "closed"
        return f"Recorder({str(self.path)!r}: {done}; {state})"

    def __call__(
        self,
        step: int,
        network: ForeignNetwork,
        W: object = None,
        b: ArrayLike | None = None,
        *,
        params: PyTree = None,
        **more: object,
    ) -> Json | None:
        """Record the network after `step` steps of the optimiser.

        Args:
            step: larger than the last one.
            network: H of the recorded samples, or, with `features`, the network.
            W: with H, the weights (C, n), or the last layer itself.
            b: with W, the biases (C,); None for none.
            params: with `laws` of a recorder that is given H, parameters as `nf.conservation_laws` took them.
            more: other numbers for the line, as accuracy_test=0.98.

        Returns:
            The line of metrics.jsonl; None where nothing was written: on other ranks, for a step that is there already,
            after numbers that were not finite.

        Raises:
            InputError: H, W or b do not fit the labels, or the parameters not the laws.
        """
        if not self.writes or self.stopped:
            return None
        step = checks.whole("step", step, 0)
        if self.last is not None and step <= self.last:
            self._warned.once("again", f"{self.path} has step {self.last}: steps up to it are skipped")
            return None
        ready = self._ready(step, unwrapped(network)) if W is None else Ready(network)
        H, weights, found = self._observed(ready, W, b)
        self._biased, biases = found is not None, np.zeros(self.classes) if found is None else found
        if not all(np.isfinite(part).all() for part in (H, weights, biases)):
            self._diverged(step)
            return None
        state, sizes, _ = State.from_samples(H, weights, biases, self.labels)
        seen = StoredSnapshot(step, self._time(step), state, sizes)
        if self._followed is not None:
            self._followed.observe(unwrapped(network) if W is None and params is None else params, state.W)
        told = extra(more)
        known = {"accuracy_train": float(np.mean(state.logits.argmax(axis=0) == sizes.labels))}
        line = Line(step, seen.time, {**line_metrics(state, sizes), **known, **told})
        written = document(self._write(seen, line, ready if W is None else None))
        for sink in self._sinks:
            sink(step, {name: value for name, value in written.items() if name != "step"})
        return written

    @property
    def run(self) -> RunDirectory:
        """The run directory, as the commands open it.

        Raises:
            InputError: nothing was recorded yet.
        """
        if self._run is None:
            raise InputError("recorder", self.path, "has recorded nothing yet", "call it first, on rank 0")
        return self._run

    @property
    def recording(self) -> bool:
        """Whether this recorder holds the directory."""
        return self._run is not None and self._release.alive

    def close(self) -> None:
        """Keep the last state, say how the training ended, and let the directory go. A training that is killed needs none."""
        if self._run is not None and self.recording:
            if self._latest is not None and self._latest.step not in self._run.steps():
                if self._followed is not None:
                    self._followed.keep(self._run, self._latest.step)
                self._run.write_observed(self._latest, compressed=False)
            if not self.stopped:
                self._end(Result.COMPLETE, "")
        for sink in self._sinks:
            getattr(sink, "close", lambda: None)()
        self._release()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A loop that was broken off has not ended.
        self.close() if kind is None else self._release()

    def _ready(self, step: int, network: ForeignNetwork) -> Ready:
        """The network to be read: with the statistics of X, if it has any."""
        if self._statistics is None or self._head is None:
            return Ready(network)
        return self._statistics.ready(step, network, self._snapshots.due(step) or self._kernels.may(step))

    def _time(self, step: int) -> float:
        timed = self.clock.learning_rate is not None or self.clock.schedule is not None
        return float(self.clock.time(step)) if timed else float("nan")

    def _observed(
        self, ready: Ready, W: object, b: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        N = len(self.labels)
        if W is not None:
            H = arrays.columns(ready.network, N, self.rows)
            return H, *heads.read(W, b, C=self.classes, finite=False)
        if self._reader is None or self._head is None:
            raise InputError(
                "recorder",
                f"step, {type(ready.network).__name__}",
                "was given no head: H needs W and b beside it, a network needs X=, features= and head= of the recorder",
                "call recorder(step, H, W, b), or make it with these",
            )
        H = arrays.columns(self._reader(ready.network) if ready.features is None else ready.features, N, True)
        # What a path leads to has no running statistics; a function may look at some.
        owner = ready.given if isinstance(self._head, str) else ready.network
        W, b = heads.read(heads.part(owner, self._head), C=self.classes, finite=False)
        check_fit(H, W)
        return H, W, b

    def _write(self, seen: StoredSnapshot, line: Line, ready: Ready | None) -> Line:
        """As our trainings do: kernel, line, which is returned, and last the state file, which marks the snapshot complete."""
        run = self._run or self._begun(seen, None if ready is None else ready.given)
        kept = self._snapshots.due(seen.step)
        if self._reader is not None and ready is not None and self._kernels.due(seen):
            line = self._measured(run, seen, ready.network, line)
            kept = True
        run.append_metrics(line)
        if kept:
            if self._followed is not None:
                self._followed.keep(run, seen.step)
            run.write_observed(seen, compressed=False)  # somebody's training waits
            self._snapshots.done(seen.step)
        self.last, self._latest = seen.step, None if kept else seen
        return line

    def _measured(self, run: RunDirectory, seen: StoredSnapshot, network: ForeignNetwork, line: Line) -> Line:
        """The line with the invariant's terms under the kernel measured here; what cannot be measured does not end a training."""
        assert self._reader is not None
        how, began = run.config.kernels, time.perf_counter()
        try:
            found = measured(self._reader, network, seen.state, self.labels, how, self._biased)
        except InputError as error:
            self._warned.once("kernel", f"no kernel was measured at step {seen.step}: {error}")
            self._kernels.stop()
            return line
        seconds = time.perf_counter() - began
        run.write_measurement(seen.step, found, how, seconds)
        self._kernels.done(seen, seconds)
        return with_terms(line, found, seen, self.clock, self.classes)

    def _found(self) -> None:
        """Go on with what is there, or see that nothing is."""
        if (self.path / MARK).exists() and not self._overwrite:
            run = RunDirectory.open(self.path)
            if not isinstance(run.config, RecordedConfig):
                raise InputError(
                    "directory", self.path, "holds a training from here", "choose another directory"
                )
            given, known = self._continued(run.config).to_dict(), run.config.to_dict()
            difference = first_difference(given, known) or first_difference(known, given)
            if difference:
                rule = f"was recorded with another {difference}"
                raise InputError("directory", self.path, rule, "choose another directory, or overwrite=True")
            self._resume(run)
        else:
            refuse_existing(self.path, self._overwrite, OWNED)

    def _resume(self, run: RunDirectory) -> None:
        self._stack.enter_context(run.locked())
        run.repair_metrics()
        steps, rows = run.steps(), run.metrics()
        facts = run.training()
        self._remarks = list((facts.remarks or ()) if facts else ())
        self._run, self.last = run, rows[-1].step if rows else None
        self._snapshots.last = steps[-1] if steps else None
        if run.measured():
            self._kernels.resume(run.read_snapshot(run.measured()[-1]))

    def _begun(self, seen: StoredSnapshot, network: ForeignNetwork) -> RunDirectory:
        n = seen.sizes.n
        if dropout.drops(network):
            self._remarks.append(dropout.SENTENCE)
        quantities: tuple[str, ...] = QUANTITIES
        if not self._how.quantities:
            # In batch mode no single sample can be looked at.
            small = n * len(self.labels) <= TENSOR_ROWS and not self._how.per_class
            quantities += ("tensor",) if small and self._how.bn != "batch" else ()
            self._how = replace(self._how, quantities=quantities)
        run = RunDirectory.create(self.path, self._config(n), overwrite=self._overwrite)
        self._stack.enter_context(run.locked())
        samples = {"train": self.clock.samples, "recorded": len(self.labels)}
        config = run.config
        rate = config.training.learning_rate if isinstance(config, RecordedConfig) and config.timed else None
        remarks = tuple(self._remarks) or None
        run.write_training(Training(rate, None, samples, made_by=MadeBy.here(), remarks=remarks))
        self._run = run
        return run

    def _config(self, n: int) -> RecordedConfig:
        found = self._statistics
        norm, observed = ("none", RECALIBRATED) if found is None else (found.norm or "none", found.observed)
        model = RecordedModel(
            name=self.name, features=n, head_bias=self._biased, norm=norm, observed=observed
        )
        return described(self.clock, self.labels, self.data, model, self._how)

    def _continued(self, known: RecordedConfig) -> RecordedConfig:
        """The configuration that goes on with a known one, as far as it is known before the first network comes."""
        how, model = self._how, known.model
        assert isinstance(model, RecordedModel)
        if not how.quantities:
            how = replace(how, quantities=known.kernels.quantities)
        observed = RECALIBRATED if self._statistics is None else self._statistics.observed
        # What was impossible before is so again.
        if model.norm == "none" or (observed, known.observed) == (RECALIBRATED, GIVEN):
            observed = known.observed
        return described(
            self.clock, self.labels, self.data, replace(model, name=self.name, observed=observed), how
        )

    def _diverged(self, step: int) -> None:
        self.stopped = f"H, W or b was not finite at step {step}"
        self._warned.once("diverged", f"{self.stopped}: nothing is recorded from there on")
        if self._run is not None:
            self._end(Result.DIVERGED, self.stopped)

    def _end(self, result: Result, message: str) -> None:
        facts = self.run.training()
        assert facts is not None
        self.run.write_training(replace(facts, result=str(result), step=self.last or 0, message=message))

    def _remark(self, sentence: str, category: type[Warning] | None) -> None:
        """Warn, and keep it with the run."""
        self._remarks.append(sentence)
        self._warned.once(sentence, sentence, category or RecordingWarning)
        facts = None if self._run is None else self._run.training()
        if self._run is not None and facts is not None:
            self._run.write_training(replace(facts, remarks=tuple(self._remarks)))


def _close(stack: ExitStack, process: int) -> None:
    if os.getpid() == process:
        stack.close()
