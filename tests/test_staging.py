"""What a kill leaves is removed at the next start, and nothing else is."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ntkflow import staging
from ntkflow.errors import InputError
from ntkflow.staging import atomic, clean, numbered_directory, staged_directory

WRITE = """
import sys, time
from pathlib import Path
from ntkflow.staging import atomic, numbered_directory
if sys.argv[1] == "file":
    with atomic(Path(sys.argv[2]) / "table.csv", "w") as handle:
        print("writing", flush=True)
        time.sleep(60)
with numbered_directory(Path(sys.argv[2]), "simulate"):
    print("writing", flush=True)
    time.sleep(60)
"""


def writing(what, folder):
    process = subprocess.Popen([sys.executable, "-c", WRITE, what, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_that_killed_processes_were_writing_are_removed_and_those_of_live_ones_are_not(tmp_path):
    killed, alive = writing("file", tmp_path), writing("file", tmp_path)
    kill(killed)
    (tmp_path / ".mine.partial").touch()
    (tmp_path / "notes.partial").touch()
    assert len(names(tmp_path)) == 4
    with atomic(tmp_path / "own", "w"):
        clean(tmp_path)
    assert len(names(tmp_path)) == 4
    assert {".mine.partial", "notes.partial", "own"} < set(names(tmp_path))
    kill(alive)
    clean(tmp_path)
    assert names(tmp_path) == [".mine.partial", "notes.partial", "own"]


def test_files_of_another_machine_are_left_for_a_day(tmp_path):
    file = tmp_path / "below" / ".table.csv.01234567-01234567.partial"
    file.parent.mkdir()
    file.touch()
    clean(tmp_path, deep=True)
    assert file.exists()
    os.utime(file, (0, time.time() - 2 * staging.STALE))
    clean(tmp_path)
    assert file.exists()
    clean(tmp_path, deep=True)
    assert not file.exists()


def test_a_link_to_another_folder_is_not_cleaned(tmp_path):
    (tmp_path / "other").mkdir()
    file = tmp_path / "other" / ".table.csv.01234567-01234567.partial"
    file.touch()
    os.utime(file, (0, 0))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "other")
    clean(tmp_path / "here", deep=True)
    assert file.exists()


def test_killed_runs_without_a_name_leave_no_numbers(tmp_path):
    killed, alive = writing("number", tmp_path), writing("number", tmp_path)
    kill(killed)
    with numbered_directory(tmp_path, "simulate") as (path, staged):
        (staged / "config.toml").touch()
        assert path.name == "simulate-001"
    assert ".simulate-001.lock" not in names(tmp_path)
    assert ".simulate-002.lock" in names(tmp_path)
    kill(alive)
    with numbered_directory(tmp_path, "simulate") as (path, _):
        assert path.name == "simulate-002"
    assert names(tmp_path) == ["simulate-001", "simulate-002"]


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError), staged_directory(tmp_path / "run"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["run"]
    with staged_directory(tmp_path / "run") as staged:
        (staged / "config.toml").touch()
    assert names(tmp_path / "run") == ["config.toml"]


def test_remains_of_kills_do_not_keep_a_run_from_being_replaced(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").touch()
    killed = writing("file", run)
    kill(killed)
    with staged_directory(run, True, frozenset({"config.toml"})) as staged:
        (staged / "config.toml").touch()
    assert names(run) == ["config.toml"]


def test_a_lock_of_somebody_else_is_no_remains(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").touch()
    (run / ".thesis.lock").write_text("mine")
    with pytest.raises(InputError, match=r"holds '\.thesis\.lock'"):
        with_all = staged_directory(run, True, frozenset({"config.toml"}))
        with_all.__enter__()
    assert (run / ".thesis.lock").exists()


def test_what_takes_the_place_meanwhile_costs_neither_itself_nor_the_run(tmp_path):
    taken = pytest.raises(InputError, match="was taken meanwhile; the run is in")
    with taken as caught, staged_directory(tmp_path / "run") as staged:
        (staged / "config.toml").write_text("computed")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").touch()
    assert names(tmp_path / "run") == ["thesis.tex"]
    (kept,) = (path for path in tmp_path.iterdir() if path.name != "run")
    assert str(kept) in str(caught.value)
    assert (kept / "config.toml").read_text() == "computed"


def test_text_is_utf_8_whatever_the_terminal_writes(tmp_path):
    code = "import sys, pathlib; from ntkflow.staging import atomic\n"
    code += "with atomic(pathlib.Path(sys.argv[1]), 'w') as handle: handle.write('\\u03ba')"
    terminal = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "file"], env=terminal, check=True)
    assert (tmp_path / "file").read_bytes() == "κ".encode()
