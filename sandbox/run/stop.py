"""Ending one run from any thread."""

import signal
import threading

from ..jail.pidfd import Pidfd
from ..reasons import ExitReason


class Stop:
    """A way to end one run from any thread, with the reason that the host will give for it.

    The first reason counts. Before the run has begun, the reason waits for it. A branch is stopped
    with what it branched from, but not the other way round.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Pidfd | None = None  # guarded by _lock: after `detach`, no signal is sent
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
            if self._process is not None:
                self._process.send(signal.SIGKILL)
        for branch in branches:
            branch(reason)

    def attach(self, process: Pidfd) -> None:
        """Have the run's process killed from now on, also for a reason that has waited for it."""
        with self._lock:
            self._process = process
        if self.reason is not None:
            self(self.reason)

    def detach(self) -> None:
        with self._lock:
            self._process = None
