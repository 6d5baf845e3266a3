"""Output of a program as it comes, and our own words beside it, on stderr.

rich is imported for terminals only: `pool run` in a pipe needn't wait for it.
"""

import codecs
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ..wording import ending, escape

if TYPE_CHECKING:
    from rich.console import Console

_OWN_END = (ExitReason.OK, ExitReason.EXIT, ExitReason.EXCEPTION)


class Live:
    """Shows a program's output as it comes: its bytes to a pipe; to a terminal, escaped and
    coloured. Called from a pool's thread.
    """

    def __init__(self) -> None:
        self._streams = {"stdout": _Stream(sys.stdout, ""), "stderr": _Stream(sys.stderr, "red")}

    def __call__(self, stream: str, data: bytes) -> None:
        self._streams[stream].write(data)

    def end(self, result: Result) -> None:
        """Show what is to be said in the end: a terminal, and whoever reads of a failure of ours,
        is told how the run ended; and everyone, what could not be collected.
        """
        for stream in self._streams.values():
            stream.end()
        if result.infra_error or (sys.stderr.isatty() and result.reason not in _OWN_END):
            notice(ending(result))
        for name, why in result.files_skipped.items():
            notice(f"not collected: {name} ({why})")


class _Stream:
    """One of our own streams, and how a program's bytes are written there."""

    def __init__(self, stream: TextIO, colour: str) -> None:
        self._stream = stream
        self._colour = colour
        self._console: Console | None = None
        if stream.isatty():
            import rich.console

            self._console = rich.console.Console(file=stream, highlight=False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> None:
        if self._console is not None:
            self._show(self._decoder.decode(data))
            return
        left = memoryview(data)
        while left:  # a buffered stream may write a part, and not say so by an exception
            try:
                left = left[os.write(self._stream.fileno(), left) :]
            except BlockingIOError:  # whoever started us has made it so
                select.select([], [self._stream], [])

    def end(self) -> None:
        if self._console is not None:
            self._show(self._decoder.decode(b"", final=True))

    def _show(self, text: str) -> None:
        if text and self._console is not None:
            from rich.text import Text

            self._console.print(Text(escape(text), style=self._colour), end="", soft_wrap=True)


def notice(text: str) -> None:
    """Say something of ours on stderr; a terminal obeys nothing that others have put into it."""
    text = escape(text)
    if not sys.stderr.isatty():
        print(f"pool: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False).print(
        Text(f"pool: {text}", style="bold yellow"), soft_wrap=True
    )
