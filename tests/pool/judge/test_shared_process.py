"""A row's asserts share a test's process and the program's: each is judged as if it were alone."""

import pytest
from conftest import lasting_pool

from interpreter_pool import Asserts, Call, Limits, Stdio
from interpreter_pool.pool.judge import plan
from interpreter_pool.pool.judge.plan import Item

DOUBLE = "def f(x): return 2 * x"


@pytest.fixture(scope="module")
def pool(tier):
    """One of this file's own: so many runs would use up the process numbers of the other."""
    yield from lasting_pool(tier)


def asserts(*tests, name="f", prelude=""):
    return [Asserts(test, name, prelude) for test in tests]


def groups(cases, **options):
    item = Item(
        DOUBLE, cases, limits=Limits(), shuffle=False, stop_at_first_failure=False, **options
    )
    return list(item.groups())


def outcomes(verdict):
    return [(str(case.outcome), case.reason) for case in verdict.cases]


PASS, ASSERTION = ("pass", "ok"), ("fail", "assertion")


def runs_of(pool, source, cases, **options):
    """A verdict, and how many programs were run for it."""
    before = pool.stats().runs
    verdict = pool.judge(source, cases, **options)
    return verdict, (pool.stats().runs - before) // 2  # a program and a test each


# ---- which share a process


def test_asserts_that_follow_each_other_share_a_process():
    """Of one entry point and one prelude; what is no assert stands between."""
    three = asserts("f(1)", "f(2)", "f(3)")
    assert groups(three) == [(0, 1, 2)]
    assert groups([*three, Call("f", (1,), expected=2), *three]) == [(0, 1, 2), (3,), (4, 5, 6)]
    assert groups([*three, *asserts("g(1)", name="g")]) == [(0, 1, 2), (3,)]
    assert groups([*three, *asserts("f(1)", prelude="x = 1")]) == [(0, 1, 2), (3,)]
    assert groups([Stdio("", ""), Stdio("", "")]) == [(0,), (1,)]


def test_only_so_many_share_a_process(monkeypatch):
    """And of so much text."""
    many = asserts(*["f(1)"] * 40)
    assert [len(each) for each in groups(many)] == [16, 16, 8]
    large = asserts(*["f(1)" + " " * (plan._MOST_BYTES // 2)] * 3)
    assert groups(large) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    "test",
    [
        "assert eval(f(1)) == 2",
        "exec(f(1))",
        "import pickle\npickle.loads(f(1))",
        "open(f(1), 'w')",
    ],
)
def test_a_test_that_may_run_what_it_is_given_has_a_process_of_its_own(test):
    """What it is led to do is nobody else's verdict."""
    assert groups(asserts("f(1)", test, "f(2)", "f(3)")) == [(0,), (1,), (2, 3)]
    assert groups(asserts("f(1)", "f(2)", prelude=f"def g(f): {test.splitlines()[-1]}")) == [
        (0,),
        (1,),
    ]
    assert groups(asserts("assert re.compile('x').match(f('x'))", "f(2)")) == [(0, 1)]


# ---- how each is judged


def test_a_rows_asserts_take_one_program_and_one_test(pool):
    """Whether they pass or not, as long as each comes to its end; each has its own part of the
    time.
    """
    cases = asserts("assert f(1) == 2", "assert f(1) == 3", "assert f(3) == 6")
    verdict, runs = runs_of(pool, DOUBLE, cases)
    assert outcomes(verdict) == [PASS, ASSERTION, PASS]
    assert runs == 1
    first, wrong, last = verdict.cases
    assert wrong.detail == "the test ended by AssertionError, after an answer of f"
    assert wrong.diff == "line 1, in <module>: assert f(1) == 3"
    for case in verdict.cases:
        assert 0 < case.wall_s < 5 and 0 <= case.cpu_s < 5
    assert first.cpu_s > 0
    assert last.queue_s == first.queue_s


def test_a_row_is_judged_as_its_tests_are_alone(pool):
    """Results, reasons and words are the same, in whatever order they come."""
    tests = [
        "assert f(1) == 2",
        "assert f(1) == 1",
        "f('x') + 1",
        "def check(candidate):\n    assert candidate(4) == 8",
        "def check(candidate):\n    assert candidate(4) == 9",
        "try: f({})\nexcept TypeError: pass\nelse: assert False",
        "f({})",
        "import sys; f(1); sys.exit(3)",
        "import sys; f(1); sys.exit(0)",
        "f(1)\nraise KeyboardInterrupt",
        "f(1)\nraise MemoryError",
        "f(1)\nimport no_such_module",
        "pass",
        "assert undefined(1) == f(1)",
        "assert f(1) == undefined",
        "assert (f(1)",
        "f(lambda: 1)",
        "f(1); f(lambda: 1)",
        "import threading; threading.Thread(target=lambda: f(1)).start()",
        "import atexit; atexit.register(lambda: f(1)); f(2)",
        "import sys; sys.stdout.close(); f(2)",
        "import sys\ndef g(n): return g(n + 1)\nsys.setrecursionlimit(200); g(f(0))",
    ]
    alone = [pool.judge(DOUBLE, [case]).cases[0] for case in asserts(*tests)]
    for shuffle in (False, 1, 2):
        together = pool.judge(DOUBLE, asserts(*tests), shuffle=shuffle).cases
        for one, other, test in zip(alone, together, tests, strict=True):
            assert (one.outcome, one.reason, one.detail, one.diff) == (
                other.outcome,
                other.reason,
                other.detail,
                other.diff,
            ), test


def test_tests_share_no_names(pool):
    """Each is the `main.py` of a `__main__` of its own, with a prelude that is run for it."""
    tests = [
        "helper = len(made)\nmade.append(1)\ndef check(candidate): assert candidate(1) == 2",
        "assert 'helper' not in globals() and 'check' not in globals() and f(1) == 2",
        "assert made == [] and named() == 'main' and f(1) == 2",
        "import __main__, sys\nassert sys.modules['__main__'].f is f and __main__.made is made\n"
        "assert __name__ == '__main__' and f(1) == 2",
        "import inspect\ndef own(): return 5  # mine\n"
        "assert '# mine' in inspect.getsource(own) and __file__.endswith('main.py') and f(1) == 2",
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\nassert A(f(1)).x == 2",
    ]
    prelude = "made = []\nname = 'main'\ndef named(): return name\ndef f(x): return None"
    verdict, runs = runs_of(pool, DOUBLE, asserts(*tests, prelude=prelude))
    assert outcomes(verdict) == [PASS] * len(tests), verdict.cases
    assert runs == 1


def test_a_test_that_fails_half_way_leaves_streams_and_limits_as_they_were(pool):
    """Which it may have changed for a while; and what it can't leave so, ends its process."""
    tests = [
        "import io, sys\nsys.stdout = sys.stderr = None\nsys.setrecursionlimit(40)\nassert f(1) == 3",
        "import sys\nassert sys.getrecursionlimit() > 900\nprint(f(1), file=sys.stderr)",
        "import sys\nsys.stdout.close(); assert f(1) == 2",
        "print(f(1))",
    ]
    verdict, runs = runs_of(pool, DOUBLE, asserts(*tests))
    assert outcomes(verdict) == [ASSERTION, PASS, PASS, PASS], verdict.cases
    assert runs == 2


def test_a_line_that_failed_is_that_of_its_own_test(pool):
    """Though all of them are called main.py."""
    tests = ["\n" * n + f"assert f({n}) == -1, 'number {n}'" for n in range(4)]
    for n, case in enumerate(pool.judge(DOUBLE, asserts(*tests)).cases):
        assert f"number {n}" in case.detail
        assert case.diff == f"line {n + 1}, in <module>: assert f({n}) == -1, 'number {n}'"


def test_a_program_lives_on_from_test_to_test(pool):
    """As where test and program share a process."""
    counts = "n = 0\ndef f():\n    global n\n    n += 1\n    return n"
    verdict = pool.judge(counts, asserts("assert f() == 1", "assert f() == 2", "assert f() == 3"))
    assert verdict.passed, verdict.cases


# ---- ends that are not orderly


@pytest.mark.parametrize(
    "at_two, reason",
    [
        ("raise SystemExit(0)", "incomplete"),
        ("raise SystemExit(3)", "exit"),
        ("os._exit(0)", "incomplete"),
        ("os.abort()", "signal"),
        ("while True: pass", "cpu_timeout"),
        ("while True: print('x' * 9999)", "output"),
        ("return object()", "wrong_value"),
        ("return bytearray(1 << 40)", "memory"),
        ("time.sleep(60)", "wall_timeout"),
    ],
)
def test_an_end_is_booked_on_the_test_that_it_came_in(pool, at_two, reason):
    """The tests behind it are run in other processes, and pass."""
    source = f"import os, time\ndef f(x):\n  if x == 2:\n    {at_two}\n  return 2 * x"
    cases = asserts(*(f"assert f({n}) == {2 * n}" for n in range(5)))
    limits = Limits(cpu_s=0.3, wall_s=0.8 if reason == "wall_timeout" else 20)
    verdict, runs = runs_of(pool, source, cases, limits=limits)
    assert outcomes(verdict) == [PASS, PASS, ("fail", reason), PASS, PASS], verdict.cases
    assert runs == 3  # as far as it went; the third by itself; the two behind it


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f(x):\n"
        "    end = time.process_time() + 0.12\n    while time.process_time() < end: pass\n"
        "    return 2 * x",
        "import time\ndef f(x):\n    time.sleep(0.4)\n    return 2 * x",
        "keep = []\ndef f(x):\n    keep.append(b'x' * (70 << 20))\n    return 2 * x",
        "def f(x):\n    print('x' * 40_000)\n    return 2 * x",
    ],
    ids=["CPU time", "wall time", "memory", "output"],
)
def test_each_test_may_use_the_whole_limit(pool, source):
    """Limits are those of a process; a test that reaches one behind others is run again alone."""
    limits = Limits(cpu_s=0.3, wall_s=1.1, memory_bytes=160 << 20, output_bytes=100_000)
    cases = asserts(*(f"assert f({n}) == {2 * n}" for n in range(3)))
    verdict = pool.judge(source, cases, limits=limits)
    assert verdict.passed, verdict.cases


def test_where_the_jail_is_lost_each_test_is_run_by_itself(pool, monkeypatch):
    """And no earlier one pays for a later one."""
    from interpreter_pool.pool.judge import asserts as judged

    seen = []
    monkeypatch.setattr(judged, "tells", lambda record: seen.append(record) and False)
    cases = asserts(*(f"assert f({n}) == {2 * n if n != 1 else 0}" for n in range(3)))
    verdict, runs = runs_of(pool, DOUBLE, cases)
    assert outcomes(verdict) == [PASS, ASSERTION, PASS]
    assert (len(seen), runs) == (1, 4)


def test_a_test_at_fault_spoils_no_other(pool):
    """By itself, before it has called: that is its own, and is found out by itself."""
    tests = ["assert f(1) == 2", "assert 1 == 2", "assert f(2) == 4", "x = undefined", "f(3)"]
    verdict = pool.judge(DOUBLE, asserts(*tests))
    harness = ("harness_error", "harness")
    assert outcomes(verdict) == [PASS, harness, PASS, harness, PASS], verdict.cases


# ---- options


def test_the_first_failure_ends_what_shares_its_process(pool):
    """Nothing behind it is run, though it would take long."""
    endless = "import time\ndef f(x):\n    while x > 1: time.sleep(1)\n    return x"
    tests = ["assert f(1) == 1", "assert f(0) == 1", "assert f(2) == 2"]
    for _ in range(2):
        verdict, runs = runs_of(pool, endless, asserts(*tests), stop_at_first_failure=True)
        assert outcomes(verdict) == [PASS, ASSERTION, ("skipped", "skipped")]
        assert runs == 1


def test_each_result_is_told_once(pool):
    """Also where tests are run again; in a shuffled order, too."""
    source = "import os\ndef f(x):\n    if x % 3 == 2: os._exit(0)\n    return 2 * x"
    cases = asserts(*(f"assert f({n}) == {2 * n}" for n in range(20)))
    for shuffle in (False, 5):
        told = []
        verdict = pool.judge(source, cases, shuffle=shuffle, on_result=told.append)
        assert sorted(told, key=lambda each: each.index) == list(verdict.cases)
        assert [case.passed for case in verdict.cases] == [n % 3 != 2 for n in range(20)]


def test_rows_are_judged_at_once(pool):
    """Groups and others of many items share the workers."""
    items = [
        (
            f"def f(x): return {n} * x",
            [*asserts("assert f(1) == 2", "assert f(2) == 4"), Call("f", (3,), expected=6)],
        )
        for n in range(1, 5)
    ]
    assert [each.score for each in pool.judge_many(items)] == [0.0, 1.0, 0.0, 0.0]
