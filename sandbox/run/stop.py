"""Ending one run from any thread."""

import contextlib
import signal
import threading

from ..reasons import ExitReason


class Stop:
    """A way to end one run from any thread, with the reason that the host will give for it.

    The first reason counts. Before the run has begun, the reason waits for it. A branch is stopped
    with what it branched from, but not the other way round.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pidfd = -1  # guarded by _lock: it must not be closed while a signal is sent
        self.reason: ExitReason | None = None
        self._branches: list[Stop] = []  # guarded by _lock

    def branch(self) -> "Stop":
        """Return a stop for a part of this, which may end earlier."""
        branch = Stop()
        with self._lock:
            self._branches.append(branch)
        if self.reason is not None:
            branch(self.reason)
        return branch

    def __call__(self, reason: ExitReason) -> None:
        with self._lock:
            branches = tuple(self._branches)
            if self.reason is None:
                self.reason = reason
            if self._pidfd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        for branch in branches:
            branch(reason)

    def attach(self, pidfd: int) -> None:
        with self._lock:
            self._pidfd = pidfd
        if self.reason is not None:
            self(self.reason)

    def detach(self) -> None:
        with self._lock:
            self._pidfd = -1
