"""`pool judge`: verdicts on programs, by cases from a file, or by the problems of HumanEval."""

import contextlib
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..judge import Case, CaseResult, Outcome, Verdict, case_from_dict
from ..judge.humaneval import Problem, pass_at_k, problems, read_samples
from ..pool import Pool
from ..wording import escape
from .options import numbered_lines
from .render import whole_lines

_MOST_ROWS = 30
"""Of a table of what did not pass."""

_DRAWS = (1, 10, 100)

Judged = tuple[str, str | bytes, Sequence[Case]]
"""A name, a program, and its cases."""


def read_cases(path: str) -> list[Case]:
    """Read cases, a JSON object a line; ValueError names a line that holds none."""
    cases = []
    for number, line in numbered_lines(path):
        try:
            cases.append(case_from_dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: line {number}: {error}") from None
    if not cases:
        raise ValueError(f"{path}: no cases; without one there is nothing to judge")
    return cases


def humaneval(samples: str | None) -> list[Judged]:
    """The samples with their problems' tests; without samples, the canonical solutions."""
    known = _problems()
    if samples is None:
        written = [(name, each.program(each.canonical_solution)) for name, each in known.items()]
    else:
        written = list(read_samples(numbered_lines(samples), known, samples))
        if not written:
            raise ValueError(f"{samples}: no samples")
    return [(name, program, [known[name].case()]) for name, program in written]


def _problems() -> dict[str, Problem]:
    try:
        return problems()
    except ImportError as error:
        raise ValueError(str(error)) from None


def judge(pool: Pool, judged: Sequence[Judged], **options: Any) -> list[Verdict]:
    """Return the verdicts, in order; a terminal sees how far it is."""
    items = [(program, cases) for _, program, cases in judged]
    with _progress(sum(len(cases) for _, cases in items)) as on_result:
        return pool._judging(items, on_result=on_result, **options).run()


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[passed]} passed"),
    )
    passed = 0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, passed=0)

        def on_result(result: CaseResult) -> None:
            nonlocal passed
            passed += result.passed
            bar.update(task, advance=1, passed=passed)

        yield on_result


def exit_code(verdicts: Sequence[Verdict], own_failure: int) -> int:
    """0 only if all passed; `own_failure` where one says nothing for a failure of ours."""
    if any(verdict.infra_error for verdict in verdicts):
        return own_failure
    return 0 if all(verdict.passed for verdict in verdicts) else 1


# ---- what is shown


def report(judged: Sequence[Judged], verdicts: Sequence[Verdict], *, by_problem: bool) -> str:
    """Everything as one JSON object."""
    named = [
        {"id": name, **verdict.to_dict()}
        for (name, _, _), verdict in zip(judged, verdicts, strict=True)
    ]
    if not by_problem:
        return json.dumps(named[0])
    return json.dumps({**_summary(judged, verdicts), "verdicts": named})


def _summary(judged: Sequence[Judged], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts and pass@k over the problems. Samples of which nothing can be said are left out."""
    by_problem: dict[str, list[bool]] = {}
    for (name, _, _), verdict in zip(judged, verdicts, strict=True):
        if verdict.conclusive:
            by_problem.setdefault(name, []).append(verdict.passed)
    counts = list(by_problem.values())
    return {
        "samples": len(verdicts),
        "problems": len({name for name, _, _ in judged}),
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


def show(judged: Sequence[Judged], verdicts: Sequence[Verdict], *, by_problem: bool) -> None:
    """Print a table, and a line of summary."""
    console = whole_lines()
    if by_problem:
        _show_problems(console, judged, verdicts)
    else:
        _show_cases(console, verdicts[0])


def _show_cases(console: Console, verdict: Verdict) -> None:
    table = _table("case", "kind", "outcome", "reason", "CPU s", "memory", "detail")
    for case in verdict.cases:
        table.add_row(str(case.index), case.kind, *_row(case))
    console.print(table)
    passed = sum(case.passed for case in verdict.cases)
    score = f"score {verdict.score:.3f}" if verdict.conclusive else "inconclusive: not to be scored"
    console.print(f"{passed} of {len(verdict.cases)} passed; {score}")


def _show_problems(console: Console, judged: Sequence[Judged], verdicts: Sequence[Verdict]) -> None:
    failed = [
        (name, verdict.cases[0])
        for (name, _, _), verdict in zip(judged, verdicts, strict=True)
        if not verdict.passed
    ]
    if failed:
        table = _table("problem", "outcome", "reason", "CPU s", "memory", "detail")
        for name, case in failed[:_MOST_ROWS]:
            table.add_row(name, *_row(case))
        console.print(table)
        if len(failed) > _MOST_ROWS:
            console.print(f"... and {len(failed) - _MOST_ROWS} others that did not pass")
    found = _summary(judged, verdicts)
    console.print(
        f"{found['passed']} of {found['samples']} samples passed, of {found['problems']} problems"
        + "".join(f"; pass@{k} {value:.4f}" for k, value in found["pass_at_k"].items())
    )
    for name in ("infra_errors", "harness_errors"):
        if found[name]:
            console.print(f"{found[name]} {name.replace('_', ' ')}: left out of pass@k")


def _table(*columns: str) -> Table:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("CPU s", "memory") else "left")
    return table


def _row(case: CaseResult) -> tuple[str, ...]:
    colour = {Outcome.PASS: "green", Outcome.FAIL: "red"}.get(case.outcome, "yellow")
    detail = "; ".join(text for text in (case.detail, case.diff) if text)
    memory = case.peak_memory_bytes
    return (
        f"[{colour}]{case.outcome}[/]",
        case.reason,
        "" if case.cpu_s is None else f"{case.cpu_s:.3f}",
        "" if memory is None else f"{memory / (1 << 20):.1f}M",
        _plain(detail),
    )


def _plain(text: str) -> str:
    """One line without marks that a terminal, or rich, would obey."""
    return escape(text).replace("\n", " ").replace("[", r"\[")


def name_of(path: str) -> str:
    return "-" if path == "-" else os.path.basename(path)
