"""Branches of sessions: they go on from one state, and share nothing from then on."""

import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from conftest import NAP, is_idle, overlapped, wait_until

from interpreter_pool import PolicyError, Pool


@pytest.fixture
def branching(pool):
    """A session to be branched."""
    with pool.session() as session:
        yield session


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


def test_branches_go_on_each_on_its_own(branching):
    """Memory and files are as they were, and each branch's own from then on."""
    value(branching, "x = [0]\nopen('f', 'w').write('before')\nimport os\nos.mkdir('d')")
    value(
        branching,
        "open('d/g', 'w').write('deep')\nos.symlink('f', 'link')\ntmp = os.environ['TMPDIR'] + '/t'\nopen(tmp, 'w').write('tmp')\nNone",
    )
    branches = branching.fork(3)
    for number, branch in enumerate(branches):
        code = "x.append({0})\ntmp = os.environ['TMPDIR'] + '/t'\nwas = open('f').read(), open('d/g').read(), open(tmp).read(), os.readlink('link')\nopen('f', 'w').write('{0}')\nopen(tmp, 'w').write('{0}')\nwas"
        assert value(branch, code.format(number)) == "('before', 'deep', 'tmp', 'f')"
    for number, branch in enumerate(branches):
        assert (
            value(branch, "x, open(os.getcwd() + '/f').read(), open(tmp).read()")
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


def place_of(session):
    """Where a session's files are on the host; None where no folder holds them."""
    return session.held.head.home.path


def is_empty(place):
    return place is None or not os.path.exists(place) or not os.listdir(place)


def test_a_branchs_files_go_when_it_is_closed(pool, tmp_path):
    """And not only with the family, which may live on: whichever is closed first. Those of others,
    and what its links lead to, stay.
    """
    (tmp_path / "kept").write_text("kept")
    with pool.session() as session:
        value(
            session, f"open('f', 'w').write('f')\nimport os\nos.symlink({str(tmp_path)!r}, 'out')"
        )
        for _ in range(3):
            with session.fork() as branch:
                value(branch, "os.makedirs('d/e')\nopen('d/e/g', 'w').write('g')\nos.chmod('d', 0)")
                place = place_of(branch)
                assert pool.tier == "namespaces" or not is_empty(place)
            assert is_empty(place)
        other = session.fork()
        place = place_of(session)
        assert value(session, "open('f').read()") == "'f'"
    with other:
        assert is_empty(place)
        assert value(other, "open('f').read()") == "'f'"
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_branch_that_ends_itself_leaves_the_files_that_were_asked_for(pool):
    """They go when they have been collected."""
    with pool.session(rollback=False) as session, session.fork() as branch:
        place = place_of(branch)
        code = "import os\nopen('f', 'w').write('f')\nos.kill(os.getpid(), 9)"
        result = branch.run(code, collect=["f"])
        assert (result.reason, result.files) == ("signal", {"f": b"f"})
        assert is_empty(place)


def test_branches_have_their_own_randomness(branching):
    """Forked from one state, they draw different numbers."""
    value(branching, "import random\nrandom.seed(1)")
    branches = branching.fork(4)
    assert len({value(branch, "random.random()") for branch in branches}) == 4
    for branch in branches:
        branch.close()


def test_branches_run_at_the_same_time(branching):
    """Two branches on two workers don't wait for each other."""
    branches = branching.fork(2)
    with ThreadPoolExecutor(2) as threads:
        assert overlapped(*threads.map(lambda branch: branch.run(NAP).stdout, branches))
    for branch in branches:
        branch.close()


@pytest.mark.parametrize(
    "code, words",
    [
        ("f = open('a', 'w')", "descriptor"),
        ("import socket; a, b = socket.socketpair()", "descriptor"),
        ("import os; pipe = os.pipe()", "descriptor"),
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


def test_a_map_of_no_file_is_each_ones_own(branching):
    """S2: Python asks for shared memory there; in a session it is private, and a fork copies it."""
    value(branching, "import mmap\nm = mmap.mmap(-1, 4096)\nm[:5] = b'first'\nNone")
    with branching.fork() as branch:
        assert value(branch, "m[:5]") == "b'first'"
        value(branch, "m[:5] = b'other'\nNone")
        assert value(branching, "m[:5]") == "b'first'"
        value(branching, "m[:5] = b'third'\nNone")
        branching.rollback(1)
        assert value(branching, "m[:5]") == "b'first'"
        assert value(branch, "m[:5]") == "b'other'"


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
        "head, caps = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "asked = libc.capget(head, caps)\n"
        "calls = [libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.unshare(0x20000), libc.umount2(b'/scratch/run', 2), libc.chroot(b'.')]\n"
        "asked, list(caps), calls"
    )
    assert value(branch, code) == "(0, [0, 0, 0, 0, 0, 0], [-1, -1, -1, -1])"
    branch.close()


def test_a_branch_finds_nobody_elses_files(branching):
    """S1: not by the place where its forerunner's were, nor by listing, nor by the other's cwd."""
    value(branching, "import os\nhome = os.getcwd()\nopen('f', 'w').write('old')\nNone")
    one, other = branching.fork(2)
    value(branching, "open('f', 'w').write('new')\nNone")
    value(other, "open('f', 'w').write('other')\nNone")
    code = """
found = []
def look(step):
    try: found.append(step())
    except OSError: pass
look(lambda: open(home + "/f").read())
look(lambda: os.listdir(os.path.dirname(os.path.dirname(home))))
for folder in ("..", "../..", "../../.."):
    for name in ("f", "home/f"): look(lambda: open(f"{folder}/{name}").read())
for pid in range(1, 400):
    if pid != os.getpid(): look(lambda: os.readlink(f"/proc/{pid}/cwd"))
[each for each in found if each not in ("old", ["home", "shm", "tmp"], ["run"])]
"""
    for branch in (one, other, branching):
        value(branch, code)
    assert value(one, code) == "[]", value(one, "found")
    for branch in (one, other):
        branch.close()


def test_names_of_places_stay_true_where_files_have_moved(branching):
    """TMPDIR, HOME, sys.path, tempfile, and the working directory below home."""
    value(
        branching, "import os, tempfile, sys\nos.mkdir('d'); os.chdir('d')\ntempfile.gettempdir()"
    )
    branch = branching.fork()
    for session in (branching, branch):
        code = (
            "open('here', 'w').write('x')\nhome = os.environ['HOME']\n"
            "name = tempfile.NamedTemporaryFile(delete=False).name\n"
            "os.path.exists(home + '/d/here'), home in sys.path, os.path.exists(name), "
            "name.startswith(os.environ['TMPDIR'])"
        )
        assert value(session, code) == "(True, True, True, True)"
    branch.close()


@pytest.mark.parametrize("n", [0, -1, 1001, "x", 1.5, True])
def test_numbers_of_branches_that_make_no_sense_are_refused(branching, n):
    """The error names n."""
    with pytest.raises((ValueError, TypeError), match="n="[:1]):
        branching.fork(n)


@pytest.mark.slow
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
            for branch in session.fork(2):
                branch.run("1")
                branch.close()
            session.close()

        def flat() -> bool:
            now = len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))
            # Fewer, where something of an earlier test had still to go when they were counted.
            return all(left <= was for left, was in zip(now, before, strict=True))

        wait_until(flat)
