"""`watch`: what the kernel can't cap is seen and named."""

import os
import subprocess
import sys

import psutil
import pytest

from interpreter_pool import ExitReason, Limits
from interpreter_pool.sandbox.run.resource_monitor import ResourceMonitor

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


@pytest.fixture
def holder():
    """A process that holds memory or threads when told, and says when it does."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()

        def tell(line: str) -> None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            process.stdout.readline()

        process.tell = tell
        yield process
        process.kill()


def watch(pid=0, *, memory=False, threads=False, scratch=None, **limits) -> ResourceMonitor:
    """A watch on `pid`; this test process stands for the zygote that it was forked from."""
    return ResourceMonitor(
        pid, os.getpid(), Limits(**limits), memory=memory, threads=threads, scratch=scratch
    )


def test_memory_is_counted_beyond_the_zygotes(holder):
    """What the zygote holds is not the run's; what it takes beyond the limit is `memory`."""
    zygote = psutil.Process().memory_info().rss
    looking = watch(holder.pid, memory=True, memory_bytes=100 << 20)
    holder.tell(f"memory {zygote + (20 << 20)}")
    assert looking.check() is None
    holder.tell(f"memory {zygote + (150 << 20)}")
    reason, detail = looking.check()
    assert reason is ExitReason.MEMORY
    assert detail.startswith("held 1"), detail
    assert detail.endswith(" of memory, more than 100 MiB (Limits.memory_bytes): give it more")


def test_threads_over_the_limit_are_denied(holder):
    """The limit itself is fine, one more is `denied`."""
    looking = ResourceMonitor(
        holder.pid, os.getpid(), Limits(threads=3), memory=False, threads=True, scratch=None
    )
    holder.tell("threads 2")
    assert looking.check() is None
    holder.tell("threads 1")
    reason, detail = looking.check()
    assert reason is ExitReason.DENIED
    assert detail == "ran 4 threads at once, more than 3 (Limits.threads): allow more"


class Tree:
    """Processes of a run, as if they had been found."""

    def pids(self):
        return list(range(7))

    def threads(self, pids):
        return 9

    def held_bytes(self, pids):
        return (64 << 20) + 1


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        ({"processes": 2}, "ran 7 processes at once, more than 2 (Limits.processes): allow more"),
        (
            {"processes": 8, "threads": 1},
            "ran 9 processes and threads at once, more than 8 (Limits.threads): allow more",
        ),
        (
            {"processes": 8, "memory_bytes": 64 << 20},
            "held 67108865 bytes of memory, more than 67108864 bytes (Limits.memory_bytes): "
            "give it more",
        ),
    ],
)
def test_several_processes_over_a_limit(limits, detail):
    """The detail is a sentence: how much there was, the limit, and its name."""
    looking = ResourceMonitor(
        1,
        1,
        Limits(**limits),
        memory="memory_bytes" in limits,
        threads=True,
        scratch=None,
        process_tree=Tree(),
    )
    assert looking.check()[1] == detail


def test_a_process_that_has_gone_breaks_nothing(holder):
    """Between two looks a run may end: nothing to say."""
    looking = watch(holder.pid, memory=True, threads=True)
    holder.kill()
    holder.wait()
    assert looking.check() is None


def test_bytes_on_disk_are_counted_as_blocks(tmp_path):
    """A sparse file takes no room; real bytes over the limit are `denied`."""
    looking = watch(scratch=str(tmp_path), disk_bytes=1 << 20)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert looking.check() is None
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "real").write_bytes(os.urandom(2 << 20))
    reason, detail = looking.check()
    assert reason is ExitReason.DENIED
    assert detail == "wrote more than 1 MiB of files (Limits.disk_bytes): allow more"


def test_files_of_every_kind_are_counted(tmp_path):
    """Links, pipes and folders take an inode as files do."""
    looking = watch(scratch=str(tmp_path), files=100)
    for number in range(36):
        (tmp_path / f"folder-{number}").mkdir()
        os.symlink("/nowhere", tmp_path / f"folder-{number}" / "link")
    assert looking.check() is None
    for number in range(40):
        os.mkfifo(tmp_path / f"pipe-{number}")
    reason, detail = looking.check()
    assert reason is ExitReason.DENIED
    assert detail == "made more than 100 files (Limits.files): allow more"


def test_links_are_not_followed(tmp_path):
    """What a link points at is not the run's."""
    os.symlink("/usr", tmp_path / "link")
    assert watch(scratch=str(tmp_path), files=10).check() is None


def test_an_unlimited_scratch_is_not_looked_at(tmp_path):
    """None is unlimited, and costs nothing."""
    looking = watch(scratch="/nonexistent", disk_bytes=None, files=None)
    assert looking.check() is None


@pytest.mark.parametrize(
    "limits", [{"disk_bytes": None, "files": 10}, {"disk_bytes": 1 << 20, "files": None}]
)
def test_one_of_two_limits_is_enough(tmp_path, limits):
    """Bytes without files, and files without bytes, are watched each for itself."""
    for number in range(30):
        (tmp_path / f"{number}").write_bytes(b"x")
    found = watch(scratch=str(tmp_path), **limits).check()
    assert (found is not None) == (limits["files"] is not None)
