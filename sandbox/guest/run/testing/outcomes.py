"""How a test ends if it neither comes to its own end nor raises an ordinary exception."""

from typing import Any


class Unfit(Exception):
    """The module can judge no program: it holds no test, skips one, or asks for what is not known
    here. Raised before any of its tests is run.
    """


class Failed(Exception):
    """A test has failed by `pytest.fail` and its like, or has tried to end the process."""


class Skipped(Exception):
    """A test has skipped itself, or called its failure expected, while it ran."""


class Fail(BaseException):
    """Raised by `pytest.fail`, and where pytest itself would call a test failed. No Exception: what
    a test catches as Exception does not include it.
    """


class Skip(BaseException):
    """Raised by `pytest.skip` and `pytest.xfail`; no Exception, as `Fail`."""


for _kind in (Unfit, Failed, Skipped, Fail, Skip):
    _kind.__module__ = "builtins"  # a traceback shows the bare name


def as_exception(error: BaseException) -> Exception:
    """What is reported in place of `error`: itself if it is an ordinary exception. One that could
    end a process becomes `Failed`, with the original as its cause.
    """
    if isinstance(error, Skip) or _is_skip_of_unittest(error):
        return _like(Skipped(*error.args), error)
    if isinstance(error, Exception):
        return error
    if isinstance(error, Fail):
        return _like(Failed(*error.args), error)
    missed = Failed(f"the test raised {type(error).__name__}{_arguments(error)}")
    missed.__cause__ = error
    return missed


def _is_skip_of_unittest(error: BaseException) -> bool:
    return any(
        (kind.__module__, kind.__qualname__) == ("unittest.case", "SkipTest")
        for kind in type(error).__mro__
    )


def _like(new: Exception, old: BaseException) -> Exception:
    new.__cause__, new.__context__ = old.__cause__, old.__context__
    new.__suppress_context__ = old.__suppress_context__
    return new.with_traceback(old.__traceback__)


def _arguments(error: BaseException) -> str:
    arguments: Any = error.args
    plain = all(type(each) in (int, str) for each in arguments)
    return f"({', '.join(map(repr, arguments))})" if plain else ""
