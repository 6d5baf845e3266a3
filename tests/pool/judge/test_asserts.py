"""`Asserts`: the test in one process, the program in another; whose fault a bad end is."""

import os
import signal
import threading
import time

import pytest
from conftest import SOON_S, lasting_pool, wait_until

from interpreter_pool import Asserts, Call, Limits, Pool, PoolClosed, Stdio
from interpreter_pool.pool.judge import Outcome

CHECK = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate([1]) == [1, 1]
"""
DOUBLE = "def f(x): return 2 * x"


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


@pytest.fixture
def judge(pool):
    """Judge one program by one test; return how the case went."""

    def judge(source, test=CHECK, name="f", prelude="", **options):
        (case,) = pool.judge(source, [Asserts(test, name, prelude)], **options).cases
        assert case.outcome != Outcome.INFRA_ERROR, case
        return case

    return judge


@pytest.mark.parametrize(
    "test",
    [
        CHECK,
        "assert f(2) == 4\nassert f(x=[1]) == [1, 1]",
        "import math\nassert math.isclose(f(0.1), 0.2)\nassert 'helper' not in globals()",
        "from collections import Counter\nassert f('ab') == 'abab' and Counter(f('a'))['a'] == 2",
        "assert list(map(f, range(3))) == [0, 2, 4] and f.__name__ == 'f'",
        "try:\n    f(None)\nexcept TypeError as error:\n    assert 'NoneType' in str(error)\n"
        "else:\n    assert False",
        "import unittest\nclass Test(unittest.TestCase):\n"
        "    def test(self): self.assertEqual(f(2), 4)\n"
        "if __name__ == '__main__': unittest.main()",
        "import threading\nfound = []\n"
        "threads = [threading.Thread(target=lambda: found.append(f(2))) for _ in range(5)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; assert found == [4] * 5",
        "import sys; sys.exit(0 if f(1) == 2 else 1)",
        "def check(candidate):\n    for n in range(300): assert candidate(n) == 2 * n",
        "assert f('x' * (3 << 20)) == 'x' * (6 << 20)",
        "import atexit; atexit.register(lambda: f(1)); f(2)",
        "check = f\nassert check(2) == 4",
    ],
)
def test_a_right_program_passes(judge, test):
    """By a test that defines `check`, and by one that runs as it stands."""
    case = judge(DOUBLE, test)
    assert case.passed, case
    assert case.wall_s > 0 and case.cpu_s > 0


@pytest.mark.parametrize(
    "source, reason, words",
    [
        ("def f(x): return 3 * x", "assertion", "AssertionError"),
        ("def f(x): return None", "assertion", "AssertionError"),
        ("def f(x): return str(x)", "assertion", "AssertionError"),
        ("def f(x): raise ValueError('mine')", "exception", "ValueError: mine"),
        ("def f(x): raise NameError('mine')", "exception", "NameError: mine"),
        ("def f(x): import no_such_module", "exception", "ModuleNotFoundError"),
        ("def f(x): return undefined", "exception", "'undefined' is not defined"),
        ("def f(x): raise StopIteration", "exception", "RuntimeError"),
        ("def f(): return 4", "exception", "TypeError"),
        ("def f(x): return f(x)", "exception", "RecursionError"),
        ("def g(x): return 2 * x", "exception", "name 'f' is not defined"),
        ("f = 3", "exception", "not callable"),
        ("def f(x: return", "exception", "SyntaxError"),
        ("1/0", "exception", "ZeroDivisionError"),
        ("def f(x):\n while True: pass", "cpu_timeout", "CPU time"),
        ("def f(x): return bytearray(1 << 40)", "memory", "MemoryError"),
        ("def f(x):\n while True: print('x' * 9999)", "output", "wrote too much"),
        ("import os; os._exit(0)", "incomplete", "status 0"),
        ("import sys; sys.exit(0)", "incomplete", "status 0"),
        ("def f(x): raise SystemExit(0)", "incomplete", "status 0"),
        ("def f(x): raise SystemExit(3)", "exit", "status 3"),
        ("def f(x): raise KeyboardInterrupt", "signal", "signal 2"),
        ("def f(x): raise GeneratorExit", "exception", "GeneratorExit"),
        ("def f(x):\n import os; os._exit(0)", "incomplete", "status 0"),
        ("def f(x):\n import os; os.abort()", "signal", "signal 6"),
        ("def f(x): return object()", "wrong_value", "object is no plain data"),
        ("def f(x): return (n for n in [x])", "assertion", "AssertionError"),
        ("def f(x): return 'x' * (17 << 20)", "wrong_value", "larger than"),
        ("def f(x): y = []; y.append(y); return y", "wrong_value", "cyclic"),
    ],
)
def test_a_wrong_program_fails(judge, source, reason, words):
    """Whatever it does instead of answering rightly is charged to it, and told."""
    case = judge(source, timeout=0.5)
    assert (case.outcome, case.reason) == ("fail", reason), case
    assert words in case.detail


def test_the_assertion_that_failed_is_told(judge):
    """For people: its line."""
    case = judge("def f(x): return 4", CHECK)
    assert case.diff == "line 4, in check: assert candidate([1]) == [1, 1]"
    assert "after 2 answers of f" in case.detail


@pytest.mark.parametrize(
    "test, prelude, words",
    [
        ("assert (f(2) == 4", "", "SyntaxError"),
        ("assert undefined(2) == 4", "", "'undefined' is not defined"),
        ("import no_such_module\nf(2)", "", "no_such_module"),
        ("def check(candidate): assert False", "", "AssertionError"),
        ("def check(): pass", "", "TypeError"),
        ("pass", "", "never called f"),
        ("assert callable(f)", "", "never called f"),
        ("def check(candidate): pass", "", "never called f"),
        ("f(lambda: 1)", "", "function is no plain data"),
        ("try:\n    f(open)\nexcept TypeError: pass", "", "no plain data"),
        ("f('x' * (33 << 20))", "", "larger than"),
        ("while True: pass", "", "CPU time"),
        ("x = bytearray(1 << 40)", "", "memory"),
        ("import os; os._exit(0)", "", "status 0"),
        ("import sys; sys.exit(3)", "", "status 3"),
        ("import os; os.abort()", "", "signal 6"),
        ("f(2)", "def helper(: pass", "SyntaxError"),
        ("f(2)", "helper()", "'helper' is not defined"),
        ("import os; os.write(3, b'x' * 100); f(2)", "", "too much"),
        (
            "import os, struct; os.write(3, struct.pack('<IB', 0, 99)); os.read(3, 1)",
            "",
            "no sense",
        ),
    ],
)
def test_a_test_that_fails_by_itself_is_named(pool, test, prelude, words):
    """It is the harness's failure, not the program's; and no pass."""
    verdict = pool.judge(DOUBLE, [Asserts(test, "f", prelude)], timeout=0.5)
    (case,) = verdict.cases
    assert case.outcome == Outcome.HARNESS_ERROR, case
    assert words in verdict.harness_error
    assert (verdict.passed, verdict.score, verdict.conclusive) == (False, 0.0, False)


@pytest.mark.parametrize(
    "source, test, reason",
    [
        # What a test does with an answer is the answer's doing.
        ("def f(x): return 1 << 40", "bytearray(f(1))", "memory"),
        ("def f(x): return 'while True: pass'", "exec(f(1))", "cpu_timeout"),
        ("def f(x): return 'undefined'", "eval(f(1))", "exception"),
        ("def f(x): return 'import nothing_here'", "exec(f(1))", "exception"),
        ("def f(x): return None", "assert abs(f(1) - 3) < 1e-6", "exception"),
        ("def f(x): return []", "f(1)[0]", "exception"),
        ("def f(x): return 'x' * (16 * 10**6)", "y = f(1)\nf([y, y, y])", "wrong_value"),
        ("def f(x): return 'raise SystemExit(3)'", "exec(f(1))", "exit"),
    ],
)
def test_no_answer_leads_a_test_astray(judge, source, test, reason):
    """A program can't choose to be counted as the test's failure."""
    case = judge(source, test, timeout=0.5)
    assert (case.outcome, case.reason) == ("fail", reason), case


def test_the_prelude_is_the_tests_alone(judge):
    """Helpers of the task's text are there for the test; the program has its own source only."""
    prelude = (
        "from math import isclose\ndef helper(x): return x + 1\ndef f(x):\n    '''Doubles.'''\n"
    )
    assert judge(DOUBLE, "assert helper(f(2)) == 5 and isclose(f(0.5), 1)", prelude=prelude).passed
    case = judge("def f(x): return helper(x)", "f(2)", prelude=prelude)
    assert case.outcome == "fail"
    assert "'helper' is not defined" in case.detail
    own_check = prelude + "def check(x): raise LookupError"
    assert judge(DOUBLE, "assert f(2) == 4", prelude=own_check).passed


def test_main_parts_run_for_the_test_only(judge):
    """The program and the prelude are loaded as modules, the test runs as `__main__`."""
    main = "\nif __name__ == '__main__': raise SystemExit(9)\n"
    assert judge(DOUBLE + main, CHECK, prelude=main).passed
    case = judge(DOUBLE, "f(1)" + main)
    assert (case.outcome, case.reason) == ("fail", "exit")


def test_values_cross_by_value(judge):
    """What the program does to an argument is not seen; types stay; bases stand for subclasses, but
    for those of libraries.
    """
    test = """
from collections import Counter, OrderedDict, defaultdict, namedtuple
items = [3, 1]
assert f(items) == [1, 3] and items == [3, 1]
kinds = (1, 1.5, 2j, True, None, "s", b"b", [1], (1,), {1: 2}, {1}, frozenset({1}))
assert list(map(type, g(kinds))) == list(map(type, kinds)) and g(kinds) == kinds
point = namedtuple("point", "x y")
given = [Counter("aab"), defaultdict(int, a=1), OrderedDict(a=1), point(1, 2)]
assert list(map(type, g(given))) == [Counter, defaultdict, OrderedDict, tuple]
"""
    source = "def f(x):\n    if x == [3, 1]: x.sort()\n    return x\n"
    assert judge(source, test.replace("g(", "f(")).passed


def test_exceptions_cross_as_what_the_test_knows_them_by(judge):
    """The built-in type that they are of, or that of a library which the test has imported; with
    their arguments where these may cross, else with their text.
    """
    source = """
import json
class Own(KeyError): pass
class Odd(Exception):
    def __str__(self): return "odd"
def f(what):
    if what == "own": raise Own("k", 1)
    if what == "json": json.loads("{")
    if what == "odd": raise Odd(object())
    if what == "unicode": b"\\xff".decode()
    if what == "os": open("/nowhere")
    if what == "group": raise ExceptionGroup("g", [ValueError()])
    if what == "stop": next(iter(()))
"""
    test = """
import json
def raised(what):
    try:
        f(what)
    except Exception as error:
        return error
own = raised("own")
assert type(own) is KeyError and own.args == ("k", 1)
assert type(raised("json")) is json.JSONDecodeError and raised("json").pos == 1
assert type(raised("odd")) is Exception and str(raised("odd")) == "odd"
assert type(raised("unicode")) is UnicodeDecodeError and raised("unicode").start == 0
assert type(raised("os")) is FileNotFoundError and raised("os").errno == 2
assert isinstance(raised("group"), Exception)
assert type(raised("stop")) is RuntimeError
"""
    assert judge(source, test).passed


@pytest.mark.parametrize(
    "name, test",
    [
        ("Solution().double", CHECK),
        ("Solution().double", "assert Solution().double(2) == Solution().double(x=2) == 4"),
        ("Solution.Inner.twice", "assert Solution.Inner.twice(2) == 4"),
        ("Solution.Inner().twice", "assert Solution.Inner().twice(2) == 4"),
        ("Solution.Inner().twice", CHECK),
    ],
)
def test_entry_points_may_be_dotted(judge, name, test):
    """The whole name leads to the stand-in, in the test as in the program."""
    source = """
class Solution:
    def double(self, x): return 2 * x
    class Inner:
        @staticmethod
        def twice(x): return 2 * x
"""
    assert judge(source, test, name).passed
    case = judge("class Solution: pass", test, name)
    assert case.outcome == "fail"
    assert "AttributeError" in case.detail


def test_a_program_that_talks_out_of_turn_fails(judge):
    """Frames too many, too soon, half, or of no kind; a closed stream; nothing of it hangs."""
    for attack in (
        "os.write(3, b'x')",
        "os.write(3, bytes([0] * 5))",
        "os.write(3, struct.pack('<IB', 1, 7) + b'T')",
        "os.write(3, struct.pack('<IB', 1 << 31, 7))",
        "os.write(3, struct.pack('<IB', 1, 5) + b'T')",
        "os.write(3, struct.pack('<IB', 5, 7))",
        "os.close(3)",
        "socket.socket(fileno=3).shutdown(2)",
    ):
        for source in (
            f"import os, socket, struct\n{attack}\ndef f(x): return 2 * x",
            f"import os, socket, struct\ndef f(x):\n    {attack}\n    return 2 * x",
        ):
            began = time.monotonic()
            case = judge(source, timeout=0.5)
            assert case.outcome == "fail", (source, case)
            assert time.monotonic() - began < 0.5 * 6 + 2


def test_an_answer_written_by_hand_is_an_answer(judge):
    """It is worth what it says: right or wrong."""
    forged = """
import os, struct
def f(x):
    os.write(3, struct.pack('<IB', {size}, 7) + {body!r})
    import time; time.sleep(60)
"""
    assert judge(forged.format(size=6, body=b"i\1\0\0\0\4"), "assert f(2) == 4").passed
    case = judge(forged.format(size=6, body=b"i\1\0\0\0\5"), "assert f(2) == 4")
    assert case.reason == "assertion"
    for body in (b"?", b"l" + b"\xff" * 4, b"S\2\0\0\0NN", b"l\1\0\0\0" * 60 + b"N"):
        case = judge(forged.format(size=len(body), body=body), "assert f(2) == 4")
        assert (case.outcome, case.reason) == ("fail", "wrong_value")
        assert "can't be read" in case.detail


def test_a_program_that_ends_before_the_test_does_fails(judge):
    """However right its answers were."""
    source = "import os, threading\ndef f(x):\n    threading.Timer(0.1, os._exit, (0,)).start()\n    return 4"
    case = judge(source, "assert f(2) == 4\nimport time; time.sleep(0.5)")
    assert (case.outcome, case.reason) == ("fail", "incomplete")


def test_a_waiting_test_costs_the_program_its_time(judge):
    """Who sleeps in a call is ended by the wall, and charged, though the test's clock ends, too."""
    began = time.monotonic()
    case = judge("import time\ndef f(x): time.sleep(60)", timeout=0.1)
    assert (case.outcome, case.reason) == ("fail", "wall_timeout")
    assert time.monotonic() - began < SOON_S


def test_the_pump_waits_without_burning_cpu(tier):
    """While nobody says anything, the host does nothing."""
    with Pool(1, tier=tier, limits=Limits(wall_s=60)) as pool:
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed
        before = time.process_time()
        source = "import time\ndef f(x):\n    time.sleep(0.7)\n    return 2 * x"
        assert pool.judge(source, [Asserts("assert f(2) == 4", "f")]).passed
        assert time.process_time() - before < 0.35


def test_all_kinds_of_cases_mix(pool):
    """In one verdict, in any order."""
    source = DOUBLE + "\nif __name__ == '__main__': print(f(int(input())))"
    cases = [
        Asserts(CHECK, "f"),
        Stdio("4", "8"),
        Call("f", (2,), expected=4),
        Asserts("assert f(1) == 3", "f"),
        Asserts("nobody()", "f"),
    ]
    verdict = pool.judge(source, cases)
    outcomes = ["pass", "pass", "pass", "fail", "harness_error"]
    assert [str(case.outcome) for case in verdict.cases] == outcomes
    assert [case.kind for case in verdict.cases] == ["asserts", "stdio", "call"] + ["asserts"] * 2


def test_one_worker_is_enough_for_two_processes(tier):
    """They are taken together: with one worker, and many callers, nothing ever waits for itself."""
    with Pool(1, tier=tier, max_queue=2) as pool:
        passed = []

        def work() -> None:
            verdict = pool.judge(DOUBLE, [Asserts(CHECK, "f"), Call("f", (1,), expected=2)] * 3)
            passed.append(verdict.passed)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert passed == [True] * 4


def test_a_program_that_breaks_its_worker_is_charged_for_it():
    """W9: where nothing confines it, it kills its zygote, and again on the retry; it fails, without
    an infra error, and the next one is judged.
    """
    with Pool(1, tier="none") as pool:
        for where in ("", "def f(x): "):
            # In the same line: it must not answer before it has gone.
            attack = f"import os, time\n{where}os.kill(os.getppid(), 9); time.sleep(0.5)"
            (case,) = pool.judge(attack, [Asserts(CHECK, "f")]).cases
            assert (case.outcome, case.reason) == ("fail", "denied"), case
            assert "twice" in case.detail
        verdict = pool.judge(DOUBLE, [Asserts("import os; os.kill(os.getppid(), 9)", "f")])
        assert "twice" in verdict.harness_error
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed
        assert pool.stats().retried == 3


@pytest.mark.parametrize("which", ["the program's", "the test's"])
def test_a_jail_that_is_lost_once_is_not_noticed(tier, which):
    """The case is judged again, from the beginning, on new jails."""
    with Pool(1, tier=tier) as pool:
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed
        (worker,) = pool.engine.workers

        def kill() -> None:
            wait_until(lambda: pool.stats().workers_busy == 1)
            time.sleep(0.2)
            (tests,) = set(pool.engine.jails.leased()) - {worker.jail}
            (worker.jail if which == "the program's" else tests).kill()

        killer = threading.Thread(target=kill)
        killer.start()
        source = "import time\ndef f(x):\n    time.sleep(0.5)\n    return 2 * x"
        verdict = pool.judge(source, [Asserts(CHECK, "f")])
        killer.join()
        assert verdict.passed, verdict.cases
        assert pool.stats().retried == 1


def test_an_idle_partner_that_has_died_is_replaced(tier):
    """Nobody notices."""
    with Pool(1, tier=tier) as pool:
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed
        jails = pool.engine.jails
        wait_until(lambda: jails.idle(jails.own))
        jails.idle(jails.own)[0].kill()
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed


def test_closing_the_pool_ends_both_processes(tier):
    """At once, and says so."""
    pool = Pool(1, tier=tier)
    closer = threading.Timer(1, pool.close)
    closer.start()
    try:
        with pytest.raises(PoolClosed):
            sleeper = "import time\ndef f(x): time.sleep(60)"
            pool.judge(sleeper, [Asserts("f(1)", "f")] * 9)
    finally:
        closer.join()
        pool.close()


def test_other_limits_take_another_shape(pool, judge):
    """A case's limits are its own, for both processes."""
    small = Limits(disk_bytes=1 << 20, memory_bytes=64 << 20, cpu_s=5)
    test = "assert f(2) == 4\nopen('x', 'wb').write(bytes(2 << 20))"
    assert judge(DOUBLE, test, limits=small).outcome == "fail"
    assert judge(DOUBLE, test).passed
    assert judge("def f(x): return len(bytes(x))", "f(99 << 20)", limits=small).outcome == "fail"
    assert judge("def f(x): return len(bytes(x))", "f(99 << 20)").passed


def test_a_program_that_takes_the_cpus_does_not_blame_the_test(pool):
    """Where only the wall's clock counts, a test that got no time is not at fault, if the program
    did; one that sleeps or loops by itself is.
    """
    wall = Limits(wall_s=1.5, cpu_s=None)
    busy = "def f(x): return x\nwhile True: pass"
    slow_start = "import time\ntime.sleep(60)\nassert f(1) == 1"
    for source, test, outcome in (
        (busy, slow_start, "fail"),
        (DOUBLE, slow_start, "harness_error"),
        (DOUBLE, "while True: pass", "harness_error"),
    ):
        (case,) = pool.judge(source, [Asserts(test, "f")], limits=wall).cases
        assert str(case.outcome) == outcome, case


def test_a_jail_that_is_given_up_ends_both_halves(tier):
    """Its zygote is stopped after the test's run has ended: nobody can tell how it ended. The clock
    sees to that, and not only to the one half.
    """
    with Pool(1, tier=tier) as pool:
        assert pool.judge(DOUBLE, [Asserts(CHECK, "f")]).passed
        (worker,) = pool.engine.workers
        stopped = []

        def stop() -> None:
            wait_until(lambda: pool.stats().workers_busy == 1)
            time.sleep(0.7)
            (tests,) = set(pool.engine.jails.leased()) - {worker.jail}
            stopped.append(tests.zygote_pid)
            os.kill(stopped[0], signal.SIGSTOP)

        stopper = threading.Thread(target=stop)
        stopper.start()
        began = time.monotonic()
        limits = Limits(cpu_s=5, wall_s=None)
        pool.judge(DOUBLE, [Asserts(f"{CHECK}\nimport time; time.sleep(1.2)", "f")], limits=limits)
        stopper.join()
        assert time.monotonic() - began < 20
