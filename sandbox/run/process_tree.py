"""The processes of a run that may have several: which there are, what they use together."""

import contextlib

from ..guest.jail import proc
from ..jail.cgroups import Group


class ProcessTree:
    """What the zygote `zygote_pid` (on the host) has below it. group: its cgroup, if it has one,
    which knows them all at any time; without one they are looked for, and CPU time is what /proc
    tells: of children that end unheeded (their parent ignores SIGCHLD) it forgets.
    """

    def __init__(self, zygote_pid: int, group: Group | None) -> None:
        self._zygote_pid = zygote_pid
        self._group = group
        zygote = proc.stat(zygote_pid)
        self._before_s = zygote.reaped_s if zygote else 0.0
        self._base_bytes = zygote.resident_bytes if zygote else 0
        self._most_s = 0.0

    def pids(self) -> list[int]:
        """The processes that live, without the zygote."""
        if self._group is not None:
            with contextlib.suppress(OSError, ValueError):
                return [pid for pid in self._group.pids() if pid != self._zygote_pid]
        return proc.descendants(self._zygote_pid)

    def cpu_s(self) -> float:
        """CPU seconds that they have used, those that have ended included. Never falls."""
        used_s = None
        if self._group is not None:
            with contextlib.suppress(OSError, ValueError):
                used_s = self._group.cpu_s()
        if used_s is None:
            zygote = proc.stat(self._zygote_pid)
            used_s = zygote.reaped_s - self._before_s if zygote else 0.0
            used_s += sum(
                stat.own_s + stat.reaped_s for stat in map(proc.stat, self.pids()) if stat
            )
        self._most_s = max(self._most_s, used_s)
        return self._most_s

    def held_bytes(self, pids: list[int]) -> int:
        """What these hold in memory, less what each that was only forked shares with the zygote."""
        stats = [stat for stat in map(proc.stat, pids) if stat]
        return sum(
            max(stat.resident_bytes - (self._base_bytes if stat.forked_only else 0), 0)
            for stat in stats
        )

    def threads(self, pids: list[int]) -> int:
        """How many threads these have together."""
        return sum(stat.threads for stat in map(proc.stat, pids) if stat)
