import hashlib
import json
import tomllib

import numpy as np
import pytest
from ntkflow_validation.cli import options
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.datasets import load
from ntkflow_validation.models import build
from ntkflow_validation.own.data import contents, read, said
from ntkflow_validation.sweep.grid import Pair, TrainingSweep, key_of
from ntkflow_validation.sweep.settings import changed

from ntkflow.errors import InputError
from tests.commands import exit_code

RNG = np.random.default_rng(0)
LABELS = np.repeat([7, -1, 3], 6)
X = RNG.normal(size=(18, 5))
SMALL = ("model.name=mlp", "model.width=4", "model.features=5", "model.depth=1", "training.steps=4")
FEW = ("training.snapshots=3", "kernels.count=2", "training.learning_rate=0.1", "seed=1")


@pytest.fixture
def saved(tmp_path):
    """A file of three classes with six samples each, from labels in no order."""
    path = tmp_path / "my.npz"
    np.savez(path, X=X, y=LABELS)
    return path


def written(folder, **arrays):
    np.savez(folder / "bad.npz", **arrays)
    return folder / "bad.npz"


def test_labels_become_classes_in_their_order_and_floats_stay_as_they_are(saved):
    found = contents(str(saved))
    assert (found.counts, found.names) == ((6, 6, 6), (-1, 3, 7))
    assert found.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert "-1, 3, 7" in said(str(saved), found)
    config = DataConfig(str(saved), classes=0, per_class=4)
    assert (config.classes, config.per_class, config.sha256) == (3, 4, found.sha256)
    dataset = load(config, seed=0)
    assert (len(dataset.x), len(dataset.x_test), dataset.unused) == (12, 6, 0)
    # Every sample is one of the file, of its class.
    for x, label in zip(dataset.x, dataset.labels, strict=True):
        (row,) = np.flatnonzero((X.astype(np.float32) == x).all(axis=1))
        assert LABELS[row] == (-1, 3, 7)[label]


def test_one_hot_labels_bytes_and_test_samples_of_their_own(tmp_path):
    pixels = RNG.integers(0, 256, size=(6, 2, 2, 1), dtype=np.uint8)
    np.savez(
        tmp_path / "a.npz", X=pixels, y=np.eye(2)[[0, 1] * 3], X_test=pixels[:2], y_test=np.eye(2)[[1, 0]]
    )
    dataset = load(DataConfig(str(tmp_path / "a.npz"), classes=0, per_class=0), seed=0)
    np.testing.assert_array_equal(dataset.x[:3], pixels[::2].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.labels_test, [1, 0])
    scaled = DataConfig(str(tmp_path / "a.npz"), classes=0, per_class=0, scaling="image")
    np.testing.assert_allclose(load(scaled, seed=0).x.mean(axis=(1, 2, 3)), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": X}, "lacks 'y'"),
        ({"y": LABELS}, "lacks 'X'"),
        ({"X": X[:4], "y": LABELS}, "for 18 labels"),
        ({"X": X[:, 0], "y": LABELS}, "samples come first"),
        ({"X": X[:, :0], "y": LABELS}, "without a number"),
        ({"X": X.astype(int), "y": LABELS}, "type int64"),
        ({"X": X.astype(complex), "y": LABELS}, "type complex128"),
        ({"X": np.where(X[2] == X, np.nan, X), "y": LABELS}, "5 entries that are not finite"),
        ({"X": 1e300 * X, "y": LABELS}, "not finite float32"),
        ({"X": X, "y": LABELS.astype(float)}, "whole numbers"),
        ({"X": X, "y": 0 * LABELS}, "at least 2"),
        ({"X": X, "y": np.eye(3)[LABELS % 3][:, None]}, "whole numbers"),
        ({"X": X, "y": np.ones((18, 3))}, "not one-hot"),
        ({"X": X, "y": np.eye(4)[LABELS % 3]}, "no sample of class"),
        ({"X": X, "y": LABELS, "X_test": X}, "X_test alone"),
        ({"X": X, "y": LABELS, "X_test": X[:, 1:], "y_test": LABELS}, "X_test of type float32"),
        ({"X": X, "y": LABELS, "X_test": X, "y_test": LABELS + 1}, "the label 0 in y_test"),
        ({"X": X, "y": LABELS, "X_test": X, "y_test": np.eye(3)[LABELS % 3]}, "unlike y"),
        ({"X": np.array([print], dtype=object), "y": LABELS}, "never loaded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_no_data_set_is_refused_in_words(arrays, words, tmp_path):
    with pytest.raises(InputError, match=words) as caught:
        read(written(tmp_path, **arrays))
    assert caught.value.remedy


def test_configurations_name_what_the_file_does_not_have(saved, tmp_path):
    for values, argument in (
        ({"name": str(saved), "classes": 4}, "data.classes"),
        ({"name": str(tmp_path / "none.npz")}, "data.name"),
        ({"name": str(saved), "sha256": "0" * 64}, "data.sha256"),
        ({"name": str(saved), "per_class": "many"}, "data.per_class"),
        ({"name": "digits", "sha256": "0" * 64}, "data.sha256"),
        ({"name": "a\0.npz"}, "data.name"),
    ):
        with pytest.raises(InputError) as caught:
            RunConfig.from_dict({"data": values})
        assert caught.value.argument == argument
    with pytest.raises(InputError, match="needs images"):
        build(ModelConfig("cnn"), (5,), 3, 0)


def test_a_file_of_settings_names_data_from_its_own_folder(saved, tmp_path):
    (tmp_path / "my.toml").write_text('[data]\nname = "my.npz"\n')
    config = RunConfig.from_toml(tmp_path / "my.toml")
    assert (config.data.name, config.data.classes, config.data.per_class) == (str(saved), 3, 6)
    # A record that is complete asks for no file.
    saved.unlink()
    assert RunConfig.from_dict(config.to_dict()) == config
    assert changed(config, {"data.name": "digits"}).data.sha256 == ""


def test_all_samples_of_classes_that_differ_in_size_unless_fewer_are_asked_for(tmp_path, capsys):
    path = written(tmp_path, X=X[1:], y=LABELS[1:])
    config = RunConfig.from_dict({"data": {"name": str(path)}})
    # The first sample was of the label 7, the last class.
    assert (config.data.counts, config.data.per_class, config.data.samples) == ((6, 6, 5), 0, 17)
    assert RunConfig.from_dict(config.to_dict()) == config
    dataset = load(config.data, seed=0)
    np.testing.assert_array_equal(dataset.counts, [6, 6, 5])
    options.tell_data(config, silent=False)
    assert "2 x 6, 5 samples" in capsys.readouterr().out
    fewer = changed(config, {"data.per_class": 5})
    assert (fewer.data.counts, fewer.data.balanced) == ((5, 5, 5), True)
    assert changed(fewer, {"data.per_class": 0}).data == config.data
    assert changed(config, {"data.classes": 2}).data.counts == (6, 6)
    # Batches would be of equal classes: a preset's are full then.
    batches = RunConfig(training=TrainConfig(batch_per_class=4))
    assert batches.with_data(str(path)).training.batch_per_class == 0
    with pytest.raises(InputError, match="no whole numbers of classes"):
        changed(config, {"training.batch_per_class": 2})


def test_a_sweep_takes_own_data_as_data_set_or_in_a_pair(saved):
    base = RunConfig(data=DataConfig(per_class=30), model=ModelConfig("mlp"))
    own = changed(base, {"data.name": str(saved)})
    assert (own.data.classes, own.data.per_class) == (3, 6)
    sweep = TrainingSweep(base, (Pair.parse(f"mlp/{saved}"), Pair.parse("mlp/digits")))
    first, second = sweep.cells
    assert first.run == own
    assert first.key == key_of(own) != second.key
    with pytest.raises(InputError, match=r"--set model\.name"):
        Pair.parse("mymodule:Body/digits")
    assert exit_code("validate", "sweep", "--data", saved, "--pair", "mlp/digits", "--dry-run") == 2


def test_the_option_replaces_the_data_of_a_preset_and_another_file_is_refused(saved, monkeypatch):
    config = options.configuration("tiny", None, 1, None, ("data.per_class=5",), saved)
    assert (config.data.name, config.data.classes, config.data.per_class) == (str(saved), 3, 5)
    assert config.kernels.per_class <= 5
    options.find_data(config, None)
    before = contents(str(saved)).sha256
    np.savez(saved, X=X + 1, y=LABELS)
    with pytest.raises(InputError, match=contents(str(saved)).sha256) as caught:
        options.find_data(config, None)
    assert before in str(caught.value)
    with pytest.raises(InputError, match=r"no \.npz"):
        options.configuration("tiny", None, 1, None, (), saved.with_suffix(".csv"))


@pytest.mark.slow
def test_a_run_on_own_data_is_followed_up_from_elsewhere(saved, tmp_path, monkeypatch, capsys):
    # The command sets the variable; it is undone as it was.
    monkeypatch.setenv("NTKFLOW_DATA", "")
    monkeypatch.delenv("NTKFLOW_DATA")
    monkeypatch.chdir(tmp_path)
    settings = [word for text in (*SMALL, *FEW) for word in ("--set", text)]
    train = ("validate", "train", "--data", "my.npz", "--out", "run", *settings)
    assert exit_code(*train) == 0
    assert "classes 0 .. 2, the labels -1, 3, 7 in this order; 3 x 6 samples" in capsys.readouterr().out
    table = tomllib.loads((tmp_path / "run" / "config.toml").read_text())["data"]
    assert (table["name"], table["classes"], table["per_class"]) == (str(saved), 3, 6)
    assert table["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert json.loads((tmp_path / "run" / "training.json").read_text())["labels"] == [-1, 3, 7]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert exit_code("validate", "kernels", "../run", "--quiet") == 0
    assert exit_code("validate", "compare", "../run", "--rungs", "block", "--quiet") == 0
    assert exit_code("validate", "report", "../run", "--quiet") == 0
    saved.rename(tmp_path / "elsewhere" / "my.npz")
    assert exit_code("validate", "compare", "../run", "--rungs", "block", "--quiet") == 2
    assert "put it back" in capsys.readouterr().err
    assert (
        exit_code(
            "validate",
            "compare",
            "../run",
            "--rungs",
            "block",
            "--quiet",
            "--data-dir",
            tmp_path / "elsewhere",
        )
        == 0
    )
    np.savez(saved, X=X + 1, y=LABELS)
    monkeypatch.delenv("NTKFLOW_DATA")
    assert exit_code("validate", "compare", "../run", "--quiet") == 2
    message = capsys.readouterr().err
    assert table["sha256"] in message
    assert hashlib.sha256(saved.read_bytes()).hexdigest() in message
    assert len(message.splitlines()) == 1
    monkeypatch.chdir(tmp_path)
    assert exit_code(*train) == 2
    assert table["sha256"] in capsys.readouterr().err
