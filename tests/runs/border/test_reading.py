"""Readers take what they need, as much as was promised, and what fits."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from ntkflow_validation.datasets.idx import read_idx

from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.border import costs, reading


@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "U7", "?", "c16", ">f8"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 0, 3), (40, 300)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(tmp_path, kind, shape, save):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2, shape).astype(kind)
    save(tmp_path / "a.npz", a=array, b=np.asfortranarray(array), c=array.T)
    found, _ = files.read_arrays(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as expected:
        for name in ("a", "b", "c"):
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


def test_only_the_arrays_that_are_needed_are_read(tmp_path):
    big = np.zeros((1000, 1000))
    np.savez_compressed(tmp_path / "a.npz", wanted=np.arange(3.0), other=big)
    tracemalloc.start()
    found, _ = files.read_arrays(tmp_path / "a.npz", needed={"wanted"}.__contains__)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(found) == {"wanted"}
    assert most < big.nbytes / 4


def test_an_archive_that_unpacks_to_more_than_fits_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    monkeypatch.setattr(costs, "physical_memory", lambda: 1 << 20)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"unpacks to 0\.00781 GiB, more than half of the memory here"):
        files.read_arrays(tmp_path / "a.npz")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


def test_a_data_set_is_not_unpacked_beyond_what_its_header_promises(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2, 3, 4) + bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(InputError, match="has 25 bytes of values or more, its header says 24"):
        read_idx(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 4_000_000_000, 3000, 4000)))
    with pytest.raises(InputError, match="GiB, more than half of the memory"):
        read_idx(path)


@pytest.mark.parametrize(
    ("value", "shape", "wrong"),
    [
        ({"a": 3}, {"a": int}, None),
        ({"a": True}, {"a": int}, "a is of another type"),
        ({"a": None}, {"a": reading.NUMBER}, None),
        ({}, {"a": int}, "lacks a"),
        ({}, {"a?": int}, None),
        ({"a": "x"}, {"a?": int}, "a is of another type"),
        ({"x": {"y": "z"}}, {"*": {"y": int}}, r"x\.y is of another type"),
        ({"a": [1, "x"]}, {"a": [int]}, r"a\[1\] is of another type"),
        ({"a": 3}, {"a": [int]}, "a is no list"),
        ([], {"a": int}, "no object"),
        ({"a": []}, {"a": (reading.NOTHING, {"b": int})}, "a is no object"),
        ({"a": None}, {"a": (reading.NOTHING, {"b": int})}, None),
    ],
)
def test_shapes_of_documents(value, shape, wrong):
    import re

    found = reading.misfit(value, shape)
    assert found is None if wrong is None else re.search(wrong, found)


@pytest.mark.parametrize(("flags", "what"), [(1, "encrypted"), (0x40, "encrypt"), (0x20, "patch")])
def test_an_encrypted_or_patched_archive_is_one_error(tmp_path, flags, what):
    path = tmp_path / "state.npz"
    np.savez(path, a=np.arange(3.0))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + offset] |= flags
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"(?i)cannot be read as .npz.*{what}") as error:
        reading.archive(path, "state")
    assert "\n" not in str(error.value)


def test_only_what_is_needed_of_an_archive_is_read_whatever_the_rest_promises(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, a=np.arange(3.0), b=np.arange(4.0))
    content = path.read_bytes().replace(b"'shape': (4,)", b"'shape': (9,)")
    path.write_bytes(content)
    arrays, names = reading.archive(path, "state", lambda name: name == "a")
    assert set(arrays) == {"a"}
    assert names == ("a", "b")
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        reading.archive(path, "state", lambda name: name == "b")
    assert reading.archive(path, "state", lambda _: False) == ({}, ("a", "b"))
