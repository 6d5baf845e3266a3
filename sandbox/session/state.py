"""A parked process that holds a session's state, from the host's side."""

import os
import signal
import socket
import time

from ..errors import PolicyError
from ..jail.pidfd import Pidfd

_REST_S = 5.0
"""In which whoever is told to stop does, on any machine."""


class StateLost(Exception):
    """A parked process has died, or does not do what it is asked."""


class NotForkable(Exception):
    """A state that can't be forked as it is; the message says why."""

    def as_policy(self) -> PolicyError:
        return PolicyError(
            f"this state can't be forked: {self}; `rollback` goes back to one that can, `reset` "
            f"begins anew, and sessions with rollback=False fork nothing"
        )


class Home:
    """Where the files of a session are, which all its states share.

    name: of its folder in the family's; it changes when branches come off, so that they can't find
    it any more (landlock tier; elsewhere every session has the same path, and "" stands for it).
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Home {self.name}>"


class State:
    """A process that holds a session's state; `jobs` is the socket it serves.

    pid: on the host; inner: in its own pid namespace; home: its files; knows: the name that it
    knows its home by. settled: it has said HELLO; a checkpoint is stopped before that, and most are
    never needed. ended: wait status and CPU seconds, once its family init has said so. Whoever has
    a state closes it.
    """

    def __init__(self, pid: int, inner: int, jobs: socket.socket, home: Home) -> None:
        self.pid = pid
        self.jobs = jobs
        self.home = home
        self.knows = home.name
        self.process = Pidfd.of(pid)
        self.inner = inner
        self.settled = True
        self.ended: tuple[int, float] | None = None

    def __repr__(self) -> str:
        return f"<State {self.pid}>"

    def park(self) -> None:
        """Stop it whole: no thread of it runs, no timer of it is seen to."""
        self.process.send(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send(signal.SIGCONT)

    def is_at_rest(self) -> bool:
        """Whether it is stopped, as it was told to be, waiting until it is; not where it has ended
        first.
        """
        deadline = time.monotonic() + _REST_S
        while self.process.fileno() >= 0 and time.monotonic() < deadline:
            found = status_of(self.pid, "State")[0][:1]
            if found == "T":
                return True
            if found in ("", "Z", "X"):
                return False
            time.sleep(0.0001)
        return False

    def require_one_thread(self) -> None:
        """Raise `NotForkable` where there are more: a fork copies one."""
        threads = status_of(self.pid, "Threads")[0] or "1"
        if threads != "1":
            raise NotForkable(f"{int(threads) - 1} threads of it are alive")

    def close(self) -> None:
        """End the process."""
        self.process.send(signal.SIGKILL)
        self.jobs.close()
        self.process.close()


def status_of(pid: int, *names: str) -> list[str]:
    """What /proc/<pid>/status says under `names`, which stand there in this order; "" where the
    process is gone.
    """
    try:
        file = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(file, 8192).decode("ascii", "replace")
        finally:
            os.close(file)
    except OSError:
        return [""] * len(names)
    found = []
    for name in names:
        _, _, text = text.partition(f"\n{name}:")
        value, _, text = text.partition("\n")
        found.append(value.strip())
        text = "\n" + text
    return found
