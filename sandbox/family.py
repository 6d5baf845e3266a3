"""A session with its branches, from the host's side: a keeper, and the states that it reaps."""

import contextlib
import os
import secrets
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable

from .guest import kernel, wire
from .guest.scratch import wipe
from .guest.session import ARRIVED, BRANCH, FAULT, FORK, HEADER, HELLO, MOVED, PLACED, SETTLED
from .jail import JailLost, close_all, pid_of, quoted, understood
from .limits import Limits
from .nursery import Nursery
from .patience import Patience
from .questions import CLONE, KILL, PRCTL, TGKILL, Question, Questions
from .state import Home, State, StateLost, Unfaithful, status_of

_PATIENCE_S = 60.0
"""A keeper's answer that takes longer will never come; it may have to copy many files."""

_LOOK_S = 0.1
"""How often a process that does not answer is looked at."""

_GLANCE_S = 0.002
"""What is waited for may have been taken by another thread that attends to the family."""

_MOST_QUESTIONS = 64
"""Answered at a time: who asks without end must not keep us from our clocks."""

_MOST_WORDS = 100
"""Taken at a time, and kept unasked for; a keeper says one for each process that ends."""

_OWN_NAMESPACES = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS
_CLONE_FLAGS = signal.SIGCHLD | kernel.CLONE_PARENT | kernel.CLONE_SETS_TID


class _Order:
    """A fork that the host has asked for: by whom, with which flags, and what came of it."""

    def __init__(self, state: State, flags: int, home: Home) -> None:
        self.state = state
        self.flags = flags
        self.home = home
        self.begun = False
        self.child: State | None = None


class Family:
    """A keeper and its processes. Forks are made one at a time; whoever waits for something of the
    family polls `fds()` as well, and calls `attend` when one of them is ready: it may be another's
    question or message that is there, and then that is seen to.
    """

    def __init__(self, nursery: Nursery, limits: Limits) -> None:
        self._forking = threading.RLock()
        self._attending = threading.Lock()  # guards everything below
        self._states: weakref.WeakValueDictionary[int, State] = weakref.WeakValueDictionary()
        self._words: list[wire.Value] = []
        self._order: _Order | None = None
        self._questions: Questions | None = None
        self._on_view: State | None = None  # a branch that may let itself be looked at
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keeper = ours
        folder = secrets.token_hex(16)
        # Where what is written can only be watched, and branches have their folders side by side.
        self._scratch = None if nursery.scratch is None else f"{nursery.scratch}/{folder}"
        self._home = Home() if self._scratch is None else Home(_new_name())
        self.nursery = nursery
        self.limits = limits
        self._users = 0
        try:
            with theirs:
                self._pidfd = nursery.fork_keeper(theirs, folder, self._home.name, limits)
        except BaseException:
            ours.close()
            raise
        self._pid = pid_of(self._pidfd)
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
        with theirs:
            self._tell(("first",), theirs.fileno())
        word = self._hear()
        match word:
            case ("first", int(inner)):
                pass
            case _:
                ours.close()
                raise JailLost(f"a keeper said {quoted(word)}")
        ours.settimeout(_PATIENCE_S)
        try:
            data, fds, _, _ = socket.recv_fds(ours, HEADER.size, 1)
        except OSError as error:
            ours.close()
            raise JailLost(f"the first head is gone, or silent ({error})") from None
        if len(fds) != 1:
            close_all(fds)
            text = _fault(ours, data)
            ours.close()
            raise JailLost(f"the first head was not confined: {text}")
        self._questions = Questions(fds[0])
        return self._know(State(self._host_pid(inner), inner, ours, self._home))

    def fork(self, state: State) -> State:
        """Fork a parked state; return its twin, which is parked. The state is awake afterwards."""
        with self._forking:
            state.require_one_thread()
            self._settle(state)
            twin = self._fork(state, FORK, _CLONE_FLAGS)
            twin.park()
            twin.settled = False
            return twin

    def _settle(self, state: State) -> None:
        """Have a parked state come to rest where it waits for commands."""
        if not state.settled:
            state.wake()
            self._expect(state, HELLO)
            state.park()
            state.settled = True

    def branch(self, state: State) -> State:
        """Fork a parked state into one that shares nothing with it, with files of its own. Raises
        `Unfaithful` for a state that can't be forked as it is. When all are made, `move_away`.
        """
        with self._forking:
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
                self._on_view = branch
            placed = wire.encode(where)
            branch.jobs.sendall(HEADER.pack(PLACED, len(placed)) + placed)
            self._expect(branch, SETTLED)
            self._ask(("settled?", branch.inner, home.name), "settled")
            self._on_view = None
            branch.jobs.sendall(HEADER.pack(PLACED, 0))
            self._expect(branch, HELLO)
            if where is not None:
                self._ask(("hidden?", branch.inner), "hidden")
        except BaseException as error:
            branch.close()
            if isinstance(error, (OSError, StateLost)):  # it is not the forerunner that is lost
                raise Unfaithful(f"a branch of it did not settle ({error})") from None
            raise
        finally:
            self._on_view = None
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

    def _know(self, state: State) -> State:
        self._states[state.inner] = state
        return state

    def fds(self) -> tuple[int, ...]:
        """What is readable when there is something to attend to."""
        listener = self._questions.fd if self._questions is not None else -1
        return tuple(fd for fd in (self._keeper.fileno(), listener) if fd >= 0)

    def attend(self) -> None:
        """Take what the keeper has said, and answer what processes ask, without waiting."""
        with self._attending:
            self._take_words()
            questions = self._questions
            for _ in range(_MOST_QUESTIONS):
                question = questions.take() if questions is not None else None
                if question is None:
                    return
                self._answer(question)

    def close(self) -> None:
        """End every process of the family."""
        with contextlib.suppress(OSError):
            # Not by closing alone: a process that the host has forked may have a copy of it.
            self._keeper.shutdown(socket.SHUT_RDWR)
        self._keeper.close()
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(2000):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            poll.poll(2000)
        os.close(self._pidfd)
        if self._questions is not None:
            self._questions.close()
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                os.chmod(self._scratch, 0o700)
                wipe(self._scratch)
                os.rmdir(self._scratch)

    # ---- questions

    def _answer(self, question: Question) -> None:
        assert self._questions is not None
        if question.call == KILL and question.arguments[0] == ARRIVED:
            if self._take_in(question):
                return
        elif self._is_right(question):
            self._questions.allow(question)
            return
        self._questions.refuse(question)

    def _is_right(self, question: Question) -> bool:
        """Whether the call is one that the host has asked for, or concerns its caller alone."""
        order = self._order
        if question.call == CLONE:
            if order is None or order.begun or question.thread != order.state.pid:
                return False
            order.begun = question.arguments[0] == order.flags
            return order.begun
        if question.call == PRCTL:
            return self._on_view is not None and question.thread == self._on_view.pid
        own = _inner_id(question.thread, "NStgid")
        return question.call in (KILL, TGKILL) and question.arguments[0] == own

    def _take_in(self, question: Question) -> bool:
        """Give the process that was ordered its socket; False for any other."""
        assert self._questions is not None
        order = self._order
        if order is None or not order.begun or order.child is not None:
            return False
        inner = self._new_process(question.thread)
        if not inner:
            return False
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                order.child = self._know(State(question.thread, inner, ours, order.home))
            except OSError:  # it is gone
                ours.close()
                return False
            order.child.knows = order.state.knows
            self._questions.hand_over(question, theirs.fileno())
        return True

    def _new_process(self, pid: int) -> int:
        """Its id in its own namespace, if it is a process, not a thread of one, a child of the
        keeper, and not one that has arrived before; else 0. All others have: `_end_strangers`.
        """
        if any(state.pid == pid for state in self._states.values()):
            return 0
        group, parent, ids = status_of(pid, "Tgid", "PPid", "NSpid")
        if (group, parent) != (str(pid), str(self._pid)):
            return 0
        return int(ids.split()[-1])

    def _end_strangers(self) -> None:
        """Kill what has been forked and did not arrive: nobody would ever stop it. Among what is
        left, one that arrives is the one that was ordered.
        """
        known = {state.pid for state in self._states.values()}
        for pid in self._children():
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                try:
                    if pid not in known and status_of(pid, "PPid") == [str(self._pid)]:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)

    def _children(self) -> list[int]:
        """The keeper's, by their ids on the host."""
        with open(f"/proc/{self._pid}/task/{self._pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def _host_pid(self, inner: int) -> int:
        for pid in self._children():
            if _inner_id(pid, "NSpid") == inner:
                return pid
        raise JailLost("a keeper's child can't be found")

    # ---- forks

    def _fork(self, state: State, kind: bytes, flags: int, home: Home | None = None) -> State:
        self._order = order = _Order(state, flags, home or state.home)
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
                self._order = None
                if order.child is not None:
                    order.child.close()
                elif order.begun:
                    self._end_strangers()
            raise
        finally:
            self._order = None

    def _wait(self, done: Callable[[], bool], state: State) -> None:
        """Attend to the family until `done`; `StateLost` where `state` says a fault, or goes."""
        patience = Patience(state.pid)
        poll = select.poll()
        for fd in (*self.fds(), state.pidfd, state.jobs.fileno()):
            poll.register(fd, select.POLLIN)
        while not done():
            ready = dict(poll.poll(_GLANCE_S * 1e3))
            self.attend()
            if done():
                return
            if state.jobs.fileno() in ready:
                raise StateLost(f"it was not forked: {_fault(state.jobs)}")
            if state.pidfd in ready or patience.is_over():
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

    # ---- the keeper

    def _tell(self, message: wire.Value, *descriptors: int) -> None:
        with self._attending:
            self._words.clear()
        try:
            socket.send_fds(self._keeper, [wire.encode(message)], descriptors)
        except OSError as error:
            raise JailLost(f"a keeper is gone ({error})") from None

    def _hear(self) -> wire.Value:
        poll = select.poll()
        poll.register(self._keeper, select.POLLIN)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with self._attending:
                self._take_words()
                if self._words:
                    return self._words.pop(0)
            if not poll.poll(_GLANCE_S * 1e3) and time.monotonic() > deadline:
                raise JailLost("a keeper does not answer")

    def _ask(self, message: wire.Value, expected: str) -> None:
        self._tell(message)
        match self._hear():
            case (word,) if word == expected:
                return
            case ("refused", str(why)):
                raise Unfaithful(why)
            case other:
                raise JailLost(f"a keeper said {quoted(other)}")

    def _take_words(self) -> None:
        for _ in range(_MOST_WORDS):
            try:
                data = self._keeper.recv(4096)
            except BlockingIOError:
                return
            except OSError as error:
                raise JailLost(f"a keeper is gone ({error})") from None
            if not data:
                raise JailLost("a keeper is gone")
            match understood(data, 100):
                case ("exit", int(inner), int(status), int(cpu_us)) if _is_end(status, cpu_us):
                    state = self._states.pop(inner, None)
                    if state is not None:
                        state.ended = (status, cpu_us / 1e6)
                case ("fault", str(step), str(text)):
                    raise JailLost(f"{step}: {text}")
                case word if len(self._words) < _MOST_WORDS:
                    self._words.append(word)
                case word:
                    raise JailLost(f"a keeper says more than it was asked: {quoted(word)}")


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


def _inner_id(pid: int, name: str) -> int:
    """The innermost of a process's ids (NSpid, NStgid); 0 where it is gone."""
    return int((status_of(pid, name)[0] or "0").split()[-1])


def _new_name() -> str:
    """A folder's name that nobody can guess: who knows it has the files."""
    return secrets.token_hex(16)
