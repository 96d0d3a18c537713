"""What is known of a problem before it is integrated, in words: pairs of a name and a sentence, and tables of rates."""

from collections.abc import Iterator, Mapping, Sequence
from math import log

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow.cli.printed.output import number
from ntkflow.problem.sizes import repeated
from ntkflow.runs.predicted import DecayRow, EndRow, Matrix, Predicted
from ntkflow.runs.summary import OptimiserRow
from ntkflow.theory.decay_conditions import number_of
from ntkflow.theory.spectrum import Mode

Pair = tuple[str, str]
# ln of the factor by which times tell that something is over.
OVER, FACTOR = 13.815510557964274, "1e6"
# Biases this close to 1/C are there.
ROUNDING = 1e-13
# Entries of a matrix this close to each other are one number.
SAME = 1e-9


def answers(predicted: Predicted) -> Iterator[Pair]:
    """The answers for NC1-NC4, equal ones together, and what bounds NC1 from below."""
    grouped: dict[str, list[str]] = {}
    for name, answer in predicted.conditions.items():
        grouped.setdefault(f"{answer.verdict}: {answer.sentence}", []).append(name)
    for text, names in grouped.items():
        yield ", ".join(names), text
    closed = predicted.closed
    if closed is None:
        return
    if closed.nc1_floors:
        floors = ", ".join(f"{name} >= {number(value)}" for name, value in closed.nc1_floors.items())
        yield "floor", f"at all times tr S >= {number(closed.floor_tr_S)}, so that {floors}"
    size = 100 * closed.norm_E
    yield "E", "zero" if closed.zero_E else f"|E| is {size:.3g} % of the norms of its terms"
    if closed.least_loss:
        yield (
            "loss",
            f"never below {number(closed.least_loss)} = m (C - 1 - n)/2: n features fit n + 1 classes at most",
        )


def limit(predicted: Predicted) -> Iterator[Pair]:
    """The limit and its Gram matrices, where they are known."""
    found = predicted.limit
    if found is None:
        return
    yield "limit", found.hypotheses
    yield "  W W^T", matrix(found.X)
    yield "  H1^T H1", matrix(found.G)
    yield "  biases", repeated([number(b) for b in found.b])


def matrix(entries: Matrix) -> str:
    """A Gram matrix in a line: both numbers where there are only two, else its diagonal."""
    C = len(entries)
    diagonal = [entries[i][i] for i in range(C)]
    rest = [entries[i][j] for i in range(C) for j in range(C) if i != j]
    scale = SAME * max(abs(value) for value in diagonal)
    if max(diagonal) - min(diagonal) <= scale and max(rest) - min(rest) <= scale:
        return f"{number(diagonal[0])} on, {number(rest[0])} off the diagonal"
    on = repeated([number(value) for value in diagonal])
    return f"{on} on the diagonal, from {number(min(rest))} to {number(max(rest))} off it"


def decay(found: DecayRow | None) -> Iterator[Pair]:
    """What decay does: its size in an optimiser's units, the loss that it leaves, when the start is forgotten."""
    if found is None:
        return
    names = {"W": "lw", "H": "lh", "b": "lb"}
    rates = {names[name]: rate for name, rate in found.rates.items() if rate}
    mean = {names[name]: value for name, value in found.of_the_mean_loss.items() if value}
    yield "decay", f"{_listed(rates)} per unit of flow time"
    yield "optimiser", f"one with the mean loss would call that a weight decay of {_listed(mean)}"
    if found.drifts:
        way = "falls to half" if "lw" in rates else "doubles"
        # From y = 1 to y = 4 in y + ln y = 4 l t + const, y = m/(mu_class x^2) or its inverse.
        half = (3 + log(4)) / (4 * max(rates.values()))
        yield (
            "drift",
            f"once fitted, x of W W^T = x P {way} from x* within t = {number(half)}, to first order in the decay",
        )
    end = found.end
    if end is not None:
        yield from _end(end)
    for row in found.thresholds:
        if row.dies:
            who = (
                f"a class of {row.m} samples"
                if row.classes == 1
                else f"each of {row.classes} classes of {row.m} samples"
            )
            yield "threshold", f"{who} dies from sqrt(lw lh) = {number(row.rate)} on, from a generic start"
        elif end is not None and end.rho is None:
            yield (
                "threshold",
                f"the {row.classes} classes of {row.m} samples merge from sqrt(lw lh) = {number(row.rate)} on",
            )
    rate = found.E_forgotten_at_rate
    if rate is not None:
        if found.E_forgotten_exactly:
            text = f"E shrinks like exp(-{number(rate)} t) exactly"
        else:
            text = f"E tends to the value that decay gives it, at the end like exp(-{number(rate)} t)"
        yield "memory", f"{text}: the start is forgotten to 1 in {FACTOR} by about t = {number(OVER / rate)}"


def _end(end: EndRow) -> Iterator[Pair]:
    if end.rho is not None:
        share = f"{100 * min(end.rho, 1):.3g} % of every class contrast stays unfitted"
        yield "rho", f"sqrt(lw lh/(m mu_class)) = {number(end.rho)}: {share}"
    yield "loss", f"ends at {number(end.loss)}, what decay leaves of it"
    yield "rank", f"{end.rank} directions of the features survive"
    if end.merged and end.NC2 is not None:
        yield "merged", f"{number_of(end.merged)} end with one class mean"
    if end.slowest is not None:
        yield (
            "approach",
            f"at the end like exp(-{number(end.slowest)} t): a factor {FACTOR} takes t = {number(OVER / end.slowest)}",
        )


def _listed(values: Mapping[str, float]) -> str:
    """Names with their numbers, equal numbers together."""
    grouped: dict[str, list[str]] = {}
    for name, value in values.items():
        grouped.setdefault(number(value), []).append(name)
    return ", ".join(f"{' = '.join(names)} = {text}" for text, names in grouped.items())


def bounds(predicted: Predicted) -> Iterator[Pair]:
    """What holds at all times."""
    closed = predicted.closed
    if closed is None:
        return
    bound, start = closed.bias_bounds, closed.ceiling
    if bound.b <= ROUNDING:
        yield "b and g", "b = 1/C and g = 0 stay as they are, g the global mean"
    else:
        yield "b and g", f"|b - 1/C| <= {number(bound.b)} and |g| <= {number(bound.g)}, g the global mean"
    if start is not None and start.trace > 0:
        law = f"tr S(t) <= {number(start.trace)}/(1 + 2 m t {number(start.trace)}/{start.rank})"
        yield "tr S", f"{law}, since E >= 0"


def laws(predicted: Predicted) -> Iterator[Pair]:
    """The laws of the flow."""
    yield from ((law.quantity, law.sentence) for law in predicted.laws)


def times(predicted: Predicted) -> Iterator[Pair]:
    """How long collapse takes and which steps are stable there; "would be" where it is not what happens."""
    known = predicted.closed
    if known is None or not known.fits:
        return
    would = "" if known.collapses else "would be "
    yield (
        "x*",
        f"sqrt(m/mu_class) = {number(known.x_star)}, the eigenvalue of W W^T at collapse with E = 0",
    )
    took = known.collapse_time
    if known.algebraic_tail:
        yield (
            "time",
            "no rate: tr S falls like 1/(2 m t) and NC3 like 1/sqrt(t), one direction of W being used up (theory 7.3)",
        )
    elif took is not None and (known.collapses or known.limit is not None):
        yield "time", f"NC1 falls by {FACTOR} within t = {number(took)}, once the classes are fitted"
    elif took is not None and known.zero_E:
        slower = "the slower the nearer the biases end to 1/C (theory 7.3)"
        yield "time", f"NC1 falls by {FACTOR} within t = {number(took)} at the earliest, {slower}"
    elif took is not None:
        yield "time", f"NC1 would fall by {FACTOR} within t = {number(took)} if E were 0, which it is not"
    yield (
        "steps",
        f"gradient descent on the sum loss {would or 'is '}stable at collapse for eta < {number(known.largest_step)}",
    )


def optimiser(found: OptimiserRow | None, predicted: Predicted) -> Iterator[Pair]:
    """The optimiser of the options in flow time."""
    if found is None:
        return
    scale = number(found.loss_scale)
    step, closed = found.time_step, predicted.closed
    if step is not None:
        yield (
            "one step",
            f"learning rate {number(found.learning_rate)}/({scale} (1 - {number(found.momentum)})): "
            f"t = {number(step)} of flow time, t = 1 takes {number(1 / step)} steps; what the flow does, they do in the "
            "limit of small steps",
        )
        if closed is not None and closed.fits and closed.largest_step is not None:
            largest = closed.largest_step * found.loss_scale * (1 + found.momentum)
            yield "stable", f"at collapse for learning rates below {number(largest)}, without Nesterov's form"
    if found.weight_decay is not None:
        yield (
            "its decay",
            f"weight decay {number(found.weight_decay)} times {scale}: lambda = {number(found.theory_decay)} "
            "per unit of flow time, on W and H (lh is D times it for features of D homogeneous layers)",
        )


def print_rates(console: Console, predicted: Predicted) -> None:
    """The spectrum at collapse as a table: mode, rate, multiplicity."""
    closed = predicted.closed
    if closed is None or not closed.fits:
        return
    e = closed.rates_e
    where = "with E = 0" if e == 0 else f"with E = {number(e)} times a projector"
    if closed.collapses:
        title = f"Rates of the residual at neural collapse {where}"
    else:
        title = f"Rates that the residual would have at neural collapse {where}, which is not where this run must end"
    console.print(Text(f"\n{title}", style="bold"))
    _print_modes(console, "mode: over outputs, over samples", closed.rates)
    ratio = number(closed.stiffness_ratio)
    console.print(
        Text(f"A mode falls like exp(-rate t), t the flow time. Fastest over slowest, but for zero: {ratio}.")
    )


def print_origin(console: Console, predicted: Predicted) -> None:
    """The spectrum at the saddle at the origin."""
    if predicted.closed is None:
        return
    console.print(Text("\nRates near W = H = 0, where small states linger (negative: growing)", style="bold"))
    _print_modes(console, "part of the state", predicted.closed.origin)


def _print_modes(console: Console, first: str, modes: Sequence[Mode]) -> None:
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    grid.add_column(first)
    grid.add_column("rate", justify="right", no_wrap=True)
    grid.add_column("modes", justify="right", no_wrap=True)
    for mode in modes:
        if mode.multiplicity:
            grid.add_row(mode.name, number(mode.rate), str(mode.multiplicity))
    console.print(grid)
