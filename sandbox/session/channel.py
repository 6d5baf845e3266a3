"""The words and notifications of one family, from the host's side."""

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence

from ..guest.jail import wire
from ..guest.session.branching import ANSWERS
from ..jail.messages import JailLost, quoted, understood
from .monitor import Monitor
from .patience import LOOK_S, Patience
from .state import NotForkable, State, StateLost, fault_of
from .supervisor import Order, Supervisor

logger = logging.getLogger(__name__)

_PATIENCE_S = 60.0
"""A family init's answer that takes longer will never come; it may have to copy many files."""

_END_PATIENCE_S = 5.0
"""How a process has ended is said at once, by a family init that gets a CPU."""

_MOST_AT_ONCE = 32
"""Words taken before others are served."""

_MOST_WORDS = 100
"""Kept unasked for; a family init says nothing but answers."""


class Channel:
    """The socket of a family init, and the supervisor of its family. The monitor attends to both,
    and nobody else reads them; callers wait here for what they need. Thread-safe.

    family_init: the socket, which is closed with this; also where `JailLost` is raised, as the
    monitor has ended. Everything raises `JailLost` once the family is lost.
    """

    def __init__(
        self, monitor: Monitor, family_init: socket.socket, supervisor: Supervisor
    ) -> None:
        self._changed = threading.Condition()  # guards everything below
        self._words: list[wire.Value] = []
        self._lost = ""  # why, when it is
        self._family_init = family_init
        self.supervisor = supervisor
        self._monitor = monitor
        family_init.setblocking(False)
        try:
            monitor.add(family_init.fileno(), self)
        except BaseException:
            family_init.close()
            raise

    def __repr__(self) -> str:
        return f"<Channel {self._lost or 'open'}>"

    def listen(self, fd: int) -> None:
        """Take the listener of the family's notifications, which is its own from now on."""
        with self._changed:
            self.supervisor.listen(fd)
            if not self._lost:
                self._monitor.add(fd, self)

    def close(self) -> None:
        """Close the socket, of which the family init learns that it has nothing to keep."""
        self.lose("it is closed")
        with contextlib.suppress(OSError):
            # Not by closing alone: a process that the host has forked may have a copy of it.
            self._family_init.shutdown(socket.SHUT_RDWR)
        self._family_init.close()

    # ---- the monitor's side

    def attend(self, fd: int) -> None:
        """Take some of what is there, without waiting. Does nothing where nothing is."""
        with self._changed:
            if self._lost:
                return
            try:
                if fd == self.supervisor.fd:
                    self.supervisor.answer()
                    if self.supervisor.is_over:  # it would be ready for ever
                        self._monitor.remove(fd)
                else:
                    self._take_words()
            except JailLost as error:
                self._lose(str(error))
            except Exception as error:  # an internal failure: it must not end other families
                logger.exception("attending to a family of sessions failed")
                self._lose(f"{type(error).__name__}: {error}")

    def lose(self, why: str) -> None:
        """Give the family up; callers that wait for something of it get `JailLost`. Idempotent."""
        with self._changed:
            if not self._lost:
                self._lose(why)

    def _lose(self, why: str) -> None:
        self._lost = why
        for fd in (self._family_init.fileno(), self.supervisor.fd):
            self._monitor.remove(fd)
        if self.supervisor.order is not None:
            self.supervisor.order.wake()
        self._changed.notify_all()

    def _take_words(self) -> None:
        for _ in range(_MOST_AT_ONCE):
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
            self._changed.notify_all()

    # ---- states

    def order(self, order: Order, word: bytes, *value: wire.Value) -> State:
        """Have a state that is awake fork, by `word`; return what has arrived. `StateLost` where
        the state says a fault, ends, or does not do it.
        """
        with self._changed:
            self.require()
            self.supervisor.order = order
        try:
            order.walk.take(word)
            try:
                order.state.tell_home()
                order.state.say(word, *value)
            except OSError as error:
                raise StateLost(f"the state is gone ({error})") from None
            self._wait_for(order)
            return self.supervisor.hand_over(order)
        except BaseException:
            with self._changed:
                self.supervisor.withdraw()
            raise
        finally:
            with self._changed:  # the monitor is to wake no order that is closed
                self.supervisor.order = None

    def _wait_for(self, order: Order) -> None:
        """Wait until a process has arrived."""
        state = order.state
        patience = Patience(state.pid)
        poll = select.poll()
        fds = (order.fileno(), state.jobs.fileno(), state.process.fileno())
        for fd in fds:
            poll.register(fd, select.POLLIN)
        arrived, said, ended = fds
        while True:
            ready = {fd for fd, _ in poll.poll(LOOK_S * 1e3)}
            if arrived in ready:
                with self._changed:
                    if order.child is None:
                        self.require()
                return
            if said in ready:
                raise StateLost(f"it was not forked: {fault_of(state.jobs)}")
            if ended in ready or patience.is_over():
                raise StateLost("it was not forked: it is gone, or does not answer")

    def end_of(self, state: State) -> tuple[int, float]:
        """Wait status and CPU seconds of a state that has ended, from its family init. It does not
        say so by itself: nobody needs the ends of most, and each word wakes the monitor.
        """
        self.send(("end", state.inner))
        self._wait(lambda: state.ended is not None, _END_PATIENCE_S)
        assert state.ended is not None
        return state.ended

    # ---- the family init

    def ask(self, word: str, *arguments: wire.Value, descriptors: Sequence[int] = ()) -> None:
        """Have the family init do something. Raises `NotForkable` where it refuses."""
        self.tell((word, *arguments), *descriptors)
        match self.hear():
            case (answer,) if answer == ANSWERS[word]:
                return
            case ("refused", str(why)):
                raise NotForkable(why)
            case other:
                raise JailLost(f"a family init said {quoted(other)}")

    def tell(self, message: wire.Value, *descriptors: int) -> None:
        with self._changed:
            self._words.clear()
        self.send(message, *descriptors)

    def send(self, message: wire.Value, *descriptors: int) -> None:
        """Say something to the family init. Raises `JailLost`."""
        with self._changed:
            self.require()
        try:
            socket.send_fds(self._family_init, [wire.encode(message)], descriptors)
        except OSError as error:
            raise JailLost(f"a family init is gone ({error})") from None

    def hear(self) -> wire.Value:
        """Wait for what the family init says next, other than ends."""
        self._wait(lambda: self._words, _PATIENCE_S)
        with self._changed:
            return self._words.pop(0)

    def _wait(self, done: Callable[[], object], patience_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: done() or self._lost, patience_s):
                raise JailLost("a family init does not answer")
            if not done():
                self.require()

    def require(self) -> None:
        """Raise `JailLost` if the family is lost."""
        if self._lost:
            raise JailLost(self._lost)


def _is_end(status: int, cpu_us: int) -> bool:
    """Whether these can be a wait status and a CPU time."""
    return 0 <= status < 1 << 16 and 0 <= cpu_us < 1 << 63
