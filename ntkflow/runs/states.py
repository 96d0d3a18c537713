"""states.npz of a run directory: the problem and the packed states of a solution, from which it comes back whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntkflow._types import Floats, Integers, Json
from ntkflow.dynamics.levels import LevelFlow
from ntkflow.dynamics.packed import Flow, RawFlow, ThinFlow
from ntkflow.errors import InputError
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.solution import Solution, Stats
from ntkflow.integrate.stopping import Reason
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import Kernel, kernel_files
from ntkflow.problem.losses import LOSSES, Loss, loss_named
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.problem.thin import Frame, SampleCoordinates
from ntkflow.runs import files
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.reading import reading
from ntkflow.runs.border.records import document, record

STATES = "states.npz"
# A command writes no more than this unasked: of longer trajectories every second, third ... state.
MOST_BYTES = 2**28
AGAIN = "run the simulation again"
KERNEL = "kernel."  # before the names of the kernel's arrays


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of states.npz.

    Attributes:
        flow: class of the flow, which knows how its states are packed.
        sizes: of the problem.
        rung: of the kernel, whose arrays are in the file unless no file can hold them.
        loss: its name, or where it is found.
        decay: rates of W, H and b.
        train_bias: whether the biases moved.
        reason: why the run ended.
        stats: fields of `Stats`; a tolerance that there is not is null.
        law: how well an exact law was kept; None where none was followed.
        discrete: whether the run was one of steps.
        settings: that made the run, by name.
    """

    flow: str
    sizes: SizesRow
    rung: str
    loss: str
    decay: Mapping[str, float]
    # Runs from before biases could be held have no such key.
    train_bias: bool = True
    reason: str
    stats: Mapping[str, object]
    law: LawCheck | None
    discrete: bool
    settings: Mapping[str, object]


def name_of(loss: Loss) -> str:
    """The name that `loss_named` knows, or the loss's own."""
    known = next((name for name, same in LOSSES.items() if type(same) is type(loss)), None)
    return known or loss.name


def write_states(path: Path, solution: Solution, loss: str | None = None, most: int = MOST_BYTES) -> None:
    """Write the problem and the states at the saved times; of those as many as fit into `most` bytes.

    Args:
        path: the file.
        solution: what to write.
        loss: how the loss is found again, as module:object; None: by its name.
        most: bytes that the states may take.
    """
    problem, flow = solution.problem, solution.flow
    kept = _kept(len(solution), solution.packed.nbytes, most)
    header = Header(
        flow=type(flow).__name__,
        sizes=SizesRow.of(problem.sizes),
        rung=problem.kernel.rung,
        loss=loss or name_of(problem.loss),
        decay=problem.decay.as_dict(),
        train_bias=problem.train_bias,
        reason=solution.reason.value,
        stats=solution.stats.as_dict(),
        law=solution.law,
        discrete=solution.discrete,
        settings=solution.settings,
    )
    arrays = {
        "t": solution.times[kept],
        "kept": kept,
        "packed": solution.packed[kept],
        "start": flow.start(),
        **{name: getattr(problem.state, name) for name in ("H", "W", "b")},
        **_frame_arrays(flow),
        **_kernel_arrays(problem.kernel, problem.sizes),
    }
    # Numbers without a pattern: compressing them takes longer than the run, and gains little.
    files.write_arrays(path, arrays, document(header), compressed=False)


def _kept(count: int, nbytes: int, most: int) -> Integers:
    stride = max(1, -(-nbytes // most))
    # The first and the last are ends of the run, whatever lies between.
    return np.unique([*range(0, count, stride), count - 1])


def _frame_arrays(flow: Flow) -> dict[str, Floats]:
    frame = getattr(flow, "frame", None)
    if isinstance(frame, Frame):
        return {"Q": frame.Q, "V": frame.V, "column_class": np.asarray(frame.column_class, dtype=np.int64)}
    return {"V": frame.V} if isinstance(frame, SampleCoordinates) else {}


def _kernel_arrays(kernel: Kernel, sizes: Sizes) -> Json:
    try:
        arrays = kernel_files.arrays_of(kernel, sizes)
    except InputError:
        return {}  # a rung of the user's own; `load` asks for it
    return {f"{KERNEL}{name}": value for name, value in arrays.items()}


def read_states(
    path: Path, kernel: Kernel | None = None, loss: Loss | None = None
) -> tuple[Solution, Integers]:
    """The solution that `write_states` wrote, and of which saved times its states are: positions, increasing.

    Args:
        path: the file.
        kernel: the kernel, where it is of a rung that files cannot hold; None reads it.
        loss: the loss, where it has no name that can be imported; None finds it.

    Raises:
        InputError: the file is missing or damaged, or holds neither kernel nor loss and none is given.
    """
    arrays, values = files.read_arrays(path, "run")
    with reading("run", path, "the states of a run", AGAIN):
        header = record(Header, values)
    try:
        problem = _problem(arrays, header, kernel, loss)
        solution = Solution(
            problem=problem,
            times=arrays["t"],
            packed=arrays["packed"],
            reason=Reason(header.reason),
            stats=_stats(header.stats),
            flow=_flow(problem, header.flow, arrays),
            law=header.law,
            discrete=header.discrete,
            settings=header.settings,
        )
        return solution, arrays["kept"]
    except (KeyError, TypeError) as error:
        raise InputError("run", path, f"is damaged ({error})", AGAIN) from None


def _stats(content: Mapping[str, object]) -> Stats:
    """JSON has no NaN, which the tolerances of discrete steps are: it is null there."""
    values: Json = {k: float("nan") if v is None else v for k, v in content.items()}
    return Stats(**values)


def _problem(
    arrays: Mapping[str, Floats], header: Header, kernel: Kernel | None, loss: Loss | None
) -> Problem:
    state = State(arrays["H"], arrays["W"], arrays["b"])
    if kernel is None:
        held = {name[len(KERNEL) :]: v for name, v in arrays.items() if name.startswith(KERNEL)}
        if not held:
            rule = f"of rung {header.rung!r} is not in the file"
            raise InputError("kernel", None, rule, "pass it: nf.load(path, kernel=...)")
        kernel = kernel_files.build(held, header.rung)
    if loss is None:
        try:
            loss = loss_named(header.loss)
        except InputError:
            rule = f"{header.loss!r} cannot be found by its name"
            raise InputError("loss", None, rule, "pass it: nf.load(path, loss=...)") from None
    return Problem(header.sizes.sizes(), kernel, state, loss, Decay(**header.decay), header.train_bias)


def _flow(problem: Problem, kind: str, arrays: Mapping[str, Floats]) -> Flow:
    if kind == RawFlow.__name__:
        return RawFlow.build(problem)
    start, sizes = arrays["start"], problem.sizes
    if "Q" not in arrays:
        return ThinFlow.on(problem, SampleCoordinates(sizes, arrays["V"]), start)
    frame = Frame(sizes, arrays["Q"], arrays["V"], tuple(arrays["column_class"].tolist()))
    return (LevelFlow if kind == LevelFlow.__name__ else ThinFlow).on(problem, frame, start)
