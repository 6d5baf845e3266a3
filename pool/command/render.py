"""What a person sees."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...sandbox.doctor import Diagnosis
from ..wording import escape
from .selftest import Outcome, Trial


def whole_lines() -> Console:
    """Standard output; where it is no terminal to fit into, others read its lines."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


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
