"""What a person sees."""

import codecs
import os
import select
import sys
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...sandbox.doctor import Diagnosis
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ..wording import ending, escape
from .selftest import Outcome, Trial

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
            notice(f"not collected: {escape(name)} ({why})")


class _Stream:
    """One of our own streams, and how a program's bytes are written there."""

    def __init__(self, stream: TextIO, colour: str) -> None:
        self._stream = stream
        self._colour = colour
        self._console = Console(file=stream, highlight=False) if stream.isatty() else None
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
            self._console.print(Text(escape(text), style=self._colour), end="", soft_wrap=True)


def whole_lines() -> Console:
    """Standard output; where it is no terminal to fit into, others read its lines."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def notice(text: str) -> None:
    """Say something of ours on stderr."""
    Console(stderr=True, highlight=False).print(
        Text(f"pool: {text}", style="bold yellow"), soft_wrap=True
    )


def trials(trials: list[Trial]) -> None:
    """Show what the self-test has tried, and sum up."""
    colours = {Outcome.HELD: "green", Outcome.NOT_HELD: "bold red", Outcome.NOT_TRIED: "yellow"}
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in ("tier", "promise", "attempt", ""):
        table.add_column(column)
    for trial in trials:
        what = Text(trial.attempt)
        if trial.detail and trial.outcome is not Outcome.HELD:
            what.append(f"\n-> {escape(trial.detail)}", "yellow")
        outcome = Text(trial.outcome, colours[trial.outcome])
        table.add_row(trial.tier, trial.promise, what, outcome)
    console = Console(highlight=False)
    console.print()
    console.print(table)
    counts = {each: sum(trial.outcome is each for trial in trials) for each in Outcome}
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    console.print(f"\nself-test: {summary or 'nothing was tried, as no tier works'}")


def diagnosis(diagnosis: Diagnosis) -> None:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in ("layer", "", "found"):
        table.add_column(column, overflow="fold")  # paths are there to be copied
    for finding in diagnosis.findings:
        mark = Text("holds", "green") if finding.held else Text("missing", "bold red")
        found = Text(escape(finding.found))
        if not finding.held and finding.advice:
            found.append(f"\n-> {finding.advice}", "yellow")
        table.add_row(finding.name, mark, found)
    console = whole_lines()
    console.print(table)
    if diagnosis.tier:
        console.print(f'\ntier="auto" confines with the [bold]{diagnosis.tier}[/] tier here.')
    else:
        console.print("\n[bold red]No tier works here: nothing untrusted can be run.[/]")
