"""The pool as a service: plain data in and out, sessions by id, counters; without Ray."""

import gc
import json
import os
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import wait_until

from interpreter_pool import (
    LimitExceeded,
    Limits,
    PolicyError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    Program,
    ProgramError,
    PythonExecutorService,
    Result,
    SessionLost,
    SetupError,
)
from interpreter_pool.pool.session_ids import SessionIds


@pytest.fixture
def service(tier):
    with PythonExecutorService(2, 5.0, tier=tier) as service:
        yield service


def test_a_program_is_a_dict(service):
    """execute takes code and gives JSON data, with TorchRL's keys among it."""
    result = service.execute("import sys; print('out'); print('err', file=sys.stderr)")
    assert (result["success"], result["returncode"]) == (True, 0)
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert json.loads(json.dumps(result)) == result
    failed = service.execute("raise ValueError('no')")
    assert (failed["success"], failed["returncode"], failed["reason"]) == (False, 1, "exception")
    assert "ValueError: no" in failed["stderr"]


def test_programs_come_as_data_too(service):
    """A mapping as of Program.from_dict, a Program, options and limits as plain data."""
    assert service.execute({"code": "print(input())", "stdin": "hello"})["stdout"] == "hello\n"
    assert service.execute(Program("print(1)"))["stdout"] == "1\n"
    assert service.execute(b"print(1)", id="a")["id"] == "a"
    limited = service.execute("while True: pass", limits={"wall_s": 0.3})
    assert limited["reason"] == "wall_timeout"
    assert service.execute("while True: pass", timeout=0.3)["reason"] == "wall_timeout"


def test_a_batch_is_one_call(service):
    """execute_many answers in order; if one program makes no sense, none is run."""
    programs = [f"print({number})" for number in range(30)]
    results = service.execute_many(programs)
    assert [each["stdout"] for each in results] == [f"{number}\n" for number in range(30)]
    runs = service.stats()["runs"]
    with pytest.raises(TypeError, match=r"programs\[2\]: code must be str or bytes, not int"):
        service.execute_many(["1", "2", 3])
    with pytest.raises(TypeError, match="must be a sequence of programs, not one"):
        service.execute_many("print(1)")
    with pytest.raises(TypeError, match=r"^programs must be a sequence of programs, not None"):
        service.execute_many(None)
    assert service.execute_many([]) == []
    assert service.stats()["runs"] == runs


def test_mistakes_are_told_in_the_callers_words(service):
    """Each names what was passed, as it was passed, and nothing is run."""
    nan = float("nan")
    for call, words in (
        (lambda: service.execute(3), "^code must be str or bytes, not int"),
        (lambda: service.execute("1", limits={"foo": 1}), "^limits: unknown 'foo'; there are wall"),
        (lambda: service.execute("1", limits={1: 1}), "^limits: unknown 1"),
        (lambda: service.execute("1", timeout=nan), "^timeout=nan"),
        (lambda: PythonExecutorService(1, nan), "^timeout=nan"),
        (lambda: PythonExecutorService(1, limits={"foo": 1}), "^limits: unknown 'foo'"),
        (lambda: service.judge_many(None), "^items must be a sequence of pairs"),
        (lambda: service.judge_many([1]), r"^items\[0\] must be a pair of a program"),
        (
            lambda: service.judge_many([("1", [{"kind": "x"}])]),
            r"^items\[0\]: cases\[0\]: kind='x'",
        ),
        (lambda: service.execute_in([], "1"), r"^session_id must be .* not \[\]"),
        (lambda: service.fork_session(None), "^session_id must be .* not None"),
        (lambda: service.close_session(1), "^session_id must be .* not 1"),
        (lambda: service.execute_in_many(None), "^chains must be a sequence of .* not None"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            call()
    assert service.stats()["runs"] == 0


def test_timeout_and_limits():
    """timeout wins over limits.wall_s; without it, the limits' own holds."""
    spin = "while True: pass"
    for options, wall_s in (
        ({"timeout": 0.3}, 0.3),
        ({"limits": Limits(wall_s=0.4)}, 0.4),
        ({"limits": {"wall_s": 30}, "timeout": 0.3}, 0.3),
    ):
        with PythonExecutorService(1, **options) as service:
            result = service.execute(spin)
            assert result["reason"] == "wall_timeout"
            assert wall_s <= result["wall_s"] < wall_s + 2
    with PythonExecutorService(1) as service:
        assert service.pool.limits.wall_s == 10


def test_many_callers_at_once(service):
    """Forty threads: each has its own program's answer."""
    with ThreadPoolExecutor(40) as executor:
        results = list(executor.map(service.execute, [f"print({n})" for n in range(160)]))
    assert [each["stdout"] for each in results] == [f"{n}\n" for n in range(160)]


def test_sessions_have_ids(service):
    """State persists, branches, goes back, begins anew; an id that is not there is SessionLost."""
    session = service.open_session(limits={"wall_s": 2}, history=4)
    assert service.execute_in(session, "x = 1; x")["value"] == "1"
    ended = service.execute_in(session, "x = 2\nwhile True: pass", timeout=0.3)
    assert (ended["reason"], ended["rolled_back"]) == ("wall_timeout", True)
    one = service.fork_session(session)
    two, three = service.fork_session(session, 2)
    assert len({session, one, two, three}) == 4
    assert service.stats()["sessions"] == 4
    service.execute_in(two, "x = 7")
    assert service.execute_in(three, "x")["value"] == "1"
    service.rollback_session(two)
    assert service.execute_in(two, "x")["value"] == "1"
    service.reset_session(two)
    assert service.execute_in(two, "'x' in globals()")["value"] == "False"
    for each in (session, one, two, three):
        service.close_session(each)
    assert service.stats()["sessions"] == 0
    for method in (service.close_session, service.rollback_session, service.fork_session):
        with pytest.raises(SessionLost, match="there is no session"):
            method(session)


def test_a_batch_of_sessions_is_one_call(service):
    """Each session's codes run in their order; one that is lost costs the others nothing."""
    ids = service.open_sessions(5, history=0)
    chains = [(each, [f"n = {number}", "n += 1; n"]) for number, each in enumerate(ids)]
    found = service.execute_in_many(chains)
    assert [results[1]["value"] for results in found] == ["1", "2", "3", "4", "5"]
    service.close_session(ids[0])
    found = service.execute_in_many([(each, ["n"]) for each in ids])
    assert found[0][0]["infra_error"]
    assert "there is no session" in found[0][0]["detail"]
    assert [results[0]["value"] for results in found[1:]] == ["2", "3", "4", "5"]
    service.close_sessions(ids)
    assert service.stats()["sessions"] == 0
    assert service.execute_in_many([]) == service.open_sessions(0) == []
    with pytest.raises(TypeError, match="n must be a whole number"):
        service.open_sessions("3")


def test_as_many_sessions_of_a_batch_run_at_once_as_there_are_workers():
    """Whatever their number: all calls are queued before the first is waited for."""
    size, queued = 100, []

    class Waiting:
        is_gone = False

        def submit(self, code: str) -> "Waiting":
            queued.append(code)
            return self

        def wait(self) -> Result:
            return Result.internal(str(len(queued)), tier="", queue_s=0.0)

    sessions = SessionIds(size)
    ids = [sessions.add(Waiting()) for _ in range(size)]
    found = sessions.run_chains([(each, ["1"]) for each in ids])
    assert [result.detail for (result,) in found] == [str(size)] * size


def test_programs_are_judged(service):
    """judge_many takes programs and cases as data, and gives verdicts as data."""
    cases = [
        {"kind": "stdio", "input": "2", "expected": "4"},
        {"kind": "call", "function": "double", "args": [3], "expected": 6},
    ]
    good = "def double(x): return 2 * x\nif __name__ == '__main__': print(double(int(input())))"
    verdicts = service.judge_many([(good, cases), ("print(4)", cases), ({"code": good}, cases[1:])])
    assert [verdict["passed"] for verdict in verdicts] == [True, False, True]
    assert json.loads(json.dumps(verdicts)) == verdicts
    with pytest.raises(ValueError, match="kind"):
        service.judge_many([(good, [{"kind": "nonsense"}])])


def test_programs_are_judged_by_rows(service):
    """A row in place of cases; one that can't be read, or judged, raises nothing and says why."""
    good = "def double(x): return 2 * x"
    rows = [
        {"test_list": ["assert double(2) == 4"]},
        {"answer": 3},
        {"test": "import unittest\n@patch('x')\ndef test(m): double(1)", "entry_point": "double"},
    ]
    cases = [{"kind": "call", "function": "double", "args": [3], "expected": 6}]
    items = [*((good, row) for row in rows), (good, cases)]
    verdicts = service.judge_many(items, timeout=5)
    assert json.loads(json.dumps(verdicts)) == verdicts
    assert [verdict["passed"] for verdict in verdicts] == [True, False, False, True]
    assert [verdict["shape"] for verdict in verdicts] == ["mbpp", "", "bigcodebench", ""]
    assert verdicts[1]["unjudged"].startswith("no column with cases")
    assert not verdicts[2]["conclusive"] and "the tests replace" in verdicts[2]["unjudged"]
    with pytest.raises(
        TypeError, match=r"items\[0\]: a program that is judged by a row must be its"
    ):
        service.judge_many([({"code": good}, rows[0])])


def test_sessions_that_are_forgotten_are_taken_away(tier):
    """Of a caller that died nothing stays: sessions that nobody uses are evicted, names too."""
    with PythonExecutorService(1, tier=tier, session_idle_s=0.5) as service:
        session = service.open_session()
        wait_until(lambda: service.stats()["sessions"] == 0, 20)
        with pytest.raises(SessionLost):
            service.execute_in(session, "1")
        kept = service.open_session()
        assert service.sessions.open_ids() == [kept]


def test_what_is_counted(service):
    """stats: runs by reason, times in buckets, workers, sessions; all of it JSON data."""
    service.execute_many(["1", "1 / 0", "raise SystemExit(3)", "import time; time.sleep(0.3)"])
    stats = service.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert stats["runs_by_reason"] == {"ok": 2, "exception": 1, "exit": 1}
    assert stats["workers"] == 2
    assert stats["run_s_buckets"]["+Inf"] == stats["queue_s_buckets"]["+Inf"] == 4
    assert stats["run_s_buckets"]["0.25"] == 3
    counts = list(stats["run_s_buckets"].values())
    assert counts == sorted(counts)


def test_cleanup_ends_everything():
    """Afterwards nothing is left (see the leak check), and calls say why they can't be."""
    service = PythonExecutorService(1)
    session = service.open_session()
    service.cleanup()
    service.cleanup()
    with pytest.raises(PoolClosed):
        service.execute("1")
    with pytest.raises(SessionLost):
        service.execute_in(session, "1")


def test_a_service_that_nobody_has_any_more_is_freed_with_its_sessions(tier):
    """Without `cleanup`, sessions or not: its pool is closed, and nothing stays (leak check)."""
    service = PythonExecutorService(1, tier=tier)
    service.execute_in(service.open_session(), "1")
    gone, folder = weakref.ref(service.pool), service.pool.engine.folder.path
    del service
    gc.collect()
    assert gone() is None
    assert not os.path.exists(folder)


def test_the_service_needs_no_ray():
    """Metrics import Ray in an actor only."""
    code = (
        "import sys; from interpreter_pool import PythonExecutorService\n"
        "with PythonExecutorService(1) as service: service.execute('1')\n"
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_errors_travel(pool):
    """Every error of ours is the same after pickling: type, text, and what it holds."""
    result = pool.run("1 / 0")
    for error in (
        ProgramError("ValueError", "no", "Traceback ...", result),
        LimitExceeded(result),
        SetupError("launch", "no such file"),
        SessionLost("this session is gone: its memory"),
        PoolFull("full"),
        PoolTimeout("late"),
        PoolClosed("closed"),
        PolicyError("fork: no"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_a_batch_with_a_program_too_large_is_refused_whole(service):
    """By the pool's limits, which only it knows: none of it is run."""
    programs = ["1"] * 10 + ["#" * 2000]
    with pytest.raises(ValueError, match=r"programs\[10\].*source_bytes"):
        service.execute_many(programs, limits={"source_bytes": 1000})
    assert service.stats()["runs"] == 0
    assert all(each["success"] for each in service.execute_many(programs[:10]))


def test_a_session_without_descriptors_costs_its_batch_nothing(service, monkeypatch):
    """It answers with an infra error, and so may the others: but they all answer."""
    session_id = service.open_session()

    def none_left():
        raise SetupError("descriptors", "too few")

    monkeypatch.setattr("interpreter_pool.pool.session.descriptors.require", none_left)
    (results,) = service.execute_in_many([(session_id, ["1", "2"])])
    assert [result["infra_error"] for result in results] == [True, True]
