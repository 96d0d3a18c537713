"""`ntkflow theory`: all that can be said of a problem before it is integrated."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from ntkflow.cli import options, table
from ntkflow.cli.table import number
from ntkflow.runs import files
from ntkflow.runs.summary import block_constants, predictions
from ntkflow.theory.prediction import predict, predictable


def theory(
    classes: options.Classes = None,
    per_class: options.PerClass = None,
    features: options.FeaturesN = None,
    kappa_d: options.KappaD = None,
    kappa_c: options.KappaC = None,
    kappa_n: options.KappaN = None,
    rung: options.Rung = None,
    kernel_file: options.KernelFile = None,
    init: options.Init = None,
    scale: options.Scale = None,
    beta: options.Beta = None,
    seed: options.Seed = None,
    state: options.StateFile = None,
    loss: options.Loss = None,
    decay_w: options.DecayW = None,
    decay_h: options.DecayH = None,
    decay_b: options.DecayB = None,
    config: options.ConfigFile = None,
    json: options.AsJson = False,
) -> None:
    """Closed forms and predicted limits for given sizes, kernel and initial state, without integrating.

    Conditions for NC1-NC4 with reasons, rates at collapse and at the origin, limit Gram matrices, bounds that
    hold for all time, stability of gradient descent; for other kernels, losses and decay, the laws they obey.
    """
    problem = options.prepared(config, dict(locals())).problem
    prediction = predict(problem) if predictable(problem) else None
    predicted = predictions(problem, prediction)
    report = {
        "sizes": problem.sizes.as_dict(),
        "kernel": problem.kernel.as_dict(),
        **block_constants(problem),
        "predicted": predicted,
    }
    if json:
        print(files.dump_json(report))
        return
    console = Console(highlight=False)
    for line in table.headlines(report):
        console.print(Text(line, style="bold"))
    table.print_pairs(console, _lines(report))


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    predicted, numbers = report["predicted"], report["dimensionless"]
    if numbers is not None:
        yield "alpha", f"{number(report['alpha'])}, so that 1 - alpha C = mu_class/mu_global"
        scales = ", ".join(f"{name} = {number(value)}" for name, value in numbers.items())
        yield "scales", f"{scales}; clock sqrt(m mu_class)"
    yield from table.prediction_lines(predicted)
    if predicted["limit"] is not None:
        X, G = predicted["limit"]["X"], predicted["limit"]["G"]
        yield "", f"W W^T: {number(X[0][0])} on, {number(X[0][1])} off the diagonal"
        yield "", f"H1^T H1: {number(G[0][0])} on, {number(G[0][1])} off the diagonal"
    if "origin" in predicted:
        yield from _closed_forms(predicted)


def _closed_forms(predicted: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What scalar blocks, balanced classes and the squared error add."""
    origin = "; ".join(f"{mode['name']} {number(mode['rate'])}" for mode in predicted["origin"])
    yield "origin", f"rates at the saddle W = H = 0: {origin} (negative: growing)"
    yield "x*", f"W W^T has the eigenvalue {number(predicted['x_star'])} at collapse with E = 0"
    if predicted["ceiling"] is not None:
        start = predicted["ceiling"]
        law = f"tr S(t) <= {number(start['trace'])}/(1 + 2 m t {number(start['trace'])}/{start['rank']})"
        yield "ceiling", f"E >= 0 guarantees {law}"
    if predicted["collapse_time"] is not None:
        yield (
            "time",
            f"NC1 falls by 1e6 within t = {number(predicted['collapse_time'])} once the classes are fitted",
        )
    yield (
        "steps",
        f"gradient descent on the sum loss is stable at collapse for eta < {number(predicted['largest_step'])}",
    )
