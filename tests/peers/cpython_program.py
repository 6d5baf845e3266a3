"""Runs one module of CPython's own regression tests and prints, last, what came of each test.

The same program runs in a jail and outside. Its argument is the module's name; the last line that
it prints is a JSON object: outcomes ("ok", "skip" or "fail") by test, why those that failed did, and
which tests asked for a process or for a socket of a network (seen by an audit hook).
"""

import json
import socket
import sys
import unittest
import warnings

PROCESSES = ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen")


class Outcomes(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.current = ""
        sys.addaudithook(self._hear)
        self.outcomes: dict[str, str] = {}
        self.why: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcomes[test.id()] = "ok"
        self.current = test.id()

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, "skip", reason)

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)  # type: ignore[arg-type]
        self._note(test, "fail", self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)  # type: ignore[arg-type]
        self._note(test, "fail", self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err is not None:
            self._note(test, "fail", repr(err)[:500])

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        network = event == "socket.__new__" and arguments[1] != socket.AF_UNIX
        if network or event in PROCESSES:
            self.asked.add(self.current)

    def _note(self, test: unittest.TestCase, outcome: str, why: str) -> None:
        # A method's skipped part does not make the rest of it less of a test.
        if self.outcomes.get(test.id()) != "fail":
            self.outcomes[test.id()] = outcome
            self.why[test.id()] = why[-700:]


def main(name: str) -> None:
    from test import support

    support.use_resources = []  # no network, no large files, nothing that takes minutes
    support.verbose = 0
    warnings.simplefilter("ignore")
    results = Outcomes()
    try:
        tests = unittest.defaultTestLoader.loadTestsFromName(f"test.{name}")
    except unittest.SkipTest as skip:
        results.outcomes[name], results.why[name] = "skip", str(skip)
    else:
        tests.run(results)
    said = {"outcomes": results.outcomes, "why": results.why, "asked": sorted(results.asked)}
    sys.__stdout__.write("\n" + json.dumps(said) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    main(sys.argv[1])
