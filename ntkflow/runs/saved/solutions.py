"""A solution as a run directory, as `ntkflow simulate` writes one, and back."""

from dataclasses import replace
from pathlib import Path

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.stopping import Stop
from ntkflow.problem.kernels import Kernel, kernel_files
from ntkflow.problem.losses import Loss
from ntkflow.runs import files, rundir, states
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.layered import summarise_layers
from ntkflow.runs.pictures import drawing
from ntkflow.runs.simulate import Arrays, Prepared
from ntkflow.runs.summary import summarise as summary_of


def prepared(solution: Solution) -> Prepared:
    """What `ntkflow simulate` would have been given: the start and the kernel from a state file."""
    problem, sizes = solution.problem, solution.problem.sizes
    kernel = problem.kernel
    kappa_d, kappa_c, kappa_n = kernel.kappas or (None, None, None)
    lw, lh, lb = problem.decay.rates
    config = SimulateConfig(
        classes=sizes.C,
        per_class=sizes.m,
        features=sizes.n,
        rung=kernel.rung,
        kappa_d=kappa_d,
        kappa_c=kappa_c,
        kappa_n=kappa_n,
        state=Path(rundir.INITIAL_STATE),
        loss=states.name_of(problem.loss),
        decay_w=lw,
        decay_h=lh,
        decay_b=lb,
        train_bias=problem.train_bias,
    )
    if solution.settings:
        config = replace(config, **solution.settings)
    return Prepared(problem, config, Stop(None, None, None), _kernel_arrays(solution))


def _kernel_arrays(solution: Solution) -> Arrays:
    try:
        return kernel_files.arrays_of(solution.problem.kernel, solution.problem.sizes)
    except InputError:
        return {}  # of the user's own rung, which no file can hold


def summarise(solution: Solution | LayeredSolution) -> Json:
    """The numbers of summary.json: what happened, what the theory predicted, how far they agree.

    Args:
        solution: of `nf.solve` or `nf.solve_layers`, or read by `nf.load`.
    """
    if isinstance(solution, LayeredSolution):
        return document(summarise_layers(solution))
    return document(summary_of(solution, prepared(solution)))


def save_solution(solution: Solution, directory: Path, overwrite: bool, figures: bool) -> None:
    """Write a run directory; `ntkflow show`, `plot` and `simulate --config` take it."""
    known = prepared(solution)
    with files.staged_directory(directory, overwrite, rundir.OWNED) as staged:
        rundir.write_trajectory(staged, solution)
        rundir.write_run(staged, known, solution, summary_of(solution, known))
        if figures:
            drawing.draw_run(staged)


def load_solution(directory: Path, kernel: Kernel | None, loss: Loss | None) -> Solution:
    """The solution of a run directory, its series as they were written.

    Raises:
        InputError: it is no run, keeps no states, or is damaged.
    """
    run = rundir.load_run(directory)
    if not (directory / states.STATES).is_file():
        rule = f"keeps no states (no {states.STATES})"
        raise InputError("run", directory, rule, "it was written by an older version; simulate it again")
    solution, kept = states.read_states(directory / states.STATES, kernel, loss)
    # What was drawn and printed, not what this machine would make of the states.
    solution.__dict__["series"] = {name: values[kept] for name, values in run.series.items()}
    return solution
