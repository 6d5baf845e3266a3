"""Taking a run's output without ever waiting for it."""

import math
import os
from collections.abc import Callable

_PIPE_READ = 1 << 16

_MOST_READS = 1024
"""At a time: between two looks at the clocks, and of more pieces than a pipe holds."""


class Capture:
    """One output stream: a pipe, and what came out of it, up to `limit` bytes (None: all).

    on_data: called with every piece of it, as it is taken.
    """

    def __init__(self, limit: int | None, on_data: Callable[[bytes], object] | None = None) -> None:
        self.fd, self.write_end = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self.fd, False)
            # A run may have another user id, and may open /dev/stdout by name.
            os.fchmod(self.write_end, 0o666)
        except BaseException:
            self.close()
            raise
        self._room = math.inf if limit is None else limit
        self._content = bytearray()
        self._on_data = on_data
        self.truncated = False
        self.was_full = False  # when it was looked at last: who writes to it may have been waiting

    def drain(self, most_reads: int = _MOST_READS) -> bool:
        """Take what is there, of who goes on writing perhaps a part; tell whether more may come
        (False at end of file or when full).
        """
        self.was_full = False
        for _ in range(most_reads):
            piece = self._read()
            if piece is None:
                return True
            if not self._keep(piece):
                return False
            if len(piece) < _PIPE_READ:  # not to race with a writer of single bytes
                return True
            self.was_full = True
        return True

    def drain_rest(self) -> None:
        """Take all that is there, when nobody writes any more; more than a pipe can hold is not."""
        for _ in range(_MOST_READS):
            piece = self._read()
            if piece is None or not self._keep(piece):
                return

    def _read(self) -> bytes | None:
        """What one read gives; None where nothing is there. Less than was asked for says nothing
        of what is left: a program can have its writes kept apart (O_DIRECT, see pipe(2)).
        """
        try:
            return os.read(self.fd, _PIPE_READ)
        except BlockingIOError:
            return None

    def _keep(self, piece: bytes) -> bool:
        """Whether more may come after it."""
        if len(piece) > self._room:
            self.truncated = True
            piece = piece[: int(self._room)]
        self._room -= len(piece)
        self._content += piece
        if self._on_data is not None and piece:
            self._on_data(piece)
        return bool(piece) and not self.truncated

    def content(self) -> bytes:
        return bytes(self._content)

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        self.close_write_end()
        os.close(self.fd)
