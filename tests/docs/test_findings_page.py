"""The numbers of docs/findings.md that no table elsewhere holds are those of the documents that are kept."""

import json
import math

from tests.docs.pages import ROOT

RESULTS = ROOT / "validation" / "results"
PAGE, FORGETTING = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("findings", "forgetting"))
INPUTS = ("digits", "Fashion-MNIST", "digits, class means equalised")
SKILL, LOG = "Skill on the centred class means M", "NC1, and skill on its logarithm"
# Row of the page, heading of a table of the regimes, and its column.
OF_REGIMES = [
    ("cv of the class contrasts' speeds", "The kernel at the start", "cv"),
    ("three constants", SKILL, "three constants"),
    ("class constants", SKILL, "class constants"),
    ("traced kernel", SKILL, "traced kernel"),
    ("baseline: no class structure", SKILL, "no class structure"),
    ("baseline: constant velocity", SKILL, "constant velocity"),
    ("three constants", LOG, "ln NC1, three constants"),
    ("traced kernel", LOG, "ln NC1, traced kernel"),
    ("baseline: no class structure", LOG, "ln NC1, no class structure"),
    ("baseline: constant velocity", LOG, "ln NC1, constant velocity"),
]


def trainings():
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    return {name: document for name, document in found.items() if document["invariant"]}


def of_weights(document):
    """|E|/|E(0)| over |W|^2/|W(0)|^2, at the end."""
    weights = document["last"]["W_norm"] / document["first"]["W_norm"]
    return document["invariant"]["relative"] / weights**2


def cells(table, column):
    """A column of a table of the regimes at gamma 16 and width 1024, in the order of INPUTS."""
    lines = (RESULTS / "regimes" / "tables.md").read_text().split(f"### {table}\n")[1].split("###")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines.split("\n") if line.strip()
    ]
    place = rows[0].index(column)
    wide = {row[0]: row[place] for row in rows if row[1:4] == ["16", "1024", "3"]}
    return [wide[name] for name in INPUTS]


def test_scores_of_small_starts_are_those_of_the_regimes():
    for row, table, column in OF_REGIMES:
        assert f"| {row} | {' | '.join(cells(table, column))} |" in PAGE


def test_the_size_of_e_is_that_of_the_weights():
    quotients = {name: of_weights(document) for name, document in trainings().items()}
    resnet8 = [q for name, q in quotients.items() if name.startswith("digits") and "mlp" not in name]
    assert (len(resnet8), len(quotients)) == (9, 21)
    told = f"{min(resnet8):.2f} to {max(resnet8):.2f} on nine ResNet8 runs"
    assert (
        f"{told} and {min(quotients.values()):.2f} to {max(quotients.values()):.2f} on all twenty-one" in PAGE
    )


def test_alignment_rises_with_decay_and_without():
    runs = trainings()
    for name, word in (("digits-collapsed", "with decay"), ("digits-decay-0", "without")):
        told = [f"{row['alignment']:.2f}" for row in runs[name]["kernels"] if row["step"] >= 92]
        assert f"{', '.join(told)} {word}" in PAGE


def test_shares_of_the_fall_of_nc1_depend_on_the_scale_of_features():
    """Of ln NC1 without decay less that with it, 4000 steps: of tr S, and of |W|^2 tr S."""
    runs, shares = trainings(), []
    for seed in ("", "-seed1", "-seed2"):
        one, other = (runs[f"digits-{kind}{seed}"]["last"] for kind in ("collapsed", "decay-0"))
        fell = {name: math.log(other[name] / one[name]) for name in ("NC1_tirer", "H2_norm", "W_norm")}
        of = 2 * fell["H2_norm"], 2 * (fell["H2_norm"] + fell["W_norm"])
        shares.append([part / fell["NC1_tirer"] for part in of])
    alone, measured = ([f"{share:.2f}".lstrip("0") for share in each] for each in zip(*shares, strict=True))
    assert f"{alone[0]}, {alone[1]} and {alone[2]}" in FORGETTING
    assert f"the share is {min(measured)} to {max(measured)}" in FORGETTING
    assert f"{min(alone)} to {max(alone)}; of \\|W\\|² tr S {min(measured)} to {max(measured)}" in PAGE
