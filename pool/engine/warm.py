"""Warm zygotes: those that have imported what programs import, so that it costs these nothing.

A program gets the zygote that fits its imports, read off its text; one that imports nothing of the
kind gets a bare one, whose fork is cheaper. Which modules a warm zygote has, the programs decide:
what they import, and no zygote has, is imported by another one, in the background, so that nobody
waits for it. Their number is bounded: where there are as many as there may be, the one that was
used longest ago is made anew with what is wanted now besides, so that in the end the zygotes have
all that programs import. A module that can't be imported ahead is left to the programs.
"""

import dataclasses
import logging
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator

from ...sandbox.errors import SetupError
from ...sandbox.guest.jail import proc
from ...sandbox.host.cpus import usable_bytes
from ...sandbox.host.imports import Names, imports_of
from ...sandbox.host.packages import has_module, modules_of
from ...sandbox.jail.messages import JailLost
from ...sandbox.jail.plan import Plan, profile_of
from ...sandbox.limits import Limits
from ...sandbox.run.job import Job
from ...sandbox.run.run_jail import RunJail
from ..errors import PoolClosed
from .jails import MOST_SETS, Jails, Kind, Zygotes

logger = logging.getLogger(__name__)

_DEAR_BYTES = 80 << 20
"""A zygote of that size costs a run some 3 ms more than a bare one."""

_PART_OF_MEMORY = 8
"""All warm zygotes together may take one part in so many of the host's memory."""

_A_HABIT = 2
"""Programs with the same imports before there is a zygote for them: one may be the only one."""

_MOST_FAILURES = 3
"""Zygotes of a set of modules that could not be made, after which it is given up."""

_MOST_WANTED = 16
_MOST_NAMES = 1000
_FREE_SETS = 16
_REST = 10.0
"""Beyond the first few, zygotes of other modules are made one part in so many of the time: programs
that import something else each time would otherwise keep a CPU busy."""

_JOIN_PATIENCE_S = 10.0


class WarmZygotes(Zygotes):
    """A source of zygotes that have imported the same modules.

    names: what they were told to import; loaded: all that is imported then; size_bytes: what one of
    them takes in memory, less what is mapped from files.
    """

    def __init__(self, plan: Plan, names: Names) -> None:
        # In this order those above come before what is in them.
        super().__init__(dataclasses.replace(plan, warm=tuple(sorted(names))), Kind.WARM)
        self.names = names
        self.loaded = names
        self.size_bytes = 0
        self.used_at = time.monotonic()

    def covers(self, wanted: Names) -> bool:
        return wanted <= self.loaded


class Warm:
    """The warm zygotes of one runtime: gives each job that imports something one that fits.

    most: how many zygotes of the same modules there may be. Where the plan wants none, there are
    none. Safe to use from any thread.
    """

    def __init__(self, plan: Plan, limits: Limits, jails: Jails, most: int) -> None:
        self._plan = plan
        self._limits = limits
        self._jails = jails
        self._most = most
        self._most_bytes = usable_bytes() // _PART_OF_MEMORY
        self._offered = modules_of(plan.packages)
        self._lock = threading.Condition()
        self._sources: list[WarmZygotes] = []  # guarded by _lock, as is everything below
        self._asked: Counter[Names] = Counter()
        self._wanted: OrderedDict[Names, None] = OrderedDict()
        self._given_up: set[Names] = set()
        self._refused: dict[str, str] = {}
        self._used: Counter[str] = Counter()
        self._cold: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._tried = 0  # sets of modules
        self._failures: Counter[Names] = Counter()
        self._is_building = False
        self._closed = False

    def lease(self, job: Job, imports: Names) -> RunJail | None:
        """Return a jail with what `job` imports, as much of it as there is; None for a bare one. It
        never waits for one to be made.
        """
        if not self._plan.warms or self._closed:
            return None
        wanted = self._wanted_by(job, imports)
        if not wanted:
            return None
        with self._lock:
            wanted = wanted.difference(self._refused)
            fitting = sorted((each for each in self._sources if each.covers(wanted)), key=_size_of)
            partly = sorted(
                (each for each in self._sources if each not in fitting and wanted & each.loaded),
                key=lambda each: -len(wanted & each.loaded),
            )
        if not wanted:
            return None
        for source in (*fitting, *partly):
            jail = self._jails.lease_idle(source)
            if jail is None:
                continue
            source.used_at = time.monotonic()
            with self._lock:
                self._used.update(wanted & source.loaded)
            if source in partly:
                self._want(wanted)
            return jail
        self._want(wanted)
        return None

    @property
    def is_busy(self) -> bool:
        """Whether zygotes are being made now, or will be."""
        with self._lock:
            return self._is_building or bool(self._wanted)

    def count(self, imports: Names, loaded: Names) -> None:
        """Take note of a run, and of what it has to import that was not `loaded`."""
        cold = [
            name
            for name in imports - loaded
            if ("." not in name and name in sys.stdlib_module_names)
            or (name.partition(".")[0] in self._offered and self._is_there(name))
        ]
        if cold:
            with self._lock:
                if len(self._cold) < _MOST_NAMES:
                    self._cold.update(cold)

    def cold(self) -> dict[str, int]:
        """How many runs had to import a module by themselves, by its name."""
        with self._lock:
            return dict(self._cold)

    def used(self) -> dict[str, int]:
        """How many runs began with a module that they import, by its name."""
        with self._lock:
            return dict(self._used)

    def refused(self) -> dict[str, str]:
        """Modules that can't be imported ahead, and why."""
        with self._lock:
            return dict(self._refused)

    def close(self) -> None:
        """End the thread; when the jails are killed, what it starts is, too."""
        with self._lock:
            self._closed = True
            self._wanted.clear()
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(_JOIN_PATIENCE_S)

    def _wanted_by(self, job: Job, imports: Names) -> Names:
        """What a job imports of what is offered. Nothing, where it brings modules of that name, or
        has an environment of its own, which may change how a library begins.
        """
        if job.env is not None:
            return frozenset()
        found = [name for name in imports if name.partition(".")[0] in self._offered]
        if not found or self._offered & set(_modules_that_it_brings(job)):
            return frozenset()
        return frozenset(filter(self._is_there, found))

    def _is_there(self, name: str) -> bool:
        return has_module(name, self._plan.packages)

    # ---- making them

    def _want(self, wanted: Names) -> None:
        with self._lock:
            if self._closed or wanted in self._given_up or len(self._wanted) >= _MOST_WANTED:
                return
            if len(self._asked) >= _MOST_NAMES:
                self._asked.clear()
            self._asked[wanted] += 1
            if self._asked[wanted] < _A_HABIT or not self._may_grow(wanted):
                return
            self._wanted[wanted] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._build_all, name="warm", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads: runs go on without
                    self._thread = None
                    self._wanted.clear()
            self._lock.notify_all()

    def _may_grow(self, wanted: Names) -> bool:
        """Whether there may be another zygote of the set that covers `wanted`, or another set."""
        source = self._covering(wanted)
        if source is None:
            return True
        held = sum(each.size_bytes * self._jails.count(each) for each in self._sources)
        room = self._most_bytes - held
        return self._jails.count(source) < self._most and source.size_bytes <= room

    def _covering(self, wanted: Names) -> WarmZygotes | None:
        """The zygotes that programs which import `wanted` are to have; None where there are none,
        or only such as have far more, whose forks are dear, and there may be others.
        """
        fitting = (each for each in self._sources if each.covers(wanted))
        found = min(fitting, key=_size_of, default=None)
        if found is None or found.names == wanted or len(self._sources) == MOST_SETS:
            return found
        return found if found.size_bytes < _DEAR_BYTES else None

    def _build_all(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                wanted, _ = self._wanted.popitem(last=False)
                self._is_building = True
            began, is_new = time.monotonic(), False
            try:
                is_new = self._build(wanted)
            except PoolClosed:
                return
            except Exception as error:  # noqa: BLE001  (a host that is out of something: it may pass)
                self._failed(wanted, str(error))
            finally:
                with self._lock:
                    self._is_building = False
            if self._tried > _FREE_SETS and is_new:
                rest_s = _REST * (time.monotonic() - began)
                with self._lock:
                    self._lock.wait_for(lambda: self._closed, rest_s)

    def _build(self, wanted: Names) -> bool:
        """Make one zygote more for programs that import `wanted`; tell whether there was none."""
        merge = is_new = True
        while wanted:
            with self._lock:
                source = self._covering(wanted)
                replaced = None
                if source is None and len(self._sources) >= MOST_SETS:
                    replaced = min(self._sources, key=lambda each: each.used_at)
            if source is None:
                more = replaced.names if replaced is not None and merge else frozenset()
                source = WarmZygotes(self._plan, wanted | more)
            try:
                jail = self._start(source)
            except SetupError as error:
                what, _, name = error.step.partition(" ")
                if what != "warm":
                    raise
                if name == "all" and replaced is not None and merge:
                    merge = False  # too large together: in its place, then
                    continue
                merge = name in wanted  # else it is what was to be had besides that fails
                wanted = self._refuse(wanted, name, error.text.partition("; ")[0])
                continue
            with self._lock:
                if source not in self._sources:
                    source.loaded |= jail.loaded
                    source.size_bytes = proc.anonymous_bytes(jail.zygote_pid)
                    self._sources.append(source)
                    if replaced is not None:
                        self._sources.remove(replaced)
                        replaced.closed = True
                else:
                    is_new = False
            self._jails.give_back(jail)
            if replaced is not None:
                self._jails.forget(replaced)
            break
        if is_new:
            self._tried += 1
        return is_new

    def _failed(self, wanted: Names, why: str) -> None:
        """Count a zygote that could not be made, for no reason of its own that it could tell: one
        of the modules may bring it down.
        """
        logger.info("no zygote with %s could be made: %s", ", ".join(sorted(wanted)), why)
        self._failures[wanted] += 1
        if self._failures[wanted] >= _MOST_FAILURES:
            self._failures.clear()
            self._refuse(wanted, "all", why.partition("; ")[0])

    def _refuse(self, wanted: Names, name: str, why: str) -> Names:
        """Note what can't be imported ahead, and return what is left to be wanted."""
        together = name == "all"
        if together:
            name = ", ".join(sorted(each for each in wanted if "." not in each))
        logger.info("%s is not imported ahead: %s", name, why)
        with self._lock:
            if len(self._refused) < _MOST_NAMES:
                self._refused[name] = why
            if not together:
                return frozenset(each for each in wanted if not _is_in(each, name))
            if len(self._given_up) < _MOST_NAMES:
                self._given_up.add(wanted)
        return frozenset()

    def _start(self, source: WarmZygotes) -> RunJail:
        jail = self._jails.lease(source, profile_of(self._limits, 0, self._plan))
        try:
            jail.settle()
        except JailLost:
            self._jails.discard(jail)
            raise
        return jail


def imports_of_job(job: Job) -> Names:
    """What a program imports; of a test, what its prelude does as well."""
    names = imports_of(job.source)
    if job.role is not None and job.role.prelude:
        names |= imports_of(job.role.prelude.encode("utf-8", "surrogatepass"))
    return names


def _modules_that_it_brings(job: Job) -> Iterator[str]:
    for name in job.files:
        yield name.partition("/")[0].partition(".")[0]
    if job.role is not None:
        yield job.role.module.partition(".")[0]


def _size_of(source: WarmZygotes) -> int:
    return source.size_bytes


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
