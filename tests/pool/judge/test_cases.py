"""Cases: what makes no sense is refused when they are made, by its name."""

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
        ({"kind": "asserts", "test_source": "pass"}, ValueError, "'entry_point' is missing"),
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
