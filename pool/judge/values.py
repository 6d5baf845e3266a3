"""Comparing what a function returned with what it should have returned.

Both are plain data, as `wire.decode` makes it: of exact built-in types, nested 64 levels deep at
most, so that recursion is bounded and no method of a program's own is ever called. Time is about
linear in what was returned, but for unordered comparison within a tolerance, which is bounded by
what was expected.
"""

import cmath
import dataclasses
import hashlib
import math
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .excerpt import value as excerpt

_MOST_MATCHED = 300
"""Elements that may be expected in any order and within a tolerance: each is compared with each."""

_MOST_COMPARED = 5_000_000
"""Values of those, each with each: two seconds at the worst."""

_MOST_STEPS_TOLD = 8
"""On the way to a difference within a tolerance: each step compares once more what is below it."""

_NUMBERS = (int, float, complex)
_CONTAINERS = (list, tuple, set, frozenset, dict)

_SPARE_NODES = 10_000
"""Read beyond twice what was expected, so that what was returned instead can be shown."""

_LONG = 64
"""Bytes of a string or a number from which on a digest stands for it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as equal; the fields are those of `Call`."""

    numeric: bool = False
    abs_tol: float = 0.0
    rel_tol: float = 0.0
    ordered: bool = True
    as_json: bool = False

    def require_clear(self, expected: object) -> None:
        """Raise ValueError where keys of a dict in `expected` are the same by this rule: nothing
        could tell which of their values is meant.
        """
        forms = _Forms(self)
        for each in _dicts_in(expected):
            known: dict[bytes, Any] = {}
            for key in each:
                other = known.setdefault(forms.of(_key(key, self)), key)
                if other is not key:
                    why = " as JSON has them" if self.as_json else ""
                    raise ValueError(
                        f"expected has a dict whose keys {excerpt(other)} and {excerpt(key)} are "
                        f"the same{why}: give one of them, or a checker"
                    )

    def require_possible(self, expected: object) -> None:
        """Raise ValueError where a comparison with `expected` could take too long."""
        if not self.is_tolerant:
            return
        for each in _unordered_parts(expected, top=not self.ordered):
            if _all_real(each):
                continue
            if len(each) > _MOST_MATCHED:
                raise ValueError(
                    f"expected has {len(each)} elements that may come in any order and within a "
                    f"tolerance; {_MOST_MATCHED} at most can be matched: give a checker"
                )
            compared = len(each) * count_nodes(each)
            if compared > _MOST_COMPARED:
                raise ValueError(
                    f"expected has {len(each)} elements of {count_nodes(each)} values that may "
                    f"come in any order and within a tolerance; {compared} comparisons are too "
                    f"many ({_MOST_COMPARED} at most): give a checker"
                )

    @property
    def is_tolerant(self) -> bool:
        return self.abs_tol > 0 or self.rel_tol > 0


def most_nodes(expected: object) -> int:
    """How many values (containers count as well) a value may have that is worth reading: what is
    equal to `expected` has as many as that.
    """
    return 2 * count_nodes(expected) + _SPARE_NODES


def count_nodes(expected: object) -> int:
    """How many values there are, containers included."""
    count = 0
    stack: list[Any] = [expected]
    while stack:
        each = stack.pop()
        count += 1
        if type(each) is dict:
            stack.extend(each.keys())
            stack.extend(each.values())
        elif type(each) in _CONTAINERS:
            stack.extend(each)
    return count


def difference(value: Any, expected: Any, rule: Rule) -> str | None:
    """Return None if `value` is what was expected; else where it differs first, for people.

    >>> print(difference([1, 2.0], [1, 2], Rule()))
    at [1]: expected 2, got 2.0
    >>> difference([2.0, 1], [1, 2], Rule(numeric=True, ordered=False))
    """
    forms = _Forms(rule)
    if _equal(value, expected, forms, top=True):
        return None
    where = ""
    steps = 0
    while (part := _first_difference(value, expected, forms, top=not where)) is not None:
        step, value, expected = part
        where += step
        steps += 1
        if rule.is_tolerant and steps == _MOST_STEPS_TOLD:
            break
    at = f"at {where}: " if where else ""
    return f"{at}expected {excerpt(expected)}, got {excerpt(value)}"


def _equal(value: Any, expected: Any, forms: "_Forms", *, top: bool = False) -> bool:
    if not forms.rule.is_tolerant:
        return forms.of(value, top=top) == forms.of(expected, top=top)
    return _close(value, expected, forms, top=top)


# ---- exactly


def canonical(value: Any, rule: Rule, *, top: bool = False) -> bytes:
    """Return bytes that are the same for what the rule takes for equal, and for nothing else."""
    return _Forms(rule).of(value, top=top)


class _Forms:
    """Canonical forms of values: short bytes. Those of containers are kept, as long as the values
    live, so that to find the first difference costs no more than to find that there is one.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._known: dict[int, bytes] = {}  # by id()

    def of(self, value: Any, *, top: bool = False) -> bytes:
        if type(value) not in _CONTAINERS:
            return self._of_scalar(value)
        if top and not self.rule.ordered:
            return self._of_container(value, sort=True)
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = self._of_container(value, sort=False)
        return known

    def _of_scalar(self, value: Any) -> bytes:
        kind = type(value)
        if kind is complex and self.rule.numeric and not value.imag:
            value, kind = value.real, float
        if kind is float and self.rule.numeric and value.is_integer():
            value, kind = int(value), int
        if kind is str:
            return _shortened(b"s", value.encode("utf-8", "surrogatepass"))
        if kind is bytes:
            return _shortened(b"b", value)
        if kind is int:
            size = value.bit_length() // 8 + 1
            return _shortened(b"i", value.to_bytes(size, "little", signed=True))
        if kind is float:
            return b"d" + _double(value)
        if kind is complex:
            return b"c" + _double(value.real) + b"," + _double(value.imag)
        return repr(value).encode("ascii")  # None, True, False

    def _of_container(self, value: Any, *, sort: bool) -> bytes:
        kind = type(value)
        if kind is tuple and self.rule.as_json:
            kind = list
        if kind is dict:
            rule = self.rule
            pairs = sorted((self.of(_key(key, rule)), self.of(each)) for key, each in value.items())
            return _digest(b"m", [part for pair in pairs for part in pair])
        parts = [self.of(each) for each in value]
        if kind in (list, tuple):
            if sort:
                parts.sort()
            return _digest(b"l" if kind is list else b"t", parts)
        parts.sort()
        return _digest(b"S" if kind is set else b"Z", parts)


def _shortened(tag: bytes, data: bytes) -> bytes:
    return tag + b":" + data if len(data) < _LONG else _digest(tag, [data])


def _digest(tag: bytes, parts: list[bytes]) -> bytes:
    """What stands for these parts, and for no others: their lengths are in it."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return tag + b"#" + digest.digest()


def _double(number: float) -> bytes:
    if math.isnan(number):
        return b"nan"
    return struct.pack("<d", number + 0.0)  # -0.0 becomes 0.0


def _key(key: Any, rule: Rule) -> Any:
    """A key as JSON makes it, where that is asked for."""
    if not rule.as_json or type(key) is str:
        return key
    if key is None or type(key) is bool:
        return {None: "null", True: "true", False: "false"}[key]
    if type(key) is int and key.bit_length() <= 1024:
        return str(key)
    return repr(key) if type(key) is float else key


# ---- within a tolerance


def _close(value: Any, expected: Any, forms: _Forms, *, top: bool = False) -> bool:
    rule = forms.rule
    kind, wanted = type(value), type(expected)
    if kind in _NUMBERS and wanted in _NUMBERS:
        return _close_numbers(value, expected, rule)
    if rule.as_json:
        kind, wanted = (list if each is tuple else each for each in (kind, wanted))
    if kind is not wanted:
        return False
    if kind in _CONTAINERS and len(value) != len(expected):
        return False
    if kind in (list, tuple):
        if top and not rule.ordered:
            return _match(value, expected, forms)
        return all(_close(a, b, forms) for a, b in zip(value, expected, strict=True))
    if kind in (set, frozenset):
        return _match(list(value), list(expected), forms)
    if kind is dict:
        ours = {forms.of(_key(key, rule)): each for key, each in expected.items()}
        theirs = {forms.of(_key(key, rule)): each for key, each in value.items()}
        return ours.keys() == theirs.keys() and all(
            _close(theirs[key], each, forms) for key, each in ours.items()
        )
    return forms.of(value) == forms.of(expected)


def _close_numbers(value: Any, expected: Any, rule: Rule) -> bool:
    if type(value) is type(expected) is int:
        return bool(value == expected)
    try:
        if complex in (type(value), type(expected)):
            value, expected = complex(value), complex(expected)
            if value != value or expected != expected:  # one part is nan: part by part
                return _close_numbers(value.real, expected.real, rule) and _close_numbers(
                    value.imag, expected.imag, rule
                )
            return cmath.isclose(value, expected, rel_tol=rule.rel_tol, abs_tol=rule.abs_tol)
        if value != value and expected != expected:
            return True
        return math.isclose(value, expected, rel_tol=rule.rel_tol, abs_tol=rule.abs_tol)
    except OverflowError:  # a whole number that no float can hold
        return False


def _match(values: Any, expected: Any, forms: _Forms) -> bool:
    """Whether each value has an expected one of its own that it is close to."""
    values, expected = list(values), list(expected)
    if _all_real(values) and _all_real(expected) and len(values) > _MOST_MATCHED:
        # In order, the nearest are side by side.
        pairs = zip(sorted(values), sorted(expected), strict=True)
        return all(_close_numbers(a, b, forms.rule) for a, b in pairs)
    if Counter(map(forms.of, values)) == Counter(map(forms.of, expected)):
        return True
    return len(expected) <= _MOST_MATCHED and _pair(values, expected, forms)


def _pair(values: list[Any], expected: list[Any], forms: _Forms) -> bool:
    """Find a partner for each value, moving earlier ones where need be (augmenting paths)."""
    close = [[n for n, b in enumerate(expected) if _close(a, b, forms)] for a in values]
    value_of: dict[int, int] = {}  # by partner
    partner_of: dict[int, int] = {}  # by value
    for start in range(len(values)):
        reached_from: dict[int, int] = {}  # partner: the value that asked for it
        asking = [start]
        free = None
        while asking and free is None:
            at = asking.pop()
            for partner in close[at]:
                if partner not in reached_from:
                    reached_from[partner] = at
                    if partner not in value_of:
                        free = partner
                        break
                    asking.append(value_of[partner])
        if free is None:
            return False
        while True:  # back along the path, each takes the partner that it asked for
            at = reached_from[free]
            before = partner_of.get(at)
            value_of[free], partner_of[at] = at, free
            if at == start:
                break
            assert before is not None
            free = before
    return True


# ---- helpers


def _all_real(values: Any) -> bool:
    """Whether all are numbers that can be put in order."""
    return all(type(each) in (int, float) and each == each for each in values)


def _dicts_in(value: Any) -> Iterator[dict[Any, Any]]:
    stack = [value]
    while stack:
        each = stack.pop()
        if type(each) is dict:
            yield each
            stack.extend(each.values())
        elif type(each) in (list, tuple):  # what is in a set is hashable, and no dict
            stack.extend(each)


def _unordered_parts(value: Any, *, top: bool) -> Iterator[Any]:
    kind = type(value)
    if kind in (set, frozenset) or (top and kind in (list, tuple)):
        yield value
    if kind in (list, tuple, set, frozenset):
        for each in value:
            yield from _unordered_parts(each, top=False)
    elif kind is dict:
        for each in value.values():
            yield from _unordered_parts(each, top=False)


def _first_difference(
    value: Any, expected: Any, forms: _Forms, *, top: bool
) -> tuple[str, Any, Any] | None:
    """The first part in which two containers differ, if that says more than the whole: how it is
    reached, and both parts.
    """
    rule = forms.rule
    alike = type(value) is type(expected) or (
        rule.as_json and {type(value), type(expected)} == {list, tuple}
    )
    if not alike or type(value) not in (list, tuple, dict) or len(value) != len(expected):
        return None
    if type(value) is dict:
        if value.keys() != expected.keys():
            return None
        for key in expected:
            if not _equal(value[key], expected[key], forms):
                return f"[{excerpt(key)}]", value[key], expected[key]
        return None
    if top and not rule.ordered:
        return None
    for place, (a, b) in enumerate(zip(value, expected, strict=True)):
        if not _equal(a, b, forms):
            return f"[{place}]", a, b
    return None
