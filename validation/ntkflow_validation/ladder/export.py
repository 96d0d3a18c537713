"""A comparison without its trajectories: what is kept as evidence, and the table that people read."""

import re
from collections.abc import Sequence
from typing import Any

from ntkflow._types import Json

QUANTITIES = ("M", "H2", "F_centred", "W", "b", "residual_global", "residual_class", "residual_individual")
PARTS = ("M", "within", "global", "off_row_space")


def short(comparison: Json) -> Json:
    """comparison.json with scores, costs and the frontier, to four digits; no series. Skills are [value, error].

    Args:
        comparison: what `compare_run` returns.
    """
    windows = [_window(window) for window in comparison["windows"]]
    kept = {key: comparison[key] for key in ("version", "deviations", "meaning", "refused", "kernels")}
    found: Json = _rounded({**kept, "windows": windows})
    return found


def _window(window: Json) -> Json:
    keys = (
        "name", "step", "last_step", "leading", "halved", "loss", "step_times_rate", "samples", "attribution",
        "sentence", "frontier", "cheapest", "threshold",
    )  # fmt: skip
    return {**{key: window[key] for key in keys}, "rungs": [_rung(rung) for rung in window["rungs"]]}


def _rung(rung: Json) -> Json:
    base = {
        **{key: rung[key] for key in ("name", "constants", "modifications", "refused")},
        "skill": {q: [rung["skill"][q]["value"], rung["skill"][q]["error"]] for q in QUANTITIES}
        if rung["skill"]
        else None,
        "invariant": rung["invariant"],
        # Comparisons of earlier versions have none.
        **({"draws": rung["draws"]} if rung.get("draws") else {}),
    }
    if rung["modifications"]:
        # What is said of the start is the same as for the flow.
        return base
    instant, seen = rung["instantaneous"], rung["finite_difference"]
    return {
        **base,
        "rates": rung["rates"],
        "instantaneous": {part: instant[part] for part in PARTS} if instant else None,
        "finite_difference_cosine": {part: seen[part]["cosine"] for part in PARTS} if seen else None,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def compact(text: str) -> str:
    """JSON with every innermost list and object on one line."""
    one = re.compile(r"([\[{])\n\s+([^\[\]{}]*?)\n\s+([\]}])")
    for _ in range(2):
        text = one.sub(lambda m: m[1] + re.sub(r"\n\s+", " ", m[2]) + m[3], text)
        one = re.compile(r"(\{)\n\s+((?:[^{}\[\]]|\[[^\[\]{}\n]*\])*?)\n\s+(\})")
    return text


def table(comparison: Json) -> list[str]:
    """Lines: for each window every rung with its constants, cosine and error of dM at the start, skill on M."""
    lines = []
    for window in comparison["windows"]:
        loss = window["loss"]
        lines.append(
            f"{window['name']}: steps {window['step']} to {window['last_step']}, loss {loss['first']:.4g} to "
            f"{loss['last']:.4g}; cheapest with skill {window['threshold']}: {window['cheapest'] or 'none'}"
        )
        best = [(point["rung"], point["skill"]) for point in window["frontier"] if point["best"]]
        lines.append(
            f"  {'rung':<18}{'constants':>12}{'cos dM':>11}{'err dM':>11}{'skill M':>11}{'+-':>11}{'skill H2':>11}"
        )
        for rung in window["rungs"]:
            if rung["skill"]:
                lines.append(_line(rung, best))
    return lines


def _line(rung: Json, best: Sequence[tuple[str, float]]) -> str:
    motion, skill = rung["instantaneous"]["M"], rung["skill"]
    numbers = (
        motion["cosine"],
        motion["error"],
        skill["M"]["value"],
        skill["M"]["error"],
        skill["H2"]["value"],
    )
    cos, error, value, doubt, within = ("-" if x is None else f"{x:.3g}" for x in numbers)
    label = rung["name"] + (" as trained" if rung["modifications"] else "")
    # By skill as well: a rung is also run with some of the modifications alone, and these are not on the frontier.
    mark = "*" if (label, skill["M"]["value"]) in best else " "
    with_what = ", ".join(rung["modifications"])
    scores = f"{cos:>11}{error:>11}{value:>11}{doubt:>11}{within:>11}"
    return f" {mark}{rung['name']:<18}{rung['constants']:>12}{scores}  {with_what}".rstrip()
