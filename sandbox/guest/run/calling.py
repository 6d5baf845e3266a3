"""A test in its process: what it finds there in place of the program, and how it went."""

import _thread
import atexit
import linecache
import re
import sys
from typing import Any

from ..jail import wire
from . import sharing, testing, uncaught
from .ahead import AHEAD, rewritten
from .dialogue import CONSTANT, FAILED, MAX_TRACEBACK, NEXT, PART, PROGRAM, WEAK, WELL, Role
from .literals import LITERAL, Literals
from .standins import Module, StandIns

CHECK = "check"
PRELUDE_FILE = "<prelude>"
MODULE = "test_main"
"""What a module of tests is called, so that its main part does not run."""

_UNPICKLES = re.compile(rb"(?i)pickle|dill|joblib|shelve|torch\.load")


class Test:
    """One of the tests that a process runs: `before` its source is executed, and `after`.

    stand_ins: for what the program has; the same for all tests of a process. source: the test's.
    """

    def __init__(
        self, role: Role, namespace: dict[str, Any], stand_ins: StandIns, source: bytes
    ) -> None:
        self._role = role
        self._namespace = namespace
        self._stand_ins = stand_ins
        self._asking = stand_ins.asking
        self._source = source
        self._literals = Literals(rewritten(source))
        self.rewritten = self._literals.rewritten
        """What is to be executed."""
        self._checks: object = None
        self._has_run = False

    def before(self) -> None:
        """Run the prelude as a module, and put stand-ins where the program's names were."""
        namespace, role = self._namespace, self._role
        self._asking.begin(namespace)
        if role.module:
            self._install_module()
        self._put_stand_ins(with_data=False)  # the prelude may use them
        if not role.shares and _UNPICKLES.search(self._source):
            sharing.refuse_pickles()  # a program may have written one that runs code
        name = namespace["__name__"]
        namespace["__name__"] = PROGRAM
        lines = role.prelude.splitlines(True)
        linecache.cache[PRELUDE_FILE] = (len(role.prelude), None, lines, PRELUDE_FILE)
        exec(compile(role.prelude, PRELUDE_FILE, "exec", dont_inherit=True), namespace)
        namespace["__name__"] = name
        self._put_stand_ins(with_data=not role.module)
        namespace[AHEAD] = self._stand_ins.ahead
        namespace[LITERAL] = self._literals
        self._checks = namespace.get(CHECK)
        if role.runs:
            namespace["__name__"] = MODULE
            sys.modules[MODULE] = sys.modules["__main__"]
            testing.prepare(role.prelude + "\n" + self._source.decode("utf-8", "replace"))

    def _put_stand_ins(self, *, with_data: bool) -> None:
        for place, (name, kind) in enumerate(self._role.names):
            if kind != CONSTANT or with_data:
                first = name.partition(".")[0].removesuffix("()")
                self._namespace[first] = _leading_to(self._stand_ins.at(place), name)

    def _install_module(self) -> None:
        role = self._role
        places = {name: place for place, (name, _) in enumerate(role.names)}
        parts = role.module.split(".")
        module = Module(role.module, self._stand_ins, places)
        sys.modules[role.module] = module
        for end in range(len(parts) - 1, 0, -1):  # packages that hold it
            outer = Module(".".join(parts[:end]), self._stand_ins, {})
            vars(outer)[parts[end]] = module
            sys.modules[outer.__name__] = module = outer

    def after(self) -> None:
        """Run the tests of a module; of another test call `check`, if it has defined one."""
        if self._role.runs:
            testing.run(self._namespace)
            self._has_run = True
            return
        check = self._namespace.get(CHECK)
        candidate = self._stand_ins.at(0)
        known = check is self._checks or check is candidate
        if not known and callable(check):
            check(candidate)

    def end(self, error: BaseException | None) -> None:
        """Say how the test has ended."""
        if error is not None or (self._role.runs and not self._has_run):  # it has left before
            self._asking.say(FAILED)
        else:
            self._asking.say(WELL, WEAK if self._asking.is_weak else b"")

    def goes_on(self, exit_code: int, error: BaseException | None) -> bool:
        """Whether this process is to run another test: where this one has left nothing behind that
        would be the next one's, and the host agrees.
        """
        if _thread._count() or atexit._ncallbacks():
            return False
        told = None
        if error is None:
            if exit_code:
                return False
        else:
            claim = uncaught.describe(error)
            # Of what is no ordinary exception, the result of the process says more.
            ordinary = isinstance(error, Exception) and not isinstance(error, ImportError)
            if self._role.stops or not ordinary or claim.memory_error:
                return False
            told = claim.shortened(MAX_TRACEBACK).exception
        return self._asking.exchange(PART, wire.encode((told, self._asking.is_weak))) == NEXT


def _leading_to(target: Any, name: str) -> Any:
    """What the name's first part must stand for, so that the whole name leads to `target`."""
    parts = name.split(".")
    for place in range(len(parts) - 1, 0, -1):
        holder = type("StandIn", (), {parts[place].removesuffix("()"): staticmethod(target)})
        # With a "()" before it, the holder is what calling the part before makes.
        target = holder if parts[place - 1].endswith("()") else holder()
    return target
