"""How commands end: exit codes of ours, Ctrl-C, and a reader of the output who has left."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

OWN_FAILURE = 125
"""Bad usage, or a failure of ours."""

INTERRUPTED = 130
"""Ended by Ctrl-C, as of a program that died of SIGINT."""


class Ended(Exception):
    """A command has ended with this exit code, which is not a usage error's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(Ended):
    """Ctrl-C."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


def interrupt(*_: object) -> NoReturn:
    """For SIGINT. Not KeyboardInterrupt: the parser of the command line would make it a usage
    error's code.
    """
    raise Interrupted


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Print within this: `pool run file | head` ends as a program killed by SIGPIPE would.

    The signal itself stays ignored: the host writes to sockets whose other ends may go any time.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Nothing more can be written, not even by Python at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise Ended(128 + signal.SIGPIPE) from None
        raise
