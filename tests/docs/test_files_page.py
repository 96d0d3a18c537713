"""docs/files.md names every file that a command writes, and the keys of the summaries."""

import ast
import re
from dataclasses import fields
from functools import cache

import pytest
from ntkflow_validation.calibration.run import OWNED as OF_CALIBRATIONS
from ntkflow_validation.pipeline.summary import Summary, Trained, WindowSummary
from ntkflow_validation.runs.documents import MadeBy, Training
from ntkflow_validation.runs.rundir import OWNED as OF_TRAININGS

import ntkflow as nf
from ntkflow.runs.border.records import document
from ntkflow.runs.rundir import OWNED as OF_SIMULATIONS
from ntkflow.runs.saved import ensembles
from ntkflow.sweep.stored.cache import COPIES, SPEC_FILE
from ntkflow.sweep.table import FILES
from tests.docs.pages import ROOT
from tests.test_architecture import modules

PAGE = (ROOT / "docs" / "files.md").read_text()
WRITTEN = re.compile(r"\w[\w./-]*\.(npz|json|jsonl|csv|html|toml|png|pdf)")
# Ends of names that an f-string begins: KEY.failed.json, NAME-ladder.json.
ENDS = re.compile(r"[.\w-]*\.(npz|json|jsonl|csv|html|toml|png|pdf)")


@cache
def literals():
    """Names of files in the sources, and the ends of those that are put together, but for docstrings."""
    names, ends = set(), set()
    for path in modules().values():
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                said |= {id(part) for part in node.values}
                last = node.values[-1]
                if isinstance(last, ast.Constant) and ENDS.fullmatch(str(last.value)):
                    ends.add(last.value)
            elif (
                isinstance(node, ast.Constant) and id(node) not in said and WRITTEN.fullmatch(str(node.value))
            ):
                names.add(node.value)
    return sorted(names), sorted(ends)


def test_every_file_name_in_the_sources_is_on_the_page():
    names, ends = literals()
    assert {"trajectory.npz", "metrics.jsonl", "checkpoint.npz"} <= set(names)
    assert "-seeds.json" in ends
    assert [name for name in names if name not in PAGE] == []
    assert [end for end in ends if end not in PAGE] == []


@pytest.mark.parametrize(
    "owned",
    [OF_SIMULATIONS, OF_TRAININGS, OF_CALIBRATIONS, FILES | {SPEC_FILE, *COPIES}],
    ids=["simulation", "training", "calibration", "sweep"],
)
def test_every_name_that_a_directory_may_hold_is_on_the_page(owned):
    # A folder is there with what lies in it.
    assert [name for name in sorted(owned) if not re.search(rf"`{re.escape(name)}[`/]", PAGE)] == []


def keys(heading):
    """What stands in backticks below a heading."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    return set(re.findall(r"`(\w+)`", section))


def test_every_key_of_a_simulation_s_summary_is_on_the_page():
    sizes = nf.Sizes(3, 4, 5)
    solution = nf.solve(
        nf.Problem(sizes, nf.BlockKernel(1, 0.5, 0.1), nf.initial.make("gaussian", sizes)), t_end=0.1
    )
    summary, known = solution.summary(), keys("summary.json of a simulation")
    assert [key for key in summary if key not in known] == []
    for part in ("invariant", "solver"):
        assert [key for key in summary[part] if key not in known] == []
    member = ensembles.Member(0, nf.Reason.T_END, "structured", 1, 0.0)
    of_many = ensembles.summarise(
        nf.Ensemble(solution.times[:2], {"loss": solution.series["loss"][None, :2]}, (member,)),
        1.0,
        None,
        None,
    )
    assert [key for key in document(of_many) if key not in known] == []


def test_every_key_of_a_training_s_summary_is_on_the_page():
    known = keys("summary.json of a training")
    inlined = {"made_by", "facts"}
    names = [field.name for kind in (Summary, Trained, WindowSummary, MadeBy) for field in fields(kind)]
    assert [name for name in names if name not in known | inlined] == []
    row = next(line for line in PAGE.splitlines() if line.startswith("| `training.json`"))
    assert [field.name for field in fields(Training) if f"`{field.name}`" not in row] == []
