"""`Pool.judge` by output and by values: what passes, what fails, and whose fault it is."""

import asyncio
import re
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from conftest import SOON_S, lasting_pool, wait_until, without_threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool import (
    Asserts,
    Call,
    Limits,
    PolicyError,
    Pool,
    PoolClosed,
    PoolFull,
    Program,
    Result,
    Stdio,
)
from interpreter_pool.pool.engine.task import RunFuture
from interpreter_pool.pool.judge import Outcome
from interpreter_pool.pool.judge.judging import Judging
from interpreter_pool.pool.judge.plan import WALL_FACTOR, Item, judging_limits
from interpreter_pool.sandbox.limits import MAX_SECONDS
from interpreter_pool.sandbox.run.stop import Stop

DOUBLE = "print(2 * int(input()))"


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


def only(verdict):
    (case,) = verdict.cases
    return case


def test_a_program_is_judged_by_what_it_writes(pool):
    """Every case has its own input; the score is the share that passed."""
    verdict = pool.judge(DOUBLE, [Stdio("1\n", "2\n"), Stdio("4", "8"), Stdio("5", "11")])
    assert [case.outcome for case in verdict.cases] == ["pass", "pass", "fail"]
    assert (verdict.passed, verdict.score) == (False, pytest.approx(2 / 3))
    assert verdict.cases[2].reason == "wrong_output"
    assert verdict.cases[2].diff == "line 1: expected '11', got '10'"
    case = verdict.cases[0]
    assert case.wall_s > 0 and case.cpu_s > 0 and case.queue_s >= 0
    assert pool.judge(DOUBLE, [Stdio("1\n", "2\n"), Stdio("4", "8")]).passed


@pytest.mark.parametrize(
    "source, reason, words",
    [
        # W1, W7 of the attack corpus: the right output is not enough.
        ("print(1); raise ValueError('late')", "exception", "ended by ValueError: late"),
        ("print(1); import sys; sys.exit(3)", "exit", "status 3"),
        ("import os; os.write(1, b'1'); os._exit(0)", "incomplete", "before its end"),
        ("print(1, flush=True); import os; os.abort()", "signal", "signal 6"),
        ("print(1)\nwhile True: pass", "cpu_timeout", "CPU time"),
        ("print(1)\nx = bytearray(1 << 40)", "memory", "memory"),
        ("print(1)\nwhile True: print('x' * 9999)", "output", "too much"),
        ("print(", "exception", "SyntaxError"),
        ("print('ALL TESTS PASSED')", "wrong_output", "output"),
        ("print(10)", "wrong_output", "output"),
        ("", "wrong_output", "output"),
    ],
)
def test_the_right_output_is_not_enough(pool, source, reason, words):
    """A program must come to its own end, with status 0."""
    case = only(pool.judge(source, [Stdio("", "1")], timeout=0.5))
    assert (case.outcome, case.reason) == ("fail", reason)
    assert words in case.detail


def test_raising_is_no_empty_output(pool):
    """W7: nothing is written where nothing is expected, but by an exception."""
    assert not pool.judge("raise SystemExit(1)", [Stdio("", "")]).passed
    assert not pool.judge("1/0", [Stdio("", "")]).passed
    assert pool.judge("raise SystemExit", [Stdio("", "")]).passed


@pytest.mark.parametrize("compare", ["exact", "lines", "tokens", "floats"])
def test_each_comparison_is_available(pool, compare):
    """What each ignores, `test_text.py` says."""
    verdict = pool.judge("print('0.5  x ')", [Stdio("", "0.500 x", compare=compare)])
    assert verdict.passed == (compare == "floats")


FUNCTIONS = """
import os, sys, time
calls = []
def echo(x): return x
def count(): calls.append(1); return len(calls)
def change(items): items.clear(); return items
def add(a, b=0): return a + b
class Solution:
    def __init__(self): self.base = 10
    def add(self, x): return self.base + x
"""


def test_a_program_is_judged_by_what_its_functions_return(pool):
    """Arguments by place and by name, dotted names, rules of comparison."""
    cases = [
        Call("echo", ([1, {"a": (2,)}],), expected=[1, {"a": (2,)}]),
        Call("add", (1,), {"b": 2}, 3),
        Call("Solution().add", (5,), expected=15),
        Call("echo", (2.0,), expected=2, numeric=True),
        Call("echo", (0.1 + 0.2,), expected=0.3, rel_tol=1e-9),
        Call("echo", ([3, 1, 2],), expected=[1, 2, 3], ordered=False),
        Call("echo", ((1, (2,)),), expected=[1, [2]], as_json=True),
        Call("echo", (None,), expected=None),
    ]
    verdict = pool.judge(FUNCTIONS, cases)
    assert verdict.passed, verdict.cases


def test_every_case_has_a_fresh_process(pool):
    """W6: nothing is remembered from case to case, and arguments that are changed are copies."""
    shared = [1, 2]
    cases = [Call("count", expected=1)] * 6 + [Call("change", (shared,), expected=[])] * 2
    assert pool.judge(FUNCTIONS, cases).passed
    assert shared == [1, 2]


@pytest.mark.parametrize(
    "body, reason, words",
    [
        ("return 2.0", "wrong_value", "returned another value"),
        ("return True", "wrong_value", ""),
        ("return None", "wrong_value", ""),
        ("raise KeyError('k')", "exception", "did not return: KeyError: 'k'"),
        ("import os; os._exit(0)", "incomplete", "did not return"),
        ("raise SystemExit", "incomplete", "did not return"),
        ("raise SystemExit(3)", "exit", "status 3"),
        ("[0 for _ in iter(int, 1)]", "cpu_timeout", "CPU time"),
        ("return object()", "exception", "can't cross"),
        ("return type('E', (int,), {'__eq__': lambda *_: True})(3)", "wrong_value", ""),
        ("return type('E', (), {'__eq__': lambda *_: True})()", "exception", "can't cross"),
        ("print('passed'); return 3", "wrong_value", ""),
    ],
)
def test_another_value_or_none_is_a_failure(pool, body, reason, words):
    """With the reason, and for people what there is to say."""
    case = only(pool.judge(f"def f(): {body}", [Call("f", expected=2)], timeout=0.5))
    assert (case.outcome, case.reason) == ("fail", reason)
    assert words in case.detail


@pytest.mark.parametrize(
    "body",
    [
        "import enum; return enum.IntEnum('E', 'A B').B",
        "return type('E', (int,), {})(2)",
        "return 2",
    ],
)
def test_what_is_derived_from_a_plain_type_is_judged_as_that(pool, body):
    """By what it holds; a test finds it plain."""
    source = f"def f(): {body}"
    test = "def check(f):\n    assert f() == 2 and type(f()) is int"
    assert pool.judge(source, [Call("f", expected=2), Asserts(test, "f")]).passed


def test_scalars_of_numpy_are_judged_as_pythons(tier):
    values = {"numpy.mean([1, 2])": 1.5, "numpy.float32(1.5)": 1.5, "[numpy.int64(2)]": [2]}
    with Pool(2, tier=tier, packages=("numpy",), preload=("numpy",)) as pool:
        for value, expected in values.items():
            source = f"import numpy\ndef f(): return {value}"
            test = f"def check(f):\n    assert f() == {expected}"
            verdict = pool.judge(source, [Call("f", expected=expected), Asserts(test, "f")])
            assert verdict.passed, verdict.cases


@pytest.mark.parametrize(
    "source, words",
    [
        ("def g(): return 2", "name 'f' is not defined"),
        ("def f(: return 2", "SyntaxError"),
        ("1/0", "ZeroDivisionError"),
        ("import os; os._exit(0)", "status 0"),
    ],
)
def test_a_missing_function_is_a_failure_that_says_so(pool, source, words):
    """As is a source that does not load."""
    case = only(pool.judge(source, [Call("f", expected=2)]))
    assert case.outcome == "fail"
    assert words in case.detail


def test_checkers_decide_in_the_trusted_process(pool):
    """They are given what came out and what was expected, and may give parts."""
    here = threading.current_thread()
    seen = []

    def check(got, expected):
        assert threading.current_thread() is here
        seen.append((got, expected))
        return got == expected * 2

    assert pool.judge(FUNCTIONS, [Call("echo", (4,), expected=2, checker=check)]).passed
    assert pool.judge("print('é')", [Stdio("", "x", checker=lambda out, _: out == "é\n")]).passed
    assert seen == [(4, 2)]
    half = pool.judge(FUNCTIONS, [Call("echo", (4,), checker=lambda got, _: got / 8)])
    assert (half.passed, half.score, half.conclusive) == (False, 0.5, True)
    never_asked = [Call("nothing", checker=lambda got, _: 1 / 0)]
    assert pool.judge(FUNCTIONS, never_asked).conclusive


@pytest.mark.parametrize(
    "checker, words",
    [
        (lambda got, expected: 1 / 0, "ZeroDivisionError"),
        (lambda got, expected: None, "returned None"),
        (lambda got, expected: "yes", "ValueError"),
        (lambda got, expected: 2, "not from 0 to 1"),
    ],
)
def test_a_checker_that_fails_on_what_it_was_given_fails_the_program(pool, checker, words):
    """Otherwise a program could give it what it fails on, and not be counted."""
    verdict = pool.judge(FUNCTIONS, [Call("echo", (1,), checker=checker)])
    assert (only(verdict).outcome, only(verdict).reason) == ("fail", "checker")
    assert words in only(verdict).detail
    assert (verdict.passed, verdict.score, verdict.conclusive) == (False, 0.0, True)


def test_a_score_that_is_no_number_is_nothing(pool):
    """A program can make a checker divide infinities: that is no pass, and 0."""
    for source in ("float('nan')", "float('inf')"):
        program = f"def f(): return {source}"
        verdict = pool.judge(program, [Call("f", checker=lambda got, _: got)])
        assert (verdict.passed, verdict.score) == (False, 0.0)
        assert only(verdict).outcome == "fail"


def test_the_first_failure_may_end_it(pool):
    """What comes after it is skipped, which is no pass; the same whatever ran meanwhile."""
    cases = [Call("echo", (n,), expected=n if n != 3 else -1) for n in range(12)]
    for _ in range(3):
        verdict = pool.judge(FUNCTIONS, cases, stop_at_first_failure=True)
        assert [str(case.outcome) for case in verdict.cases] == (
            ["pass"] * 3 + ["fail"] + ["skipped"] * 8
        )
        assert verdict.score == 3 / 12
    assert sum(case.passed for case in pool.judge(FUNCTIONS, cases).cases) == 11


ENDLESS_AT = """
import time
def f(x):
    if x in {at}:
        while True: pass
    return x
if __name__ == '__main__': print(f(int(input())))
"""


def test_a_program_that_ran_out_of_time_may_not_be_waited_for_again(pool):
    """What comes behind that case fails, whatever it is, and whether it had been run or not; what
    comes before is judged. The same every time.
    """
    call = [Call("f", (n,), expected=n) for n in range(4)]
    mixed = [call[0], Asserts("assert f(1) == 1", "f"), Stdio("2", "2"), call[3]]
    limits = Limits(cpu_s=0.2, wall_s=20)
    source = ENDLESS_AT.format(at="(1, 3)")
    late = ("fail", "skipped_timeout")
    for cases in (call, mixed):
        verdict = pool.judge(source, cases, limits=limits, stop_at_first_timeout=True)
        found = [(str(case.outcome), case.reason) for case in verdict.cases]
        assert found == [("pass", "ok"), ("fail", "cpu_timeout"), late, late]
        assert verdict.cases[3].detail == "case 1 ran out of time"
        assert verdict.conclusive and verdict.score == 0.25
    verdict = pool.judge(source, call, limits=limits)
    assert [case.reason for case in verdict.cases] == ["ok", "cpu_timeout", "ok", "cpu_timeout"]


def test_a_time_out_behind_other_asserts_counts_once_it_is_one(pool):
    """Not the time of all that share its process: that is no reason to leave out others."""
    cases = [Asserts(f"assert f({n}) == {n}", "f") for n in range(4)]
    limits = Limits(cpu_s=0.2, wall_s=20)
    for at, reasons in (
        ("(2,)", ["ok", "ok", "cpu_timeout", "skipped_timeout"]),
        ("(3,)", ["ok", "ok", "ok", "cpu_timeout"]),
    ):
        source = ENDLESS_AT.format(at=at)
        verdict = pool.judge(source, cases, limits=limits, stop_at_first_timeout=True)
        assert [case.reason for case in verdict.cases] == reasons
    slow = "import time\ndef f(x):\n end = time.process_time() + 0.09\n"
    slow += " while time.process_time() < end: pass\n return x"
    assert pool.judge(slow, cases, limits=limits, stop_at_first_timeout=True).passed


def test_a_failure_that_ends_it_comes_before_a_time_out(pool):
    """What is behind the first that does not pass is skipped, if that is asked for as well."""
    cases = [Call("f", (n,), expected=n) for n in range(3)]
    verdict = pool.judge(
        ENDLESS_AT.format(at="(0,)"),
        cases,
        limits=Limits(cpu_s=0.1, wall_s=20),
        stop_at_first_failure=True,
        stop_at_first_timeout=True,
    )
    assert [case.reason for case in verdict.cases] == ["cpu_timeout", "skipped", "skipped"]


def test_many_endless_programs_cost_one_case_each(pool):
    """The first cases of all come first, so that the others need not be begun."""
    items = [
        (ENDLESS_AT.format(at="range(9)"), [Call("f", (n,), expected=n) for n in range(5)])
    ] * 6
    before = pool.stats().runs_by_reason.get("cpu_timeout", 0)
    verdicts = pool.judge_many(
        items, limits=Limits(cpu_s=0.05, wall_s=20), stop_at_first_timeout=True
    )
    reasons = ["cpu_timeout"] + ["skipped_timeout"] * 4
    assert all([case.reason for case in each.cases] == reasons for each in verdicts)
    assert pool.stats().runs_by_reason["cpu_timeout"] - before <= 6 + 2


def test_output_may_be_as_large_as_is_expected(pool):
    """Unless somebody has chosen a limit: then a case is refused that no program could pass."""
    size = 3 << 20
    case = Stdio("", "x" * size)
    source = f"print('x' * {size})"
    assert pool.judge(source, [case]).passed
    endless = pool.judge("while True: print('x' * 9999)", [case]).cases[0]
    assert endless.reason == "output"
    spread = f"print(' '.join('x' * {size // 2}))"
    assert pool.judge(spread, [Stdio("", "x\n" * (size // 2), compare="tokens")]).passed
    checked = Stdio("", "y" * size, checker=lambda got, expected: len(got) > len(expected))
    assert pool.judge(source, [checked]).passed
    with pytest.raises(ValueError, match=f"{size} bytes, more than limits.output_bytes=2000000"):
        pool.judge(source, [case], limits=Limits(output_bytes=2_000_000))
    with pytest.raises(ValueError, match=r"more than limits.output_bytes=67108864: no program"):
        pool.judge(source, [Stdio("", b"x" * (65 << 20))])
    assert pool.judge("while True: print('x' * 9999)", [Stdio("", "1")]).cases[0].reason == "output"


def test_the_only_element_of_an_expected_list_may_be_as_good_as_the_list(pool):
    """Where that is asked for, both are right: data sets wrap what is returned, and don't say so."""

    def passes(value, expected, **options):
        case = Call("f", (value,), expected=expected, or_only_element=True, **options)
        return pool.judge("def f(x): return x", [case]).passed

    assert passes(False, [False]) and passes([False], [False])
    assert passes([1, 2], [[1, 2]]) and passes([[1, 2]], [[1, 2]])
    assert passes(2, [2.0], numeric=True) and passes([2], [2.0], numeric=True)
    assert passes([2, 1], [[1, 2]], ordered=False) and passes(0.3, [0.1 + 0.2], abs_tol=1e-9)
    assert passes((1, 2), [[1, 2]], as_json=True)
    assert not passes(1, [1, 2]) and not passes([1], 1) and not passes(1, [[1]])
    assert not passes(True, [False]) and not passes([], [[1]]) and not passes(None, [])
    assert not pool.judge("def f(): return 1", [Call("f", expected=[1])]).passed
    case = Call("f", (3,), expected=[2], or_only_element=True)
    assert pool.judge("def f(x): return x", [case]).cases[0].diff == "expected [2], got 3"


def test_the_order_is_shuffled_on_request(pool):
    """Results stay in the order of the cases; a number gives the same order every time."""
    cases = [Call("echo", (n,), expected=-1) for n in range(30)]

    def first(**options) -> int:
        verdict = pool.judge(FUNCTIONS, cases, stop_at_first_failure=True, **options)
        (index,) = [case.index for case in verdict.cases if case.outcome == "fail"]
        assert [case.index for case in verdict.cases] == list(range(30))
        return index

    assert first() == 0
    assert len({first(shuffle=7) for _ in range(3)}) == 1
    assert len({first(shuffle=seed) for seed in range(8)}) > 1
    assert len({first(shuffle=True) for _ in range(8)}) > 1


def test_many_items_are_judged_at_once(pool):
    """Verdicts come in the order of the items, whichever was ready first."""
    slow = "import time\ndef f(x): time.sleep(0.3); return x"
    quick = "def f(x): return x"
    items = [
        (source, [Call("f", (n,), expected=n if n % 3 else -1)] * 2)
        for n, source in enumerate([slow, quick, quick, slow, "", quick])
    ]
    verdicts = pool.judge_many(iter(items))
    assert [verdict.passed for verdict in verdicts] == [False, True, True, False, False, True]
    assert pool.judge_many([]) == []


def test_a_slow_case_does_not_hold_up_the_others(tier):
    """While one takes long, the other worker goes on with all that is left."""
    with Pool(2, tier=tier) as pool:
        wait_until(lambda: pool.stats().workers_alive == 2)
        cases = [Call("f", (0,), expected=0)] + [Call("f", (1,), expected=1)] * 20
        source = "import time\ndef f(x):\n    if not x: time.sleep(3)\n    return x"
        verdict = pool.judge(source, cases)
        assert verdict.passed
        assert max(case.queue_s for case in verdict.cases) < 3


def test_a_bounded_queue_is_waited_for(tier):
    """Where `submit` would raise `PoolFull`, judging waits."""
    with Pool(1, tier=tier, max_queue=1) as pool:
        assert pool.judge(FUNCTIONS, [Call("echo", (1,), expected=1)] * 20).passed
    with Pool(1, tier=tier, max_queue=0) as pool:
        assert pool.judge(FUNCTIONS, [Call("echo", (1,), expected=1)] * 5).passed


def test_a_program_brings_its_own_things_along(pool):
    """Files, arguments, environment; its input is the case's."""
    program = Program(
        "import os, sys\nprint(open('f').read(), sys.argv[1], os.environ['A'], input())",
        files={"f": "file"},
        args=("arg",),
        env={"A": "env"},
        stdin="not this",
    )
    assert pool.judge(program, [Stdio("in", "file arg env in")]).passed


def test_a_program_too_large_fails(pool):
    """Whoever wrote it is to blame, not who calls: the others are judged."""
    small = Limits(source_bytes=1000)
    verdict = pool.judge_many(
        [("x = 1\n" * 1000, [Stdio("", "")]), ("", [Stdio("", "")])], limits=small
    )
    assert [each.passed for each in verdict] == [False, True]
    assert only(verdict[0]).reason == "source_bytes"


@pytest.mark.parametrize(
    "cases, options, error, words",
    [
        ([], {}, ValueError, "cases: none"),
        (Stdio("", ""), {}, TypeError, "sequence of cases"),
        (["print"], {}, TypeError, r"cases\[0\] must be"),
        ([Stdio("", "")], {"limits": 3}, TypeError, "limits"),
        (None, {}, TypeError, "^cases must be a sequence of cases, not None"),
        ("print", {}, TypeError, "^cases must be a sequence of cases, not one"),
        ([Stdio("", "")], {"timeout": -1}, ValueError, "^timeout=-1"),
        ([Stdio("", "")], {"timeout": float("nan")}, ValueError, "^timeout=nan"),
        ([Stdio("", "")], {"timeout": 1e12}, ValueError, r"^timeout=1000000000000\.0"),
        ([Stdio("", "")], {"shuffle": "x"}, TypeError, "^shuffle must be .* not 'x'"),
        ([Stdio("", "")], {"shuffle": None}, TypeError, "^shuffle must be .* not None"),
        ([Stdio("", "")], {"timeout": 1, "limits": Limits()}, PolicyError, "not both"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(pool, cases, options, error, words):
    """The caller's mistakes raise; nothing is run."""
    before = pool.stats().runs
    with pytest.raises(error, match=words):
        pool.judge("print()", cases, **options)
    assert pool.stats().runs == before


@pytest.mark.parametrize(
    "items, words",
    [
        (None, "^items must be a sequence of pairs of a program and its cases, not None"),
        ([1], r"^items\[0\] must be a pair of a program and its cases, not 1"),
        ([("1", [Stdio("", "")]), ("1", None)], r"^items\[1\]: cases must be a sequence"),
        ([(1, [Stdio("", "")])], r"^items\[0\]: code must be str or bytes"),
    ],
)
def test_of_many_items_the_bad_one_is_named(pool, items, words):
    """And nothing is run."""
    before = pool.stats().runs
    with pytest.raises(TypeError, match=words):
        pool.judge_many(items)
    assert pool.stats().runs == before


@pytest.mark.parametrize(
    "case, words",
    [
        (
            Stdio("", "x" * 2000),
            "expected output has 2000 bytes, more than limits.output_bytes=1000",
        ),
        (Stdio("", "1.5 " * 600, compare="floats"), "expected output has 1199 bytes"),
        (Call("f", expected=bytes(9 << 20)), "expected value has 9437189 bytes, more than limits."),
    ],
)
def test_a_case_that_no_program_can_pass_under_its_limits_is_refused(pool, case, words):
    """It is named, with its size and the limit, before anything is run."""
    limits = Limits(output_bytes=1000, memory_bytes=8 << 20)
    first = Stdio("", "1")
    with pytest.raises(ValueError, match=re.escape(f"cases[1]: the {words}")):
        pool.judge("print(1)", [first, case], limits=limits)
    with pytest.raises(ValueError, match=re.escape(f"items[1]: cases[0]: the {words}")):
        pool.judge_many([("print(1)", [first]), ("print(1)", [case])], limits=limits)
    blank = [Stdio("", "1" + " " * 2000), Stdio("", "x" * 2000, checker=lambda out, _: True)]
    assert pool.judge("print(1)", blank, limits=limits.replace(memory_bytes=64 << 20)).passed


def test_cpu_time_is_limited_first():
    """A loaded machine must not fail right programs: the wall's clock comes far behind."""
    longest = judging_limits(Limits(), None, MAX_SECONDS)
    assert longest.cpu_s == longest.wall_s == MAX_SECONDS
    pool = Limits(wall_s=10, memory_bytes=100 << 20)
    assert judging_limits(pool, None, None) == pool.replace(cpu_s=10, wall_s=10 * WALL_FACTOR)
    assert judging_limits(pool, None, 2) == pool.replace(cpu_s=2, wall_s=2 * WALL_FACTOR)
    assert judging_limits(pool.replace(wall_s=None), None, None).cpu_s is None
    named = pool.replace(cpu_s=3)
    assert judging_limits(named, None, None) == named
    assert judging_limits(pool, Limits(wall_s=1), None) == Limits(wall_s=1)


def test_a_sleeping_program_is_ended_by_the_wall(pool):
    """And the clock that counts is the host's (W8)."""
    patched = "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0\n"
    source = patched + "time.sleep(60)"
    began = time.monotonic()
    case = only(pool.judge(source, [Stdio("", "")], timeout=0.1))
    assert (case.outcome, case.reason) == ("fail", "wall_timeout")
    assert 0.1 * WALL_FACTOR <= case.wall_s < SOON_S
    assert time.monotonic() - began < SOON_S


def test_cancelling_is_noticed_while_the_queue_is_full():
    """However long others keep it full, `run` ends, and nothing more is asked of the pool."""
    asked = threading.Event()

    class Full:
        limits, tier, ahead = Limits(), "landlock", 1

        def submit(self, *_: object, **__: object) -> RunFuture:
            asked.set()
            raise PoolFull("others keep it full")

        def when_room(self, call: object) -> None:
            pass

    item = Item(
        DOUBLE, [Stdio("1", "2")], limits=Limits(), shuffle=False, stop_at_first_failure=False
    )
    judging = Judging(Full(), [item])
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(judging.run)
        assert asked.wait(10)
        judging.cancel()
        with pytest.raises(CancelledError):
            running.result(10)
        asked.clear()
        judging.cancel()
    assert not asked.is_set()


def test_cancelling_stops_what_has_not_been_asked_for():
    """No further case is begun once `cancel` has returned."""
    ended = RunFuture(Stop())
    ended.set_result(Result.internal("it ended", tier="landlock", queue_s=0.0))
    begun = []

    class Quick:
        limits, tier, ahead = Limits(), "landlock", 1

        def submit(self, job: object, **_: object) -> RunFuture:
            begun.append(job)
            return ended

        def when_room(self, call: object) -> None:
            pytest.fail("there was room")

    cases = [Stdio("1", "2")] * 10
    item = Item(DOUBLE, cases, limits=Limits(), shuffle=False, stop_at_first_failure=False)
    judging = Judging(Quick(), [item], lambda _: judging.cancel())
    with pytest.raises(CancelledError):
        judging.run()
    assert len(begun) == 1


def test_asyncio_needs_no_thread_of_the_loops(pool):
    """As many are judged at once as are asked for, however few threads asyncio has."""
    verdict = pool.ajudge(DOUBLE, [Stdio("1", "2")])
    assert asyncio.run(without_threads(verdict)).passed


def test_cancelling_the_task_kills_what_runs(pool):
    """`ajudge` is `judge` for asyncio."""

    async def scene() -> None:
        verdict = await pool.ajudge(FUNCTIONS, [Call("echo", (1,), expected=1)])
        assert verdict.passed
        sleeper = pool.ajudge("import time; time.sleep(60)", [Stdio("", "")] * 30)
        task = asyncio.create_task(sleeper)
        while not pool.stats().workers_busy:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    wait_until(lambda: not pool.stats().workers_busy and not pool.stats().queued)


def test_a_pool_that_is_closed_meanwhile_says_so(tier):
    """No verdict is made of runs that were taken away."""
    pool = Pool(1, tier=tier)
    closer = threading.Timer(0.5, pool.close)
    closer.start()
    try:
        with pytest.raises(PoolClosed):
            pool.judge("import time; time.sleep(60)", [Stdio("", "")] * 30)
    finally:
        closer.join()
        pool.close()


def test_our_own_failures_are_no_verdict(monkeypatch, tier):
    """An infra error is carried through, as a third value: neither pass nor fail."""
    with Pool(1, tier=tier) as pool:
        wait_until(lambda: pool.stats().workers_alive == 1)

        def fail(*_):
            raise RuntimeError("a mistake of ours")

        (worker,) = pool.engine.workers
        monkeypatch.setattr(worker, "_prepare", fail)
        verdict = pool.judge("print(1)", [Stdio("", "1")])
        assert (verdict.infra_error, verdict.passed, verdict.conclusive) == (True, False, False)
        assert only(verdict).outcome == Outcome.INFRA_ERROR
        assert "a mistake of ours" in only(verdict).detail


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)

BODIES = [
    # Honest programs of one argument: expressions that may raise.
    "x",
    "[x, x]",
    "{'a': (x,)}",
    "str(x)",
    "len(x)",
    "sorted(x)",
    "x + x",
    "x == x",
    "list(x)[::-1]",
    "not x",
    "repr(x)[:20]",
    "max(x, key=repr)",
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.sampled_from(BODIES), argument=plain, other=plain)
def test_the_judge_agrees_with_plain_evaluation(pool, body, argument, other):
    """What a program returns in its process is what it returns here: right passes, wrong fails."""
    source = f"def f(x): return {body}"
    namespace = {}
    exec(source, namespace)
    try:
        value = namespace["f"](argument)
    except Exception as error:  # noqa: BLE001
        case = only(pool.judge(source, [Call("f", (argument,), expected=other)]))
        assert (case.outcome, case.reason) == ("fail", "exception")
        assert type(error).__name__ in case.detail
        return
    right, wrong = pool.judge(
        source, [Call("f", (argument,), expected=value), Call("f", (argument,), expected=other)]
    ).cases
    assert right.passed, right
    # `repr` tells types apart, and knows one nan.
    assert wrong.passed == (
        repr(value).replace("-0.0", "0.0") == repr(other).replace("-0.0", "0.0")
    )


NESTED = "def f(x):\n    v = [0] * 300_000\n    for _ in range(@DEPTH@): v = [v]\n    return v"


@pytest.mark.parametrize("depth", [0, 20])
def test_what_is_far_more_than_was_expected_is_not_read(pool, depth):
    """Reading it would take the judge seconds that no limit of the program's counts."""
    code = NESTED.replace("@DEPTH@", str(depth))
    verdict = pool.judge(code, [Call("f", (1,), expected=[1])], limits=Limits(wall_s=20))
    (case,) = verdict.cases
    assert (case.outcome, case.reason) == ("fail", "wrong_value")
    assert case.detail == "f returned a value that can't be read: more than 10004 values"
    right = pool.judge(
        code,
        [
            Call("f", (1,), expected=_nested(depth)),
            Call("f", (1,), checker=lambda got, _: len(got) > 0, most_parts=400_000),
        ],
        limits=Limits(wall_s=20),
    )
    assert right.passed, right


def _nested(depth: int) -> list:
    value: list = [0] * 300_000
    for _ in range(depth):
        value = [value]
    return value
