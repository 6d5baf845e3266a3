"""Loops of calls in a test: many are asked for at once, and nothing else changes."""

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts
from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.run.ahead import AHEAD, as_json, from_json, rewritten
from interpreter_pool.sandbox.guest.run.dialogue import HEADER, VALUE


@pytest.fixture(scope="module")
def pool(tier):
    yield from lasting_pool(tier)


def evalplus(inputs: str, results: str) -> str:
    return (
        "def assertion(out, exp, atol):\n    assert out == exp, (out, exp)\n"
        "    assert type(out) is type(exp)\n"
        f"def check(candidate):\n    inputs = {inputs}\n    results = {results}\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        "        assertion(candidate(*inp), exp, 0)\n"
    )


def judged(pool, source, test, **options):
    (case,) = pool.judge(source, [Asserts(test, "f")], **options).cases
    return case


THOUSAND = evalplus("[[n] for n in range(1000)]", "[2 * n for n in range(1000)]")


RIGHT = [
    # program, inputs, results
    ("def f(x): return 2 * x", "[[n] for n in range(1000)]", "[2 * n for n in range(1000)]"),
    (
        "def f(x): return x",
        "[[(1, 2)], [{3}], [{1: 2}], [b'a'], [1.5], [None], [True]]",
        "[(1, 2), {3}, {1: 2}, b'a', 1.5, None, True]",
    ),
    ("def f(x): return [x, (x,)]", "[[n] for n in range(9)]", "[[n, (n,)] for n in range(9)]"),
    (
        "kept = []\ndef f(x):\n    kept.append(x)\n    return kept",
        "[[n] for n in range(9)]",
        "[list(range(n + 1)) for n in range(9)]",
    ),
    (
        "def f(x): return 'x' * x",
        "[[n << 16] for n in range(20)]",
        "['x' * (n << 16) for n in range(20)]",
    ),
    ("def f(x): x.append(1); return x", "[[[n]] for n in range(9)]", "[[n, 1] for n in range(9)]"),
    ("def f(*x): return len(x)", "[[], [1], [1, 2]]", "[0, 1, 2]"),
    (
        "def f(x): return x",
        "[[float('inf')], [1e308], [-0.0], [10**400]]",
        "[float('inf'), 1e308, -0.0, 10**400]",
    ),
]


@pytest.mark.parametrize("source, inputs, results", RIGHT)
def test_a_right_program_passes(pool, source, inputs, results):
    """Each answer is as it was when its call came back, whatever later calls do to it."""
    case = judged(pool, source, evalplus(inputs, results))
    assert case.passed, case


@pytest.mark.parametrize("at", [0, 3, 4, 5, 63, 64, 999])
def test_one_wrong_answer_among_many_fails(pool, at):
    case = judged(pool, f"def f(x): return 2 * x + (x == {at})", THOUSAND)
    assert (case.outcome, case.reason) == ("fail", "assertion"), case
    case = judged(pool, f"def f(x): return 2 * x if x != {at} else (1, [][0])", THOUSAND)
    assert (case.outcome, case.reason) == ("fail", "exception") and "IndexError" in case.detail
    case = judged(pool, f"def f(x): return 2 * x if x != {at} else object()", THOUSAND)
    assert (case.outcome, case.reason) == ("fail", "wrong_value"), case


def test_an_exception_that_a_test_expects_is_raised_at_its_call(pool):
    test = (
        "seen = []\ndef assertion(out, exp, atol): seen.append(out)\n"
        "inputs = [[1], [0], [2], ['a']]\n"
        "for i, (inp, exp) in enumerate(zip(inputs, inputs)):\n"
        "    try:\n        assertion(f(*inp), exp, 0)\n"
        "    except ZeroDivisionError: seen.append('zero')\n"
        "    except TypeError as e: seen.append(str(e))\n"
        "assert seen[:3] == [6, 'zero', 3] and 'unsupported' in seen[3], seen\n"
    )
    assert judged(pool, "def f(x): return 6 // x", test).passed
    compact = test.replace("    try:\n        a", "    a").partition("    except")[0]
    assert AHEAD.encode() in rewritten(compact.encode())
    assert judged(pool, "def f(x): return 6 // x", compact).reason == "exception"


@pytest.mark.parametrize(
    "body",
    [
        wire.encode(([str(2 * n) for n in range(1000)], b"")),
        wire.encode((["0"] * 5, b"")),
        wire.encode(([], b"")),
        wire.encode((["0", 2, None], b"")),
        wire.encode((["{", "2"], b"")),
        wire.encode((["[" * 100_000], b"")),
        wire.encode((["0"], b"x")),
        wire.encode(3),
        b"",
    ],
)
def test_answers_to_calls_that_were_not_made_pass_nothing(pool, body):
    """A program that writes to the stream by itself can't make a loop shorter."""
    frame = HEADER.pack(len(body), VALUE) + body
    source = f"import os\ndef f(x):\n    if x == 0: os.write(3, {frame!r})\n    while True: pass"
    case = judged(pool, source, THOUSAND, timeout=0.5)
    assert case.outcome == "fail", case


def test_loops_keep_their_lines():
    source = THOUSAND.encode()
    found = rewritten(source)
    assert AHEAD.encode() in found and found.count(b"\n") == source.count(b"\n")
    script = b"for i, inp in enumerate(inputs):\n    assertion(f(*inp), g(*inp), 0)\n"
    assert b"enumerate(__ahead__(f, inputs))" in rewritten(script)
    for other in (b"for i, x in enumerate(inputs):\n    y = x\n    assertion(f(*x))\n", b"x = 1"):
        assert rewritten(other) == other


@pytest.mark.parametrize("value", [1, -0.0, "a", [1, [2.5, None]], {"a": [True]}, "\ud800", 1e-320])
def test_json_that_is_exact_is_used(value):
    text = as_json(value)
    assert text is not None and repr(from_json(text)) == repr(value)


@pytest.mark.parametrize("value", [(1,), {1: 2}, {1}, b"a", [(1,)], float("nan"), object()])
def test_json_that_is_not_exact_is_not(value):
    assert as_json(value) is None
    assert as_json(int("1" * 4000) ** 2) is None  # more digits than are written
