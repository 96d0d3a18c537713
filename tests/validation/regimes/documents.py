"""Documents of runs that nobody made."""

from dataclasses import replace

from ntkflow_validation.regimes import convolutional
from ntkflow_validation.regimes.cells import RUNGS, Scale, cells
from ntkflow_validation.regimes.document import RegimeRun, run_document

from tests.validation.report import synthetic


def window(last="1/30", rungs=RUNGS, **changes):
    """One that reaches its last share at its tenth snapshot."""
    found = synthetic.window()
    until = {"1/2": found.steps[4], last: found.steps[9]}
    skills = {share: found.rungs[0].skill.centred for share in until}
    named = (*((name, ()) for name in rungs), ("sample", ("discrete step",)))
    predictions = tuple(
        replace(found.rungs[0], name=name, modifications=how, skill_until=skills) for name, how in named
    )
    NC1 = tuple(0.5 * 0.7**i for i in range(len(found.steps)))
    predictions = tuple(replace(r, predicted={**r.predicted, "NC1_tirer": NC1}) for r in predictions)
    known = replace(
        found,
        until=until,
        rungs=predictions,
        observed={**found.observed, "NC1_tirer": NC1},
        baselines=predictions[:1],
    )
    return replace(known, **changes)


def run(cell, last="1/30") -> RegimeRun:
    return run_document(cell, window(last, cell.rungs), {"block": 0.9, "class-block": 0.98}, 0.1, 0.01, 12.34)


def study():
    return [run(cell) for cell in cells(Scale())]


def part():
    """Of convolutional networks."""
    return [run(cell) for cell in convolutional.cells(3)]


def scored(found: RegimeRun, **skills) -> RegimeRun:
    """The same with other skills on M."""
    rungs = {
        name: replace(r, skill={**r.skill, "M": skills.get(name, r.skill["M"])})
        for name, r in found.rungs.items()
    }
    return replace(found, rungs=rungs)
