"""Fenced blocks in the text of a language model, found by a CommonMark block parser.

The parser is markdown-it's, so that lists, quotes and indentation mean what they mean everywhere.
Its rule for fences is replaced by one that knows how models depart from CommonMark:

- A fence is one at any indentation, in HTML (`<think>`), and after text if its line ends in
  "```python". What CommonMark takes for indented code, HTML, headings or link references is text.
- What follows a closing fence on its line may be a tag or a special token ("```</answer>").
- A line in a block of Python that begins with the fence's characters ends it, whatever follows:
  no line of Python begins so.
- In a block that is not Python, a fence of Python is one of its own.
- On request, a fence within a triple-quoted string of Python is part of the code.
- The code of a list item may be indented less than the item, that of a quote be unquoted. Code
  that is indented less than its fence keeps its shape.

Everything here is linear in the length of the text. What could be otherwise has a budget: lines
that are looked at in vain, beyond the end of a quote or list item, or for that of a string. In text
that was made to have it spent, what follows is read as if there were no quotes, lists and strings.
"""

import dataclasses
import functools
import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.parser_block import ParserBlock
from markdown_it.rules_block import StateBlock, blockquote, list_block
from markdown_it.token import Token

from .syntax import open_string

_MOST_LEVELS = 30
"""Quotes (one level) and lists (two) within each other; deeper ones are text. Each level reads its
lines again."""

_RUN = re.compile(r"`{3,}|~{3,}")
_PYTHON = re.compile(r"(?:i?python|py)(?:-?3(?:\.\d+)*)?", re.IGNORECASE)
_WORD = re.compile(r"[^\s,:;{}()=\[\]]*")
_ATTRIBUTES = re.compile(r"\{([^{}]{0,200})\}")
_LANGUAGE_ALONE = re.compile(r"(?:\{\s*)?[.\w][^\s<>]*")
_LONGEST_INFO = 1000

_LOOKS = "looks"
_PARSES = "parses"
_LOOKS_FOR_EACH_LINE, _LOOKS_AT_LEAST = 4, 1000
"""The budget: for each line of the text, and in any case. Models' answers have few such blocks."""

_Rule = Callable[[StateBlock, int, int, bool], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block. Lines are counted from 0, in the whole text.

    info: what stands behind the opening fence. first_line, end_line: its content, without the
    fences. closed: a closing fence was found. holds: fences of Python are in it. markup: the
    characters that closing it takes.
    """

    info: str
    content: str
    first_line: int
    end_line: int
    closed: bool
    holds: bool
    markup: str


def language(info: str) -> str:
    """Return the language that an info string names, as it is written there; "" if none.

    >>> language('python title="a.py"'), language("{.python #id}"), language("Python3:main.py")
    ('python', 'python', 'Python3')
    """
    info = info[:_LONGEST_INFO].strip()
    attributes = _ATTRIBUTES.match(info)
    if attributes is None:
        word = _WORD.match(info)
        return "" if word is None else word[0]
    words = attributes[1].replace(",", " ").split()
    classes = [word[1:] for word in words if word.startswith(".")]
    named = [name for name in classes if _PYTHON.fullmatch(name)] or classes or words
    return named[0] if named else ""


def is_python(info: str) -> bool:
    """Whether an info string names Python: python, py, python3, ipython, in any case."""
    return _PYTHON.fullmatch(language(info)) is not None


def find(text: str, parses: Callable[[str], bool] | None = None) -> list[Fence]:
    """Return the fenced blocks of `text`, whose lines end in "\\n" alone, as they begin.

    parses: whether code is Python. If given, a fence that stands in a string of the code does not
    end it, provided that the code up to the first one that does not is Python.
    """
    tokens: list[Token] = []
    parser = _parser()
    # A last line of white space without an end is none to markdown-it, in part: it fails there.
    text = text if text.endswith("\n") else text + "\n"
    looks = _LOOKS_AT_LEAST + _LOOKS_FOR_EACH_LINE * text.count("\n")
    parser.block.parse(text, parser, {_LOOKS: looks, _PARSES: parses}, tokens)
    fences = [token.meta["fence"] for token in tokens if token.type == "fence"]
    return sorted(fences, key=lambda fence: fence.first_line)


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": 2 * _MOST_LEVELS})
    parser.block = _Blocks()
    ruler = parser.block.ruler
    ruler.enableOnly(["fence", "blockquote", "hr", "list", "paragraph"])
    ruler.at("fence", _fence_rule, {"alt": ["paragraph", "blockquote", "list"]})
    ruler.at("blockquote", _shallow(blockquote), {"alt": ["paragraph", "blockquote", "list"]})
    ruler.at("list", _shallow(list_block), {"alt": ["paragraph", "blockquote"]})
    ruler.before("paragraph", "late_fence", _late_fence_rule, {"alt": ["paragraph", "blockquote"]})
    ruler.enable("late_fence")
    ruler.at("paragraph", _paragraph_rule)
    # Compiled before another thread can see it: markdown-it does so when first asked, unlocked.
    ruler.getRules("")
    return parser


class _Blocks(ParserBlock):
    """Notes how much of a quote was looked at and not read: it looks for its end first, over all
    that could go on with a paragraph, and then has none.
    """

    def tokenize(self, state: StateBlock, startLine: int, endLine: int) -> None:
        super().tokenize(state, startLine, endLine)
        if state.parentType == "blockquote":
            state.env[_LOOKS] -= max(endLine - state.line, 0)


def _shallow(rule: _Rule) -> _Rule:
    return lambda state, line, end, silent: (
        state.level < _MOST_LEVELS and state.env[_LOOKS] >= 0 and rule(state, line, end, silent)
    )


def _paragraph_rule(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Text, up to an empty line or whatever may interrupt it; a fence may at any indentation."""
    interrupt = state.md.block.ruler.getRules("paragraph")
    outer, state.parentType = state.parentType, "paragraph"
    line += 1
    while line < end and not state.isEmpty(line):
        if state.sCount[line] >= 0 and any(rule(state, line, end, True) for rule in interrupt):
            break
        line += 1
    state.parentType = outer
    state.line = line
    return True


def _fence_rule(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    opening = _opening(state, line)
    if opening is not None and not is_python(opening.info) and _late_opening(state, line):
        return False
    return _take(state, opening, line, end, silent)


def _late_fence_rule(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    return _take(state, _late_opening(state, line), line, end, silent)


@dataclasses.dataclass(frozen=True, slots=True)
class _Opening:
    markup: str
    info: str
    indent: int


def _opening(state: StateBlock, line: int) -> _Opening | None:
    """The fence that the line begins with, if it opens a block."""
    run = _run(state, line)
    info = state.src[_start(state, line) + len(run) : state.eMarks[line]]
    if not run or (run[0] == "`" and "`" in info):
        return None
    return _Opening(run, info, state.sCount[line])


def _late_opening(state: StateBlock, line: int) -> _Opening | None:
    """The fence of Python that the line ends in."""
    start = _start(state, line)
    found = state.src.rfind("```", start, state.eMarks[line])
    if found < 0:
        return None
    info = state.src[found + 3 : state.eMarks[line]]
    if not is_python(info):
        return None
    before = state.src[start : found + 3]
    length = len(before) - len(before.rstrip("`"))
    return _Opening("`" * length, info, state.sCount[line])


def _take(state: StateBlock, opening: _Opening | None, line: int, end: int, silent: bool) -> bool:
    if opening is None:
        return False
    if silent:
        return True
    if is_python(opening.info):
        state.line = _take_python(state, opening, line, end)
    else:
        state.line = _take_other(state, opening, line, end)
    return True


def _take_python(state: StateBlock, opening: _Opening, line: int, end: int) -> int:
    """Add the block of Python that is opened by `line`; return the line after it."""
    first = line + 1
    longer = _end_behind_strings(state, opening, first, end)
    if longer is not None:
        _add(state, opening, first, longer, closed=longer < end)
        return min(longer + 1, end)
    last_line = len(state.bMarks) - 1  # the marks end in one that is no line
    outside: int | None = None  # the first line that is not in the list or quote
    if first >= end:
        outside = end
    line = first
    while line < (end if outside is None else last_line):
        if outside is None and not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            outside = line
        if outside is not None:
            state.env[_LOOKS] -= 1
            if state.env[_LOOKS] < 0:
                break
        run = _run(state, line)
        if len(run) >= len(opening.markup) and _closes(state, opening, run, line):
            tail = state.src[_start(state, line) + len(run) : state.eMarks[line]]
            reopens = "`" in tail or _LANGUAGE_ALONE.fullmatch(tail.strip())
            if not reopens:
                _add(state, opening, first, line, closed=True)
                return line + 1
            if outside is None:
                _add(state, opening, first, line, closed=True)
                return line
            break
        if outside is not None and _late_opening(state, line):
            break
        line += 1
    content_end = line if outside is None else outside
    _add(state, opening, first, content_end, closed=False)
    return content_end


def _end_behind_strings(state: StateBlock, opening: _Opening, first: int, end: int) -> int | None:
    """The line of the fence that ends the block, or `end`, where one or more before it stand in
    strings.

    No line of Python begins with a fence but in a string, so that no other end can give Python.
    """
    parses = state.env[_PARSES]
    if parses is None or state.env[_LOOKS] < 0:
        return None
    quotes = ""
    begun = False  # there was a fence in a string
    for line in range(first, end):
        if not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None  # the list item that it is in has ended
        if begun:
            state.env[_LOOKS] -= 1
            if state.env[_LOOKS] < 0:
                return None
        run = _run(state, line)
        if len(run) >= len(opening.markup) and _closes(state, opening, run, line):
            if not quotes:
                break
            begun = True
        quotes = open_string(state.src[_start(state, line) : state.eMarks[line]], quotes)
    else:
        line = end
    found = begun and not quotes and parses(_content(state, opening, first, line))
    return line if found else None


def _take_other(state: StateBlock, opening: _Opening, line: int, end: int) -> int:
    """Add a block that is not Python, and those of Python in it; return the line after it."""
    first = line + 1
    holds = False
    line = first
    while line < end:
        if not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            break  # the list item that it is in has ended
        inner = _opening(state, line)
        if inner is None or not is_python(inner.info):
            inner = _late_opening(state, line)
        if inner is not None:
            holds = True
            line = _take_python(state, inner, line, end)
            continue
        run = _run(state, line)
        if len(run) >= len(opening.markup) and _closes(state, opening, run, line):
            tail = state.src[_start(state, line) + len(run) : state.eMarks[line]].lstrip()
            if not tail or tail[0] == "<":
                _add(state, opening, first, line, closed=True, holds=holds)
                return line + 1
        line += 1
    _add(state, opening, first, min(line, max(first, end)), closed=False, holds=holds)
    return line


def _closes(state: StateBlock, opening: _Opening, run: str, line: int) -> bool:
    return run[0] == opening.markup[0] and state.sCount[line] < opening.indent + 4


def _add(
    state: StateBlock,
    opening: _Opening,
    first: int,
    end: int,
    *,
    closed: bool,
    holds: bool = False,
) -> None:
    token = state.push("fence", "code", 0)
    content = _content(state, opening, first, end)
    token.meta["fence"] = Fence(
        opening.info, content, first, max(first, end), closed, holds, opening.markup
    )


def _content(state: StateBlock, opening: _Opening, first: int, end: int) -> str:
    # Of code that stands further left than its fence, every line loses the same.
    lefts = [state.sCount[line] for line in range(first, end) if not state.isEmpty(line)]
    return state.getLines(first, end, max(0, min([opening.indent, *lefts])), True)


def _start(state: StateBlock, line: int) -> int:
    return state.bMarks[line] + state.tShift[line]


def _run(state: StateBlock, line: int) -> str:
    """The three or more backticks or tildes that the line begins with, or ""."""
    found = _RUN.match(state.src, _start(state, line), state.eMarks[line])
    return "" if found is None else found[0]
