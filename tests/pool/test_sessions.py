"""Many sessions of one pool: which of them has to go, what that says, and what is left."""

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref

import psutil
import pytest
from conftest import is_idle, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool import (
    LimitExceeded,
    Limits,
    PersistentPythonProcess,
    PolicyError,
    Pool,
    PoolFull,
    ProgramError,
    SessionLost,
)
from interpreter_pool.pool import sessions


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


@pytest.fixture
def session(pool):
    with pool.session() as session:
        yield session


# ---- eviction


@pytest.mark.parametrize("closed", ["0", "1", "2", "0, 1", "1, 2", "0, 1, 2"])
@pytest.mark.parametrize("rollback", [True, False], ids=["with rollback", "in place"])
def test_streams_that_were_closed_are_there_again(pool, closed, rollback):
    """In the next call, in earlier states, and in branches: input, output and values arrive."""
    ask = "import sys; print(input()); print('e', file=sys.stderr); x"
    with pool.session(rollback=rollback, history=3 if rollback else 0) as session:
        session.run("import os; x = 1")
        session.run(f"[os.close(fd) for fd in ({closed},)]")
        for _ in range(2):
            result = session.run(ask, stdin="in")
            assert (result.stdout, result.stderr, result.value) == ("in\n", "e\n", "1"), result
        with session.fork() as branch:
            assert branch.run(ask, stdin="in").stdout == "in\n"
        if rollback:
            session.rollback(2)
        result = session.run(ask, stdin="in")
        assert (result.stdout, result.stderr, result.value) == ("in\n", "e\n", "1"), result


def test_the_one_goes_that_was_used_longest_ago(tier):
    """Over `max_sessions`; it says so, and `reset` gives it a place again."""
    with Pool(1, tier=tier, max_sessions=3) as pool:
        sessions = [pool.session() for _ in range(3)]
        for number in (0, 2, 1, 0):
            value(sessions[number], f"x = {number}")
        newer = pool.session()
        with pytest.raises(SessionLost, match=r"evicted: the pool has max_sessions=3.*reset"):
            sessions[2].run("x")
        with pytest.raises(SessionLost, match="max_sessions=3"):
            sessions[2].call("f")
        for use in (sessions[2].fork, sessions[2].rollback):
            with pytest.raises(SessionLost, match="evicted"):
                use()
        assert [value(sessions[n], "x") for n in (0, 1)] == ["0", "1"]
        stats = pool.stats()
        assert (stats.sessions, stats.sessions_evicted) == (3, 1)
        sessions[2].reset()  # newer was never used
        assert value(sessions[2], "1") == "1"
        with pytest.raises(SessionLost):
            newer.run("1")
        assert (pool.stats().sessions, pool.stats().sessions_evicted) == (3, 2)
        for each in (*sessions, newer):
            each.close()
        assert pool.stats().sessions == 0


def test_branches_count_and_never_evict_each_other(tier):
    """A fork that does not fit is refused and leaves everything as it was."""
    with Pool(1, tier=tier, max_sessions=3) as pool:
        one, other = pool.session(), pool.session()
        value(one, "x = 1")
        value(other, "x = 2")
        with pytest.raises(PoolFull, match="max_sessions=3"):
            one.fork(4)
        assert [value(one, "x"), value(other, "x")] == ["1", "2"]
        branches = one.fork(2)  # the other goes
        assert [value(each, "x") for each in (one, *branches)] == ["1"] * 3
        with pytest.raises(SessionLost):
            other.run("x")


def test_what_is_in_use_is_not_evicted(tier):
    """Where all are, one more is refused, by name."""
    with Pool(2, tier=tier, max_sessions=1) as pool:
        session = pool.session()
        began = threading.Event()
        code = "print(1)\nimport time; time.sleep(0.7)"
        thread = threading.Thread(
            target=session.run, args=(code,), kwargs={"on_output": lambda *_: began.set()}
        )
        thread.start()
        assert began.wait(10)
        with pytest.raises(PoolFull, match="max_sessions=1 are in use"):
            pool.session()
        with pytest.raises(PoolFull):
            session.fork()
        thread.join()
        pool.session().close()
        with pytest.raises(SessionLost):
            session.run("1")


def test_idle_sessions_go_after_their_time(tier):
    """One that is used stays; stats count what was evicted."""
    with Pool(2, tier=tier, session_idle_s=0.6) as pool:
        idle, used, busy = (pool.session() for _ in range(3))
        value(used, "n = 0")
        thread = threading.Thread(target=busy.run, args=("import time; time.sleep(1.2); x = 1",))
        thread.start()
        for _ in range(8):
            value(used, "n += 1")
            time.sleep(0.2)
        with pytest.raises(SessionLost, match=r"idle for session_idle_s=0\.6"):
            idle.run("1")
        thread.join()
        assert value(busy, "x") == "1"
        assert value(used, "n") == "8"
        assert pool.stats().sessions_evicted == 1
        wait_until(lambda: pool.stats().sessions == 0)


def test_a_failure_in_looking_after_sessions_is_not_the_last_look(tier, monkeypatch):
    """One that can't be ended now does not keep others from being ended later."""
    failed = []

    def fail_once(session: object, why: str, **options: object) -> bool:
        if not failed:
            failed.append(session)
            raise OSError("too many open files")
        return evict(session, why, **options)

    evict = sessions.SessionProcesses.evict
    monkeypatch.setattr(sessions.SessionProcesses, "evict", fail_once)
    with Pool(1, tier=tier, session_idle_s=0.2) as pool:
        pool.session()
        wait_until(lambda: pool.stats().sessions == 0)
    assert failed


def test_one_session_that_fails_to_end_leaves_nothing_else_open(tier, monkeypatch):
    """`close` raises what it raised, when all the rest is closed (see the leak check)."""
    failed = []

    def fail_once(session: object, why: str, **options: object) -> None:
        drop(session, why, **options)
        if not failed:
            failed.append(session)
            raise OSError("too many open files")

    drop = sessions.SessionProcesses.drop
    pool = Pool(1, tier=tier)
    pool.session(), pool.session()
    with pool.snapshot("x = 1") as snapshot:
        snapshot.run("x")
    monkeypatch.setattr(sessions.SessionProcesses, "drop", fail_once)
    with pytest.raises(OSError, match="too many open files"):
        pool.close()
    assert failed
    assert not any(worker.is_alive for worker in pool.engine.workers)
    assert not os.path.exists(pool.engine.folder.path)


@pytest.mark.parametrize("made", ["session", "function", "process"])
def test_a_pool_that_nobody_has_any_more_is_freed_with_its_sessions(tier, made):
    """Also where none of them was closed: nothing stays (see the leak check)."""
    pool = Pool(1, tier=tier)
    if made == "session":
        kept = pool.session()
        kept.fork()
    elif made == "function":
        kept = pool.function("def f(): pass", "f", shared_load=True)
    else:
        kept = PersistentPythonProcess(pool=pool)
    gone, folder = weakref.ref(pool), pool.engine.folder.path
    del pool
    gc.collect()
    assert gone() is not None, "whoever has a session can use it"
    del kept
    gc.collect()
    assert gone() is None
    assert not os.path.exists(folder)


def test_a_memory_budget_is_kept(tier):
    """The one used longest ago goes when all together hold too much; the others stay."""
    with Pool(1, tier=tier, session_memory_bytes=150 << 20) as pool:
        sessions = [pool.session(history=0) for _ in range(3)]
        for number, each in enumerate(sessions[:2]):
            value(each, f"x = bytes([{number}]) * (50 << 20)\nNone")
        wait_until(lambda: pool.stats().session_bytes > 90 << 20)
        assert pool.stats().sessions_evicted == 0
        value(sessions[2], "x = bytes([2]) * (80 << 20)\nNone")
        wait_until(lambda: pool.stats().sessions_evicted == 1)
        with pytest.raises(SessionLost, match=f"session_memory_bytes={150 << 20}"):
            sessions[0].run("len(x)")
        assert [value(each, "x[0]") for each in sessions[1:]] == ["1", "2"]
        wait_until(lambda: 0 < pool.stats().session_bytes < 150 << 20)


def test_a_session_that_holds_more_than_its_share_goes_first(tier):
    """However long ago the others were used; one that is in use goes when its call has ended."""
    limits = Limits(memory_bytes=128 << 20)
    with Pool(2, tier=tier, session_memory_bytes=90 << 20, limits=limits) as pool:
        small = [pool.session(history=0) for _ in range(4)]
        greedy, busy = pool.session(history=0), pool.session(history=0)
        for each in (*small, greedy, busy):
            value(each, "x = 1")
        assert greedy.run("kept = bytearray(b'x') * (100 << 20)").ok
        wait_until(lambda: pool.stats().sessions_evicted == 1)
        assert busy.run("kept = bytearray(b'x') * (100 << 20); import time; time.sleep(1.5)").ok
        wait_until(lambda: pool.stats().sessions_evicted == 2)
        for each in (greedy, busy):
            with pytest.raises(SessionLost, match=f"session_memory_bytes={90 << 20}"):
                each.run("x")
        assert [value(each, "x") for each in small] == ["1"] * 4


def test_what_a_branch_has_from_a_session_that_has_ended_is_counted(pool):
    """Nothing of it is forgotten before it is gone, nor left behind when it is."""
    with pool.session() as session:
        value(session, "kept = bytearray(b'x') * (40 << 20)")
        branch = session.fork()
    assert value(branch, "len(kept) >> 20") == "40"
    assert pool.stats().session_bytes > 40 << 20
    branch.close()
    wait_until(lambda: pool.stats().session_bytes < 40 << 20)


def test_estimates_come_near_what_a_cgroup_counts(tier):
    """Where there is none, the budget is kept by them."""
    with Pool(1, tier=tier) as pool:
        pool.session().close()
        fork_server = pool.engine.families.fork_server()
        if fork_server.group is None:
            pytest.skip("no cgroup can be made here")
        before = fork_server.held_bytes()
        sessions = [pool.session(history=2) for _ in range(8)]
        for number, each in enumerate(sessions):
            value(each, f"x = [bytes(1000) for _ in range({number} * 1000)]\nNone")
            value(each, "y = 1")
        counted = fork_server.held_bytes() - before
        parts = sum(each.held.held_bytes() for each in sessions)  # family inits are not theirs
        assert counted / 2 < parts < counted
        for state in (state for each in sessions for state in each.states()):
            state.group = None
        assert counted / 2 < sum(each.held.held_bytes() for each in sessions) < counted * 2


@pytest.mark.parametrize("name", ["max_sessions", "session_idle_s", "session_memory_bytes"])
def test_limits_that_make_no_sense_are_refused(name):
    """The error names the argument."""
    for wrong, error in ((-1, ValueError), ("x", TypeError), (True, TypeError)):
        with pytest.raises(error, match=name):
            Pool(1, **{name: wrong})


def test_many_threads_never_make_more_than_there_may_be(tier):
    """`max_sessions` holds while sessions are made, forked, reset and closed at once."""
    with Pool(2, tier=tier, max_sessions=4) as pool:
        most, wrong, ended = [0], [], threading.Event()

        def watch() -> None:
            while not ended.is_set():
                most[0] = max(most[0], pool.stats().sessions)
                time.sleep(0.001)

        def work(number: int) -> None:
            for turn in range(6):
                try:
                    session = pool.session(history=1)
                    session.run(f"x = {number, turn}")
                    for each in session.fork(2) if turn % 2 else [session]:
                        if each.run("x").value != str((number, turn)):
                            wrong.append(each)
                    session.reset()
                    session.close()
                except (PoolFull, SessionLost):
                    continue

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        watcher = threading.Thread(target=watch)
        for thread in (watcher, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        watcher.join()
        assert not wrong
        assert most[0] <= 4


# ---- in place, calls, limits


def test_in_place_nothing_is_forked(pool):
    """The process stays the same; an exception keeps what was done, as ever."""
    with pool.session(rollback=False) as session:
        value(session, "import os\npid = os.getpid()\nx = [1]")
        assert value(session, "os.getpid() == pid") == "True"
        assert session.run("x.append(2)\n1/0").reason == "exception"
        assert value(session, "x") == "[1, 2]"
        with pytest.raises(ValueError, match="history=0"):
            session.rollback()
        branch = session.fork()
        assert value(branch, "x.append(3)\nx") == "[1, 2, 3]"
        branch.close()
        value(session, "import threading\nevent = threading.Event()")
        value(session, "threading.Thread(target=event.wait, daemon=True).start()")
        assert value(session, "threading.active_count()") == "2"
        with pytest.raises(PolicyError, match="threads"):
            session.fork()
        assert value(session, "event.set()\nx") == "[1, 2]"


def test_in_place_a_call_that_is_ended_takes_the_session_along(pool):
    """It says with what it ended; `reset` begins anew, and the branches live on."""
    for code, reason in (("while True: pass", "wall_timeout"), ("os._exit(0)", "ok")):
        with pool.session(rollback=False) as session:
            value(session, "import os\nx = 1")
            with session.fork() as branch:
                result = session.run(code, timeout=0.3)
                assert (result.reason, result.rolled_back) == (reason, False)
                with pytest.raises(SessionLost, match=f"ended with {reason}.*reset"):
                    session.run("x")
                assert value(branch, "x") == "1"
            session.reset()
            assert session.run("x").exception.type == "NameError"


def test_reset_begins_anew(session):
    """No name, no file, no history; the branches are not touched."""
    value(session, "x = 1\nopen('f', 'w').write('x')\nimport os")
    branch = session.fork()
    session.reset()
    assert session.run("x").exception.type == "NameError"
    assert value(session, "import os; os.listdir('.')") == "[]"
    with pytest.raises(ValueError, match="steps=3"):
        session.rollback(3)
    assert value(branch, "x, open('f').read()") == "(1, 'x')"
    branch.close()
    session.close()
    with pytest.raises(SessionLost, match="closed"):
        session.reset()


CALLS = """
calls = []
def count(*args, **kwargs):
    calls.append(1)
    return len(calls), args, kwargs
def fail():
    calls.append(1)
    raise LookupError("mine")
def spin():
    calls.append(1)
    while True: pass
def odd(what):
    return {"cyclic": (x := []).append(x) or x, "object": object, "deep": deep}[what]
deep = []
for _ in range(100_000): deep = [deep]
"""


def test_a_call_carries_data_and_state_persists(tier):
    """Arguments and results as for functions; a limit leaves the state as before."""
    with Pool(1, tier=tier, limits=Limits(wall_s=0.5)) as pool, pool.session() as session:
        value(session, CALLS)
        assert session.call("count", 1, (2,), key={"k": b"v"}) == (
            1,
            (1, (2,)),
            {"key": {"k": b"v"}},
        )
        assert session.call("count")[0] == 2
        with pytest.raises(ProgramError, match="mine") as caught:
            session.call("fail")
        assert 'raise LookupError("mine")' in caught.value.traceback
        assert session.call("count")[0] == 4
        with pytest.raises(LimitExceeded) as caught:
            session.call("spin")
        assert (caught.value.reason, caught.value.result.rolled_back) == ("wall_timeout", True)
        assert session.call("count")[0] == 5
        session.rollback(2)
        assert value(session, "len(calls)") == "3"


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("odd", "cyclic"), ProgramError, "cyclic"),
        (("odd", "object"), ProgramError, "no plain data"),
        (("odd", "deep"), ProgramError, "nested deeper"),
        (("nowhere",), ProgramError, "NameError"),
        (("calls",), ProgramError, "not callable"),
        (("count", object()), TypeError, "no plain data"),
        (("f(1)",), ValueError, "name="),
        ((3,), TypeError, "name"),
    ],
)
def test_bad_calls_are_clear_errors(session, arguments, error, words):
    """And the session is intact."""
    value(session, CALLS)
    with pytest.raises(error, match=words):
        session.call(*arguments)
    assert session.call("count")[0] == 1


def test_a_calls_limits_are_its_own(session):
    """Of time and output; what else differs is refused by name, and unknown options, too."""
    own = session.limits
    assert session.run("print('x' * 99)", limits=own.replace(output_bytes=10)).reason == "output"
    assert session.run("while True: pass", limits=own.replace(cpu_s=0.2)).reason == "cpu_timeout"
    assert session.run("while True: pass", timeout=0.2).reason == "wall_timeout"
    with pytest.raises(PolicyError, match="memory_bytes"):
        session.run("1", limits=own.replace(memory_bytes=16 << 20))
    with pytest.raises(TypeError, match="'args'"):
        session.run("1", args=("x",))
    with pytest.raises(TypeError, match="limits"):
        session.run("1", limits=3)
    assert value(session, "1") == "1"


def test_a_callback_that_raises_ends_its_call(session):
    """Its error is raised here, and the state is as before."""
    value(session, "x = 1")

    def on_output(stream, data) -> None:
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        session.run("x = 2\nprint(1)\nwhile True: pass", on_output=on_output)
    assert value(session, "x") == "1"


# ---- functions that are loaded once


SOURCE = """
import os, random
calls = []
open("made", "w").write("once")
def count():
    calls.append(1)
    return len(calls)
def leave_and_look():
    found = sorted(os.listdir("."))
    open("left", "w").write("x")
    return found
def draw():
    return random.random()
def order(numbers):
    calls.append(1)
    return sorted(numbers), len(calls)
def spin():
    while True: pass
def crash():
    os.abort()
"""


def test_a_function_that_is_loaded_once_counts_to_one(pool):
    """S4: every call is a fork of the load: memory, files, randomness are its own."""
    with pool.function(SOURCE, "count", shared_load=True) as count:
        assert [count() for _ in range(5)] == [1] * 5
    with pool.function(SOURCE, "leave_and_look", shared_load=True) as look:
        assert [look() for _ in range(3)] == [["made"]] * 3
    with pool.function(SOURCE, "draw", shared_load=True) as draw:
        assert len({draw() for _ in range(4)}) == 4
    with pytest.raises(SessionLost, match="closed"):
        draw()


def test_a_function_that_is_loaded_once_is_called_from_many_threads(pool):
    """Each call counts to one, whatever the others do."""
    with pool.function(SOURCE, "order", shared_load=True) as order:
        wrong = []

        def work(number: int) -> None:
            for turn in range(5):
                if order([turn, number, 0]) != (sorted([turn, number, 0]), 1):
                    wrong.append((number, turn))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.fixture(scope="module")
def order(pool):
    with pool.function(SOURCE, "order", shared_load=True) as order:
        yield order


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.integers(), max_size=20))
def test_a_loaded_function_is_fuzzed_like_any_other(order, numbers):
    """S4, inside @given: its answer is right, and it has never been called before."""
    assert order(numbers) == (sorted(numbers), 1)


def test_ends_of_a_loaded_function(pool):
    """A limit and a crash are those of one call; a load that fails, is too slow, or can't be shared
    is refused at once.
    """
    with pool.function(SOURCE, "spin", shared_load=True, timeout=0.3) as spin:
        for _ in range(2):
            with pytest.raises(LimitExceeded, match="wall_timeout"):
                spin()
    with pool.function(SOURCE, "crash", shared_load=True) as crash:
        with pytest.raises(ProgramError, match="SIGABRT"):
            crash()
    with pytest.raises(ProgramError, match="ZeroDivisionError"):
        pool.function("1/0", "f", shared_load=True)
    with pytest.raises(LimitExceeded, match="wall_timeout"):
        pool.function("while True: pass", "f", shared_load=True, limits=Limits(wall_s=0.3))
    with pytest.raises(PolicyError, match="descriptor"):
        pool.function("kept = open('x', 'w')", "f", shared_load=True)
    with pytest.raises(PolicyError, match="stdin"):
        pool.function("def f(): pass", "f", shared_load=True, stdin="x")
    before = pool.stats().sessions
    with pytest.raises(ValueError, match="name="):
        pool.function("def f(): pass", "f(", shared_load=True)
    assert pool.stats().sessions == before


def test_a_loaded_function_that_was_evicted_is_loaded_again(tier):
    """Its callers don't notice."""
    with Pool(2, tier=tier, session_idle_s=0.3) as pool:
        with pool.function(SOURCE, "count", shared_load=True) as count:
            assert count() == 1
            wait_until(lambda: pool.stats().sessions == 0)
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(count())) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == [1] * 4


# ---- what dies, and what is left


def test_when_the_jail_of_sessions_is_killed(tier):
    """Its sessions say that they are lost, `reset` and new ones work, runs don't notice."""
    with Pool(2, tier=tier) as pool:
        sessions = [pool.session() for _ in range(3)]
        value(sessions[0], "x = 1")
        branch = sessions[0].fork()
        states = [each.held.head.pid for each in (*sessions, branch)]
        os.kill(pool.engine.families.fork_server().zygote_pid, signal.SIGKILL)
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in states))
        assert pool.run("print(1)").ok
        began = time.monotonic()
        for each in (*sessions, branch):
            with pytest.raises(SessionLost, match="gone"):
                each.run("x")
        for use in (sessions[0].fork, sessions[1].rollback, lambda: sessions[2].call("f")):
            with pytest.raises(SessionLost, match="gone"):
                use()
        assert time.monotonic() - began < 5
        with pool.session() as new:
            assert value(new, "1 + 1") == "2"
        sessions[0].reset()
        assert value(sessions[0], "2 + 2") == "4"
        assert pool.stats().sessions == 1


def test_a_killed_jail_of_sessions_is_noticed_by_a_call_under_way(tier):
    """It ends at once, with `SessionLost`."""
    with Pool(1, tier=tier) as pool, pool.session() as session:

        def on_output(stream, data) -> None:
            os.kill(pool.engine.families.fork_server().zygote_pid, signal.SIGKILL)

        began = time.monotonic()
        with pytest.raises(SessionLost):
            session.run("print(1)\nimport time; time.sleep(30)", on_output=on_output)
        assert time.monotonic() - began < 5
        assert pool.run("print(1)").ok


def test_when_a_family_init_is_killed_its_family_is_lost_and_no_other(tier):
    """One family's end is nobody else's."""
    with Pool(1, tier=tier) as pool, pool.session() as one, pool.session() as other:
        value(one, "x = 1")
        value(other, "x = 2")
        branch = one.fork()
        os.kill(one.held.family.pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{one.held.head.pid}"))
        for each in (one, branch):
            with pytest.raises(SessionLost):
                each.run("x")
        assert value(other, "x") == "2"
        branch.close()


@pytest.mark.slow
def test_hundreds_of_parked_sessions(tier):
    """150 sessions and 150 branches answer, each with its own state; closed, nothing is left."""
    with Pool(2, tier=tier) as pool:
        pool.session().close()
        wait_until(lambda: is_idle(pool))
        before = things()
        sessions = [pool.session(history=0) for _ in range(150)]
        for number, each in enumerate(sessions):
            each.run(f"x = {number}")
        branches = [branch for each in sessions[:15] for branch in each.fork(10)]
        assert pool.stats().sessions == 300
        assert pool.stats().session_bytes > 300 * 50_000
        assert [each.run("x").value for each in sessions] == [str(n) for n in range(150)]
        assert [each.run("x").value for each in branches] == [str(n // 10) for n in range(150)]
        for each in (*sessions, *branches):
            each.close()
        wait_until(lambda: all(now <= was for now, was in zip(things(), before, strict=True)))
        assert pool.stats().sessions == 0


def things() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))


DESCRIPTORS = """
import resource, sys
from interpreter_pool import Pool
from interpreter_pool import SetupError
hard = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
with Pool(1, tier=sys.argv[1]) as pool:
    sessions = []
    try:
        while len(sessions) < 60:
            sessions.append(pool.session(history=0))
    except SetupError as error:
        print(len(sessions), error)
    else:
        print(len(sessions), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        sys.exit()
    for each in sessions[:5]:
        each.close()
    print(sessions[5].run("1 + 1").value, pool.session().run("2 + 2").value, pool.run("print(1)").stdout)
"""


def test_descriptors_are_made_room_for(tier):
    """This process's soft limit is raised to the hard one when sessions need it; where that is not
    enough, the error names the way out, and the others go on.
    """

    def run(hard: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", DESCRIPTORS, tier, str(hard)], capture_output=True, text=True
        )
        assert done.returncode == 0, done
        return done.stdout

    assert run(2000) == "60 2000\n"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 64
    first, second, *_ = run(120).splitlines()
    assert "may have 120 open" in first
    assert "ulimit" in first
    assert second == "2 4 1"


def test_asyncio_drives_many_sessions(pool):
    """`arun` of several sessions at once, each with its own answer."""

    async def drive() -> list[str | None]:
        sessions = [pool.session(history=0) for _ in range(6)]
        results = await asyncio.gather(*(s.arun(f"{n} * 2") for n, s in enumerate(sessions)))
        for each in sessions:
            each.close()
        return [each.value for each in results]

    assert asyncio.run(drive()) == [str(2 * n) for n in range(6)]
