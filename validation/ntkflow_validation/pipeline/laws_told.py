"""What a training conserved and forgot, put together for laws.json, in words and as a table."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from ntkflow import __version__
from ntkflow.runs.border.records import document
from ntkflow.runs.files import write_json
from ntkflow_validation.conservation.along import Values
from ntkflow_validation.metrics.variability import variability
from ntkflow_validation.runs.followed import FILE, Family, Floor, Imbalance, RunLaws, Together
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot

# NC1_tirer below which people speak of collapse.
COLLAPSED = 0.1


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def together(
    values: Sequence[Values], law: Float64[np.ndarray, "T k"], flow: Float64[np.ndarray, "T k"]
) -> Together | None:
    """All laws along a training; None without laws.

    Args:
        values: at the snapshots.
        law: the best there is.
        flow: of the flow with decay.
    """
    q, size = np.stack([v.q for v in values]), np.stack([v.size for v in values])
    if not q.shape[1]:
        return None

    def means(x: np.ndarray) -> tuple[float, ...]:
        return tuple(np.sqrt(np.mean(x**2, axis=1)).tolist())

    off = (means((q - other) / np.maximum(size, np.finfo(float).tiny)) for other in (law, flow, q[:1]))
    return Together(means(q), means(law), *off)


def written(
    run: RunDirectory,
    how: str,
    certified: bool,
    seen: Sequence[StoredSnapshot],
    decay: Float64[np.ndarray, " T"],
    families: tuple[Family, ...],
    imbalance: Imbalance | None,
    no_imbalance: str | None,
    floors: tuple[Floor, ...] = (),
    along: Together | None = None,
) -> RunLaws:
    """What was found of the laws, with the variability of the snapshots; laws.json.

    Args:
        seen: the snapshots.
        decay: int lambda dt from the first, at every one.
    """
    parts = [variability(s.state, s.sizes) for s in seen]
    rows = {row.step: row for row in run.metrics()}
    NC1 = tuple(rows[s.step].get("NC1_tirer") for s in seen)
    visible, invisible = tuple(p.visible for p in parts), tuple(p.invisible for p in parts)
    NC1_visible = tuple(p.NC1_visible if np.isfinite(p.NC1_visible) else None for p in parts)
    result = RunLaws(
        __version__, how, certified, tuple(s.step for s in seen), tuple(s.time for s in seen), tuple(decay.tolist()),
        visible, invisible, NC1, NC1_visible, families,
        sentence(NC1[-1], NC1_visible[-1], visible[-1], invisible[-1], decay[-1]), imbalance, no_imbalance, floors, along,
    )  # fmt: skip
    write_json(run.path / FILE, document(result))
    return result


def sentence(
    NC1: float | None, NC1_visible: float | None, visible: float, invisible: float, decay: float
) -> str:
    """Why it collapsed, or what it did not forget, at the end of a training.

    Args:
        NC1, NC1_visible: NC1_tirer, and within the row space of W; None where the class means coincide.
        visible, invisible: tr S there and elsewhere.
        decay: int lambda dt.
    """
    if NC1 is None or NC1_visible is None:
        return "The class means coincide: there is no NC1 to speak of."
    seen = f"NC1 is {NC1:.2g}, {NC1_visible:.2g} in the directions that the classifier sees"
    if NC1_visible > COLLAPSED:
        return f"{seen}: the residual within classes has not gone, and variability is as large as that."
    # W H2 is the residual within classes: what the classifier sees vanishes with the fit, whether a network collapses or not.
    said = "it has collapsed" if NC1 <= COLLAPSED else "it fits its samples and has not collapsed"
    hidden = invisible / (visible + invisible) if visible + invisible > 0 else 0.0
    if hidden <= 0.5:
        return f"{seen}: {said}."
    left = (
        f"decay left {np.exp(-2 * decay):.2g} of what the flow conserves"
        if decay
        else "nothing decayed of what the flow conserves"
    )
    return f"{seen}: {said}; {hidden:.1%} of the variability that is left is out of the classifier's sight, and {left}."


def table(found: RunLaws) -> list[str]:
    """Lines for people."""
    certified = "no law is missing" if found.certified else "not certified to be all"
    count = sum(family.count for family in found.families)
    lines = [found.sentence, f"{count} laws ({certified}), against {found.how}:"]
    lines += [
        f"  {family.error:9.2g} off ({_beside(family)})  {family.count:>5} x {family.name}"
        for family in found.families
    ]
    Q = found.imbalance
    if Q is None:
        lines.append(f"no Q: {found.no_imbalance}")
    else:
        lines.append("Q = W^T W - V V^T - c c^T, and the variability that the classifier does not see:")
        head = (
            "step",
            "|Q|",
            "|Q - law|/|Q0|",
            "invisible",
            "estimate",
            "from Q0",
            "visible",
            "NC1",
            "NC1 visible",
        )
        lines.append("  " + "".join(f"{name:>16}" for name in head))
        columns = (
            Q.norm, Q.error, found.invisible, Q.estimate, Q.foretold, found.visible, found.NC1, found.NC1_visible,
        )  # fmt: skip
        for i in np.unique(np.linspace(0, len(found.steps) - 1, 8).round().astype(int)):
            numbers = "".join(f"{_number(column[i]):>16}" for column in columns)
            lines.append(f"  {found.steps[i]:>16}{numbers}")
    lines += [
        f"floor of NC1 from the kernel at step {f.step}: {_number(f.foretold)} (now {_number(f.observed)})"
        for f in found.floors
    ]
    return lines


def _beside(family: Family) -> str:
    """What the error is read against: other laws, and what each leaves out."""
    left = "" if family.interpolated is None else f"interpolation leaves about {family.interpolated:.2g}; "
    flow = ""
    if family.error_of_flow is not None and family.neglected is not None:
        flow = f"{family.error_of_flow:.2g} by the flow's law, which neglects {family.neglected:.2g}; "
    return f"{left}{flow}{family.error_if_constant:.2g} if constant"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
