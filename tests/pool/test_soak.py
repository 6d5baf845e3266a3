"""The soak: a hundred thousand runs, attacks among them, sessions and snapshots beside them, while
processes are killed. Every outcome is right, and nothing grows.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import psutil
import pytest
from conftest import TIERS, grown, is_idle, possessions, wait_until
from test_endurance import is_of_ours

from interpreter_pool import Limits, Pool, PoolError, Result, SandboxError

RUNS = 100_000
IN_FLIGHT = 8
WARM_RUNS = 500
ATTACKS_SHARE = 0.05
PAUSE_S, KILL_EVERY_S = 0.3, 4.0
MAX_GROWTH_BYTES = 48 << 20
"""Of the host process, whatever the number of runs: a leak of 1 KiB a run would be twice that."""

SMALL = Limits(wall_s=10, memory_bytes=64 << 20, output_bytes=64 << 10, disk_bytes=4 << 20)

ATTACKS: list[tuple[str, Limits, set[str]]] = [
    # program, limits, how it may end
    ("held = []\nwhile True: held.append(bytearray(1 << 20))", SMALL, {"memory"}),
    ("while True: print('x' * 9999)", SMALL, {"output"}),
    ("while True: pass", SMALL.replace(wall_s=0.1), {"wall_timeout"}),
    ("while True: pass", SMALL.replace(cpu_s=0.05), {"cpu_timeout"}),
    ("import os; os.abort()", SMALL, {"signal"}),
    ("import ctypes; ctypes.string_at(0)", SMALL, {"signal"}),
    ("import os; os.fork()", SMALL, {"exception"}),
    ("import socket; socket.socket()", SMALL, {"exception"}),
    ("import os; os.kill(os.getppid(), 9)", SMALL, {"ok", "exception"}),
    (
        "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\nopen('left', 'w').write('x')",
        SMALL,
        {"ok"},
    ),
    (
        "import os\nfor n in range(9): os.makedirs(f'{n}/' * 20)\nos.chmod('0', 0)",
        SMALL,
        {"ok", "exception"},
    ),
    (
        "import threading, time\n"
        "for _ in range(500): threading.Thread(target=time.sleep, args=(1,)).start()",
        SMALL.replace(threads=8, wall_s=1),
        {"exception", "denied", "wall_timeout"},
    ),
    ("import sys, os\nprint('---END---'); sys.stdout.flush(); os._exit(3)", SMALL, {"exit"}),
    (
        "import os\nfor fd in range(3, 1024):\n    try: os.close(fd)\n    except OSError: pass",
        SMALL,
        {"ok"},
    ),
]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_nothing_grows_and_every_outcome_is_right(tier, request, capsys):
    """100,000 runs or half of --minutes in each tier, whichever is first; the counts are printed."""
    deadline = time.monotonic() + request.config.getoption("--minutes") * 60 / len(TIERS)
    spared = {each.pid for each in psutil.Process().children(recursive=True)}  # other pools'
    with Pool(2, tier=tier, max_sessions=8) as pool:
        drive(pool, WARM_RUNS, deadline)
        use_sessions(pool, Counter())
        use_snapshots(pool, Counter())
        wait_until(lambda: is_idle(pool))
        before, resident = possessions(), psutil.Process().memory_info().rss
        counts: Counter = Counter()
        done = threading.Event()
        beside = [
            threading.Thread(target=again, args=(use_sessions, pool, counts, done)),
            threading.Thread(target=again, args=(use_snapshots, pool, counts, done)),
            threading.Thread(target=kill_now_and_then, args=(done, spared, counts)),
        ]
        for thread in beside:
            thread.start()
        try:
            wrong = drive(pool, RUNS, deadline, counts)
        finally:
            done.set()
            for thread in beside:
                thread.join(60)
        assert not any(thread.is_alive() for thread in beside)
        assert wrong == []
        assert counts["sessions wrong"] == counts["snapshots wrong"] == 0, counts
        wait_until(lambda: is_idle(pool))
        use_sessions(pool, Counter())  # the jail of sessions is there, as it was before
        growth = psutil.Process().memory_info().rss - resident
        with capsys.disabled():
            told = {"tier": tier, "grown_bytes": growth, **dict(sorted(counts.items()))}
            print("\nsoak:", json.dumps(told))
        deadline = time.monotonic() + 20
        while grown(before) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert grown(before) == {}
        assert growth < MAX_GROWTH_BYTES
        assert counts["runs"] > 0 and counts["sessions"] > 0 and counts["snapshots"] > 0


def drive(pool: Pool, runs: int, deadline: float, counts: Counter | None = None) -> list[object]:
    """Keep `IN_FLIGHT` runs in the pool until all are done or time is over; return what was wrong."""
    chance = random.Random(2)
    counts = Counter() if counts is None else counts
    wrong: list[object] = []
    flying: deque = deque()
    number = 0
    while flying or (number < runs and time.monotonic() < deadline):
        if number < runs and len(flying) < IN_FLIGHT and time.monotonic() < deadline:
            flying.append(submit(pool, number, chance))
            number += 1
            continue
        is_right, future = flying.popleft()
        result = future.result(timeout=120)
        counts["runs"] += 1
        counts[f"runs {result.reason}"] += 1
        if not is_right(result):
            wrong.append(result)
    return wrong


def submit(
    pool: Pool, number: int, chance: random.Random
) -> tuple[Callable[[Result], bool], object]:
    if chance.random() > ATTACKS_SHARE:
        expected = f"{number * 7}\n"
        future = pool.submit(f"print({number} * 7)", timeout=60)
        return lambda result: result.ok and result.stdout == expected, future
    code, limits, ends = chance.choice(ATTACKS)
    # One that is lost twice with its jail, which somebody kills meanwhile, is charged with it.
    return lambda result: str(result.reason) in {*ends, "denied"}, pool.submit(code, limits=limits)


def again(
    use: Callable[[Pool, Counter], None], pool: Pool, counts: Counter, done: threading.Event
) -> None:
    while not done.is_set():
        use(pool, counts)
        done.wait(PAUSE_S)


def use_sessions(pool: Pool, counts: Counter) -> None:
    """One session's life: calls, one that is ended, branches, a rollback. It may be killed."""
    try:
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(pool.session())
            session.run("x = [1]\nopen('f', 'w').write('x')\nNone")
            session.run("x.append(2)")
            session.run("x.append(3)\nimport os; os.abort()")
            branches = [opened.enter_context(branch) for branch in session.fork(2)]
            for branch in branches:
                branch.run("x.append(4)")
            values = [branch.run("x").value for branch in branches]
            session.rollback()
            values.append(session.run("x").value)
        right = values == ["[1, 2, 4]", "[1, 2, 4]", "[1]"]
        counts["sessions" if right else "sessions wrong"] += 1
    except (SandboxError, PoolError):
        counts["sessions lost"] += 1


def use_snapshots(pool: Pool, counts: Counter) -> None:
    try:
        with pool.snapshot(
            "table = [1]\ndef grow(): table.append(1); return len(table)"
        ) as snapshot:
            values = [snapshot.call("grow") for _ in range(5)]
        counts["snapshots" if values == [2] * 5 else "snapshots wrong"] += 1
    except (SandboxError, PoolError):
        counts["snapshots lost"] += 1


def kill_now_and_then(done: threading.Event, spared: set[int], counts: Counter) -> None:
    """Kill or stop a process that is not a run: launchers, zygotes, and all of sessions'."""
    chance = random.Random(3)
    while not done.wait(KILL_EVERY_S):
        ours = [
            each for each in psutil.Process().children(recursive=True) if each.pid not in spared
        ]
        victims = [each for each in ours if is_of_ours(each)]
        if victims:
            try:
                os.kill(chance.choice(victims).pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            counts["kills"] += 1
