"""A session with its branches, from the host's side: a keeper, and the states that it reaps."""

import contextlib
import os
import secrets
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

from .guest import kernel, wire
from .guest.scratch import wipe
from .guest.session import ARRIVED, BRANCH, FAULT, FORK, HEADER, HELLO, PLACED, SETTLED
from .jail import JailLost, pid_of
from .limits import Limits
from .nursery import Nursery
from .questions import CLONE, KILL, TGKILL, Question, Questions

_PATIENCE_S = 10.0
"""A fork, or a keeper's answer, that takes longer will never come."""

_GLANCE_S = 0.002
"""What is waited for may have been taken by another thread that attends to the family."""

_MOST_QUESTIONS = 64
"""Answered at a time: who asks without end must not keep us from our clocks."""

_CLONE_FLAGS = signal.SIGCHLD | kernel.CLONE_PARENT | kernel.CLONE_SETS_TID


class StateLost(Exception):
    """A parked process has died, or does not do what it is asked."""


class Unfaithful(Exception):
    """A state that can't be forked as it is; the message says why."""


class State:
    """A process that holds a session's state; `jobs` is the socket it serves.

    pid: on the host; inner: in its own pid namespace. Whoever has a state closes it.
    """

    def __init__(self, pid: int, jobs: socket.socket) -> None:
        self.pid = pid
        self.jobs = jobs
        self.pidfd = os.pidfd_open(pid)
        self.inner = int((_status(pid, "NSpid") or ["0"])[-1])

    def __repr__(self) -> str:
        return f"<State {self.pid}>"

    def park(self) -> None:
        """Stop it whole: no thread of it runs, no timer of it is seen to."""
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """End the process."""
        if self.pidfd >= 0:
            self.signal(signal.SIGKILL)
            self.jobs.close()
            os.close(self.pidfd)
            self.pidfd = -1


class _Order:
    """A fork that the host has asked for: by whom, with which flags, and what came of it."""

    def __init__(self, state: State, flags: int) -> None:
        self.thread = state.pid
        self.flags = flags
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
        self._exits: dict[int, tuple[int, float]] = {}
        self._words: list[wire.Value] = []
        self._order: _Order | None = None
        self._questions: Questions | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keeper = ours
        folder = secrets.token_hex(16)
        # Where what is written can only be watched.
        self.scratch = None if nursery.scratch is None else f"{nursery.scratch}/{folder}"
        self.nursery = nursery
        self.limits = limits
        self._users = 0
        try:
            with theirs:
                self._pidfd = nursery.fork_keeper(theirs, folder, limits)
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
                raise JailLost(f"a keeper said {word!r:.80}")
        data, fds, _, _ = socket.recv_fds(ours, HEADER.size, 1)
        if len(fds) != 1:
            text = _fault(ours, data)
            ours.close()
            raise JailLost(f"the first head was not confined: {text}")
        self._questions = Questions(fds[0])
        return State(self._host_pid(inner), ours)

    def fork(self, state: State) -> State:
        """Fork a parked state; the new one waits for a job, and the old one is parked again."""
        with self._forking:
            _require_one_thread(state)
            child = self._fork(state, FORK, _CLONE_FLAGS)
            try:
                self._expect(child, HELLO)
            except BaseException:
                child.close()
                raise
            return child

    def branch(self, state: State) -> State:
        """Fork a parked state into one that shares nothing with it, with files of its own. Raises
        `Unfaithful` for a state that can't be forked as it is.
        """
        with self._forking:
            _require_one_thread(state)
            flags = _CLONE_FLAGS | kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS
            child = self._fork(state, BRANCH, flags)
            try:
                self._ask(("place", child.inner), "placed")
                child.jobs.sendall(HEADER.pack(PLACED, 0))
                self._expect(child, SETTLED)
                self._ask(("settled?", child.inner), "settled")
                child.jobs.sendall(HEADER.pack(PLACED, 0))
                self._expect(child, HELLO)
            except BaseException:
                child.close()
                raise
            return child

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

    def exit_of(self, state: State) -> tuple[int, float] | None:
        """Wait status and CPU seconds of a state that has ended, once the keeper has said so."""
        with self._attending:
            return self._exits.get(state.inner)

    def close(self) -> None:
        """End every process of the family."""
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
        if self.scratch is not None:
            with contextlib.suppress(OSError):
                wipe(self.scratch)
                os.rmdir(self.scratch)

    # ---- questions

    def _answer(self, question: Question) -> None:
        assert self._questions is not None
        order = self._order
        if question.call == CLONE:
            if order and not order.begun and question[1] == order.thread:
                order.begun = question.arguments[0] == order.flags
                if order.begun:
                    self._questions.allow(question)
                    return
        elif question.call == KILL and question.arguments[0] == ARRIVED:
            if order and order.begun and order.child is None and self._is_new(question.thread):
                ours, theirs = socket.socketpair()
                with theirs:
                    order.child = State(question.thread, ours)
                    self._questions.hand_over(question, theirs.fileno())
                return
        elif question.call in (KILL, TGKILL):
            own = _status(question.thread, "NStgid")
            if own and question.arguments[0] == int(own[-1]):
                self._questions.allow(question)
                return
        self._questions.refuse(question)

    def _is_new(self, pid: int) -> bool:
        """Whether it is a process, not a thread of one, and a child of the keeper."""
        is_leader = _status(pid, "Tgid") == [str(pid)]
        return is_leader and _status(pid, "PPid") == [str(self._pid)]

    def _host_pid(self, inner: int) -> int:
        with open(f"/proc/{self._pid}/task/{self._pid}/children", encoding="ascii") as file:
            for pid in file.read().split():
                if _status(int(pid), "NSpid")[-1:] == [str(inner)]:
                    return int(pid)
        raise JailLost("a keeper's child can't be found")

    # ---- forks

    def _fork(self, state: State, kind: bytes, flags: int) -> State:
        self._order = order = _Order(state, flags)
        try:
            state.wake()
            try:
                state.jobs.sendall(HEADER.pack(kind, 0))
            except OSError as error:
                raise StateLost(f"the state is gone ({error})") from None
            self._wait(lambda: order.child is not None, state)
            assert order.child is not None
            return order.child
        finally:
            self._order = None
            state.park()

    def _wait(self, done: Callable[[], bool], state: State) -> None:
        """Attend to the family until `done`; `StateLost` where `state` says a fault, or goes."""
        deadline = time.monotonic() + _PATIENCE_S
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
            if state.pidfd in ready or time.monotonic() > deadline:
                raise StateLost("it was not forked: it is gone, or does not answer")

    def _expect(self, state: State, kind: bytes) -> None:
        """Wait for one word of a state."""
        poll = select.poll()
        poll.register(state.jobs, select.POLLIN)
        for fd in self.fds():
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            ready = dict(poll.poll(max(deadline - time.monotonic(), 0) * 1e3))
            self.attend()
            if state.jobs.fileno() in ready:
                data = state.jobs.recv(HEADER.size)
                if data == HEADER.pack(kind, 0):
                    return
                raise StateLost(f"a new state did not settle: {_fault(state.jobs, data)}")
            if not ready:
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
                raise JailLost(f"a keeper said {other!r:.80}")

    def _take_words(self) -> None:
        while True:
            try:
                data = self._keeper.recv(4096)
            except BlockingIOError:
                return
            except OSError as error:
                raise JailLost(f"a keeper is gone ({error})") from None
            if not data:
                raise JailLost("a keeper is gone")
            match wire.decode(data, max_nodes=100):
                case ("exit", int(inner), int(status), int(cpu_us)):
                    self._exits[inner] = (status, cpu_us / 1e6)
                case ("fault", str(step), str(text)):
                    raise JailLost(f"{step}: {text}")
                case word:
                    self._words.append(word)


def _fault(jobs: socket.socket, data: bytes | None = None) -> str:
    """What a state says is wrong: its own word, for people."""
    jobs.settimeout(1)
    with contextlib.suppress(OSError, wire.WireError):
        data = jobs.recv(HEADER.size) if data is None else data
        if len(data) == HEADER.size:
            kind, size = HEADER.unpack(data)
            if kind == FAULT and size < 4096:
                return str(wire.decode(jobs.recv(size)))
    return "it does not say why"


def _require_one_thread(state: State) -> None:
    threads = _status(state.pid, "Threads")
    if threads and threads != ["1"]:
        raise Unfaithful(f"{int(threads[0]) - 1} threads of it are alive")


def _status(pid: int, name: str) -> list[str]:
    """The values of one line of /proc/<pid>/status; none where it is gone."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return line.split()[1:]
    return []
