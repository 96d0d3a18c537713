"""Fetching a data set from its own host into the user's cache, on request only, with checksums."""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.staging import atomic, clean
from validation.datasets.locate import cache

TIMEOUT = 60  # seconds without an answer
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MNIST = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
# host, and for each file the MD5 sum that its publisher gives
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist/", dict(zip(NAMES, MNIST, strict=True))),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        dict(zip(NAMES, FASHION, strict=True)),
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def download(name: str) -> Path:
    """Fetch what is missing of a data set; returns the folder. Does nothing for sets that need no files.

    Raises:
        InputError: the host cannot be reached, a file has another checksum, or the cache cannot be written.
    """
    folder = cache(name)
    host, files = SOURCES.get(name, ("", {}))
    for file, checksum in files.items():
        if not (folder / file).is_file():
            _fetch(host + file, folder / file, checksum)
    return folder


def _fetch(url: str, path: Path, checksum: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            data = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise InputError(
            "download", url, f"cannot be fetched ({error})", "go online, or give --data-dir"
        ) from None
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise InputError(
            "download",
            url,
            f"has MD5 {found}, not {checksum}; it was not kept",
            "try again, or give --data-dir",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean(path.parent)
        with atomic(path) as handle:
            handle.write(data)
    except OSError as error:
        raise InputError(
            "download",
            path,
            f"cannot be written ({error.strerror})",
            "set XDG_CACHE_HOME to a folder that can",
        ) from None
