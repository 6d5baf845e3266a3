"""Test modules, for pytest or unittest: what they want of a program, and if they can have it."""

import ast
import functools
import re

from ..judge.cases import TestModule
from ..judge.wanted import RUNS_FILES, looks_at_files, nodes_in, parse
from .asserts import classes_shared, without
from .imports import imports_in, names_of_imports
from .names import defined_in
from .reading import Reading

_MODULE = re.compile(
    r"^(?:import unittest|from unittest|import pytest|from pytest)\b"
    r"|^class \w+\((?:unittest\.)?TestCase\)|^(?:class Test\w*|(?:async +)?def test_?\w* *\()"
    r"|^from solution import|^import solution\b",
    re.MULTILINE,
)
_CHECK = re.compile(r"^def check\b", re.MULTILINE)

_OUTPUT = re.compile(r"""patch(?:\.object)?\(\s*["']?sys["']?[.,]\s*["']?std(?:out|err)""")
_PATCHES = re.compile(
    r"\bpatch(?:\.object|\.dict|\.multiple)?\s*\(|@patch|\bcreate_autospec\b|\b(?:Magic|Async)?Mock\("
    r"|\bmonkeypatch\.(?:setattr|setitem|setenv|delattr|delenv|delitem)\b"
)
_PLOTS = re.compile(
    r"\bplt\.(?!close|clf|cla|ioff|switch_backend|show)|\bAxes\b|\bFigure\b|\bgca\(|\bgcf\("
    r"|\.get_(?:title|xlabel|ylabel|figure|legend|lines|xticklabels)\(|\bax\."
)

PATCHES = (
    "the tests replace what the program uses (mock, monkeypatch), and it runs in another process"
)
PLOTS = "the tests look at a plot that the program has drawn, which can't cross to them"
RUNS = "the tests may execute or unpickle what is in a file that the program has written"


def is_module(test: str) -> bool:
    """Whether a test is for pytest or unittest."""
    return _MODULE.search(test) is not None and _CHECK.search(test) is None


def read_module(
    shape: str,
    test: str,
    *,
    names: tuple[str, ...] = (),
    prelude: str = "",
    shared: str = "",
    reference: str = "",
    module: str = "solution",
) -> Reading:
    """Return a reading of a module of tests. Raises ValueError where it is no Python.

    names: of what is tested; (): found in the test. module: as which it imports the program.
    reference: a right program, or "". prelude: is run before the test; shared: before test and
    program.
    """
    before = "\n".join(part for part in (shared, prelude) if part.strip())
    try:
        case = TestModule(test, module, entry_points=names, prelude=before)
    except ValueError as error:
        parse(test)
        return Reading(shape=shape, why=str(error))
    found = tuple(name for name, _ in case.names)
    if not names and reference:
        # What neither is the program's may be of its imports, which tests of some sets rely on.
        own = defined_in(reference)
        found = tuple(name for name in found if name in own) or found
    else:
        found = tuple(name for name in found if name not in names_of_imports()) or found
    why = _why_not(test, frozenset(found))
    if why:
        return Reading(shape=shape, why=why)
    classes = classes_shared((test,), before, found[0])
    return Reading(
        shape=shape,
        cases=(TestModule(test, module, entry_points=found, prelude=before),),
        prelude="\n\n".join(part for part in (without(shared, *found), classes) if part),
        imports=imports_in(prelude),
    )


@functools.lru_cache(maxsize=512)
def _why_not(test: str, found: frozenset[str]) -> str:
    """Why what a test does can't be done where the program has a process of its own."""
    if _PATCHES.search(_OUTPUT.sub("", test)):
        return PATCHES
    if _PLOTS.search(test):
        return PLOTS
    if looks_at_files(test) and RUNS_FILES.search(test):
        return RUNS
    for node in nodes_in(test):
        if isinstance(node, ast.ClassDef):
            bases = {each.id for each in node.bases if isinstance(each, ast.Name)}
            if bases & found:
                return (
                    f"the tests derive a class from {min(bases & found)}, which is in the "
                    "program's process"
                )
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in found
            and any(isinstance(each, ast.Lambda) for each in node.args)
        ):
            return f"the tests pass a lambda to {node.func.id}, which can't cross to a program"
    return ""
