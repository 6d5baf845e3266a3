"""A session with its branches, from the host's side: a family init, and the states that it
reaps."""

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

from ..guest.jail import kernel, wire
from ..guest.jail.scratch import wipe
from ..guest.session.head import BRANCH, FAULT, FORK, HEADER, HELLO, MOVED, PLACED, SETTLED
from ..jail.jail import KILL_PATIENCE_S
from ..jail.messages import JailLost, close_all, quoted, understood
from ..limits import Limits
from .fork_server import ForkServer
from .patience import Patience
from .state import Home, NotForkable, State, StateLost
from .supervisor import Order, Supervisor

_PATIENCE_S = 60.0
"""A family init's answer that takes longer will never come; it may have to copy many files."""

_LOOK_S = 0.1
"""How often a process that does not answer is looked at."""

_GLANCE_S = 0.002
"""What is waited for may have been taken by another thread that attends to the family."""

_LAST_WORDS_S = 0.2
"""In which a family init that is ended together with a state of its is seen to be gone."""

_MOST_WORDS = 100
"""Taken at a time, and kept unasked for; a family init says one for each process that ends."""

_OWN_NAMESPACES = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS
_CLONE_FLAGS = signal.SIGCHLD | kernel.CLONE_PARENT | kernel.CLONE_SETS_TID


class Family:
    """A family init and its processes. Forks are made one at a time; whoever waits for something of
    the family polls `fds()` as well, and calls `attend` when one of them is ready: it may be
    another's question or message that is there, and then that is seen to.
    """

    def __init__(self, fork_server: ForkServer, limits: Limits) -> None:
        self._forking = threading.RLock()
        self._attending = threading.Lock()  # guards everything below
        self._words: list[wire.Value] = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._family_init = ours
        folder = os.urandom(16).hex()
        # Where what is written can only be watched, and branches have their folders side by side.
        self._scratch = None if fork_server.scratch is None else f"{fork_server.scratch}/{folder}"
        self._home = Home() if self._scratch is None else Home(_new_name())
        self.fork_server = fork_server
        self.limits = limits
        self._users = 0
        try:
            with theirs:
                self._process = fork_server.fork_family_init(
                    theirs, folder, self._home.name, limits
                )
        except BaseException:
            ours.close()  # of which the family init learns that it has nothing to keep
            raise
        self.pid = self._process.pid
        self.supervisor = Supervisor(self.pid)
        ours.setblocking(False)

    def use(self) -> None:
        """Count a session that needs the family."""
        with self._attending:
            self._users += 1

    def unuse(self) -> None:
        """The session needs it no longer; the last one closes it."""
        with self._attending:
            self._users -= 1
            last = self._users == 0
        if last:
            self.close()

    def first(self) -> State:
        """Fork the first head."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._tell(("first",), theirs.fileno())
            return self._meet(ours)
        except BaseException:
            ours.close()
            raise

    def _meet(self, jobs: socket.socket) -> State:
        """Take the first head's id from the family init, and its questions from itself."""
        word = self._hear()
        match word:
            case ("first", int(inner)):
                pass
            case _:
                raise JailLost(f"a family init said {quoted(word)}")
        jobs.settimeout(_PATIENCE_S)
        try:
            data, fds, _, _ = socket.recv_fds(jobs, HEADER.size, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise JailLost(f"the first head is gone, or silent ({error})") from None
        if len(fds) != 1:
            close_all(fds)
            raise JailLost(f"the first head was not confined: {_fault(jobs, data)}")
        self.supervisor.listen(fds[0])
        try:
            head = State(self.supervisor.host_pid(inner), inner, jobs, self._home)
        except OSError as error:
            raise JailLost(f"the first head is gone ({error})") from None
        self.supervisor.know(head)
        return head

    def fork(self, state: State) -> State:
        """Fork a parked state; return its checkpoint, which is parked. The state is awake
        afterwards.

        Raises `StateLost` where the state does not do it: its program has seen to that. What was
        ended while it was parked, or with its family init, is no program's doing, and a `JailLost`.
        """
        with self._forking, self._blaming(state):
            state.require_one_thread()
            self._settle(state)
            checkpoint = self._fork(state, FORK, _CLONE_FLAGS)
            checkpoint.park()
            checkpoint.settled = False
            return checkpoint

    @contextlib.contextmanager
    def _blaming(self, state: State) -> Iterator[None]:
        if not state.is_at_rest():  # it has not run since it was
            raise JailLost("a parked state was ended from outside")
        try:
            yield
        except StateLost as error:
            # Who ends a fork server ends all below it, not at once.
            if self._process.has_ended(_LAST_WORDS_S):
                raise JailLost(f"a family init is gone ({error})") from None
            raise

    def _settle(self, state: State) -> None:
        """Have a parked state come to rest where it waits for commands."""
        if not state.settled:
            state.wake()
            self._expect(state, HELLO)
            state.park()
            state.settled = True

    def branch(self, state: State) -> State:
        """Fork a parked state into one that shares nothing with it, with files of its own. Raises
        `NotForkable` for a state that can't be forked as it is, and as `fork` does. When all are
        made, `move_away`.
        """
        with self._forking, self._blaming(state):
            state.require_one_thread()
            if self._scratch is None:
                return self._branch(state, state.home, _CLONE_FLAGS | _OWN_NAMESPACES)
            home = Home(_new_name())
            self._ask(("copy", state.home.name, home.name), "copied")
            branch = self._branch(state, home, _CLONE_FLAGS)
            try:
                # It could be looked at for a moment, and could have been seen where it was.
                self._rename(home)
            except BaseException:
                branch.close()
                raise
            return branch

    def move_away(self, home: Home) -> None:
        """Take files to where those who have known their place don't find them."""
        if self._scratch is not None:
            with self._forking:
                self._rename(home)

    def scratch_of(self, state: State) -> str | None:
        """The folder on the host that holds a state's files; None where no folder does."""
        return None if self._scratch is None else f"{self._scratch}/{state.home.name}"

    def _branch(self, state: State, home: Home, flags: int) -> State:
        self._settle(state)
        try:
            branch = self._fork(state, BRANCH, flags, home)
        finally:
            state.park()
        where = self.scratch_of(branch)
        try:
            if where is None:
                self._ask(("place", branch.inner), "placed")
            else:
                self.supervisor.on_view = branch
            placed = wire.encode(where)
            branch.jobs.sendall(HEADER.pack(PLACED, len(placed)) + placed)
            self._expect(branch, SETTLED)
            self._ask(("settled?", branch.inner, home.name), "settled")
            self.supervisor.on_view = None
            branch.jobs.sendall(HEADER.pack(PLACED, 0))
            self._expect(branch, HELLO)
            if where is not None:
                self._ask(("hidden?", branch.inner), "hidden")
        except BaseException as error:
            branch.close()
            if isinstance(error, (OSError, StateLost)):  # it is not the forerunner that is lost
                raise NotForkable(f"a branch of it did not settle ({error})") from None
            raise
        finally:
            self.supervisor.on_view = None
        branch.park()
        return branch

    def tell_home(self, state: State) -> None:
        """Have a state that is awake know where its files are."""
        where = self.scratch_of(state)
        if where is not None and state.knows != state.home.name:
            moved = wire.encode(where)
            state.jobs.sendall(HEADER.pack(MOVED, len(moved)) + moved)
            state.knows = state.home.name

    def _rename(self, home: Home) -> None:
        name = _new_name()
        self._ask(("rename", home.name, name), "renamed")
        home.name = name

    def fds(self) -> tuple[int, ...]:
        """What is readable when there is something to attend to."""
        return tuple(fd for fd in (self._family_init.fileno(), self.supervisor.fd) if fd >= 0)

    def attend(self) -> None:
        """Take what the family init has said, and answer what processes ask, without waiting."""
        with self._attending:
            self._take_words()
            self.supervisor.answer()

    def close(self) -> None:
        """End every process of the family."""
        with contextlib.suppress(OSError):
            # Not by closing alone: a process that the host has forked may have a copy of it.
            self._family_init.shutdown(socket.SHUT_RDWR)
        self._family_init.close()
        if not self._process.has_ended(KILL_PATIENCE_S):
            self._process.send(signal.SIGKILL)
            self._process.has_ended(KILL_PATIENCE_S)
        self._process.close()
        self.supervisor.close()
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                os.chmod(self._scratch, 0o700)
                wipe(self._scratch)
                os.rmdir(self._scratch)

    # ---- forks

    def _fork(self, state: State, kind: bytes, flags: int, home: Home | None = None) -> State:
        self.supervisor.order = order = Order(state, flags, home or state.home)
        try:
            state.wake()
            try:
                self.tell_home(state)
                state.jobs.sendall(HEADER.pack(kind, 0))
            except OSError as error:
                raise StateLost(f"the state is gone ({error})") from None
            self._wait(lambda: order.child is not None, state)
            assert order.child is not None
            return order.child
        except BaseException:
            with self._attending:
                self.supervisor.order = None
                if order.child is not None:
                    order.child.close()
                elif order.begun:
                    self.supervisor.end_strangers()
            raise
        finally:
            self.supervisor.order = None

    def _wait(self, done: Callable[[], bool], state: State) -> None:
        """Attend to the family until `done`; `StateLost` where `state` says a fault, or goes."""
        patience = Patience(state.pid)
        poll = select.poll()
        for fd in (*self.fds(), state.process.fileno(), state.jobs.fileno()):
            poll.register(fd, select.POLLIN)
        while not done():
            ready = dict(poll.poll(_GLANCE_S * 1e3))
            self.attend()
            if done():
                return
            if state.jobs.fileno() in ready:
                raise StateLost(f"it was not forked: {_fault(state.jobs)}")
            if state.process.fileno() in ready or patience.is_over():
                raise StateLost("it was not forked: it is gone, or does not answer")

    def _expect(self, state: State, kind: bytes) -> None:
        """Wait for one word of a state."""
        poll = select.poll()
        poll.register(state.jobs, select.POLLIN)
        for fd in self.fds():
            poll.register(fd, select.POLLIN)
        patience = Patience(state.pid)
        while True:
            ready = dict(poll.poll(_LOOK_S * 1e3))
            self.attend()
            if state.jobs.fileno() in ready:
                try:
                    data = state.jobs.recv(HEADER.size)
                except OSError as error:
                    raise StateLost(f"a new state is gone ({error})") from None
                if data == HEADER.pack(kind, 0):
                    return
                raise StateLost(f"a new state did not settle: {_fault(state.jobs, data)}")
            if patience.is_over():
                raise StateLost("a new state does not answer")

    # ---- the family init

    def _tell(self, message: wire.Value, *descriptors: int) -> None:
        with self._attending:
            self._words.clear()
        try:
            socket.send_fds(self._family_init, [wire.encode(message)], descriptors)
        except OSError as error:
            raise JailLost(f"a family init is gone ({error})") from None

    def _hear(self) -> wire.Value:
        poll = select.poll()
        poll.register(self._family_init, select.POLLIN)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with self._attending:
                self._take_words()
                if self._words:
                    return self._words.pop(0)
            if not poll.poll(_GLANCE_S * 1e3) and time.monotonic() > deadline:
                raise JailLost("a family init does not answer")

    def _ask(self, message: wire.Value, expected: str) -> None:
        self._tell(message)
        match self._hear():
            case (word,) if word == expected:
                return
            case ("refused", str(why)):
                raise NotForkable(why)
            case other:
                raise JailLost(f"a family init said {quoted(other)}")

    def _take_words(self) -> None:
        for _ in range(_MOST_WORDS):
            try:
                data = self._family_init.recv(4096)
            except BlockingIOError:
                return
            except OSError as error:
                raise JailLost(f"a family init is gone ({error})") from None
            if not data:
                raise JailLost("a family init is gone")
            match understood(data, 100):
                case ("exit", int(inner), int(status), int(cpu_us)) if _is_end(status, cpu_us):
                    self.supervisor.has_ended(inner, status, cpu_us / 1e6)
                case ("fault", str(step), str(text)):
                    raise JailLost(f"{step}: {text}")
                case word if len(self._words) < _MOST_WORDS:
                    self._words.append(word)
                case word:
                    raise JailLost(f"a family init says more than it was asked: {quoted(word)}")


def _is_end(status: int, cpu_us: int) -> bool:
    """Whether these can be a wait status and a CPU time."""
    return 0 <= status < 1 << 16 and 0 <= cpu_us < 1 << 63


def _fault(jobs: socket.socket, data: bytes | None = None) -> str:
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


def _new_name() -> str:
    """A folder's name that nobody can guess: who knows it has the files."""
    return os.urandom(16).hex()
