"""What is installed where: README's commands bring no PyTorch, and what runs on every commit has it before what needs it."""

import re
import tomllib

from tests.docs.pages import ROOT, blocks

# PyTorch, and what would bring it.
TORCH = {"torch", "lightning", "pytorch-lightning", "torchvision", "torchmetrics"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


def test_the_commands_of_the_readme_bring_no_torch():
    code = [block.code for block in blocks(ROOT / "README.md") if "pip install" in block.code]
    extras = {
        extra for text in code for group in re.findall(r"\[([\w,]+)\]", text) for extra in group.split(",")
    }
    assert extras == {"test"}
    brought = names(PROJECT["dependencies"]).union(
        *(names(PROJECT["optional-dependencies"][e]) for e in extras)
    )
    assert not brought & TORCH
    assert not [text for text in code if "torch" in text]


def test_every_commit_is_tested_with_torch_installed_before_what_needs_it():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    # By itself on its line: what cannot be installed ends the job, and no test is passed over in silence.
    pinned = lines.index("python -m pip install --quiet torch==2.13.0")
    needing = {extra for extra, given in PROJECT["optional-dependencies"].items() if names(given) & TORCH}
    assert needing == {"torch", "lightning"}
    brings = [i for i, line in enumerate(lines) for extra in re.findall(r"\.\[([\w,]+)\]", line)
              if needing & set(extra.split(","))]  # fmt: skip
    assert brings
    assert min(brings) > pinned
    assert min(i for i, line in enumerate(lines) if "-m slow" in line) > pinned
    assert "set -euo pipefail" in lines
