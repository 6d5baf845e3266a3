"""What can be said of text as Python without running it: its strings, and whether it parses.

The text is hostile, and the parser runs in the host: it is given little, builds a tree and nothing
else (the compiler proper takes seconds for functions by the thousand, and for `finally` nested 19
deep), and all that it raises is an answer.
"""

import ast
import re
import warnings

MOST_PARSED = 64 << 10
"""The parser takes at most 0.2 s and 100 MB for so many characters (tried: what is deep, long and
ambiguous, on 3.11 to 3.13)."""

_NAME = "<answer>"
_STRINGS = re.compile(
    r"""#.*|\"{3}|'{3}|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?"""  # an open one ends the line
)
_IN_STRING = {quotes: re.compile(r"\\.|" + quotes) for quotes in ('"""', "'''")}

_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_DOES = (ast.Import, ast.ImportFrom, ast.Call, *_DEFINES)


def open_string(line: str, quotes: str = "") -> str:
    """Return the quotes of the string that is still open behind a line of Python; "" for none.

    quotes: those of the string that was open before it. Linear in the length of the line.

    >>> open_string('x = "#" + \"\"\"'), open_string("it's", "'''"), open_string("'''", "'''")
    ('\"\"\"', "'''", '')
    """
    place = 0
    while True:
        pattern = _IN_STRING[quotes] if quotes else _STRINGS
        found = pattern.search(line, place)
        if found is None:
            return quotes
        place = found.end()
        if found[0] in _IN_STRING:
            quotes = "" if quotes else found[0]


class Parser:
    """Parses the parts of one text, up to a sum of characters: what is beyond does not parse.

    budget: that sum. Each part may have `MOST_PARSED`.
    """

    def __init__(self, budget: int = 2 * MOST_PARSED) -> None:
        self._budget = budget
        self.wrong_line = 0
        """The line, from 1, for which what was parsed last is no Python; 0 if that is not known."""

    def may_parse(self, code: str) -> bool:
        """Whether so much can still be parsed."""
        return len(code) <= min(MOST_PARSED, self._budget)

    def parses(self, code: str) -> bool:
        """Whether `code` is Python, of whatever meaning."""
        return self._tree(code) is not None

    def is_program(self, code: str) -> bool:
        """Whether `code` is Python that does something: it imports, defines or calls. Prose that
        happens to be Python ("yes", "42", "x = 5") does not.
        """
        tree = self._tree(code)
        return tree is not None and any(isinstance(node, _DOES) for node in ast.walk(tree))

    def _tree(self, code: str) -> ast.Module | None:
        self.wrong_line = 0
        if not self.may_parse(code):
            return None
        self._budget -= len(code)
        _silence()
        try:
            return ast.parse(code, _NAME)
        except SyntaxError as error:
            self.wrong_line = error.lineno or 0
        except (ValueError, OverflowError, MemoryError, RecursionError):
            pass  # null bytes, halves of characters; what is too deep
        return None


def _silence() -> None:
    """Ignore warnings of answers, by their name: to catch them would be to change, and set back,
    what other threads warn by.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", "") != _NAME:
        warnings.filterwarnings("ignore", module=_NAME)
