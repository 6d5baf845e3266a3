"""W10, W11, W13: programs that want to be left out of the count, to equal what they are not, or to
have one test answer for another.
"""

import math

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts, Call, Limits, Stdio
from interpreter_pool.transforms import CodeRewardFunction

RAISES = """
try:
    f(-1)
except ValueError as e:
    error = e
assert str(error) == 'negative'
"""
CAUGHT = "try: r = f(1)\nexcept Exception as e: r = e\nassert f(r) == 2"
DEEP = "(" * 40 + "1" + ",)" * 40

LED_ASTRAY = {
    # a test, and what a program does to lead it to where it fails
    "does not raise": (RAISES, "def f(x): return 1"),
    "raises another error": (RAISES, "def f(x): raise KeyError(x)"),
    "raises NameError": ("f(1)", "def f(x): raise NameError('x', name='x')"),
    "raises ImportError": ("f(1)", "def f(x): import nothing_here"),
    "a branch names what is nowhere": ("if f(1) != 2: report(f)", "def f(x): return 1"),
    "a branch imports what is nowhere": ("if f(1) != 2: import reporter", "def f(x): return 1"),
    "a name bound in one branch": ("if f(1) == 2: y = 1\nassert y", "def f(x): return 1"),
    "a local name that is not bound": (
        "def check(c):\n    if c(1) == 2: y = 1\n    assert y == 1",
        "def f(x): return 1",
    ),
    "a loop that is never entered": ("for y in f(1): pass\nassert y == 2", "def f(x): return []"),
    "an attribute that it has not": ("assert f(1).strip() == '2'", "def f(x): return None"),
    "a type that can't be compared": ("assert f(1) < 3", "def f(x): return 'a'"),
    "a type that can't be hashed": ("assert f(1) in {2: 3}", "def f(x): return []"),
    "a value too many": ("a, b = f(1)\nassert a == b", "def f(x): return (1, 1, 1)"),
    "an import of what it returned": ("__import__(f(1))", "def f(x): return 'nothing_here'"),
    "code of what it returned": ("exec(f(1))", "def f(x): return 'nothing_here'"),
    "code that leaves the test": ("exec(f(1))", "def f(x): return 'import os; os._exit(0)'"),
    "code that speaks for the test": (
        "exec(f(1))",
        "def f(x): return 'import os; os.write(3, bytes(9)); os.read(3, 1)'",
    ),
    "code that kills the test": ("exec(f(1))", "def f(x): return 'import os; os.abort()'"),
    "an argument that can't cross": (CAUGHT, "def f(x): raise ValueError"),
    "an argument that is too large": ("y = f(1)\nf([y, y, y])", "def f(x): return 'x' * 16000000"),
    "a comparison that is too deep": (
        "def same(a): return a == 1 or same(a[0])\nimport sys; sys.setrecursionlimit(30)\n"
        "assert same(f(1))",
        f"def f(x): return {DEEP}",
    ),
    "memory that a test takes": ("x = bytearray(f(1))", "def f(x): return 1 << 40"),
    "time that a test takes": ("for _ in range(f(1)): pass", "def f(x): return 1 << 40"),
    "output of a test": ("while f(1): print('x' * 9999)", "def f(x): return 1"),
    "an answer that comes too late": ("f(1)", "def f(x):\n    while True: pass"),
    "answers that come slowly": (
        "for _ in range(10**6): f(1)",
        "import time\ndef f(x): time.sleep(0.2)",
    ),
    "no answer, and its stream closed": ("f(1)", "import os\ndef f(x): os.close(3); f(x)"),
    "output instead of an answer": ("f(1)", "def f(x):\n    while True: print('x' * 9999)"),
    "memory instead of an answer": ("f(1)", "def f(x): return bytearray(1 << 40)"),
    "what can't cross": ("f(1)", "def f(x): return object()"),
    "keys that were made to collide": (
        "f(1)",
        "def f(x): return dict.fromkeys(n * ((1 << 61) - 1) for n in range(20000))",
    ),
}


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


LIMITS = Limits(cpu_s=0.3, wall_s=1.2, memory_bytes=128 << 20)


def test_w10_no_program_can_choose_not_to_be_counted(pool):
    """W10: whatever it answers, raises, prints, takes or is late with, its verdict counts, as 0."""
    items = [(source, [Asserts(test, "f")]) for test, source in LED_ASTRAY.values()]
    found = dict(zip(LED_ASTRAY, pool.judge_many(items, limits=LIMITS), strict=True))
    assert {name: each for name, each in found.items() if not each.conclusive} == {}
    assert {name: each for name, each in found.items() if each.score} == {}


SPEAK = """
import builtins, os, struct, sys, threading, time
def say(kind, body=b""): os.write(3, struct.pack("<IB", len(body), kind) + body)
def value(n): say(7, b"i\\x01\\0\\0\\0" + bytes((n,)))
def later(act, *args, after=0.0):
    def work():
        time.sleep(after)
        try: act(*args)
        except OSError: pass
    threading.Thread(target=work, daemon=True).start()
"""

AMONG_OTHERS = {
    # what is done in the first call, with which the first test passes; nothing else is right
    "answers twice at once": "value(2)",
    "answers twice": "later(value, 4)",
    "answers all the time": "[later(value, 4, after=n * 2e-4) for n in range(40)]",
    "says that it was done": "say(5)",
    "says that it failed": "say(6)",
    "says that a test has ended": "say(9)",
    "says later that a test has ended": "[later(say, 9, after=n * 2e-4) for n in range(40)]",
    "begins the next test": "later(say, 10)",
    "calls back": "later(say, 1, b'x')",
    "leaves": "later(os._exit, 0)",
    "leaves in between": "later(os._exit, 0, after=1e-3)",
    "replaces builtins": (
        "builtins.compile = builtins.exec = builtins.isinstance = lambda *a, **k: True; "
        "builtins.AssertionError = builtins.Exception; sys.modules.clear()"
    ),
    "stops reading": "later(os.read, 3, 1)",
    "closes the stream": "later(os.close, 3)",
    "floods the stream": "later(os.write, 3, bytes(1 << 22))",
}


@pytest.mark.parametrize("what", AMONG_OTHERS)
def test_w13_no_test_is_answered_for_by_another(pool, what):
    """W13: what a program does in one test passes none behind it, and leaves none uncounted."""
    source = SPEAK + (
        "def f(x):\n"
        f"    if x == 1:\n        {AMONG_OTHERS[what]}\n        return 2\n"
        "    time.sleep(0.01)\n    return 0"
    )
    tests = [
        "assert f(1) == 2",
        "assert f(2) == 5",
        "assert f(3) == 6\nassert f(4) == 8",
        "f(5)[0]",
    ]
    cases = [Asserts(test, "f") for test in tests]
    verdict = pool.judge(source, cases, limits=LIMITS)
    assert verdict.conclusive, verdict.cases
    assert not any(case.passed for case in verdict.cases[1:]), verdict.cases
    assert pool.judge("def f(x): return 2 * x if x != 5 else 'x'", cases[2:]).passed


def test_w13_what_leads_a_test_astray_leads_it_astray_among_others(pool):
    """W13: its verdict is 0, and those beside it are what they are."""
    guard = "assert f('guard') == 'right'"
    slow = ("answers that come slowly", "no answer, and its stream closed")
    astray = {name: each for name, each in LED_ASTRAY.items() if name not in slow}
    items = []
    for test, source in astray.values():
        guarded = f"{source}\nled = f\ndef f(x, *a): return 'right' if x == 'guard' else led(x, *a)"
        items.append((guarded, [Asserts(each, "f") for each in (guard, test, guard)]))
    found = dict(zip(astray, pool.judge_many(items, limits=LIMITS), strict=True))
    assert {name: each for name, each in found.items() if not each.conclusive} == {}
    passed = {name: [case.passed for case in each.cases] for name, each in found.items()}
    assert passed == {name: [True, False, True] for name in astray}


def fussy(got, expected):
    """A checker that takes for granted that it is given a list of numbers."""
    return sum(got) / len(got) == expected


def silent(got, expected):
    if isinstance(got, list):
        return got == expected


VALUES = (
    "None",
    "[]",
    "'x'",
    "[None]",
    "{}",
    "[10**400]",
    "[[1]]",
    "float('nan')",
    "1j",
    "'\\ud800'",
)


@pytest.mark.parametrize("checker", [fussy, silent])
def test_w10_a_checker_that_fails_on_a_value_does_not_leave_the_program_out(pool, checker):
    """W10: it raises, or says nothing; a right program passes."""
    case = Call("f", checker=checker, expected=[2.0] if checker is silent else 2.0)
    items = [(f"def f(): return {value}", [case]) for value in VALUES]
    for value, verdict in zip(VALUES, pool.judge_many(items), strict=True):
        assert verdict.conclusive and verdict.score == 0, (value, verdict.cases)
    assert pool.judge("def f(): return [2.0]", [case]).passed


@pytest.mark.parametrize("output", ["", "x", "1e999", "\\0", "nan", "\\udcff"])
def test_w10_a_checker_of_output_does_not_leave_the_program_out(pool, output):
    """W10: as of values, of text."""
    case = Stdio("", checker=lambda out, _: int(out) == 2)
    source = f"import sys; sys.stdout.reconfigure(errors='surrogateescape'); print('{output}')"
    verdict = pool.judge(source, [case])
    assert verdict.conclusive and verdict.score == 0, verdict.cases
    assert pool.judge("print(2)", [case]).passed


def test_w10_a_reward_says_how_many_checkers_failed(pool, caplog):
    """Their author is told, once for a batch; the programs score 0."""
    reward = CodeRewardFunction(pool)
    code = "```python\ndef f(): return None\n```"
    cases = [[Call("f", checker=fussy, expected=2.0)]] * 2
    assert reward(None, [code] * 2, cases=cases) == [0.0, 0.0]
    assert sum("2 programs fail because a checker raised" in each for each in caplog.messages) == 1


def test_w11_beyond_floats_nothing_is_near(pool):
    """W11: a whole number that no float holds equals itself, and nothing that is infinite."""
    huge = str(10**320 + 7)
    cases = [Stdio("", huge, compare="floats")]
    assert not pool.judge("print('1e999')", cases).passed
    assert not pool.judge("print('inf')", cases).passed
    assert pool.judge(f"print({huge!r})", cases).passed
    near = [Call("f", expected=10**320, rel_tol=0.5)]
    assert not pool.judge("def f(): return float('inf')", near).passed
    assert pool.judge("def f(): return 10**320", near).passed
    infinite = [Call("f", expected=math.inf, abs_tol=1.0)]
    assert pool.judge("def f(): return float('inf')", infinite).passed
    assert not pool.judge("def f(): return 10**400", infinite).passed
