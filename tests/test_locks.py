"""Locks end with their process, in whatever container, and touch nothing that is not theirs."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from ntkflow import host, locks
from ntkflow.staging import InUseError, staged_directory

HOLD = """
import sys, time
from pathlib import Path
from ntkflow.staging import staged_directory
with staged_directory(Path(sys.argv[1])) as staged:
    (staged / "config.toml").write_text("whole")
    print("staged", flush=True)
    time.sleep(float(sys.argv[2]))
print("done", flush=True)
"""


def hold(path, seconds, *prefix):
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def contained():
    """The words that make a process number 1 of a space of its own, as in a container; skips where not allowed."""
    words = ("unshare", "-p", "-f", "--mount-proc")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("no process spaces here")
    return words


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_in_containers_a_killed_run_starts_again_and_a_live_one_is_left_alone(tmp_path):
    """In each of them the run is process 1, so its number says nothing."""
    inside, path = contained(), tmp_path / "run"
    first = hold(path, 60, *inside)
    assert first.stdout.readline() == "staged\n"
    record = (tmp_path / ".run.lock").read_text()
    assert record.startswith(f"process 1 on {host.this_process().host} ")
    second = hold(path, 0, *inside)
    _, errors = second.communicate(timeout=30)
    assert "is in use by process 1 on" in errors
    with pytest.raises(InUseError, match="is in use by process 1"), staged_directory(path):
        pass
    kill(first)
    assert {entry.name.rpartition(".")[2] for entry in tmp_path.iterdir()} == {"lock", "partial"}
    third = hold(path, 0, *inside)
    assert third.communicate(timeout=30) == ("staged\ndone\n", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def elsewhere(**changes):
    return replace(host.this_process(), boot="another", host="node7", **changes)


@pytest.mark.parametrize("got", [True, None], ids=["local locks", "no locks"])
def test_another_machine_that_cannot_be_asked_is_believed_to_be_alive(tmp_path, monkeypatch, got):
    (tmp_path / ".run.lock").write_text(elsewhere().record())
    (tmp_path / ".run.01234567-01234567.partial").mkdir()
    monkeypatch.setattr(host, "lock", lambda handle: got)
    monkeypatch.setattr(host, "locks_are_seen_everywhere", lambda path: False)
    with (
        pytest.raises(InUseError, match=r"in use by process .* on node7; if that was killed, remove"),
        staged_directory(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / ".run.01234567-01234567.partial").exists()


def test_a_lock_that_other_machines_see_is_taken_over_from_them(tmp_path):
    (tmp_path / ".run.lock").write_text(elsewhere().record())
    (tmp_path / ".run.01234567-01234567.partial").mkdir()
    with staged_directory(tmp_path / "run") as staged:
        (staged / "config.toml").touch()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_without_locks_number_and_start_of_the_process_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "lock", lambda handle: None)
    file, here = tmp_path / "lock", host.this_process()
    with locks.held(file), pytest.raises(locks.HeldError) as caught, locks.held(file):
        pass
    assert caught.value.certain
    for gone in (
        replace(here, started="1"),  # its number was given again
        replace(here, pid=4194304 + 17),
        replace(here, boot="before-the-restart"),
    ):
        file.write_text(gone.record())
        with locks.held(file):
            assert host.Process.read(file.read_text()) == here
    file.write_text(replace(here, space="of-another-container").record())
    with pytest.raises(locks.HeldError), locks.held(file):
        pass


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "fifo", "file", "folder"])
def test_what_is_no_lock_is_never_written_over(tmp_path, kind):
    victim, lock = tmp_path / "victim", tmp_path / "lock"
    victim.write_text("years of work")
    if kind == "symbolic link":
        lock.symlink_to(victim)
    elif kind == "hard link":
        lock.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.write_text("years of work")
    with pytest.raises(OSError, match="lock"), locks.held(lock):
        pass
    assert victim.read_text() == "years of work"
    if kind == "file":
        assert lock.read_text() == "years of work"


def test_a_dangling_link_makes_no_file(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), locks.held(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_who_waits_gets_the_lock_of_a_file_that_was_removed_meanwhile(tmp_path):
    first = hold(tmp_path / "run", 0.3)
    assert first.stdout.readline() == "staged\n"
    with locks.held(tmp_path / ".run.lock", patience=20.0, remove=True):
        assert (tmp_path / "run").is_dir()
    first.communicate()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
