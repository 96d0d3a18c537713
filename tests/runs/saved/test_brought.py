"""Kinds of another package: found by its entry points, asked last, and imported for nothing of ours."""

import pytest

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.runs.saved import brought

MODULE = """
from pathlib import Path

class Weight:
    def __init__(self, grams):
        self.grams = grams

    def save(self, path, *, overwrite=False):
        Path(path).write_text(str(self.grams))

class Scales:
    asked = []

    def knows(self, path):
        self.asked.append(path.name)
        return path.suffix == ".weight"

    def load(self, path):
        return Weight(float(path.read_text()))

SCALES = Scales()
"""


@pytest.fixture
def weighing(tmp_path, monkeypatch):
    place = tmp_path / "site"
    (place / "weighing-1.0.dist-info").mkdir(parents=True)
    (place / "weighing.py").write_text(MODULE)
    (place / "weighing-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: weighing\nVersion: 1.0\n"
    )
    (place / "weighing-1.0.dist-info" / "entry_points.txt").write_text(
        "[ntkflow.load]\nscales = weighing:SCALES\n"
    )
    monkeypatch.syspath_prepend(str(place))
    import weighing

    weighing.Scales.asked.clear()
    yield weighing
    monkeypatch.delitem(__import__("sys").modules, "weighing")


def test_what_it_knows_is_loaded_and_saved_by_it(weighing, tmp_path):
    nf.save(weighing.Weight(3.5), tmp_path / "a.weight")
    assert nf.load(tmp_path / "a.weight").grams == 3.5
    # What another package has a `save` for, but no kind, is none of ours.
    with pytest.raises(nf.InputError, match="no file of its own"):
        nf.save(main, tmp_path / "b")


def test_our_own_kinds_are_not_asked_for(weighing, tmp_path):
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1.0, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, seed=1)
    nf.solve(nf.Problem(sizes, kernel, state), t_end=0.1).save(tmp_path / "run")
    state.save(tmp_path / "state.npz", sizes=sizes)
    for name in ("run", "state.npz"):
        nf.load(tmp_path / name)
    nf.figure(tmp_path / "run", panes=["NC1"])
    assert weighing.Scales.asked == []
    assert brought.is_own(tmp_path / "run")


def test_a_folder_names_the_runs_in_it(weighing, tmp_path):
    (tmp_path / "many" / "b.weight").mkdir(parents=True)
    (tmp_path / "many" / "a").mkdir()
    with pytest.raises(nf.InputError, match=r"holds one run: b\.weight"):
        nf.load(tmp_path / "many")
    (tmp_path / "none").mkdir()
    with pytest.raises(nf.InputError, match="no summary"):
        nf.load(tmp_path / "none")
