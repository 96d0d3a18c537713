"""`ntkflow theory`: all that can be said of a problem before it is integrated."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from rich.console import Console
from rich.text import Text

from ntkflow._types import Document, Json
from ntkflow.cli import options
from ntkflow.cli.printed import predicted as words
from ntkflow.cli.printed import table
from ntkflow.cli.printed.output import number
from ntkflow.runs import files
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.records import INLINE, SPARSE, document
from ntkflow.runs.predicted import Predicted, predictions
from ntkflow.runs.premise import Premise, premise
from ntkflow.runs.summary import BlockConstants, OptimiserRow, block_constants
from ntkflow.theory import decay_conditions
from ntkflow.theory.prediction import predict_flow, predictable


@dataclass(frozen=True)
class Report:
    """What `ntkflow theory --json` prints: the parts of summary.json that are there before a run."""

    sizes: SizesRow
    kernel: Document
    constants: BlockConstants = field(metadata=INLINE)
    predicted: Predicted
    optimiser: OptimiserRow | None
    premise: Premise | None = field(default=None, metadata=SPARSE)


@options.of_simulations(("sizes", "kernel", "initial", "flow", "optimiser"), ("momentum",))
def theory(
    given: Json,
    config: options.ConfigFile = None,
    json: options.AsJson = False,
) -> None:
    """Closed forms and predicted limits for given sizes, kernel and initial state, without integrating.

    Conditions for NC1-NC4 with reasons, rates at collapse and at the origin, limit Gram matrices, bounds that
    hold for all time, stability of gradient descent; for other kernels, losses and decay, the laws they obey.
    """
    layered = options.configured(config, given)
    if layered.layered:
        from ntkflow.cli import layers

        layers.theory(layered, json)
        return
    prepared = options.prepared(config, given)
    problem = prepared.problem
    prediction = predict_flow(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if problem.decay.any else None
    report = Report(
        SizesRow.of(problem.sizes),
        problem.kernel.as_dict(),
        block_constants(problem),
        predictions(problem, prediction, decayed),
        OptimiserRow.of(prepared.optimiser),
        premise(prepared.config.state),
    )
    if json:
        print(files.dump_json(document(report)))
        return
    console = Console(highlight=False)
    for line in table.headlines(report.sizes, report.kernel, report.constants):
        console.print(Text(line, style="bold"))
    table.print_pairs(console, _constants(report.constants))
    for title, pairs in _sections(report):
        found = list(pairs)
        if found:
            console.print(Text(f"\n{title}", style="bold"))
            table.print_pairs(console, found)
    words.print_rates(console, report.predicted)
    words.print_origin(console, report.predicted)


def _constants(found: BlockConstants) -> Iterator[tuple[str, str]]:
    numbers = found.dimensionless
    if numbers is not None:
        yield "alpha", f"{number(found.alpha)}, so that 1 - alpha C = mu_class/mu_global"
        scales = ", ".join(f"{name} = {number(value)}" for name, value in numbers.items())
        yield "scales", f"{scales}, in the clock sqrt(m mu_class)"


def _sections(report: Report) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    predicted = report.predicted
    yield "What the block premise is worth", iter(() if report.premise is None else report.premise.sentences)
    yield "Neural collapse?", words.answers(predicted)
    yield "Where it ends", words.limit(predicted)
    yield "What decay does", words.decay(predicted.decay)
    yield "How long it takes", chain(words.times(predicted), words.optimiser(report.optimiser, predicted))
    yield "What holds at all times", chain(words.bounds(predicted), words.laws(predicted))
