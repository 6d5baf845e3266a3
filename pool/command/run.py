"""`pool run`: one program, its input and output as they come, and its exit code."""

import contextlib
import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from typing import IO

import click

from ...sandbox.jail import refused
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ..engine.task import RunFuture
from ..program import Program
from . import files, live, options
from .ends import INTERRUPTED, OWN_FAILURE, Ended, Interrupted, printing
from .hints import missing_package
from .sizes import parse_environment, parse_recursion_limit

HELP = """Run an untrusted program in a fresh, confined process.

FILE is the program, '-' reads it from standard input. Options stand before FILE; what follows
it is the program's own. The program reads what this command is given to read, as it comes.

Examples:

  pool run snippet.py

  pool run --timeout 2 --memory 256M --json snippet.py --its-own-option

  pool run --with numpy,pandas --preload numpy analysis.py

  pool run --file table.csv --collect '*.png' --out pictures plot.py

  sort data.txt | pool run report.py

  echo 'print(input())' | pool run --stdin data.txt -
"""

EPILOG = """Exit code: the program's own; 128+N if it died of signal N; 124 wall or CPU time,
137 memory, 153 output, 159 denied, 130 cancelled; 125 bad usage or our own failure."""

_EXIT_CODES = {
    ExitReason.WALL_TIMEOUT: 124,
    ExitReason.CPU_TIMEOUT: 124,
    ExitReason.MEMORY: 137,
    ExitReason.OUTPUT: 153,
    ExitReason.DENIED: 159,
    ExitReason.CANCELLED: INTERRUPTED,
    ExitReason.INTERNAL: OWN_FAILURE,
}


# Options stand before the program's file: what follows it is the program's.
@click.command(help=HELP, epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("file", metavar="FILE|-")
@click.argument("args", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@options.timeout
@options.cpu_time
@options.memory
@options.processes
@click.option(
    "--stdin",
    metavar="FILE",
    help="What the program reads; '-', this command's input, unless FILE is '-'; 'none', nothing.",
)
@click.option(
    "--file",
    "file_in",
    metavar="SRC[:NAME]",
    multiple=True,
    help="A file for its directory; repeatable.",
)
@click.option(
    "--collect",
    metavar="GLOB",
    multiple=True,
    help="Files to bring back, such as '*.png'; repeatable.",
)
@click.option("--out", metavar="DIR", help="Where collected files are written.")
@click.option(
    "--env", metavar="NAME=VALUE", multiple=True, help="Its whole environment; repeatable."
)
@click.option("--seed", metavar="N", type=int, help="Begin random and numpy.random with this.")
@click.option(
    "--recursion-limit",
    metavar="N",
    default="none",
    help="How deep calls may go; 'none': Python's own 1000.",
)
@click.option("--runtime", metavar="NAME", help="Of --on: which of the executor's runtimes.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as one JSON object.")
@click.option("--explain", is_flag=True, help="Say which system calls were refused, and why.")
@options.of_executor
def run(
    file: str,
    args: tuple[str, ...],
    timeout: str,
    cpu_time: str,
    memory: str,
    processes: int,
    stdin: str | None,
    file_in: tuple[str, ...],
    collect: tuple[str, ...],
    out: str | None,
    env: tuple[str, ...],
    seed: int | None,
    recursion_limit: str,
    runtime: str | None,
    as_json: bool,
    explain: bool,
    jails: options.Jails,
) -> None:
    if file == "-" and stdin == "-":
        raise ValueError("the program and its input can't both be read from standard input")
    if collect and out is None and not as_json:
        raise ValueError("--collect needs --out DIR, where files are written, or --json")
    if out is not None and not collect:
        raise ValueError("--out DIR needs --collect GLOB, the files that are to come back")
    if out is not None:
        os.makedirs(out, exist_ok=True)
    if runtime is not None and jails.on is None:
        raise ValueError("--runtime is for --on; a pool of this command's own has --with, --python")
    limits = options.limits(timeout, cpu_time, memory, processes)
    program = Program(
        options.read(file, limits.source_bytes),
        args=args or (),
        files=files.read_all(file_in or ()),
        collect=collect or (),
        env=parse_environment(env) if env else None,
        seed=seed,
        recursion_limit=parse_recursion_limit(recursion_limit),
        filename=None if file == "-" else os.path.basename(file),
        runtime=runtime,
    )
    shown = None if as_json else live.Live()
    executor = jails.executor(limits, size=1, explain=explain)
    with executor, printing(), _input(file, stdin) as source:
        if jails.on is None:
            result = _result(executor.submit(program, stdin=source, on_output=shown))
        else:
            result = _result(executor.submit(program, stdin=_all_of(source)))
            if shown is not None:
                shown("stdout", result.stdout_bytes)
                shown("stderr", result.stderr_bytes)
    hint = missing_package(result)
    if result.completed and not hint and not result.refused_calls:
        hint = result.detail  # as of input that could not be read to its end
    unwritten: OSError | None = None
    if out is not None:
        try:
            skipped = {**result.files_skipped, **files.write_all(out, result.files)}
            result = dataclasses.replace(result, files_skipped=skipped)
        except OSError as error:  # the result is there all the same
            unwritten = error
    with printing():
        if shown is None:
            print(json.dumps({**result.to_dict(), "detail": hint or result.detail}))
        else:
            shown.end(result)
            if hint:
                live.notice(hint)
            if explain:
                for line in refused.lines(result.refused_calls) or ["no system call was refused"]:
                    live.notice(line)
    if unwritten is not None:
        raise unwritten
    raise Ended(exit_code(result))


@contextlib.contextmanager
def _input(file: str, stdin: str | None) -> Iterator[bytes | IO[bytes]]:
    """Yield what the program is to read."""
    if stdin not in (None, "-", "none"):
        with open(stdin, "rb", buffering=0) as opened:
            yield opened
    elif stdin == "none" or file == "-" or not _can_be_read(sys.stdin.fileno()):
        yield b""
    else:
        yield sys.stdin.buffer


def _all_of(source: bytes | IO[bytes]) -> bytes:
    """The whole input, for a program that is run elsewhere."""
    if isinstance(source, bytes):
        return source
    if source.isatty():
        raise ValueError("with --on, input can't be typed; give --stdin FILE, or --stdin none")
    return source.read()


def _can_be_read(fd: int) -> bool:
    """Whether a descriptor is open for reading: nohup leaves one that is not."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def _result(future: RunFuture) -> Result:
    """Wait for a result; on Ctrl-C, for that of the run it ended."""
    try:
        return future.result()
    except Interrupted:
        future.cancel()
        if future.cancelled():  # it had not begun: there is nothing to tell
            raise
        return future.result()


def exit_code(result: Result) -> int:
    """The exit code of `pool run` for `result` (docs/command-line.md has the table)."""
    if result.reason in _EXIT_CODES:
        return _EXIT_CODES[result.reason]
    if result.signal is not None:
        return 128 + result.signal
    return result.exit_code or 0
