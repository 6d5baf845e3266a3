"""A memory cgroup of a session's own: what its states hold together, counted and capped.

A first head is put there before it has run anything of a program, a branch while it is stopped;
their checkpoints are forked there. Pages are charged to whoever touched them first: those of the
zygote to the fork server's group, those that a branch finds to its forerunner's. So a group may
hold memory that outlives its processes, in branches; it is counted until that is gone (`Groups`).
"""

import contextlib
import os
import threading
from typing import NamedTuple

from ..jail import cgroups
from ..jail.folder import HostFolder

SPARE_BYTES = 4 << 20
"""Of a session, beyond its limit on memory: tables of the kernel, and pages that a fork copies."""

_FEW_BYTES = 4 << 20
"""A group without processes that holds no more is forgotten."""

_STEP = 8
"""A limit is written anew when it would rise at all, or fall by more than this part of it."""


class _Names(NamedTuple):
    """A version's files, and its word for no limit."""

    usage: str
    limit: str
    swap: str  # counts memory, too (v1), or swap alone (v2)
    kills: str
    unlimited: str


_NAMES = {
    1: _Names(
        "memory.usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.oom_control",
        "-1",
    ),
    2: _Names("memory.current", "memory.max", "memory.swap.max", "memory.events", "max"),
}


class Group:
    """The memory of one session. Nothing of it is kept open: there may be a thousand.

    Raises OSError where it is gone.
    """

    def __init__(self, version: int, folder: str) -> None:
        self.folder = folder
        self._names = _NAMES[version]
        self._version = version
        self._limit: int | None = None
        self._kills = 0
        os.mkdir(folder)

    def __repr__(self) -> str:
        return f"<Group {self.folder}>"

    def add(self, pid: int) -> None:
        self._write("cgroup.procs", str(pid))

    def held_bytes(self) -> int:
        """What its states hold, less pages of files, which the kernel takes back when it wants."""
        charged, stat = self.charged_bytes(), self._stat()
        return max(charged - sum(stat.get(name, 0) for name in cgroups.OF_FILES), 0)

    def shared_bytes(self) -> int:
        """Of that, shared memory, and files in the scratch where it is in memory: a fork copies
        neither.
        """
        return self._stat().get("shmem", 0)

    def _stat(self) -> dict[str, int]:
        fields = self._read("memory.stat").split()
        return dict(zip(fields[::2], map(int, fields[1::2]), strict=False))

    def charged_bytes(self) -> int:
        """All that is charged to it, pages of files included."""
        return int(self._read(self._names.usage))

    def cap(self, limit: int) -> None:
        """Hold it to `limit` bytes, or a little more."""
        if self._limit is not None and self._limit - self._limit // _STEP <= limit <= self._limit:
            return
        names = self._names
        swap = os.path.exists(f"{self.folder}/{names.swap}")
        # In v1 the sum with swap can't be below the limit without: lift it first, lower it last.
        if swap:
            self._write(names.swap, names.unlimited if self._version == 1 else "0")
        # What is held already may be more for now: then the kernel does not take it.
        with contextlib.suppress(OSError):
            self._write(names.limit, str(limit))
            self._limit = limit
            if swap and self._version == 1:
                self._write(names.swap, str(limit))

    def has_killed(self) -> bool:
        """Whether the kernel has killed for want of memory since this was last asked."""
        fields = self._read(self._names.kills).split()
        kills = int(fields[fields.index("oom_kill") + 1]) if "oom_kill" in fields else 0
        before, self._kills = self._kills, kills
        return kills > before

    def has_met_its_limit(self) -> bool:
        """Whether it ever held as much as it may. If not, what was killed in it was killed because
        there was no memory further up, or on the host.
        """
        if self._version == 2:
            fields = self._read("memory.events").split()
            return "oom" not in fields or int(fields[fields.index("oom") + 1]) > 0
        kinds = ["memory."]
        if os.path.exists(f"{self.folder}/{self._names.swap}"):
            kinds.append("memory.memsw.")
        return not all(
            cgroups.has_room(
                int(self._read(f"{kind}max_usage_in_bytes")),
                int(self._read(f"{kind}limit_in_bytes")),
            )
            for kind in kinds
        )

    def remove(self, patience_s: float) -> bool:
        """Remove it, and what processes are left in it; tell whether it is gone."""
        return cgroups.remove(self.folder, patience_s)

    def try_remove(self) -> bool:
        """Remove it if no process is left in it; tell whether it is gone."""
        try:
            os.rmdir(self.folder)
        except OSError:
            return not os.path.exists(self.folder)
        return True

    def _read(self, name: str) -> str:
        file = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, 1 << 14).decode("ascii")
        finally:
            os.close(file)

    def _write(self, name: str, text: str) -> None:
        file = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text.encode("ascii"))
        finally:
            os.close(file)


class Groups:
    """The groups of all sessions of a fork server. Safe to use from any thread.

    name: what theirs begin with. None is made where `parents` is None.
    """

    def __init__(self, parents: cgroups.Parents | None, name: str, folder: HostFolder) -> None:
        self._parents = parents
        self._name = name
        self._folder = folder
        self._lock = threading.Lock()  # guards all below
        self._numbers: list[int] = []  # that are free: each is noted in the host folder once
        self._most = 0
        self._open: dict[Group, int] = {}
        self._retired: set[Group] = set()  # of sessions that have ended, and still hold something

    def __contains__(self, group: object) -> bool:
        return group in self._open

    def make(self) -> Group | None:
        """Make one. Raises OSError."""
        parents = self._parents
        if parents is None or parents.memory is None:
            return None
        with self._lock:
            self._sweep()
            number = self._numbers.pop() if self._numbers else self._most
            folder = os.path.join(parents.memory, f"{self._name}-{number}")
            try:
                if number == self._most:
                    # Noted before it is made: what is written down too much is swept for nothing.
                    self._folder.note_cgroup(folder)
                    self._most += 1
                group = Group(parents.version, folder)
            except BaseException:
                if number < self._most:
                    self._numbers.append(number)
                raise
            self._open[group] = number
            return group

    def retire(self, group: Group) -> None:
        """Its session has ended; it goes when it holds no more."""
        with self._lock:
            if group in self._open:
                self._retired.add(group)
                self._sweep()

    def remove(self, group: Group, patience_s: float) -> None:
        """Remove it with all that is in it."""
        with self._lock:
            if group in self._open and group.remove(patience_s):
                self._forget(group)

    def are_settled(self) -> bool:
        """Whether none is left of a session that has ended, but for what branches of it hold."""
        with self._lock:
            return self._sweep()

    def _sweep(self) -> bool:
        """Remove those that hold little; tell whether all of them are gone."""
        are_gone = True
        for group in list(self._retired):
            with contextlib.suppress(OSError, ValueError):  # somebody has taken it away
                if group.charged_bytes() > _FEW_BYTES:
                    continue
            if group.try_remove():
                self._forget(group)
            else:
                are_gone = False  # its processes are on their way out
        return are_gone

    def _forget(self, group: Group) -> None:
        self._retired.discard(group)
        self._numbers.append(self._open.pop(group))

    def charged_bytes(self) -> int:
        """What is charged to all of them. Raises OSError where one is gone."""
        with self._lock:
            self._sweep()
            return sum(group.charged_bytes() for group in self._open)

    def held_bytes(self) -> int:
        """As `charged_bytes`, less pages of files."""
        with self._lock:
            return sum(group.held_bytes() for group in self._open)

    def close(self) -> None:
        with self._lock:
            for group in list(self._open):
                if group.remove(2.0):
                    self._forget(group)
