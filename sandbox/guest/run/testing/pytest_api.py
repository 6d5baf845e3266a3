"""The module that a test imports as `pytest`."""

from types import ModuleType
from typing import Any, NoReturn

from .approx import approx
from .builtin import TempPathFactory
from .capturing import Capture
from .fixtures import fixture
from .logs import LogCapture
from .marks import Mark, Marks, Param
from .monkeypatching import MonkeyPatch
from .outcomes import Fail, Skip
from .raising import ExceptionInfo, WarningsRecorder, deprecated_call, raises, warns
from .setups import Request


def fail(reason: str = "", pytrace: bool = True) -> NoReturn:
    raise Fail(reason)


def skip(reason: str = "", *, allow_module_level: bool = False) -> NoReturn:
    raise Skip(reason or "skipped")


def xfail(reason: str = "") -> NoReturn:
    raise Skip(f"expected to fail: {reason}")


def importorskip(
    modname: str, minversion: str | None = None, reason: str | None = None, **options: Any
) -> Any:
    """The module; versions are not compared."""
    import importlib

    try:
        return importlib.import_module(modname)
    except ImportError as error:
        raise Skip(reason or f"could not import {modname!r}: {error}") from None


def exit(reason: str = "", returncode: int | None = None) -> NoReturn:
    raise Fail(f"pytest.exit: {reason}")


def main(args: Any = None, plugins: Any = None) -> int:
    """Nothing: the tests are run once the module has been executed."""
    return 0


def register_assert_rewrite(*names: str) -> None:
    pass


for _function, _kind in ((fail, Fail), (skip, Skip), (xfail, Skip), (exit, Fail)):
    _function.Exception = _kind  # type: ignore[attr-defined]


class _Warning(UserWarning):
    pass


_NAMES: dict[str, Any] = {
    "__version__": "8.0.0",
    "CaptureFixture": Capture,
    "ExceptionInfo": ExceptionInfo,
    "FixtureRequest": Request,
    "LogCaptureFixture": LogCapture,
    "Mark": Mark,
    "MonkeyPatch": MonkeyPatch,
    "PytestUnraisableExceptionWarning": _Warning,
    "PytestWarning": _Warning,
    "TempPathFactory": TempPathFactory,
    "WarningsRecorder": WarningsRecorder,
    "approx": approx,
    "deprecated_call": deprecated_call,
    "exit": exit,
    "fail": fail,
    "fixture": fixture,
    "importorskip": importorskip,
    "main": main,
    "mark": Marks(),
    "param": Param,
    "raises": raises,
    "register_assert_rewrite": register_assert_rewrite,
    "skip": skip,
    "warns": warns,
    "xfail": xfail,
}


def make() -> ModuleType:
    """A new module `pytest`."""
    module = ModuleType("pytest", "The part of pytest that tests of programs use.")
    vars(module).update(_NAMES)
    return module
