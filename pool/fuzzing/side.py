"""One of two programs, asked what its function comes to."""

import contextlib
from typing import TypedDict

from ...sandbox.limits import Limits
from ...sandbox.reasons import ExitReason
from ..errors import LimitExceeded, PoolError, ProgramError
from ..function import Function, MakeFunction
from ..judge.values import Rule
from ..program import Program
from .difference import Answer
from .patience import patiently
from .strategies import Arguments


class Comparison(TypedDict, total=False):
    """What counts as equal; as in `Call`."""

    numeric: bool
    abs_tol: float
    rel_tol: float
    ordered: bool
    as_json: bool


class Side:
    """A program's function, whose every call is a process of its own; shared: forked from where the
    program was loaded once. `close` gives that back.
    """

    def __init__(
        self,
        make: MakeFunction,
        program: str | bytes | Program,
        name: str,
        limits: Limits,
        shared: bool,
    ) -> None:
        self._make = make
        self._program = program
        self._name = name
        self._limits = limits
        self._shared = shared
        self._opened = contextlib.ExitStack()
        self._function = self._open(limits)
        self._hurried: Function | None = None

    def ask(self, arguments: Arguments) -> Answer:
        """Return what it comes to. Raises `PoolError` where we are to blame."""
        return _answer(self._function, arguments)

    def confirms(self, arguments: Arguments, before: Answer, rule: Rule) -> bool:
        """Whether it comes to the same as before. What was ended by its time is given half of that:
        the simplest such input barely takes too long, and might not the next time.
        """
        if not before.is_late:
            return self.ask(arguments).is_as(before, rule)
        if self._hurried is None:
            self._hurried = self._open(_halved(self._limits))
        return _answer(self._hurried, arguments).is_as(before, rule)

    def close(self) -> None:
        self._opened.close()

    def _open(self, limits: Limits) -> Function:
        function = patiently(lambda: self._make(self._program, self._name, limits, self._shared))
        return self._opened.enter_context(function)


def _answer(function: Function, arguments: Arguments) -> Answer:
    try:
        return Answer(patiently(lambda: function(*arguments.args, **arguments.kwargs)))
    except ProgramError as error:
        return Answer(exception=error.type, message=error.message)
    except LimitExceeded as error:
        if error.reason is ExitReason.CANCELLED:  # by no program's doing
            raise PoolError("a call was cancelled: is the pool being closed?") from error
        return Answer(limit=error.reason, message=error.result.detail)


def _halved(limits: Limits) -> Limits:
    return limits.replace(
        cpu_s=None if limits.cpu_s is None else limits.cpu_s / 2,
        wall_s=None if limits.wall_s is None else limits.wall_s / 2,
    )
