"""How far a batch is, while it runs: a bar on a terminal, elsewhere a line from time to time."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ..wording import escape
from . import live

_LINE_EVERY_S = 10.0
"""How often a line is printed where no terminal shows a bar."""


class Progressing:
    """Shown on stderr within `with`. total: how many lines there are to do; None if unknown.
    word: for those that failed.
    """

    def __init__(self, total: int | None, word: str = "failed") -> None:
        self.total = total
        self._word = word
        self.done = 0
        self.failed = 0
        self._ran = 0
        self._began = self._told_at = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "Progressing":
        if sys.stderr.isatty():
            columns = (BarColumn(), TextColumn("{task.fields[text]}", markup=False))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=self.total, text=self.text(0))
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def is_blank(self) -> None:
        """One of the lines was empty: there is one less to do."""
        if self.total is not None:
            self.total -= 1

    def advance(self, *, failed: bool, ran: bool) -> None:
        """One more is done: run now, or known before."""
        self.done += 1
        self.failed += failed
        self._ran += ran

    def show(self, known: int = 0) -> None:
        """Show how far it is, if it is time to. known: how many of those that are still to come
        will not have to be run.
        """
        if self._bar is not None and self._task is not None:
            text = self.text(known)
            self._bar.update(self._task, completed=self.done, total=self.total, text=text)
        elif time.monotonic() >= self._told_at + _LINE_EVERY_S:
            self._told_at = time.monotonic()
            live.notice(self.text(known))

    def text(self, known: int) -> str:
        """As in "1,200 of 10,000, 3 failed, 2 min left"."""
        parts = [
            f"{self.done:,} done" if self.total is None else f"{self.done:,} of {self.total:,}"
        ]
        if self.failed:
            parts.append(f"{self.failed:,} {self._word}")
        to_run = 0 if self.total is None else self.total - self.done - known
        if self._ran and to_run > 0:
            each_s = (time.monotonic() - self._began) / self._ran
            parts.append(f"{duration(to_run * each_s)} left")
        return ", ".join(parts)

    def say(self, text: str) -> None:
        """Print a line of ours, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(Text(f"pool: {escape(text)}", "bold yellow"))
        else:
            live.notice(text)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(3.2), duration(100), duration(3 * 3600 + 120)
    ('4 s', '2 min', '3 h 2 min')
    """
    whole = int(seconds) + 1
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
