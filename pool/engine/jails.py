"""The jails of a pool that wait for a run: one store, from which they are leased.

A jail is leased by what it comes from (its source: the pool's own zygotes, or a snapshot) and the
profile that its next process is to be confined to. Whoever has leased one gives it back, or, where
it was lost, has it taken away. A worker keeps one of the pool's own for as long as it lives, so
that a process is always prewarmed for its next run; a test's run, or a snapshot's, takes another.
"""

import enum
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from ...sandbox.guest.jail.protocol import Profile
from ...sandbox.jail.plan import Plan
from ...sandbox.run.run_jail import RunJail
from ..errors import PoolClosed
from .stats import Counters

logger = logging.getLogger(__name__)


MOST_SETS = 4
"""Sets of modules for which there are warm zygotes."""


class Kind(enum.Enum):
    """Of sources, by what of theirs is kept."""

    OWN = "the pool's own"
    WARM = "the pool's own, with modules imported ahead"
    RUNTIME = "of other runtimes"
    SNAPSHOT = "of snapshots"


class Source(Protocol):
    """Where jails come from."""

    @property
    def kind(self) -> Kind: ...

    @property
    def closed(self) -> bool:
        """Whether nothing more is wanted of it: what is given back then, goes."""
        ...

    def open(self, profile: Profile, hold: Callable[[RunJail], None]) -> RunJail:
        """Make a jail and start it; pass it to `hold` before, so that it can be killed meanwhile.
        Raises `SetupError` or `JailLost`, and then has closed it.
        """
        ...


class Zygotes:
    """A source of jails that are started each on its own, by a plan."""

    def __init__(self, plan: Plan, kind: Kind = Kind.OWN) -> None:
        self.plan = plan
        self.kind = kind
        self.closed = False

    def open(self, profile: Profile, hold: Callable[[RunJail], None]) -> RunJail:
        jail = RunJail(self.plan)
        hold(jail)
        jail.start(profile)
        return jail


class Jails:
    """Leases jails, and keeps those that are idle: of each kind the `most` that were used last, of
    warm ones as many of each set of modules. own: the pool's source. Safe to use from any thread.
    """

    def __init__(self, own: Source, most: int, counters: Counters) -> None:
        self.own = own
        self._most = most
        self._counters = counters
        self._lock = threading.Lock()
        self._idle: list[tuple[Source, RunJail]] = []  # guarded by _lock, as is everything below
        self._leased: dict[RunJail, Source] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Jails {len(self._leased)} leased, {len(self._idle)} idle>"

    def adopt(self, jail: RunJail) -> RunJail:
        """Take in a jail of the pool's own that was started elsewhere, and lease it."""
        with self._lock:
            self._leased[jail] = self.own
        return jail

    def lease(self, source: Source, profile: Profile) -> RunJail:
        """Return a jail of `source` that lives, idle so far or a new one. Raises `PoolClosed`;
        `SetupError` or `JailLost` where none can be had.
        """
        while True:
            with self._lock:
                self._require_open()
                jail = self._take_idle(source)
                if jail is not None:
                    self._leased[jail] = source
            if jail is None:
                return self._open(source, profile)
            if jail.is_alive():
                return jail
            self.discard(jail)  # it died while nobody looked

    def lease_idle(self, source: Source) -> RunJail | None:
        """Return a jail of `source` that is idle and lives; None where there is none now."""
        while True:
            with self._lock:
                jail = None if self._closed else self._take_idle(source)
                if jail is None:
                    return None
                self._leased[jail] = source
            if jail.is_alive():
                return jail
            self.discard(jail)

    def give_back(self, jail: RunJail) -> None:
        """Keep a jail for the next run, or close it where there are enough."""
        with self._lock:
            source = self._leased.pop(jail)
            gone = [jail]
            if not self._closed and not source.closed:
                self._idle.append((source, jail))
                gone = self._surplus(source)
        for each in gone:
            each.close()

    def discard(self, jail: RunJail) -> None:
        """Close a jail that was lost, or can't be trusted any more, and count it."""
        with self._lock:
            self._leased.pop(jail, None)
            counts = not self._closed
        if counts:
            logger.debug("jail %d is taken away, and replaced when it is needed", jail.number)
            self._counters.was_replaced()
        jail.close()

    def forget(self, source: Source) -> None:
        """Close what is idle of `source`."""
        with self._lock:
            gone = [jail for each, jail in self._idle if each is source]
            self._idle = [item for item in self._idle if item[0] is not source]
        for jail in gone:
            jail.close()

    def idle(self, source: Source) -> list[RunJail]:
        """What is idle of `source` now, that used last at the end."""
        with self._lock:
            return [jail for each, jail in self._idle if each is source]

    def count(self, source: Source) -> int:
        """How many jails of `source` there are, or are being started."""
        with self._lock:
            idle = sum(each is source for each, _ in self._idle)
            return idle + sum(each is source for each in self._leased.values())

    def leased(self) -> list[RunJail]:
        """What is leased now, or being started for that."""
        with self._lock:
            return list(self._leased)

    def are_settled(self) -> bool:
        """Whether what is idle has a prewarmed process."""
        with self._lock:  # or somebody could close one of them meanwhile
            return all(jail.is_settled() for _, jail in self._idle)

    def kill(self) -> None:
        """Lease nothing any more, and kill what is leased, so that nobody waits for it."""
        with self._lock:
            self._closed = True
            leased = list(self._leased)
        for jail in leased:
            jail.kill()

    def close(self) -> None:
        """Close what is idle; what is leased is given back, or taken away, by who has it."""
        self.kill()
        with self._lock:
            idle, self._idle = self._idle, []
        for _, jail in idle:
            jail.close()

    def _open(self, source: Source, profile: Profile) -> RunJail:
        held: list[RunJail] = []

        def hold(jail: RunJail) -> None:
            held.append(jail)
            with self._lock:
                self._leased[jail] = source
                killed = self._closed
            if killed:
                jail.kill()

        try:
            return source.open(profile, hold)
        except BaseException:
            with self._lock:
                for jail in held:
                    self._leased.pop(jail, None)
            for jail in held:
                jail.close()
            raise

    def _take_idle(self, source: Source) -> RunJail | None:
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] is source:
                return self._idle.pop(place)[1]
        return None

    def _surplus(self, source: Source) -> list[RunJail]:
        """Take out those used longest ago, where there are too many of this kind."""
        most = MOST_SETS * self._most if source.kind is Kind.WARM else self._most
        places = [n for n, (each, _) in enumerate(self._idle) if each.kind is source.kind]
        return [self._idle.pop(n)[1] for n in reversed(places[: max(len(places) - most, 0)])]

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosed("the pool is closed")
