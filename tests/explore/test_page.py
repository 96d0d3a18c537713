"""The page as a file: one, without a network, and never in the place of somebody's work."""

import errno
import os
import re

import pytest

import ntkflow as nf
from ntkflow.explore.page import MARK, SCRIPTS, page, text, write_page


def test_the_page_is_whole_and_asks_nobody():
    found = page()
    assert found.startswith("<!DOCTYPE html>")
    assert nf.__version__ in found
    assert all(text(name) in found for name in (*SCRIPTS, "page.css"))
    assert re.search(r"\{(version|style|scripts)\}", found) is None
    assert not re.search(
        r"https?:|//cdn|@import|<script [^>]*src|<link [^>]*href=\"(?!data:)|fetch\(|XMLHttp", found
    )


def test_an_older_page_is_replaced_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "page.html"
    assert write_page(path) == path
    path.write_text(path.read_text(encoding="utf-8") + "<!-- older -->", encoding="utf-8")
    write_page(path)
    assert path.read_text(encoding="utf-8") == page()
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("kind", ["text", "bytes", "folder", "link", "dangling"])
def test_what_is_no_page_stays(tmp_path, kind):
    path = tmp_path / "mine.html"
    if kind == "text":
        path.write_text("<html>mine</html>")
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(write_page(tmp_path / "other.html") if kind == "link" else tmp_path / "nowhere.html")
    before = path.lstat()
    with pytest.raises(nf.InputError, match="not overwritten"):
        write_page(path)
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_mtime_ns == before.st_mtime_ns


def test_a_full_disk_is_said_and_costs_no_older_page(tmp_path, monkeypatch):
    path = write_page(tmp_path / "page.html")
    path.write_text(f"{MARK} older")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nf.InputError, match="No space left"):
        write_page(path)
    assert path.read_text() == f"{MARK} older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(nf.InputError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html")
