"""What a measurement says of itself: its table, its row, the block kernel it gives or refuses."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.kernels import measure

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from tests.validation.kernels.nets import inputs, mlp, parameters

LABELS = np.repeat([0, 1, 2], [3, 4, 5])
HEAD = np.random.default_rng(3).normal(size=(3, 4)), np.zeros(3)


@pytest.fixture(scope="module")
def part():
    """Some neurons and samples, so that every number has an error."""
    return measure(
        mlp, parameters(mlp), inputs(LABELS), LABELS, head=HEAD, quantities=("outputs", "row-space"), neurons=2, per_class=3
    )  # fmt: skip


def with_constants(found, **values):
    """The same measurement with other features' constants."""
    own = found.features
    changed = {name: replace(own.constants[name], value=value) for name, value in values.items()}
    return replace(found, features=replace(own, constants={**own.constants, **changed}))


def test_its_repr_is_a_table_of_constants_with_errors_and_what_they_are_means_over(part):
    headline, heads, *rows = repr(part).splitlines()
    assert "means over 2 of 4 neurons and over the entries of each kind, 9 of 12 samples" in headline
    assert [head.strip() for head in heads.split("  ") if head.strip()] == [
        "mean", "standard error", "spread over neurons", "spread over entries",
    ]  # fmt: skip
    # Features, outputs, row space of W: six constants each.
    assert len(rows) == 18
    kappa_d = next(row for row in rows if row.startswith("kappa_d ")).split()
    constant = part.kappa_d
    stated = (constant.value, constant.standard_error, constant.spread_neurons, constant.spread_entries)
    assert kappa_d[1:] == [f"{value:.4g}" for value in stated]
    assert any(row.startswith("gamma_n ") for row in rows)
    assert any(row.startswith("kappa_c (row space of W) ") for row in rows)
    # A number that cannot be told is a dash, not a nan.
    single = measure(mlp, parameters(mlp), inputs(LABELS), LABELS, per_class=2)
    assert "nan" not in repr(single)
    assert next(row for row in repr(single).splitlines() if row.startswith("kappa_d ")).split()[2] == "-"


def test_its_table_in_a_notebook_and_in_pandas_has_the_same_numbers(part):
    html = part._repr_html_()
    assert html.count("<tr>") == 1 + len(part.table) == 19
    assert "<caption>Measurement by gram: means over 2 of 4 neurons" in html
    assert f"<td>{part.gamma_d.value:.4g}</td>" in html
    frame = part.to_pandas()
    assert list(frame.index) == [row[0] for row in part.table]
    assert frame.loc["kappa_n", "mean"] == part.kappa_n.value
    assert frame.loc["mu_single", "standard error"] == part.mu_single.standard_error


def test_its_row_has_every_number_once_under_one_name(part):
    row = part.row()
    for name in ("kappa_d", "kappa_c", "kappa_n", "mu_single"):
        assert (row[name], row["errors"][name]) == (
            getattr(part, name).value,
            getattr(part, name).standard_error,
        )
        assert part.to_dict()["features"][name]["value"] == row[name]
    for name in ("alignment", "alignment_k", "block_residual"):
        assert row[name] == getattr(part.features, name) == part.to_dict()["features"][name]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"mu_single": -0.2}, "mu_single > 0"),
        ({"c": 0.1, "n": 0.9, "mu_single": 0.9}, "positive kernel of the class means"),
        ({"c": 0.5, "n": -0.9, "mu_single": 0.5}, "positive kernel of the class means"),
    ],
)
def test_a_broken_order_is_said_and_refused(part, values, rule):
    found = with_constants(part, d=1.0, **values)
    assert rule in found.broken_order
    assert found.row()["broken_order"] == found.broken_order
    with pytest.raises(InputError, match="no block kernel has them"):
        found.block()
    good = with_constants(part, d=2.0, c=0.7, n=0.3, mu_single=1.3)
    assert good.broken_order is None
    assert good.block() == BlockKernel(2.0, 2.0 - 1.3, 0.3)
    # What a collapsed network has: class means that sum to zero.
    collapsed = with_constants(part, d=2.0, c=0.7, n=-0.05, mu_single=1.3)
    assert collapsed.broken_order is None
    assert collapsed.block().kappa_n == -0.05
