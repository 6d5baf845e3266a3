"""What the processes of one family say and ask, from the host's side."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable

from ..guest.jail import wire
from ..guest.session.branching import ANSWERS
from ..guest.session.head import HEADER
from ..jail.messages import JailLost, quoted, understood
from .patience import Patience
from .state import NotForkable, State, StateLost, fault_of
from .supervisor import Order, Supervisor

_PATIENCE_S = 60.0
"""A family init's answer that takes longer will never come; it may have to copy many files."""

_LOOK_S = 0.1
"""How often a process that does not answer is looked at."""

_GLANCE_S = 0.002
"""What is waited for may have been taken by another thread that attends to the family."""

_MOST_WORDS = 100
"""Taken at a time, and kept unasked for; a family init says one for each process that ends."""


class Channel:
    """The socket of a family init, and the supervisor of its family. Whoever waits for something of
    the family polls `fds()` as well, and calls `attend` when one of them is ready: it may be
    another's question or message that is there, and then that is seen to.
    """

    def __init__(self, family_init: socket.socket, supervisor: Supervisor) -> None:
        self._attending = threading.Lock()  # guards everything below
        self._words: list[wire.Value] = []
        self._family_init = family_init
        self.supervisor = supervisor
        family_init.setblocking(False)

    def fds(self) -> tuple[int, ...]:
        """What is readable when there is something to attend to."""
        return tuple(fd for fd in (self._family_init.fileno(), self.supervisor.fd) if fd >= 0)

    def attend(self) -> None:
        """Take what the family init has said, and answer what processes ask, without waiting."""
        with self._attending:
            self._take_words()
            self.supervisor.answer()

    def close(self) -> None:
        """Close the socket, of which the family init learns that it has nothing to keep."""
        with contextlib.suppress(OSError):
            # Not by closing alone: a process that the host has forked may have a copy of it.
            self._family_init.shutdown(socket.SHUT_RDWR)
        self._family_init.close()

    # ---- states

    def order(self, order: Order, word: bytes) -> State:
        """Have a state that is awake fork; return what has arrived. `StateLost` where the state
        says a fault, ends, or does not do it.
        """
        state = order.state
        self.supervisor.order = order
        try:
            order.walk.take(word)
            try:
                state.tell_home()
                state.say(word)
            except OSError as error:
                raise StateLost(f"the state is gone ({error})") from None
            self._wait(lambda: order.child is not None, state)
            assert order.child is not None
            return order.child
        except BaseException:
            with self._attending:
                self.supervisor.withdraw()
            raise
        finally:
            self.supervisor.order = None

    def _wait(self, done: Callable[[], bool], state: State) -> None:
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
                raise StateLost(f"it was not forked: {fault_of(state.jobs)}")
            if state.process.fileno() in ready or patience.is_over():
                raise StateLost("it was not forked: it is gone, or does not answer")

    def expect(self, state: State, word: bytes) -> None:
        """Wait for one word of a state; `StateLost` where it says another, ends, or is silent."""
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
                if data == HEADER.pack(word, 0):
                    return
                raise StateLost(f"a new state did not settle: {fault_of(state.jobs, data)}")
            if patience.is_over():
                raise StateLost("a new state does not answer")

    # ---- the family init

    def ask(self, word: str, *arguments: wire.Value) -> None:
        """Have the family init do something. Raises `NotForkable` where it refuses."""
        self.tell((word, *arguments))
        match self.hear():
            case (answer,) if answer == ANSWERS[word]:
                return
            case ("refused", str(why)):
                raise NotForkable(why)
            case other:
                raise JailLost(f"a family init said {quoted(other)}")

    def tell(self, message: wire.Value, *descriptors: int) -> None:
        with self._attending:
            self._words.clear()
        try:
            socket.send_fds(self._family_init, [wire.encode(message)], descriptors)
        except OSError as error:
            raise JailLost(f"a family init is gone ({error})") from None

    def hear(self) -> wire.Value:
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
