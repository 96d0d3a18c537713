"""`nf.load` finds measurements, folders of them and sweeps of trainings by what they are."""

import json
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.sweep import TrainingSweep
from ntkflow_validation.sweep.records import CellFile, content_of

import ntkflow as nf
from ntkflow.runs.border.records import document
from ntkflow.runs.files import StateFile, dump_json
from ntkflow.runs.saved.brought import ENTRY_POINTS, Kind
from ntkflow.sweep.stored.cache import Cache
from tests.validation.saved.conftest import CONFIG, KERNEL, MEASURED, SIZES

ROOT = Path(__file__).parents[3]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][ENTRY_POINTS]


@pytest.mark.parametrize("name", POINTS)
def test_every_entry_point_leads_to_a_kind(name):
    module, attribute = POINTS[name].split(":")
    assert isinstance(getattr(import_module(module), attribute), Kind)


def test_they_are_installed():
    # An installation that is older than pyproject.toml knows no trainings.
    assert {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} == POINTS


def test_a_measurement_comes_back_from_its_file_and_from_its_folder(trained, measurement, tmp_path):
    found = nf.load(trained / "measurements" / "0.npz")
    assert isinstance(found, Measurement)
    assert repr(found) == repr(measurement)
    folder = nf.load(trained / "measurements")
    assert list(folder) == list(MEASURED)
    assert repr(folder[8]) == repr(measurement)
    data = folder.to_xarray()
    assert data["step"].values.tolist() == folder.to_pandas().index.tolist() == list(MEASURED)
    assert data["kappa_c"].sel(step=8).item() == measurement.kappa_c.value
    error = data["standard_error"].sel(step=8, constant="kappa_d").item()
    assert error == measurement.kappa_d.standard_error
    place = nf.save(found, tmp_path / "found.npz")
    assert repr(nf.load(place)) == repr(measurement)
    with pytest.raises(nf.InputError, match="exists"):
        nf.save(found, place)


def test_a_state_with_a_kernel_is_still_a_state(tmp_path):
    nf.initial.make("gaussian", SIZES).save(tmp_path / "state.npz", sizes=SIZES, kernel=KERNEL)
    assert isinstance(nf.load(tmp_path / "state.npz"), StateFile)


def test_a_sweep_of_trainings_is_a_table_as_far_as_it_has_come(trained, tmp_path):
    sweep = TrainingSweep(CONFIG, rates=(0.1, 0.2))
    cache = Cache(tmp_path / "sweep")
    cache.open(sweep)
    cell = sweep.cells[0]
    content = document(CellFile(cell.run.to_dict(), content_of(RunDirectory.open(trained))))
    cache.write(cell.key, json.loads(dump_json(content)))
    found = nf.load(tmp_path / "sweep")
    assert found.columns["status"].tolist() == ["done", "missing"]
    assert found.columns["training.learning_rate"].tolist() == [0.1, 0.2]
    found.write(tmp_path / "sweep")
    assert repr(nf.load(tmp_path / "sweep")) == repr(found)


def test_a_folder_of_runs_is_refused_with_their_names(trained):
    with pytest.raises(nf.InputError, match=r"is no run, but holds one run: run; give one, as .*run"):
        nf.load(trained.parent)
    with pytest.raises(nf.InputError, match="no summary"):
        nf.load(trained / "snapshots")
