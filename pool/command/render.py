"""What a person sees."""

import itertools
import re
import textwrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...sandbox.host.ahead import Import
from ...sandbox.host.doctor import Diagnosis
from ..wording import escape
from .selftest import Outcome, Trial

_COLUMNS, _ROOM = 80, 30
"""What a line may have where no terminal says how wide it is; and what words need beside a name."""


def whole_lines() -> Console:
    """Standard output; where it is no terminal to fit into, others read its lines."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def print_table(console: Console, table: Table) -> None:
    """Print a table without the blanks that fill its last column."""
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        # What follows the blanks may be the end of a colour.
        console.file.write(re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", line) + "\n")


def one_line(text: str) -> Text:
    """What others have written, in a line: neither a terminal nor rich obeys anything in it.

    Tables and consoles are given texts only: rich takes marks in strings, [link=...] among them.
    """
    return Text(escape(text).replace("\n", " ").replace("\t", " "))


def print_folded(console: Console, words: str) -> None:
    """Print words in as many lines as they need."""
    _print_beside(console, Text(), words, line_width(console))


def line_width(console: Console) -> int:
    """The columns of a terminal; of a pipe, what people are used to."""
    return console.width if console.is_terminal else _COLUMNS


def trials(trials: list[Trial]) -> None:
    """Show what the self-test has tried, by tier and promise, and sum up."""
    colours = {Outcome.HELD: "green", Outcome.NOT_HELD: "bold red", Outcome.NOT_TRIED: "yellow"}
    console = whole_lines()
    width = line_width(console)
    room = max(len(outcome) for outcome in Outcome) + 2
    for tier, of_tier in itertools.groupby(trials, lambda trial: trial.tier):
        console.print(Text(f"\nself-test of the {tier} tier", "bold"))
        for promise, tried in itertools.groupby(of_tier, lambda trial: trial.promise):
            console.print(Text(f"  {promise}"), soft_wrap=True)
            for trial in tried:
                head = Text("    ")
                head.append(f"{trial.outcome:{room}}", colours[trial.outcome])
                _print_beside(console, head, trial.attempt, width)
                if trial.detail and trial.outcome is not Outcome.HELD:
                    detail = f"-> {escape(trial.detail)}"
                    _print_beside(console, Text(" " * (room + 4)), detail, width)
    counts = {each: sum(trial.outcome is each for trial in trials) for each in Outcome}
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    console.print(Text(f"\nself-test: {summary or 'nothing was tried, as no tier works'}"))


def imports(imports: list[Import]) -> None:
    """Show what can be imported ahead of programs, and what it takes; or why not."""
    console = whole_lines()
    width = line_width(console)
    console.print(Text("\nimported ahead of programs, once they import it", "bold"))
    names = max((len(each.module) for each in imports), default=0)
    for each in imports:
        head = Text(f"  {each.module:{names}}  ")
        head.append(*(("yes  ", "green") if each.ahead else ("no   ", "bold red")))
        taken = f"takes {each.import_s:.2f} s once, and {each.size_bytes / (1 << 20):.0f} MiB"
        _print_beside(console, head, taken if each.ahead else escape(each.why), width)


def diagnosis(diagnosis: Diagnosis, *, verbose: bool = False) -> None:
    """Show a line for each layer, what the tiers come to, and what would help."""
    console = whole_lines()
    width = line_width(console)
    names = max(len(finding.name) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        head = Text(f"{finding.name:{names}}  ")
        head.append(*(("holds    ", "green") if finding.held else ("missing  ", "bold red")))
        brief = " ".join(escape(finding.brief or finding.found).split())
        room = _COLUMNS - len(head)
        brief = brief if len(brief) <= room else brief[: room - 3] + "..."
        _print_beside(console, head, brief, width)
        if verbose:
            for detail in finding.details or (finding.found,):
                _print_beside(console, Text("    "), escape(detail), width)
    console.print()
    if diagnosis.tier:
        tier = Text.assemble(
            'tier="auto" confines with the ', (diagnosis.tier, "bold"), " tier here."
        )
        console.print(tier, soft_wrap=True)
    else:
        nothing = Text("No tier works here: nothing untrusted can be run.", "bold red")
        console.print(nothing, soft_wrap=True)
    if diagnosis.advice:
        console.print(Text("\nWhat would help, the most useful first:"), soft_wrap=True)
    for number, (layers, advice) in enumerate(diagnosis.advice, 1):
        head = Text(f"{number}. ")
        for words in f"{', '.join(layers)}: {advice}".splitlines():
            if words.startswith("  "):  # a command, to be copied whole
                console.print(Text(f"   {words}"), soft_wrap=True)
            else:
                _print_beside(console, head, words, width)
                head = Text("   ")
    if not verbose:
        console.print(Text("\nFor all that was found: pool doctor --verbose"), soft_wrap=True)


def _print_beside(console: Console, head: Text, words: str, width: int) -> None:
    """Print `head` and, in what a line has left beside it, `words`; no blanks at the end of lines.
    Where hardly anything is left, they stand below it.
    """
    indent = len(head)
    if width - indent < _ROOM and head.plain.strip():
        console.print(head[: len(head.plain.rstrip())], soft_wrap=True)
        head, indent = Text("    "), 4
    folded = textwrap.wrap(
        words, max(width - indent, 1), break_long_words=False, break_on_hyphens=False
    )
    for line in folded:
        console.print(head + Text(line), soft_wrap=True)
        head = Text(" " * indent)
