import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import ntkflow as nf
from ntkflow.problem.kernels import KAPPAS
from ntkflow.runs.config import TABLES, SimulateConfig, from_tables
from ntkflow.runs.files import StateFile
from ntkflow.runs.simulate import prepare


def test_a_configuration_survives_the_file():
    config = SimulateConfig(classes=3, kappa_d=2.0, init="relu", seed=4, t_end=1.5, stop_nc1=0.0)
    tables = {
        name: {k: v for k, v in table.items() if v is not None} for name, table in config.tables().items()
    }
    assert from_tables(tomllib.loads(tomli_w.dumps(tables)), Path()) == config


def test_every_default_is_written_out():
    config = prepare(SimulateConfig()).config
    missing = ["widths", "depth", "kernel_file", "beta", "state", *TABLES["steps"], *TABLES["optimiser"]]
    none = [name for names in TABLES.values() for name in names if getattr(config, name) is None]
    assert none == missing


def test_whole_numbers_are_accepted_where_real_ones_are_meant():
    assert from_tables({"kernel": {"kappa_d": 2}}, Path()).kappa_d == 2.0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"size": {}}, r"config = \[size\]: is not one of sizes"),
        ({"sizes": {"class": 3}}, r"sizes\.class: is not one of classes"),
        ({"sizes": {"classes": 3.5}}, "must be a whole number"),
        ({"sizes": {"classes": True}}, "must be a whole number"),
        ({"kernel": {"kappa_d": "one"}}, "must be a number"),
        ({"initial": {"init": 3}}, "must be text"),
        ({"sizes": 3}, r"config = \[sizes\]"),
    ],
)
def test_bad_entries_are_named(tables, message):
    with pytest.raises(nf.InputError, match=message):
        from_tables(tables, Path())


def test_a_state_path_in_a_file_is_relative_to_the_file():
    assert from_tables({"initial": {"state": "a.npz"}}, Path("runs/x")).state == Path("runs/x/a.npz")


def test_options_that_would_be_ignored_are_refused():
    with pytest.raises(nf.InputError, match="--seed = 3: has no meaning beside --state"):
        SimulateConfig(state=Path("a.npz"), seed=3)


def test_a_later_choice_of_initial_state_replaces_the_earlier_one():
    replayed = SimulateConfig(init="relu", seed=3).updated({"state": Path("a.npz")})
    assert (replayed.state, replayed.init, replayed.seed) == (Path("a.npz"), None, None)
    assert SimulateConfig(state=Path("a.npz")).updated({"init": "relu"}).state is None


def measured(kernel):
    sizes = nf.Sizes(3, 4, 5)
    state = nf.initial.make("gaussian", sizes, nf.BlockKernel(1, 0.5, 0.1))
    arrays = {} if kernel is None else {name: np.float64(getattr(kernel, name)) for name in KAPPAS}
    return StateFile(state, sizes, kernel, np.arange(sizes.N), arrays)


def test_a_measured_state_brings_its_sizes_and_kernel():
    prepared = prepare(SimulateConfig(state=Path("a.npz"), kappa_n=0.2), measured(nf.BlockKernel(3, 2, 1)))
    assert prepared.problem.kernel == nf.BlockKernel(3, 2, 0.2)
    assert (prepared.config.classes, prepared.config.per_class, prepared.config.features) == (3, 4, 5)


def test_a_state_without_a_kernel_needs_one_given():
    with pytest.raises(nf.InputError, match=r"kappa_c is not known; measure one or pass --kappa-c"):
        prepare(SimulateConfig(state=Path("a.npz"), kappa_d=1.0), measured(None))


def test_sizes_that_contradict_the_state_are_refused():
    with pytest.raises(nf.InputError, match="--features = 7: contradicts the state file, which has 5"):
        prepare(SimulateConfig(state=Path("a.npz"), features=7), measured(nf.BlockKernel(3, 2, 1)))


def test_one_end_of_the_steps_replaces_the_other():
    timed = SimulateConfig(step_size=0.01, t_end=2.0)
    counted = timed.updated({"steps": 5})
    assert (counted.steps, counted.t_end) == (5, None)
    assert (counted.updated({"t_end": 1.0}).steps, counted.updated({"t_end": 1.0}).t_end) == (None, 1.0)
    assert prepare(counted).config.t_end is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5}, "--steps = 5: has no meaning for the flow"),
        ({"steps": 5, "step_size": 0.1, "t_end": 1.0}, "--steps = 5: has no meaning beside --t-end"),
        ({"steps": 0, "step_size": 0.1}, "--steps = 0: must be at least 1"),
    ],
)
def test_numbers_of_steps_that_mean_nothing_are_refused(options, message):
    with pytest.raises(nf.InputError, match=message):
        SimulateConfig(**options)


def test_files_options_help_and_axes_of_sweeps_know_the_same_fields():
    from dataclasses import fields

    import typer

    from ntkflow.cli import simulate, theory
    from ntkflow.runs.config import OPTIONS, PATHS, SCHEMA

    names = [field.name for field in fields(SimulateConfig)]
    assert list(OPTIONS) == names
    assert [name for table in TABLES.values() for name in table] == names
    assert set(SCHEMA.kinds) == set(names)
    assert PATHS == ("kernel_file", "state")
    assert SCHEMA.lists == {"per_class", "widths", "decay_layers"}
    for name, option in OPTIONS.items():
        assert f"{name}: {option.text}" in SimulateConfig.__doc__
    app = typer.Typer()
    app.command()(simulate.simulate)
    app.command()(theory.theory)
    commands = typer.main.get_command(app).commands
    offered = {parameter.name: parameter for parameter in commands["simulate"].params}
    assert set(names) <= set(offered)
    assert "--kappa-d" in offered["kappa_d"].opts
    assert offered["kappa_d"].help == "Kernel of a sample with itself. (default: 1)"
    assert {"-m", "--per-class"} <= set(offered["per_class"].opts)
    assert offered["nesterov"].secondary_opts == ["--heavy-ball"]
    # Nothing is integrated there, so that nothing stops.
    of_theory = {parameter.name for parameter in commands["theory"].params}
    assert set(TABLES["kernel"]) | {"momentum"} <= of_theory
    assert not of_theory & {"rtol", "t_end", "stop_nc1", "step_size"}


def test_a_whole_number_of_a_file_is_no_text_and_no_number_with_a_point():
    assert from_tables({"sizes": {"per_class": [3, 4]}}, Path()).per_class == (
        3,
        4,
    )
    with pytest.raises(nf.InputError, match=r"steps\.nesterov = 1: must be true or false"):
        from_tables({"steps": {"nesterov": 1}}, Path())
    with pytest.raises(nf.InputError, match=r"sizes\.per_class = 3\.0: must be a whole number"):
        from_tables({"sizes": {"per_class": [3.0, 4]}}, Path())
