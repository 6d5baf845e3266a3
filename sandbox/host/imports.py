"""Which modules a program imports, read off its text.

The text is a program's own, and may say anything. What is found decides which zygote a run is
forked from, all of which are safe, and what is counted: no more.
"""

import functools
import re

_STATEMENT = re.compile(
    rb"(?:^|[;:])\s*(?:from\s+([\w.]+)\s+import\b(.*)|import\s+(.*))", re.DOTALL
)
_NAME = re.compile(rb"[^\W\d]\w*(?:\.[^\W\d]\w*)*")

_MOST_LINES = 256
_MOST_BYTES = 128 << 10
_LONGEST_LINE = 400
_MOST_NAMES = 200
_DEEPEST = 5

Names = frozenset[str]


def imports_of(source: bytes) -> Names:
    """Return the names of the modules that a program may import, each with those above it, as far
    as single lines tell: 7 us for 2.6 KB. Of `from a import b`, a.b is one as well, which may be
    none. Of more than some hundred, nothing is returned.
    """
    found: set[str] = set()
    lines = end = 0
    source = source[:_MOST_BYTES]
    while (at := source.find(b"import", end)) >= 0 and lines < _MOST_LINES:
        if len(found) > _MOST_NAMES:  # no program's that is to be helped
            return frozenset()
        lines += 1
        end = source.find(b"\n", at)
        end = len(source) if end < 0 else end
        begin = source.rfind(b"\n", 0, at) + 1
        found |= _imports_in(source[begin : min(end, begin + _LONGEST_LINE)])
    return frozenset(found)


@functools.lru_cache(maxsize=4096)
def _imports_in(line: bytes) -> Names:
    """Those of a line: programs that models write have few that differ."""
    found: set[str] = set()
    for module, parts, modules in _STATEMENT.findall(line.strip()):
        if module:
            names = [module, *(module + b"." + part for part in _listed(parts.lstrip(b" (")))]
        else:
            names = _listed(modules)
        for name in names:
            if _NAME.fullmatch(name):
                found.update(_with_those_above(name.decode("utf-8", "replace")))
    return frozenset(found)


def _listed(text: bytes) -> list[bytes]:
    """The names in `a.b as c, d  # and more`."""
    text = re.split(rb"[#;)]", text, maxsplit=1)[0]
    return [words[0] for each in text.split(b",") if (words := each.split())]


def _with_those_above(name: str) -> list[str]:
    parts = name.split(".")[:_DEEPEST]
    return [".".join(parts[: n + 1]) for n in range(len(parts))]
