"""The names in the tests of data sets: what they want of a program, and what they lack."""

import ast
import builtins
import dataclasses
import functools
import warnings
from collections.abc import Iterator
from typing import TypeGuard

from ..judge.wanted import LONGEST, global_names, names_of_star, nodes_in
from .imports import names_of_imports

_BUILTINS = frozenset(vars(builtins)) | {"__file__", "__name__", "__doc__", "__builtins__"}

SOLUTION = "Solution"


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """The global names of a source.

    used: which it reads, anywhere in it. bound: which it defines or imports. imported: which it
        imports. called: of those that it calls.
    open: it has a `from ... import *` of a module whose names are not known here.
    methods: what it calls of instances of a class Solution, which it makes without arguments.
    odd: what it passes to some function by name that can't cross, such as a lambda; by the
        function's name.
    """

    used: frozenset[str]
    bound: frozenset[str]
    imported: frozenset[str]
    called: frozenset[str]
    open: bool
    methods: frozenset[str]
    odd: dict[str, str]


@functools.lru_cache(maxsize=512)
def names(source: str) -> Names:
    """Read a source. Raises ValueError where it is no Python. One that is very long is not read: it
    is taken for one that may have any name.
    """
    if len(source) > LONGEST:
        nothing: frozenset[str] = frozenset()
        return Names(nothing, nothing, nothing, nothing, True, nothing, {})
    used, bound, imported = global_names(source)
    is_open = False
    called: set[str] = set()
    odd: dict[str, str] = {}
    nodes = list(nodes_in(source))
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
            if (what := _odd_argument(node)) is not None:
                odd.setdefault(node.func.id, what)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            known = names_of_star(node.module or "")
            is_open |= known is None
            bound |= known or frozenset()
    return Names(
        used,
        bound,
        imported,
        frozenset(called),
        is_open,
        frozenset(_methods(nodes)) if SOLUTION in called else frozenset(),
        odd,
    )


def _odd_argument(call: ast.Call) -> str | None:
    for each in (*call.args, *(keyword.value for keyword in call.keywords)):
        if isinstance(each, ast.Lambda):
            return "a lambda"
    return None


def _methods(nodes: list[ast.AST]) -> Iterator[str]:
    instances = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _is_solution(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Attribute) and (
            _is_solution(node.value)
            or (isinstance(node.value, ast.Name) and node.value.id in instances)
        ):
            yield node.attr


def _is_solution(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == SOLUTION
        and not node.args
        and not node.keywords
    )


def missing(tests: tuple[str, ...], prelude: str) -> frozenset[str]:
    """The names that tests use, and that neither they define, nor their prelude, nor Python. Raises
    ValueError where one of them is no Python.
    """
    before = names(prelude)
    if before.open:
        return frozenset()
    found: set[str] = set()
    for test in tests:
        here = names(test)
        if not here.open:
            found |= (here.used | before.used) - here.bound - before.bound
    return frozenset(found - _BUILTINS)


def defined_in(source: str) -> frozenset[str]:
    """The names that a program defines; none where it is no Python."""
    try:
        found = names(source)
    except ValueError:
        return frozenset()
    return found.bound - found.imported


@functools.lru_cache(maxsize=512)
def of_classes(prelude: str) -> frozenset[str]:
    """The classes that a prelude defines, and its functions that use one of them, by any way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(prelude).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return frozenset()
    found = {node.name for node in body if isinstance(node, ast.ClassDef)}
    functions = {
        node.name: {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    before = 0
    while found and len(found) != before:
        before = len(found)
        found |= {name for name, used in functions.items() if used & found}
    return frozenset(found)


@functools.lru_cache(maxsize=512)
def crossing(test: str, targets: frozenset[str], suspects: frozenset[str]) -> str | None:
    """Return the first of `suspects` whose result a test passes to one of `targets`, or compares
    with the result of one, by == or by some function; else None.
    """
    if not names(test).used & suspects:
        return None
    for node in nodes_in(test):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call):
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        else:
            continue
        if isinstance(node, ast.Call) and _called_name(node) in targets:
            used = {each.id for part in parts for each in ast.walk(part) if _is_name(each)}
            if used & suspects:
                return min(used & suspects)
        elif any(_calls(targets, part) for part in parts):
            for part in parts:
                if isinstance(part, ast.Call) and _called_name(part) in suspects:
                    return _called_name(part)
    return None


def _is_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _calls(targets: frozenset[str], node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Call) and _called_name(each) in targets for each in ast.walk(node)
    )


def _called_name(call: ast.Call) -> str:
    """The name of a function, or of a method, that is called."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


class Ambiguous(ValueError):
    """The text of the tests does not say what they test."""


def entry_point(
    tests: tuple[str, ...], prelude: str, *, reference: str = "", hint: str = ""
) -> str:
    """Return the name of what the tests call of a program.

    reference: a right program, or "". hint: text that may hold its signature. Raises `Ambiguous`
    where that is not one function; ValueError where a test is no Python.
    """
    called: frozenset[str] | None = None
    methods: set[str] = set()
    for test in tests:
        here = names(test)
        called = here.called if called is None else called & here.called
        methods |= here.methods
    bound = names(prelude).bound.union(*(names(test).bound for test in tests))
    wanted = (called or frozenset()) - bound
    if SOLUTION in missing(tests, prelude) and len(methods) == 1:
        return f"{SOLUTION}().{min(methods)}"
    foreign = wanted - _BUILTINS
    for found in (
        wanted & defined_in(reference),  # also one that is called like a function of Python's
        foreign,
        foreign - names_of_imports(),
        frozenset(name for name in wanted if f"def {name}(" in hint),
    ):
        if len(found) == 1:
            return min(found)
    said = ", ".join(sorted(foreign)) or "no function"
    raise Ambiguous(
        f"the tests call {said}: name the one that is tested in entry_point (of a ground truth, in "
        "fn_name)"
    )
