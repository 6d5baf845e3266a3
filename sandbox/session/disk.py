"""The files of a session where no kernel caps them: looked at when a call has ended, and brought
back within their limits.

A call may be over before anybody has looked (`run/resource_monitor.py` does every 20 ms), and its
files stay. A look costs some 50 us, and 7 more a file, as much as a call with many of them; but a
program writes only so much in a second of its CPU time. So there is no look while what all calls
since the last one have used is too little to have written what was left then.
"""

import os
import stat
import time
from typing import NamedTuple

from ..guest.jail.confine import FOLDERS, SPARE_INODES
from ..guest.jail.scratch import open_up
from ..limits import Limits
from ..run.resource_monitor import MAX_DEPTH, MOST_BYTES_PER_S, SPARE_BYTES, look_through

_MOST_FILES_PER_S = 1e6
"""Made, or linked, in a second of CPU time (measured: 2e5 to 4e5, on tmpfs). As to bytes, what
touches no page, fallocate(2), is refused where files are watched."""


_CLOCK_REALTIME_COARSE = 5  # linux/time.h; Python does not name it


class Moment(NamedTuple):
    """A time, in ns, by the clocks that the kernel takes files' change times from: one that ticks
    every 1 to 10 ms, and for files that were looked at, since Linux 6.13, the exact one. What has
    changed since has a time of `least_ns` or more; what had changed before, of `most_ns` or less.
    """

    least_ns: int
    most_ns: int

    @classmethod
    def now(cls) -> "Moment":
        least_ns = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
        return cls(least_ns, time.clock_gettime_ns(time.CLOCK_REALTIME))


class Disk:
    """What is known of a session's files. All of its states share them; one runs at a time."""

    def __init__(self) -> None:
        self._left_s = 0.0  # of CPU time, in which nothing can have gone wrong

    def touched(self) -> None:
        """Somebody else has written there: the next call is followed by a look."""
        self._left_s = 0.0

    def trouble(self, top: str, limits: Limits, used_s: float) -> str | None:
        """Return what is wrong with the files below `top` after a call that has used so many CPU
        seconds, or None.
        """
        if limits.disk_bytes is limits.files is None:
            return None
        self._left_s -= used_s
        if self._left_s > 0:
            return None
        found = look_through(top, limits)
        if found.trouble is not None:
            return found.trouble
        left = [1.0]
        if limits.disk_bytes is not None:
            left.append((limits.disk_bytes + SPARE_BYTES - found.size) / MOST_BYTES_PER_S)
        if limits.files is not None:
            left.append((limits.files + SPARE_INODES - found.files) / _MOST_FILES_PER_S)
        self._left_s = min(left)
        return None

    def take_back(self, top: str, limits: Limits, since: Moment) -> str | None:
        """Remove the files below `top` that were made or changed since then, as the kernel has it:
        nobody else can set a change time. Return what is wrong with the rest, or None. No process
        may be running that could write there.

        If that is not enough, folders go where they are empty, and then what may be older. If the
        clock was set back since, what has been written stays, and is wrong.
        """
        self.touched()
        trouble = None
        for first_ns in (since.most_ns + 1, since.least_ns):
            for folders in (False, True):
                try:
                    _remove_since(top, first_ns, folders=folders)
                except OSError as error:
                    return f"left files that could not be removed ({error.strerror})"
                trouble = look_through(top, limits).trouble
                if trouble is None:
                    return None
        return trouble


def _remove_since(top: str, since_ns: int, *, folders: bool) -> None:
    above = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _remove_below(above, since_ns, folders, MAX_DEPTH, FOLDERS)
    finally:
        os.close(above)


def _remove_below(
    folder: int, since_ns: int, folders: bool, depth: int, spared: tuple[str, ...] = ()
) -> None:
    """Remove what has changed in a folder; what lies deeper than may be is left, and found then."""
    for name in os.listdir(folder) if depth else ():
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        has_changed = status.st_ctime_ns >= since_ns
        if not stat.S_ISDIR(status.st_mode):
            if has_changed:
                os.unlink(name, dir_fd=folder)
            continue
        inner = open_up(name, folder)
        try:
            _remove_below(inner, since_ns, folders, depth - 1)
        finally:
            os.close(inner)
        if folders and has_changed and name not in spared:
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError:  # something older is in it
                continue
