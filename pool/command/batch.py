"""`pool batch`: many programs from a file of lines, their results into another."""

import contextlib
import functools
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FrameType

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...sandbox.host.cpus import usable_cpus
from ...sandbox.reasons import ExitReason
from ..engine.flights import Flights
from ..executor import Executor
from ..program import Program
from ..wording import counted
from . import live, options
from .ends import INTERRUPTED, Ended, printing
from .hints import lacking
from .lines import count_lines, lines, open_source
from .progress import Progressing
from .render import one_line
from .results import ResultsFile

HELP = """Run many untrusted programs, one JSON object a line, and write their results.

Results come in the order of completion. A program has "code", and perhaps "id", "stdin", "args",
"files", "collect", "limits", "env", "seed", "recursion_limit", "filename"; bytes are
{"base64": "..."}. What has a result in FILE already is not run again: an interrupted command goes
on where it stopped. --rerun runs those again that ended for some reason. Lines that hold no program
are reported, the others are run.

Exit code: 0; 1 if a line was refused or a run failed through our fault; 130 interrupted; 125 bad
usage.

Examples:

  pool batch programs.jsonl --out results.jsonl --workers 8

  pool batch programs.jsonl --out results.jsonl --rerun exception --with numpy

  generate | pool batch - --out - --timeout 2 | score
"""


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
@click.option(
    "--rerun",
    metavar="REASON",
    multiple=True,
    help="Run again what ended so, such as 'exception', and replace its result; repeatable.",
)
@options.timeout
@options.cpu_time
@options.memory
@options.processes
@options.of_executor
def batch(
    programs: str,
    out: str,
    workers: int | None,
    overwrite: bool,
    rerun: tuple[str, ...],
    timeout: str,
    cpu_time: str,
    memory: str,
    processes: int,
    jails: options.Jails,
) -> None:
    limits = options.limits(timeout, cpu_time, memory, processes)
    reasons = _reasons(rerun)
    if reasons and (overwrite or out == "-"):
        raise ValueError("--rerun needs --out FILE with results, and no --overwrite")
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(open_source(programs, out))
        executor = jails.executor(limits, workers=workers, size=usable_cpus())
        pool = opened.enter_context(executor)
        opened.enter_context(printing())
        results = ResultsFile(out, overwrite=overwrite, rerun=reasons)
        opened.enter_context(contextlib.closing(results))
        if results.done or results.again or results.dropped:
            again = len(results.again) + results.dropped
            live.notice(
                f"{out} has {counted(len(results.done), 'result')} already; going on from there"
                + (f" ({counted(again, 'program')} to be run again)" if again else "")
            )
        batch = Batch(pool, source, results)
        code = batch.run()
        batch.summary(out, overwrite=overwrite)
    raise Ended(code)


def _reasons(rerun: Sequence[str]) -> list[str]:
    """The reasons that `--rerun` names. Raises ValueError."""
    reasons = options.names(rerun)
    known = [str(reason) for reason in ExitReason]
    for reason in reasons:
        if reason not in known:
            raise ValueError(f"--rerun {reason!r}: there are {', '.join(known)}")
    return list(reasons)


class Batch:
    """One pass over the lines of `source`, a descriptor: `run`, and then a `summary`."""

    def __init__(self, pool: Executor, source: int, results: ResultsFile) -> None:
        self._pool = pool
        self._source = source
        self._results = results
        self._flights: Flights[None] = Flights(pool.runner.ahead, pool.runner.when_room)
        self._seen: set[str] = set()
        self._stopping = False
        self._began = time.monotonic()
        self._progress = Progressing(count_lines(source))
        self.refused = 0
        self.skipped: Counter[str] = Counter()  # had results already, by reason
        self.ran: Counter[str] = Counter()  # now, by reason
        self.cpu_s = 0.0

    def run(self) -> int:
        """Run what has no result yet; return 0, 1 if a line was refused or a run was an infra
        error, or `INTERRUPTED`.
        """
        with self._giving_up(), self._interruptible(), self._progress:
            for program in self._programs():
                if program is not None:
                    self._launch(program)
                while self._flights.is_full and not self._stopping:
                    self._land(_LOOK_S)
                while self._land(0):
                    pass
                self._show()
            while self._flights and not self._stopping:
                self._land(_LOOK_S)
            while self._land(0):  # what had ended when we were told to stop
                pass
            self._flights.end()
        if self._stopping:
            return INTERRUPTED
        return 1 if self.refused or self.ran[ExitReason.INTERNAL] else 0

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
                self._progress.is_blank()
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
            reason = self._results.done.pop(name, None)  # one set of ids is enough
            if reason is None:
                yield program
                continue
            self.skipped[reason] += 1
            self._progress.advance(failed=reason != ExitReason.OK, ran=False)
            self._show()

    def _refuse(self, number: int, error: Exception) -> None:
        self.refused += 1
        self._progress.advance(failed=True, ran=False)
        if self.refused <= _MOST_COMPLAINTS:
            self._progress.say(f"line {number}: {error}")

    # ---- runs

    def _launch(self, program: Program) -> None:
        self._flights.launch(functools.partial(self._pool.submit, program), None)

    def _land(self, timeout_s: float) -> bool:
        """Write the next result, if one comes within `timeout_s`; tell whether one did."""
        landed = self._flights.land(timeout_s=timeout_s)
        self._show()
        if landed is None:
            return False
        result = landed[0].result()
        self._results.write(result.to_dict())
        self.ran[str(result.reason)] += 1
        self.cpu_s += result.cpu_s or 0.0
        self._progress.advance(failed=not result.ok, ran=True)
        return True

    def _show(self) -> None:
        self._progress.show(len(self._results.done))

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

    def summary(self, out: str, *, overwrite: bool) -> None:
        """Print what all results of the file come to, also those of earlier parts, and notes."""
        reasons = self._results.reasons
        total = reasons.total()
        table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
        for column in ("reason", "runs", "share"):
            table.add_column(column, justify="left" if column == "reason" else "right")
        for name, count in reasons.most_common():
            if count:
                share = Text(f"{count / total:.1%}")
                table.add_row(one_line(name), Text(str(count)), share)
        console = Console(stderr=True, highlight=False)
        console.print(table)
        for note in self._notes(out, total, overwrite=overwrite):
            console.print(one_line(note), soft_wrap=True)

    def _notes(self, out: str, total: int, *, overwrite: bool) -> Iterator[str]:
        """The lines below the table: of the whole, of this part, and whatever else is of use."""
        results, took_s, ran = self._results, time.monotonic() - self._began, self.ran.total()
        is_taken_up = results.is_file and out != "-"
        yield (
            f"{counted(total, 'result')}{f' in {out}' if is_taken_up else ''}: "
            f"{results.reasons[ExitReason.OK]} passed, "
            f"{counted(results.reasons[ExitReason.INTERNAL], 'infra error')}, "
            f"{results.cpu_s:.1f} CPU seconds"
        )
        skipped = self.skipped.total()
        yield (
            f"{counted(ran, 'run')} in {took_s:.1f} s ({ran / took_s:.0f}/s), "
            f"{self.cpu_s:.1f} CPU seconds"
            + (f"; {skipped} had results already" if skipped else "")
            + (f"; {counted(self.refused, 'line')} refused" if self.refused else "")
        )
        failed = [reason for reason in self.skipped if reason != ExitReason.OK]
        if failed:
            number = sum(self.skipped[reason] for reason in failed)
            yield (
                f"{number} of those that had results already did not pass; to run them again, add "
                + " ".join(f"--rerun {reason}" for reason in sorted(failed))
            )
        if self._stopping and is_taken_up:
            same = "the same command" + (", without --overwrite," if overwrite else "")
            yield f"interrupted: what has ended is in {out}; {same} goes on from here"
        elif self._stopping:
            yield "interrupted"
        yield from lacking(results.lacked, total)


def _program(line: bytes, number: str) -> Program:
    data = json.loads(line)
    if isinstance(data, dict) and data.get("id") is None:
        data["id"] = number
    return Program.from_dict(data)
