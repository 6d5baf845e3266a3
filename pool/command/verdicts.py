"""What a person, or a program, is shown of verdicts."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..judge import CaseResult, Outcome, Verdict
from ..judge.humaneval import pass_at_k
from ..wording import counted
from .render import one_line, print_table, whole_lines

_MOST_ROWS = 30
"""Of a table of what did not pass."""

_DRAWS = (1, 10, 100)


def report(names: Sequence[str], verdicts: Sequence[Verdict], *, by_problem: bool) -> str:
    """Everything as one JSON object."""
    named = [
        {"id": name, **verdict.to_dict()} for name, verdict in zip(names, verdicts, strict=True)
    ]
    if not by_problem:
        return json.dumps(named[0])
    return json.dumps({**_summary(names, verdicts), "verdicts": named})


def _summary(names: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts and pass@k over the problems. Samples of which nothing can be said are left out."""
    by_problem: dict[str, list[bool]] = {}
    for name, verdict in zip(names, verdicts, strict=True):
        if verdict.conclusive:
            by_problem.setdefault(name, []).append(verdict.passed)
    counts = list(by_problem.values())
    return {
        "samples": len(verdicts),
        "problems": len(set(names)),
        "passed": sum(verdict.passed for verdict in verdicts),
        "infra_errors": sum(verdict.infra_error for verdict in verdicts),
        "harness_errors": sum(verdict.harness_error is not None for verdict in verdicts),
        "pass_at_k": {
            str(k): statistics.fmean(pass_at_k(len(each), sum(each), k) for each in counts)
            for k in _DRAWS
            # Of fewer samples than are drawn, nothing is known.
            if counts and all(len(each) >= k for each in counts)
        },
    }


def show(names: Sequence[str], verdicts: Sequence[Verdict], *, by_problem: bool) -> None:
    """Print a table, and a line of summary."""
    console = whole_lines()
    if by_problem:
        _show_problems(console, names, verdicts)
    else:
        _show_cases(console, verdicts[0])


def _show_cases(console: Console, verdict: Verdict) -> None:
    table = _table("case", "kind", "outcome", "reason", "CPU s", "memory", "detail")
    for case in verdict.cases:
        table.add_row(Text(str(case.index)), Text(case.kind), *_row(case))
    print_table(console, table)
    passed = sum(case.passed for case in verdict.cases)
    score = f"score {verdict.score:.3f}" if verdict.conclusive else "inconclusive: not to be scored"
    console.print(Text(f"{passed} of {len(verdict.cases)} passed; {score}"))


def _show_problems(console: Console, names: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    failed = [
        (name, verdict.cases[0])
        for name, verdict in zip(names, verdicts, strict=True)
        if not verdict.passed
    ]
    if failed:
        table = _table("problem", "outcome", "reason", "CPU s", "memory", "detail")
        for name, case in failed[:_MOST_ROWS]:
            table.add_row(one_line(name), *_row(case))
        print_table(console, table)
        if len(failed) > _MOST_ROWS:
            console.print(Text(f"... and {len(failed) - _MOST_ROWS} others that did not pass"))
    found = _summary(names, verdicts)
    console.print(
        Text(
            f"{found['passed']} of {counted(found['samples'], 'sample')} passed, "
            f"of {counted(found['problems'], 'problem')}"
            + "".join(f"; pass@{k} {value:.4f}" for k, value in found["pass_at_k"].items())
        )
    )
    for kind in ("infra", "harness"):
        if number := found[f"{kind}_errors"]:
            console.print(Text(f"{counted(number, f'{kind} error')}: left out of pass@k"))


def _table(*columns: str) -> Table:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("CPU s", "memory") else "left")
    return table


def _row(case: CaseResult) -> tuple[Text, ...]:
    colour = {Outcome.PASS: "green", Outcome.FAIL: "red"}.get(case.outcome, "yellow")
    detail = "; ".join(text for text in (case.detail, case.diff) if text)
    memory = case.peak_memory_bytes
    return (
        Text(str(case.outcome), colour),
        Text(case.reason),
        Text("" if case.cpu_s is None else f"{case.cpu_s:.3f}"),
        Text("" if memory is None else f"{memory / (1 << 20):.1f}M"),
        one_line(detail),
    )
