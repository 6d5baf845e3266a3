"""Programs that solve nothing: a test that one of them passes is weak."""

import ast
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


class Answers:
    """What rows expect: kept to be given to other rows."""

    def __init__(self) -> None:
        self._kept: list[str | bytes | Any] = []
        self._calls: list[Any] = []

    def note(self, reading: Reading) -> None:
        """Keep what the first case of a row expects."""
        case = reading.cases[0] if reading.cases else None
        if isinstance(case, Stdio) and isinstance(case.expected, (str, bytes)):
            kept = self._kept
        elif isinstance(case, Call) and _as_literal(case.expected) is not None:
            kept = self._calls
        else:
            return
        if len(repr(case.expected)) <= _LONGEST:
            kept.append(case.expected)
            del kept[:-_MOST_ANSWERS]

    def other_than(self, cases: Iterable[Case]) -> str | None:
        """Return a program that gives an answer which none of the cases expects; None: there is
        none, or nothing that says what is expected.
        """
        texts, values, function = [], [], ""
        for case in cases:
            if isinstance(case, Stdio):
                # A checker decides; it may take much.
                texts.append(case.expected if case.checker is None else None)
            elif isinstance(case, Call):
                values.append(case.expected)
                function = case.function
        for answer in self._kept if texts else ():
            if all(_differs(answer, text) for text in texts):
                return f"import sys\nsys.stdout.buffer.write({_bytes(answer)!r})"
        for answer in self._calls if values else ():
            literal = _as_literal(answer)
            own = [_words(repr(value)) for value in values]
            if literal is not None and not any(_near(_words(literal), each) for each in own):
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
