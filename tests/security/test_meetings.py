"""Two jails that try to meet: programs that know a common secret, by every way of `meetings.py` (L5)."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from interpreter_pool import Limits, Pool, Result

from .meetings import FILES, MEETINGS, program

SECONDS = min(3.0, max(0.4, float(os.environ.get("POOL_CAMPAIGN_S", "0")) / 20))
"""How long two programs look for each other; in the campaign longer."""

OPEN = {
    tier: {name for name, each in MEETINGS.items() if each.open and tier in each.where}
    for tier in ("namespaces", "landlock")
}

LIMITS = Limits(wall_s=20)

LIBRARY = Path(os.__file__).parent
SHARED = [path.name for path in sorted(LIBRARY.glob("[l-z]*.py"))][: 2 * FILES]
"""Files of the interpreter, which every jail has."""


def two_runs(pool, stack, texts):
    return [pool.submit(text, limits=LIMITS) for text in texts]


def two_runs_with_processes(pool, stack, texts):
    return [pool.submit(text, limits=LIMITS.replace(processes=4)) for text in texts]


def two_runs_of_a_snapshot(pool, stack, texts):
    snapshot = stack.enter_context(pool.snapshot("import ctypes, json"))
    return [snapshot.submit(text, limits=LIMITS) for text in texts]


def two_sessions(pool, stack, texts):
    opened = [stack.enter_context(pool.session(limits=LIMITS)) for _ in texts]
    return [each.submit(text) for each, text in zip(opened, texts, strict=True)]


def two_branches(pool, stack, texts):
    session = stack.enter_context(pool.session(limits=LIMITS))
    session.run("x = 1")
    branches = [stack.enter_context(each) for each in session.fork(2)]
    return [each.submit(text) for each, text in zip(branches, texts, strict=True)]


def a_session_and_its_branch(pool, stack, texts):
    session = stack.enter_context(pool.session(limits=LIMITS))
    session.run("x = 1")
    branch = stack.enter_context(session.fork())
    return [each.submit(text) for each, text in zip((session, branch), texts, strict=True)]


def a_run_and_a_session(pool, stack, texts):
    session = stack.enter_context(pool.session(limits=LIMITS))
    return [pool.submit(texts[0], limits=LIMITS), session.submit(texts[1])]


PAIRS = {
    "two runs": two_runs,
    "two runs of a snapshot": two_runs_of_a_snapshot,
    "two sessions": two_sessions,
    "two branches": two_branches,
    "a session and its branch": a_session_and_its_branch,
    "a run and a session": a_run_and_a_session,
}


def names() -> tuple[str, str]:
    """Names by which two programs know each other, in order."""
    secret = secrets.token_hex(5)
    return f"a{secret}", f"b{secret}"


@pytest.fixture
def unread():
    """Have the files whose reading is looked for unread for long, as they are on a new machine."""
    files = [LIBRARY / name for name in SHARED[4:8]]
    before = [file.stat() for file in files]
    yield lambda: forget(files)
    for file, stat in zip(files, before, strict=True):
        with contextlib.suppress(PermissionError):
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def forget(files: list[Path]) -> None:
    for file in files:
        with contextlib.suppress(PermissionError):
            os.utime(file, ns=(1_000_000_000 * 10**9, file.stat().st_mtime_ns))
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def meet(pool: Pool, pair, unread) -> tuple[set[str], set[str]]:
    """By which ways two programs met that were there at one time, the one's and the other's word."""
    for _ in range(5):
        unread()
        first, second = names()
        ways = list(MEETINGS)
        texts = [
            program(me, other, SHARED, SECONDS, ways)
            for me, other in ((first, second), (second, first))
        ]
        with contextlib.ExitStack() as stack:
            futures: list[Future[Result]] = pair(pool, stack, texts)
            results = [future.result(30) for future in futures]
        assert all(each.ok for each in results), results
        told = [json.loads(each.stdout.splitlines()[-1]) for each in results]
        if min(end for _, end, *_ in told) - max(began for began, *_ in told) > SECONDS / 2:
            return set(told[0][2]), set(told[1][2])
    raise AssertionError("they were never there at one time")


@pytest.mark.parametrize("pair", PAIRS)
def test_l5_two_jails_do_not_meet(pool, unread, pair):
    """L5: runs, sessions and branches that know a common secret find no way to each other but those
    that are written down.
    """
    one, other = meet(pool, PAIRS[pair], unread)
    assert (one | other) - OPEN[pool.tier] == set()


def test_l5_several_processes_do_not_meet_others(tier, pool, unread):
    """L5: nor do runs that may have several processes."""
    if tier == "namespaces":
        one, other = meet(pool, two_runs_with_processes, unread)
        assert (one | other) - OPEN[pool.tier] == set()


@pytest.mark.xfail(strict=True, reason="locks, futexes, and in the landlock tier metadata")
def test_l5_what_is_read_by_all_tells_nothing(pool, unread):
    """L5: nor by what lies in files that all can read."""
    one, other = meet(pool, two_runs, unread)
    assert one | other == set()


def test_l5_outside_they_meet(control, tmp_path):
    """L5: where nothing confines them, the same programs meet by every way, in both directions."""
    first, second = names()
    shared = [str(tmp_path / f"shared-{at}") for at in range(2 * FILES)]
    for path in shared:
        Path(path).write_bytes(b"x" * 4096)
    forget([Path(path) for path in shared])
    pids = tmp_path / "pids"
    pids.write_text("")
    ways = [name for name, each in MEETINGS.items() if not each.no_control]
    children = []
    with (tmp_path / "both").open("w+") as both:
        for number, (me, other) in enumerate(((first, second), (second, first))):
            home = tmp_path / f"scratch-{number}" / "home"
            home.mkdir(parents=True)
            text = program(me, other, shared, max(2.0, SECONDS), ways, pids=str(pids))
            (home / "main.py").write_text(text)
            children.append(
                subprocess.Popen(
                    [sys.executable, "main.py"],
                    cwd=home,
                    stdin=both,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            time.sleep(0.3)  # signals are sent as soon as there are ids: both have to expect them
            pids.write_text(" ".join(str(child.pid) for child in children))
            told = [json.loads(child.communicate(timeout=60)[0]) for child in children]
        finally:
            for child in children:
                child.kill()
                child.communicate()
    for _, _, met, failed in told:
        assert set(ways) - set(met) == set(), {way: failed.get(way) for way in set(ways) - set(met)}
    control()
