"""The processes of a run that may have several: which there are, what they use together."""

import contextlib
import os

from ..jail.cgroups import Group

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FORKED_ONLY = 0x40
"""PF_FORKNOEXEC, among the flags in /proc/<pid>/stat: nothing was executed since its fork."""


class ProcessTree:
    """What the zygote `zygote_pid` (on the host) has below it. group: its cgroup, if it has one,
    which knows them all at any time; without one they are looked for, and CPU time is what /proc
    tells: of children that end unheeded (their parent ignores SIGCHLD) it forgets.
    """

    def __init__(self, zygote_pid: int, group: Group | None) -> None:
        self._zygote_pid = zygote_pid
        self._group = group
        zygote = _stat(zygote_pid)
        self._before_s = zygote.reaped_s if zygote else 0.0
        self._base_bytes = zygote.resident_bytes if zygote else 0
        self._most_s = 0.0

    def pids(self) -> list[int]:
        """The processes that live, without the zygote."""
        if self._group is not None:
            with contextlib.suppress(OSError, ValueError):
                return [pid for pid in self._group.pids() if pid != self._zygote_pid]
        import psutil  # not needed by runs of one process

        try:
            found = psutil.Process(self._zygote_pid).children(recursive=True)
        except psutil.Error:
            return []
        stats = ((each.pid, _stat(each.pid)) for each in found)
        return [pid for pid, stat in stats if stat is not None and stat.lives]

    def cpu_s(self) -> float:
        """CPU seconds that they have used, those that have ended included. Never falls."""
        used_s = None
        if self._group is not None:
            with contextlib.suppress(OSError, ValueError):
                used_s = self._group.cpu_s()
        if used_s is None:
            zygote = _stat(self._zygote_pid)
            used_s = zygote.reaped_s - self._before_s if zygote else 0.0
            used_s += sum(stat.own_s + stat.reaped_s for stat in map(_stat, self.pids()) if stat)
        self._most_s = max(self._most_s, used_s)
        return self._most_s

    def held_bytes(self, pids: list[int]) -> int:
        """What these hold in memory, less what each that was only forked shares with the zygote."""
        stats = [stat for stat in map(_stat, pids) if stat]
        return sum(
            max(stat.resident_bytes - (self._base_bytes if stat.forked_only else 0), 0)
            for stat in stats
        )

    def threads(self, pids: list[int]) -> int:
        """How many threads these have together."""
        return sum(stat.threads for stat in map(_stat, pids) if stat)


class _Stat:
    """What /proc/<pid>/stat says, proc_pid_stat(5); `fields` begin with the third one there."""

    __slots__ = ("forked_only", "lives", "own_s", "reaped_s", "resident_bytes", "threads")

    def __init__(self, fields: list[bytes]) -> None:
        self.lives = fields[0] not in (b"Z", b"X")
        self.forked_only = bool(int(fields[6]) & _FORKED_ONLY)
        self.own_s = (int(fields[11]) + int(fields[12])) / _TICKS
        self.reaped_s = (int(fields[13]) + int(fields[14])) / _TICKS
        self.threads = int(fields[17])
        self.resident_bytes = int(fields[21]) * _PAGE


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # A name may hold anything, spaces and brackets too; it ends with the last bracket.
            return _Stat(file.read(4096).rpartition(b")")[2].split())
    except (OSError, IndexError):
        return None
