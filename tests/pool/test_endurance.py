"""A pool that lives long, on a bad host: nothing is lost, nothing grows."""

import contextlib
import os
import random
import signal
from collections import Counter, deque
from collections.abc import Callable

import psutil
import pytest
from conftest import grown, is_idle, possessions, wait_until

from interpreter_pool import Pool

RUNS = {"namespaces": 4_000, "landlock": 2_000}
KILLS = 12
IN_FLIGHT = 16
MAX_GROWTH_BYTES = 16 << 20
"""Of the host process. Python's own allocator moves by a few MiB; a leak of 2 KiB a run shows."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thousands_of_runs_while_workers_are_killed(tier):
    """Every run has one right result, and the host is as it was, whoever is killed meanwhile."""
    spared = {each.pid for each in psutil.Process().children(recursive=True)}  # other pools'
    with Pool(2, tier=tier) as pool:
        drive(pool, 500)  # until allocators and caches have what they need
        wait_until(lambda: is_idle(pool))
        before, resident = possessions(), psutil.Process().memory_info().rss
        killer = Killer(RUNS[tier] // (KILLS + 1), spared)  # the last is noticed, too
        outcomes = drive(pool, RUNS[tier], killer)
        wait_until(lambda: is_idle(pool))
        assert outcomes == Counter({("ok", True): RUNS[tier]})
        assert killer.kills == KILLS
        assert pool.stats().replaced >= killer.kills
        wait_until(lambda: not grown(before))  # a thread or a process may be on its way out
        assert psutil.Process().memory_info().rss - resident < MAX_GROWTH_BYTES


def drive(pool: Pool, runs: int, after_each: Callable[[int], None] = lambda _: None) -> Counter:
    """Keep `IN_FLIGHT` runs in the pool; count how they ended and whether they said the truth.
    `after_each` is called with the number of those that have ended.
    """
    outcomes: Counter = Counter()
    flying: deque = deque()
    for number in range(runs + IN_FLIGHT):
        if number < runs:
            flying.append((number, pool.submit(f"print({number})")))
        if number >= IN_FLIGHT and flying:
            expected, future = flying.popleft()
            result = future.result(timeout=60)
            outcomes[str(result.reason), result.stdout == f"{expected}\n"] += 1
            after_each(expected + 1)
    return outcomes


class Killer:
    """Kills a process of some worker, launcher or zygote, once in `every` finished runs, however
    fast they are. Meanwhile a worker makes another, and what was in flight ends: who loses two
    jails is taken to have brought them down. One that is only starting is left alone.
    """

    def __init__(self, every: int, spared: set[int]) -> None:
        self.kills = 0
        self._every = every
        self._spared = spared
        self._chance = random.Random(1)

    def __call__(self, finished: int) -> None:
        if self.kills == KILLS or finished < self._every * (self.kills + 1):
            return
        victims = [
            each
            for each in psutil.Process().children(recursive=True)
            if each.pid not in self._spared and is_of_ours(each) and serves(each)
        ]
        if victims:  # else after the next run
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._chance.choice(victims).pid, signal.SIGKILL)
                self.kills += 1


def serves(process: psutil.Process) -> bool:
    """Whether `process` is a zygote that has forked a child, or the launcher of one."""
    try:
        below = len(process.children(recursive=True))
        return below > (process.name() == "nsjail")
    except psutil.Error:
        return False


def is_of_ours(process: psutil.Process) -> bool:
    """Whether `process` is a launcher or a zygote: a run's own death would be the run's."""
    try:
        parent = process.parent()
        if parent is None:
            return False
        if parent.pid == os.getpid():
            return True
        return parent.ppid() == os.getpid() and parent.name() == "nsjail"
    except psutil.Error:
        return False
