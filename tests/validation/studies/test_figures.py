"""What the figures of the studies call their lines."""

from ntkflow_validation.studies.cells import PAIRS, forgetting, recipe
from ntkflow_validation.studies.figures import FIGURES

from tests.validation.studies import documents


def test_black_lines_of_the_invisible_part_have_names_of_their_own():
    """What Q foretells, where there is a Q, and the baseline: one entry each, after those of the decays."""
    for part, black in (("mlp", ["by Q", "start e^(-2λt)"]), ("resnet8", ["start e^(-2λt)"])):
        runs = [documents.run(cell) for cell in forgetting(2, (part,))]
        axes = FIGURES["forgetting"](runs).axes[0]
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        decays = [f"λ = {value:g}" for value in sorted({run.value for run in runs})]
        assert names == [*decays, *black]
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_legend().get_lines()}
        assert len(looks) == len(names)


def test_scores_without_decay_are_hollow():
    runs = [documents.run(cell) for cell in recipe(PAIRS[:2], 2)]
    lines = FIGURES["weighted"](runs).axes[0].get_lines()
    hollow = [line for line in lines if line.get_markerfacecolor() == "none"]
    full = [line for line in lines if line.get_label() in ("mean over neurons", "weighted by W")]
    assert (len(hollow), len(full)) == (2, 2)
    # Two windows of two seeds, side by side with those that decay.
    assert all(len(line.get_xdata()) == 4 for line in (*hollow, *full))
    assert set(hollow[0].get_xdata()).isdisjoint(full[0].get_xdata())
