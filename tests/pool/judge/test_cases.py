"""Cases: what makes no sense is refused when they are made, by its name."""

import operator
import re

import pytest

from interpreter_pool import Asserts, Call, Stdio
from interpreter_pool.pool.judge import case_from_dict


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: Stdio("1"), ValueError, "expected is missing"),
        (lambda: Stdio("1", None), TypeError, "expected must be"),
        (lambda: Stdio(1, "1"), TypeError, "input must be"),
        (lambda: Stdio("1", "1", compare="fuzzy"), ValueError, "compare='fuzzy'"),
        (lambda: Stdio("1", "1", abs_tol=1), ValueError, "has no effect"),
        (lambda: Stdio("1", "1", compare="floats", rel_tol=-1), ValueError, "rel_tol=-1"),
        (lambda: Stdio("1", checker="no"), TypeError, "checker must be callable"),
        (lambda: Call("f"), ValueError, "expected is missing"),
        (lambda: Call("f", (1,), {}), ValueError, "expected is missing"),
        (lambda: Call("f()()", expected=1), ValueError, "function"),
        (lambda: Call(3, expected=1), TypeError, "function"),
        (lambda: Call("f", "ab", expected=1), TypeError, "args must be"),
        (lambda: Call("f", 3, expected=1), TypeError, "args must be"),
        (lambda: Call("f", (), {1: 2}, 1), TypeError, "kwargs must map"),
        (lambda: Call("f", (object(),), expected=1), TypeError, "no plain data"),
        (lambda: Call("f", (), {"key": lambda: 1}, 1), TypeError, "no plain data"),
        (lambda: Call("f", expected=object()), TypeError, "expected can't be compared"),
        (lambda: Call("f", expected=1, abs_tol=float("nan")), ValueError, "abs_tol"),
        (lambda: Call("f", expected=1, rel_tol="x"), TypeError, "rel_tol"),
        (lambda: Call("f", expected=1, numeric=1), TypeError, "numeric must be"),
        (lambda: Call("f", expected=1, or_only_element=1), TypeError, "or_only_element must be"),
        (
            lambda: Call("f", expected=1, or_only_element=True, checker=max),
            ValueError,
            "or_only_element has no effect with a checker",
        ),
        (lambda: Asserts("", "f"), ValueError, "test_source is empty"),
        (lambda: Asserts(b"pass", "f"), TypeError, "test_source must be text"),
        (lambda: Asserts("pass", "f(1)"), ValueError, "entry_point"),
        (lambda: Asserts("pass", "f", None), TypeError, "prelude must be text"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(make, error, words):
    """TypeError or ValueError names the argument and what is wrong with it."""
    with pytest.raises(error, match=words.replace("(", r"\(").replace(")", r"\)")):
        make()


@pytest.mark.parametrize(
    "expected, options, words",
    [
        ({1: "a", "1": "b"}, {"as_json": True}, "keys 1 and '1' are the same as JSON has them"),
        ([({None: 1, "null": 2},)], {"as_json": True}, "keys None and 'null' are the same"),
        ({float("nan"): 1, -float("nan"): 2}, {}, "keys nan and nan are the same"),
        ({(float("nan"), 1): 1, (-float("nan"), 1): 2}, {"numeric": True}, "are the same"),
    ],
)
def test_expected_keys_that_nothing_could_tell_apart_are_refused(expected, options, words):
    """Which of their values is meant, no comparison could say."""
    with pytest.raises(ValueError, match=re.escape(words)):
        Call("f", expected=expected, **options)
    Call("f", expected=expected, checker=lambda got, _: True, **options)
    Call("f", expected={1: "a", "1": "b", float("nan"): 1})


def test_a_value_that_nothing_can_return_is_refused():
    """It is larger than what crosses."""
    with pytest.raises(ValueError, match="larger than 16777212 bytes; give a checker"):
        Call("f", expected="x" * (17 << 20))
    with pytest.raises(ValueError, match="more than 1000000 values"):
        Call("f", expected=[0] * 1_000_001)
    with pytest.raises(ValueError, match="most_parts=0"):
        Call("f", expected=1, most_parts=0)


def test_a_checker_that_can_not_be_called_is_refused():
    """Nothing that it could be given would make it answer."""
    for checker in (lambda got: True, lambda: True, lambda got, expected, more: True):
        with pytest.raises(TypeError, match="must take what came out and what was expected"):
            Call("f", checker=checker)
    for checker in (operator.eq, lambda *both: True, lambda got, expected, more=1: True, max):
        Call("f", checker=checker)


@pytest.mark.parametrize(
    "data, error, words",
    [
        ({"kind": "riddle"}, ValueError, "kind='riddle'"),
        ({"input": "1", "expected": "1"}, ValueError, "kind=None"),
        ({"kind": ["call"]}, ValueError, "kind="),
        ([], TypeError, "JSON object"),
        ({"kind": "stdio", "input": "1"}, ValueError, "expected is missing"),
        ({"kind": "stdio", "expected": "1"}, ValueError, "'input' is missing"),
        ({"kind": "call", "expected": 1}, ValueError, "'function' is missing"),
        ({"kind": "call", "function": "f", "expect": 1}, ValueError, "unknown field 'expect'"),
        ({"kind": "call", "function": "f", "checker": "x"}, ValueError, "unknown field 'checker'"),
        ({"kind": "asserts", "test_source": "pass"}, ValueError, "entry_point: the test uses noth"),
        ({"kind": "module", "module": "m"}, ValueError, "'test_source' is missing"),
        ({"kind": "stdio", "input": {"base64": "?"}, "expected": ""}, ValueError, "input: no base"),
    ],
)
def test_json_that_is_no_case_is_refused(data, error, words):
    """Unknown kinds and fields, and missing ones, are named."""
    with pytest.raises(error, match=words):
        case_from_dict(data)


def test_cases_come_from_json():
    """Fields by name; bytes as base64; what JSON can't tell apart is not told apart."""
    stdio = case_from_dict({"kind": "stdio", "input": {"base64": "/w=="}, "expected": "1"})
    assert (stdio.input, stdio.expected, stdio.compare) == (b"\xff", "1", "lines")
    call = case_from_dict({"kind": "call", "function": "f", "args": [1], "expected": [1, None]})
    assert (call.args, call.expected, call.as_json) == ([1], [1, None], True)
    call = case_from_dict(
        {"kind": "call", "function": "f", "expected": [1], "or_only_element": True}
    )
    assert call.accepted == ([1], 1)
    asserts = case_from_dict({"kind": "asserts", "test_source": "f()", "entry_point": "f"})
    assert asserts == Asserts("f()", "f")


def test_cases_can_not_be_changed():
    """Neither by setting a field, nor by changing what was passed in."""
    args, expected = [[1]], [1]
    case = Call("f", args, expected=expected)
    args[0].append(2)
    expected.append(2)
    assert case == Call("f", [[1, 2]], expected=[1])
    assert case.request == Call("f", [[1]], expected=[1]).request
    with pytest.raises(AttributeError):
        case.expected = 2


def test_an_expected_none_is_a_value():
    """It is not the same as none given."""
    assert Call("f", expected=None).expected is None
