"""A process by a descriptor of it, which never comes to stand for another, as a number does."""

import contextlib
import os
import select
import signal
import threading

from .messages import JailLost


class Pidfd:
    """Owns the descriptor `fd` of a process, from the call on; `close` gives it back. Thread-safe.

    pid: the process's id on the host; looked up unless it is given, and 0 if the process was gone.
    Raises `JailLost` for a descriptor of something else, which is then closed: jails send some.
    """

    def __init__(self, fd: int, pid: int | None = None) -> None:
        self._lock = threading.Lock()
        self._fd = fd  # guarded by _lock: it must not be closed while a signal is sent
        try:
            self.pid = _pid_behind(fd) if pid is None else pid
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, pid: int) -> "Pidfd":
        """Open a process by its id on the host. Raises `OSError` if there is none."""
        return cls(os.pidfd_open(pid), pid)

    def __repr__(self) -> str:
        return f"<Pidfd {self.pid}{' closed' if self._fd < 0 else ''}>"

    def fileno(self) -> int:
        """The descriptor, which is readable when the process has ended; -1 when it is closed."""
        return self._fd

    def send(self, number: int) -> None:
        """Send a signal; to a process that is gone, or when this is closed, do nothing."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, number)

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Whether the process has ended, waiting for it up to `timeout_s`; also if closed."""
        if self._fd < 0:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1e3))

    def reap(self) -> None:
        """Wait for the process, if it has ended and this one has inherited it; else do nothing."""
        with self._lock, contextlib.suppress(ChildProcessError):
            if self._fd >= 0:
                os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _pid_behind(fd: int) -> int:
    """The process id behind a pidfd (proc_pid_fdinfo(5)), 0 if the process is gone."""
    with open(f"/proc/self/fdinfo/{fd}", "rb", buffering=0) as file:
        fields = file.read(512).split()
    if b"Pid:" not in fields:
        raise JailLost("a process of the jail sent a descriptor of something else")
    return max(int(fields[fields.index(b"Pid:") + 1]), 0)
