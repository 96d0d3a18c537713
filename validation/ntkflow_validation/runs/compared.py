"""comparison.json: windows of a run, what every rung predicted in them, and what each assumption cost.

A number that does not exist, such as the skill on a quantity that did not change, is None.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ntkflow.runs.border.records import INLINE, SPARSE, key
from ntkflow_validation.runs.documents import KernelRow

Numbers = tuple[float | None, ...]
Series = Mapping[str, Numbers]


@dataclass(frozen=True)
class Skill:
    """1 - |predicted - observed|^2 / |observed - observed at the start|^2, pooled over a window.

    Attributes:
        value: None where nothing changed.
        error: standard error over probe sets, of W and b over classes; None where there is none.
    """

    value: float | None
    error: float | None


NO_SKILL = Skill(None, None)


@dataclass(frozen=True)
class Skills:
    """Of one prediction, by quantity.

    Attributes:
        centred: without the global mean.
        uncentred: with it, which flatters every rung.
    """

    centred: Mapping[str, Skill] = field(metadata=INLINE)
    uncentred: Mapping[str, Skill] = field(default_factory=dict)

    def on(self, quantity: str) -> Skill:
        """On any of both."""
        return self.centred.get(quantity) or self.uncentred.get(quantity) or NO_SKILL


@dataclass(frozen=True)
class Motion:
    """A part of the predicted dH/dt at the start beside the observed one, with standard errors.

    Attributes:
        cosine: between the two.
        error: |predicted - observed| / |observed|.
        cosine_error, error_error: of these.
    """

    cosine: float | None
    error: float | None
    cosine_error: float | None = None
    error_error: float | None = None


@dataclass(frozen=True)
class Edges:
    """Lower and upper edge of a band, at every time."""

    low: Numbers
    high: Numbers


@dataclass(frozen=True)
class Band:
    """Around the predicted series.

    Attributes:
        of: over what its width is taken.
        edges: by series.
    """

    of: str | None
    edges: Mapping[str, Edges] = field(metadata=INLINE)


@dataclass(frozen=True)
class Rates:
    """Of the decay of one part of the residual, per unit of flow time.

    Attributes:
        predicted: by the rung.
        fitted: to the observed decay.
        low, high: two standard errors to either side of that.
    """

    predicted: float | None
    fitted: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ratios:
    """How far a conserved quantity moved.

    Attributes:
        relative_to_E0: over its size at the start, which looks good wherever one of its terms dominates.
        relative_to_terms: over the sum of the changes of its two terms; 1 where these do not cancel.
    """

    relative_to_E0: float | None = None
    relative_to_terms: float | None = None


@dataclass(frozen=True)
class Conserved:
    """What a rung conserves.

    Attributes:
        of: which part of E; None where nothing.
        reason: why not.
        run: along the observed states.
        predicted: along the rung's own.
    """

    of: str | None = None
    reason: str | None = None
    run: Ratios = field(default=Ratios(), metadata=INLINE)
    predicted: Ratios | None = None


@dataclass(frozen=True)
class ComparedRung:
    """One prediction of one window; what a refused one does not have is None.

    Attributes:
        name: of the rung, for --rungs.
        title: in words.
        constants: how many numbers it takes from the network.
        refused: why it could not be run.
        modifications: what the training did beyond the theory and this prediction does too.
        instantaneous: dH/dt at the start against the observed motion, by part; the same for all modifications.
        finite_difference: the same against the difference of the first two snapshots.
        draws: skill on M with other draws of the batches.
        skill: pooled over the window.
        skill_at: at each time.
        predicted: named series.
        band: around them.
        rates: of the parts of the residual.
        invariant: what it conserves.
        skill_until: pooled until the squared class residual is down to each share of that at the start, by share.
    """

    name: str
    title: str
    constants: int
    refused: str | None
    modifications: tuple[str, ...]
    instantaneous: Mapping[str, Motion | None] | None = None
    finite_difference: Mapping[str, Motion | None] | None = None
    draws: Numbers = ()
    skill: Skills | None = None
    skill_at: Series | None = None
    predicted: Series | None = None
    band: Band | None = None
    rates: Mapping[str, Rates | None] | None = None
    invariant: Conserved | None = None
    skill_until: Mapping[str, Mapping[str, Skill]] | None = field(default=None, metadata=SPARSE)

    @property
    def key(self) -> str:
        """What tells it from the other predictions of a window."""
        return "+".join((self.name, *self.modifications))

    @property
    def words(self) -> str:
        """Its title, with the modifications."""
        return f"{self.title}, with {', '.join(self.modifications)}" if self.modifications else self.title

    def score(self, quantity: str = "M") -> Skill:
        """Its skill on a quantity; without numbers where it was refused."""
        return NO_SKILL if self.refused or self.skill is None else self.skill.on(quantity)


@dataclass(frozen=True)
class Cost:
    """What one assumption costs.

    Attributes:
        assumption: in words.
        start: rung that makes it.
        end: rung that does not; "observed" for what no rung explains.
        cost: skill gained by giving it up.
        error: standard error over probe sets.
        quantity: on which.
        chain: whether the costs of the chain add up to the whole error of its first rung.
    """

    assumption: str
    start: str = field(metadata=key("from"))
    end: str = field(metadata=key("to"))
    cost: float | None
    error: float | None
    quantity: str = "M"
    chain: bool = True


@dataclass(frozen=True)
class Point:
    """A prediction in the picture of skill against the number of constants.

    Attributes:
        rung: its name, "NAME as trained" where it took the training's own steps instead of the flow.
        constants: how many.
        skill: on centred class means.
        error: standard error over probe sets.
        best: whether nothing with as few constants has a higher skill.
        trained: whether it took the training's own steps, with momentum, decay and batches.
    """

    rung: str
    constants: int
    skill: float | None
    error: float | None
    best: bool = False
    trained: bool = False


@dataclass(frozen=True)
class Ends:
    """A number at both ends of a window."""

    first: float | None
    last: float | None


@dataclass(frozen=True)
class Samples:
    """How many: observed, and trained on."""

    observed: int
    trained: int


@dataclass(frozen=True)
class ComparedShape:
    """How far the kernel at the start of a window is from three constants (`KernelShape`); None where not measured.

    Attributes:
        block_residual: |K - K_block| / |K|, which adds up what matters and what does not.
        cv, leak, iso: the parts.
        drift: |K1 - K0| / |K0| of the measured kernel at the end of the window or after it.
        foretold: error of three constants on M that the shape foretells, by kind of start.
        missing: why a part has no number, by its name.
    """

    block_residual: float | None
    cv: float | None
    leak: float | None
    iso: float | None
    drift: float | None
    foretold: Mapping[str, float]
    missing: Mapping[str, str] | None = field(default=None, metadata=SPARSE)

    @property
    def at_most(self) -> str:
        """Before a foretold skill: a part that was not measured counts nothing, so that the error is one from below."""
        return "at most " if self.leak is None or self.iso is None else ""


@dataclass(frozen=True)
class ComparedWindow:
    """A stretch of a run and what was said of it.

    Attributes:
        name: early, late, or "step N".
        step, last_step: from where to where.
        leading: whether the page opens with it.
        halved: whether the squared class residual falls by half in it; in files of before, the loss.
        times, steps: of its snapshots.
        loss: at both ends.
        step_times_rate: largest step times the fastest rate under the block kernel; at 2 descent is unstable.
        samples: on how many.
        observed: named series.
        rungs: every prediction, in the order of the ladder.
        attribution: what each assumption costs.
        sentence: that in words.
        frontier: skill against constants.
        cheapest: the smallest description whose skill reaches the threshold.
        threshold: that.
        clock: a sentence where one factor on all times explains what the rungs miss.
        until: the step at which the squared class residual is down to each share of that at the start, by share.
        class_residual: half its square, at both ends.
        accuracy: on the observed samples, at both ends.
        shape: of the kernel at the start.
        baselines: what every score is read against: predictions that know nothing of the kernel, or of classes in it.
        tests: a sentence where one of these predicts as well, so that the window tests little.

    Raises:
        ValueError: a series has not one value for each time.
    """

    name: str
    step: int
    last_step: int
    leading: bool
    halved: bool
    times: tuple[float, ...]
    steps: tuple[int, ...]
    loss: Ends
    step_times_rate: float | None
    samples: Samples
    observed: Series
    rungs: tuple[ComparedRung, ...]
    attribution: tuple[Cost, ...]
    sentence: str | None
    frontier: tuple[Point, ...]
    cheapest: str | None
    threshold: float
    clock: str | None = field(default=None, metadata=SPARSE)
    until: Mapping[str, int] | None = field(default=None, metadata=SPARSE)
    class_residual: Ends | None = field(default=None, metadata=SPARSE)
    accuracy: Ends | None = field(default=None, metadata=SPARSE)
    shape: ComparedShape | None = field(default=None, metadata=SPARSE)
    baselines: tuple[ComparedRung, ...] | None = field(default=None, metadata=SPARSE)
    tests: str | None = field(default=None, metadata=SPARSE)

    @property
    def all_rungs(self) -> tuple[ComparedRung, ...]:
        """The baselines, then the rungs: the rows of every table."""
        return (*(self.baselines or ()), *self.rungs)

    def __post_init__(self) -> None:
        for what, values in self._series():
            if len(values) != len(self.times):
                raise ValueError(f"{what} has {len(values)} values for {len(self.times)} times")

    def _series(self) -> Iterator[tuple[str, Numbers]]:
        yield from ((f"observed.{name}", values) for name, values in self.observed.items())
        for rung in self.all_rungs:
            for part, series in (("predicted", rung.predicted), ("skill_at", rung.skill_at)):
                yield from ((f"{rung.name}.{part}.{name}", values) for name, values in (series or {}).items())
            for name, edges in (rung.band.edges if rung.band else {}).items():
                yield from ((f"{rung.name}.band.{name}", values) for values in (edges.low, edges.high))


@dataclass(frozen=True)
class ComparedKernel:
    """A measured kernel, and of class means the share of its tensor between different neurons."""

    row: KernelRow = field(metadata=INLINE)
    off_neuron_share_of_means: float | None


@dataclass(frozen=True)
class ComparedRun:
    """comparison.json.

    Attributes:
        version: of ntkflow.
        from_snapshot: where the leading window begins.
        refused: why there are no windows.
        deviations: hypotheses that the run breaks, in words.
        meaning: what each score is.
        windows: the first leads.
        kernels: what was measured.
        calibration: nothing; it has a file of its own.
    """

    version: str
    from_snapshot: int | None
    refused: str | None
    deviations: tuple[str, ...]
    meaning: Mapping[str, str]
    windows: tuple[ComparedWindow, ...]
    kernels: tuple[ComparedKernel, ...]
    calibration: object = None

    @property
    def in_order(self) -> tuple[ComparedWindow, ...]:
        """Windows in order of their first step."""
        return tuple(sorted(self.windows, key=lambda window: window.step))
