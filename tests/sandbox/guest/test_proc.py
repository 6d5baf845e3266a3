"""`guest.jail.proc`: names that a process gives itself change nothing that is read of it."""

import ctypes
import os
import subprocess
import sys
import threading

import pytest

from interpreter_pool.sandbox.guest.jail import proc

NAMED = """
import ctypes, sys, threading, time
name = sys.argv[1].encode("latin-1")
def call_itself():
    ctypes.CDLL(None).prctl(15, ctypes.create_string_buffer(name), 0, 0, 0)
def wait():
    call_itself()
    ready.release()
    time.sleep(100)
ready = threading.Semaphore(0)
call_itself()
for _ in range(4):
    threading.Thread(target=wait, daemon=True).start()
    ready.acquire()
held = bytearray(b"x" * (30 << 20))
print(flush=True)
if len(sys.argv) > 2:
    ctypes.CDLL(None).pthread_exit(0)
sys.stdin.read()
"""

NAMES = [
    "Threads:\t1",
    "\rThreads:\t1",
    "\nThreads:\t1",
    "x\nState:\tT",
    ") T 1 1 1 1 1",
    ")" + " " * 14,
    "a) (b",
    "\x85Threads:\t1",  # a line's end to some, in Latin-1
    "\xff\xfe",
    "Tgid:\t1\rPPid:\t1",
]


@pytest.fixture(params=NAMES)
def named(request):
    """A process with that name, and four threads that have it too."""
    yield from started(request.param)


def started(*arguments: str):
    command = [sys.executable, "-c", NAMED, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_numbers_are_read_behind_any_name(named):
    """Threads, parent, session, state and memory of a process are what they are."""
    found = proc.stat(named.pid)
    assert (found.threads, found.parent, found.session) == (5, os.getpid(), os.getsid(0))
    assert proc.threads(named.pid) == 5
    assert found.state in ("S", "R") and found.lives
    assert found.resident_bytes == proc.resident_bytes(named.pid) > 30 << 20
    assert named.pid in proc.descendants(os.getpid())
    assert named.pid in proc.children(os.getpid(), threading.get_native_id())
    fields = proc.status(named.pid)
    assert (int(fields[b"Threads"]), int(fields[b"Tgid"])) == (5, named.pid)
    assert int(fields[b"PPid"]) == os.getpid() and b"Name" not in fields


@pytest.mark.parametrize("name", [")" + " " * 14, ") x x x x x x x"])
def test_memory_is_read_where_the_main_thread_has_ended(name):
    """As the kernel then shows none for the process, it is a thread's."""
    for process in started(name, "ends"):
        while proc.stat(process.pid).lives:
            threading.Event().wait(0.01)
        assert proc.stat(process.pid).resident_bytes == 0
        assert proc.resident_bytes(process.pid) > 30 << 20


def test_a_process_that_is_gone_has_nothing():
    """It is told from one that has numbers."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert proc.stat(process.pid) is None and proc.threads(process.pid) == 0
    assert (proc.resident_bytes(process.pid), proc.status(process.pid)) == (0, {})
    assert proc.descendants(process.pid) == []
    with pytest.raises(OSError):
        proc.children(process.pid)


def test_lines_end_where_the_kernel_ends_them(tmp_path):
    """A mapped file's name with a carriage return in it makes no second line of the maps."""
    path = tmp_path / "a\r7f0000000000-7f0000001000 rw-s 00000000 00:00 0 b\n"
    path.write_bytes(b"x" * 4096)
    with path.open("rb") as file:
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        start = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, file.fileno(), ctypes.c_long(0))
        found = [line for line in proc.lines(os.getpid(), "maps") if os.fsencode(tmp_path) in line]
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(4096))
    assert len(found) == 1 and b"\r7f00" in found[0]
    assert all(b"-" in line.split()[0] for line in proc.lines(os.getpid(), "maps"))


def test_of_two_fields_the_first_counts():
    """The kernel's own stand before whatever follows."""
    assert proc._fields([b"pos:\t5", b"x", b"pos:\t6", b"inotify wd:1 pos:7"])[b"pos"] == b"5"
    fd = os.open("/proc/self/stat", os.O_RDONLY)
    try:
        os.read(fd, 7)
        fields = proc.descriptor("self", fd)
        assert (int(fields[b"pos"]), int(fields[b"ino"])) == (7, os.fstat(fd).st_ino)
    finally:
        os.close(fd)
