"""The `pool` command: its commands, and what becomes of errors."""

import importlib.metadata
import io
import logging
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from ...sandbox.errors import SandboxError
from . import batch, bench, doctor, fuzz, judge, render, run
from .ends import OWN_FAILURE, Ended, Interrupted, interrupt

app = typer.Typer(
    name="pool",
    help="Run untrusted Python: every program in a fresh, confined process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Options stand before the program's file: what follows it is the program's.
_OPTIONS_FIRST = {"allow_interspersed_args": False}
app.command("run", help=run.HELP, epilog=run.EPILOG, context_settings=_OPTIONS_FIRST)(run.run)
app.command("batch", help=batch.HELP)(batch.batch)
app.command("judge", help=judge.HELP)(judge.judge)
app.command("doctor")(doctor.doctor)
app.command("fuzz", help=fuzz.HELP)(fuzz.fuzz)
app.command("bench", help=bench.HELP)(bench.bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        print("interpreter-pool", importlib.metadata.version("interpreter-pool"))
        raise Ended(0)


@app.callback()
def _pool(
    version: Annotated[  # its callback sees to it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print it, and end."),
    ] = False,
) -> None:
    """Run untrusted Python: every program in a fresh, confined process."""


def main() -> NoReturn:
    """The entry point: runs `app`, and turns every kind of bad usage into exit code 125."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the encoding of the terminal
    logging.basicConfig(format="pool: %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGINT, interrupt)
    try:
        app()
    except Ended as ended:
        if isinstance(ended, Interrupted):
            render.notice("interrupted")
        code = ended.code
    except SystemExit as ended:
        # What renders for us leaves with 1 when nobody reads any more, and for nothing else.
        gone = 128 + signal.SIGPIPE if ended.code == 1 else OWN_FAILURE
        code = gone if ended.code else 0
    except (SandboxError, OSError, ValueError, TypeError, MemoryError) as error:
        print(f"pool: {_told(error)}", file=sys.stderr)
        code = OWN_FAILURE
    sys.exit(code)


_OPTIONS = {
    "memory_bytes": "--memory",
    "wall_s": "--timeout",
    "cpu_s": "--cpu-time",
    "processes": "--processes",
    "size": "--workers",
    "packages": "--with",
    "preload": "--preload",
    "name": "--function",
    "max_examples": "--max-examples",
    "abs_tol": "--abs-tol",
    "rel_tol": "--rel-tol",
}
"""By the argument of the library that an error names: what was typed."""


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or "out of memory"
    argument, equals, _ = text.partition("=")
    option = _OPTIONS.get(argument) if equals else None
    return text if option is None else f"{option}: {text}"


def _open_standard_streams() -> None:
    """Stand in for streams that were closed by whoever started us (`pool run file >&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (for good)
