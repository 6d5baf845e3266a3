"""Processes of sessions and snapshots that die or hang: who is told what, and what goes on."""

import contextlib
import dataclasses
import os
import signal
import threading
import time

import psutil
import pytest
from conftest import SOON_S, grown, is_idle, possessions, wait_until

from interpreter_pool import Limits, PolicyError, Pool, SessionLost, SetupError, Snapshot
from interpreter_pool.sandbox.jail.jail import Jail
from interpreter_pool.sandbox.jail.messages import JailLost
from interpreter_pool.sandbox.session.family import Family

SETUP = "table = list(range(10))\ndef total(): return sum(table)"


@pytest.fixture
def single(tier):
    """A pool of one worker, which may be harmed."""
    with Pool(1, tier=tier) as pool:
        wait_until(lambda: pool.stats().workers_alive == 1)
        yield pool


def fork_server_of(pool: Pool) -> psutil.Process:
    return psutil.Process(pool.engine.families.fork_server().zygote_pid)


def end(pid: int) -> None:
    """kill -9, and wait until it has gone."""
    process = psutil.Process(pid)
    process.kill()
    psutil.wait_procs([process], timeout=5)


def is_whole(pool: Pool) -> bool:
    """Whether runs, sessions, branches and snapshots all work."""
    with pool.session() as session:
        session.run("x = 20")
        branch = session.fork()
        worked = branch.run("x + 1").value == "21" and session.run("x").value == "20"
        branch.close()
    with pool.snapshot(SETUP) as snapshot:
        worked = worked and snapshot.call("total") == 45
    return worked and pool.run("print(1)").stdout == "1\n"


def test_a_fork_server_that_dies_takes_its_sessions_and_no_others(single):
    """kill -9 of the jail of sessions: each says that it is lost; runs go on, `reset` begins anew."""
    with single.session() as one, single.session() as other:
        one.run("x = 1")
        family_inits = [psutil.Process(session.held.family.pid) for session in (one, other)]
        end(fork_server_of(single).pid)
        psutil.wait_procs(family_inits, timeout=5)  # the kernel ends them with it, but not at once
        for session in (one, other):
            with pytest.raises(SessionLost, match="reset"):
                session.run("x")
        assert single.run("print(1)").ok
        one.reset()
        assert one.run("2").value == "2"
    assert is_whole(single)


def test_a_fork_server_that_hangs_is_replaced(single, monkeypatch):
    """SIGSTOP of the jail of sessions: a new session is there after the patience for forks."""
    single.session().close()
    monkeypatch.setattr("interpreter_pool.sandbox.session.fork_server._FORK_PATIENCE_S", 1.0)
    stopped = fork_server_of(single)
    stopped.suspend()
    began = time.monotonic()
    with single.session() as session:
        assert session.run("1").value == "1"
    assert time.monotonic() - began < 8
    assert is_whole(single)
    wait_until(lambda: not stopped.is_running())


def test_a_family_init_that_dies_loses_its_family(single):
    """kill -9 of a family init: its sessions are lost, another family's are not."""
    with single.session() as one, single.session() as other:
        one.run("x = 1")
        other.run("x = 2")
        branch = one.fork()
        end(one.held.family.pid)
        for session in (one, branch):
            with pytest.raises(SessionLost):
                session.run("x")
        branch.close()
        assert other.run("x").value == "2"
    assert is_whole(single)


@pytest.mark.parametrize("known", [True, False], ids=["asked", "answered"])
def test_a_family_init_that_dies_before_it_has_a_session_leaves_nothing(single, monkeypatch, known):
    """kill -9 of a family init that was just forked, or whose first head has just come: lost, and no
    descriptor of it stays (a socket that the collector has to close fails the test).
    """
    single.session().close()
    before = possessions()
    family = Family(single.engine.families.fork_server(), Limits(), 1)
    if known:
        end(family.pid)
    else:
        supervisor = family.channel.supervisor
        listen = supervisor.listen
        monkeypatch.setattr(supervisor, "listen", lambda fd: (listen(fd), end(family.pid)))
    with pytest.raises(JailLost):
        family.first()
    family.close()
    wait_until(lambda: not grown(before))
    assert is_whole(single)


def test_strangers_of_a_dead_family_init_are_none(single):
    with single.session() as session:
        family = session.held.family
        end(family.pid)
        family.channel.supervisor.end_strangers()
        with pytest.raises(SessionLost):
            session.run("1")


@pytest.mark.parametrize("code", ["x + 1", "import os; os._exit(3)", "while True: pass"])
def test_a_family_init_that_hangs_keeps_nobody_waiting(single, code):
    """SIGSTOP of a family init: a call ends by its limit and the patience for family inits, or works."""
    with single.session() as session:
        session.run("x = 1")
        psutil.Process(session.held.family.pid).suspend()
        began = time.monotonic()
        try:
            result = session.run(code, timeout=0.5)
        except SessionLost:
            pass
        else:
            assert (result.ok, result.value) == (True, "2") or result.reason == "wall_timeout"
        assert time.monotonic() - began < 15
    assert is_whole(single)


def test_a_state_that_is_stopped_while_it_runs_is_ended(single):
    """SIGSTOP of a call's process: its wall time ends it, and the session is as before."""
    with single.session() as session:
        session.run("x = 1")
        future_code = "import time; time.sleep(30)"
        pid = session.held.head.pid

        def stop_it(*_: object) -> None:
            os.kill(pid, signal.SIGSTOP)

        result = session.run(
            "print('begun', flush=True)\n" + future_code, timeout=1, on_output=stop_it
        )
        assert (result.reason, result.rolled_back) == ("wall_timeout", True)
        assert session.run("x").value == "1"


def test_a_call_whose_state_is_killed_is_rolled_back(single):
    """kill -9 of a call's process: a signal, as far as anyone can tell; the state before is there."""
    with single.session() as session:
        session.run("x = 1")
        pid = session.held.head.pid
        code = "x = 2\nprint('begun', flush=True)\nimport time; time.sleep(30)"
        result = session.run(code, on_output=lambda *_: os.kill(pid, signal.SIGKILL))
        assert (result.reason, result.signal, result.rolled_back) == ("signal", 9, True)
        assert session.run("x").value == "1"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_template_that_dies_or_hangs_is_made_anew(single, monkeypatch, number):
    """The next run of the snapshot finds what the set-up code makes, made once more."""
    monkeypatch.setattr("interpreter_pool.sandbox.snapshot.template.START_PATIENCE_S", 1.0)
    with single.snapshot(SETUP) as snapshot:
        assert snapshot.call("total") == 45
        os.kill(snapshot.origin.template.process.pid, number)
        drop_idle(single, snapshot)
        began = time.monotonic()
        assert snapshot.call("total") == 45
        assert time.monotonic() - began < 10
    assert is_whole(single)


def drop_idle(pool: Pool, snapshot: Snapshot) -> None:
    """Close what is idle, so that the next run needs the template."""
    pool.engine.jails.forget(snapshot.origin)


def test_a_zygote_of_a_snapshot_that_dies_is_forked_anew(single):
    """kill -9 of the idle zygote that a snapshot keeps: the next run is fine."""
    with single.snapshot(SETUP) as snapshot:
        assert snapshot.call("total") == 45
        wait_until(lambda: single.engine.jails.idle(snapshot.origin))
        for jail in single.engine.jails.idle(snapshot.origin):
            os.kill(jail.zygote_pid, signal.SIGKILL)
        assert snapshot.call("total") == 45


def test_closing_with_everything_stopped(tier):
    """SIGSTOP of every process there is: `close` still ends them all, in seconds."""
    with Pool(2, tier=tier) as pool:
        session = pool.session()
        session.run("x = 1")
        branch = session.fork()
        snapshot = pool.snapshot(SETUP)
        snapshot.call("total")
        wait_until(lambda: is_idle(pool))
        jails = [worker.jail for worker in pool.engine.workers]
        assert all(isinstance(jail, Jail) for jail in jails)
        processes = []
        for jail in (*jails, pool.engine.families.fork_server()):
            processes += psutil.Process(jail.zygote_pid).children(recursive=True)
            processes.append(psutil.Process(jail.zygote_pid))
        for process in processes:
            process.suspend()
        began = time.monotonic()
        pool.close()
        assert time.monotonic() - began < 20
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert not alive
        assert repr(session) and repr(branch)


def test_a_program_that_asks_without_end_keeps_no_other_family_waiting(pool):
    """Each signal to itself is asked for at the host; other sessions are called, forked and made."""
    code = (
        "import os, threading\n"
        "def ask():\n    while True: os.kill(os.getpid(), 0)\n"
        "for _ in range(8): threading.Thread(target=ask, daemon=True).start()\n"
        "print('begun', flush=True)\nask()"
    )
    begun = threading.Event()
    with pool.session() as asking, pool.session() as other:
        future = asking.submit(code, timeout=60, on_output=lambda *_: begun.set())
        assert begun.wait(SOON_S)
        for number in range(5):
            assert other.run(f"x = {number}\nx").value == str(number)
            with other.fork() as branch, pool.session() as new:
                assert branch.run("x").value == str(number)
                assert new.run("1").value == "1"
        assert not future.done()
        future.cancel()


def test_a_fork_that_is_interrupted_leaves_nothing(pool):
    """Ctrl-C while a branch is waited for: the branch is ended, and the session goes on."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pool.session() as session:
            session.run("x = 20")
            assert session.run(OF_ITS_HEAD + "head._settle = lambda *_: time.sleep(60)").ok
            kept = {state.pid for state in session.held.states()}
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            with pytest.raises(KeyboardInterrupt):
                session.fork()
            family_init = psutil.Process(session.held.family.pid)
            wait_until(lambda: {each.pid for each in family_init.children()} == kept)
            session.rollback()
            with session.fork() as branch:
                assert branch.run("x + 1").value == session.run("x + 1").value == "21"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_host_without_a_thread_for_sessions_says_so(single, monkeypatch):
    """The step is named, nothing is left, and the next session is made when there is one again."""
    start = threading.Thread.start
    wait_until(lambda: is_idle(single))
    before = possessions()

    def no_more(thread: threading.Thread) -> None:
        if thread.name == "monitor":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", no_more)
        for _ in range(2):
            with pytest.raises(SetupError, match="monitor: can't start new thread"):
                single.session()
        wait_until(lambda: not grown(before))
    assert is_whole(single)


def test_a_family_whose_states_are_all_dead_keeps_no_thread_busy(single):
    """Its listener, which is ready for ever from then on, is watched no longer."""
    with single.session(rollback=False) as session:
        session.run("x = 1")
        monitor = single.engine.families.fork_server().monitor
        assert repr(monitor) == "<Monitor 2 watched>"
        end(session.held.head.pid)
        wait_until(lambda: repr(monitor) == "<Monitor 1 watched>")
        assert not session.run("x").ok
    assert repr(monitor) == "<Monitor 0 watched>"


# ---- what a program does to its own interpreter

OF_ITS_HEAD = """
import gc, os, sys, time
head = next(each for each in gc.get_objects() if type(each).__name__ == "Head")
"""
"""No secret: what a program can find in its own process it will find."""

NAP = """
def slowly(clone):
    def napping():
        for _ in range(160):
            time.sleep(0.05)
        return clone()
    return napping
head._clone, head._clone_branch = slowly(head._clone), slowly(head._clone_branch)
"""

RUINS = {
    "no descriptor left": (
        "import os\nkept = []\ntry:\n    while True: kept.append(os.dup(0))\nexcept OSError: pass"
    ),
    "no task left": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"
    ),
    "nothing to close with": "import os\nos.close = os.dup2 = None",
    "no way to fork": OF_ITS_HEAD + "head._clone = head._clone_branch = None",
    "naps": OF_ITS_HEAD + NAP,
    "ends when it is woken": OF_ITS_HEAD + "head._clone = head._clone_branch = lambda: os._exit(0)",
}


@pytest.fixture(params=RUINS)
def ruined(pool, request):
    """A session whose last call has left an interpreter that can't be forked. Whatever is asked of it
    ends soon, and afterwards it goes on from before that call.
    """
    with pool.session() as session:
        session.run("x = 20")
        assert session.run(RUINS[request.param]).ok
        began = time.monotonic()
        yield session
        assert time.monotonic() - began < 2.5
        assert session.run("x + 1").value == "21"


def test_an_interpreter_that_cannot_be_forked_is_its_programs_doing(ruined):
    """The next call is denied, and is no failure of ours."""
    result = ruined.run("1", timeout=0.5)
    assert (str(result.reason), result.infra_error) == ("denied", False)
    assert result.rolled_back


def test_a_branch_of_such_an_interpreter_is_refused(ruined):
    """`fork` says that the state can't be."""
    with pytest.raises(PolicyError, match="can't be forked"):
        ruined.fork(3)


@pytest.mark.parametrize(
    "settling",
    [
        "lambda: None",  # says HELLO where SETTLED is its turn
        "lambda: head._send(b's', b'')",  # and where it is to be let go
        "lambda: (head._receive(), head._send(b's', b''), head._send(b's', b''))",
        "lambda: (head._receive(), head._send(b'?', b'x' * 100))",
        "lambda: os._exit(0)",
        "lambda: time.sleep(60)",
    ],
)
def test_a_branch_that_speaks_out_of_turn_is_refused(pool, settling):
    """Whatever a new process says, or not, where it is to settle: it is given up, and no other."""
    with pool.session() as session:
        session.run("x = 20")
        before = {state.pid for state in session.held.states()}
        assert session.run(OF_ITS_HEAD + f"head._settle = {settling}").ok
        with pytest.raises(PolicyError, match="can't be forked"):
            session.fork(2)
        family_init = psutil.Process(session.held.family.pid)
        kept = {state.pid for state in session.held.states()}
        assert before < kept
        wait_until(lambda: {each.pid for each in family_init.children()} == kept)
        session.rollback()
        branch = session.fork()
        assert branch.run("x + 1").value == session.run("x + 1").value == "21"
        branch.close()


def test_without_an_earlier_state_it_is_denied_and_begins_anew(pool):
    """history=0: there is nothing to go back to; the call is denied all the same."""
    with pool.session(history=0) as session:
        assert session.run(RUINS["no way to fork"]).ok
        assert str(session.run("1").reason) == "denied"
        with pytest.raises(SessionLost, match="no earlier state"):
            session.run("1")
        session.reset()
        assert session.run("1").value == "1"


def test_a_call_that_ends_its_process_after_its_answer_is_rolled_back(pool):
    """What dies between its answer and its stop would else be found lost, as by our failure."""
    code = OF_ITS_HEAD + (
        "send = head._send\ndef last(*words):\n    send(*words)\n    os._exit(0)\nhead._send = last"
    )
    with pool.session() as session:
        session.run("x = 20")
        for _ in range(10):
            result = session.run(code)
            assert str(result.reason) in ("denied", "ok") and not result.infra_error
            assert session.run("x + 1").value in ("21", None)
        assert session.run("x + 1").value == "21"


def test_a_long_exception_is_cut(pool):
    """What a call says of its exception has caps, as in a run."""
    with pool.session() as session:
        session.run("import sys\nsys.excepthook = lambda *_: None")
        result = session.run("raise ValueError('x' * 30_000_000)")
        assert (str(result.reason), result.rolled_back) == ("exception", False)
        assert result.exception.message == "x" * 4096


def test_limits_of_sessions_outlive_their_fork_server(tier):
    """What they hold is estimated where its cgroup has gone; idle ones still go."""
    with Pool(1, tier=tier, session_idle_s=0.3, session_memory_bytes=1 << 40) as pool:
        pool.session().run("x = 1")
        fork_server = pool.engine.families.fork_server()
        end(fork_server.zygote_pid)
        if fork_server.group is not None:
            fork_server.group.remove()
        assert pool.stats().session_bytes >= 0
        time.sleep(1.5)  # the watcher has looked by now
        session = pool.session()
        session.run("x = 1")
        wait_until(lambda: pool.stats().sessions == 0, 5)


def test_a_pool_is_closed_while_a_snapshot_is_made_again(tier):
    """Its set-up code takes as long as it takes; nobody waits for it."""
    with Pool(1, tier=tier) as pool:
        snapshot = pool.snapshot("import time; time.sleep(2)", timeout=None)
        template = snapshot.origin.template
        end(template.process.pid)
        snapshot.origin.setup = b"import time; time.sleep(60)"
        future = snapshot.submit("print(1)", timeout=60)
        wait_until(lambda: snapshot.origin.is_making)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with contextlib.suppress(Exception):
        future.result(5)
    assert future.done()


def test_a_host_that_has_no_sessions_says_so_as_often_as_it_is_asked(single, monkeypatch):
    """Where /proc hides processes: each time an error, and no descriptor is kept."""
    plan = dataclasses.replace(single.engine.plan, shown=True)
    monkeypatch.setattr(single.engine.families, "plan", plan)
    for _ in range(3):
        with pytest.raises(SetupError, match="hidepid"):
            single.session()
