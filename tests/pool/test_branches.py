"""Branches of sessions: they go on from one state, and share nothing from then on."""

import os
import threading
import time

import psutil
import pytest
from conftest import TIERS, is_idle, wait_until

from pool import Pool
from sandbox import PolicyError


@pytest.fixture
def branching():
    """A session where there are branches."""
    with Pool(2, tier="namespaces") as pool, pool.session() as session:
        wait_until(lambda: pool.stats().workers_alive == 2)
        yield session


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


def test_branches_go_on_each_on_its_own(branching):
    """Memory and files are as they were, at the same paths, and each branch's own from then on."""
    value(branching, "x = [0]\nopen('f', 'w').write('before')\nimport os\nos.mkdir('d')")
    value(
        branching,
        "open('d/g', 'w').write('deep')\nos.symlink('f', 'link')\nopen('/tmp/t', 'w').write('tmp')\nNone",
    )
    branches = branching.fork(3)
    for number, branch in enumerate(branches):
        code = "x.append({0})\nwas = open('f').read(), open('d/g').read(), open('/tmp/t').read(), os.readlink('link')\nopen('f', 'w').write('{0}')\nopen('/tmp/t', 'w').write('{0}')\nwas"
        assert value(branch, code.format(number)) == "('before', 'deep', 'tmp', 'f')"
    for number, branch in enumerate(branches):
        assert (
            value(branch, "x, open(os.getcwd() + '/f').read(), open('/tmp/t').read()")
            == f"([0, {number}], '{number}', '{number}')"
        )
    assert value(branching, "x, open('f').read()") == "([0], 'before')"
    for branch in branches:
        branch.close()


def test_branches_of_branches(branching):
    """A tree, several deep; a parent that is closed leaves its children alone."""
    sessions = [branching]
    for depth in range(5):
        value(sessions[-1], f"depth = {depth}\nopen('f', 'w').write('{depth}')\nNone")
        sessions.append(sessions[-1].fork())
    sessions[2].close()
    assert value(sessions[-1], "depth, open('f').read()") == "(4, '4')"
    assert value(sessions[1], "depth, open('f').read()") == "(1, '1')"
    for session in sessions[1:]:
        session.close()


def test_branches_have_their_own_randomness(branching):
    """Forked from one state, they draw different numbers."""
    value(branching, "import random\nrandom.seed(1)")
    branches = branching.fork(4)
    assert len({value(branch, "random.random()") for branch in branches}) == 4
    for branch in branches:
        branch.close()


def test_branches_run_at_the_same_time(branching):
    """Two branches on two workers take the time of one."""
    branches = branching.fork(2)
    began = time.monotonic()
    threads = [
        threading.Thread(target=branch.run, args=("import time; time.sleep(1)",))
        for branch in branches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 1.9
    for branch in branches:
        branch.close()


@pytest.mark.parametrize(
    "code, words",
    [
        ("f = open('a', 'w')", "descriptor"),
        ("import socket; a, b = socket.socketpair()", "descriptor"),
        ("import os; pipe = os.pipe()", "descriptor"),
        ("import mmap; m = mmap.mmap(-1, 4096)", "shared memory"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(9,)).start()",
            "threads",
        ),
    ],
)
def test_states_that_cant_be_forked_faithfully_are_refused(branching, code, words):
    """S2: what a branch would share is named; the session goes on."""
    value(branching, "x = 1")
    value(branching, code)
    with pytest.raises(PolicyError, match=words):
        branching.fork(2)
    branching.rollback()
    assert value(branching, "x") == "1"


def test_branches_do_not_reach_each_other(branching):
    """S1: no signal, limit, priority, affinity, memory or file of another branch, by any id."""
    value(branching, "import os, resource, json")
    one, other = branching.fork(2)
    value(other, "secret = 'other'\nopen('secret', 'w').write('other')\nNone")
    code = """
got = []
for pid in range(1, 400):
    if pid == os.getpid(): continue
    for name, step in {
        "signal": lambda: os.kill(pid, 0),
        "limit": lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE),
        "affinity": lambda: os.sched_getaffinity(pid),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 5),
        "memory": lambda: open(f"/proc/{pid}/mem"),
        "files": lambda: os.listdir(f"/proc/{pid}/cwd/"),
        "root": lambda: os.listdir(f"/proc/{pid}/root/"),
        "descriptors": lambda: os.listdir(f"/proc/{pid}/fd"),
    }.items():
        try: step()
        except OSError: continue
        got.append((name, pid))
got
"""
    assert value(one, code) == "[]"
    assert value(one, "os.path.exists('secret')") == "False"
    assert value(other, "secret, open('secret').read()") == "('other', 'other')"
    for branch in (one, other):
        branch.close()


def test_a_branch_has_no_powers(branching):
    """Its user namespace gives it none that it keeps: capabilities are empty, mounts refused."""
    branch = branching.fork()
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "caps = {l.split()[0]: int(l.split()[1], 16) for l in open('/proc/self/status') if l[:3] == 'Cap'}\n"
        "calls = [libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.unshare(0x20000), libc.umount2(b'/scratch/run', 2), libc.chroot(b'.')]\n"
        "[caps[n] for n in ('CapInh:', 'CapPrm:', 'CapEff:', 'CapAmb:')], calls"
    )
    assert value(branch, code) == "([0, 0, 0, 0], [-1, -1, -1, -1])"
    branch.close()


def test_branches_are_refused_where_there_are_none():
    """The landlock tier says so, and the session goes on."""
    with Pool(1, tier="landlock") as pool, pool.session() as session:
        with pytest.raises(PolicyError, match="landlock"):
            session.fork(2)
        assert value(session, "1") == "1"


@pytest.mark.parametrize("n", [0, -1, 1001, "x", 1.5, True])
def test_numbers_of_branches_that_make_no_sense_are_refused(branching, n):
    """The error names n."""
    with pytest.raises((ValueError, TypeError), match="n="[:1]):
        branching.fork(n)


@pytest.mark.parametrize("tier", TIERS)
def test_nothing_is_left_of_many_sessions(tier):
    """Processes, descriptors, folders: as before, whatever was done with them."""
    with Pool(1, tier=tier) as pool:
        with pool.session() as session:
            value(session, "1")
        wait_until(lambda: is_idle(pool))
        before = len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))
        for number in range(10):
            session = pool.session()
            session.run("x = 1; open('a', 'w').write('x')")
            if number % 2:
                session.run("import os; os.abort()")
            if tier == "namespaces":
                for branch in session.fork(2):
                    branch.run("1")
                    branch.close()
            session.close()

        def flat() -> bool:
            now = len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))
            return now == before

        wait_until(flat)
