import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig
from ntkflow_validation.datasets import cifar, download, idx, load, locate, tarball
from ntkflow_validation.datasets.cifar import read_binary, read_python
from ntkflow_validation.datasets.idx import read_idx

from ntkflow.errors import InputError

RNG = np.random.default_rng(0)
TRAINING = {"classes": 3, "per_class": 4}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Data of this machine and of its user are out of reach."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NTKFLOW_DATA", raising=False)
    monkeypatch.setattr(locate, "INSTALLED", {"fashion-mnist": tmp_path / "installed"})


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder, pack=lambda data: data, ending="", separator="-", brightness=0):
    folder.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name, count in (("train", 20), ("t10k", 8)):
        labels = (np.arange(count) % 4).astype(np.uint8)
        images = (RNG.integers(0, 100, (count, 28, 28)) + brightness).astype(np.uint8)
        for kind, array in (("images", images), ("labels", labels)):
            file = folder / f"{name}-{kind}{separator}idx{array.ndim}-ubyte{ending}"
            file.write_bytes(pack(idx_bytes(array)))
        sets[name] = images, labels
    return sets


@pytest.mark.parametrize(
    ("pack", "ending", "separator"),
    [(bytes, "", "-"), (gzip.compress, ".gz", "-"), (bytes, "", "."), (gzip.compress, "", "-")],
)
def test_idx_files_of_every_kind_are_read(tmp_path, monkeypatch, pack, ending, separator):
    sets = write_mnist(tmp_path / "data" / "mnist", pack, ending, separator)
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path / "data"))
    data = load(DataConfig(name="mnist", **TRAINING), seed=0)
    assert data.x.shape == (12, 28, 28, 1)
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.labels, np.repeat([0, 1, 2], 4))
    images, labels = sets["train"]
    for image, label in zip(data.x, data.labels, strict=True):
        assert any(np.allclose(image[..., 0] * 255, candidate) for candidate in images[labels == label])
    np.testing.assert_allclose(
        data.x_test[..., 0] * 255, sets["t10k"][0][sets["t10k"][1] < 3], rtol=1e-6, atol=1e-5
    )
    assert data.unused == 3 * 5 - 12


def test_a_folder_that_holds_the_files_itself_will_do(tmp_path, monkeypatch):
    write_mnist(tmp_path / "data")
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path / "data"))
    assert len(load(DataConfig(name="mnist", **TRAINING), seed=0).x) == 12


def test_the_order_is_told_then_installed_then_cached(tmp_path, monkeypatch):
    def brightness():
        return round(255 * float(load(DataConfig(name="fashion-mnist", **TRAINING), 0).x.mean()) / 50) * 50

    with pytest.raises(InputError, match="dataset-fashion-mnist"):
        brightness()
    write_mnist(tmp_path / "cache" / "ntkflow" / "fashion-mnist", brightness=50)
    assert brightness() == 100
    write_mnist(tmp_path / "installed", brightness=100)
    assert brightness() == 150
    write_mnist(tmp_path / "told" / "fashion-mnist", brightness=150)
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path / "told"))
    assert brightness() == 200
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="empty"):
        brightness()


def test_debians_place_is_looked_at_without_being_told(monkeypatch):
    monkeypatch.undo()
    assert str(locate.INSTALLED["fashion-mnist"]) == "/usr/share/datasets/fashion-mnist"


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
COMPRESSED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "has 23 bytes of values, its header says 24"),
        (GOOD + b"x", "has 25 bytes of values"),
        (GOOD[:9], "ends inside its header"),
        (b"", "is not an IDX file"),
        (b"\0\0\x0d" + GOOD[3:], "is not an IDX file of unsigned bytes"),
        (b"<html>not here</html>", "is not an IDX file"),
        (COMPRESSED[:-9], "cannot be read"),
        (COMPRESSED[:20] + b"\xff\xff\xff" + COMPRESSED[23:], "cannot be read|unpacks to"),
    ],
    ids=["short", "long", "no header", "empty", "wrong type", "a page", "gzip cut short", "gzip damaged"],
)
def test_truncated_and_corrupted_idx_files_are_refused(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_idx(tmp_path / "file")


def test_images_and_labels_must_fit(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(InputError, match="do not fit"):
        idx.read_pair(tmp_path, idx.TRAIN)


def cifar_records(count):
    return RNG.integers(0, 256, (count, 3072)).astype(np.uint8), (np.arange(count) % 4).astype(np.uint8)


BATCHES = [cifar_records(8) for _ in range(6)]


def as_binary(pixels, labels):
    return np.column_stack([labels, pixels]).tobytes()


def as_pickle(pixels, labels):
    return pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=2)


def as_python2_pickle(pixels, labels):
    """Opcode by opcode what Python 2 wrote: byte strings, and numpy's names of that time."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"M"
        + struct.pack("<H", len(pixels))
        + b"M"
        + struct.pack("<H", 3072)
        + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T"
        + struct.pack("<I", pixels.size)
        + pixels.tobytes()
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([c]) for c in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def write_cifar(folder, version, pack):
    inner, names = version
    (folder / inner).mkdir(parents=True)
    for name, batch in zip([*names[0], *names[1]], BATCHES, strict=True):
        (folder / inner / name).write_bytes(pack(*batch))


@pytest.mark.parametrize("version", ["binary", "pickle", "python2", "archive", "python archive"])
def test_every_version_of_cifar10_gives_the_same_images(tmp_path, monkeypatch, version):
    of_python = "p" in version
    pack = as_python2_pickle if version == "python2" else as_pickle if of_python else as_binary
    number = int(of_python)
    write_cifar(tmp_path / "cifar10", cifar.VERSIONS[number], pack)
    if "archive" in version:
        name, (inner, _) = cifar.ARCHIVES[number]
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(tmp_path / "cifar10" / inner, inner)
        monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path / "only"))
        (tmp_path / "only").mkdir()
        (tmp_path / name).rename(tmp_path / "only" / name)
    else:
        monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    data = load(DataConfig(name="cifar10", classes=4, per_class=10), seed=0)
    assert data.x.shape == (40, 32, 32, 3)
    assert data.unused == 0
    pixels, labels = (np.concatenate(part) for part in zip(*BATCHES[:5], strict=True))
    first_of_class_1 = pixels[labels == 1][0]
    red, green = first_of_class_1[:1024].reshape(32, 32), first_of_class_1[1024:2048].reshape(32, 32)
    np.testing.assert_allclose(data.x[10, ..., 0] * 255, red, atol=1e-4)
    np.testing.assert_allclose(data.x[10, ..., 1] * 255, green, atol=1e-4)
    np.testing.assert_array_equal(data.labels_test, BATCHES[5][1])


class Harmful:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run_it(tmp_path):
    mark = tmp_path / "it ran"
    with pytest.raises(InputError, match=r"mkdir = .*|was not loaded"):
        read_python("batch", pickle.dumps({b"data": Harmful(str(mark)), b"labels": []}))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Harmful(str(mark))))
    assert mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        as_pickle(*BATCHES[0])[:-100],
        pickle.dumps({b"data": [1, 2], b"labels": [0, 1]}, protocol=2),
        pickle.dumps({b"labels": [0, 1]}, protocol=2),
        as_pickle(BATCHES[0][0], BATCHES[0][1][:-1]),
        as_pickle(BATCHES[0][0][:, :-1], BATCHES[0][1]),
        as_pickle(BATCHES[0][0].astype(np.float32), BATCHES[0][1]),
        as_pickle(BATCHES[0][0], BATCHES[0][1] + 20),
    ],
)
def test_truncated_and_corrupted_pickles_are_refused(data):
    with pytest.raises(InputError, match=r"^data"):
        read_python("data_batch_1", data)


@pytest.mark.parametrize("data", [b"", as_binary(*BATCHES[0])[:-1], b"\x0b" + as_binary(*BATCHES[0])[1:]])
def test_truncated_and_corrupted_binary_batches_are_refused(data):
    with pytest.raises(InputError, match="data_batch_1"):
        read_binary("data_batch_1.bin", data)


def test_a_broken_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(io.BytesIO(b"no tar" * 200).read())[:-5])
    with pytest.raises(InputError, match="cannot be read"):
        load(DataConfig(name="cifar10", per_class=2), seed=0)


def cifar_archive(path, change=lambda member, data: (member, data), mode="w"):
    """An archive whose members are changed one by one."""
    with tarfile.open(path, mode) as archive:
        for name, batch in zip([*cifar.BINARY[0], *cifar.BINARY[1]], BATCHES, strict=True):
            data = as_binary(*batch)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            member, data = change(member, data)
            archive.addfile(member, io.BytesIO(data))


def of_kind(kind, target=""):
    def change(member, data):
        if member.name.endswith("data_batch_2.bin"):
            member.type, member.linkname, member.size = kind, target, 0
            data = b""
        return member, data

    return change


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
@pytest.mark.parametrize("target", ["/etc/passwd", "cifar-10-batches-bin/data_batch_1.bin"])
def test_members_of_an_archive_that_are_no_files_are_refused(tmp_path, monkeypatch, kind, target):
    """A link out of the archive, and one to a good member."""
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    cifar_archive(tmp_path / "cifar-10-binary.tar.gz", of_kind(kind, target), "w:gz")
    with pytest.raises(InputError, match=r"data_batch_2.bin', which is no file"):
        load(DataConfig(name="cifar10", per_class=2, classes=4), seed=0)


def without(member, data):
    if member.name.endswith("test_batch.bin"):
        member.name = "elsewhere"
    return member, data


@pytest.mark.parametrize(
    ("change", "end", "message"), [(without, None, "test_batch.bin"), (None, -60_000, "cannot be read")]
)
def test_archives_that_lack_a_member_or_its_bytes_are_refused(tmp_path, monkeypatch, change, end, message):
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    path = tmp_path / "cifar-10-binary.tar.gz"
    cifar_archive(path, change or (lambda member, data: (member, data)))
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(InputError, match=message):
        load(DataConfig(name="cifar10", per_class=2, classes=4), seed=0)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("damage", ["none", "cut", "changed"])
def test_damaged_compression_of_an_archive_is_one_error(tmp_path, monkeypatch, mode, damage):
    """Whatever its name says, an archive may be packed in another way."""
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    path = tmp_path / "cifar-10-binary.tar.gz"
    cifar_archive(path, mode=mode)
    content = bytearray(path.read_bytes())
    if damage == "changed":
        middle = len(content) // 2
        content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    config = DataConfig(name="cifar10", per_class=2, classes=4)
    if damage == "none":
        assert load(config, seed=0).x.shape == (8, 32, 32, 3)
    else:
        with pytest.raises(InputError, match=r"cannot be read|data_batch|test_batch"):
            load(config, seed=0)


def test_a_pickle_that_makes_room_for_ever_is_refused():
    """The number under which a pickle remembers a thing decides how much room the reader makes."""
    bomb = b"\x80\x02}r\xff\xff\xff\x7f."
    with pytest.raises(InputError, match="remembers 2147483647 things"):
        read_python("data_batch_1", bomb)


def serve(folder, monkeypatch, checksums=None):
    names = [f.name for f in sorted(folder.iterdir())]
    sums = checksums or {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names}
    monkeypatch.setitem(download.SOURCES, "mnist", (folder.as_uri() + "/", sums))


def test_a_download_fills_the_cache_once(tmp_path, monkeypatch):
    write_mnist(tmp_path / "host", gzip.compress, ".gz")
    serve(tmp_path / "host", monkeypatch)
    folder = download.download("mnist")
    assert folder == tmp_path / "cache" / "ntkflow" / "mnist"
    stamps = [f.stat().st_mtime_ns for f in folder.iterdir()]
    assert len(load(DataConfig(name="mnist", **TRAINING), seed=0).x) == 12
    download.download("mnist")
    assert [f.stat().st_mtime_ns for f in folder.iterdir()] == stamps


def test_a_download_with_another_checksum_is_not_kept(tmp_path, monkeypatch):
    write_mnist(tmp_path / "host", gzip.compress, ".gz")
    serve(tmp_path / "host", monkeypatch, {"train-images-idx3-ubyte.gz": "0" * 32})
    with pytest.raises(InputError, match="was not kept"):
        download.download("mnist")
    assert not (tmp_path / "cache").exists()


def test_offline_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(download.SOURCES, "mnist", ((tmp_path / "gone").as_uri() + "/", {"a.gz": "0"}))
    with pytest.raises(InputError, match=r"cannot be fetched .*--data-dir"):
        download.download("mnist")


def test_sets_without_files_need_no_download(monkeypatch):
    asked = []
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *request, **_: asked.append(request))
    assert not download.download("digits").exists()
    assert not asked


class Endless(io.RawIOBase):
    """What an archive of a few bytes may unpack to, after its first ones."""

    def __init__(self, start):
        self.start, self.given = start, 0

    def readable(self):
        return True

    def readinto(self, space):
        self.given += len(space)
        assert self.given < 10_000_000, "unpacked without end"
        part, self.start = self.start[: len(space)], self.start[len(space) :]
        space[:] = part.ljust(len(space), b"x")
        return len(space)


def header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, *tarfile.GNU_TYPES, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [1 << 40, 100_000])
def test_no_more_of_an_archive_is_unpacked_than_is_needed(tmp_path, monkeypatch, kind, size):
    """Headers before a member are as long as they like, and what is no batch too."""
    (tmp_path / "a.tar").write_bytes(b"")
    start = header("readme", size, kind) + (
        bytes(100_352) + header("batch", 3) + b"abc".ljust(512, b"\0")
    ) * (size < 1 << 40)
    monkeypatch.setattr(tarball, "_unpacked", lambda path: io.BufferedReader(Endless(start)))
    if size < 1 << 40:
        assert tarball.members(tmp_path / "a.tar", ["batch"], 1 << 20, "r") == {"batch": b"abc"}
    else:
        with pytest.raises(InputError, match="are none of those wanted"):
            tarball.members(tmp_path / "a.tar", ["batch"], 1 << 20, "r")


def test_an_archive_of_ever_more_members_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(b"")
    monkeypatch.setattr(tarball, "_unpacked", lambda path: io.BytesIO(header("readme", 0) * 4000))
    with pytest.raises(InputError, match="more than 1048576 bytes of it are none of those wanted"):
        tarball.members(tmp_path / "a.tar", ["batch"], 1 << 20, "r")
