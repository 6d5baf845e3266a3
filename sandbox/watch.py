"""Watching what the kernel can't cap here: memory without a cgroup, scratch without a tmpfs."""

import os

import psutil

from .limits import Limits
from .reasons import ExitReason

INTERVAL_S = 0.02


class Watch:
    """Looks at one run from time to time. `check` says why it must end, or None.

    pid, zygote_pid: the run's process and the zygote's, on the host. scratch: its folder, where
    its size must be watched.
    """

    def __init__(
        self,
        pid: int,
        zygote_pid: int,
        limits: Limits,
        *,
        memory: bool,
        threads: bool,
        scratch: str | None,
    ) -> None:
        self._pid = pid
        self._zygote_pid = zygote_pid
        self._memory_bytes = limits.memory_bytes if memory else None
        self._threads = limits.threads if threads else None
        self._limits = limits
        self._scratch = scratch
        # Looked up at the first check: most runs are over by then.
        self._process: psutil.Process | None = None
        self._base = 0

    def check(self) -> tuple[ExitReason, str] | None:
        try:
            found = self._check_process()
        except psutil.Error:  # it has just ended
            return None
        return found or self._check_scratch()

    def _check_process(self) -> tuple[ExitReason, str] | None:
        if not self._pid or (self._memory_bytes is self._threads is None):
            return None
        if self._process is None:
            self._process = psutil.Process(self._pid)
            # The zygote's pages are in every child's count from the beginning.
            self._base = psutil.Process(self._zygote_pid).memory_info().rss
        if self._memory_bytes is not None:
            used = _resident_bytes(self._process) - self._base
            if used > self._memory_bytes:
                return ExitReason.MEMORY, f"held {used} of {self._memory_bytes} bytes"
        if self._threads is not None:
            threads = self._process.num_threads()
            if threads > self._threads:
                return ExitReason.DENIED, f"ran {threads} of {self._threads} threads"
        return None

    def _check_scratch(self) -> tuple[ExitReason, str] | None:
        if self._scratch is None or (self._limits.disk_bytes is self._limits.files is None):
            return None
        size, files = _measure(self._scratch, self._limits)
        if self._limits.disk_bytes is not None and size > self._limits.disk_bytes + (1 << 16):
            return ExitReason.DENIED, f"wrote over {self._limits.disk_bytes} bytes of files"
        if self._limits.files is not None and files > self._limits.files + 8:
            return ExitReason.DENIED, f"made over {self._limits.files} files"
        return None


def _resident_bytes(process: psutil.Process) -> int:
    """Resident memory of `process`, also after its main thread has ended before the others: then
    what /proc shows for the process is that thread's, which has none.
    """
    resident: int = process.memory_info().rss
    if resident:
        return resident
    pages = [0]
    for thread in process.threads():
        try:
            with open(f"/proc/{process.pid}/task/{thread.id}/statm", "rb") as statm:
                pages.append(int(statm.read().split()[1]))
        except OSError:  # it has just ended
            continue
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def _measure(top: str, limits: Limits) -> tuple[int, int]:
    """Bytes on disk and number of files below `top`; stops early once over a limit."""
    size = files = 0
    waiting = [top]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue  # gone meanwhile, or unreadable
        for entry in entries:
            files += 1
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
        if files > (limits.files or files) + 8 or size > (limits.disk_bytes or size) * 2:
            break
    return size, files
