"""What a person sees."""

import os
import sys
import unicodedata
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.doctor import Diagnosis
from sandbox.reasons import ExitReason
from sandbox.result import Result

_OWN_END = (ExitReason.OK, ExitReason.EXIT, ExitReason.EXCEPTION)


def result(result: Result) -> None:
    """Show a program's output: its bytes to a pipe; to a terminal, escaped and coloured.

    A terminal, and whoever reads of a failure of ours, is told how the run ended.
    """
    _output(result.stdout_bytes, sys.stdout, None)
    _output(result.stderr_bytes, sys.stderr, "red")
    if result.infra_error or (sys.stderr.isatty() and result.reason not in _OWN_END):
        Console(stderr=True, highlight=False).print(
            Text(f"pool: {ending(result)}", style="bold yellow"), soft_wrap=True
        )


def ending(result: Result) -> str:
    """How a run ended, in a line.

    >>> from sandbox.result import Result
    >>> ending(Result.internal("no worker", tier="none", queue_s=0.0))
    'internal error, not the program (no worker)'
    """
    text = {
        ExitReason.WALL_TIMEOUT: f"wall time is over ({result.wall_s:.1f} s)",
        ExitReason.CPU_TIMEOUT: f"CPU time is over ({result.cpu_s or 0:.1f} s)",
        ExitReason.MEMORY: "out of memory",
        ExitReason.OUTPUT: "too much output",
        ExitReason.DENIED: "denied",
        ExitReason.CANCELLED: "cancelled",
        ExitReason.SIGNAL: f"died of signal {result.signal}",
        ExitReason.INTERNAL: "internal error, not the program",
    }.get(result.reason, str(result.reason))
    return f"{text} ({result.detail})" if result.detail else text


def escape(text: str) -> str:
    """Make control and format characters visible; newlines and tabs stay.

    A terminal would obey them: they move the cursor, rename windows, turn text around.
    """
    return "".join(
        each if each in "\n\t" or unicodedata.category(each)[0] != "C" else _visible(each)
        for each in text
    )


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _output(data: bytes, stream: TextIO, colour: str | None) -> None:
    if not data:
        return
    if stream.isatty():
        text = escape(data.decode("utf-8", "backslashreplace"))
        Console(file=stream, highlight=False).print(
            Text(text, style=colour or ""), end="", soft_wrap=True
        )
        return
    stream.flush()
    left = memoryview(data)
    while left:  # a buffered stream may write a part, and not say so by an exception
        left = left[os.write(stream.fileno(), left) :]


def diagnosis(diagnosis: Diagnosis) -> None:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in ("layer", "", "found"):
        table.add_column(column)
    for finding in diagnosis.findings:
        mark = Text("holds", "green") if finding.held else Text("missing", "bold red")
        found = Text(escape(finding.found))
        if not finding.held and finding.advice:
            found.append(f"\n-> {finding.advice}", "yellow")
        table.add_row(finding.name, mark, found)
    console = Console(highlight=False)
    console.print(table)
    if diagnosis.tier:
        console.print(f'\ntier="auto" confines with the [bold]{diagnosis.tier}[/] tier here.')
    else:
        console.print("\n[bold red]No tier works here: nothing untrusted can be run.[/]")
