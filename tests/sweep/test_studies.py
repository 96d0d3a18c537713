"""The shipped studies: valid, small enough, and right in tiny versions."""

from dataclasses import replace

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.sweep import STUDIES, Axis
from ntkflow.sweep.figure import sweep_figure
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.studies import mark_of, study_named, title_of
from tests.sweep.grids import grid, run_here


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_a_study_can_be_prepared(name):
    grid_of_study = Grid(STUDIES[name].spec)
    assert all(one.problem is None for one in grid_of_study)
    assert len({one.key for one in grid_of_study}) == len(grid_of_study) <= 150


def tiny(name, directory, seeds, **axes):
    """A study with fewer values on its axes."""
    spec = STUDIES[name].spec
    kept = tuple(
        Axis(a.fields, axes.get(a.name, a.values[:1]), a.log and all(v > 0 for v in axes.get(a.name, (1,))))
        for a in spec.axes
    )
    spec = replace(spec, axes=kept, seeds=seeds)
    table = run_here(spec, directory)
    assert table.failed == []
    assert sweep_figure(spec, table, title_of(spec), mark_of(spec)) is not None
    return table


def test_too_many_negative_eigenvalues_rule_out_nc1(tmp_path):
    table = tiny("negative-eigenvalues", tmp_path / "s", 1, features=(3, 9), kappa_d=(30.0,))
    few, many = table.column("invariant.eigen_signs.negative")
    assert few <= 4 < many
    below, above = table.column("nc.NC1_frobenius.final")
    assert below < 1e-2 < 0.1 < table.column("theory.nc1_floor")[1] <= above


def test_nc3_ends_on_the_line_of_the_theory(tmp_path):
    table = tiny("equal-bias", tmp_path / "s", 0, beta=(-0.5, 0.1), kappa_n=(0.05, 0.5))
    np.testing.assert_allclose(table.column("nc.NC3.final"), table.column("theory.nc3_equal_bias"), rtol=1e-4)
    assert np.ptp(table.column("nc.NC3.final")) > 0.1


def test_weight_decay_ends_in_collapse(tmp_path):
    table = tiny("weight-decay", tmp_path / "s", 1, decay_w=(1e-4, 0.03))
    np.testing.assert_allclose(table.column("theory.E_norm"), table.column("invariant.norm_final"), rtol=1e-3)
    without, decayed = table.column("nc.NC1.final")
    assert decayed < 1e-2 < 0.1 < without
    assert table.column("invariant.alignment_final")[1] > 0.999
    assert table.column("invariant.eigen_signs.negative")[0] > 4


def test_an_unknown_study_is_named():
    with pytest.raises(InputError, match="must be one of negative-eigenvalues"):
        study_named("everything")


def test_a_sweep_of_ones_own_is_titled_by_what_is_held_fixed():
    assert (
        title_of(grid("scale=1,2"))
        == "classes = 2, per_class = 2, features = 3, init = gaussian, t_end = 0.5"
    )
    assert mark_of(grid("scale=1,2")) is None
