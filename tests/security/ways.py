"""The ways by which untrusted code comes into a jail, other than a plain run.

Each takes a source that defines `through()`, which tries something and returns what got through,
and gives that list back.
"""

import json
from collections.abc import Callable
from typing import Any

from interpreter_pool import Asserts, Call, Limits, Pool, Result

from .syscalls import REFUSED

_SOURCE = """
def through():
    import contextlib, io, json, sys
    sys.argv[1:] = @ARGS@
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(@CODE@, {"__name__": "attack"})
    report = json.loads(said.getvalue())
    return @WHAT@
"""
_PRINT = "import json, sys\nprint(json.dumps(through()), flush=True)\n"

CALLS = f"[call for call, answer in report.items() if answer not in {sorted(REFUSED)}]"
"""Of what `syscalls.program` prints: the calls that were not refused."""

SEVERAL = Limits(processes=8)


def source(code: str, args: list[str], what: str = "report") -> str:
    """A source for the ways of this module, of a program that prints a report as JSON.

    args: its arguments. what: an expression of what got through, in terms of `report`.
    """
    text = _SOURCE.replace("@WHAT@", what)
    return text.replace("@ARGS@", repr(args)).replace("@CODE@", repr(code))


def printing(text: str) -> str:
    """The same as a program that prints what got through."""
    return text + _PRINT


def _printed(result: Result) -> Any:
    assert result.ok and not result.infra_error, result
    return json.loads(result.stdout)


def in_a_session(pool: Pool, text: str) -> Any:
    with pool.session() as session:
        session.run("kept = 1")
        return _printed(session.run(printing(text)))


def in_a_branch(pool: Pool, text: str) -> Any:
    with pool.session() as session:
        session.run("kept = 1")
        with session.fork() as branch:
            return _printed(branch.run(printing(text)))


def in_a_snapshot(pool: Pool, text: str) -> Any:
    with pool.snapshot("import ctypes, json") as snapshot:
        return _printed(snapshot.run(printing(text)))


def of_a_function(pool: Pool, text: str) -> Any:
    return pool.function(text, "through")()


def of_a_loaded_function(pool: Pool, text: str) -> Any:
    with pool.function(text, "through", shared_load=True) as function:
        return function()


def judged(pool: Pool, text: str) -> Any:
    """By value, and by a test in another process: the program is right if nothing gets through."""
    cases = [Call("through", (), expected=[]), Asserts("assert through() == []", "through")]
    verdict = pool.judge(text, cases)
    assert verdict.conclusive, verdict.cases
    return [case.diff or case.detail for case in verdict.cases if not case.passed]


def judging(pool: Pool, text: str) -> Any:
    """In the test's own process: what it does with an answer may be up to the answer."""
    case = Asserts(text + "\nassert f() is None and through() == []", "f")
    verdict = pool.judge("def f(): pass", [case])
    return [case.diff or case.detail for case in verdict.cases if not case.passed]


def with_several_processes(pool: Pool, text: str) -> Any:
    """In the run's first process, and in one that it executes, in a folder of its own."""
    execute = (
        "import os, subprocess, sys\n"
        "if os.environ.pop('FIRST', None):\n"
        "    os.mkdir('second')\n"
        "    subprocess.run([sys.executable, '../main.py'], cwd='second', check=True)\n"
    )
    result = pool.run(printing(text) + execute, limits=SEVERAL, env={"FIRST": "1"})
    assert result.ok, result
    first, second = map(json.loads, result.stdout.splitlines())
    return first + second


WAYS: dict[str, Callable[[Pool, str], Any]] = {
    "session": in_a_session,
    "branch": in_a_branch,
    "snapshot": in_a_snapshot,
    "function": of_a_function,
    "loaded function": of_a_loaded_function,
    "judged": judged,
    "judging": judging,
    "several processes": with_several_processes,
}
