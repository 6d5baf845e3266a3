"""`watch`: what the kernel can't cap is seen and named."""

import os
import subprocess
import sys

import pytest

from sandbox import ExitReason, Limits
from sandbox.watch import Watch

HOLDER = """
import sys, threading
print(flush=True)
for line in sys.stdin:
    kind, number = line.split()
    if kind == "memory":
        held = b"x" * int(number)
    else:
        for _ in range(int(number)):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    print(flush=True)
"""


class Holder(subprocess.Popen):
    """A process that holds memory or threads when told, and says when it does."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        super().__init__([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True)
        self.stdout.readline()

    def tell(self, line: str) -> None:
        self.stdin.write(line + "\n")
        self.stdin.flush()
        self.stdout.readline()


@pytest.fixture
def holder():
    with Holder() as process:
        yield process
        process.kill()


@pytest.fixture
def zygote():
    """What a run began as: the same program, holding nothing."""
    with Holder() as process:
        yield process
        process.kill()


def watch(pid=0, zygote_pid=0, *, memory=False, threads=False, scratch=None, limits=None) -> Watch:
    limits = limits or Limits()
    return Watch(pid, zygote_pid, limits, memory=memory, threads=threads, scratch=scratch)


def test_memory_counts_beyond_the_zygotes(holder, zygote):
    """What the zygote holds is not its run's; what a run takes beyond the limit is `memory`."""
    zygote.tell(f"memory {30 << 20}")
    holder.tell(f"memory {60 << 20}")
    looking = watch(holder.pid, zygote.pid, memory=True, limits=Limits(memory_bytes=40 << 20))
    assert looking.check() is None
    holder.tell(f"memory {100 << 20}")
    reason, detail = looking.check()
    assert reason is ExitReason.MEMORY
    assert str(40 << 20) in detail


def test_threads_over_the_limit_are_denied(holder, zygote):
    """The limit itself is fine, one more is `denied`."""
    looking = watch(holder.pid, zygote.pid, threads=True, limits=Limits(threads=3))
    holder.tell("threads 2")
    assert looking.check() is None
    holder.tell("threads 1")
    assert looking.check()[0] is ExitReason.DENIED


def test_a_process_that_has_gone_breaks_nothing(holder, zygote):
    """Between two looks a run may end: nothing to say."""
    looking = watch(holder.pid, zygote.pid, memory=True, threads=True)
    assert looking.check() is None
    holder.kill()
    holder.wait()
    assert looking.check() is None


def test_bytes_on_disk_are_counted_as_blocks(tmp_path):
    """A sparse file takes no room; real bytes over the limit are `denied`."""
    looking = watch(scratch=str(tmp_path), limits=Limits(disk_bytes=1 << 20))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert looking.check() is None
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "real").write_bytes(os.urandom(2 << 20))
    reason, detail = looking.check()
    assert reason is ExitReason.DENIED
    assert str(1 << 20) in detail


def test_files_of_every_kind_are_counted(tmp_path):
    """Links, pipes and folders take an inode as files do."""
    looking = watch(scratch=str(tmp_path), limits=Limits(files=100))
    for number in range(36):
        (tmp_path / f"folder-{number}").mkdir()
        os.symlink("/nowhere", tmp_path / f"folder-{number}" / "link")
    assert looking.check() is None
    for number in range(40):
        os.mkfifo(tmp_path / f"pipe-{number}")
    assert looking.check()[0] is ExitReason.DENIED


def test_links_are_not_followed(tmp_path):
    """What a link points at is not the run's."""
    os.symlink("/usr", tmp_path / "link")
    assert watch(scratch=str(tmp_path), limits=Limits(files=10)).check() is None


def test_an_unlimited_scratch_is_not_looked_at():
    """None is unlimited, and costs nothing."""
    looking = watch(scratch="/nonexistent", limits=Limits(disk_bytes=None, files=None))
    assert looking.check() is None


@pytest.mark.parametrize(
    "limits", [{"disk_bytes": None, "files": 10}, {"disk_bytes": 1 << 20, "files": None}]
)
def test_one_of_two_limits_is_enough(tmp_path, limits):
    """Bytes without files, and files without bytes, are watched each for itself."""
    for number in range(30):
        (tmp_path / f"{number}").write_bytes(b"x")
    found = watch(scratch=str(tmp_path), limits=Limits(**limits)).check()
    assert (found is not None) == (limits["files"] is not None)
