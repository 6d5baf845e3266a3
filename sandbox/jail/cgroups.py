"""A cgroup of its own for each worker: memory counted and capped, tasks capped.

Only sub-groups of ours are made and removed; the hierarchy itself is never rearranged. A zygote
joins after it has loaded everything, so that what is charged here is its runs' own.

Kernel documentation: admin-guide/cgroup-v1/memory.rst, admin-guide/cgroup-v2.rst.
"""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Protocol

PREFIX = "interpreter-pool-"

_UNLIMITED_V1 = "-1"
_UNLIMITED_V2 = "max"

OF_FILES = ("active_file", "inactive_file")
"""Lines of memory.stat: pages of what is in files, which can be read again (both versions)."""

_NEAR_BYTES = 1 << 20
"""A group within that of its limit has been at it: the kernel charges in batches, and a base that
has changed by less than a MiB is no new limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a run used: its peak in bytes (None: unknown), and whether the kernel killed for it.
    for_others: it did, though the group had room: there was none further up, or on the host.
    """

    peak_bytes: int | None
    out_of_memory: bool
    for_others: bool = False


class Group(Protocol):
    """A worker's cgroup."""

    def add(self, pid: int) -> None: ...
    def begin(self, memory_bytes: int | None, tasks: int | None) -> None:
        """Set the limits for the next run (beyond what the zygote holds) and start counting."""

    def end(self) -> Usage:
        """Return what was used since `begin`."""

    def held_bytes(self) -> int:
        """What everything in the group holds now."""

    def pids(self) -> list[int]:
        """The processes in the group that live."""

    def cpu_s(self) -> float | None:
        """CPU seconds used since `begin` by all that is or was in the group; None: unknown."""

    def remove(self) -> None: ...
    def describe(self) -> str: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Parents:
    """Where groups can be made: v1 has a folder for each controller, v2 has one for all."""

    version: int
    memory: str | None
    tasks: str | None
    cpu: str | None = None


def find(proc: str = "/proc/self") -> list[Parents]:
    """Return the places where groups might be made, best first; `make` tells by trying."""
    own, mounts = _read(proc)
    found = []
    for mount in mounts:
        if mount.kind == "cgroup2":
            path = next((path for _, names, path in own if names == ""), None)
            if path is not None:
                found += list(_v2_parents(mount, path))
    memory, tasks, cpu = (_v1_folder(mounts, own, name) for name in ("memory", "pids", "cpuacct"))
    if memory is not None:
        found.append(Parents(1, memory, tasks, cpu))
    return found


def _read(proc: str) -> "tuple[list[list[str]], list[_Mount]]":
    """This process's groups (number, controllers, path) and all mounts; nothing where unknown."""
    try:
        with open(f"{proc}/cgroup", encoding="utf-8") as file:
            own = [line.rstrip("\n").split(":", 2) for line in file]
        with open(f"{proc}/mountinfo", encoding="utf-8") as file:
            return own, [_parse_mount(line) for line in file]
    except OSError:
        return [], []


@dataclasses.dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: str
    kind: str
    options: tuple[str, ...]

    def folder(self, path: str) -> str:
        """Where the cgroup `path` is seen through this mount."""
        inside = path == self.root or path.startswith(self.root.rstrip("/") + "/")
        below = os.path.relpath(path, self.root) if inside else "."
        return os.path.normpath(os.path.join(self.point, below))


def _parse_mount(line: str) -> _Mount:
    fields, _, rest = line.rstrip("\n").partition(" - ")
    kind, _, options = rest.split(" ", 2)
    parts = fields.split(" ")
    return _Mount(parts[3], parts[4], kind, tuple(options.split(",")))


def _v1_folder(mounts: list[_Mount], own: list[list[str]], name: str) -> str | None:
    mount = next((m for m in mounts if m.kind == "cgroup" and name in m.options), None)
    path = next((path for _, names, path in own if name in names.split(",")), None)
    return None if mount is None or path is None else mount.folder(path)


def _v2_parents(mount: _Mount, path: str) -> Iterator[Parents]:
    """Our own group and those above it, as far as they hand the memory controller down.

    A group that holds processes can't hand controllers down, so it is usually the one above
    ours that can; enabling them there is its owner's business, not ours.
    """
    folder = mount.folder(path)
    while True:
        try:
            with open(f"{folder}/cgroup.subtree_control", encoding="ascii") as file:
                controllers = file.read().split()
        except OSError:
            controllers = []
        if "memory" in controllers:
            yield Parents(2, folder, folder if "pids" in controllers else None)
        if folder == mount.point or len(folder) <= len(mount.point):
            return
        folder = os.path.dirname(folder)


def cpu_quota(proc: str = "/proc/self") -> float | None:
    """CPUs' worth of time that this process's cgroup may use, None where nothing limits it."""
    own, mounts = _read(proc)
    quotas = []
    for mount in mounts:
        path = next((path for _, names, path in own if names == ""), None)
        if mount.kind == "cgroup2" and path is not None:
            with (
                contextlib.suppress(OSError, ValueError),
                open(f"{mount.folder(path)}/cpu.max") as f,
            ):
                quota, period = f.read().split()
                quotas.append(int(quota) / int(period))  # "max" is no int
    folder = _v1_folder(mounts, own, "cpu")
    if folder is not None:
        with contextlib.suppress(OSError, ValueError):
            with open(f"{folder}/cpu.cfs_quota_us") as f, open(f"{folder}/cpu.cfs_period_us") as g:
                quota_us, period_us = int(f.read()), int(g.read())
            if quota_us > 0:
                quotas.append(quota_us / period_us)
    return min(quotas, default=None)


def memory_limit(proc: str = "/proc/self") -> int | None:
    """Bytes of memory that this process's cgroup may have, None where nothing limits it."""
    own, mounts = _read(proc)
    folder = _v1_folder(mounts, own, "memory")
    files = [] if folder is None else [f"{folder}/memory.limit_in_bytes"]
    path = next((path for _, names, path in own if names == ""), None)
    if path is not None:
        files += [f"{each.folder(path)}/memory.max" for each in mounts if each.kind == "cgroup2"]
    limits = []
    for file in files:
        with contextlib.suppress(OSError, ValueError), open(file, encoding="ascii") as f:
            limits.append(int(f.read()))  # "max" is no int; v1's has no limit of its own either
    return min(limits, default=None)


def make(parents: Parents, name: str) -> Group:
    """Make a group called `name` below `parents`; raise OSError where that can't be."""
    return _V2(parents, name) if parents.version == 2 else _V1(parents, name)


class _V1:
    """Groups in the memory and pids hierarchies."""

    def __init__(self, parents: Parents, name: str) -> None:
        assert parents.memory is not None
        self.memory = os.path.join(parents.memory, name)
        self.tasks = os.path.join(parents.tasks, name) if parents.tasks else None
        self.cpu = os.path.join(parents.cpu, name) if parents.cpu else None
        os.mkdir(self.memory)
        try:
            self.tasks, self.cpu = _made(self.tasks), _made(self.cpu)
            self._cpu_ns = _File(self.cpu, "cpuacct.usage") if self.cpu else None
            self._limit = _File(self.memory, "memory.limit_in_bytes")
            self._peak = _File(self.memory, "memory.max_usage_in_bytes")
            self._empty = _File.if_there(self.memory, "memory.force_empty")
            self._usage = _File(self.memory, "memory.usage_in_bytes")
            self._stat = _File.if_there(self.memory, "memory.stat")
            self._idle = _Idle(
                self._usage,
                self._stat,
                lambda _: self._empty is not None and self._empty.try_write("0"),
            )
            self._oom = _File(self.memory, "memory.oom_control")
            # Exists only where the kernel accounts for swap; it counts memory and swap together.
            self._swap = _File.if_there(self.memory, "memory.memsw.limit_in_bytes")
            self._tasks_max = _File(self.tasks, "pids.max") if self.tasks else None
        except BaseException:
            self.remove()
            raise
        self._settings: tuple[int | None, int | None, int] | None = None
        self._base = self._held = self._cpu_before_ns = 0
        self._memory_bytes: int | None = None
        self._kills = 0

    def add(self, pid: int) -> None:
        for folder in filter(None, (self.memory, self.tasks, self.cpu)):
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(pid))

    def begin(self, memory_bytes: int | None, tasks: int | None) -> None:
        self._base, self._held = self._idle.wait()
        self._memory_bytes = memory_bytes
        if self._settings != (memory_bytes, tasks, self._base >> 20):
            self._set_memory(memory_bytes)
            if self._tasks_max is not None:
                self._tasks_max.write(str(tasks) if tasks else _UNLIMITED_V2)
            self._settings = (memory_bytes, tasks, self._base >> 20)
        self._kills = self._oom.read_field("oom_kill")
        self._peak.write("0")
        if self._cpu_ns is not None:
            self._cpu_before_ns = self._cpu_ns.read_int()

    def _set_memory(self, memory_bytes: int | None) -> None:
        text = _UNLIMITED_V1 if memory_bytes is None else str(memory_bytes + self._base)
        # The sum with swap can't be below the limit without: lift it first, lower it last.
        if self._swap is not None:
            self._swap.write(_UNLIMITED_V1)
        self._limit.write(text)
        if self._swap is not None:
            self._swap.write(text)

    def held_bytes(self) -> int:
        return self._idle.held_bytes()

    def pids(self) -> list[int]:
        return _pids(self.memory)

    def cpu_s(self) -> float | None:
        if self._cpu_ns is None:
            return None
        return (self._cpu_ns.read_int() - self._cpu_before_ns) / 1e9

    def end(self) -> Usage:
        highest = self._peak.read_int()
        peak = _of_run(highest, self._base, self._held, self._memory_bytes)
        killed = self._oom.read_field("oom_kill") > self._kills
        had_room = killed and has_room(highest, self._limit.read_int())
        if had_room and self._swap is not None:
            file = _File(self.memory, "memory.memsw.max_usage_in_bytes")
            with contextlib.closing(file):
                had_room = has_room(file.read_int(), self._swap.read_int())
                file.write("0")  # it is looked at here only, and may be of an earlier run
        return Usage(peak, killed and not had_room, had_room)

    def remove(self) -> None:
        for file in vars(self).values():
            if isinstance(file, _File):
                file.close()
        for folder in filter(None, (self.memory, self.tasks, self.cpu)):
            remove(folder)

    def describe(self) -> str:
        return "cgroup v1: " + ("memory, pids" if self.tasks else "memory")


class _V2:
    """One group for all controllers."""

    def __init__(self, parents: Parents, name: str) -> None:
        assert parents.memory is not None
        self.folder = os.path.join(parents.memory, name)
        os.mkdir(self.folder)
        try:
            self._limit = _File(self.folder, "memory.max")
            self._reclaim = _File.if_there(self.folder, "memory.reclaim")  # since 5.19
            self._usage = _File(self.folder, "memory.current")
            self._stat = _File.if_there(self.folder, "memory.stat")
            self._idle = _Idle(
                self._usage,
                self._stat,
                lambda size: self._reclaim is not None and self._reclaim.try_write(str(size)),
            )
            self._events = _File(self.folder, "memory.events")
            self._swap = _File.if_there(self.folder, "memory.swap.max")
            self._peak = _File.if_there(self.folder, "memory.peak")
            self._tasks_max = _File(self.folder, "pids.max") if parents.tasks else None
            self._cpu = _File.if_there(self.folder, "cpu.stat")
        except BaseException:
            self.remove()
            raise
        self._settings: tuple[int | None, int | None, int] | None = None
        self._base = self._held = self._cpu_before_us = 0
        self._memory_bytes: int | None = None
        self._kills = self._own_kills = 0
        self._peak_resets = False

    def add(self, pid: int) -> None:
        with open(f"{self.folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(pid))

    def begin(self, memory_bytes: int | None, tasks: int | None) -> None:
        self._base, self._held = self._idle.wait()
        self._memory_bytes = memory_bytes
        if self._settings != (memory_bytes, tasks, self._base >> 20):
            limit = _UNLIMITED_V2 if memory_bytes is None else str(memory_bytes + self._base)
            self._limit.write(limit)
            if self._swap is not None:
                self._swap.write("0" if memory_bytes is not None else _UNLIMITED_V2)
            if self._tasks_max is not None:
                self._tasks_max.write(str(tasks) if tasks else _UNLIMITED_V2)
            self._settings = (memory_bytes, tasks, self._base >> 20)
        self._kills, self._own_kills = self._events.read_fields("oom_kill", "oom")
        if self._cpu is not None:
            self._cpu_before_us = self._cpu.read_field("usage_usec")
        # Since 6.12 a write resets the peak as this descriptor sees it; before, it can't be.
        self._peak_resets = self._peak is not None and self._peak.try_write("reset")

    def held_bytes(self) -> int:
        return self._idle.held_bytes()

    def pids(self) -> list[int]:
        return _pids(self.folder)

    def cpu_s(self) -> float | None:
        if self._cpu is None:
            return None
        return (self._cpu.read_field("usage_usec") - self._cpu_before_us) / 1e6

    def end(self) -> Usage:
        peak = None
        if self._peak is not None and self._peak_resets:
            peak = _of_run(self._peak.read_int(), self._base, self._held, self._memory_bytes)
        kills, own_kills = self._events.read_fields("oom_kill", "oom")
        killed, own = kills > self._kills, own_kills > self._own_kills
        return Usage(peak, killed and own, killed and not own)

    def remove(self) -> None:
        for file in vars(self).values():
            if isinstance(file, _File):
                file.close()
        remove(self.folder)

    def describe(self) -> str:
        return "cgroup v2: " + ("memory, pids" if self._tasks_max else "memory")


def _of_run(peak: int, base: int, held: int, memory_bytes: int | None) -> int:
    """What of a group's peak was the run's. It began with `held`, the `base` and pages of files,
    which go where the limit is reached: then all beyond the base was the run's.
    """
    full = memory_bytes is not None and peak >= base + memory_bytes - _NEAR_BYTES
    return max(peak - (base if full else held), 0)


def _made(folder: str | None) -> str | None:
    """The folder, once it is made; None where it can't be."""
    try:
        if folder is not None:
            os.mkdir(folder)
    except OSError:
        return None
    return folder


def _pids(folder: str) -> list[int]:
    """The processes of a group; those outside of our pid namespace, which show as 0, left out."""
    with open(f"{folder}/cgroup.procs", encoding="ascii") as file:
        return [pid for pid in map(int, file) if pid]


class HeldTooMuch(OSError):
    """A group holds what earlier runs have left there, and nothing gives it back."""


class _Idle:
    """What a group holds between two runs: the zygote's part.

    The kernel gives some memory back late, page tables above all, a grace period after their
    process has gone; until then it would count against the next run. Some it keeps: an entry for
    each name that was looked up and is not there, the pages of files that were read. Both are given
    back when the group is at its limit, if that is what the zygote holds and the next run may use.
    So the base never grows with them.

    give_back: has the kernel give back some bytes of what it keeps.
    """

    _SLACK_BYTES = 4 << 20
    _PATIENCE_S = 0.2
    _RECLAIM_AFTER_S = 0.02
    _MOST_RECLAIMED_BYTES = 16 << 20
    """Of kernel memory, which takes 8 ms for each MiB: to replace the jail is cheaper for more."""

    def __init__(
        self, usage: "_File", stat: "_File | None", give_back: Callable[[int], object]
    ) -> None:
        self._usage = usage
        self._stat = stat
        self._give_back = give_back
        self._least = 1 << 62

    def wait(self) -> tuple[int, int]:
        """Return the bytes of the zygote, and what is held in all, once that is the same, but for
        pages of files. Raises `HeldTooMuch` where it stays more.
        """
        held = self._usage.read_int()
        if held > self._least + self._SLACK_BYTES:
            held = self._wait(held)
        self._least = min(self._least, held)
        return min(held, self._least + self._SLACK_BYTES), held

    def _wait(self, held: int) -> int:
        began = time.monotonic()
        reclaimed = False
        while (excess := held - self._of_files() - self._least - self._SLACK_BYTES) > 0:
            waited_s = time.monotonic() - began
            if waited_s > self._PATIENCE_S:
                raise HeldTooMuch(f"{excess} bytes that earlier runs have left are not given back")
            if waited_s > self._RECLAIM_AFTER_S and not reclaimed:
                reclaimed = True
                if excess <= self._MOST_RECLAIMED_BYTES:
                    self._give_back(excess + self._SLACK_BYTES)
            time.sleep(0.001)
            held = self._usage.read_int()
        return held

    def _of_files(self) -> int:
        """Bytes of pages that hold what is in files, and can be read again."""
        if self._stat is None:
            return 0
        return sum(map(self._stat.read_field, OF_FILES))

    def held_bytes(self) -> int:
        return self._usage.read_int()


_CHARGED_AHEAD = 4 << 20
"""Memory is charged in batches, and in large pages: a limit is met where so much is left."""


def has_room(most: int, limit: int) -> bool:
    """Whether a group that never held more than `most` bytes has not met its limit."""
    return most < limit - min(_CHARGED_AHEAD, limit // 8)


class _File:
    """One file of a group, kept open: it is read or written for every run."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = os.path.join(folder, name)
        # Who is not root may open for no more than a file is for: memory.events is for reading,
        # memory.reclaim for writing.
        for mode in (os.O_RDWR, os.O_RDONLY):
            with contextlib.suppress(PermissionError):
                self.fd = os.open(self.path, mode | os.O_CLOEXEC)
                return
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    @classmethod
    def if_there(cls, folder: str, name: str) -> "_File | None":
        try:
            return cls(folder, name)
        except FileNotFoundError:
            return None

    def write(self, text: str) -> None:
        os.pwrite(self.fd, text.encode("ascii"), 0)

    def try_write(self, text: str) -> bool:
        try:
            self.write(text)
        except OSError:
            return False
        return True

    def read_int(self) -> int:
        return int(os.pread(self.fd, 64, 0))

    def read_field(self, name: str) -> int:
        """The number behind `name` in a file of lines "name number"; 0 where it isn't there."""
        fields = os.pread(self.fd, 1 << 14, 0).decode("ascii").split()
        return int(fields[fields.index(name) + 1]) if name in fields else 0

    def read_fields(self, *names: str) -> list[int]:
        """The same of several names, in one look."""
        fields = os.pread(self.fd, 1 << 14, 0).decode("ascii").split()
        return [int(fields[fields.index(name) + 1]) if name in fields else 0 for name in names]

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def remove(folder: str, patience_s: float = 2.0) -> bool:
    """Kill what is left in the group `folder` and remove it; tell whether it is gone.

    Only folders with our prefix are touched. Killed processes take a moment to leave.
    """
    if not os.path.basename(folder).startswith(PREFIX):
        return True
    deadline = time.monotonic() + patience_s
    while True:
        try:
            os.rmdir(folder)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
        with contextlib.suppress(OSError, ValueError):
            for pid in _pids(folder):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
