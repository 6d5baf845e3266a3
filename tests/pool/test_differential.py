"""`Pool.differential` and `cases_from`: where a function differs from a reference, at its simplest."""

import math
import os
import sys

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from interpreter_pool import Answer, Difference, Pool, PoolClosed
from interpreter_pool.pool.fuzzing.difference import literal
from interpreter_pool.pool.fuzzing.signature import parameters
from interpreter_pool.pool.judge.values import Rule, canonical

PLANTED = {
    # reference, candidate, the simplest input on which they differ
    "off by one": (
        "def f(xs: list[int], k: int):\n    return xs[:k] if k >= 0 else []",
        "def f(xs, k):\n    return xs[:k + 1] if k >= 1 else []",
        "f([0, 0], 1)",
    ),
    "recursion depth": (
        "def f(n: int):\n    return n > 0 and n % 3",
        "def f(n, at=0):\n    return f(n, at + 1) if at < n else n > 0 and n % 3",
        None,
    ),
    "wrong on empty": (
        "def f(xs: 'list[int]') -> int:\n    return max(xs, default=0)",
        "def f(xs):\n    return max(xs)",
        "f([])",
    ),
    "wrong on NaN": (
        "def f(xs: list[float]):\n    return any(x != x for x in xs)",
        "import math\ndef f(xs):\n    return math.nan in xs",
        "f([float('nan')])",
    ),
    "slow on large": (
        "def f(n: int):\n    return n % 7",
        "def f(n):\n    while n > 1000: pass\n    return n % 7",
        "f(1001)",
    ),
    "wrong type": (
        "def f(a: int, b: int):\n    return (a + b) // 2",
        "def f(a, b):\n    return (a + b) / 2 if (a + b) % 2 else (a + b) // 2",
        "f(0, 1)",
    ),
}
SAME = "def f(n: int):\n    return n"


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_found_and_simplified(pool, bug):
    """Each within 500 inputs, simpler ones included; the simplest there is, and what both said."""
    reference, candidate, simplest = PLANTED[bug]
    found = pool.differential(candidate, reference, "f", seed=1, timeout=0.1)
    assert found
    assert found.examples <= 500
    assert not found.flaky
    assert found.reference.is_value
    if simplest is not None:
        assert found.as_call() == simplest
    else:
        (n,) = found.args
        assert found.candidate.exception == "RecursionError"
        again = pool.differential(candidate, reference, "f", [st.integers(n - 1, n - 1)], seed=1)
        assert again is None, "one less is deep enough"


def test_what_takes_longer_and_longer_is_no_flake(pool):
    """The simplest input barely takes too long: it is asked again with half of the time."""
    found = pool.differential(
        "def f(n):\n    for _ in range(n): pass\n    return n", SAME, "f", seed=1, timeout=0.05
    )
    assert found.candidate.is_late
    assert not found.flaky


def test_what_does_the_same_has_no_difference(pool):
    """All inputs are tried, and None says so; also where both raise, or exceed the same limit."""
    tried = []
    same = pool.differential(
        "def f(n): return n", SAME, "f", max_examples=40, on_example=lambda *now: tried.append(now)
    )
    assert same is None
    assert 20 < len(tried) <= 40
    assert tried[-1] == (len(tried), None)
    for body in ("raise KeyError(n)", "return float('nan')", "return {n: {1.0, n}}", "import nope"):
        source = f"def f(n: int):\n    {body}"
        assert pool.differential(source, source, "f", max_examples=5) is None
    spin, sleep = "while True: pass", "import time; time.sleep(9)"
    one, other = (f"def f(n: bool):\n    {body}" for body in (spin, sleep))
    assert pool.differential(other, one, "f", max_examples=2, timeout=0.1) is None


@pytest.mark.parametrize(
    "body, told",
    [
        ("raise KeyError('mine')", "raised KeyError ('mine')"),
        ("class Own(Exception): pass\n    raise Own", "raised program.f.<locals>.Own"),
        ("return [n].append(n)", "returned None"),
        ("return float(n)", "returned 0.0"),
        ("return b'x' * (1 << 40)", "ended by memory"),
        ("while True: print('x' * 9999)", "ended by output"),
        ("import os; os._exit(0)", "raised SystemExit (status 0)"),
        ("import os; os.abort()", "raised SIGABRT"),
        ("return object()", "raised TypeError (f returned what can't cross"),
    ],
)
def test_every_end_is_an_answer(pool, body, told):
    """Values with their types, exceptions by type, limits by reason; nothing makes it raise."""
    found = pool.differential(f"def f(n):\n    {body}", SAME, "f", max_examples=3)
    assert str(found.candidate).startswith(told.partition(" (f returned")[0])
    assert found.as_call() == "f(0)"
    assert found.reference == Answer(0)


def test_a_tolerance_is_that_of_cases(pool):
    """numeric, rel_tol and the others mean what they mean in `Call`."""
    reference = "def f(xs: list[int]):\n    return [x * 1.0 for x in xs]"
    candidate = "def f(xs):\n    return [x / 3 * 3 for x in reversed(xs)]"
    assert pool.differential(candidate, reference, "f", seed=1)
    options = {"rel_tol": 1e-9, "ordered": False}
    assert pool.differential(candidate, reference, "f", seed=1, max_examples=60, **options) is None
    with pytest.raises(TypeError, match="numeric"):
        pool.differential(candidate, reference, "f", numeric=1)


def test_the_same_seed_finds_the_same(pool):
    """Input, answers, and the number of inputs that were tried; the seed is told."""
    reference, candidate, _ = PLANTED["wrong type"]
    one, other = (pool.differential(candidate, reference, "f", seed=5) for _ in range(2))
    assert one == other
    assert one.seed == 5
    found = pool.differential(candidate, reference, "f")
    assert pool.differential(candidate, reference, "f", seed=found.seed) == found


def test_what_is_not_the_same_each_time_is_flaky(pool):
    """A random candidate is told as such, and not by an error."""
    for name in ("candidate", "reference"):
        random = "import os\ndef f(n: int): return os.urandom(16)"
        sources = {"candidate": SAME, "reference": SAME, name: random}
        found = pool.differential(**sources, function="f", max_examples=10)
        assert found.flaky
        assert "flaky" in str(found)
    assert found.to_dict()["flaky"] is True


def test_strategies_can_be_given(pool):
    """Of tuples, of keyword arguments, or one for each argument; others are refused."""
    reference, candidate = "def f(a, b=0): return a", "def f(a, b=0): return a + (a > 9 and b > 4)"
    small = st.integers(0, 20)
    for strategy, call in [
        ([small, small], "f(10, 5)"),
        ((small, small), "f(10, 5)"),
        (st.tuples(small, small), "f(10, 5)"),
        ({"a": small, "b": small}, "f(a=10, b=5)"),
        (st.fixed_dictionaries({"a": small, "b": small}), "f(a=10, b=5)"),
    ]:
        found = pool.differential(candidate, reference, "f", strategy, seed=2)
        assert found.as_call() == call
    for strategy, words in [
        (small, "one for each argument"),
        (3, "must be a hypothesis strategy"),
        ([int], "must be a hypothesis strategy"),
        ([st.just(object())], "can't cross"),
    ]:
        with pytest.raises(TypeError, match=words):
            pool.differential(candidate, reference, "f", strategy)


def test_errors_of_the_callers_and_ours_are_raised_at_once(pool):
    """No input that they came with is looked at as a finding, nor simplified."""
    calls = []

    def fail(count, last):
        calls.append(count)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        pool.differential(SAME, SAME, "f", on_example=fail)
    assert calls == [1]
    with Pool(2, tier=pool.tier) as closing:
        with pytest.raises(PoolClosed):
            closing.differential(SAME, SAME, "f", on_example=lambda *_: closing.close())
    for wrong in ({"max_examples": 0}, {"timeout": -1}, {"function": "f("}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("function", "name")):
            pool.differential(SAME, SAME, **{"function": "f", **wrong})
    with pytest.raises(TypeError, match="seed"):
        pool.differential(SAME, SAME, "f", seed="1")


def test_a_full_queue_is_waited_for(tier):
    """One worker and no place to wait: the two sides take turns."""
    reference, candidate, simplest = PLANTED["wrong on empty"]
    with Pool(1, tier=tier, max_queue=0) as pool:
        assert pool.differential(candidate, reference, "f").as_call() == simplest


def test_what_was_found_is_tried_first(pool, tmp_path):
    """Kept in a folder, for the same reference and strategy, whatever the seed."""
    reference, candidate, simplest = PLANTED["off by one"]
    for turn, examples in ((1, range(2, 500)), (2, [1]), (3, [1])):
        found = pool.differential(candidate, reference, "f", database=tmp_path, seed=turn)
        assert found.as_call() == simplest
        assert found.examples in examples
    tried = []
    apart = [st.just([]), st.integers(3, 4)]
    options = {"database": tmp_path, "on_example": lambda *now: tried.append(now)}
    assert pool.differential(candidate, reference, "f", apart, **options) is None
    assert len(tried) <= 2, "an input that can't be drawn does not come back"
    for where, _, names in os.walk(tmp_path):
        for name in names:
            with open(os.path.join(where, name), "wb") as file:
                file.write(b"damaged")
    assert pool.differential(candidate, reference, "f", database=tmp_path, seed=1).examples > 1


def test_a_program_that_is_loaded_once_remembers_nothing(pool):
    """shared_load: every call is a fork from where it was loaded; nothing stays behind."""
    remembers = "calls = []\ndef f(n: int):\n    calls.append(n)\n    return len(calls)"
    assert pool.differential(remembers, remembers, "f", max_examples=20, shared_load=True) is None
    found = pool.differential("def f(n): return 1 + (n > 6)", remembers, "f", shared_load=True)
    assert found.as_call() == "f(7)"


def test_hints_are_read_without_running_the_program(pool, tmp_path):
    """A reference is untrusted as well: its text is parsed, in a jail, however hostile it is."""
    mark = tmp_path / "ran"
    spy = f"open({str(mark)!r}, 'w').close()\nraise SystemExit\ndef f(n: int): return n"
    assert pool.differential(spy, spy, "f", max_examples=2) is None
    assert not mark.exists()
    for hostile in (
        "(" * 100_000,
        "x = " + "-" * 200_000 + "1",
        "def f(n: " + "list[" * 5000 + "int" + "]" * 5000 + "): pass",
        "G = list['G']\ndef f(n: G): pass",
        "def f(n: '\\x1b[2J'): pass",
        "def f(:",
    ):
        with pytest.raises(ValueError) as caught:
            pool.differential(SAME, hostile, "f")
        assert "\x1b" not in str(caught.value)


LARGE = {
    # a hint, and what stands before it
    "doubling": ("T0", [f"T{n} = tuple[T{n + 1}, T{n + 1}]" for n in range(14)] + ["T14 = int"]),
    "doubling unions": (
        "T0",
        [f"T{n} = T{n + 1} | list[T{n + 1}]" for n in range(9)] + ["T9 = int"],
    ),
    "ten times doubled": (
        "T0",
        [f"T{n} = tuple[T{n + 1}, T{n + 1}]" for n in range(10)] + ["T10 = int"],
    ),
    "lists of lists": ("list[" * 12 + "int" + "]" * 12, []),
    "sets of sets": ("frozenset[" * 6 + "bool" + "]" * 6, []),
    "dicts of dicts": ("dict[str, " * 8 + "int" + "]" * 8, []),
    "many values": ("tuple[" + "int, " * 500 + "int]", []),
    "literals": ("Literal[" + "1, " * 9000 + "1]", []),
}


@pytest.mark.parametrize("name", LARGE)
def test_hints_that_explode_are_refused_at_once(pool, name):
    """C3: with the way out, before anything is drawn or run: a minute would be lost otherwise."""
    hint, before = LARGE[name]
    source = "\n".join([*before, f"def f(x: {hint}): return 1"])
    with pytest.raises(
        ValueError, match=r"type hints (of|have).* (values|parts).* pass a strategy"
    ):
        pool.differential(source, source, "f", max_examples=10)


@pytest.mark.parametrize(
    "hint", ["list[list[list[int]]]", "dict[str, list[tuple[int, str]]]", "list[list[dict]]"]
)
def test_ordinary_hints_are_drawn_from(pool, hint):
    """C3: however they are nested by those who write programs."""
    source = f"def f(x: {hint}, y: int): return [x, y]"
    assert pool.differential(source, source, "f", max_examples=5, seed=1) is None


def test_a_strategy_that_gives_nothing_is_named(pool):
    """Not hypothesis's own error, which speaks of tests."""
    nothing = st.tuples(st.integers().filter(lambda n: False))
    with pytest.raises(ValueError, match=r"no input could be drawn.*too large, or filtered out"):
        pool.differential(SAME, SAME, "f", nothing, max_examples=5)


HINTS = [
    ("a: int, b: float, /, c: str", [("int",), ("float",), ("str",)], {}),
    ("a: bytes, *args: int, k: bool, o=1, **kwargs", [("bytes",)], {"k": ("bool",)}),
    ("a: int, b=2, c: int = 3", [("int",)], {"c": ("int",)}),
    ("a: t.List[int]", [("list", ("int",))], {}),
    ("a: 'Optional[str]'", [("union", ("None",), ("str",))], {}),
    ("a: int | None", [("union", ("int",), ("None",))], {}),
    ("a: Union[int, dict[str, Any]]", [("union", ("int",), ("dict", ("str",), ("any",)))], {}),
    (
        "a: tuple[int, ...], b: Tuple[int, str]",
        [("tuple...", ("int",)), ("tuple", ("int",), ("str",))],
        {},
    ),
    ("a: Literal['x', 1], b: set", [("literal", "x", 1), ("set", ("any",))], {}),
    ("a: collections.abc.Sequence[Grid]", [("list", ("list", ("list", ("int",))))], {}),
    ("", [], {}),
]


@pytest.mark.parametrize("written, by_position, by_keyword", HINTS)
def test_hints_of_every_kind_are_understood(written, by_position, by_keyword):
    """Builtins, typing, strings, aliases; what has a default and no hint is left out."""
    source = f"Grid = list[list[int]]\nif True:\n    def f({written}): pass\n".encode()
    positional, named = parameters(source, "f")
    assert ([hint for _, hint in positional], dict(named)) == (by_position, by_keyword)


@pytest.mark.parametrize(
    "source, words",
    [
        ("def f(a): pass", "f: a has no type hint"),
        ("def f(*, a): pass", "f: a has no type hint"),
        ("def f(a: ListNode): pass", "'ListNode'"),
        ("def f(a: Callable[[int], int]): pass", "Callable"),
        ("def f(a: set[list[int]]): pass", "a list can't be"),
        ("f = lambda a: a", "no 'def f'"),
        ("def g(): pass", "no 'def f'"),
    ],
)
def test_a_hint_that_says_nothing_is_an_error_with_the_way_out(pool, source, words):
    """It asks for a strategy, and nothing was run."""
    with pytest.raises(ValueError, match=words) as caught:
        pool.differential(SAME, source, "f")
    assert "pass a strategy" in str(caught.value)


def test_methods_have_no_self_among_their_arguments(pool):
    """`Solution().method`, also a static one; the call can be pasted."""
    reference = """
class Solution:
    def twice(self, n: int): return 2 * n
    @staticmethod
    def once(n: int): return n
"""
    for name in ("Solution().twice", "Solution.once"):
        found = pool.differential(reference.replace("n\n", "n + (n > 3)\n"), reference, name)
        assert found.as_call() == f"{name}(4)"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.complex_numbers() | st.frozensets(st.floats() | st.text(), max_size=3)
    | st.builds(lambda: 1 << 20_000),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.tuples(inner, inner)
    | st.sets(st.integers() | st.tuples(st.text()), max_size=3)
    | st.dictionaries(st.text() | st.floats(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    args=st.lists(PLAIN, max_size=2),
    kwargs=st.dictionaries(st.sampled_from(["a", "if", "ü"]), PLAIN),
)
def test_the_call_can_be_pasted(args, kwargs):
    """Python reads exactly the arguments from it, also NaN, empty sets, and names that are none."""
    found = Difference(
        function="f",
        args=tuple(args),
        kwargs=kwargs,
        candidate=Answer(1),
        reference=Answer(2),
        examples=1,
        seed=0,
    )
    line = found.as_call()
    assert "\n" not in line
    got = eval(line, {"f": lambda *args, **kwargs: (args, kwargs)})
    assert canonical(got, Rule()) == canonical((tuple(args), kwargs), Rule())


def test_signs_and_numbers_of_any_size_are_written_out():
    """-0.0 is no 0.0, infinities have a name, and no number is too long."""
    assert literal(-0.0) == "-0.0"
    assert eval(literal((-math.inf, 1 << 40_000))) == (-math.inf, 1 << 40_000)


def test_without_hypothesis_the_extra_is_named(pool, monkeypatch):
    """An ImportError that says what to install; nothing else of the pool needs it."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for call in (pool.differential, pool.cases_from):
        with pytest.raises(ImportError, match=r"interpreter-pool\[fuzz\]"):
            call(SAME, SAME, "f")
    assert pool.run("print(1)").ok


def test_a_function_inside_given_is_replayed_and_simplified(pool):
    """Hypothesis comes to the same simplest input each time: a call's state is its own."""
    f = pool.function(
        "seen = []\ndef f(n):\n    seen.append(n)\n    return n + (n > 100) * len(seen)", "f"
    )
    failed = []

    @seed(3)
    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(n=st.integers())
    def test(n):
        if f(n) != n:
            failed.append(n)
            raise AssertionError(n)

    for _ in range(2):
        with pytest.raises(AssertionError, match="101"):
            test()
        assert failed[-1] == 101


# ---- cases


def test_cases_come_from_a_reference(pool):
    """Distinct inputs and what it returns; the same by seed. It passes them, and a bug does not."""
    reference, candidate, _ = PLANTED["off by one"]
    cases = pool.cases_from(reference, "f", None, 60, 1)
    assert len(cases) == 60 == len({case.request for case in cases})
    assert cases == pool.cases_from(reference, "f", n=60, seed=1)
    assert cases[:10] != pool.cases_from(reference, "f", n=10, seed=2)
    assert pool.judge(reference, cases).passed
    assert 0 < pool.judge(candidate, cases).score < 1


def test_inputs_on_which_the_reference_fails_are_left_out(pool):
    """Those on which it raises or exceeds a limit; if nothing is left, that is an error."""
    picky = "def f(n: int):\n    while n > 1000: pass\n    return 1 // (n > 0)"
    cases = pool.cases_from(picky, "f", n=10, timeout=0.1, numeric=True)
    assert len(cases) == 10
    assert all(0 < case.args[0] <= 1000 and case.numeric for case in cases)
    with pytest.raises(ValueError, match=r"returned for none of .* ZeroDivisionError"):
        pool.cases_from("def f(n: bool): return 1 / 0", "f")


def test_there_are_no_more_cases_than_inputs(pool):
    """Fewer than n where the strategy has no more; keyword arguments are the cases' own."""
    cases = pool.cases_from("def f(*, b: bool): return not b", "f")
    assert sorted((case.kwargs["b"], case.expected) for case in cases) == [
        (False, True),
        (True, False),
    ]
