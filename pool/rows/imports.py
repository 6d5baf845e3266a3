"""What programs and tests of data sets take for granted: imports, put where they change nothing."""

import ast
import dataclasses
import functools
import re
from collections.abc import Sequence

from ..judge.cases import Asserts, Case, TestModule
from ..judge.wanted import STARS, names_of_star, provided

MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random"),
    *("statistics", "itertools", "functools", "operator", "io", "sys", "json"),
)
FUNCTION_IMPORTS = (
    "import " + ", ".join(MODULES) + "".join(f"; from {name} import *" for name in STARS)
)
"""In one line: what the graders of data sets import before programs, `List` and `deque` included.
The built-in functions come last, and stay what they are. A program, or a test, is given those of
which it has a word."""

_WORD = re.compile(r"[^\W\d]\w*")

_LONGEST_HEAD = 1 << 16
"""Characters in which a program's first statements are looked for: host time is not a program's to
spend. One that begins with more of comments and docstring than this gets no imports."""

# No group here is possessive: CPython before 3.11.5 does not match those rightly (gh-106052). Each
# part begins with a sign of its own, so that there is one way to match, and nothing to go back to.
_BLANK = r"(?:[ \t\f]|\\(?:\r\n|\r|\n))*"
_LINE_END = r"(?:\r\n|\r|\n)"
_SPACE = re.compile(rf"(?:[ \t\f]|\\?{_LINE_END}|#[^\r\n]*+)*")
_GAP = re.compile(_BLANK)
_STRING = re.compile(
    r'(?i:[ru]?)(?:"""(?:[^\\"]|\\.|"(?!""))*"""' + r"|'''(?:[^\\']|\\.|'(?!''))*'''"
    r'|"(?!"")(?:[^\\"\r\n]|\\.)*"' + r"|'(?!'')(?:[^\\'\r\n]|\\.)*')",
    re.DOTALL,
)
_OPENING = re.compile(r"(?i:[ru]?)[\"']|\(")
_FUTURE = re.compile(
    rf"from\b{_BLANK}__future__\b{_BLANK}import\b{_BLANK}"
    rf"(?:\((?:[^)#]|#[^\r\n]*+)*\)|(?:[\w,]|[ \t\f]|\\{_LINE_END})+)"
)
_BLANK_LINE = re.compile(rf"[ \t\f]*({_LINE_END})")
_COMPOUND = re.compile(r"@|(?:def|class|if|for|while|with|try|async|match)\b")


def with_imports(code: str, imports: str = FUNCTION_IMPORTS) -> str:
    """Return the program with `imports` before its first statement but docstring and `__future__`.

    imports: simple statements in one line, or any in several. Of `FUNCTION_IMPORTS`, the program
        gets those that provide a word of its text. A program whose beginning is no Python is
        returned as it is. Lines keep their numbers, unless the first statement is a definition (or
        another that takes a line of its own) and no docstring, `__future__` or blank line precedes.
    """
    if imports == FUNCTION_IMPORTS:
        imports = needed(code)
    return with_code(code, imports)


def with_code(code: str, before: str) -> str:
    """Return the program with this code in the place that `with_imports` has."""
    if not before.strip():
        return code
    line = before.strip()
    if len(line.splitlines()) > 1:
        line = f"exec({before!r})"
    head = code[:_LONGEST_HEAD]
    start, end = _first_statement(head)
    if start is None or (start == len(code) and not end):
        return code
    if end:  # of a docstring or a __future__ import
        return f"{code[:end]}; {line}{code[end:]}"
    if start < len(code) and not _COMPOUND.match(code, start):
        return f"{code[:start]}{line}; {code[start:]}"
    at = int(code.startswith("\ufeff"))
    blank = _BLANK_LINE.match(code, at)
    if blank is not None and not code[at:start].strip():
        return f"{code[:at]}{line}{code[blank.start(1) :]}"
    return f"{code[:start]}{line}\n{code[start:]}"


def needed(text: str) -> str:
    """Return those of `FUNCTION_IMPORTS` that provide a word of the text, in their order."""
    words = set(_WORD.findall(text))
    modules = [name for name in MODULES if name in words]
    stars = [name for name in STARS if not words.isdisjoint(provided()[name])]
    if not modules and stars in ([], ["builtins"]):
        return ""
    lines = ["import " + ", ".join(modules)] if modules else []
    return "; ".join([*lines, *(f"from {name} import *" for name in stars)])


@functools.lru_cache(maxsize=512)
def imports_in(source: str) -> tuple[str, ...]:
    """Return the import statements at the top of a source, but those of `__future__`."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ()
    return tuple(
        ast.unparse(node)
        for node in body
        if isinstance(node, ast.Import)
        or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
    )


def those_needed(statements: Sequence[str], text: str) -> list[str]:
    """Return the import statements that define a word of the text."""
    if not statements:
        return []
    words = set(_WORD.findall(text))
    return [each for each in statements if not words.isdisjoint(_defined_by(each))]


@functools.lru_cache(maxsize=1024)
def _defined_by(statement: str) -> frozenset[str]:
    (node,) = ast.parse(statement).body
    assert isinstance(node, (ast.Import, ast.ImportFrom))
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return names_of_star(node.module or "") or frozenset()
    return frozenset(each.asname or each.name.partition(".")[0] for each in node.names)


def names_of_imports() -> frozenset[str]:
    """The names that `FUNCTION_IMPORTS` defines."""
    return frozenset(MODULES).union(*provided().values())


def imports_for_tests(cases: Sequence[Case], imports: str = FUNCTION_IMPORTS) -> tuple[Case, ...]:
    """Return the cases; tests of a program's names with what of `imports` they have words of, all
    with the same, before their prelude.
    """
    tests = [case for case in cases if isinstance(case, (Asserts, TestModule))]
    if not tests:
        return tuple(cases)
    if imports == FUNCTION_IMPORTS:
        imports = _needed_by_tests(tuple((case.prelude, case.test_source) for case in tests))
    return tuple(
        dataclasses.replace(case, prelude=_before(case.prelude, imports))
        if isinstance(case, (Asserts, TestModule))
        else case
        for case in cases
    )


def _before(prelude: str, imports: str) -> str:
    return with_code(prelude, imports) if prelude.strip() else imports


@functools.lru_cache(maxsize=64)
def _needed_by_tests(texts: tuple[tuple[str, str], ...]) -> str:
    return needed("\n".join(part for text in texts for part in text))


def _first_statement(head: str) -> tuple[int | None, int]:
    """Where the first statement begins that is neither docstring nor `__future__`, and where the
    last of those ends (0: there are none). The first is None where it is not to be found.
    """
    at, last = int(head.startswith("\ufeff")), 0
    may_be_docstring = True
    while True:
        at = _matched(_SPACE, head, at)
        if at >= _LONGEST_HEAD:
            return None, 0
        end = _docstring_end(head, at) if may_be_docstring else 0
        may_be_docstring = False
        if not end:
            future = _FUTURE.match(head, at)
            end = len(future.group().rstrip(" \t\f")) + at if future else 0
        if not end and len(head) == _LONGEST_HEAD and _OPENING.match(head, at):
            return None, 0  # its end may be beyond
        if not end:
            return _line_start(head, at, last), last
        after = _matched(_GAP, head, end)
        if after < len(head) and head[after] not in ";#\r\n":
            return None, 0
        last, at = end, after
        if head[after : after + 1] == ";":
            at = _matched(_GAP, head, after + 1)


def _line_start(head: str, at: int, last: int) -> int | None:
    """`at`, unless it is indented: that is no Python."""
    if not last and at and head[at - 1] not in "\r\n\ufeff" and at < len(head):
        return None
    return at


def _docstring_end(head: str, start: int) -> int:
    """Where a statement ends that is a string, of parts or in parentheses, too; 0: it is none."""
    at, end, depth, strings = start, 0, 0, 0
    while at < len(head):
        if head[at] in "()":
            depth += 1 if head[at] == "(" else -1
            at = end = at + 1
            if depth < 0:
                return 0
        elif (string := _STRING.match(head, at)) is not None:
            strings += 1
            at = end = string.end()
        else:
            gap = _matched(_SPACE if depth else _GAP, head, at)
            if gap == at:
                break
            at = gap
    whole = at == len(head) or head[at] in ";#\r\n"
    return end if whole and strings and not depth else 0


def _matched(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
