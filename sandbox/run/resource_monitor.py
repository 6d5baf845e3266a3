"""Watching what the kernel can't cap here: memory without a cgroup, scratch without a tmpfs."""

import math
import os
import stat
import time
from typing import NamedTuple

from ..details import held_too_much, size_of, too_many
from ..guest.jail import proc
from ..guest.jail.confine import SPARE_INODES
from ..limits import Limits
from ..reasons import ExitReason
from .process_tree import ProcessTree

INTERVAL_S = 0.02

MAX_DEPTH = 100
"""Folders within folders in a scratch that is watched; what lies deeper could hide from a look."""

MOST_BYTES_PER_S = 16e9
"""In a second of CPU time, no core copies to new pages, or clears them, faster (measured: 5e9 by
write(2), to tmpfs)."""

SPARE_BYTES = 64 << 10
"""Of a scratch: folders, and what the file system rounds up."""


class ResourceMonitor:
    """Looks at one run from time to time. `check` says why it must end, or None.

    pid, zygote_pid: the run's process and the zygote's, on the host. scratch: its folder, where
    its size must be watched; source_bytes: of the program's own file in it, which is ours.
    process_tree: of a run that may have several processes.
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
        source_bytes: int = 0,
        process_tree: ProcessTree | None = None,
    ) -> None:
        self._process_tree = process_tree
        self._pid = pid
        self._zygote_pid = zygote_pid
        self._memory_bytes = limits.memory_bytes if memory else None
        self._threads = limits.threads if threads else None
        self._limits = limits
        self._scratch = scratch
        self._spare_bytes = SPARE_BYTES + source_bytes
        self._base: int | None = None  # looked up when it is needed: most runs hold little
        self.interval_s = INTERVAL_S

    def check(self) -> tuple[ExitReason, str] | None:
        began = time.monotonic()
        found = self._check_process() or self._check_scratch()
        # A tenth of the host's time at most, however much there is to look through.
        self.interval_s = max(INTERVAL_S, 10 * (time.monotonic() - began))
        return found

    def _check_process_tree(self, process_tree: ProcessTree) -> tuple[ExitReason, str] | None:
        pids = process_tree.pids()
        most = self._limits.processes
        if most is not None and len(pids) > most:
            return ExitReason.DENIED, too_many(len(pids), "processes", "processes", most)
        if self._memory_bytes is not None:
            used = process_tree.held_bytes(pids)
            if used > self._memory_bytes:
                return ExitReason.MEMORY, held_too_much(used, self._memory_bytes)
        if self._threads is not None and self._limits.tasks is not None:
            threads = process_tree.threads(pids)
            if threads > self._limits.tasks:
                what = "processes and threads"
                return ExitReason.DENIED, too_many(threads, what, "threads", self._limits.tasks)
        return None

    def _check_process(self) -> tuple[ExitReason, str] | None:
        if self._process_tree is not None:
            return self._check_process_tree(self._process_tree)
        if not self._pid or (self._memory_bytes is self._threads is None):
            return None
        found = proc.stat(self._pid)
        return None if found is None else self.judge(found)

    def judge(self, found: proc.Stat) -> tuple[ExitReason, str] | None:
        """`check`, of memory and threads alone, for a process of which this is known already."""
        if self._memory_bytes is not None:
            resident = found.resident_bytes or proc.resident_bytes(self._pid)
            # The zygote's pages are in every child's count from the beginning.
            if resident > self._memory_bytes and self._base is None:
                self._base = proc.resident_bytes(self._zygote_pid)
            used = resident - (self._base or 0)
            if used > self._memory_bytes:
                return ExitReason.MEMORY, held_too_much(used, self._memory_bytes)
        if self._threads is not None and found.threads > self._threads:
            detail = too_many(found.threads, "threads", "threads", self._threads)
            return ExitReason.DENIED, detail
        return None

    def room_s(self, found: proc.Stat) -> float:
        """CPU seconds in which such a process can't have passed its limit on memory."""
        if self._memory_bytes is None:
            return math.inf
        return (self._memory_bytes + (self._base or 0) - found.resident_bytes) / MOST_BYTES_PER_S

    def _check_scratch(self) -> tuple[ExitReason, str] | None:
        if self._scratch is None or (self._limits.disk_bytes is self._limits.files is None):
            return None
        found = look_through(self._scratch, self._limits, self._spare_bytes)
        return (ExitReason.DENIED, found.trouble) if found.trouble else None


class Found(NamedTuple):
    """What lies below a folder: bytes, files and folders, and what is wrong with it, or None."""

    size: int
    files: int
    trouble: str | None = None


def look_through(
    top: str, limits: Limits, spare_bytes: int = SPARE_BYTES, spare_files: int = SPARE_INODES
) -> Found:
    """Add up what lies below the folder `top`.

    spare_bytes, spare_files: what there may be beyond `limits`; negative for what is to be added.

    Works on descriptors, so that no depth makes a path too long to follow, and stops as soon as
    something has gone too far. What vanishes meanwhile is passed over; what can't be looked into
    is as bad as what is too large.
    """
    size = files = 0
    open_: list[tuple[int, list[str]]] = []  # folders from the top down, and what is left in each
    try:
        _enter(top, None, open_)
        while open_:
            folder, names = open_[-1]
            if not names:
                os.close(folder)
                open_.pop()
                continue
            name = names.pop()
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                files += 1
                size += max(status.st_blocks, 1) * 512  # an empty file is something, too
                if stat.S_ISDIR(status.st_mode):
                    _enter(name, folder, open_)
            except PermissionError:
                what = "made a folder that can't be looked into, where its files must be counted"
                return Found(size, files, what)
            except OSError:
                continue
            if len(open_) > MAX_DEPTH:
                what = f"nested folders deeper than {MAX_DEPTH}, where its files must be counted"
                return Found(size, files, what)
            if limits.disk_bytes is not None and size > limits.disk_bytes + spare_bytes:
                most = size_of(limits.disk_bytes)
                what = f"wrote more than {most} of files (Limits.disk_bytes): allow more"
                return Found(size, files, what)
            if limits.files is not None and files > limits.files + spare_files:
                what = f"made more than {limits.files} files (Limits.files): allow more"
                return Found(size, files, what)
    finally:
        for folder, _ in open_:
            os.close(folder)
    return Found(size, files)


def _enter(name: str, folder: int | None, open_: list[tuple[int, list[str]]]) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    inner = os.open(name, flags, dir_fd=folder)
    try:
        open_.append((inner, os.listdir(inner)))
    except OSError:
        os.close(inner)
        raise
