"""What processes of a session ask about their system calls, and the answers (seccomp_unotify(2)).

A filter can't tell a fork that the host has asked for from another, nor a process's own id, which
changes with every call of a session. So it stops such a call and asks here. Arguments are
registers, copied when the call was made: what is looked at is what is then done.
"""

import contextlib
import fcntl
import os
import select
import struct
from typing import NamedTuple

from ..guest.jail import kernel

_NOTICE = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_DESCRIPTOR = struct.Struct("=QIIII")  # struct seccomp_notif_addfd
_RECEIVE, _SEND, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_CONTINUE, _ADD_AND_ANSWER = 1, 2
_EPERM = 1

CLONE = {"x86_64": 56, "aarch64": 220}.get(kernel.MACHINE, -1)
KILL = {"x86_64": 62, "aarch64": 129}.get(kernel.MACHINE, -1)
PRCTL = {"x86_64": 157, "aarch64": 167}.get(kernel.MACHINE, -1)
TGKILL = {"x86_64": 234, "aarch64": 131}.get(kernel.MACHINE, -1)


class Notification(NamedTuple):
    """One call that waits for an answer. thread: who makes it, by its id on the host."""

    serial: int
    thread: int
    call: int
    arguments: tuple[int, ...]


class Notifications:
    """The listener of one filter. Not thread-safe: what waits here, one thread must take."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_over = False  # no process is left that could ask, or come to be
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def take(self) -> Notification | None:
        """Return a call that waits, without waiting: the kernel counts at least one for each that
        makes the listener readable. None where there is none, or its process has just gone.
        """
        ready = self._poll.poll(0)
        if not ready or not ready[0][1] & select.POLLIN:
            self.is_over = bool(ready)  # hung up
            return None
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, notice)
        except OSError:
            return None
        serial, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        return Notification(serial, thread, call, tuple(arguments))

    def allow(self, notification: Notification) -> None:
        self._send(notification, 0, _CONTINUE)

    def refuse(self, notification: Notification) -> None:
        self._send(notification, -_EPERM, 0)

    def hand_over(self, notification: Notification, fd: int) -> None:
        """Answer with a copy of our descriptor `fd`: its number there is what the call returns."""
        data = _DESCRIPTOR.pack(notification.serial, _ADD_AND_ANSWER, fd, 0, os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # it is gone
            fcntl.ioctl(self.fd, _ADD_DESCRIPTOR, data)

    def _send(self, notification: Notification, error: int, flags: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(
                self.fd, _SEND, bytearray(_ANSWER.pack(notification.serial, 0, error, flags))
            )

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
