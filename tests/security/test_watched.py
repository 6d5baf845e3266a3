"""What is only looked at: a program can't shape what is seen of it, nor be over before it is seen."""

import contextlib
import json
import os

import pytest

from interpreter_pool import Limits, PolicyError, SessionLost
from interpreter_pool.sandbox.guest.jail import proc

NAME = """
import ctypes, json, sys, threading
libc = ctypes.CDLL(None)
def call_itself(name):
    libc.prctl(15, ctypes.create_string_buffer(name.encode()), 0, 0, 0)
"""

NAMED_BOMB = (
    NAME
    + """
call_itself(sys.argv[1] if len(sys.argv) > 1 else "Threads:\\t1")
threading.stack_size(64 << 10)
wait = threading.Event()
started = 0
try:
    while started < 100:
        threading.Thread(target=wait.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
"""
)

NAMES = ["Threads:\t1", "\rThreads:\t1", ")" + " " * 14]


def test_r10_a_name_is_no_count_in_sessions(pool):
    """R10: a session's threads are counted where no name reaches, whatever it calls itself."""
    for name in NAMES:
        with pool.session(limits=Limits(threads=16)) as session:
            session.run("x = 5")
            result = session.run(f"import sys; sys.argv = ['', {name!r}]\n{NAMED_BOMB}")
            assert (result.reason, result.rolled_back) == ("denied", 1), (name, result)
            assert session.run("x").value == "5"


def test_r10_a_name_is_no_count(attack, outside, monkeypatch):
    """R10: nor in a run, where no id of its own and no cgroup bounds its threads."""
    count = NAMED_BOMB + "import time; time.sleep(0.3); print(json.dumps(started))"
    for name in NAMES:
        result = attack(count, limits=Limits(threads=16), args=[name])
        assert result.reason == "denied" or json.loads(result.stdout) < 16, (name, result)
    assert outside.report(count, args=("Threads:\t1",)) == 100


NAMED_FORK = NAME + "call_itself('\\rThreads:\\tx')"


def test_r10_a_name_does_not_end_a_family_at_a_branch(pool, control):
    """R10: a session that names itself after a field can be branched, and its branches live on."""
    with pool.session() as session:
        session.run("x = 5")
        with session.fork() as other:
            session.run(NAMED_FORK)
            with session.fork() as branch:
                assert branch.run("x").value == "5"
            assert other.run("x").value == "5"
    control()  # by the name: a reader of lines is misled, as the next test shows


def test_r10_the_names_mislead_who_reads_lines(outside):
    """R10: read as lines of text, one of these names says that there is one thread."""
    code = NAME + (
        "call_itself('\\rThreads:\\t1\\n')\n"
        "threads = [line for line in open('/proc/self/status') if line.startswith('Threads')]\n"
        "print(json.dumps(len(threads)))"
    )
    assert outside.report(code) == 2
    assert len([f for f in proc.status(os.getpid()) if f == b"Threads"]) == 1


SMALL = Limits(memory_bytes=1 << 30, disk_bytes=4 << 20, files=100, threads=16)

FILES = {
    "bytes": "for n in range(16): open(str(n), 'wb').write(bytes(1 << 20))",
    "one": "open('large', 'wb').write(bytes(1 << 20)); __import__('os').truncate('large', 0)\n"
    "for n in range(8): open(f'large-{n}', 'wb').write(bytes(1 << 20))",
    "many": "for n in range(400): open(str(n), 'w').close()",
    "folders": "import os\nfor n in range(400): os.mkdir(str(n))",
    "unreadable": "import os\nos.mkdir('in', 0)\nfor n in range(400): os.mkdir(str(n), 0)",
    "and is gone": "import os\nfor n in range(16): open(str(n), 'wb').write(bytes(1 << 20))\n"
    "os.kill(os.getpid(), 9)",
    "grown": "for n in range(16): open('../tmp/kept', 'ab').write(bytes(1 << 18))\n"
    "for n in range(16): open(str(n), 'wb').write(bytes(1 << 18))",
    "ends in a second thread": "import threading\ndef fill():\n"
    "    for n in range(16): open(str(n), 'wb').write(bytes(1 << 20))\n"
    "thread = threading.Thread(target=fill); thread.start(); thread.join()\n1 / 0",
}


@pytest.mark.parametrize("what", FILES)
def test_r11_what_a_sessions_call_writes_is_within_its_limits_afterwards(pool, control, what):
    """R11: also where the call is over before anybody has looked; what was there before stays."""
    with pool.session(limits=SMALL) as session:
        session.run("import time; open('kept', 'w').write('kept'); time.sleep(0.05)")
        for _ in range(2):
            result = session.run(FILES[what])
            assert result.reason in ("denied", "exception", "signal"), result
            assert held_bytes(session) <= (SMALL.disk_bytes + (64 << 10))
            assert session.run("open('kept').read()").value == "'kept'"
        if pool.tier == "landlock":  # elsewhere what was written until there was no room stays
            assert session.run("open('new', 'w').write('x' * 1000)").value == "1000"
    control()  # `held_bytes` sees what there is: `test_r11_a_session_may_fill_its_disk`


DEEP = """
import os
for _ in range(300):
    os.mkdir("d"); os.chdir("d")
"""


def test_r11_what_can_t_be_brought_back_ends_the_session(pool, control):
    """R11: folders too deep to be looked into; and it is said, of the program, not of us."""
    with pool.session(limits=SMALL) as session:
        session.run("x = 5")
        result = session.run(DEEP)
        if pool.tier == "landlock":
            assert (result.reason, result.infra_error) == ("denied", False), result
            assert "the session is lost" in result.detail and "deeper" in result.detail, result
            with pytest.raises(SessionLost, match="deeper") as lost:
                session.run("x")
            assert lost.value.by_program
            session.reset()
        else:
            assert result.reason == "exception", result  # no inodes are left
        assert session.run("1").value == "1"
    with pool.session(limits=SMALL.replace(files=1000)) as session:
        assert session.run(DEEP.replace("300", "50")).ok
    control()


def test_r11_a_session_may_fill_its_disk(pool):
    """R11: calls that keep to the limits are made, a hundred times; and what is removed is free."""
    with pool.session(limits=SMALL) as session:
        for n in range(100):
            result = session.run(f"open('{n % 7}', 'wb').write(bytes({n % 5} << 16))")
            assert result.ok, result
        assert session.run("open('large', 'wb').write(bytes(2 << 20))").ok
        assert held_bytes(session) > 2 << 20


def held_bytes(session) -> int:
    """What lies in a session's folders, as the session itself sees it."""
    code = (
        "import os\n"
        "sum(os.lstat(os.path.join(top, name)).st_blocks * 512\n"
        "    for top, _, names in os.walk('..') for name in names)"
    )
    result = session.run(code)
    assert result.ok, result
    return int(result.value)


PARKED_THREADS = """
import threading
threading.stack_size(32 << 10)
kept = threading.Event()
for _ in range(60): threading.Thread(target=kept.wait, daemon=True).start()
"""


@pytest.mark.parametrize("rollback", [True, False])
def test_r11_a_session_that_keeps_threads_is_looked_at(pool, control, rollback):
    """R11: more threads than it may have end a call that is over in milliseconds, too."""
    with pool.session(limits=SMALL, rollback=rollback) as session:
        session.run("x = 5")
        result = session.run(PARKED_THREADS)
        assert (result.reason, "threads" in result.detail) == ("denied", True), result
        with contextlib.suppress(SessionLost):
            assert session.run("x").value == "5" and rollback
    with pool.session(limits=SMALL.replace(threads=64)) as session:
        assert session.run(PARKED_THREADS).ok
    control()


SEES_THE_CACHE = """
import ctypes, json, os, sys
seen = []
file = os.open(os.__file__, os.O_RDONLY)
for flags in (8, 8 | 1):  # RWF_NOWAIT
    try:
        os.preadv(file, [bytearray(16)], 0, flags)
        seen.append(f"preadv2 {flags}")
    except BlockingIOError:
        seen.append(f"preadv2 {flags}")
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
start = libc.mmap(None, 4096, 1, 2, file, 0)
found = ctypes.create_string_buffer(8)
if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(4096), found) == 0:
    seen.append("mincore")
span = (ctypes.c_uint64 * 2)(0, 4096)
if libc.syscall(451, file, span, (ctypes.c_uint64 * 5)(), 0) == 0:
    seen.append("cachestat")
plain = os.preadv(file, [bytearray(16)], 0, 0)
print(json.dumps([seen, plain]))
"""


def test_k11_what_the_page_cache_holds_is_not_told(attack, outside):
    """K11: whether others have read a file is asked for in vain; reading goes on as ever."""
    assert attack.report(SEES_THE_CACHE) == [[], 16]
    assert "mincore" in outside.report(SEES_THE_CACHE)[0]


NAMELESS = """
import json, os, sys, tempfile
held = 0
kept = []
for n in range(int(sys.argv[1])):
    file = os.open("file", os.O_RDWR | os.O_CREAT)
    os.unlink("file")
    try:
        os.posix_fallocate(file, 0, 1) if n % 2 else os.truncate(file, 1)
        os.pwrite(file, b"x", 0)
    except OSError:
        pass
    kept.append(file)
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 5000)
    file.seek(0)
    read = len(file.read())
libc = __import__("ctypes").CDLL(None, use_errno=True)
large = os.open("large", os.O_RDWR | os.O_CREAT)
fallocated = libc.fallocate(large, 0, __import__("ctypes").c_long(0), __import__("ctypes").c_long(1 << 22)) == 0
print(json.dumps([read, fallocated, os.fstat(large).st_blocks * 512 >= 1 << 22]))
"""


def test_r3_disk_is_not_taken_without_a_write(attack, outside):
    """R3: where files are watched, none is given blocks by fallocate(2), of which 40 GB/s could be
    taken; libraries that ask for it fall back. Files without a name go on working.
    """
    read, fallocated, _ = attack.report(NAMELESS, args=["20"])
    assert (read, fallocated) == (5000, attack.pool.tier == "namespaces")
    assert outside.report(NAMELESS, args=("20",)) == [5000, True, True]


def test_r3_posix_fallocate_reserves_by_writing(attack, outside):
    """R3: libc writes to each block where it may not ask for them: slower, and counted."""
    code = (
        "import json, os\nfile = os.open('file', os.O_RDWR | os.O_CREAT)\n"
        "os.posix_fallocate(file, 0, 1 << 20)\nprint(json.dumps(os.fstat(file).st_blocks * 512))"
    )
    assert attack.report(code) >= 1 << 20
    assert outside.report(code) >= 1 << 20


LOOKED_AT = """
import gc, os, threading
head = next(each for each in gc.get_objects() if type(each).__name__ == "Head")
inner = type(head)._settle.__globals__
open("channel", "w").write("forerunner's")
old, found, real = os.getcwd(), [], os.chdir
"""

MOVES = {
    "goes back when it has been looked at": """
def seeders():
    try:
        found.append(os.open(old + "/channel", os.O_RDWR))
        real(old)
    except OSError:
        pass
    return []
inner["program"].seeders = seeders
""",
    "stands in a folder that has the right name": """
def chdir(path):
    os.mkdir(path.split("/")[-2])
    real(path.split("/")[-2])
os.chdir = chdir
""",
    "holds one thing while another is looked at": """
def expect(self, walk, word):
    # Anew and anew: in its own files with the old folder open, and in that with nothing open.
    back = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
    own = os.getcwd()
    self._jobs.setblocking(False)
    while True:
        os.fchdir(back)
        os.close(back)
        try:
            header = self._jobs.recv(9)
            break
        except BlockingIOError:
            back = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            real(own)
    found.append(os.getcwd())
    self._jobs.setblocking(True)
    walk.take(inner["STOP"])
    walk.take(inner["WAKE"])
    walk.take(word)
    return b"", []
plain = type(head)._expect
def choose(self, walk, word):
    return (expect if word == inner["GO"] else plain)(self, walk, word)
type(head)._expect = choose
""",
}


@pytest.mark.parametrize("how", MOVES)
def test_s2_a_branch_that_keeps_moving_does_not_keep_its_forerunners_files(pool, control, how):
    """S2: it is stopped while it is looked at, and what it was forked with then has another name."""
    with pool.session() as session:
        session.run("x = 5")
        assert session.run(LOOKED_AT + MOVES[how] + "\nNone").ok
        try:
            branch = session.fork()
        except (PolicyError, SessionLost):
            branch = None
        if branch is not None:
            with branch:
                branch.run("for fd in found:\n if isinstance(fd, int): os.pwrite(fd, b'BRANCH', 0)")
                branch.run("open('mark', 'w').close(); open('channel', 'r+').write('BRANCH')")
        names = session.run("sorted(name for _, _, names in os.walk('.') for name in names)")
        assert names.value == "['channel']"
        assert session.run("open('channel').read()").value == '"forerunner\'s"'
        assert session.run("x").value == "5"
    control()  # by hand: without the stop and the name, it writes there
