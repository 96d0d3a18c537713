"""What the readers of a run's JSON documents rely on: a file of another shape is refused where it is read."""

from ntkflow._types import Json
from ntkflow.runs.border.reading import NOTHING, NUMBER, Shape

_MOTION = {"*": (NOTHING, {"cosine?": NUMBER, "error?": NUMBER})}
_SERIES = {"*": [NUMBER]}
_SKILL = {"value": NUMBER, "error": NUMBER}
_RUNG = {
    "name": str,
    "title": str,
    "constants": (NOTHING, int),
    "refused": (NOTHING, str),
    "modifications": [str],
    "instantaneous?": (NOTHING, _MOTION),
    "skill?": (NOTHING, {"uncentred?": {"*": _SKILL}, "*": _SKILL}),
    "skill_at?": (NOTHING, _SERIES),
    "predicted?": (NOTHING, _SERIES),
    "band?": (NOTHING, {"of?": str, "*": {"low": [NUMBER], "high": [NUMBER]}}),
    "rates?": (NOTHING, {"*": (NOTHING, {"*": NUMBER})}),
    "invariant?": (
        NOTHING,
        {
            "of": (NOTHING, str),
            "reason": (NOTHING, str),
            "predicted?": (NOTHING, {"*": NUMBER}),
            "relative_to_E0?": NUMBER,
            "relative_to_terms?": NUMBER,
        },
    ),
}
_WINDOW = {
    "name": str,
    "step": int,
    "last_step": int,
    "leading": bool,
    "times": [NUMBER],
    "loss": {"first": NUMBER, "last": NUMBER},
    "observed": _SERIES,
    "rungs": [_RUNG],
    "attribution": [{"assumption": str, "from": str, "to": str, "cost": NUMBER, "error": NUMBER}],
    "sentence": (NOTHING, str),
    "frontier": [{"rung": str, "constants": (NOTHING, int), "skill": NUMBER, "best": bool}],
    "cheapest": (NOTHING, str),
    "threshold": NUMBER,
}
TRAINING: Shape = {
    "learning_rate?": NUMBER,
    "parameters?": int,
    "samples?": {"*": int},
    "result?": str,
    "step?": int,
    "message?": str,
}
COMPARISON: Shape = {"windows?": [_WINDOW], "kernels?": list, "deviations?": [str], "meaning?": {"*": str}}
# A line of metrics.jsonl.
METRICS: Shape = {
    "step": int,
    "time": NUMBER,
    "loss": NUMBER,
    "invariant_refused?": str,
    "*": (bool, *NUMBER),
}


def shape_of(name: str) -> Shape:
    """The shape of a document by its name in the run directory."""
    return {"training.json": TRAINING, "comparison.json": COMPARISON}.get(name, {})


def uneven(comparison: Json) -> str | None:
    """A series of a comparison that has not one value for each of its window's times; None where all have."""
    for window in comparison.get("windows", ()):
        parts = [("observed", window["observed"])]
        for rung in window["rungs"]:
            parts += [(f"{rung['name']}.{part}", rung.get(part) or {}) for part in ("predicted", "skill_at")]
        for what, series in parts:
            for name, values in series.items():
                if len(values) != len(window["times"]):
                    return f"{what}.{name} has {len(values)} values for {len(window['times'])} times"
    return None
