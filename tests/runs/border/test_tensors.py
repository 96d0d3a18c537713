"""Arrays of other tools: read as they were written, and refused in one sentence where they were not."""

import json
import struct

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.runs.border import costs
from ntkflow.runs.border.tensors import DTYPES, read_tensors


def safetensors(path, header, content=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + content)
    return path


def entry(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("kind", [name for name in DTYPES if name != "BF16"])
def test_safetensors_of_every_type_come_back(tmp_path, kind):
    array = np.arange(6).astype(DTYPES[kind]).reshape(2, 3)
    other = np.ones(3, "<f4").tobytes()
    header = {
        "__metadata__": {"format": "pt"},
        "b": entry(shape=(3,), offsets=(0, 12)),
        "a": entry(kind, offsets=(12, 12 + array.nbytes)),
    }
    found = read_tensors(safetensors(tmp_path / "x.safetensors", header, other + array.tobytes()), "file")
    assert list(found) == ["b", "a"]
    assert found["a"].dtype == array.dtype
    np.testing.assert_array_equal(found["a"], array)


def test_bfloat16_is_float32_without_its_lower_half(tmp_path):
    array = np.array([1.0, -2.5, 3e30, 0.0], "<f4")
    content = (array.view("<u4") >> 16).astype("<u2").tobytes()
    path = safetensors(tmp_path / "x.safetensors", {"a": entry("BF16", (4,), (0, 8))}, content)
    np.testing.assert_allclose(read_tensors(path, "file")["a"], array, rtol=2**-7)
    assert read_tensors(path, "file", {"b"}.__contains__) == {}


def test_safetensors_are_read_as_their_own_package_writes_them(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"H": np.random.default_rng(0).normal(size=(4, 3)), "y": np.arange(4)}
    numpy.save_file(arrays, tmp_path / "x.safetensors")
    for name, array in read_tensors(tmp_path / "x.safetensors", "file").items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry()}, 10**9, "header is longer than the file"),
        (b"{", None, "cannot be read as .safetensors"),
        (b"[]", None, "its header is no object"),
        (b"[" * 5000, None, "nested too deep"),
        ({"a": 3}, None, "a is no object"),
        ({"a": {"dtype": "F32", "shape": [2]}}, None, "lacks a.data_offsets"),
        ({"a": entry("F8_E4M3")}, None, "unknown type"),
        ({"a": entry(offsets=(0, 20))}, None, "has 20 bytes for an array of shape"),
        ({"a": entry(offsets=(8, 32))}, None, "has 24 bytes"),
        ({"a": entry(shape=(-2, -3))}, None, "lies nowhere"),
        ({"a": entry(shape=(10**12, 10**12))}, None, "has 24 bytes"),
        ({"a": entry(offsets=(0, 1, 24))}, None, "lies nowhere"),
    ],
    ids=str,
)
def test_damaged_safetensors_are_refused_in_one_sentence(tmp_path, header, size, message):
    path = safetensors(tmp_path / "x.safetensors", header, bytes(24), size)
    with pytest.raises(InputError, match=message):
        read_tensors(path, "file")


def test_tables_have_names_and_labels(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("f1,label,f2\n1,cat,2\n\n3,dog,4e-1\n")
    found = read_tensors(path, "file")
    np.testing.assert_array_equal(found["H"], [[1, 2], [3, 0.4]])
    assert found["y"].tolist() == ["cat", "dog"]
    path.write_text("y,f\n1,2\n0,3\n")
    np.testing.assert_array_equal(read_tensors(path, "file")["y"], [1, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows below"),
        ("a,b\n", "no rows below"),
        ("1,2\n3,4\n", "first line are numbers"),
        ("a,b\n1\n", "line 2 has 1 columns of 2"),
        ("a,b\n1,x\n", "could not convert"),
        ("y,label,a\n1,2,3\n", "several columns of labels"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_tensors(path, "file")


def test_single_arrays_and_archives(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", H=array, other=array)
    np.testing.assert_array_equal(read_tensors(tmp_path / "x.npy", "file")["H"], array)
    assert list(read_tensors(tmp_path / "x.npz", "file", {"H"}.__contains__)) == ["H"]
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    for name, message in (
        ("o.npy", "cannot be read as .npy"),
        ("cut.npy", "cannot be read as .npy"),
        ("none.npy", "does not exist"),
        ("none.csv", "does not exist"),
        ("x.txt", "must end in .npz, .npy, .csv, .safetensors"),
    ):
        with pytest.raises(InputError, match=message):
            read_tensors(tmp_path / name, "file")


def test_files_that_do_not_fit_are_refused_unread(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros(1000))
    (tmp_path / "x.csv").write_text("a\n" + "1\n" * 1000)
    header = {"a": entry("F64", (1000,), (0, 8000))}
    safetensors(tmp_path / "x.safetensors", header, bytes(8000))
    monkeypatch.setattr(costs, "physical_memory", lambda: 1000)
    for name in ("x.npy", "x.csv", "x.safetensors"):
        with pytest.raises(InputError, match="more than half of the memory"):
            read_tensors(tmp_path / name, "file")
