"""A run's input that comes from another run: held by the host until there is room for it."""

import fcntl
import os
import struct
import termios

MOST_HELD = 1 << 16
"""Bytes that are held for who does not read them; then whoever writes has to wait."""


class Inlet:
    """A pipe to a run's standard input, and what is still to go into it.

    has_ended: nothing more will be put here. is_leaving: the run has closed its output: it is about
    to end, as a rule. heard: whether the run has read anything, or may have found the end of its
    input, before which there was nothing; known when it has ended.
    """

    def __init__(self) -> None:
        self.read_end = self._write_end = -1
        self.waiting = bytearray()
        self.has_ended = self.is_leaving = self.heard = False
        self._put = 0
        self._may_find_end = False

    def begin(self) -> None:
        """Make the pipe. `end` must follow."""
        self.read_end, self._write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write_end, False)
        # A run may have another user id, and may open /dev/stdin by name: to read only.
        os.fchmod(self.read_end, 0o444)

    def end(self) -> None:
        """Close the pipe."""
        self._close_write_end()
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    @property
    def wants_room(self) -> bool:
        return self._write_end >= 0 and bool(self.waiting)

    @property
    def fd(self) -> int:
        return self._write_end

    def move(self) -> None:
        """Put what is waiting into the pipe, as far as it goes, and then its end."""
        if self._write_end < 0:
            self.waiting.clear()
            return
        try:
            while self.waiting:
                moved = os.write(self._write_end, self.waiting[:MOST_HELD])
                self._put += moved
                del self.waiting[:moved]
        except BlockingIOError:
            return
        if self.has_ended:
            self._may_find_end = not self.is_leaving
            self._close_write_end()

    def close_at_exit(self) -> None:
        """Note what the run, which has ended, has read; what is waiting is for nobody."""
        left = struct.unpack("i", fcntl.ioctl(self.read_end, termios.FIONREAD, bytes(4)))[0]
        self.heard = left < self._put if self._put else self._may_find_end
        self._close_write_end()
        self.waiting.clear()

    def _close_write_end(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
