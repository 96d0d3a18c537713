import os
import subprocess
import sys
from pathlib import Path

import pytest

from ntkflow import host


def test_a_process_is_known_by_more_than_its_number():
    here = host.this_process()
    assert (here.pid, here.runs(), here.same_machine) == (os.getpid(), True, True)
    assert host.Process.read(here.record()) == here
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert host.Process(ended.pid, here.host, here.boot, here.space, "1").runs() is False


@pytest.mark.parametrize("text", ["", "process", "process x on y", "years of work", "process 1 on a\nb"])
def test_other_text_is_no_record(text):
    assert host.Process.read(text) is None


def test_records_of_earlier_versions_are_read():
    assert host.Process.read("process 12 on somewhere\n") == host.Process(12, "somewhere")


@pytest.mark.parametrize(
    ("line", "everywhere"),
    [
        ("- ext4 /dev/sda1 rw", True),
        ("- nfs4 server:/ rw,local_lock=none", True),
        ("- nfs server:/ rw,nolock", False),
        ("- lustre server:/ rw,flock", True),
        ("- lustre server:/ rw,localflock", False),
        ("- beegfs beegfs_nodev rw", False),
        ("- fuse.sshfs host: rw", False),
        ("- 9p share rw", False),
    ],
)
def test_mounts_say_whether_locks_reach_other_machines(monkeypatch, line, everywhere):
    mounts = f"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:9 / /data\\040set rw,relatime {line}\n"

    def lines(self, *args, **options):
        from io import StringIO

        assert str(self) == "/proc/self/mountinfo"
        return StringIO(mounts)

    monkeypatch.setattr(Path, "open", lines)
    assert host.locks_are_seen_everywhere(Path("/data set/runs")) is everywhere
    assert host.locks_are_seen_everywhere(Path("/data")) is True


def test_memory_is_a_number_of_bytes():
    assert host.physical_memory() > 1 << 28
