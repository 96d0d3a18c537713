"""The page of `ntkflow explore`: milliseconds that its flow takes, over its presets and over its sliders.

Run: python benchmarks/explore.py [--settings 400] [--starts 5] [--out FILE]

Calls of compiled code in node, which is the engine of Chromium without a window, or in a headless Chromium where there is no
node. Settings are drawn evenly over each slider's positions, seeded; those without a flow are left out, as the page refuses them.
Each is the least of nine calls.

What somebody waits for is the first: each preset, and the slowest of the drawn settings, is the address that a fresh headless
Chromium opens, and what counts is the time that the page says of its first integration, of which nothing is compiled. Then the
page rests for two seconds, in which it warms itself up, and another setting is asked for by its address, as by a slider: the
first integration of that kind.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ntkflow.explore.page import write_page  # noqa: E402
from tests import browser  # noqa: E402
from tests.explore.scripts import evaluate  # noqa: E402

# Sliders as the page has them: lowest, highest, whether in logarithms.
SLIDERS = {
    "C": (2, 30, "whole"), "m": (3, 200, "whole"), "n": (2, 256, "whole"), "kappa_d": (0, 2, ""), "kappa_c": (-0.5, 2, ""),
    "kappa_n": (-0.5, 1, ""), "scale": (1e-3, 5, "log"), "share": (0, 1, ""), "e_P": (-8, 8, ""), "spectators": (1e-3, 5, "log"),
    "scale_J": (1e-3, 5, "log"), "share_J": (0, 1, ""), "e_J": (-8, 8, ""), "beta": (-5, 5, ""), "L": (1, 5, "whole"),
    "decay": (1e-5, 2, "log"), "length": (1e-4, 1000, "log"),
}  # fmt: skip
TIMED = """(() => {
  const runs = PRESETS.map((one) => flow.run({...DEFAULTS, ...one.set}));
  const timed = (s) => { let best = Infinity, run; for (let k = 0; k < 9; k++) {
    const began = performance.now(); run = flow.run(s); best = Math.min(best, performance.now() - began); }
    return {ms: best, steps: run.steps, whole: run.whole, L: s.L, loss: s.loss, scale: s.scale, length: s.length, settings: s}; };
  return {
    presets: PRESETS.map((one) => ({name: one.name, ...timed({...DEFAULTS, ...one.set})})),
    drawn: all.map((s) => ({...DEFAULTS, ...s})).filter((s) => flow.broken(s) === null).map(timed)}; })()"""


def drawn(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Settings by name, evenly over the sliders' positions."""
    found = []
    for _ in range(count):
        row: dict[str, Any] = {}
        for name, (low, high, kind) in SLIDERS.items():
            if kind == "whole":
                row[name] = int(rng.integers(int(low), int(high) + 1))
            elif kind == "log":
                row[name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            else:
                row[name] = float(rng.uniform(low, high))
        row["loss"] = "mse" if rng.random() < 0.7 else "cross-entropy"
        # Most draws have no positive kernel or too few neurons: these are mended and not drawn again.
        row["n"] = max(row["n"], row["C"])
        kd, kc, kn = sorted((row["kappa_d"], row["kappa_c"], row["kappa_n"]), reverse=True)
        found.append(row | {"kappa_d": kd + 0.01, "kappa_c": kc, "kappa_n": max(kn, -0.2 * kc / row["C"])})
    return found


def first_runs(asked: dict[str, dict[str, Any]], starts: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds, as the page says, of its first integration of each setting, in fresh browsers: cold, and after a rest."""
    found: dict[str, dict[str, list[float]]] = {name: {"cold": [], "rested": []} for name in asked}
    words = {name: "&".join(f"{key}={value}" for key, value in row.items()) for name, row in asked.items()}
    others = [name for name in asked if words[name]]
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(Path(folder) / "explore.html")
        for name in [name for name in asked for _ in range(starts)]:
            with browser.Browser() as opened:
                opened.open(page, 1200, at=words[name])
                found[name]["cold"].append(_took(opened))
                time.sleep(2)
                other = others[(list(asked).index(name) + len(asked) // 2) % len(others)]
                opened.value(f"location.hash = {json.dumps(words[other])}")
                time.sleep(0.3)
                found[other]["rested"].append(_took(opened))
    return found


def _took(opened: browser.Browser) -> float:
    return float(opened.value("document.getElementById('cost').textContent").split()[2])


def main(out: Path, settings: int = 400, starts: int = 5) -> dict[str, Any]:
    """Measure, print and write."""
    rows: Any = evaluate(TIMED, all=drawn(settings, np.random.default_rng(0)))
    ms = np.array([row["ms"] for row in rows["drawn"]])
    slow = sorted(rows["drawn"], key=lambda row: -row["ms"])[:10]
    found = {
        "load": os.getloadavg()[0],
        "in": "Chromium" if shutil.which("node") is None else "node",
        "presets_ms": {row["name"]: round(row["ms"], 2) for row in rows["presets"]},
        "drawn": len(ms),
        "percentiles_ms": {str(q): round(float(np.percentile(ms, q)), 2) for q in (50, 90, 95, 99, 100)},
        "above_20_ms": int(np.sum(ms > 20)),
        "ended_early": sum(not row["whole"] for row in rows["drawn"]),
        "most_steps": max(row["steps"] for row in rows["drawn"]),
        "slowest": slow,
    }
    if browser.installed() is not None and starts > 0:
        presets = {row["name"]: row["set"] for row in evaluate("PRESETS")}  # type: ignore[union-attr]
        hard = {f"slowest {i + 1}": row["settings"] for i, row in enumerate(slow[:5])}
        # An empty address is the page's own beginning.
        runs = first_runs({"as it opens": {}, **presets, **hard}, starts)
        found["first_ms"] = runs
        found["first_above_20_ms"] = {
            kind: sum(ms > 20 for row in runs.values() for ms in row[kind]) for kind in ("cold", "rested")
        }
        found["first_runs"] = sum(len(row["cold"]) for row in runs.values())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "slowest"}, indent=1))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent / "results" / "explore.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file")
    parser.add_argument("--settings", type=int, default=400, help="how many are drawn")
    parser.add_argument("--starts", type=int, default=5, help="fresh browsers for each first integration")
    chosen = parser.parse_args()
    main(chosen.out, chosen.settings, chosen.starts)
