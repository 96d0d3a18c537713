"""A comparison with anything wrong in it is one line to everyone who reads it."""

import json
import shutil

import pytest

from tests.cli import damage
from tests.cli.damage import check
from tests.commands import exit_code


@pytest.fixture
def compared(trained, tmp_path, monkeypatch):
    """A run, and another of the next seed."""
    run, other = (shutil.copytree(trained, tmp_path / name) for name in ("run", "other"))
    config = other / "config.toml"
    text = config.read_text()
    assert "seed = 0" in text
    config.write_text(text.replace("seed = 0", "seed = 1", 1))
    # No report waits for a calibration.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ntkflow_validation.report.write.calibration_of", lambda *_: None)
    return run, other


def readers(run, other, to):
    return (
        ("validate", "show", run),
        ("validate", "frontier", run, "--to", to),
        ("validate", "seeds", run, other, "--to", to),
        ("validate", "export", run, "--to", to),
        ("validate", "report", run, "--quiet"),
    )


def fuzz(compared, told, tmp_path, count, seed, slow):
    run, other = compared
    path = run / "comparison.json"
    good = json.loads(path.read_text())
    words = readers(run, other, tmp_path / "to")
    words = words if slow else words[:3]
    assert [exit_code(*command) for command in words] == [0] * len(words)
    check(damage.documents(good, count, seed), lambda content: told(path, content, *words))
    # Some of it is damage that readers see.
    assert 2 in told.codes


def test_quick_readers_of_comparisons(compared, told, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "TEXTS", {})
    fuzz(compared, told, tmp_path, 6, 0, slow=False)


@pytest.mark.slow
def test_every_reader_of_many_comparisons(compared, told, tmp_path):
    fuzz(compared, told, tmp_path, 150, 1, slow=True)
