"""The `pool` command: its commands, and what becomes of errors."""

import importlib
import io
import logging
import os
import signal
import sys
from typing import NoReturn

import click

from ...sandbox.errors import SandboxError
from ..wording import escape
from . import live
from .ends import OWN_FAILURE, Ended, Interrupted, interrupt

_COMMANDS = ("run", "batch", "judge", "calibrate", "fuzz", "doctor", "bench")
"""Each is defined in the module of its name, under its name."""


class _Commands(click.Group):
    """Commands that are imported when they are called: to import all takes longer than many a
    program runs.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f".{name}", __package__), name)
        return command


@click.group(
    cls=_Commands,
    name="pool",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="interpreter-pool", message="interpreter-pool %(version)s")
def app() -> None:
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
        app(prog_name="pool")
    except Ended as ended:
        if isinstance(ended, Interrupted):
            live.notice("interrupted")
        code = ended.code
    except SystemExit as ended:
        # What renders for us leaves with 1 when nobody reads any more, and for nothing else.
        gone = 128 + signal.SIGPIPE if ended.code == 1 else OWN_FAILURE
        code = gone if ended.code else 0
    except (SandboxError, OSError, ValueError, TypeError, MemoryError) as error:
        print(f"pool: {escape(_told(error))}", file=sys.stderr)
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
