"""Code in the text of a language model."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

from . import fences

_LINE_END = re.compile(r"\r\n|\r|\n")
_SPECIAL_TOKEN = re.compile(
    r"[ \t]*(?:<\|[^<>|\s]{1,64}\|>|<｜[^<>｜\s]{1,64}｜>|</s>|<eos>|<end_of_turn>)\s*\Z"
)
_LONGEST_TOKEN = 100

_WHICH = ("all", "first", "last")


@dataclasses.dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block of code, and its place.

    code: its lines, each ending in "\\n", without the indentation of the fence and the markers of
        the list or quote that it stands in.
    language: what the fence calls it, as it is written there; "" for an unlabelled one.
    start, end: offsets into the text: `text[start:end]` is the code as it stands there.
    line: the number of its first line, from 1.
    closed: a closing fence was found; where not, the text was probably cut off.
    """

    code: str
    language: str
    start: int
    end: int
    line: int
    closed: bool


def extract_code(
    text: str,
    *,
    which: Literal["all", "first", "last"] = "all",
    unlabelled: bool = False,
) -> list[CodeBlock]:
    """Return the fenced blocks of Python in a language model's answer, in their order.

    which: all of them, or only the first or the last one.
    unlabelled: whether a fence that names no language counts, too. One that holds fences of Python
        does not; they do.

    Blocks labelled python, py, python3, ipython, in any case and with attributes, are found
    wherever CommonMark has a fence, and where models forget that it has none: see `fences`.

    >>> [block.code for block in extract_code("So:\\n```python\\nprint(1)\\n```<|im_end|>")]
    ['print(1)\\n']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {text!r}")
    if which not in _WHICH:
        raise ValueError(f"which={which!r}: must be one of {', '.join(map(repr, _WHICH))}")
    found = fenced(text)
    blocks = [block for fence, block in found if _is_wanted(fence, unlabelled)]
    if which == "all":
        return blocks
    return blocks[:1] if which == "first" else blocks[-1:]


def fenced(
    text: str, parses: Callable[[str], bool] | None = None
) -> list[tuple[fences.Fence, CodeBlock]]:
    """Return the fences of any language in `text`, and their blocks. parses: see `fences.find`."""
    end = end_without_special_tokens(text)
    starts = [0, *(found.end() for found in _LINE_END.finditer(text, 0, end))]
    found = fences.find(_LINE_END.sub("\n", text[:end]), parses)
    return [(fence, _block(text, fence, starts, end)) for fence in found]


def _is_wanted(fence: fences.Fence, unlabelled: bool) -> bool:
    if fences.is_python(fence.info):
        return True
    if not unlabelled or fence.holds or fences.language(fence.info):
        return False
    return fence.closed or bool(fence.content.strip())


def _block(text: str, fence: fences.Fence, starts: list[int], text_end: int) -> CodeBlock:
    first, last = (
        starts[line] if line < len(starts) else text_end
        for line in (fence.first_line, fence.end_line)
    )
    code, closed = fence.content, fence.closed
    if last == text_end and not text[first:last].endswith(("\n", "\r")):
        code = code.removesuffix("\n")  # the text's last line does not end in one
    # A generation that a stop string ended may have the closing fence behind its last line.
    if not closed and code.rstrip().endswith(fence.markup) and last == text_end:
        code = _without(code, fence.markup)
        last = first + len(_without(text[first:last], fence.markup))
        closed = True
    return CodeBlock(code, fences.language(fence.info), first, last, fence.first_line + 1, closed)


def _without(text: str, markup: str) -> str:
    return text.rstrip().rstrip(markup[0])


def end_without_special_tokens(text: str) -> int:
    """Where `text` ends without the tokens that ended its generation."""
    end = len(text)
    while True:
        begin = max(0, end - _LONGEST_TOKEN)
        found = _SPECIAL_TOKEN.search(text[begin:end])
        if found is None:
            return end
        end = begin + found.start()
