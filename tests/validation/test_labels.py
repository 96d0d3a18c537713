"""Labels are taken in the same forms wherever they are: indices, a column of them, one-hot rows; nothing else of two axes."""

import json

import ntkflow_validation as nv
import numpy as np
import pytest
from ntkflow_validation.kernels.arguments import samples
from ntkflow_validation.own.data import read

import ntkflow as nf
from ntkflow.errors import InputError
from tests.commands import exit_code

Y = np.array([0, 1, 2, 0, 1, 2, 2])
H = np.random.default_rng(0).normal(size=(7, 5))
TAKEN = {
    "indices": Y,
    "column": Y[:, None],
    "one-hot": np.eye(3)[Y],
    "one-hot integers": np.eye(3, dtype=np.int8)[Y],
    "one-hot truth values": np.eye(3, dtype=bool)[Y],
}
REFUSED = {
    "smoothed": 0.9 * np.eye(3)[Y] + 0.1 / 3,
    "two ones": np.eye(3)[Y] + np.eye(3)[(Y + 1) % 3],
    "none": np.zeros((7, 3)),
    "NaN": np.where(np.eye(3)[Y] == 1, np.nan, 0.0),
}


def by_collapse(y, tmp_path, capsys):
    return nf.metrics.collapse(H, y).as_dict()


def by_batches(y, tmp_path, capsys):
    return nf.metrics.collapse(batches=[(H[:6], y[:6]), (H[6:], y[6:])]).as_dict()


def by_command(y, tmp_path, capsys):
    np.savez(tmp_path / "f.npz", H=H, y=y)
    code, said = exit_code("metrics", str(tmp_path / "f.npz"), "--json"), capsys.readouterr()
    if code:
        assert code == 2
        raise InputError("y", "labels", said.err.replace("\n", " "), "")
    return json.loads(said.out)


def by_measure(y, tmp_path, capsys):
    order, labels, _ = samples(H, y, None)
    return labels[np.argsort(order)].tolist()


def by_recorder(y, tmp_path, capsys):
    with nv.Recorder(tmp_path / "run", y, clock=None, kernels=None) as recorder:
        return recorder.labels.tolist()


def by_data(y, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", X=H.astype(np.float32), y=y, X_test=H.astype(np.float32), y_test=y)
    found = read(tmp_path / "d.npz")
    return found.classes.tolist(), found.classes_test.tolist()


DOORS = (by_collapse, by_batches, by_command, by_measure, by_recorder, by_data)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("form", TAKEN)
def test_every_form_is_the_same_classes(door, form, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    assert door(TAKEN[form], tmp_path, capsys) == door(Y, tmp_path / "one", capsys)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("form", REFUSED)
def test_other_rows_are_refused_by_name(door, form, tmp_path, capsys):
    with pytest.raises(InputError, match=r"one-hot|one 1 and else 0|NaN"):
        door(REFUSED[form], tmp_path, capsys)
