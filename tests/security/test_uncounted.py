"""W10, W11: programs that want to be left out of the count, or to equal what they are not."""

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
DEEP = "(" * 40 + "1," + ",)" * 39

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
    "an argument that is too large": ("y = f(1)\nf([y, y, y])", "def f(x): return 'x' * 8000000"),
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
