"""Wherever a public function of the package takes a path, it takes the text of one."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "validation" / "ntkflow_validation"


def public(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods that others may call; commands get their paths from the command line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node)


def narrow(function: ast.FunctionDef) -> list[str]:
    """Arguments that are paths and no texts; what is called with paths is no path."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    said = {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None}
    return [
        f"{function.name}({name}: {text})"
        for name, text in said.items()
        if "Path" in text and "str" not in text and "Callable" not in text
    ]


def test_paths_are_texts_too():
    offenders = [
        f"{path.relative_to(PACKAGE)}: {found}"
        for path in sorted(PACKAGE.rglob("*.py"))
        # Another `Path` is that of a leaf in a tree of parameters.
        if path.relative_to(PACKAGE).parts[0] != "cli" and "from pathlib import Path" in path.read_text()
        for function in public(ast.parse(path.read_text()))
        for found in narrow(function)
    ]
    # Of the protocol of sweeps, which alone calls it.
    assert offenders == ["sweep/grid.py: stored_tables(directory: Path)"]
