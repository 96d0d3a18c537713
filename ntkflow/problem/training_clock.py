"""Clock: anyone's training, as it is written in its framework, in the time and the rates of the theory."""

import numpy as np

from ntkflow import checks
from ntkflow._types import Array, Json, Times
from ntkflow.checks import choice, numbers, real, whole
from ntkflow.errors import InputError
from ntkflow.problem import flow_units, recipe
from ntkflow.problem.decay import Decay
from ntkflow.problem.losses import MSE, Loss, loss_named, smoothed
from ntkflow.problem.schedule import MOST_STEPS, Schedule
from ntkflow.words import spelled

DECAY_ON = ("all", "weights")
# More than a float has bits: the interval ends at two neighbours.
BISECTIONS = 80


class Clock:
    """Steps of an optimiser as flow time of the sum loss (4), and its weight decay as the theory's.

    One step of rate eta on the loss that is differentiated is a step eta / `scale` of the flow, in expectation over
    class-balanced batches, up to the square of the step; momentum beta makes it 1/(1 - beta) as long, once built up.
    Source: theory 11.4, 11.6. `docs/your-network.md` has the arguments for the losses and optimisers of PyTorch and optax.

    Args:
        learning_rate: eta > 0; None beside `schedule`, or where only the decay is asked for.
        loss: "half-squared", (f - y)^2 / 2; "squared", (f - y)^2, without the 1/2, as torch.nn.MSELoss; "cross-entropy" of
            the softmax; or a loss of a sample for ntkflow, as "module:object".
        reduction: "mean", the framework's own: squares over samples and outputs, the cross-entropy over samples;
            "batch-mean", over samples only; or "sum".
        batch: samples in a step's batch; None for all. It matters for "sum" only.
        momentum: beta, 0 <= beta < 1, as v = beta v + g.
        nesterov: step along g + beta v.
        weight_decay: the optimiser's number, >= 0; None for none.
        decay: "coupled", added to the gradient (SGD's, an L2 penalty (weight_decay/2)|x|^2 beside the loss); or
            "decoupled", x <- (1 - eta weight_decay) x beside the step.
        samples: N of the data set.
        classes: C, the outputs; needed for the mean of squares only.
        schedule: rates of the steps in place of `learning_rate`, a function step -> rate or a list, see `Schedule`.
        accumulate: batches whose gradients are summed before a step. 1 where they are averaged (optax.MultiSteps,
            loss / k before backward): the optimiser's steps are what is counted.
        decay_on: "all" parameters or "weights" only, so that b has no decay.
        degree: D for features that are homogeneous of degree D in the decayed parameters, whose rate is D times that of
            W: 1 for a layer, L for L layers without biases, 0 when normalised last. Source: theory 11.1.
        label_smoothing: epsilon of the targets (1 - epsilon) Y + epsilon/C that are trained on: the same time, another flow.
        optimiser: "sgd"; others are refused.
        frozen: "body" where the head alone is trained: the same time, with a kernel of the features that is 0.
        precision: of the network; mixed precision has the same steps, and those that are skipped are not counted.
        ema: refused.
        clip: refused.
        layer_rates: refused.
        dampening: refused.

    Raises:
        InputError: a value is out of range, contradicts another, or has no exact clock.

    >>> clock = Clock(0.1, "squared", momentum=0.9, samples=1000, classes=10, weight_decay=5e-4)
    >>> print(f"{clock.time_step:.4g} {clock.time(1000):.4g} {clock.decay.W:.4g}")
    0.0002 0.1982 2.5
    """

    @spelled
    def __init__(
        self,
        learning_rate: float | None = None,
        loss: str = "half-squared",
        reduction: str = "mean",
        batch: int | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        decay: str = "coupled",
        *,
        samples: int,
        classes: int | None = None,
        schedule: object = None,
        accumulate: int = 1,
        decay_on: str = "all",
        degree: float = 1.0,
        label_smoothing: float = 0.0,
        optimiser: str = "sgd",
        frozen: str | None = None,
        precision: str | None = None,
        ema: object = None,
        clip: object = None,
        layer_rates: object = None,
        dampening: object = None,
    ) -> None:
        recipe.refuse(
            {"optimiser": optimiser, "frozen": frozen, "precision": precision, "ema": ema, "clip": clip}
            | {"layer_rates": layer_rates, "dampening": dampening}
        )
        if ":" not in str(loss):
            choice("loss", loss, flow_units.LOSSES, recipe.meant_by_loss(loss))
        choice("reduction", reduction, flow_units.REDUCTIONS, recipe.meant_by_reduction(reduction))
        choice("decay", decay, flow_units.DECAYS)
        choice("decay_on", decay_on, DECAY_ON)
        self.loss, self.reduction = loss, reduction
        self.samples = whole("samples", samples, 1)
        self.classes = self._outputs(classes)
        self.batch = None if batch is None else whole("batch", batch, 1)
        if self.batch is not None and self.batch > self.samples:
            rule = f"is more than the {self.samples} samples"
            raise InputError("batch", self.batch, rule, "give B <= samples")
        self.accumulate = whole("accumulate", accumulate, 1)
        self.learning_rate, self.schedule = _rates(learning_rate, schedule)
        self.momentum, self.nesterov = checks.momentum(momentum), bool(nesterov)
        self.weight_decay = (
            None if weight_decay is None else checks.not_negative("weight_decay", weight_decay)
        )
        self.decay_form, self.decay_on = decay, decay_on
        self.degree = checks.not_negative("degree", degree)
        self.label_smoothing = checks.smoothing("label_smoothing", label_smoothing)
        self.frozen, self.precision = frozen, precision
        self._table: Times = np.zeros(1)

    def _outputs(self, classes: int | None) -> int | None:
        if classes is not None:
            return whole("classes", classes, 1)
        if self.reduction == "mean" and self.loss in ("half-squared", "squared"):
            raise InputError(
                "classes",
                None,
                f"the mean of {self.loss} errors is over samples and outputs, of which there are C",
                "give the number of outputs, or reduction='batch-mean' for a mean over samples only",
            )
        return None

    @property
    def flow_loss(self) -> Loss:
        """The loss of the flow, a sum over samples: `MSE` for squares with and without the 1/2, `Smoothed` if targets are."""
        name = MSE.name if self.loss in ("half-squared", "squared") else self.loss
        return smoothed(loss_named(name), self.label_smoothing)

    @property
    def scale(self) -> float:
        """Sum loss (4) over all samples divided by the loss that is differentiated, see `nf.theory.flow_units.loss_scale`."""
        return flow_units.loss_scale(
            self.loss, self.reduction, self.samples, self.classes or 1, self.batch, self.accumulate
        )

    @property
    def rate(self) -> float:
        """The theory's decay lambda of W, per unit of flow time.

        Decoupled decay does not pass through the momentum, and is this once that has built up.
        """
        return flow_units.theory_decay(self.weight_decay or 0.0, self.scale, self.momentum, self.decay_form)

    @property
    def decay(self) -> Decay:
        """The decay of the flow: lambda of W, `degree` times that of H, and of b unless weights alone decay."""
        rate = self.rate
        body = 0.0 if self.frozen == "body" else self.degree * rate
        return Decay(rate, body, rate if self.decay_on == "all" else 0.0)

    @property
    def time_step(self) -> float | None:
        """Flow time of a step at the constant rate, momentum built up; None with a schedule or without a rate."""
        return None if self.learning_rate is None else self.learning_rate / (self.scale * (1 - self.momentum))

    @property
    def effective_step(self) -> float | None:
        """eta_eff at the constant rate: the iterates follow x' = F - (eta_eff/2) F' F, see `error`.

        None with a schedule or without a rate. Source: theory 11.4.
        """
        return None if self.learning_rate is None else self._effective(self.learning_rate)

    def error(self, rate: float, step: int = 0) -> float:
        """How much faster than `rate` a mode decays, as a share of it: eta_eff rate / 2, to leading order.

        This is what the clock itself leaves out, momentum's lag included; noise of batches comes on top.

        Args:
            rate: of the mode in the flow, per unit of flow time, such as the largest of the spectrum.
            step: at whose learning rate.

        Raises:
            InputError: there is no learning rate.
        """
        self._needs_rate()
        step = whole("step", step, 0)
        eta = self.learning_rate if self.schedule is None else float(self.schedule.first(step + 1)[-1])
        assert eta is not None
        return self._effective(eta) * real("rate", rate) / 2

    def _effective(self, rate: float) -> float:
        return flow_units.drift_step(rate / self.scale, self.momentum, self.nesterov)

    def time(self, step: Array) -> Array:
        """Flow time after so many steps: how far a constant gradient is followed, momentum's start included.

        Args:
            step: a number of steps >= 0, or an array of them; between two whole ones time runs evenly.

        Returns:
            Float, or an array of the same shape.

        Raises:
            InputError: there is no learning rate, or a list of rates ends before.
        """
        self._needs_rate()
        steps = numbers("step", step, remedy="give numbers of steps")
        if steps.size and steps.min() < 0:
            raise InputError("step", float(steps.min()), "must be at least 0", "count steps from 0")
        found = self._at(steps)
        return float(found) if np.ndim(step) == 0 else found

    def step(self, time: Array) -> Array:
        """The steps after which so much flow time has gone by, the inverse of `time`; not rounded.

        Args:
            time: flow time >= 0, or an array of such.

        Raises:
            InputError: there is no learning rate, or the rates of the schedule never reach it.
        """
        self._needs_rate()
        times = numbers("time", time, remedy="give finite times")
        if times.size and times.min() < 0:
            raise InputError("time", float(times.min()), "must be at least 0", "give times from 0")
        found = self._scheduled(times) if self.schedule is not None else self._bisected(times)
        return float(found) if np.ndim(time) == 0 else found

    def as_dict(self) -> Json:
        """Plain values for files."""
        return {
            "loss": self.loss,
            "reduction": self.reduction,
            "samples": self.samples,
            "classes": self.classes,
            "batch": self.batch,
            "accumulate": self.accumulate,
            "loss_scale": self.scale,
            "learning_rate": self.learning_rate,
            "schedule": None if self.schedule is None else repr(self.schedule),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "decay": self.decay_form,
            "decay_on": self.decay_on,
            "degree": self.degree,
            "label_smoothing": self.label_smoothing or None,  # files of before have none
            "frozen": self.frozen,
            "precision": self.precision,
            "theory_decay": self.rate,
            "time_step": self.time_step,
            "effective_step": self.effective_step,
        }

    def __repr__(self) -> str:
        kind = f"{'Nesterov' if self.nesterov else 'momentum'} {self.momentum:.4g}"
        lines = [
            f"Clock({self.loss}, {self.reduction}: the sum loss is {self.scale:.6g} times the loss that is differentiated,"
        ]
        if self.effective_step is not None:
            lines += [
                f"      rate {self.learning_rate:.4g}, {kind}: a step is {self.time_step:.4g} of flow time,",
                f"      a mode of rate r decays faster by {self.effective_step / 2:.4g} r of itself,",
            ]
        if self.schedule is not None:
            lines.append(f"      rates by {self.schedule}, {kind},")
        if self.label_smoothing:
            lines.append(f"      targets smoothed by {self.label_smoothing:.4g},")
        if self.weight_decay is not None:
            d = self.decay
            lines.append(
                f"      {self.decay_form} weight decay {self.weight_decay:.4g}: W {d.W:.4g}, H {d.H:.4g}, b {d.b:.4g},"
            )
        return "\n".join(lines)[:-1] + ")"

    def _needs_rate(self) -> None:
        if self.learning_rate is None and self.schedule is None:
            raise InputError(
                "learning_rate", None, "is needed to tell time", "give learning_rate= or schedule="
            )

    def _at(self, steps: np.ndarray) -> np.ndarray:
        whole_steps = np.floor(steps)
        if self.schedule is None:
            assert self.learning_rate is not None
            below, above = (
                flow_units.built_up(k, self.momentum, self.nesterov) for k in (whole_steps, whole_steps + 1)
            )
            between = below + (steps - whole_steps) * (above - below)
            return np.asarray(self.learning_rate * between / self.scale)
        self._extend(int(np.ceil(steps.max(initial=0.0))))
        return np.asarray(np.interp(steps, np.arange(len(self._table)), self._table))

    def _extend(self, steps: int) -> None:
        """Times of a schedule's first steps into the table, which doubles."""
        if steps < len(self._table):
            return
        assert self.schedule is not None
        end = max(steps, min(2 * len(self._table), self.schedule.steps or MOST_STEPS))
        self._table = flow_units.times(self.schedule.first(end), self.scale, self.momentum, self.nesterov)

    def _scheduled(self, times: np.ndarray) -> np.ndarray:
        assert self.schedule is not None
        last, most = float(times.max(initial=0.0)), self.schedule.steps or MOST_STEPS
        while self._table[-1] < last:
            known = len(self._table) - 1
            if known >= most:
                raise InputError(
                    "time",
                    last,
                    f"is not reached in {known} steps, which end at {self._table[-1]:.6g}",
                    "lower it",
                )
            self._extend(min(max(2 * known, 1024), most))
        # Where rates are 0 time stands still: the first step that is there.
        # Between two steps time runs evenly, as in `time`, whose inverse this is.
        after = np.clip(np.searchsorted(self._table, times, side="left"), 1, None)
        low, high = self._table[after - 1], self._table[np.minimum(after, len(self._table) - 1)]
        share = np.divide(times - low, high - low, out=np.zeros_like(times), where=high > low)
        return np.asarray(after - 1 + share)

    def _bisected(self, times: np.ndarray) -> np.ndarray:
        assert self.time_step is not None
        # By bisection: with momentum's start time has no inverse in closed form, and it rises.
        low = times / self.time_step
        # Momentum's start costs less than this.
        high = low + 1 / (1 - self.momentum)
        for _ in range(BISECTIONS):
            middle = np.asarray((low + high) / 2)  # numpy makes a scalar of a lone time
            late = self._at(middle) >= times
            low, high = np.where(late, low, middle), np.where(late, middle, high)
        return np.where(times > 0, high, 0.0)


def _rates(learning_rate: object, schedule: object) -> tuple[float | None, Schedule | None]:
    if learning_rate is None:
        return None, schedule if isinstance(schedule, Schedule | None) else Schedule(schedule)
    if schedule is not None:
        raise InputError(
            "learning_rate",
            learning_rate,
            "contradicts schedule, which has the rates themselves",
            "drop it; multiply a schedule of factors by it yourself",
        )
    remedy = "give a rate > 0, and a function of the step as schedule="
    return checks.positive("learning_rate", learning_rate, remedy), None
