"""What is shown and said of an exception that a program did not catch."""

import builtins
import os
import sys
from typing import Any

from ..jail.report import Claim

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_MOST_FRAMES = 1000
"""Frames that are shown of a traceback, the last ones, as by Python's own printing until 3.12. Each
costs some 50 µs to describe, and an error may come from 50,000 calls deep."""

_NO_MEMORY_FOR_A_FRAME = "error return without exception set"
"""What a SystemError says when a call finds no memory for its frame: CPython 3.11 to 3.13 forget
the MemoryError there (_PyThreadState_PushFrame). Recursion without end comes to it."""

_OURS = os.path.dirname(os.path.dirname(__file__)) + "/"


def strip(error: BaseException) -> None:
    """Take our own frames off the traceback: the program's begins with its own first line."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OURS):
        traceback = traceback.tb_next
    error.__traceback__ = traceback


def show(error: BaseException) -> int:
    """Show an uncaught exception, through the program's own hook; return the exit code."""
    try:
        if sys.excepthook is sys.__excepthook__ and not hasattr(sys, "tracebacklimit"):
            sys.tracebacklimit = _MOST_FRAMES
            try:
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                vars(sys).pop("tracebacklimit", None)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as second:
        return exit_code(second)
    except BaseException as second:
        strip(second)
        try:
            print("Error in sys.excepthook:", file=sys.stderr)
            sys.__excepthook__(type(second), second, second.__traceback__)
            print("\nOriginal exception was:", file=sys.stderr)
            sys.__excepthook__(type(error), error, error.__traceback__)
        except BaseException:
            pass
    return 1


def exit_code(error: SystemExit) -> int:
    try:
        code: Any = error.code
        if code is None:
            return 0
        if issubclass(type(code), int):
            number = int.__index__(code)  # of a subclass, the number and not its opinion
            return number if -(1 << 63) <= number < 1 << 63 else -1
        print(code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def describe(error: BaseException) -> Claim:
    texts = []
    for tell in (_name, str, _format):
        try:
            texts.append("" + tell(error))  # a subclass of str would not be plain data
        except BaseException as second:
            texts.append(f"<{tell.__name__.strip('_')} raised {type(second).__name__}>")
    memory = issubclass(type(error), MemoryError) or (
        type(error) is SystemError and texts[1] == _NO_MEMORY_FOR_A_FRAME
    )
    return Claim((texts[0], texts[1], texts[2]), memory)


def _name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _format(error: BaseException) -> str:
    import traceback

    most = None if hasattr(sys, "tracebacklimit") else -_MOST_FRAMES
    return "".join(traceback.format_exception(error, limit=most))
