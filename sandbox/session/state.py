"""A parked process that holds a session's state, from the host's side."""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Sequence

from ..errors import PolicyError
from ..guest.jail import proc, wire
from ..guest.session import open_files
from ..guest.session.branching import Walk
from ..guest.session.head import FAULT, HEADER, MOVED, QUIESCE, QUIESCED
from ..jail.messages import quoted
from ..jail.pidfd import Pidfd
from .disk import Disk
from .group import Group
from .patience import LOOK_S, Patience

_REST_S = 5.0
"""In which whoever is told to stop does, on any machine."""

_THREAD_ENDS_S = 0.02
"""A thread that has been told to end is gone by then, on a machine that is not overloaded."""

_LONGEST_ACCOUNT = 64 << 10
"""Bytes of what a state may say of its threads and open files."""


class StateLost(Exception):
    """A parked process has died, or does not do what it is asked."""


class NotForkable(Exception):
    """A state that can't be forked as it is; the message says why."""

    def as_policy(self) -> PolicyError:
        return PolicyError(
            f"this state can't be forked: {self}; `rollback` goes back to one that can, `reset` "
            f"begins anew"
        )


class HasThreads(NotForkable):
    """A state with more than one thread: a fork copies one."""

    def as_policy(self) -> PolicyError:
        return PolicyError(
            f"this state can't be forked: {self}; have the program end its threads (join them, "
            f"shut executors down), or go back with `rollback` or `reset`"
        )


class Home:
    """Where the files of a session are, which all its states share.

    name: of its folder in the family's; it changes when branches come off, so that they can't find
    it any more (landlock tier; elsewhere every session has the same path, and "" stands for it).
    family: the family's folder on the host; None where there is none. users: how many need the
    files, as the family counts them.
    """

    def __init__(self, family: str | None = None, name: str = "") -> None:
        self.family = family
        self.name = name
        self.users = 0
        self.disk = Disk()

    def __repr__(self) -> str:
        return f"<Home {self.name}>"

    @property
    def path(self) -> str | None:
        """The folder on the host that holds the files; None where no folder does."""
        return None if self.family is None else f"{self.family}/{self.name}"


class State:
    """A process that holds a session's state; `jobs` is the socket it serves.

    pid: on the host; inner: in its own pid namespace; home: its files; knows: the name that it
    knows its home by. walk: how far its fork has come; None for a first head, which is no fork.
    ended: wait status and CPU seconds, once its family init has said so. Whoever has a state closes
    it.
    """

    def __init__(
        self, pid: int, inner: int, jobs: socket.socket, home: Home, walk: Walk | None = None
    ) -> None:
        self.pid = pid
        self.jobs = jobs
        self.home = home
        self.knows = home.name
        self.process = Pidfd.of(pid)
        self.inner = inner
        self.walk = walk
        self.ended: tuple[int, float] | None = None
        self.looked_at_s = 0.0  # CPU time that it had when its last call was over
        self.room_s = 0.0  # in which it can't come to hold more memory than it may
        self.group: Group | None = None  # that counts its session's memory, if one does
        self._dies_first = False
        self._lasting = 0  # threads that nothing could end

    def __repr__(self) -> str:
        return f"<State {self.pid}>"

    def park(self) -> None:
        """Stop it whole: no thread of it runs, no timer of it is seen to."""
        self.process.send(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send(signal.SIGCONT)

    def die_first(self) -> None:
        """Have the kernel choose this state when its group is out of memory, not an earlier one,
        which may be larger. Has no effect for an ordinary user, who may not decide that of a
        process that can't be looked at.
        """
        if self.group is not None and not self._dies_first:
            self._dies_first = True
            self._adjust(b"1000")

    def take_over(self, forerunner: "State") -> None:
        """Be counted with the state that this is a fork of, and die after it."""
        self.group = forerunner.group
        if forerunner._dies_first:
            self._adjust(b"0")

    def _adjust(self, badness: bytes) -> None:
        with contextlib.suppress(OSError):
            file = os.open(f"/proc/{self.pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(file, badness)
            finally:
                os.close(file)

    def say(self, word: bytes, *value: wire.Value, descriptors: Sequence[int] = ()) -> None:
        """Say a word that it knows, with a value where one belongs to it. Raises `OSError`."""
        payload = wire.encode(value[0]) if value else b""
        message = HEADER.pack(word, len(payload)) + payload
        if descriptors:
            socket.send_fds(self.jobs, [message], descriptors)
        else:
            self.jobs.sendall(message)

    def expect(self, word: bytes) -> None:
        """Wait for a new state's word; `StateLost` where it says another, ends, or is silent."""
        data = self._next("a new state")
        if data != HEADER.pack(word, 0):
            raise StateLost(f"a new state did not settle: {fault_of(self.jobs, data)}")

    def _hear(self, word: bytes) -> bytes:
        """Wait for one word of it, and return what belongs to it; raises as `expect`."""
        data = self._next("it")
        kind, size = HEADER.unpack(data) if len(data) == HEADER.size else (b"", 0)
        if kind != word or size > _LONGEST_ACCOUNT:
            raise StateLost(f"it said something else: {fault_of(self.jobs, data)}")
        self.jobs.settimeout(1)
        try:
            return self.jobs.recv(size, socket.MSG_WAITALL)
        except OSError as error:
            raise StateLost(f"it is gone, or silent ({error})") from None

    def _next(self, who: str) -> bytes:
        """The next header that it says. Its end is seen by the process: a fork of it that has not
        run yet has its socket, too.
        """
        if self.process.fileno() < 0:
            raise StateLost(f"{who} is gone")
        poll = select.poll()
        poll.register(self.jobs, select.POLLIN)
        poll.register(self.process, select.POLLIN)
        patience = Patience(self.pid)
        while not (ready := poll.poll(LOOK_S * 1e3)):
            if patience.is_over():
                raise StateLost(f"{who} does not answer")
        if all(fd != self.jobs.fileno() for fd, _ in ready):
            raise StateLost(f"{who} is gone")
        try:
            return self.jobs.recv(HEADER.size)
        except OSError as error:
            raise StateLost(f"{who} is gone ({error})") from None

    def tell_home(self) -> None:
        """Have it know where its files are, while it is awake. Raises `OSError`."""
        if self.home.path is not None and self.knows != self.home.name:
            self.say(MOVED, self.home.path)
            self.knows = self.home.name

    def is_at_rest(self) -> bool:
        """Whether it is stopped, as it was told to be, waiting until it is; not where it has ended
        first.
        """
        return self.rest() is not None

    def rest(self) -> proc.Stat | None:
        """Wait as `is_at_rest`; return what the kernel says of it when it is stopped, else None."""
        deadline = time.monotonic() + _REST_S
        while self.process.fileno() >= 0 and time.monotonic() < deadline:
            found = proc.stat(self.pid)
            if found is not None and found.state == "T":
                return found
            if found is None or not found.lives:
                return None
            time.sleep(0.0001)
        return None

    def resident_bytes(self) -> int:
        """Memory that is mapped, less what is of files; what it shares counts, too."""
        return proc.anonymous_bytes(self.pid)

    def proportional_bytes(self) -> int | None:
        """Memory that is mapped and of no file, of what is shared with other states a part each;
        None where we may not look. Takes 0.1 ms for a MiB.
        """
        return proc.proportional_bytes(self.pid)

    def has_threads(self) -> bool:
        """Whether there are more than the one that a fork copies."""
        return self._other_threads() > 0

    def require_one_thread(self) -> None:
        """Raise `HasThreads` where there are more, when the state, which is parked, has ended those
        that libraries keep idle; `StateLost` where it does not do so.
        """
        if self._other_threads():
            self.quiesce()

    def quiesce(self) -> list[tuple[int, str]]:
        """As `require_one_thread`, also where it has one thread: have it give up what libraries
        keep. Return what it has open, by its own account.
        """
        self.wake()
        try:
            names, files = self._account()
            gone_at = time.monotonic() + _THREAD_ENDS_S
            while not names and self._other_threads() > self._lasting:
                if time.monotonic() > gone_at:
                    break
                time.sleep(0.0005)
        finally:
            self.park()
        if not self.is_at_rest():
            raise StateLost("it is gone")
        left = self._other_threads()
        self._lasting = 0 if names else left
        if left:
            raise HasThreads(_described(left, names))
        return files

    def _other_threads(self) -> int:
        found = proc.stat(self.pid)
        return 0 if found is None else found.threads - 1

    def _account(self) -> tuple[list[str], list[tuple[int, str]]]:
        """Have it end the threads that are idle; return the names of those that Python has, and
        what is open.
        """
        try:
            self.say(QUIESCE)
        except OSError as error:
            raise StateLost(f"it is gone ({error})") from None
        payload = self._hear(QUIESCED)
        with contextlib.suppress(wire.WireError):
            match wire.decode(payload, max_nodes=1000):
                case (list(names), files) if all(isinstance(name, str) for name in names):
                    return [str(name) for name in names], open_files.decoded(files)
        raise StateLost("it does not say which threads it has")

    def end(self) -> None:
        """End the process, and wait until it has given back what it held."""
        self.process.send(signal.SIGKILL)
        self.process.has_ended(_REST_S)
        self.close()

    def close(self) -> None:
        """End the process."""
        self.process.send(signal.SIGKILL)
        self.jobs.close()
        self.process.close()


def _described(count: int, names: list[str]) -> str:
    """How many threads there are; their names are the program's word, for people."""
    threads = f"{count} other thread{'s' if count > 1 else ''} of it"
    verb = "are" if count > 1 else "is"
    return f"{threads} {verb} alive" + (f" ({quoted(', '.join(names))})" if names else "")


def fault_of(jobs: socket.socket, data: bytes | None = None) -> str:
    """What a state says is wrong: its own word, for people."""
    jobs.settimeout(1)
    with contextlib.suppress(OSError, wire.WireError):
        data = jobs.recv(HEADER.size) if data is None else data
        if len(data) == HEADER.size:
            kind, size = HEADER.unpack(data)
            if kind == FAULT and size < 4096:
                text = wire.decode(jobs.recv(size))
                return text if isinstance(text, str) else quoted(text)
    return "it does not say why"
