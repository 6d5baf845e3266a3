"""Starting processes that see the host's files where others may reach them.

A jail of a root-owned pool runs as an id of its own, which can't enter a home directory of mode
0700; an interpreter that lies there must be shown to it elsewhere. A thread can have a mount
namespace of its own (unshare(2)), so one thread of this process makes the detours, below a
folder of the runtime, starts every jail, and takes them along when it ends: neither the host's
mounts nor anyone else's are touched.
"""

import concurrent.futures
import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterable
from typing import Any

from ..errors import SetupError
from ..guest.jail import kernel
from .layout import Mounts

_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_CLONE_FS = 0x200


class Launcher:
    """Starts processes from this thread, or from one with detours for `sources`.

    sources: host paths that must be reachable by other ids; `folder` an empty directory to
    show those in that are not. `close` ends the thread, if there is one.
    """

    def __init__(self, sources: Iterable[str] = (), folder: str | None = None) -> None:
        hidden = sorted({path for path in sources if not is_reachable(path)})
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._places: dict[str, str] = {}
        if hidden and folder:
            self._places = {path: f"{folder}/{n}" for n, path in enumerate(hidden)}
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "launcher")
            try:
                self._executor.submit(self._stage, folder).result()
            except (OSError, RuntimeError) as error:  # no more threads
                self.close()
                raise SetupError("staging", f"{error}; needed for {hidden[0]}") from error
            except BaseException:
                self.close()
                raise

    def mounts(self, mounts: Mounts) -> Mounts:
        """Return `mounts` with the detours in place of the paths that they stand for."""
        binds = [(self._places.get(source, source), target) for source, target in mounts.binds]
        return Mounts(binds, mounts.covers, mounts.links)

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """`subprocess.Popen`, from the thread that sees the detours."""
        if self._executor is None:
            return subprocess.Popen(command, **options)
        return self._executor.submit(lambda: subprocess.Popen(command, **options)).result()

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def _stage(self, folder: str) -> None:
        kernel.unshare(kernel.CLONE_NEWNS | _CLONE_FS)
        kernel.mount(b"none", b"/", b"none", _MS_REC | _MS_PRIVATE, None)
        kernel.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"mode=0711")
        for source, place in self._places.items():
            if os.path.isdir(source):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
            kernel.mount(source.encode(), place.encode(), b"none", _MS_BIND | _MS_REC, None)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the group that a zygote leads: a child of its that somebody has stopped before it could
    leave the group, and ask to die with its parent, would stay for ever.
    """
    if process.returncode is None:  # until it is reaped, nobody else can have its number
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """Wait for a process whose work is over; kill it where it does not leave by itself."""
    deadline = time.monotonic() + patience_s
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.1))


def is_reachable(path: str) -> bool:
    """Tell whether every folder above `path` lets any user through."""
    folder = os.path.dirname(os.path.realpath(path))
    while True:
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            return False
        if folder == "/":
            return True
        folder = os.path.dirname(folder)


def is_readable(path: str) -> bool:
    """Tell whether any user who gets to `path` may read it (and enter it, if it is a folder)."""
    mode = os.stat(path).st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted
