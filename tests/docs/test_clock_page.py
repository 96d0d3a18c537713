"""The tables of losses and optimisers in docs/your-network.md: what they say is what a clock does, and every row is tested."""

import re

import pytest

import ntkflow as nf
from tests.docs.pages import ROOT
from tests.problem.test_steps_of_frameworks import OPTAX, TORCH_LOSSES

PAGE = (ROOT / "docs" / "your-network.md").read_text()
N, C, B = 12, 3, 4


def rows(heading):
    """Cells of the rows of the table under a heading."""
    table = PAGE.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line.replace(r"\|", "/") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


LOSSES = rows("Which loss")


@pytest.mark.parametrize("row", LOSSES, ids=lambda row: row[0])
def test_the_factor_of_a_loss_is_that_of_its_clock(row):
    _, arguments, factor = row
    loss, reduction, *more = re.findall(r"`([^`]+)`", arguments)
    given = eval(f"dict({', '.join(more)})", {"B": B, "a": 0.1})  # keywords, as batch=B
    clock = nf.Clock(loss=eval(loss), reduction=eval(reduction), samples=N, classes=C, **given)
    expected = eval(factor.replace("N C", "N * C").replace("2 B", "2 * B"), {"N": N, "C": C, "B": B})
    assert clock.scale == pytest.approx(expected, rel=1e-14)


def test_a_step_is_tested_of_every_loss_of_the_page():
    of_torch = {f"torch.nn.{name}" for name in TORCH_LOSSES}
    # The rest of a name that begins with dots, and smoothing, which has a test of its own.
    shown = {name for row in LOSSES for name in re.findall(r"`([^`]+)`", row[0])}
    shown = {name.replace("..._with", "optax.softmax_cross_entropy_with") for name in shown}
    assert shown - {*OPTAX, *of_torch} == {"torch.nn.CrossEntropyLoss(label_smoothing=a)"}


@pytest.mark.parametrize("row", rows("Which optimiser"), ids=lambda row: row[1])
def test_every_argument_of_the_page_is_one_of_the_clock(row):
    values = {"lr": 0.1, "wd": 0.01, "c": 0.01, "L": 3, "k": 2, "schedule": [0.1], "rates": [0.1]}
    for text in re.findall(r"`([^`]+)`", row[1]):
        if re.match(r"\w+=", text):
            given = {"learning_rate": 0.1} | eval(f"dict({text})", dict(values))
            if "schedule" in given:
                del given["learning_rate"]
            assert nf.Clock(samples=N, classes=C, **given).scale > 0
