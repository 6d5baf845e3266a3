"""Comparing values: the rule decides what is equal, and hostile values cost no more than others."""

import copy
import math
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.pool.judge import values
from interpreter_pool.pool.judge.values import Rule, canonical, difference
from interpreter_pool.sandbox.guest.jail import wire

STRICT, NUMERIC = Rule(), Rule(numeric=True)
CLOSE = Rule(numeric=True, abs_tol=0.01, rel_tol=0.001)
ANY_ORDER = Rule(ordered=False)
CLOSE_ANY_ORDER = Rule(numeric=True, abs_tol=0.01, ordered=False)
JSON = Rule(as_json=True)

NAN, INF = float("nan"), float("inf")

EQUAL = [
    (STRICT, 1, 1),
    (STRICT, [1, ("a", {2: b"x"})], [1, ("a", {2: b"x"})]),
    (STRICT, NAN, NAN),
    (STRICT, [0.0], [-0.0]),
    (STRICT, {1: 2, 3: 4}, {3: 4, 1: 2}),
    (STRICT, {1, (2, 3)}, {(2, 3), 1}),
    (STRICT, 1 << 5000, 1 << 5000),
    (STRICT, "\ud800", "\ud800"),
    (NUMERIC, 2, 2.0),
    (NUMERIC, {2.0: [1]}, {2: [1.0]}),
    (NUMERIC, 2 + 0j, 2),
    (CLOSE, 1.005, 1),
    (CLOSE, [1, (2.001, {"a": 3.0})], [1, (2, {"a": 3.009})]),
    (CLOSE, NAN, NAN),
    (CLOSE, INF, INF),
    (CLOSE, complex(NAN, 5), complex(NAN, 5.001)),
    (CLOSE, 1j, 1.001j),
    (CLOSE, {1.0, 5.0}, {5.001, 1.001}),
    (ANY_ORDER, [3, 1, 2], [1, 2, 3]),
    (ANY_ORDER, [[1, 2], [3]], [[3], [1, 2]]),
    (ANY_ORDER, [1, 1, 2], [1, 2, 1]),
    (CLOSE_ANY_ORDER, [2.001, 1], [1.0, 2]),
    # Whoever takes the first that fits leaves nothing for the second.
    (CLOSE_ANY_ORDER, [["x", 1.0], ["x", 1.008]], [["x", 1.009], ["x", 1.001]]),
    (CLOSE_ANY_ORDER, [["x", 1.0], ["x", 0.992]], [["x", 0.991], ["x", 1.0]]),
    (JSON, (1, [2, (3,)]), [1, [2, [3]]]),
    (JSON, {1: 2, None: 3, 1.5: 5}, {"1": 2, "null": 3, "1.5": 5}),
    (JSON, {True: 4}, {"true": 4}),
]

DIFFERENT = [
    # rule, what was returned, what was expected, how it is told
    (STRICT, 2.0, 2, "expected 2, got 2.0"),
    (STRICT, True, 1, "expected 1, got True"),
    (STRICT, (1,), [1], "expected [1], got (1,)"),
    (STRICT, {1.0}, {1}, "expected {1}, got {1.0}"),
    (STRICT, {1: 2.0}, {1: 2}, "at [1]: expected 2, got 2.0"),
    (STRICT, "1", b"1", "expected b'1', got '1'"),
    (STRICT, None, False, "expected False, got None"),
    (STRICT, frozenset(), set(), "expected set(), got frozenset()"),
    (STRICT, [1, [2, 3]], [1, [2, 4]], "at [1][1]: expected 4, got 3"),
    (STRICT, [1], [1, 2], "expected [1, 2], got [1]"),
    (STRICT, ["ab"], ["a", "b"], "expected ['a', 'b'], got ['ab']"),
    (NUMERIC, True, 1, "expected 1, got True"),
    (NUMERIC, 2.5, 2, "expected 2, got 2.5"),
    (NUMERIC, (1 << 53) + 1, float(1 << 53), "got 9007199254740993"),
    (CLOSE, 1.02, 1, "expected 1, got 1.02"),
    (CLOSE, 1, 2, "expected 2, got 1"),
    (CLOSE, 1000001, 1000000, "expected 1000000, got 1000001"),
    (CLOSE, NAN, 1.0, "got nan"),
    (CLOSE, 10**400, 1.0, "expected 1.0, got <int of 1329 bits>"),
    (CLOSE, INF, -INF, "got inf"),
    (CLOSE, INF, 10**400, "got inf"),
    (CLOSE, 10**400, INF, "expected inf"),
    (CLOSE, complex(NAN, 5), complex(NAN, 7), "got"),
    (CLOSE, {1.0, 5.0}, {5.0, 2.0}, "expected"),
    (CLOSE, "1.0", 1.0, "expected 1.0, got '1.0'"),
    (ANY_ORDER, [1, 2, 2], [1, 1, 2], "expected"),
    (ANY_ORDER, [[2, 1]], [[1, 2]], "expected"),
    (CLOSE_ANY_ORDER, [["x", 1.0], ["x", 1.0]], [["x", 1.0], ["x", 1.5]], "expected"),
    (JSON, {1: 2, "1": 2}, {"1": 2}, "expected"),
    (JSON, [2.0], [2], "at [0]: expected 2, got 2.0"),
]


@pytest.mark.parametrize("rule, value, expected", EQUAL)
def test_what_the_rule_takes_for_equal(rule, value, expected):
    """There is no difference to be told."""
    assert difference(value, expected, rule) is None


@pytest.mark.parametrize("rule, value, expected, told", DIFFERENT)
def test_what_differs_is_told(rule, value, expected, told):
    """The first difference, with its place, in a line."""
    found = difference(value, expected, rule)
    assert found is not None
    assert told in found


def test_whole_numbers_are_exact_under_a_tolerance():
    """A tolerance is for floats: of two whole numbers neither is rounded."""
    assert difference(1000, 1001, Rule(numeric=True, rel_tol=0.5)) is not None


@pytest.mark.parametrize(
    "value",
    [
        "x" * (2 << 20),
        list(range(50_000)),
        [10**100_000, 1],
        [10**5000],
        [[[[["x" * 1000] * 100] * 10] * 10]],
        {str(number): [number] * 3 for number in range(10_000)},
        ["\x1b[2J\n" * 1000],
    ],
)
@pytest.mark.parametrize("rule", [STRICT, CLOSE, CLOSE_ANY_ORDER, JSON])
def test_of_large_values_a_short_piece_is_told(value, rule):
    """In bounded time, without a number too long to print, without control characters."""
    began = time.monotonic()
    told = difference(value, [1, 2], rule)
    assert told is not None
    assert len(told) < 1200
    assert told.isprintable()
    assert time.monotonic() - began < 5


def test_matching_in_any_order_is_bounded_by_what_is_expected():
    """Too many elements for a comparison of each with each are refused beforehand."""
    many = [["x", number / 2] for number in range(400)]
    with pytest.raises(ValueError, match="400 elements"):
        CLOSE_ANY_ORDER.require_possible(many)
    CLOSE_ANY_ORDER.require_possible([number / 2 for number in range(100_000)])
    numbers = [number / 2 for number in range(100_000)]
    assert difference(numbers[::-1], numbers, CLOSE_ANY_ORDER) is None
    began = time.monotonic()
    assert difference([["x", 0.0]] * 300, [["x", 0.0]] * 299 + [["x", 9.0]], CLOSE_ANY_ORDER)
    assert time.monotonic() - began < 5


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    """Equal, and of equal types all through; nan is nan: what `canonical` promises, another way."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (set, frozenset)):
        return Counter((type(x), x) for x in a) == Counter((type(x), x) for x in b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


@given(plain, plain)
def test_canonical_bytes_are_equal_where_values_are(a, b):
    """Neither for more nor for less."""
    assert (canonical(a, STRICT) == canonical(b, STRICT)) == same(a, b)
    assert canonical(a, STRICT) == canonical(a, STRICT)


@given(st.lists(plain, max_size=5), st.randoms())
def test_any_order_is_any_order(values, random):
    """A shuffled list is as good."""
    shuffled = list(values)
    random.shuffle(shuffled)
    assert difference(shuffled, values, ANY_ORDER) is None


@given(plain)
def test_every_value_equals_itself_under_every_rule(value):
    """And the rules are not afraid of it."""
    for rule in (STRICT, NUMERIC, CLOSE, ANY_ORDER, CLOSE_ANY_ORDER, JSON):
        assert difference(value, value, rule) is None


def test_the_first_difference_is_found_in_linear_time(monkeypatch):
    """However deep it lies: each container is taken into account once, not once a level."""
    taken = []
    digest = values._digest
    monkeypatch.setattr(values, "_digest", lambda tag, parts: taken.append(1) or digest(tag, parts))
    ours, theirs = ([[number] for number in range(1000)] for _ in range(2))
    theirs[-1] = [0]
    for _ in range(60):
        ours, theirs = [ours], [theirs]
    found = difference(ours, theirs, STRICT)
    assert found == "at " + "[0]" * 60 + "[999][0]: expected 0, got 999"
    assert len(taken) == 2 * (1000 + 61)


@pytest.mark.parametrize(
    "a, b",
    [
        (["x" * 63], ["x" * 64]),
        (["x" * 100, "y"], ["x" * 100 + "y"]),
        ([b"x" * 100], ["x" * 100]),
        ([["a"], ["b"]], [["a", "b"]]),
        ([1 << 600], [1 << 601]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ([{1, 2}], [frozenset({1, 2})]),
    ],
)
def test_digests_tell_apart_what_differs(a, b):
    assert difference(a, b, STRICT) is not None
    assert difference(a, copy.deepcopy(a), STRICT) is None


def test_most_nodes_is_counted_as_they_cross():
    value = {"a": [1, (2, 3)], (4, 5): {6, frozenset({7})}}
    nodes = (values.most_nodes(value) - values.most_nodes(0)) // 2 + 1
    assert wire.decode(wire.encode(value), max_nodes=nodes) == value
    with pytest.raises(wire.WireError):
        wire.decode(wire.encode(value), max_nodes=nodes - 1)


def test_matching_large_elements_is_bounded_before_anything_runs():
    """C2: each is compared with each, as a whole: few large ones cost as much as many small ones."""
    large = [[float(n), *range(1000)] for n in range(290)]
    with pytest.raises(ValueError, match=r"elements of 290581 values .* are too many"):
        CLOSE_ANY_ORDER.require_possible(large)
    CLOSE_ANY_ORDER.require_possible(large[:60])
    ANY_ORDER.require_possible(large)
    CLOSE.require_possible(large)


def test_a_difference_in_the_depth_is_not_looked_for_at_every_level(monkeypatch):
    """C2: within a tolerance each step on the way compares once more: a few are told."""
    compared = 0
    close = values._close_numbers

    def count(*args):
        nonlocal compared
        compared += 1
        return close(*args)

    monkeypatch.setattr(values, "_close_numbers", count)
    value, expected = [0.0] * 1000 + [1.0], [0.0] * 1000 + [2.0]
    for _ in range(50):
        value, expected = [value], [expected]
    told = difference(value, expected, CLOSE)
    assert told is not None and told.startswith("at [0][0]")
    assert compared < 12 * 1001
