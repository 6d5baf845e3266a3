"""Sessions: state persists, is rolled back when a call is ended, and branches share nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import psutil
import pytest
from conftest import SOON_S, is_idle, wait_until, without_threads

from interpreter_pool import Limits, Pool, PoolClosed, PoolTimeout, SessionLost
from interpreter_pool.sandbox.session.call import _Outcome


@pytest.fixture
def session(pool):
    with pool.session() as session:
        yield session


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


def test_state_persists_as_at_a_prompt(session):
    """Names, functions, classes, imports, generators; a last expression is the value."""
    assert session.run("x = 1\nprint('out')").stdout == "out\n"
    assert value(session, "x + 1") == "2"
    assert value(session, "_") == "2"
    value(session, "import math\ndef f(n): return 1 if n < 1 else n * f(n - 1)")
    assert (
        value(session, "f(5), math.floor(1.5), [f(n) for n in range(3)]") == "(120, 1, [1, 1, 2])"
    )
    value(session, "def count():\n    n = 0\n    while True: yield n; n += 1\ng = count(); next(g)")
    assert value(session, "next(g)") == "1"
    value(
        session, "import dataclasses, pickle\n@dataclasses.dataclass\nclass Point:\n    x: int = 0"
    )
    assert value(session, "pickle.loads(pickle.dumps(Point(3)))") == "Point(x=3)"
    value(session, "import asyncio\nasync def later(): return 7")
    assert value(session, "asyncio.run(later())") == "7"
    assert value(session, "None") is None
    assert value(session, "x = 5") is None
    value(session, "from __future__ import annotations")
    assert value(session, "def a(x: nowhere): pass\na.__annotations__") == "{'x': 'nowhere'}"


def test_tracebacks_show_the_lines_of_earlier_calls(session):
    """And nothing of ours; `inspect.getsource` finds a function's source."""
    value(session, "def divide(a):\n    return a / 0  # here")
    result = session.run("divide(1)")
    assert (result.reason, result.exit_code) == ("exception", 1)
    assert "return a / 0  # here" in result.stderr
    assert "divide(1)" in result.stderr
    assert "guest" not in result.stderr
    assert result.exception.type == "ZeroDivisionError"
    assert "# here" in value(session, "import inspect\ninspect.getsource(divide)")


def test_an_exception_keeps_what_was_done_before_it(session):
    """As a prompt does; so does SystemExit, which ends the call and not the session."""
    assert session.run("y = 1\n1/0\ny = 2").reason == "exception"
    assert value(session, "y") == "1"
    result = session.run("y = 3\nraise SystemExit(4)")
    assert (result.reason, result.exit_code, result.rolled_back) == ("exit", 4, False)
    assert session.run("import sys; sys.exit()").reason == "ok"
    assert value(session, "y") == "3"
    assert session.run("def f(:").exception.type == "SyntaxError"
    assert session.run("'\0'").exception.type == "SyntaxError"
    assert session.run("raise KeyboardInterrupt").reason == "exception"
    assert value(session, "y") == "3"


ENDS = [
    ("while True: pass", {"timeout": 0.3}, "wall_timeout"),
    ("import os; os._exit(0)", {}, "ok"),
    ("import os; os._exit(7)", {}, "exit"),
    ("import os; os.abort()", {}, "signal"),
    ("import ctypes; ctypes.string_at(0)", {}, "signal"),
    ("x = bytearray(1 << 40)", {}, "memory"),
    ("b = []\nwhile True: b.append(bytearray(1 << 20))", {}, "memory"),
    ("while True: print('x' * 9999)", {}, "output"),
    ("import signal, os; os.kill(os.getpid(), signal.SIGKILL)", {}, "signal"),
]


@pytest.mark.parametrize("code, options, reason", ENDS)
def test_a_call_that_is_ended_leaves_nothing_of_it(session, code, options, reason):
    """The state is exactly as before, and the result says so."""
    value(session, "x = [1]\nimport os\npid = os.getpid()")
    result = session.run("x.append(2)\nprint('seen', flush=True)\n" + code, **options)
    assert (result.reason, result.rolled_back) == (reason, True), result
    assert result.stdout.startswith("seen\n")
    assert value(session, "x") == "[1]"


def test_a_cpu_limit_ends_a_call(pool):
    """Each call has its own CPU time."""
    with pool.session(limits=Limits(cpu_s=0.3)) as session:
        for _ in range(3):
            value(session, "import time\nwhile time.process_time() < 0.15: pass")
        result = session.run("while True: pass")
        assert (result.reason, result.rolled_back) == ("cpu_timeout", True)
        assert result.cpu_s < 1


def test_rollback_goes_back_call_by_call(session):
    """To any earlier state that is kept, but no further; memory only, not files."""
    for number in range(4):
        value(session, f"x = {number}\nopen('f', 'w').write(str(x))\nNone")
    session.rollback()
    assert value(session, "x") == "2"
    session.rollback(2)
    assert value(session, "x, open('f').read()") == "(1, '3')"
    with pytest.raises(ValueError, match="steps=9"):
        session.rollback(9)
    for steps in (0, -1):
        with pytest.raises(ValueError, match="steps"):
            session.rollback(steps)
    with pytest.raises(TypeError, match="steps"):
        session.rollback("all")
    assert value(session, "x") == "1"


def test_history_is_bounded(pool):
    """No more states are parked than asked for."""
    with pool.session(history=2) as session:
        for number in range(6):
            value(session, f"x = {number}")
        assert repr(session) == "<Session 2 back>"
        session.rollback(2)
        assert value(session, "x") == "3"
    with pool.session(history=0) as session:
        value(session, "x = 1")
        assert session.run("x = 2; import os; os.abort()").rolled_back
        assert value(session, "x") == "1"
        with pytest.raises(ValueError, match="history=0"):
            session.rollback()


def test_random_numbers_go_on_and_come_again_after_a_rollback(session):
    """The generator is part of the state."""
    value(session, "import random")
    first = value(session, "random.random()")
    assert value(session, "random.random()") != first
    session.rollback(2)
    assert value(session, "random.random()") == first


def test_input_is_each_calls_own(session):
    """What one call did not read is not there for the next."""
    assert value(session, "input()", stdin="a\nb\nc\n") == "'a'"
    assert value(session, "import sys; sys.stdin.read()", stdin="new") == "'new'"
    assert session.run("input()").exception.type == "EOFError"


def test_output_comes_as_it_is_written(session):
    """`on_output` sees it, within the cap."""
    pieces = []
    session.run("print(1)", on_output=lambda stream, data: pieces.append((stream, data)))
    assert b"".join(data for _, data in pieces) == b"1\n"


def test_parked_states_do_not_run(session):
    """A timer of the program's does not fire between two calls."""
    value(
        session,
        "import signal\nfired = []\nsignal.signal(signal.SIGALRM, lambda *_: fired.append(1))",
    )
    value(session, "signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)\nNone")
    time.sleep(0.2)
    assert value(session, "fired") == "[]"
    assert value(session, "signal.raise_signal(signal.SIGALRM)\nfired") == "[1]"


def test_a_session_makes_no_process_and_signals_nobody(session):
    """S3: forks and signals are the host's to allow, and it allows neither."""
    code = (
        "import os, signal\n"
        "def refused(step):\n"
        "    try: step()\n"
        "    except (PermissionError, ProcessLookupError, BlockingIOError): return True\n"
        "refused(os.fork), refused(lambda: os.kill(os.getppid(), 9)), refused(lambda: os.kill(1, 9)),"
        " refused(lambda: os.kill(-1, 9)), refused(lambda: os.kill(0x7ffffff1, 0)),"
        " [refused(lambda: os.kill(pid, 9)) for pid in range(2, 300) if pid != os.getpid()].count(None)"
    )
    assert value(session, code) == "(True, True, True, True, True, 0)"
    assert value(session, "os.kill(os.getpid(), 0)") is None
    assert value(session, "1") == "1"


def test_asking_without_end_stops_no_clock(session):
    """A program whose threads do nothing but ask the host is ended in time."""
    code = (
        "import os, threading\n"
        "def ask():\n"
        "    while True:\n"
        "        try: os.kill(1, 0)\n"
        "        except OSError: pass\n"
        "for _ in range(8): threading.Thread(target=ask).start()\n"
        "ask()"
    )
    began = time.monotonic()
    result = session.run(code, timeout=0.5)
    assert (result.reason, result.rolled_back) == ("wall_timeout", True)
    assert time.monotonic() - began < SOON_S
    assert value(session, "1") == "1"


def test_many_calls_at_once_take_turns(session):
    """Threads that share a session each get their own answer, in some order."""
    value(session, "n = 0")
    answers = []

    def work() -> None:
        answers.append(int(value(session, "n += 1\nn")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 9))


def test_sessions_share_nothing(pool):
    """Neither names nor files nor processes."""
    with pool.session() as one, pool.session() as other:
        value(one, "x = 1\nopen('a', 'w').write('one')\nNone")
        assert other.run("x").exception.type == "NameError"
        assert value(other, "import os; os.listdir('.')") == "[]"
        assert value(one, "open('a').read()") == "'one'"
        value(one, "path = __import__('os').getcwd() + '/a'")
        if pool.tier == "landlock":
            path = value(one, "path").strip("'")
            assert other.run(f"open({path!r})").exception.type == "PermissionError"


def test_asyncio(session):
    """`arun` is `run`, awaited; a task that is cancelled kills its call, and the state is kept."""
    assert asyncio.run(session.arun("x = 1; 1 + 1")).value == "2"

    async def give_up():
        await asyncio.wait_for(session.arun("x = 2\nwhile True: pass", timeout=60), 0.5)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert value(session, "x") == "1"
    assert time.monotonic() - began < 5


def test_asyncio_needs_no_thread_of_the_loops(session):
    """As many calls run at once as the pool has workers, however few threads asyncio has."""
    assert asyncio.run(without_threads(session.arun("1 + 1"))).value == "2"
    with pytest.raises(TypeError, match="stdn"):
        asyncio.run(without_threads(session.arun("1", stdn="")))


def test_asyncio_keeps_the_order(session):
    """Calls that are awaited together are made in the order in which they were begun."""
    value(session, "seen = []")

    async def main():
        await asyncio.gather(*(session.arun(f"seen.append({n})") for n in range(10)))

    asyncio.run(without_threads(main()))
    assert value(session, "seen") == str(list(range(10)))


def test_threads_and_asyncio_take_turns(session):
    """Calls of threads and of two loops at once each have their answer."""
    value(session, "n = 0")
    answers = []

    def work(number: int) -> None:
        for _ in range(4):
            if number % 2:
                answers.append(int(value(session, "n += 1\nn")))
            else:
                answers.append(int(asyncio.run(session.arun("n += 1\nn")).value))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 17))


def test_closing_ends_what_asyncio_awaits(pool):
    """Of a closed session the call under way is cancelled, and those that wait are refused."""

    async def main():
        session = pool.session()
        calls = [asyncio.create_task(session.arun("while True: pass")) for _ in range(3)]
        while not pool.stats().workers_busy:
            await asyncio.sleep(0.01)
        session.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, *others = asyncio.run(main())
    assert (first.reason, first.rolled_back) == ("cancelled", True)
    assert [type(each) for each in others] == [SessionLost] * 2


def test_a_loop_that_ended_while_it_waited_keeps_nobody_else_waiting(session):
    """A call that was awaited in a loop that is closed now does not hold its place for ever."""
    under_way = threading.Thread(target=session.run, args=("import time; time.sleep(0.5)",))
    under_way.start()
    wait_until(lambda: session.held.turns.is_busy)
    loop = asyncio.new_event_loop()
    task = loop.create_task(session.arun("1"))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert asyncio.run(session.arun("2")).value == "2"
    under_way.join()
    task._log_destroy_pending = False


def test_closed_sessions_say_so(pool):
    """A closed session, and one whose pool is closed, raise; closing twice is fine."""
    session = pool.session()
    session.close()
    session.close()
    for use in (lambda: session.run("1"), session.rollback):
        with pytest.raises(SessionLost, match="closed"):
            use()
    with Pool(1, tier=pool.tier) as other:
        session = other.session()
        value(session, "x = 1")
    with pytest.raises(SessionLost, match="pool was closed"):
        session.run("1")
    session.close()
    with pytest.raises(PoolClosed):
        other.session()


def test_a_killed_state_is_told(session):
    """Of a parked process that something else has killed, nobody gets a wrong state."""
    value(session, "x = 1")
    os.kill(session.held.head.pid, signal.SIGKILL)
    with pytest.raises(SessionLost):
        session.run("x")
    with pytest.raises(SessionLost):
        session.run("x")


def test_a_session_waits_for_a_worker_like_any_run(tier):
    """`queue_timeout` holds for calls, and the session stays as it was."""
    with Pool(1, tier=tier) as pool, pool.session() as session:
        busy = pool.submit("import time; time.sleep(5)")
        with pytest.raises(PoolTimeout):
            session.run("x = 1", queue_timeout=0.1)
        busy.cancel()
        wait_until(lambda: is_idle(pool))
        assert session.run("x").exception.type == "NameError"


@pytest.mark.parametrize(
    "options, error",
    [({"history": -1}, ValueError), ({"history": "x"}, TypeError), ({"limits": 3}, TypeError)],
)
def test_what_makes_no_sense_is_refused(pool, options, error):
    """The error names the argument."""
    with pytest.raises(error, match=next(iter(options))):
        pool.session(**options)


HOST = """
import sys, time
from interpreter_pool import Pool
pool = Pool(1, tier=sys.argv[1])
session = pool.session()
session.run("x = 1")
print("ready", flush=True)
session.run("while True: pass", timeout=60)
"""


@pytest.mark.slow
def test_nothing_outlives_a_host_that_is_killed(tier):
    """H5: parked states and a running call are gone 2 s after the host's SIGKILL."""
    host = subprocess.Popen([sys.executable, "-c", HOST, tier], stdout=subprocess.PIPE)
    assert host.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    family = psutil.Process(host.pid).children(recursive=True)
    assert len(family) > 4
    host.kill()
    host.wait()
    host.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=2)
    # Who was orphaned waits for process 1 to reap it, which on a loaded machine takes a while.
    assert [each for each in alive if each.is_running() and each.status() != "zombie"] == []


def test_what_nobody_closes_is_closed_with_the_pool(tier):
    """A session that was lost sight of holds nothing once its pool is gone."""
    with Pool(1, tier=tier) as pool:
        pool.session().run("x = 1")
        if tier == "namespaces":
            pool.session().fork(2)


def test_closing_takes_back_a_call_that_waits(tier):
    """At once, though every worker is busy, and also where the queue has dropped it meanwhile."""
    with Pool(1, tier=tier, max_queue=1) as pool:
        session = pool.session()
        busy = pool.submit("import time; time.sleep(30)", timeout=40)
        wait_until(lambda: pool.stats().workers_busy == 1)
        told = []

        def call():
            try:
                session.run("1")
            except CancelledError as error:
                told.append(type(error).__name__)

        caller = threading.Thread(target=call)
        caller.start()
        wait_until(lambda: pool.stats().queued == 1)
        session.current.cancel()
        other = pool.submit("print(1)")  # its place is free
        session.close()
        caller.join(5)
        assert told == ["CancelledError"]
        for future in (busy, other):
            future.cancel()


def test_cancelling_a_call_that_waits_for_its_turn_leaves_the_other_alone(session):
    """It is never made; the one whose turn it is goes on."""

    async def main():
        first = asyncio.create_task(session.arun("import time; time.sleep(0.6); x = 1"))
        await asyncio.sleep(0.2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.arun("y = 2"), 0.1)
        return await first

    assert asyncio.run(main()).ok
    assert value(session, "x, 'y' in globals()") == "(1, False)"


def test_a_forked_child_is_told_so_though_a_call_was_under_way(session):
    """Whoever had the turn is not there to give it back."""
    caller = threading.Thread(target=session.run, args=("import time; time.sleep(1)",))
    caller.start()
    wait_until(lambda: session.held.turns.is_busy)
    pid = os.fork()
    if not pid:
        signal.alarm(5)
        told = 0
        for use in (lambda: session.run("1"), session.fork, session.rollback, session.reset):
            try:
                use()
            except PoolClosed:
                told += 1
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    caller.join()


def test_caps_hold_for_what_a_program_says_in_our_name():
    """It can send what it likes; the host cuts it as the guest would, and not twice."""
    value = _Outcome.of(("ok", 0, "x" * (5 << 20), None, False, None)).value
    assert value == "x" * (1 << 20) + "..."
    assert _Outcome.of(("ok", 0, value, None, False, None)).value == value
    texts = ("x" * 999, "x" * 99999, "x" * 999_999)
    error = _Outcome.of(("exception", 1, None, texts, False, None)).exception
    assert (len(error.type), len(error.message)) == (200, 4096)
    assert 32_000 < len(error.traceback) <= 32_768
    texts = (error.type, error.message, error.traceback)
    assert _Outcome.of(("exception", 1, None, texts, False, None)).exception == error
