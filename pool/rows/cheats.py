"""Programs that solve nothing: a test that one of them passes is weak."""

import ast
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from ...sandbox.guest.run.dialogue import CLASS, CONSTANT, ERROR, FUNCTION, HOLDER
from ..judge.cases import Asserts, Call, Case, Stdio, TestModule
from ..judge.wanted import Wanted
from .reading import Reading

EMPTY = "empty"
ALWAYS_EQUAL = "always equal"
EXITS = "os._exit(0)"
SKIPS = "SkipTest"
OF_ANOTHER_ROW = "answer of another row"

IN_WORDS = {
    EMPTY: "an empty program",
    ALWAYS_EQUAL: "an object that equals everything",
    EXITS: "a program that ends by os._exit(0)",
    SKIPS: "a program that raises SkipTest",
    OF_ANOTHER_ROW: "the expected answer of another row",
}

_EQUAL = """class Equal:
    def same(self, *args, **kwargs): return self
    def yes(self, *args): return True
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = yes
    __getattr__ = __getitem__ = __call__ = __sub__ = __add__ = __abs__ = __round__ = same
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __len__(self): return 1
    def __iter__(self): return iter(())
"""
_BODIES = {
    ALWAYS_EQUAL: (_EQUAL, "Equal()"),
    EXITS: ("import os", "os._exit(0)"),
    SKIPS: (
        "import unittest\ndef skip(): raise unittest.SkipTest('of no use')",
        "skip()",
    ),
}

_LONGEST = 1 << 16
"""Characters of an answer that a cheat is to give."""

_MOST_ANSWERS = 50

_LONGEST_TEST = 1 << 23
"""Characters of a test's source in which expected values are looked for."""

_RESULTS = "results"
"""EvalPlus' tests have the list of all expected values by this name."""


class Answers:
    """What rows expect: kept to be given to other rows."""

    def __init__(self) -> None:
        self._texts: list[Any] = []
        self._values: list[Any] = []

    def note(self, reading: Reading) -> None:
        """Keep what the first case of a row expects."""
        case = reading.cases[0] if reading.cases else None
        if isinstance(case, Stdio) and isinstance(case.expected, (str, bytes)):
            kept = self._texts
            expected = case.expected
        elif isinstance(case, Call) and _as_literal(case.expected) is not None:
            kept, expected = self._values, case.expected
        elif isinstance(case, Asserts):
            telling = [value for value in _asserted_by(case) or () if _is_telling(value)]
            if not telling:
                return
            kept, expected = self._values, telling[0]
        else:
            return
        if len(repr(expected)) <= _LONGEST:
            kept.append(expected)
            del kept[:-_MOST_ANSWERS]

    def other_than(self, cases: Iterable[Case]) -> str | None:
        """Return a program that gives an answer which none of the cases expects; None: there is
        none, or nothing that says what is expected.
        """
        texts, values, function = [], [], ""
        is_test = False
        for case in cases:
            if isinstance(case, Stdio):
                # A checker decides; it may take much.
                texts.append(case.expected if case.checker is None else None)
            elif isinstance(case, Call):
                values.append(case.expected)
                function = case.function
            else:
                asserted = _asserted_by(case)
                if asserted is None:
                    return None
                values += asserted
                function, is_test = _names(case)[0][0], True
        for answer in self._texts if texts else ():
            if all(_differs(answer, text) for text in texts):
                return f"import sys\nsys.stdout.buffer.write({_bytes(answer)!r})"
        own = [_words(repr(value)) for value in values]
        for answer in self._values if values else ():
            literal = _as_literal(answer)
            if literal is None or (is_test and not _is_telling(answer)):
                continue
            if not any(_near(_words(literal), each) for each in own):
                return _defining(function, "", literal)
        return None


def cheats_for(reading: Reading, answers: Answers) -> Mapping[str, str]:
    """Return the source of each cheat by its name, as it has to be for a row's cases.

    Where a function is tested, it cheats when it is called; else the program does.
    """
    names = {name: kind for case in reading.cases for name, kind in _names(case)}
    found = {EMPTY: "pass\n"}
    for cheat, (before, value) in _BODIES.items():
        if names:
            parts = [_defining(name, "", value, kind) for name, kind in names.items()]
            found[cheat] = "\n".join([before, *parts])
        else:
            shown = "print(Equal())" if cheat == ALWAYS_EQUAL else value
            found[cheat] = f"{before}\n{shown}\n"
    other = answers.other_than(reading.cases)
    if other is not None:
        found[OF_ANOTHER_ROW] = other
    return found


def _names(case: Case) -> Wanted:
    if isinstance(case, (Asserts, TestModule)):
        return case.names
    return ((case.function, FUNCTION),) if isinstance(case, Call) else ()


def _defining(name: str, before: str, value: str, kind: str = FUNCTION) -> str:
    """A program that has something of this name, which gives the value of an expression."""
    if kind == ERROR:
        return f"{before}\nclass {name}(Exception): pass\n"
    if kind == CONSTANT:
        return f"{before}\n{name} = {value}\n"
    if kind in (CLASS, HOLDER):
        if value == "Equal()":
            return f"{before}\nclass {name}(Equal):\n    def __init__(*args, **kwargs): pass\n"
        return f"{before}\nclass {name}:\n    def __init__(*args, **kwargs): {value}\n"
    head, _, method = name.rpartition(".")
    if not head:
        return f"{before}\ndef {name}(*args, **kwargs): return {value}\n"
    of = head.removesuffix("()").partition(".")[0].removesuffix("()")
    return f"{before}\nclass {of}:\n    def {method}(*args, **kwargs): return {value}\n"


def _asserted_by(case: Case) -> tuple[Any, ...] | None:
    """The values that a test of one function expects, as `_asserted` finds them."""
    if not isinstance(case, Asserts) or len(case.names) > 1:
        return None
    return _asserted(case.test_source, case.names[0][0])


@functools.lru_cache(maxsize=64)
def _asserted(test: str, entry_point: str) -> tuple[Any, ...] | None:
    """The values that a test expects, where each of its asserts is that a call of the entry point
    equals one, or where they are all in one list; None where that is not so: then any answer may
    be right, by luck.
    """
    if len(test) > _LONGEST_TEST:
        return None
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    names = {"candidate", entry_point.rpartition(".")[2]}
    found: list[Any] = []
    try:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if node.targets[0].id == _RESULTS:
                    return tuple(ast.literal_eval(node.value))
            elif isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
                found.append(_compared(node.test, names))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(found) or None


def _compared(test: ast.expr, names: set[str]) -> Any:
    """The value that a call is compared with; ValueError where it is none."""
    match test:
        case ast.Compare(left=ast.Call(func=function), ops=[ast.Eq()], comparators=[value]):
            called = function.attr if isinstance(function, ast.Attribute) else None
            called = function.id if isinstance(function, ast.Name) else called
            if called in names:
                return ast.literal_eval(value)
    raise ValueError("it is no comparison of a call with a value")


def _is_telling(value: Any) -> bool:
    """Whether nothing else is likely to equal a value: a number may be right by luck."""
    return isinstance(value, (str, list, tuple, dict, set)) and len(value) > 0


def _as_literal(value: Any) -> str | None:
    """The source of a value of plain data, or None."""
    try:
        text = repr(value)
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return text


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _differs(answer: str | bytes, expected: Any) -> bool:
    if not isinstance(expected, (str, bytes)):
        return False
    return not _near(_words(_bytes(answer).decode(errors="replace")), _words(expected))


def _words(text: str | bytes) -> list[str]:
    text = text if isinstance(text, str) else text.decode(errors="replace")
    return [each.strip("[](){},'\"").lower() for each in text.split()]


def _near(these: list[str], those: list[str]) -> bool:
    """Whether two answers could be taken for one another by a tolerant comparison."""
    return len(these) == len(those) and all(map(_near_word, these, those))


def _near_word(this: str, that: str) -> bool:
    if this == that:
        return True
    try:
        return abs(float(this) - float(that)) <= 1e-3 * max(abs(float(this)), 1.0)
    except ValueError:
        return False
