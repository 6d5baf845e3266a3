"""`pool calibrate`: which rows of a data set to train on, and why not the others."""

import contextlib
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..rows.calibrating import calibrating
from ..rows.calibration import Calibration, Kind, RowReport, head, line, parse
from ..rows.tables import renamed
from ..wording import counted
from . import live, options
from .ends import INTERRUPTED, Ended, Interrupted, interrupt, printing
from .progress import Progressing
from .render import one_line, print_table, whole_lines
from .rows import read_rows

HELP = """Find out which rows of a data set to train on.

DATA has the rows of a data set: JSON lines, JSON or parquet, or a folder of the package datasets.
Each row's own solution is judged, and programs that solve nothing. A row is left out if its
solution fails (wrong), or not each time (flaky), or takes too long (slow); if a program that
solves nothing scores above 0 (weak); or if it can't be judged. What has a report in FILE already
is not judged again: an interrupted command goes on where it stopped.

Exit code: 0; 1 if a row has no report through our fault; 130 interrupted; 125 bad usage.

Examples:

  pool calibrate problems.jsonl --solution code --out calibration.jsonl --with numpy

  pool calibrate problems.parquet --column prelude=prompt --column prompt= --json
"""

_MOST_ROWS = 30
"""Of a table of what is left out."""


@click.command(help=HELP, short_help="Find out which rows of a data set to train on.")
@click.argument("data", metavar="DATA|-")
@click.option("--solution", metavar="COLUMN", help="Where DATA has solutions; found by itself.")
@click.option(
    "--column",
    metavar="NAME=COLUMN",
    multiple=True,
    help="Take COLUMN for the column NAME; without COLUMN, leave NAME out; repeatable.",
)
@click.option("--out", metavar="FILE", help="Where reports go, a line for each row.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever is in FILE.")
@click.option("--repeats", metavar="N", type=int, default=2, help="How often to judge a solution.")
@click.option(
    "--slow",
    metavar="SHARE",
    type=float,
    default=0.5,
    help="Of its CPU time, what a solution may take.",
)
@options.of_judging
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@options.of_executor
def calibrate(
    data: str,
    solution: str | None,
    column: tuple[str, ...],
    out: str | None,
    overwrite: bool,
    repeats: int,
    slow: float,
    as_json: bool,
    judging: options.Judging,
    jails: options.Jails,
) -> None:
    if overwrite and out is None:
        raise ValueError("--overwrite needs --out")
    limits = judging.limits
    columns = columns_of(column)
    rows = [renamed(row, columns) for row in read_rows(data)]
    how: dict[str, Any] = {
        "repeats": repeats,
        "slow": slow,
        "recursion_limit": judging.recursion_limit,
    }
    with contextlib.ExitStack() as opened:
        pool = opened.enter_context(jails.executor(limits, workers=judging.workers))
        opened.enter_context(printing())
        settings = {
            **how,
            "solution": solution,
            "columns": columns,
            "limits": {
                "cpu_s": limits.cpu_s,
                "wall_s": limits.wall_s,
                "memory_bytes": limits.memory_bytes,
            },
            "tier": pool.tier,
            "packages": sorted(jails.packages),
            "python": jails.python,
        }
        file = ReportsFile(out, settings, overwrite=overwrite)
        opened.enter_context(contextlib.closing(file))
        known = {(row.row, row.digest): row for row in file.reports if row.kind != Kind.INFRA_ERROR}
        reports = calibrating(pool, rows, solution=solution, known=known, limits=limits, **how)
        stopped = _follow(reports, file, len(rows), known)
        found = Calibration((row for row in file.reports if row.row < len(rows)), settings)
        if as_json:
            print(_as_json(found, rows=len(rows)))
        else:
            _show(found, len(rows))
        if stopped and out is not None:
            live.notice(f"interrupted: what is known is in {out}; the same command goes on")
    if stopped:
        raise Ended(INTERRUPTED)
    raise Ended(1 if found.counts.get(Kind.INFRA_ERROR) else 0)


def columns_of(given: Sequence[str]) -> dict[str, str]:
    """Columns by the names that they are to have, from `NAME=COLUMN`. Raises ValueError."""
    columns = {}
    for each in given:
        name, equals, column = each.partition("=")
        if not name or not equals:
            raise ValueError(f"--column {each!r}: give NAME=COLUMN, or NAME= to leave it out")
        columns[name] = column
    return columns


def _follow(
    reports: Iterator[RowReport], file: "ReportsFile", total: int, known: Mapping[Any, RowReport]
) -> bool:
    """Write reports as they come; tell whether that was interrupted."""
    progress = Progressing(total, "left out")
    for report in known.values():
        progress.advance(failed=not report.keep, ran=False)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        if known:  # who reads this may interrupt it
            live.notice(f"{counted(len(known), 'row')} have a report already; going on from there")
        with progress:
            for report in reports:
                file.write(report)
                progress.advance(failed=not report.keep, ran=True)
                progress.show()
    except Interrupted:
        return True
    finally:
        signal.signal(signal.SIGTERM, before)
    return False


class ReportsFile:
    """Where reports are written, a line each; with no path, they are kept in mind only.

    reports: those that were there, and those that are written. settings: those of a file that is
    there must be the same, or ValueError is raised: they decide what becomes of a row.
    """

    def __init__(self, path: str | None, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        self.reports: list[RowReport] = []
        self._file: IO[bytes] | None = None
        if path is None:
            return
        file = self._file = open(path, "w+b" if overwrite else "a+b")  # noqa: SIM115  (until close)
        try:
            self._take_up(path, file, settings)
        except BaseException:
            self.close()
            raise

    def _take_up(self, path: str, file: IO[bytes], settings: Mapping[str, Any]) -> None:
        file.seek(0)
        data = file.read()
        text = head(settings)
        if text.encode().startswith(data):  # nothing, or a head that was cut off
            file.truncate(0)
            file.write(text.encode())
            file.flush()
            return
        there, self.reports, whole = parse(f"--out {path!r}", data)
        same = json.loads(text)["settings"]
        changed = sorted(name for name in {*same, *there} if there.get(name) != same.get(name))
        if changed:
            raise ValueError(
                f"--out {path!r}: its reports were made with other {', '.join(changed)}; name "
                "another file, or replace this one with --overwrite"
            )
        file.truncate(whole)

    def write(self, report: RowReport) -> None:
        self.reports.append(report)
        if self._file is not None:
            self._file.write(line(report).encode())
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _shares(found: Calibration) -> tuple[Counter[str], Counter[str]]:
    """How many rows there are of each shape, and how many each cheat scores in."""
    shapes = Counter(row.shape or "unknown" for row in found.rows)
    return shapes, Counter(name for row in found.rows for name in row.cheats)


def _as_json(found: Calibration, rows: int) -> str:
    shapes, cheats = _shares(found)
    return json.dumps(
        {
            "rows": rows,
            "kept": len(found.keep),
            "counts": found.counts,
            "shapes": dict(shapes),
            "cheats": dict(cheats),
            "settings": found.settings,
            "keep": found.keep,
            "left_out": [row.to_dict() for row in found.left_out],
        }
    )


def _show(found: Calibration, rows: int) -> None:
    """Print what is left out, and a summary by kind."""
    console = whole_lines()
    if found.left_out:
        table = _table("row", "name", "kind", "why")
        for row in found.left_out[:_MOST_ROWS]:
            cells = (str(row.row), row.name or "", str(row.kind), row.why)
            table.add_row(*map(one_line, cells))
        print_table(console, table)
        if len(found.left_out) > _MOST_ROWS:
            console.print(Text(f"... and {len(found.left_out) - _MOST_ROWS} others"))
        console.print()
    _summary(console, found, rows)


def _summary(console: Console, found: Calibration, rows: int) -> None:
    table = _table("kind", "rows", "share", right=("rows", "share"))
    for kind, count in found.counts.items():
        table.add_row(Text(kind), Text(str(count)), Text(f"{count / len(found.rows):.1%}"))
    print_table(console, table)
    shapes, cheats = _shares(found)
    listed = ", ".join(f"{count} {shape}" for shape, count in shapes.most_common())
    console.print(Text(f"{len(found.keep)} of {counted(rows, 'row')} kept ({listed})"))
    for name, count in cheats.most_common():
        console.print(Text(f"{counted(count, 'row')} with a score for: {name}"))


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table
