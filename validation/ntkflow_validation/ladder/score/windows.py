"""Which stretches of a run are predicted: from a measured snapshot until the loss has halved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ntkflow.errors import InputError

# Until the loss has halved: far enough that a rung can be wrong, near enough that the kernel of the start still says
# something. Of the whole loss, which early on is mostly the global mean where b starts at 0 (theory 16.7): such windows
# are short.
HALF = 0.5
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
        halved: whether the loss falls by half in it.
    """

    name: str
    steps: tuple[int, ...]
    halved: bool


def choose(
    losses: Mapping[int, float], measured: Sequence[int], start: int | None = None, count: int = 3
) -> list[Window]:
    """Windows of a run; the first leads.

    The first measured snapshot begins `early`, the last one from which the loss still falls by half begins
    `late`, and others in between are spread evenly. With `start` there is one window, from there to the end of the run.

    Args:
        losses: loss at every snapshot, by step.
        measured: steps at which kernels were measured.
        start: the step given by the user.
        count: windows at most.

    Raises:
        InputError: nothing was measured before the last snapshots, or not at `start`.
    """
    steps = sorted(losses)
    usable = [s for s in sorted(measured) if s in losses and s < steps[-1]]
    if not usable:
        raise InputError(
            "run", "no measured kernel", "has nothing to predict from", "run `ntkflow validate kernels` first"
        )
    # A window that ends with the run before the loss has halved would score the tail of another one once more.
    halving = [w for s in usable if (w := _until_halved("late", s, losses)).halved]
    found = []
    if start is not None:
        if start not in usable:
            raise InputError(
                "from-snapshot", start, f"no kernel was measured there, only at {usable}", "pick one of these"
            )
        return [Window(f"step {start}", _thinned([s for s in steps if s >= start]), False)]
    found.append(_until_halved("early", usable[0], losses))
    later = [w for w in halving if w.steps[0] > usable[0]]
    if later:
        between = later[:-1]
        picked = [between[round(i)] for i in _even(len(between), count - 2)]
        found += [Window(f"step {w.steps[0]}", w.steps, True) for w in picked]
        found.append(later[-1])
    return found


def _until_halved(name: str, start: int, losses: Mapping[int, float]) -> Window:
    later = [s for s in sorted(losses) if s >= start]
    below = [i for i, s in enumerate(later) if losses[s] <= HALF * losses[start]]
    last = max(below[0], LEAST) if below else len(later) - 1
    return Window(name, _thinned(later[: last + 1]), bool(below))


def _thinned(steps: list[int]) -> tuple[int, ...]:
    if len(steps) <= MOST:
        return tuple(steps)
    return tuple(dict.fromkeys(steps[round(i)] for i in _even(len(steps), MOST)))


def _even(length: int, count: int) -> list[float]:
    """`count` positions spread over `length`, the ends included; the middle for one."""
    if length == 0 or count <= 0:
        return []
    if count == 1 or length == 1:
        return [(length - 1) // 2]
    count = min(count, length)
    return [i * (length - 1) / (count - 1) for i in range(count)]
