"""`Pool.snapshot`: trusted set-up code runs once, and every run is forked from what it made."""

import contextlib
import os
import signal
import threading
import time

import psutil
import pytest
from conftest import SOON_S, is_idle, orphans, wait_until

from interpreter_pool import (
    LimitExceeded,
    Limits,
    PolicyError,
    Pool,
    PoolClosed,
    PoolError,
    PoolTimeout,
    Program,
    ProgramError,
    SessionLost,
    SetupError,
)

SETUP = """
import json, os, sys, time
data = list(range(1000))
calls = []

def count():
    calls.append(1)
    return len(calls)

def total(*more, scale=1):
    return (sum(data) + sum(more)) * scale

def fail():
    raise LookupError("mine")

def spin():
    while True:
        pass

open("given", "w").write("from the set-up")
"""


@pytest.fixture
def snapshot(pool):
    with pool.snapshot(SETUP) as snapshot:
        yield snapshot


def test_runs_find_what_the_set_up_made(snapshot):
    """Names in `__main__`, modules, functions; the program's own comes on top."""
    result = snapshot.run("print(__name__, sum(data), total(1), json.dumps(1))\nfresh = 1")
    assert result.stdout == "__main__ 499500 499501 1\n", result
    assert snapshot.run("print('fresh' in globals())").stdout == "False\n"
    assert snapshot.run("import inspect; print(inspect.getsource(count))").stdout.startswith("def")


def test_runs_see_nothing_of_each_other(snapshot):
    """S4: memory, files and counters are as new in each; counting calls always gives one."""
    code = (
        "data.append(1); open('left', 'w').write('x'); json.left = 1; os.environ['LEFT'] = '1'\n"
        "print(count(), len(data), sorted(os.listdir('.')))"
    )
    outputs = {snapshot.run(code).stdout for _ in range(5)}
    assert outputs == {"1 1001 ['left', 'main.py']\n"}
    assert [snapshot.call("count") for _ in range(5)] == [1] * 5
    futures = [snapshot.submit("print(count(), hasattr(json, 'left'))") for _ in range(8)]
    assert {each.result().stdout for each in futures} == {"1 False\n"}


def test_calls_carry_data(snapshot):
    """Arguments go in, the value comes out; errors are those of a function."""
    assert snapshot.call("total", 1, 2, scale=2) == 2 * 499503
    with pytest.raises(ProgramError, match="mine") as caught:
        snapshot.call("fail")
    assert 'raise LookupError("mine")' in caught.value.traceback
    with pytest.raises(ProgramError, match="NameError"):
        snapshot.call("nowhere")
    with pytest.raises(TypeError, match="plain data"):
        snapshot.call("total", object())
    with pytest.raises(ValueError, match="name="):
        snapshot.call("f(1)")


def test_runs_have_randomness_of_their_own(pool):
    """Forked from one state, they draw different numbers, unless a seed is given."""
    with pool.snapshot("import random\nrandom.seed(1)") as snapshot:
        assert len({snapshot.run("print(random.random())").stdout for _ in range(4)}) == 4
        assert len({snapshot.run("print(random.random())", seed=3).stdout for _ in range(4)}) == 1


def test_options_are_those_of_a_run(snapshot):
    """stdin, args, env, files in and out, output as it comes, an id, a `Program`."""
    pieces = []
    result = snapshot.run(
        Program(
            "print(input(), sys.argv[1:], os.environ.get('A'), open('in').read())\n"
            "open('out', 'w').write('taken')",
            stdin="line\n",
            args=("a",),
            env={"A": "b"},
            files={"in": "file"},
            collect=("out",),
            id="name",
        ),
        on_output=lambda stream, data: pieces.append(data),
    )
    assert result.stdout == "line ['a'] b file\n", result
    assert (result.files, result.id) == ({"out": b"taken"}, "name")
    assert b"".join(pieces) == result.stdout_bytes


ENDS = [
    ("while True: pass", {"timeout": 0.3}, "wall_timeout"),
    ("while True: pass", {"limits": Limits(cpu_s=0.3)}, "cpu_timeout"),
    ("while True: print('x' * 9999)", {}, "output"),
    ("x = bytearray(1 << 40)", {}, "memory"),
    ("b = []\nwhile True: b.append(bytearray(1 << 20))", {}, "memory"),
    ("os.abort()", {}, "signal"),
    ("os._exit(3)", {}, "exit"),
    ("1 / 0", {}, "exception"),
]


@pytest.mark.parametrize("code, options, reason", ENDS)
def test_limits_hold_in_every_run(snapshot, code, options, reason):
    """Each ends with its reason, in time, and the next run is as ever."""
    began = time.monotonic()
    result = snapshot.run("print('seen', flush=True)\n" + code, **options)
    assert result.reason == reason, result
    assert result.stdout.startswith("seen\n")
    assert time.monotonic() - began < SOON_S
    assert snapshot.run("print(count())").stdout == "1\n"


def test_a_call_has_the_pools_limits(tier):
    """A call that does not end is ended by them."""
    with Pool(1, tier=tier, limits=Limits(wall_s=0.3)) as pool, pool.snapshot(SETUP) as snapshot:
        with pytest.raises(LimitExceeded) as caught:
            snapshot.call("spin")
        assert caught.value.reason == "wall_timeout"
        assert snapshot.call("count") == 1


def test_disk_is_bounded_in_every_run(snapshot):
    """Capped in the namespaces tier, watched in the other."""
    code = "with open('f', 'wb') as f:\n    while True: f.write(bytes(1 << 20)); f.flush(); time.sleep(0.001)"
    result = snapshot.run(code, limits=Limits(disk_bytes=8 << 20))
    assert result.reason in ("exception", "denied", "signal"), result
    assert snapshot.run("print(os.listdir('.'))").stdout == "['main.py']\n"


def test_runs_are_confined_as_any_run(snapshot):
    """No fork, no socket, nobody else's signal, no file outside; set-up code had more."""
    code = """
import ctypes, resource, socket
def refused(step):
    try: step()
    except OSError: return True
print([
    refused(os.fork), refused(socket.socket), refused(lambda: open("/etc/shadow")),
    refused(lambda: open("/proc/1/environ").read()), refused(lambda: os.setpriority(0, 1, 5)),
    refused(lambda: resource.prlimit(1, resource.RLIMIT_NOFILE)),
])
libc = ctypes.CDLL(None)
print(libc.prctl(21, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0), libc.prctl(3, 0, 0, 0, 0))
"""
    result = snapshot.run(code)
    lines = result.stdout.splitlines()
    assert lines[0] == str([True] * 6), result
    assert lines[1] == "2 1 0"


def test_set_up_code_that_fails_is_its_callers(pool):
    """Its exception, with the line that raised; a long one, too; leaving is no way out either."""
    with pytest.raises(ProgramError, match="mine") as caught:
        pool.snapshot("x = 1\nraise LookupError('mine')  # here")
    assert caught.value.type == "LookupError"
    assert "# here" in caught.value.traceback
    assert "template.py" not in caught.value.traceback
    with pytest.raises(ProgramError) as caught:
        pool.snapshot("def f(:")
    assert caught.value.type == "SyntaxError"
    with pytest.raises(ProgramError) as caught:
        pool.snapshot("raise ValueError('x' * 3_000_000)")
    assert caught.value.type == "ValueError"
    with pytest.raises(ProgramError) as caught:
        pool.snapshot("import sys; sys.exit(3)")
    assert caught.value.type == "SystemExit"
    for code in ("import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"):
        began = time.monotonic()
        if pool.tier == "namespaces" and "kill" in code:
            continue  # as process 1, it is immune to its own signals
        with pytest.raises(PoolError, match="snapshot"):
            pool.snapshot(code)
        assert time.monotonic() - began < SOON_S
    assert pool.run("print(1)").ok


def test_set_up_code_has_a_time(pool):
    """What takes longer is ended, and the error says so."""
    began = time.monotonic()
    with pytest.raises(PoolError, match=r"timeout=0\.3"):
        pool.snapshot("while True: pass", timeout=0.3)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize(
    "code, words",
    [
        ("f = open(__import__('os').__file__)", "descriptor"),
        ("import os; ends = os.pipe()", "descriptor"),
        ("import socket; ends = socket.socketpair()", "descriptor"),
        ("import mmap; m = mmap.mmap.__base__(-1, 4096)", "shared memory"),
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("import os, signal\nif os.fork() == 0: signal.pause()", "child"),
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 1000)", "timer"),
    ],
)  # fmt: skip
def test_what_runs_would_share_is_refused(pool, code, words):
    """S2: open files, shared maps, threads, children and timers are named."""
    with pytest.raises(PolicyError, match=words):
        pool.snapshot(code)


STARTS = """
import os, signal
child = os.fork()
if child == 0:
    signal.pause()
open("child", "w").write(str(child))
"""


@pytest.mark.parametrize("end", ["raise RuntimeError(child)", "pass", "signal.pause()"])
def test_what_set_up_code_has_started_ends_with_it(end):
    """Its child processes, where it fails, is refused, or takes too long; without namespaces, too."""
    before = orphans()
    with Pool(1, tier="landlock") as pool:
        with pytest.raises((ProgramError, PolicyError, PoolError)):
            pool.snapshot(STARTS + end, timeout=0.5)
        wait_until(lambda: orphans() == before)


@pytest.mark.parametrize(
    "arguments, error", [((3,), TypeError), (("1", ), None)]
)  # fmt: skip
def test_what_makes_no_sense_is_refused(pool, arguments, error):
    """Before anything is run."""
    if error is not None:
        with pytest.raises(error):
            pool.snapshot(*arguments)
    for timeout, kind in ((-1, ValueError), (1e12, ValueError), ("x", TypeError)):
        with pytest.raises(kind, match="timeout"):
            pool.snapshot("1", timeout=timeout)


def processes() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


def test_a_killed_template_is_made_anew(tier):
    """Whoever runs the snapshot does not notice."""
    with Pool(1, tier=tier) as pool, pool.snapshot(SETUP) as snapshot:
        assert snapshot.call("count") == 1
        for _ in range(3):
            template = snapshot.origin.template
            template.process.send(signal.SIGKILL)
            wait_until(template.process.has_ended)
            assert snapshot.call("total") == 499500
            assert snapshot.run("print(count())").stdout == "1\n"


def test_a_killed_fork_server_is_made_anew(tier):
    """Templates and all go with it; the snapshot is set up again."""
    with Pool(1, tier=tier) as pool, pool.snapshot(SETUP) as snapshot:
        assert snapshot.call("count") == 1
        os.kill(pool.engine.families.fork_server().zygote_pid, signal.SIGKILL)
        assert snapshot.call("count") == 1
        assert snapshot.run("print(count())").stdout == "1\n"


def test_a_run_whose_zygote_is_killed_is_tried_once_more(tier):
    """As of any run: the second time it is charged for it."""
    with Pool(1, tier=tier) as pool, pool.snapshot(SETUP) as snapshot:
        kills = []

        def on_output(stream, data) -> None:
            if data.startswith(b"1") and len(kills) < wanted:
                kills.append(data)
                for parent in parents_of_runs(pool):
                    os.kill(parent, signal.SIGKILL)

        code = "print(count(), flush=True)\ntime.sleep(0.5)\nprint('end')"
        wanted = 1
        assert snapshot.run(code, on_output=on_output).stdout == "1\nend\n"
        kills.clear()
        wanted = 2
        result = snapshot.run(code, on_output=on_output)
        assert (result.reason, result.infra_error) == ("denied", False), result
        assert snapshot.call("count") == 1


def parents_of_runs(pool) -> list[int]:
    """The zygotes that have been forked from templates."""
    found = []
    for template in psutil.Process(pool.engine.families.fork_server().zygote_pid).children():
        found += [zygote.pid for zygote in template.children()]
    return found


def test_closing_while_runs_are_under_way(tier):
    """What has begun comes to its end, what has not is told; nothing is left."""
    with Pool(2, tier=tier) as pool:
        snapshot = pool.snapshot(SETUP)
        snapshot.run("1")
        began = threading.Event()
        future = snapshot.submit(
            "print(1, flush=True); time.sleep(0.5); print(2)", on_output=lambda *_: began.set()
        )
        assert began.wait(10)
        snapshot.close()
        snapshot.close()
        with contextlib.suppress(SessionLost):
            assert not future.result(10).infra_error
        for use in (lambda: snapshot.run("1"), lambda: snapshot.call("count")):
            with pytest.raises(SessionLost, match="closed"):
                use()
        assert pool.run("print(1)").ok


def test_a_run_that_waited_for_a_closed_snapshot_is_told(tier):
    """It was queued, and then its snapshot went."""
    with Pool(1, tier=tier) as pool:
        busy = pool.submit("import time; time.sleep(60)")
        snapshot = pool.snapshot(SETUP)
        with pytest.raises(PoolTimeout):
            snapshot.run("1", queue_timeout=0.1)
        waiting = snapshot.submit("1")
        snapshot.close()
        busy.cancel()
        with pytest.raises(SessionLost, match="closed"):
            waiting.result(10)
        wait_until(lambda: is_idle(pool))


def test_a_cancelled_run_is_killed(snapshot):
    """`cancel` of its future reaches the process."""
    began = threading.Event()
    future = snapshot.submit("print(1, flush=True)\nspin()", on_output=lambda *_: began.set())
    assert began.wait(10)
    future.cancel()
    assert future.result(3).reason == "cancelled"
    assert snapshot.call("count") == 1


def test_with_its_pool_it_ends(tier):
    """Also with a run under way; from then on, it says that the pool is closed."""
    with Pool(1, tier=tier) as pool:
        snapshot = pool.snapshot(SETUP)
        began = threading.Event()
        future = snapshot.submit("print(1, flush=True)\nspin()", on_output=lambda *_: began.set())
        assert began.wait(10)
    assert future.result(5).reason == "cancelled"
    with pytest.raises((SessionLost, PoolClosed)):
        snapshot.run("1")
    with pytest.raises(PoolClosed):
        pool.snapshot("1")


def test_many_snapshots(tier):
    """Twenty at once, each with its own state; idle jails are bounded by the pool's size; closed,
    they leave nothing.
    """
    with Pool(2, tier=tier) as pool:
        with pool.snapshot("1") as first:
            first.run("1")
        wait_until(lambda: is_idle(pool))
        before = len(os.listdir("/proc/self/fd")), len(processes())
        snapshots = [pool.snapshot(f"x = {number}") for number in range(20)]
        for _ in range(2):
            outputs = [each.submit("print(x)") for each in snapshots]
            assert [each.result().stdout for each in outputs] == [f"{n}\n" for n in range(20)]
        assert sum(len(pool.engine.jails.idle(each.origin)) for each in snapshots) <= 2
        for each in snapshots:
            each.close()
        wait_until(lambda: (len(os.listdir("/proc/self/fd")), len(processes())) <= before)


def test_of_a_host_without_confinement_there_are_none():
    """tier="none" is refused by name."""
    with Pool(1, tier="none") as pool, pytest.raises(PolicyError, match="none"):
        pool.snapshot("1")


def test_what_a_preloaded_module_made_is_there(tier):
    """A snapshot comes on top of the pool's packages and preloaded modules."""
    with Pool(1, tier=tier, packages=("numpy",), preload=("numpy",)) as pool:
        with pool.snapshot("import numpy\nm = numpy.arange(1_000_000)") as snapshot:
            assert snapshot.run("print(int(m.sum()))").stdout == "499999500000\n"
            draws = {snapshot.run("print(numpy.random.random())").stdout for _ in range(3)}
            assert len(draws) == 3


def test_an_idle_jail_needs_no_fork_server(pool, monkeypatch):
    """Where none can be had at that moment, what waits idle serves all the same; without it the run
    is an infra error.
    """
    with pool.snapshot("x = 1") as snapshot:
        assert snapshot.run("print(x)").stdout == "1\n"
        wait_until(lambda: is_idle(pool))
        before = len(os.listdir("/proc/self/fd"))

        def none() -> None:
            raise SetupError("hello", "killed while it was started")

        with monkeypatch.context() as changed:
            changed.setattr(pool.engine.families, "fork_server", none)
            wait_until(lambda: pool.engine.jails.idle(snapshot.origin))
            assert snapshot.run("print(x)").stdout == "1\n"
            wait_until(lambda: pool.engine.jails.idle(snapshot.origin))
            pool.engine.jails.forget(snapshot.origin)
            failed = snapshot.run("print(x)")
            assert failed.infra_error and "could not be started" in failed.detail
        assert len(os.listdir("/proc/self/fd")) <= before
        assert snapshot.run("print(x)").stdout == "1\n"


def test_finalisers_are_called_at_the_end_of_a_run(pool):
    """What a run adds to the state ends with it; its names are gone by then, as those of a module
    that Python finds alive.
    """
    code = "class A:\n    def __del__(self): print('gone', X)\nX = 5\na = A()"
    with pool.snapshot("y = 1\ndef f(): return y") as snapshot:
        assert snapshot.run(code).stdout == "gone None\n"
