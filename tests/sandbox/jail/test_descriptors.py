"""What is acquired in several steps is given back where one of them fails: no descriptor is lost."""

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from interpreter_pool.sandbox import Limits, SetupError
from interpreter_pool.sandbox.guest.session.branching import CHECKPOINT, Walk
from interpreter_pool.sandbox.guest.session.family_init import FamilyInit
from interpreter_pool.sandbox.jail.folder import HostFolder
from interpreter_pool.sandbox.jail.pidfd import Pidfd
from interpreter_pool.sandbox.run import files
from interpreter_pool.sandbox.run.capture import Capture
from interpreter_pool.sandbox.run.job import Job
from interpreter_pool.sandbox.run.pair import Pair
from interpreter_pool.sandbox.run.run_jail import Prewarmed
from interpreter_pool.sandbox.run.stop import Stop
from interpreter_pool.sandbox.session.monitor import Monitor
from interpreter_pool.sandbox.session.state import Home
from interpreter_pool.sandbox.session.supervisor import Order

JOB = Job(b"", (), b"input", Limits(), files={"name": b"content"})


def open_now() -> set[int]:
    """Without the one by which this is looked at, which is closed by then."""
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


@contextlib.contextmanager
def room_for(count: int) -> Iterator[None]:
    """So many more descriptors can be had, and no other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = open_now()
    free = [fd for fd in range(len(taken) + count + 1) if fd not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fails_without_leaks(make: Callable[[], Any], most: int = 20) -> int:
    """Make it with room for 0, 1, 2... descriptors until it can be made; return how often not. It
    is closed when there is room again.
    """
    for room in range(most):
        before = open_now()
        try:
            with room_for(room):
                made = make()
            if made is not None:
                made.close()
            return room
        except (OSError, SetupError):
            assert open_now() == before, f"with room for {room}"
    raise AssertionError(f"it can't be made with {most} descriptors")


def prewarmed() -> Prewarmed:
    """Descriptors as a prewarmed process has them; of this process, which must not be harmed."""
    jobs, other = socket.socketpair()
    other.close()
    return Prewarmed(1, jobs, Pidfd.of(os.getpid()))


def test_a_pair_that_can_not_be_had_keeps_nothing():
    """It closes both prewarmed processes, whose it is, and the stream that it had made."""
    before = open_now()
    for room in (0, 1, 2, 3):
        ends = [(SimpleNamespace(), prewarmed(), JOB) for _ in range(2)]
        with room_for(room), pytest.raises(OSError, match="Too many open files"):
            Pair(ends[0], ends[1], Stop())
        assert open_now() == before, f"with room for {room}"


def test_pipes_and_files_of_a_job_that_can_not_be_had_keep_nothing():
    """Its input, its files, and both ends of a pipe."""

    def descriptors() -> None:
        with JOB.descriptors(1, 2):
            pass

    assert fails_without_leaks(lambda: Capture(None)) == 2
    assert fails_without_leaks(descriptors) > 2


def test_a_monitor_and_an_order_that_can_not_be_had_keep_nothing():
    """The thread that attends to families, and a fork that is to be ordered."""
    state = SimpleNamespace()
    assert fails_without_leaks(Monitor) == 2
    assert fails_without_leaks(lambda: Order(state, 0, Home(), Walk(CHECKPOINT))) == 3


def test_a_host_folder_that_can_not_be_had_keeps_nothing(tmp_path, monkeypatch):
    """Neither descriptors nor the folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    HostFolder().close()  # the one of this user, which stays
    assert fails_without_leaks(HostFolder) > 0
    (base,) = tmp_path.iterdir()
    assert list(base.iterdir()) == []


def test_a_lock_that_can_not_be_had_keeps_no_descriptor(tmp_path, monkeypatch):
    """A file system without locks refuses it: the folder is taken away again."""

    def no_locks(fd: int, operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fcntl.flock", no_locks)
    before = open_now()
    with pytest.raises(SetupError, match="no locks available"):
        HostFolder()
    assert open_now() == before
    (base,) = tmp_path.iterdir()
    assert list(base.iterdir()) == []


def test_files_that_can_not_be_collected_keep_nothing(tmp_path):
    """Folders within folders are open at once; where one can't be, all are closed."""
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    patterns = (files.Pattern.parse("**/file"),)
    found = {}

    def collect() -> None:
        files_found, skipped = files.collect(top, patterns, Limits())
        found.update(files_found)
        if skipped:
            raise OSError(str(skipped))

    try:
        assert fails_without_leaks(collect) > 3
    finally:
        os.close(top)
    assert found == {"a/b/c/file": b"x"}


def test_a_family_init_that_can_not_copy_files_keeps_nothing(tmp_path):
    """It lives on, and is asked for more branches: it must not run out of descriptors."""
    (tmp_path / "old").mkdir()
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    family_init = SimpleNamespace(
        _folder=folder, _names=set(), _change_names=lambda change: change()
    )
    before = open_now()
    with room_for(1), pytest.raises(OSError, match="Too many open files"):
        FamilyInit._copy(family_init, "old", "new")
    assert open_now() == before
    os.close(folder)
