"""What every executor promises: a pool, a service elsewhere, a fleet."""

import asyncio
import concurrent.futures
import functools
import pickle
import threading

import pytest
from conftest import wait_until

from interpreter_pool import (
    Asserts,
    Call,
    Executor,
    Interactive,
    LimitExceeded,
    Limits,
    PolicyError,
    PoolClosed,
    PoolTimeout,
    Program,
    ProgramError,
    RunFuture,
    SessionLost,
    Stdio,
    TestModule,
)

pytest_plugins = ["executors"]

DOUBLE = "def f(x): return 2 * x"
TWICE = "n = int(input())\nprint(2 * n)"


def raised(call):
    """What a call raises, so that it can be compared."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001
        return type(error), str(error)
    return None


# ---- runs


def test_a_run_has_all_its_options(executor):
    assert isinstance(executor, Executor)
    result = executor.run(
        "import sys, os, random\n"
        "print(sys.argv[1:], input(), open('in.txt').read(), os.environ['NAME'], random.random())\n"
        "open('out.txt', 'w').write('written'); print('oops', file=sys.stderr)",
        args=["a"],
        stdin="line\n",
        files={"in.txt": "content"},
        env={"NAME": "value"},
        collect=["out.txt"],
        seed=7,
        id="mine",
        timeout=10,
    )
    assert result.ok, result
    assert result.stdout.startswith("['a'] line content value 0.32383276483316237")
    assert (result.stderr, result.files, result.id) == ("oops\n", {"out.txt": b"written"}, "mine")
    assert result.tier == executor.tier and result.layers and result.cpu_s > 0


@pytest.mark.parametrize(
    "code, options, reason",
    [
        ("1 / 0", {}, "exception"),
        ("raise SystemExit(3)", {}, "exit"),
        ("while True: pass", {"timeout": 0.3}, "wall_timeout"),
        ("x = bytearray(10**9)", {}, "memory"),
        ("while True: print('x' * 1000)", {"limits": Limits(output_bytes=1000)}, "output"),
        ("import os; os.kill(os.getpid(), 9)", {}, "signal"),
    ],
)
def test_a_run_ends_for_the_same_reason(executor, code, options, reason):
    result = executor.run(code, **options)
    assert result.reason == reason
    assert not result.infra_error


def test_runs_are_submitted_mapped_and_awaited(executor):
    future = executor.submit("print(1)")
    assert isinstance(future, RunFuture)
    assert future.result().stdout == "1\n"
    results = executor.map([f"print({n})" for n in range(50)], timeout=15)
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(50)]
    programs = [Program(f"print({n})", id=str(n)) for n in range(3)]
    assert [result.id for result in executor.map(programs)] == ["0", "1", "2"]

    async def some():
        return await asyncio.gather(*(executor.arun(f"print({n})") for n in range(20)))

    assert [result.stdout for result in asyncio.run(some())] == [f"{n}\n" for n in range(20)]


def test_what_makes_no_sense_is_refused_alike(executor, reference):
    wrong = [
        lambda it: it.run(5),
        lambda it: it.run("1", colour="red"),
        lambda it: it.run("1", args="a"),
        lambda it: it.run("1", timeout=-1),
        lambda it: it.run("1", limits={"wall_s": 1}),
        lambda it: it.run("1", files={"../x": "a"}),
        lambda it: it.run("1", queue_timeout="soon"),
        lambda it: list(it.map("print(1)")),
        lambda it: list(it.map(["1", 5])),
        lambda it: it.function("def f(): pass", "not a name"),
        lambda it: it.judge("1", []),
        lambda it: it.judge("1", [5]),
        lambda it: it.judge("1", [Stdio("", "x")], shuffle="yes"),
        lambda it: it.judge("1", [Stdio("", "x")], colour="red"),
        lambda it: it.judge_many([("1", [Stdio("", "x")]), ("2", [])]),
        lambda it: it.session(history=-1),
        lambda it: it.session(limits=Limits(processes=2)),
        lambda it: it.snapshot("1 / 0"),
        lambda it: it.snapshot(5),
        lambda it: it.differential(DOUBLE, "def f(x: int): return 3 * x", "f", max_examples=0),
    ]
    for each in wrong:
        kind, text = raised(lambda each=each: each(reference))
        assert raised(lambda each=each: each(executor)) == (kind, text)


def test_a_run_is_cancelled(executor):
    future = executor.submit("import time; time.sleep(60)", timeout=None)
    wait_until(lambda: executor.stats().workers_busy == 1)
    assert future.cancel()
    assert future.result(20).reason == "cancelled"
    wait_until(lambda: executor.stats().workers_busy == 0)


def test_a_run_waits_no_longer_than_queue_timeout(executor):
    busy = [executor.submit("import time; time.sleep(60)") for _ in range(4)]
    with pytest.raises(PoolTimeout):
        wait_until(lambda: executor.stats().workers_busy >= 2)
        for _ in range(3):
            executor.run("print(1)", queue_timeout=0.2)
    for each in busy:
        each.cancel()
    concurrent.futures.wait(busy, 20)


# ---- judging

CASES = [
    (TWICE, [Stdio("2", "4"), Stdio("3", "6"), Stdio("3", "7")]),
    (DOUBLE, [Call("f", [2], expected=4), Call("f", [2], expected=5)]),
    (DOUBLE, [Asserts("assert f(2) == 4", "f"), Asserts("assert f(2) == 5", "f")]),
    (DOUBLE, [TestModule("from solution import f\ndef test_it(): assert f(1) == 2")]),
    ("print(input())", [Interactive("print(1, flush=True)\nassert input() == '1'")]),
    ("import sys; sys.exit(3)", [Stdio("", "")]),
    ("while True: pass", [Stdio("", "x")]),
]


def test_verdicts_are_those_of_a_pool(executor, reference):
    def told(verdicts):
        return [[(case.outcome, case.reason) for case in each.cases] for each in verdicts]

    expected = told(reference.judge_many(CASES, timeout=0.5))
    assert told(executor.judge_many(CASES, timeout=0.5)) == expected
    assert told([executor.judge(*CASES[0])]) == expected[:1]
    assert told([asyncio.run(executor.ajudge(*CASES[2]))]) == expected[2:3]


def test_checkers_of_the_callers_are_asked(executor):
    """A function has the caller's process to itself, wherever the program ran."""
    asked = []

    def check(output, expected):
        asked.append((output, threading.current_thread()))
        return output.strip() == "8"

    cases = [Stdio("4", "8", checker=check), Stdio("5", "8", checker=check)]
    verdict = executor.judge(TWICE, cases)
    assert [case.passed for case in verdict.cases] == [True, False]
    assert sorted(output.strip() for output, _ in asked) == ["10", "8"]


def test_each_case_is_told_as_it_comes(executor):
    told = []
    executor.judge(TWICE, [Stdio("2", "4"), Stdio("3", "6")], on_result=told.append)
    assert sorted(case.index for case in told) == [0, 1]


def test_judging_is_cancelled(executor):
    async def main():
        cases = [Stdio("", "x")] * 3
        task = asyncio.ensure_future(
            executor.ajudge("import time; time.sleep(60)", cases, limits=Limits(wall_s=60))
        )
        while executor.stats().workers_busy == 0:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    wait_until(lambda: executor.stats().workers_busy == 0)


# ---- functions, fuzzing


def test_a_function_is_called(executor):
    double = executor.function(DOUBLE, "f")
    assert double([1, 2]) == [1, 2, 1, 2]
    with pytest.raises(ProgramError) as caught:
        executor.function("def f(): raise KeyError('x')", "f")()
    assert caught.value.type == "KeyError"
    with pytest.raises(LimitExceeded, match="wall_timeout"):
        executor.function("def f():\n    while True: pass", "f", timeout=0.3)()
    with executor.function(f"n = 3\n{DOUBLE}", "f", shared_load=True) as shared:
        assert [shared(n) for n in range(3)] == [0, 2, 4]


def test_a_difference_is_found_by_functions(executor):
    reference = "def f(x: int): return 2 * x"
    found = executor.differential("def f(x): return x + x if x < 9 else 0", reference, "f", seed=1)
    assert found is not None and found.args == (9,)
    assert executor.differential(DOUBLE, reference, "f", max_examples=20) is None
    cases = executor.cases_from(reference, "f", n=5)
    assert executor.judge(DOUBLE, cases).passed


# ---- sessions


def test_a_session_persists_branches_and_rolls_back(executor):
    with executor.session(history=2) as session:
        assert session.run("x = [1]").ok
        assert session.run("x").value == "[1]"
        branch = session.fork()
        one, two = session.fork(2)
        assert branch.run("x.append(2); x").value == "[1, 2]"
        assert (one.run("x").value, two.run("x").value) == ("[1]", "[1]")
        assert session.run("x.append(3)").ok
        assert session.history == 2
        session.rollback()
        assert session.run("x").value == "[1]"
        assert session.run("import os; os._exit(1)").rolled_back == 1
        assert session.run("def g(a, b=1): return a + b").ok
        assert session.call("g", 2, b=5) == 7
        session.reset()
        assert session.run("x").reason == "exception"
        for each in (branch, one, two):
            each.close()


def test_a_session_has_files(executor):
    with executor.session() as session:
        session.write("a.txt", "text")
        assert session.read("a.txt") == b"text"
        assert session.listdir() == ["a.txt"]
        result = session.run("open('b', 'w').write('c')", files={"d": "e"}, collect=["b"])
        assert result.files == {"b": b"c"}
        with pytest.raises(FileNotFoundError):
            session.read("nothing")
        with pytest.raises(ValueError, match="name"):
            session.write("../x", "")


def test_calls_of_a_session_are_made_in_their_order(executor):
    with executor.session(history=0, rollback=False) as session:
        session.run("found = []")
        futures = [session.submit(f"found.append({n}); found[-1]") for n in range(30)]
        assert [future.result().value for future in futures] == [str(n) for n in range(30)]
        assert session.run("found == list(range(30))").value == "True"


def test_a_session_that_is_closed_is_gone(executor):
    session = executor.session()
    session.run("x = 1")
    branch = session.fork()
    session.close()
    session.close()
    with pytest.raises(SessionLost, match="closed"):
        session.run("x")
    assert branch.run("x").value == "1"
    branch.close()


def test_a_call_of_a_session_is_refused_alike(executor, reference):
    wrong = [
        lambda it: it.run(5),
        lambda it: it.run("1", colour="red"),
        lambda it: it.run("1", limits=Limits(memory_bytes=1 << 30)),
        lambda it: it.call("f", object()),
        lambda it: it.call("nothing"),
        lambda it: it.rollback(5),
        lambda it: it.rollback("x"),
        lambda it: it.fork(0),
        lambda it: it.read("/etc/passwd"),
    ]
    with executor.session() as there, reference.session() as here:
        for each in wrong:
            kind, text = raised(lambda each=each: each(here))
            found = raised(lambda each=each: each(there))
            assert found is not None and found[0] is kind
            if "memory_bytes" not in text:  # the two have others
                assert found[1] == text


def test_sessions_of_many_chains_go_on_side_by_side(executor):
    sessions = [executor.session(history=0) for _ in range(16)]
    futures = [
        [session.submit(f"x = {n}"), session.submit("x * 2")] for n, session in enumerate(sessions)
    ]
    assert [calls[1].result().value for calls in futures] == [str(2 * n) for n in range(16)]
    for session in sessions:
        session.close()


# ---- snapshots


def test_a_snapshot_is_forked(executor):
    with executor.snapshot("import json\nbase = 40\ndef f(x): return x + base") as snapshot:
        assert snapshot.run("base += 2; print(base)").stdout == "42\n"
        futures = [snapshot.submit("print(base)") for _ in range(20)]
        assert {future.result().stdout for future in futures} == {"40\n"}
        assert snapshot.call("f", 2) == 42
    with pytest.raises(SessionLost, match="closed"):
        snapshot.run("1")


# ---- the whole


def test_a_runtime_is_asked_for_by_its_name(executor):
    """In runs, sessions, snapshots, functions, and what is judged; one that is not there is
    refused before anything is sent.
    """
    code = "import packaging\ndef name(): return packaging.__name__\nprint(name())"
    runtime = {"runtime": "packaged"}
    assert executor.run(code, **runtime).stdout == "packaging\n"
    assert executor.run(code).not_offered == "packaging"
    assert executor.function(code, "name", **runtime)() == "packaging"
    cases = [Call("name", expected="packaging"), Stdio("", "packaging")]
    assert executor.judge(code, cases, **runtime).passed
    assert executor.judge(Program(code, **runtime), cases).passed
    assert not executor.judge(code, cases).passed
    assert executor.judge(code, [Stdio("", "packaging", **runtime)]).passed
    with executor.session(**runtime) as session:
        assert session.run(code).stdout == "packaging\n"
    with executor.snapshot(code, **runtime) as snapshot:
        assert snapshot.call("name") == "packaging"
    for ask in (
        lambda: executor.run(code, runtime="absent"),
        lambda: executor.session(runtime="absent"),
        lambda: executor.snapshot(code, runtime="absent"),
        lambda: executor.judge(code, cases, runtime="absent"),
        lambda: executor.judge(code, [Stdio("", "", runtime="absent")]),
    ):
        with pytest.raises(PolicyError, match="'absent': this pool has 'packaged'"):
            ask()


def test_counters_are_told(executor):
    before = executor.stats()
    executor.run("1 / 0")
    after = executor.stats()
    assert after.runs == before.runs + 1
    assert after.runs_by_reason["exception"] == before.runs_by_reason.get("exception", 0) + 1
    assert "pool_runs" in after.prometheus()


def test_streams_are_refused_elsewhere(executor, request):
    """Output piece by piece, and input as it comes, are a pool's of this process only."""
    if "pool" in request.node.callspec.id.split("-"):
        assert executor.run("print(1)", on_output=lambda *_: None).ok
        return
    with pytest.raises(PolicyError, match="on_output"):
        executor.run("print(1)", on_output=lambda *_: None)
    with executor.session() as session, pytest.raises(PolicyError, match="on_output"):
        session.run("print(1)", on_output=lambda *_: None)
    with open("/dev/null", "rb") as stream, pytest.raises(PolicyError, match="stdin"):
        executor.run("print(1)", stdin=stream)


def test_a_client_is_pickled_and_closed(executor, request):
    if "pool" in request.node.callspec.id.split("-"):
        with pytest.raises(TypeError, match="connect"):
            pickle.dumps(executor)
        return
    with pickle.loads(pickle.dumps(executor)) as another:
        session = another.session()
        assert another.run("print(1)").stdout == "1\n"
        sessions = functools.partial(lambda: executor.stats().sessions)
        assert sessions() == 1
    for call in (lambda: another.run("1"), lambda: session.run("1"), another.stats):
        with pytest.raises(PoolClosed):
            call()
    another.close()
    wait_until(lambda: sessions() == 0)
    assert executor.run("print(2)").stdout == "2\n"
