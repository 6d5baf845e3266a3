"""Tests of unittest classes, run by the standard library's own machinery."""

from collections.abc import Callable
from typing import Any

from .collecting import Test
from .outcomes import Fail, Skip
from .setups import Setups


def disarm_main() -> None:
    """Have `unittest.main()` do nothing: the tests are run once the module has been executed."""
    import unittest

    unittest.main = unittest.TestProgram = lambda *args, **kwargs: None  # type: ignore[misc, assignment]


def run(test: Test, setups: Setups, begin: Callable[[str], None]) -> None:
    """Run all methods of one class, up to the first that fails, whose exception is raised.

    begin: is called with the name of each. Fixtures that apply by themselves stand around each, as
    pytest has it.
    """
    import unittest

    missed: list[BaseException] = []

    class Result(unittest.TestResult):
        def startTest(self, case: Any) -> None:
            super().startTest(case)
            begin(f"{test.name}::{case._testMethodName}")
            test.instance = case
            test.function = getattr(case, case._testMethodName)
            setups.enter(test)

        def stopTest(self, case: Any) -> None:
            super().stopTest(case)
            setups.leave(test, test)

        def addError(self, case: Any, error: Any) -> None:
            self._miss(case, error[1])

        def addFailure(self, case: Any, error: Any) -> None:
            self._miss(case, error[1])

        def addSubTest(self, case: Any, subtest: Any, error: Any) -> None:
            if error is not None:
                begin(f"{test.name}::{case._testMethodName} {subtest._subDescription()}")
                self._miss(subtest, error[1])

        def addSkip(self, case: Any, reason: str) -> None:
            self._miss(case, Skip(reason))

        def addExpectedFailure(self, case: Any, error: Any) -> None:
            self._miss(case, Skip("an expected failure"))

        def addUnexpectedSuccess(self, case: Any) -> None:
            self._miss(case, Skip("an expected failure that has not come"))

        def _miss(self, case: Any, error: BaseException) -> None:
            missed.append(error)
            self.stop()

    class Suite(unittest.TestSuite):
        # Fixtures of the module are not this class's: they may be shared with pytest's functions.
        def _handleModuleFixture(self, *args: Any) -> None:
            pass

        def _handleModuleTearDown(self, *args: Any) -> None:
            pass

    result = Result()
    result.failfast = True  # a subtest that fails ends its test
    cases: Any = test.cls
    setups.enter(test, "class")
    Suite(cases(method) for method in test.methods).run(result)
    if missed:
        raise missed[0]
    if result.testsRun != len(test.methods):
        raise Fail(f"{result.testsRun} of {len(test.methods)} tests were run")
