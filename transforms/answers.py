"""The program that a language model's answer consists of, however the model wrote it.

Of the readings below, the first that gives a program is taken. All that one can gain by writing an
answer oddly is that another part of it is judged.

1. What stands behind the last `</think>`. If there is no program in it: the last fenced block of
   all the text.
2. What stands in the last of `<answer>` and `<solution>`, if there is a program in it.
3. The last block of Python. It need not be a program: one that was cut off is judged as it is.
4. The last of `<code>` and `<python>`, if all of it is a program.
5. The last block of no language, if it is a program.
6. All that stands before the first fence (the prompt ended in "```python"), or, without any fence,
   all of the text; if it is a program. A block that is in a string of it is not one for 3 and 5.
7. Without any fence: of the runs of lines that are a program, the longest, of equals the last. A
   run begins with a line that can't be prose, and ends before the first one that is no Python.
8. The last block of no language.

A program is Python that imports, defines or calls something. Fences in its strings are part of it.
Tags count outside of fences only. Behind a `<think>` that is never closed, fenced blocks are all
that counts. Text that is long or was made to be slow to parse may be read by 3 and 8 alone.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence

from . import fences
from .extract import CodeBlock, end_without_special_tokens, fenced
from .syntax import Parser

_THOUGHT = r"think|thinking|thought|reasoning"
_THOUGHT_END = re.compile(rf"</(?:{_THOUGHT})>", re.IGNORECASE)
_THOUGHT_LINE = re.compile(rf"^[ \t]*</(?:{_THOUGHT})>", re.IGNORECASE | re.MULTILINE)
_THOUGHT_BEGIN = re.compile(rf"<(?:{_THOUGHT})>", re.IGNORECASE)
_ATTRIBUTES = r"(?:\s[^<>\n]{0,100})?"
_ANSWER = re.compile(rf"<(/?)(answer|solution){_ATTRIBUTES}>", re.IGNORECASE)
_CODE = re.compile(rf"<(/?)(code|python){_ATTRIBUTES}>", re.IGNORECASE)

_BEGINS = re.compile(
    r"#|\"{3}|'{3}|import [\w.]+(?:,| as |\s*$)|from [\w.]+ import |@\w|(?:async )?def \w+ ?[(\[]"
    r"|class \w+ ?[(:\[]|(?:for|while|if|with) .*:(?: *#.*)?$|try:|print\(|[\w.]+\("
    r"|\w+(?:\[.*\])?(?:, *\w+)* *(?::[^=]+)?[-+*/|&^%]?= ?[^= ]",
    re.MULTILINE,
)
_MARKS = re.compile(r"^[ \t]*(?:`{3,}|~{3,})|```", re.MULTILINE)

_OPENING = "```python\n"
_MOST_TRIED = 8
"""So many tags of a kind, and blocks of no language, are looked at, from the last one back."""

_Fences = Sequence[tuple[fences.Fence, CodeBlock]]


def answer_code(text: str) -> str | None:
    """Return the program in a language model's answer; None if there is none.

    The last block of Python, and what models write instead of one: see this module.

    >>> answer_code("So:\\n```python\\nprint(1)\\n```"), answer_code("print(1)"), answer_code("yes")
    ('print(1)\\n', 'print(1)\\n', None)
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {text!r:.80}")
    text = text[: end_without_special_tokens(text)].replace("\r\n", "\n").replace("\r", "\n")
    parser = Parser()
    found = fenced(text, parser.parses)
    code: str | None = None
    closed = [
        (fence, block)
        for fence, block in found
        if not _THOUGHT_LINE.search(block.code) or parser.parses(block.code)
    ]  # but for those that were never closed, and seem to be, by a fence of the answer's
    thought = _last_outside(_THOUGHT_END, text, closed)
    if thought is not None:
        answer = text[thought.end() :]
        code = _answer(answer, fenced(answer, parser.parses), parser)
    elif _last_outside(_THOUGHT_BEGIN, text, found) is None:
        code = _answer(text, found, parser)
    return _last_fenced(found) if code is None else code


def _answer(text: str, found: _Fences, parser: Parser) -> str | None:
    for content in _tagged(_ANSWER, text, found):
        code = _program(content, fenced(content, parser.parses), parser)
        if code is not None:
            return code
    return _program(text, found, parser)


def _program(text: str, found: _Fences, parser: Parser) -> str | None:
    labelled = any(fences.is_python(fence.info) for fence, _ in found)
    whole, end = None, 0
    if not labelled or _BEGINS.match(text.lstrip("\n")):
        whole, end = _whole(text, parser)
    behind = [(fence, block) for fence, block in found if block.start >= end]
    code = _last_python(behind)
    if code is not None:
        return code
    for content in _tagged(_CODE, text, found):
        code, _ = _whole(content, parser)
        if code is not None:
            return code
    for fence, block in reversed(behind[-_MOST_TRIED:]):
        if _is_unlabelled(fence) and parser.is_program(block.code):
            return block.code
    if whole is None and not _MARKS.search(text):
        return _longest_run(text, parser)
    return whole


def _last_python(found: _Fences) -> str | None:
    labelled = [block.code for fence, block in found if fences.is_python(fence.info)]
    return labelled[-1] if labelled else None


def _last_fenced(found: _Fences) -> str | None:
    """The last block of Python; if there is none, the last of no language."""
    labelled = _last_python(found)
    if labelled is not None:
        return labelled
    unlabelled = [block.code for fence, block in found if _is_unlabelled(fence)]
    return unlabelled[-1] if unlabelled else None


def _is_unlabelled(fence: fences.Fence) -> bool:
    if fence.holds or fences.language(fence.info):
        return False
    return fence.closed or bool(fence.content.strip())


def _whole(text: str, parser: Parser) -> tuple[str | None, int]:
    """All of the text up to a fence that is not in a string, as if a fence were before it, and
    where it ends; None and 0 if that is no program.
    """
    if text.lstrip("\n")[:1] in (" ", "\t") and not _MARKS.search(text):
        text = textwrap.dedent(text)
    _, block = fenced(_OPENING + text, parser.parses)[0]
    code = block.code.strip("\n") + "\n"
    return (code, block.end - len(_OPENING)) if parser.is_program(code) else (None, 0)


def _longest_run(text: str, parser: Parser) -> str | None:
    lines = text.split("\n")
    best: tuple[int, str] | None = None
    place = 0
    while place < len(lines):
        if not _BEGINS.match(lines[place]):
            place += 1
            continue
        rest = "\n".join(lines[place:])
        if not parser.may_parse(rest):
            break
        end = len(lines)
        if not parser.parses(rest):
            # The statement that is no Python begins with the last line that is not indented.
            end = place + max(0, parser.wrong_line - 1)
            while end > place and not _is_flush(lines[end]):
                end -= 1
        code = "\n".join(lines[place:end]).rstrip("\n") + "\n"
        if not parser.is_program(code):
            place += 1
            continue
        length = sum(1 for line in lines[place:end] if line.strip())
        if best is None or length >= best[0]:
            best = (length, code)
        place = end
    return None if best is None else best[1]


def _is_flush(line: str) -> bool:
    return bool(line) and line[0] not in " \t)]}#"


def _tagged(pattern: re.Pattern[str], text: str, found: _Fences) -> Iterator[str]:
    """What stands between tags outside of fences, the last first.

    A stop string may have taken the closing tag, and a prompt have ended in the opening one.
    """
    tags = list(_outside(pattern, text, found))
    first = max(0, len(tags) - 2 * _MOST_TRIED)
    for number in range(len(tags), first - 1, -1):
        begin = tags[number - 1] if number else None
        end = tags[number] if number < len(tags) else None
        opens = begin is not None and not begin[1]
        closes = end is not None and bool(end[1])
        if opens or (closes and begin is None):
            content = text[begin.end() if begin else 0 : end.start() if end else len(text)]
            if content.strip():
                yield content


def _last_outside(pattern: re.Pattern[str], text: str, found: _Fences) -> re.Match[str] | None:
    matches = list(_outside(pattern, text, found))
    return matches[-1] if matches else None


def _outside(pattern: re.Pattern[str], text: str, found: _Fences) -> Iterator[re.Match[str]]:
    """The matches that are in no fence. One that is never closed may have been meant to end."""
    spans = [(block.start, block.end) for _, block in found if block.closed]
    place = 0
    for match in pattern.finditer(text):
        while place < len(spans) and spans[place][1] <= match.start():
            place += 1
        if place == len(spans) or match.start() < spans[place][0]:
            yield match
