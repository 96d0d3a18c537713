"""Which stretches of a run are predicted: from a measured snapshot until the classes are learnt from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ntkflow.errors import InputError

# Shares of the start's centred class residual |Rc|^2 down to which scores are pooled. Not of the whole loss: where b
# starts at 0 most of that is the global mean, and it halves within a few steps, at chance accuracy.
MARKS: Mapping[str, float] = {"1/2": 1 / 2, "1/10": 1 / 10, "1/30": 1 / 30}
HALF = "1/2"
# Snapshots after the first that a window has at least: fewer make no curve and no rate.
LEAST = 2
# Every snapshot is a state to be read and, for each rung and replicate, scored; more would only cost time.
MOST = 24


@dataclass(frozen=True)
class Window:
    """A stretch of a run.

    Attributes:
        name: early, late, or "step N".
        steps: its snapshots; the kernel was measured at the first.
        halved: whether the squared class residual falls by half in it.
        until: the first of its steps at which that is down to each share of `MARKS` that it reaches.
    """

    name: str
    steps: tuple[int, ...]
    halved: bool
    until: Mapping[str, int] = field(default_factory=dict)


def choose(
    residuals: Mapping[int, float], measured: Sequence[int], start: int | None = None, count: int = 3
) -> list[Window]:
    """Windows of a run; the first leads.

    The first measured snapshot begins `early`, the last one from which the squared class residual still falls by half
    begins `late`, and others in between are spread evenly. Each ends at the smallest share of `MARKS` that it reaches.
    With `start` there is one window, from there to the end of the run.

    Args:
        residuals: squared norm of the centred class residual at every snapshot, by step.
        measured: steps at which kernels were measured.
        start: the step given by the user.
        count: windows at most.

    Raises:
        InputError: nothing was measured before the last snapshots, or not at `start`.
    """
    steps = sorted(residuals)
    usable = [s for s in sorted(measured) if s in residuals and s < steps[-1]]
    if not usable:
        raise InputError(
            "run",
            "no kernel measured before its last snapshot",
            "has nothing to predict from",
            "run `ntkflow validate kernels` first; a loop of your own measures as it is recorded, "
            "nf.Recorder(..., X=, features=, head=, kernels=[0, ...])",
        )
    # A window that ends with the run before its residual has halved would score the tail of another one once more.
    halving = [w for s in usable if (w := _until_learnt("late", s, residuals)).halved]
    found = []
    if start is not None:
        if start not in usable:
            raise InputError(
                "from-snapshot", start, f"no kernel was measured there, only at {usable}", "pick one of these"
            )
        rest = [s for s in steps if s >= start]
        until = _reached(rest, residuals)
        return [Window(f"step {start}", _thinned(rest, until), HALF in until, until)]
    found.append(_until_learnt("early", usable[0], residuals))
    later = [w for w in halving if w.steps[0] > usable[0]]
    if later:
        # By their order and not by their steps: snapshots are dense where the run changes, and so are the windows then.
        between = later[:-1]
        picked = [between[round(i)] for i in _even(len(between), count - 2)]
        found += [replace(w, name=f"step {w.steps[0]}") for w in picked]
        found.append(later[-1])
    return found


def _until_learnt(name: str, start: int, residuals: Mapping[int, float]) -> Window:
    later = [s for s in sorted(residuals) if s >= start]
    until = _reached(later, residuals)
    # A fast start may reach a share within one snapshot: the window is then longer than it need be, not empty.
    last = max(later.index(max(until.values())), LEAST) if until else len(later) - 1
    return Window(name, _thinned(later[: last + 1], until), HALF in until, until)


def _reached(steps: Sequence[int], residuals: Mapping[int, float]) -> dict[str, int]:
    """The first step after the start at which each share of `MARKS` is reached; not those that never are."""
    first = residuals[steps[0]]
    found = {
        name: next((s for s in steps[1:] if residuals[s] <= share * first), None)
        for name, share in MARKS.items()
    }
    return {name: step for name, step in found.items() if step is not None}


def _thinned(steps: list[int], until: Mapping[str, int]) -> tuple[int, ...]:
    """At most `MOST`, and those at which a share is reached."""
    if len(steps) <= MOST:
        return tuple(steps)
    return tuple(sorted({*(steps[round(i)] for i in _even(len(steps), MOST)), *until.values()}))


def _even(length: int, count: int) -> list[float]:
    """`count` positions spread over `length`, the ends included; the middle for one."""
    if length == 0 or count <= 0:
        return []
    if count == 1 or length == 1:
        return [(length - 1) // 2]
    count = min(count, length)
    return [i * (length - 1) / (count - 1) for i in range(count)]
