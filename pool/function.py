"""Functions of untrusted programs, called like any other."""

import re
import signal
from collections.abc import Callable
from typing import Any

from ..sandbox.guest.jail import wire
from ..sandbox.guest.jail.report import MAX_VALUE
from ..sandbox.limits import Limits
from ..sandbox.reasons import ExitReason
from ..sandbox.result import Result
from .errors import LimitExceeded, PoolError, ProgramError
from .program import Program

_NAME = re.compile(r"[^\W\d]\w*(\(\))?(\.[^\W\d]\w*(\(\))?)*")

_OWN_ENDS = (ExitReason.OK, ExitReason.EXIT, ExitReason.EXCEPTION, ExitReason.SIGNAL)


class Function:
    """A function of an untrusted program. Every call is a fresh, confined process, which loads the
    program (unless it was loaded once for all) and sees nothing of earlier calls; arguments and
    results cross as data. Thread-safe; a context manager, for what a program that was loaded once
    holds until `close`.

    Raises `ProgramError` where the program does not let it return, `LimitExceeded` where a limit or
    the sandbox does not, `PoolError` where we are to blame; TypeError for arguments that are no
    plain data (None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset;
    Counter, defaultdict, OrderedDict and namedtuples cross as the dict or tuple that they are).
    """

    def __init__(
        self,
        run: Callable[[bytes], Result],
        name: str,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = run
        self._name = check_name(name)
        self._close = close

    def __repr__(self) -> str:
        return f"<Function {self._name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return value_of(self._run(pack_call(self._name, args, kwargs)))

    def close(self) -> None:
        """Give back what it holds; it can't be called any more if that was anything. Idempotent."""
        self._close()

    def __enter__(self) -> "Function":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


MakeFunction = Callable[[str | bytes | Program, str, Limits, bool], Function]
"""Makes a function of a program: its source, the function's name, limits for each call, and whether
it is loaded once for all calls. Calls wait where a queue is full."""


def check_name(name: str) -> str:
    """Return the name of something to call; raise TypeError or ValueError for what is none."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {name!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(f'name={name!r}: must be a name such as "f" or "Solution().method"')
    return name


def pack_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return a call as it crosses; raise TypeError for arguments that can't."""
    try:
        return wire.encode((name, args, kwargs), bases=True)
    except wire.WireError as error:
        raise TypeError(f"an argument of {name} can't cross: {error}") from None


def require_loaded(result: Result) -> None:
    """Raise what kept a program from its end, by its run's result."""
    if result.infra_error:
        raise PoolError(f"an error of ours, not of the program: {result.detail}")
    if result.reason not in _OWN_ENDS:
        raise LimitExceeded(result)
    if result.exception is not None:
        error = result.exception
        raise ProgramError(error.type, error.message, error.traceback, result)
    if result.reason is ExitReason.SIGNAL:
        raise ProgramError(_signal_name(result.signal or 0), "", "", result)
    if not result.ok or not result.completed:
        raise ProgramError("SystemExit", f"status {result.exit_code}", "", result)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals, which have no names
        return f"signal {number}"


def value_of(result: Result, max_nodes: int = wire.MAX_NODES) -> Any:
    """Return what a called function returned, by its run's result; raise what kept it from that, or
    that it is more than `max_nodes` values (containers count as well).
    """
    require_loaded(result)
    if result.returned is None:
        raise ProgramError("SystemExit", f"status {result.exit_code}", "", result)
    try:
        return wire.decode(result.returned, max_bytes=MAX_VALUE, max_nodes=max_nodes)
    except wire.WireError as error:  # too much, or written by hand
        raise ProgramError(
            "ValueError", f"a value that can't be read: {error}", "", result
        ) from None
