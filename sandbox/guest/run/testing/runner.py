"""Running the tests of a module that has been executed, in the process that executed it."""

import sys
from types import CoroutineType, TracebackType
from typing import Any

from . import pytest_api, unit
from .collecting import Test, collect
from .outcomes import as_exception
from .setups import Setups


def prepare(source: str) -> None:
    """Before a test's source is executed: have it find `pytest` as it is here, whether or not the
    real one is installed, and a `unittest.main` that ends nothing.
    """
    if "pytest" in source:
        sys.modules["pytest"] = pytest_api.make()
    if "unittest" in source:
        unit.disarm_main()


def run(namespace: dict[str, Any]) -> None:
    """Find and run all tests of the executed source; return only if there was at least one, and
    none has failed or was skipped.

    Raises Unfit before any is run if the module can't judge: it holds no test, one is skipped or
    expected to fail, or one asks for what is not known here. Else the exception of the first test
    that fails, with a note of the test's name; what is no Exception (SystemExit, say) becomes
    `Failed`, a test that skips itself `Skipped`.
    """
    tests = collect(namespace)
    setups = Setups()
    name = tests[0].name

    def begin(test: str) -> None:
        nonlocal name
        name = test

    missed: BaseException | None = None
    previous: Test | None = None
    try:
        for test in tests:
            setups.leave(previous, test)
            begin(test.name)
            previous = test
            _run(test, setups, begin)
    except BaseException as error:
        missed = error
    try:
        setups.leave(previous, None)
    except BaseException as error:
        missed = error if missed is None else missed
    if missed is None:
        return
    raised = as_exception(missed)
    try:
        BaseException.add_note(raised, f"in {name}")
    except Exception:  # a class of the test's own may refuse
        pass
    raise raised.with_traceback(_within(missed.__traceback__, namespace))


def _run(test: Test, setups: Setups, begin: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        if test.methods:
            unit.run(test, setups, begin)
            return
        if test.cls is not None:
            test.instance = test.cls()
        setups.enter(test)
        arguments = setups.arguments(test)
        function = test.function
        if test.instance is not None:
            function = getattr(test.instance, test.attribute)
        returned = function(**arguments)
        if type(returned) is CoroutineType:
            import asyncio

            asyncio.run(returned)


def _within(traceback: TracebackType | None, namespace: dict[str, Any]) -> TracebackType | None:
    """The traceback from where the module's own code begins: what called it says nothing."""
    first = traceback
    while first is not None and first.tb_frame.f_globals is not namespace:
        first = first.tb_next
    return first or traceback
