import numpy as np
import pytest
from ntkflow_validation.ladder import cache as module
from ntkflow_validation.ladder.cache import Cache

ONE, TWO = np.arange(6.0).reshape(2, 3).T, np.array(2.0)


def never():
    raise AssertionError("it is there already")


@pytest.fixture
def path(tmp_path):
    cache = Cache(tmp_path / "ladder" / "0-abc.npz")
    cache.get(("one", "two"), lambda: (ONE, TWO))
    return cache.path


@pytest.fixture
def read(monkeypatch):
    """Names of the arrays that are read from files."""
    names, archive = [], module.archive

    def told(path, argument, needed):
        arrays, all_names = archive(path, argument, needed)
        names.extend(arrays)
        return arrays, all_names

    monkeypatch.setattr(module, "archive", told)
    return names


def test_no_more_is_read_than_is_asked_for(path, read):
    cache = Cache(path)
    assert read == []
    assert cache.has("two")
    assert not cache.has("three")
    assert cache.known("three") is None
    np.testing.assert_array_equal(cache.get(("two",), never)[0], TWO)
    assert read == ["two"]


def test_what_was_not_read_is_kept_when_more_is_written(path, read):
    cache = Cache(path)
    cache.put("three", np.ones(2))
    assert sorted(read) == ["one", "two"]
    again = Cache(path)
    one, three = again.get(("one", "three"), never)
    np.testing.assert_array_equal(one, ONE)
    assert one.flags.c_contiguous
    np.testing.assert_array_equal(three, np.ones(2))
    assert again.has("two")


@pytest.mark.parametrize("end", [10, -40, -1])
def test_a_damaged_file_is_as_good_as_none(path, end):
    path.write_bytes(path.read_bytes()[:end])
    cache = Cache(path)
    np.testing.assert_array_equal(cache.get(("one",), lambda: (2 * ONE,))[0], 2 * ONE)
    np.testing.assert_array_equal(Cache(path).get(("one",), never)[0], 2 * ONE)


def test_an_array_that_is_damaged_is_computed_again(path):
    content = bytearray(path.read_bytes())
    content[60:64] = b"\xff" * 4
    path.write_bytes(content)
    cache = Cache(path)
    np.testing.assert_array_equal(cache.get(("one",), lambda: (3 * ONE,))[0], 3 * ONE)
    np.testing.assert_array_equal(Cache(path).get(("two",), never)[0], TWO)


def test_without_a_file_nothing_is_kept():
    cache = Cache()
    assert not cache.has("one")
    np.testing.assert_array_equal(cache.get(("one",), lambda: (ONE,))[0], ONE)
    np.testing.assert_array_equal(cache.get(("one",), never)[0], ONE)
