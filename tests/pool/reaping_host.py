"""A host that inherits orphans, as `test_zombies.py` starts it: it loses jails and counts zombies.

Arguments: the tier; "runs" or "sessions". Prints the zombies that it has before the pool is closed,
and after it, less those that are a trainer's own, and how the trainer's own have ended.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

from interpreter_pool import Limits, Pool, PoolError, SandboxError

PR_SET_CHILD_SUBREAPER = 36
SLEEP = "print('begun', flush=True)\nimport time; time.sleep(60)"
RENAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b'another', 0, 0, 0)\n" + SLEEP


def zombies() -> list[int]:
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.status() == psutil.STATUS_ZOMBIE:
                found.append(each.pid)
    return found


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("did not come to pass")
        time.sleep(0.01)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def zygote_of(pool: Pool) -> int:
    (worker,) = pool.engine.workers
    wait_until(lambda: worker.is_alive and worker.jail is not None and worker.jail.zygote_pid)
    return worker.jail.zygote_pid


def begun(pool: Pool, code: str = SLEEP):
    """A run that is under way."""
    event = threading.Event()
    future = pool.submit(code, on_output=lambda *_: event.set())
    event.wait(20)
    return future


def lose_zygote(pool: Pool) -> None:
    """Kill it, and wait for the next one: what it has forked may outlive it by a moment."""
    zygote = zygote_of(pool)
    kill(zygote)
    wait_until(lambda: zygote_of(pool) != zygote)


def lose_runs(pool: Pool) -> None:
    for code in (SLEEP, RENAMED):
        lose_zygote(pool)  # idle
        future = begun(pool, code)
        lose_zygote(pool)  # under a run, which is tried again
        future.cancel()
        future = begun(pool, code)
        (run,) = psutil.Process(zygote_of(pool)).children()
        run.kill()  # which its zygote reaps
        future.exception()
    if pool.tier == "namespaces":
        zygote = zygote_of(pool)
        kill(psutil.Process(zygote).ppid())  # nsjail
        wait_until(lambda: zygote_of(pool) != zygote)
        pool.run("")


def lose_sessions(pool: Pool) -> None:
    with pool.session() as session, pool.snapshot("x = 1") as snapshot:
        session.run(RENAMED.partition("\n")[0])
        session.run("x = 1")
        with session.fork() as branch:
            branch.run("x = 2")
        snapshot.run("x")
        kill(session.held.family.pid)  # the fork server's children
        with contextlib.suppress(PoolError, SandboxError):
            session.run("x")
        session.reset()
        session.run("x = 1")
        session.run("x = 2")
        server = pool.engine.families.fork_server()
        if pool.tier == "namespaces":
            kill(psutil.Process(server.zygote_pid).ppid())
        kill(server.zygote_pid)
        with contextlib.suppress(PoolError, SandboxError):
            session.run("x")
        session.reset()
        session.run("x = 1")
        snapshot.run("x")


def main(tier: str, what: str) -> None:
    if os.getpid() != 1:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A trainer's own: one that has ended, in a session of its own, and one that lives.
    ended = subprocess.Popen([sys.executable, "-c", "exit(7)"], start_new_session=True)
    lives = subprocess.Popen([sys.executable, "-c", "input(); exit(8)"], stdin=subprocess.PIPE)
    wait_until(lambda: zombies() == [ended.pid])
    with Pool(1, tier=tier, limits=Limits(wall_s=60)) as pool:
        (lose_runs if what == "runs" else lose_sessions)(pool)
        wait_until(pool.engine.is_settled)
        during = zombies()
        begun(pool, RENAMED)  # which is ended with the pool
    after = zombies()
    lives.communicate(b"\n")
    print(len(during) - 1, len(after) - 1, ended.wait(), lives.returncode)


main(*sys.argv[1:])
