"""A program's input that comes while it runs: moved from a caller's stream into a pipe.

    a file, pipe, socket, terminal ---- `Feed`, in the loop of the run ---- pipe ---- program's 0

A program is never given the caller's own descriptor. It could open a file anew to write to it,
through /proc/self/fd/0, or set a terminal and type into it. It has the read end of a pipe; the host
has the write end. Nothing here waits: the loop of the run asks which descriptor to look at. If a
program reads nothing, or its input never ends, the loop just finds nothing to do.

What the program has not read stays in the stream, as it does under `python`, so that a loop of a
shell goes on with the next line. The position of a file is set at the end. A part of a pipe is
copied with tee(2), and removed when the program has read it; for that, the program's pipe holds one
buffer, and so is writable only while it is empty. From a terminal, a socket or a device one part of
at most a page may be taken and not read.
"""

import contextlib
import ctypes
import errno
import fcntl
import io
import math
import os
import select
import signal
import stat
import struct
import termios
import time
from typing import Protocol, runtime_checkable

_libc = ctypes.CDLL(None, use_errno=True)

_SPLICE_F_NONBLOCK = 2

_PART = 1 << 16
"""Bytes that are moved at once, of a file: as many as a pipe holds."""

_PAGE = 1 << 12
"""Bytes that are moved at once, of what can't be put back: one buffer of a pipe."""

_PAUSE_S = 0.3
"""How long a terminal is not looked at after another process was found in its foreground."""

_TURN_S, _NEXT_S = 0.002, 0.001
"""For how long parts are moved one after the other, and the next one is waited for: to look at the
rest of a run costs as much as many parts."""

_BUSY_S = 0.01
"""For how long after a part was moved the next one is expected."""


@runtime_checkable
class Stream(Protocol):
    """An open file, pipe, socket or terminal."""

    def fileno(self) -> int: ...


class Feed:
    """The input of one run, from a copy of a stream's descriptor, which `close` closes.

    For each try of the run, `begin` makes the pipe, whose `read_end` is for the program. `watch`
    has a poll look at what comes next, `move` moves what is there. `end` closes the pipe; the
    stream then lacks only what the program has read. error: what ended the input early, or None.

    Raises TypeError and ValueError, which name the argument `stdin`, for what can't be read.
    """

    def __init__(self, stream: Stream) -> None:
        fd = _copy_of(stream)
        try:
            self._source = _source_of(fd)
        except BaseException:
            os.close(fd)
            raise
        self.error: OSError | None = None
        self._reset()

    def _reset(self) -> None:
        self.read_end = self._write_end = -1
        self._is_full = False  # it is the pipe that is looked at, not the source
        self._has_ended = False
        self._put = 0  # bytes, into this pipe
        self._watched: tuple[int, int] | None = None
        self._paused_until = 0.0
        self._moved_at = -math.inf

    def begin(self) -> None:
        """Make the pipe. `end` must follow."""
        self._reset()
        self.read_end, self._write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write_end, False)
        # A run may have another user id, and may open /dev/stdin by name: to read only.
        os.fchmod(self.read_end, 0o444)
        if self._source.one_buffer:
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, 1)  # rounded up to a page
        self._source.begin()

    def end(self) -> None:
        """Close the pipe. The stream then lacks only what the program has read."""
        if self.read_end < 0:
            return
        left = struct.unpack("i", fcntl.ioctl(self.read_end, termios.FIONREAD, bytes(4)))[0]
        with contextlib.suppress(OSError):  # of a source that fails, nothing more is asked
            # If the program has written to its own pipe, there may be more than was put there.
            self._source.was_read(self._put - min(left, self._put))
        self._finish()
        os.close(self.read_end)
        self.read_end = -1

    def again(self) -> bool:
        """Between two tries: whether the next one finds the input from its beginning."""
        return self._source.again()

    def close(self) -> None:
        """Close the copy of the descriptor. Idempotent."""
        self._source.close()

    # ---- while it runs

    def watch(self, poll: select.poll) -> float:
        """Have `poll` look at what comes next; return for how many seconds at most."""
        wanted = self._wanted()
        if wanted != self._watched:
            if self._watched is not None:
                poll.unregister(self._watched[0])
            if wanted is not None:
                poll.register(*wanted)
            self._watched = wanted
        if wanted is None and not self._has_ended:
            return max(self._paused_until - time.monotonic(), 0.0)
        return math.inf

    def _wanted(self) -> tuple[int, int] | None:
        """The descriptor to look at, and for which event; None where there is none now."""
        if self._has_ended or time.monotonic() < self._paused_until:
            return None
        if self._is_full:
            return self._write_end, select.POLLOUT
        return self._source.fd, select.POLLIN

    def move(self, ready: set[int]) -> None:
        """Move what there is, for some 3 ms at most. ready: the descriptors that were found so."""
        if self._watched is None or self._watched[0] not in ready:
            return
        turn_ends = time.monotonic() + _TURN_S
        own = select.poll()
        while True:
            self._step()
            wanted = self._wanted()
            if wanted is None or time.monotonic() >= turn_ends:
                return
            own.register(*wanted)
            if not own.poll(_NEXT_S * 1e3):
                return
            own.unregister(wanted[0])

    def _step(self) -> None:
        """Move one part, or note that it has been read."""
        try:
            if not self._is_full:
                self._fill()
                return
            self._is_full = False
            if self._source.one_buffer:  # which has been read
                self._source.was_read(self._put)
        except _InBackground:
            self._is_full = False
            self._paused_until = time.monotonic() + _PAUSE_S
        except OSError as error:
            self.error = error
            self._finish()

    def _fill(self) -> None:
        self._is_full = True
        try:
            moved = self._source.move(self._write_end)
        except BlockingIOError:  # another process has read it, or the program fills its own pipe
            return
        self._put += moved
        self._moved_at = time.monotonic()
        if not moved:
            self._finish()

    def is_busy(self) -> bool:
        """Whether a part has just been moved: then the next one is not to be kept waiting."""
        return time.monotonic() - self._moved_at < _BUSY_S

    def _finish(self) -> None:
        """Let the program find the end of its input."""
        self._has_ended = True
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1


# ---- sources


class _InBackground(Exception):
    """It is another process's turn to read from the terminal."""


class _Source:
    """Where parts come from: a descriptor, closed by `close`.

    one_buffer: a part is moved when the one before has been read, and `was_read` was told so.
    """

    one_buffer = True

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def begin(self) -> None:
        """The next pipe is empty."""
        raise NotImplementedError

    def move(self, pipe: int) -> int:
        """Put a part into the pipe; return its length, 0 at the end. Raises BlockingIOError where
        there is no part now, or no room.
        """
        raise NotImplementedError

    def was_read(self, total: int) -> None:
        """So many bytes, of all that was put into this pipe, have been read from it."""
        raise NotImplementedError

    def again(self) -> bool:
        """As `Feed.again`."""
        raise NotImplementedError

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _File(_Source):
    """A regular file. Its position, which others may share, is that of what has been read."""

    one_buffer = False

    def begin(self) -> None:
        self._start = self._next = os.lseek(self.fd, 0, os.SEEK_CUR)

    def move(self, pipe: int) -> int:
        data = os.pread(self.fd, _PART, self._next)
        moved = os.write(pipe, data) if data else 0
        self._next += moved
        return moved

    def was_read(self, total: int) -> None:
        os.lseek(self.fd, self._start + total, os.SEEK_SET)

    def again(self) -> bool:
        os.lseek(self.fd, self._start, os.SEEK_SET)
        return True


class _Pipe(_Source):
    """A pipe or FIFO, from which only what has been read is taken."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._any_read = False

    def begin(self) -> None:
        self._read = 0

    def move(self, pipe: int) -> int:
        # Safe: it takes two descriptors and two numbers, no pointer, and does not wait.
        moved: int = _libc.tee(self.fd, pipe, _PART, _SPLICE_F_NONBLOCK)
        if moved < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return moved

    def was_read(self, total: int) -> None:
        self._any_read |= total > 0
        try:
            while self._read < total:
                left = total - self._read
                gone = os.splice(self.fd, self._nowhere, left, flags=_SPLICE_F_NONBLOCK)
                if not gone:
                    break
                self._read += gone
        except BlockingIOError:  # another process has taken it out
            pass
        self._read = total

    def again(self) -> bool:
        return not self._any_read

    def close(self) -> None:
        super().close()
        if self._nowhere >= 0:
            os.close(self._nowhere)
            self._nowhere = -1


class _Other(_Source):
    """A socket or a device. What was taken from it and not read is kept for another try."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._kept = b""
        self._any_read = False

    def begin(self) -> None:
        self._read = self._sent = 0

    def move(self, pipe: int) -> int:
        if self._sent == len(self._kept):
            self._kept += self._take()
        moved = os.write(pipe, self._kept[self._sent :]) if self._sent < len(self._kept) else 0
        self._sent += moved
        return moved

    def was_read(self, total: int) -> None:
        read = total - self._read
        self._any_read |= read > 0
        self._kept = self._kept[read:]
        self._sent -= read
        self._read = total

    def again(self) -> bool:
        return not self._any_read

    def _take(self) -> bytes:
        """Read what is there, without waiting: another process may have read it first."""
        buffer = bytearray(_PAGE)
        try:
            return bytes(buffer[: os.preadv(self.fd, [buffer], -1, os.RWF_NOWAIT)])
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ESPIPE):
                raise
            return os.read(self.fd, _PAGE)  # a device


class _Terminal(_Other):
    """A terminal, of which a background process reads nothing: it would be stopped for it."""

    def _take(self) -> bytes:
        # A read is refused, instead of stopping us, where the signal is blocked (tty_ioctl(4)).
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        try:
            return os.read(self.fd, _PAGE)
        except OSError as error:
            if error.errno == errno.EIO and os.tcgetpgrp(self.fd) != os.getpgrp():
                raise _InBackground from None
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _copy_of(stream: Stream) -> int:
    try:
        fd = stream.fileno()
    except io.UnsupportedOperation:
        kind = type(stream).__name__
        raise TypeError(f"stdin: this {kind} has no descriptor; give its contents") from None
    except ValueError as error:  # it is closed
        raise ValueError(f"stdin: {error}") from None
    if type(fd) is not int:
        raise TypeError(f"stdin: fileno() must return a descriptor, not {fd!r:.80}")
    if fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH) not in (os.O_RDONLY, os.O_RDWR):
        raise ValueError("stdin: not open for reading")
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise ValueError("stdin: it is a folder")
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)


_PTMX = os.makedev(5, 2)
"""The device of a pseudoterminal's other end, of which each that is opened is a new one."""


def _source_of(fd: int) -> _Source:
    """The source that a descriptor is, which it owns from then on."""
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return _File(fd)
    if stat.S_ISFIFO(status.st_mode):
        return _Pipe(fd)
    if not os.isatty(fd) or status.st_rdev == _PTMX:
        return _Other(fd)
    with contextlib.suppress(OSError):  # of another user: then it may be waited for
        ways = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        os.dup2(again := os.open(f"/proc/self/fd/{fd}", ways), fd, inheritable=False)
        os.close(again)
    return _Terminal(fd)
