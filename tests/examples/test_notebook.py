"""The notebook runs from top to bottom in an empty directory, and shows what it says it shows."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "your_network.ipynb"


def cells(kind):
    found = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == kind]


def value_of(code, names):
    """What a notebook shows under a cell: the value of its last line."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_it_holds_no_outputs_of_some_machine():
    found = json.loads(NOTEBOOK.read_text())
    assert not any(cell.get("outputs") for cell in found["cells"])
    assert all(cell["id"] for cell in found["cells"])


@pytest.mark.slow
def test_it_runs_and_says_which_assumption_breaks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    shown = [value_of(code, names) for code in cells("code")]
    assert "kappa_d" in shown[4]._repr_html_()
    assert len(shown[5].axes) >= 8
    assert all(figure._repr_png_() for figure in (shown[5], shown[-1]))  # what is shown under the cell
    assert len(shown[-1].axes) >= 8
    assert names["beside"].skill["M"] > 0.8
    said = capsys.readouterr().out
    assert said.count("What costs most") == len(names["compared"].windows) > 0
