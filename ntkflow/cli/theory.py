"""`ntkflow theory`: all that can be said of a problem before it is integrated."""

from collections.abc import Iterator
from itertools import chain

from rich.console import Console
from rich.text import Text

from ntkflow._types import Json
from ntkflow.cli import options
from ntkflow.cli.printed import predicted as words
from ntkflow.cli.printed import table
from ntkflow.cli.printed.output import number
from ntkflow.runs import files
from ntkflow.runs.summary import block_constants, predictions
from ntkflow.theory import decay_conditions
from ntkflow.theory.prediction import predict, predictable


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
    if layered.widths is not None:
        from ntkflow.cli import layers

        layers.theory(layered, json)
        return
    prepared = options.prepared(config, given)
    problem = prepared.problem
    prediction = predict(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if problem.decay.any else None
    predicted = predictions(problem, prediction, decayed)
    report = {
        "sizes": problem.sizes.as_dict(),
        "kernel": problem.kernel.as_dict(),
        **block_constants(problem),
        "predicted": predicted,
        "optimiser": None if prepared.optimiser is None else prepared.optimiser.as_dict(),
    }
    if json:
        print(files.dump_json(report))
        return
    console = Console(highlight=False)
    for line in table.headlines(report):
        console.print(Text(line, style="bold"))
    table.print_pairs(console, _constants(report))
    for title, pairs in _sections(report):
        found = list(pairs)
        if found:
            console.print(Text(f"\n{title}", style="bold"))
            table.print_pairs(console, found)
    words.print_rates(console, predicted)
    words.print_origin(console, predicted)


def _constants(report: Json) -> Iterator[tuple[str, str]]:
    numbers = report["dimensionless"]
    if numbers is not None:
        yield "alpha", f"{number(report['alpha'])}, so that 1 - alpha C = mu_class/mu_global"
        scales = ", ".join(f"{name} = {number(value)}" for name, value in numbers.items())
        yield "scales", f"{scales}, in the clock sqrt(m mu_class)"


def _sections(report: Json) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    predicted = report["predicted"]
    yield "Neural collapse?", words.answers(predicted)
    yield "Where it ends", words.limit(predicted)
    yield "What decay does", words.decay(predicted.get("decay"))
    yield "How long it takes", chain(words.times(predicted), words.optimiser(report["optimiser"], predicted))
    yield "What holds at all times", chain(words.bounds(predicted), words.laws(predicted))
