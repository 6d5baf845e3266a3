"""Who may do what in a family: answers to the questions that a filter makes its processes ask.

A head's image is the program's. What it may do, beyond what the filter lets through, hangs on what
the host has ordered at that moment, and on what the kernel says of who asks: never on a word of its
own.
"""

import contextlib
import os
import signal
import socket
import weakref

from ..guest.jail import proc
from ..guest.session import branching as table
from ..guest.session.branching import At, Walk
from ..guest.session.head import ARRIVED
from ..jail.messages import JailLost
from ..jail.pidfd import Pidfd
from .notifications import CLONE, KILL, PRCTL, TGKILL, Notification, Notifications
from .state import Home, State

_MOST_AT_ONCE = 16
"""Answered before other families are served: one that asks without end must not keep them waiting.
"""


class Order:
    """A fork that the host has asked for: of which state, with which flags, and what came of it.

    home: of what is forked; walk: how far it has come, which the supervisor goes by. `fileno()` is
    readable when there is news: `child`, or the family is lost. Whoever makes an order closes it.
    """

    def __init__(self, state: State, flags: int, home: Home, walk: Walk) -> None:
        self.state = state
        self.flags = flags
        self.home = home
        self.walk = walk
        self.child: State | None = None
        self.question: Notification | None = None  # the child's, which asks for `theirs`
        self.ours, self.theirs = socket.socketpair()  # ours is the child's, if there is one
        try:
            self._news = os.eventfd(0, os.EFD_CLOEXEC)
        except BaseException:
            self.ours.close()
            self.theirs.close()
            raise

    def fileno(self) -> int:
        return self._news

    def wake(self) -> None:
        os.eventfd_write(self._news, 1)

    def close(self) -> None:
        os.close(self._news)
        self.theirs.close()
        if self.child is None:
            self.ours.close()


class Supervisor:
    """Answers the processes of one family init. Not thread-safe: its channel sees to that, but for
    `hand_over`.

    order: the fork that is wanted now; on_view: the branch that may let itself be looked at.
    """

    def __init__(self, family_init_pid: int) -> None:
        self._family_init_pid = family_init_pid
        self._states: weakref.WeakValueDictionary[int, State] = weakref.WeakValueDictionary()
        self._notifications: Notifications | None = None
        self.order: Order | None = None
        self.on_view: State | None = None

    def listen(self, fd: int) -> None:
        """Take questions from the listener `fd`, which is its own from now on."""
        self._notifications = Notifications(fd)

    @property
    def fd(self) -> int:
        """Readable when there is something to answer; -1 before `listen`."""
        return self._notifications.fd if self._notifications is not None else -1

    @property
    def is_over(self) -> bool:
        """Whether `answer` has found that no process is left that could ask."""
        return self._notifications is not None and self._notifications.is_over

    def know(self, state: State) -> None:
        """Note a process that has arrived."""
        self._states[state.inner] = state

    def has_ended(self, inner: int, status: int, cpu_s: float) -> None:
        """Take a family init's word on a process of its, by its id in there."""
        state = self._states.get(inner)
        if state is not None:
            state.ended = (status, cpu_s)

    def answer(self) -> None:
        """Answer what is asked, without waiting."""
        notifications = self._notifications
        for _ in range(_MOST_AT_ONCE):
            notification = notifications.take() if notifications is not None else None
            if notification is None:
                return
            self._answer(notification)

    def close(self) -> None:
        if self._notifications is not None:
            self._notifications.close()

    def _answer(self, notification: Notification) -> None:
        assert self._notifications is not None
        if notification.call == KILL and notification.arguments[0] == ARRIVED:
            if self._take_in(notification):
                return  # the answer is who made the order's to give
        elif self._is_right(notification):
            self._notifications.allow(notification)
            return
        self._notifications.refuse(notification)

    def _is_right(self, notification: Notification) -> bool:
        """Whether the call is one that the host has asked for, or concerns its caller alone."""
        order = self.order
        if notification.call == CLONE:
            if order is None or (
                order.walk.at is not At.ORDERED
                or notification.thread != order.state.pid
                or notification.arguments[0] != order.flags
            ):
                return False
            order.walk.take(table.CLONE)
            return True
        if notification.call == PRCTL:
            return self.on_view is not None and notification.thread == self.on_view.pid
        own = _inner_id(notification.thread, b"NStgid")
        return notification.call in (KILL, TGKILL) and notification.arguments[0] == own

    def _take_in(self, notification: Notification) -> bool:
        """Take in the process that was ordered; False for any other."""
        order = self.order
        if order is None or order.walk.at is not At.FORKED:
            return False
        inner = self._new_process(notification.thread)
        if not inner:
            return False
        try:
            child = State(notification.thread, inner, order.ours, order.home, order.walk)
        except OSError:  # it is gone
            return False
        self.know(child)
        child.knows = order.state.knows
        order.child, order.question = child, notification
        order.walk.take(table.ARRIVE)
        order.wake()
        return True

    def hand_over(self, order: Order) -> State:
        """Give the child of an order its socket, and return it. By who made the order: the kernel
        has us wait until the child has taken it, and its program may have it wait for a CPU.
        """
        assert self._notifications and order.child and order.question
        self._notifications.hand_over(order.question, order.theirs.fileno())
        return order.child

    def _new_process(self, pid: int) -> int:
        """Its id in its own namespace, if it is a process, not a thread of one, a child of the
        family init, and not one that has arrived before; else 0. All others have: `end_strangers`.
        """
        if self._is_known(pid):
            return 0
        found = proc.status(pid)
        if not found or int(found[b"Tgid"]) != pid or int(found[b"PPid"]) != self._family_init_pid:
            return 0
        return int(found[b"NSpid"].split()[-1])

    def withdraw(self) -> None:
        """Take an order back that was not carried out, and with it what has come of it."""
        order, self.order = self.order, None
        if order is None:
            return
        if order.child is not None:
            order.child.close()
        elif order.walk.at is At.FORKED:
            self.end_strangers()

    def _is_known(self, pid: int) -> bool:
        """Whether it has arrived; the id of a state that has ended may be another's by now."""
        states = self._states.values()
        return any(state.pid == pid and not state.process.has_ended() for state in states)

    def end_strangers(self) -> None:
        """Kill what has been forked and did not arrive: nobody would ever stop it. Among what is
        left, one that arrives is the one that was ordered.
        """
        for pid in self._children():
            with contextlib.suppress(OSError), contextlib.closing(Pidfd.of(pid)) as process:
                found = None if self._is_known(pid) else proc.stat(pid)
                if found is not None and found.parent == self._family_init_pid:
                    process.send(signal.SIGKILL)

    def _children(self) -> list[int]:
        """The family init's, by their ids on the host; none where it has gone, and they with it."""
        try:
            return proc.children(self._family_init_pid)
        except (FileNotFoundError, ProcessLookupError):
            return []

    def host_pid(self, inner: int) -> int:
        for pid in self._children():
            if _inner_id(pid, b"NSpid") == inner:
                return pid
        raise JailLost("a family init's child can't be found")


def _inner_id(pid: int, name: bytes) -> int:
    """The innermost of a process's ids (NSpid, NStgid); 0 where it is gone."""
    return int(proc.status(pid).get(name, b"0").split()[-1])
