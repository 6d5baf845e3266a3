"""`pool batch`: many programs from a file of lines, their results into another."""

import contextlib
import functools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ...sandbox.host.cpus import usable_cpus
from ...sandbox.result import Result
from ..engine.flights import Flights
from ..pool import Pool
from ..program import Program
from ..wording import counted, escape
from . import live, options
from .ends import INTERRUPTED, Ended, printing
from .hints import lacking
from .lines import lines, open_source
from .results import ResultsFile

HELP = """Run many untrusted programs, one JSON object a line, and write their results.

Results come in the order of completion. A program has "code", and perhaps "id", "stdin", "args",
"files", "collect", "limits", "env", "seed", "recursion_limit", "filename"; bytes are
{"base64": "..."}. What has a result in FILE already is not run again: an interrupted command goes
on where it stopped. Lines that hold no program are reported, the others are run.

Exit code: 0; 1 if a line was refused or a run failed through our fault; 130 interrupted; 125 bad
usage.

Examples:

  pool batch programs.jsonl --out results.jsonl --workers 8

  generate | pool batch - --out - --timeout 2 | score
"""

_AHEAD = 4
"""Programs in flight for each worker: results come in the order of their completion, so a few are
enough to keep every worker busy, and memory stays flat however many lines there are."""

_MOST_COMPLAINTS = 20
"""Lines that are refused with a message each; the others are counted."""

_LOOK_S = 0.2
"""How often an interruption is looked for."""


@click.command(help=HELP, short_help="Run a file of programs, one JSON object a line.")
@click.argument("programs", metavar="PROGRAMS|-")
@click.option(
    "--out", metavar="FILE", required=True, help="Where results go, a line each; '-': stdout."
)
@click.option("--workers", metavar="N", type=int, help="Programs at once; as many as CPUs.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever is in FILE.")
@options.timeout
@options.cpu_time
@options.memory
@options.processes
@options.of_jails
def batch(
    programs: str,
    out: str,
    workers: int | None,
    overwrite: bool,
    timeout: str,
    cpu_time: str,
    memory: str,
    processes: int,
    jails: options.Jails,
) -> None:
    workers = usable_cpus() if workers is None else workers
    limits = options.limits(timeout, cpu_time, memory, processes)
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(open_source(programs, out))
        pool = opened.enter_context(jails.pool(workers, limits))
        opened.enter_context(printing())
        results = opened.enter_context(contextlib.closing(ResultsFile(out, overwrite=overwrite)))
        if results.done or results.dropped:
            said = f"{out} has {counted(len(results.done), 'result')} already; going on from there"
            if results.dropped:
                said += (
                    f" ({counted(results.dropped, 'line')} cut off or of infra errors: tried again)"
                )
            live.notice(said)
        code = Batch(pool, source, results, workers).run()
    raise Ended(code)


class Batch:
    """One pass over the lines of `source`, a descriptor. `run` does it all."""

    def __init__(self, pool: Pool, source: int, results: ResultsFile, workers: int) -> None:
        self._pool = pool
        self._source = source
        self._results = results
        self._flights: Flights[None] = Flights(workers * _AHEAD, pool.engine.when_room)
        self._seen: set[str] = set()
        self._stopping = False
        self._began = time.monotonic()
        self.reasons: Counter[str] = Counter()
        self.refused = 0
        self.skipped = 0
        self.cpu_s = 0.0

    def run(self) -> int:
        """Run what has no result yet; return 0, 1 if a line was refused or a run was an infra
        error, or `INTERRUPTED`.
        """
        with self._giving_up(), self._interruptible(), self._progress():
            for program in self._programs():
                if program is not None:
                    self._launch(program)
                while self._flights.is_full and not self._stopping:
                    self._land(_LOOK_S)
                while self._land(0):
                    pass
            while self._flights and not self._stopping:
                self._land(_LOOK_S)
            self._flights.end()
        self._summary()
        if self._stopping:
            return INTERRUPTED
        return 1 if self.refused or self.reasons["internal"] else 0

    # ---- lines

    def _programs(self) -> Iterator[Program | None]:
        """The programs to run, and None from time to time while none comes; complaints about
        lines that hold none.
        """
        number = 0
        for line in lines(self._source, _LOOK_S):
            if self._stopping:
                return
            if line is None:
                yield None
                continue
            number += 1
            if not line.strip():
                continue
            try:
                program = _program(line, str(number))
                name = str(program.id)
                if name in self._seen:
                    raise ValueError(f"the id {name!r} was there before")
                self._pool.check(program)
            except (ValueError, TypeError, RecursionError) as error:
                self._refuse(number, error)
                continue
            self._seen.add(name)
            if name in self._results.done:
                self._results.done.discard(name)  # one set of ids is enough
                self.skipped += 1
                continue
            yield program

    def _refuse(self, number: int, error: Exception) -> None:
        self.refused += 1
        if self.refused <= _MOST_COMPLAINTS:
            self._say(f"line {number}: {error}")

    # ---- runs

    def _launch(self, program: Program) -> None:
        self._flights.launch(functools.partial(self._pool.submit, program), None)

    def _land(self, timeout_s: float) -> bool:
        """Write the next result, if one comes within `timeout_s`; tell whether one did."""
        landed = self._flights.land(timeout_s=timeout_s)
        if landed is None:
            return False
        result = landed[0].result()
        self._results.write(result.to_dict())
        self._count(result)
        return True

    def _count(self, result: Result) -> None:
        self.reasons[str(result.reason)] += 1
        self.cpu_s += result.cpu_s or 0.0
        if self._bar is not None:
            rate = self.reasons.total() / (time.monotonic() - self._began)
            counts = " ".join(f"{name} {count}" for name, count in self.reasons.most_common(4))
            self._bar.update(self._bar_task, advance=1, text=f"{rate:.0f}/s  {counts}")

    # ---- people

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are looked at between two results: a line is written whole. Whoever
        does not want to wait for that asks twice.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            if self._stopping:
                raise KeyboardInterrupt
            self._stopping = self._results.hurry = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """An end by force is an interruption, too: what runs dies with the pool."""
        try:
            yield
        except (KeyboardInterrupt, TimeoutError):
            if not self._stopping:
                raise

    @contextlib.contextmanager
    def _progress(self) -> Iterator[None]:
        self._bar: Progress | None = None
        if not sys.stderr.isatty():
            yield
            return
        columns = (
            TextColumn("{task.completed} done"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as self._bar:
            self._bar_task = self._bar.add_task("", total=None, text="")
            yield
        self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(f"pool: {escape(text)}", style="bold yellow", markup=False)
        else:
            live.notice(escape(text))

    def _summary(self) -> None:
        took_s = time.monotonic() - self._began
        total = self.reasons.total()
        table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
        for column in ("reason", "runs", "share"):
            table.add_column(column, justify="left" if column == "reason" else "right")
        for name, count in self.reasons.most_common():
            table.add_row(name, str(count), f"{count / total:.1%}")
        console = Console(stderr=True, highlight=False)
        console.print(table)
        console.print(
            f"{counted(total, 'run')} in {took_s:.1f} s ({total / took_s:.0f}/s), "
            f"{self.cpu_s:.1f} CPU seconds"
            + (f"; {self.skipped} had results already" if self.skipped else "")
            + (f"; {counted(self.refused, 'line')} refused" if self.refused else "")
            + ("; interrupted: the same command goes on from here" if self._stopping else ""),
            soft_wrap=True,
        )
        for line in lacking(self._pool.stats().not_offered, total):
            console.print(line, style="bold yellow", soft_wrap=True)


def _program(line: bytes, number: str) -> Program:
    data = json.loads(line)
    if isinstance(data, dict) and data.get("id") is None:
        data["id"] = number
    return Program.from_dict(data)
