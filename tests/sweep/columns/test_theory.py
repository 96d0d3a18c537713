"""The theory's lines against the simulation, which does not know them."""

from dataclasses import replace

import pytest

from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import cell
from ntkflow.sweep.columns import theory


def numbers(**options):
    return cell.run_cell(SimulateConfig(**options))["row"]


@pytest.mark.parametrize("beta", [-0.5, 0.2])
@pytest.mark.parametrize("kappa_n", [0.0, 0.3])
def test_equal_biases_end_where_the_theory_says(beta, kappa_n):
    row = numbers(
        classes=3,
        per_class=4,
        features=5,
        init="equal-bias",
        beta=beta,
        kappa_n=kappa_n,
        t_end=100.0,
        stop_nc1=1e-9,
    )
    assert row["nc.NC3.final"] > 0.1
    assert row["theory.nc3_equal_bias"] == pytest.approx(row["nc.NC3.final"], rel=1e-6)


def test_a_bias_of_one_over_C_is_exact_self_duality():
    assert theory.nc3_equal_bias(0.25, 4, 1.0, 2.0) == 0


def test_no_run_falls_below_its_floor():
    row = numbers(classes=2, per_class=8, features=9, init="gaussian", seed=3)
    assert row["invariant.eigen_signs.negative"] > 2
    assert 0.2 * row["nc.NC1_frobenius.final"] < row["theory.nc1_floor"] <= row["nc.NC1_frobenius.final"]


def test_equal_decay_shrinks_E_exponentially():
    base = {"classes": 2, "per_class": 3, "features": 5, "init": "gaussian", "t_end": 3.0, "decay_w": 0.2}
    row = numbers(**base, decay_h=0.2)
    assert row["theory.E_norm"] == pytest.approx(row["invariant.norm_final"], rel=1e-6)
    assert row["theory.E_norm"] < 0.5 * row["invariant.norm_initial"]
    assert "theory.E_norm" not in numbers(**base)


def test_discrete_steps_have_no_line_of_the_flow():
    base = {"classes": 2, "per_class": 3, "features": 5, "init": "gaussian", "t_end": 0.1}
    assert not [name for name in numbers(**base, step_size=0.01) if name.startswith("theory.")]
    assert "theory.nc1_floor" in numbers(**base)


def test_the_equal_bias_value_needs_equal_biases():
    config = SimulateConfig(classes=3, per_class=4, features=5, init="balanced", t_end=1.0)
    assert "theory.nc3_equal_bias" not in cell.run_cell(config)["row"]
    assert "theory.nc3_equal_bias" in cell.run_cell(replace(config, init="equal-bias"))["row"]
