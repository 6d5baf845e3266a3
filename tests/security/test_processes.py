"""Processes: a program is alone, and reaches nobody else's."""

import contextlib
import json
import os
import resource

import pytest

from interpreter_pool import Limits, PolicyError, Pool
from interpreter_pool.sandbox.guest.jail import capabilities

SIGNALS = """
import json, os, signal, sys
pids = [int(each) for each in sys.argv[2:]]
sent = set()
for number in [int(each) for each in sys.argv[1].split(",")]:
    for pid in pids:
        if pid in (os.getpid(), 0):
            continue
        try:
            os.kill(pid, number)
            if pid > 0:
                sent.add(pid)
        except OSError:
            pass
        try:
            os.killpg(pid, number) if pid > 1 else None
            sent.add(pid)
        except OSError:
            pass
print(json.dumps(sorted(sent - {1, -1})))
"""


def test_p1_signals_reach_nobody_else(attack, outside, pool, jail_pids, victim):
    """P1: zygote, siblings and host outlive every signal a program sends to any process."""
    replaced = pool.stats().replaced
    numbers = ",".join(str(number) for number in range(1, 65) if number not in (32, 33))
    for pid in (-1, 1, *jail_pids):
        result = attack(SIGNALS, args=[numbers, str(pid)])
        # Its own process is a program's to end: in a jail's counting or as part of "everyone".
        assert result.ok or result.signal, result
        assert result.stdout in ("[]\\n", "[]\n", ""), result
    # Signals that would not harm these tests, should they arrive.
    assert attack.report(SIGNALS, args=["0,18,28", str(os.getpid()), str(os.getppid())]) == []
    assert pool.stats().replaced == replaced
    assert outside.report(SIGNALS, args=["18,9", str(victim.pid)]) == [victim.pid]


PRIVILEGES = """
import ctypes, json, os
done = []
calls = [
    lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setuid(os.getuid()),
    lambda: os.setresuid(-1, -1, -1), lambda: os.setreuid(0, 0), lambda: os.setgroups([]),
    lambda: os.initgroups("root", 0),
]
for number, call in enumerate(calls):
    try:
        call()
        done.append(number)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
if libc.capset(header, full) == 0:
    done.append("capset")
held = (ctypes.c_uint32 * 6)()
libc.capget(header, held)
bounding = [number for number in range(41) if libc.prctl(23, number, 0, 0, 0) == 1]
loosened = [
    option
    for option, value in ((4, 1), (8, 1), (28, 0), (36, 1), (0x59616D61, -1), (1, 0), (38, 0))
    if libc.prctl(option, value, 0, 0, 0) == 0
]
print(json.dumps({
    "done": done,
    "capabilities": sum(held),
    "seccomp": libc.prctl(21, 0, 0, 0, 0),
    "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
    "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "loosened": loosened,
    "ids": [os.getuid() == os.geteuid(), os.getgroups()],
    "bounding": bounding,
}))
"""


def test_p2_no_privilege_is_held_or_gained(attack, outside, pool):
    """P2: no id changes, no capability is held, the filter is on, nothing can be loosened."""
    found = attack.report(PRIVILEGES)
    assert (found["done"], found["loosened"]) == ([], [])
    assert (found["capabilities"], found["seccomp"], found["no_new_privs"]) == (0, 2, 1)
    assert found["dumpable"] == int(pool.engine.plan.shown)
    if empties_the_bounding_set(pool):
        assert found["bounding"] == []
    free = outside.report(PRIVILEGES)
    assert 2 in free["done"] and free["loosened"] and free["dumpable"] == 1


def empties_the_bounding_set(pool: Pool) -> bool:
    """Whether its zygotes may: not as a user without powers, and there it is nothing to be had, since
    no_new_privs is set and nothing is executed.
    """
    plan = pool.engine.plan
    if plan.tier == "namespaces":
        return True
    return not plan.own_ids and capabilities.probe(capabilities.CAP_SETPCAP)


DESCRIPTORS = """
import json, os, sys
open_ = []
for fd in range(4096):
    try:
        os.fstat(fd)
        open_.append(fd)
    except OSError:
        pass
written = []
for fd in range(3, 1024):
    for data in (b"\\x01", b"{}", b"i\\x04\\0\\0\\0\\0\\0\\0\\0" * 20):
        try:
            os.write(fd, data)
            written.append(fd)
        except OSError:
            pass
print(json.dumps([open_, sorted(set(written))]))
"""


def test_p3_a_program_has_three_descriptors(attack, outside):
    """P3: it has standard input, output and error and nothing else to write to."""
    assert attack.report(DESCRIPTORS) == [[0, 1, 2], []]
    read_end, write_end = os.pipe()
    try:
        assert write_end in outside.report(DESCRIPTORS, pass_fds=(write_end,))[1]
    finally:
        os.close(read_end)
        os.close(write_end)


PROCESSES = """
import ctypes, json, os, subprocess, sys
made = []

def attempt(name, make):
    try:
        pid = make()
    except OSError:
        return
    if pid == 0:
        os._exit(0)
    if pid is None or pid > 0:
        made.append(name)

libc = ctypes.CDLL(None, use_errno=True)
attempt("fork", os.fork)
attempt("libc fork", libc.fork)
attempt("forkpty", lambda: os.forkpty()[0])
attempt("run", lambda: subprocess.run([sys.executable, "-c", ""]) and None)
attempt("spawn", lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}))
attempt("system", lambda: 1 if libc.system(b"exit 7") == 7 << 8 else -1)
print(json.dumps(made))
"""


def test_p4_processes_are_not_made(attack, outside):
    """P4: fork, spawn, exec and system are refused where processes=1."""
    assert attack.report(PROCESSES) == []
    assert {"fork", "run", "spawn"} <= set(outside.report(PROCESSES))


MORE = """
import os, sys, time
made = 0
try:
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            time.sleep(float(sys.argv[2]))
            os._exit(0)
        made += 1
except BlockingIOError:
    print("refused after", made, flush=True)
time.sleep(0.5)
"""

SEVERAL = Limits(processes=4, threads=1, wall_s=5)


def several_or_refused(pool) -> bool:
    """Whether this tier can hold several processes; else they are refused, by its name."""
    if pool.tier == "namespaces":
        return True
    with pytest.raises(PolicyError, match="landlock"):
        pool.run("", limits=SEVERAL)
    return False


def test_p4_no_more_processes_than_allowed(attack, outside):
    """P4: the kernel refuses the one too many (EAGAIN); one that takes a thread's place is seen."""
    if not several_or_refused(attack.pool):
        return
    result = attack(MORE, args=["9", "60"], limits=SEVERAL, timeout=5)
    assert (result.reason, result.stdout) == ("ok", "refused after 3\n")
    result = attack(MORE, args=["9", "60"], limits=SEVERAL.replace(threads=64), timeout=5)
    assert (result.reason, result.stdout) == ("denied", "")
    assert "more than 4 (Limits.processes)" in result.detail
    assert outside(MORE, args=["5", "0"]).stdout == b""


BREAKOUT = """
import ctypes, json, os, signal, subprocess, sys
done = []
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    pid = libc.syscall(56 if os.uname().machine == "x86_64" else 220, ctypes.c_long(flag | 17), 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        done.append(flag)
for number in (9, 19, 2, 15):
    try:
        os.kill(1, number)
    except OSError:
        pass
status = {line.partition(":")[0]: line.split()[-1] for line in open("/proc/self/status")}
done += [status["Seccomp"], status["NoNewPrivs"], status["CapEff"], status["CapPrm"], status["CapBnd"]]
for path in ("/proc/1/environ", "/proc/1/mem", "/proc/1/root", "/proc/1/fd"):
    try:
        os.listdir(path) if path[-2:] in ("fd", "ot") else open(path, "rb").read(1)
        done.append(path)
    except OSError:
        pass
import resource
done.append(list(resource.getrlimit(resource.RLIMIT_CORE)))
try:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    done.append("dumps")
except (OSError, ValueError):
    pass
if sys.argv[1:] == ["again"]:
    print(json.dumps(done))
else:
    sys.stdout.write(json.dumps(done) + "\\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "main.py", "again"])
"""


def test_p4_what_is_executed_is_confined_as_well(attack):
    """P4: a forked or executed process has the same filter, no capability, no namespace to make, and
    reaches its zygote no more than its parent does; a dump of it goes nowhere.
    """
    if not several_or_refused(attack.pool):
        return
    result = attack(BREAKOUT, limits=SEVERAL, timeout=5)
    zeros = "0" * 16
    held = ["2", "1", zeros, zeros, zeros, [1, 1]]
    assert [json.loads(line) for line in result.stdout.splitlines()] == [held, held], result


PASS_ON = """
import os, signal, sys, time
os.dup2(2, 1)
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
open("left", "w").write("x")
"""


def test_p4_daemons_end_with_their_run(attack):
    """P4: a daemon of two forks and a session of its own does not outlive its run, nor delay it."""
    if not several_or_refused(attack.pool):
        return
    result = attack(PASS_ON, limits=SEVERAL, timeout=5)
    assert result.ok and result.wall_s < 3
    look = (
        "import os; print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()), os.listdir())"
    )
    seen = attack(look, limits=SEVERAL, timeout=5).stdout
    assert seen.count(",") == 1 and seen.endswith("['main.py']\n"), seen


NEIGHBOURS = """
import fcntl, json, os, resource, sys
done = []
pids = [int(each) for each in sys.argv[1:]] + ([] if len(sys.argv) == 2 else [os.getppid(), 1])
for pid in pids:
    if pid == os.getpid():
        continue
    for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_AS):
        try:
            resource.prlimit(pid, which, (3, 3))
            done.append("prlimit")
        except (OSError, ValueError):
            pass
    for name, change in (
        ("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
        ("setpriority group", lambda: os.setpriority(os.PRIO_PGRP, pid, 19)),
        ("affinity", lambda: os.sched_setaffinity(pid, {0})),
        ("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))),
        ("owner", lambda: fcntl.fcntl(0, fcntl.F_SETOWN, pid)),
        ("owner group", lambda: fcntl.fcntl(1, fcntl.F_SETOWN, -pid)),
        ("signal", lambda: fcntl.fcntl(1, 10, 9)),  # F_SETSIG
        ("lease", lambda: fcntl.fcntl(0, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
        ("notify", lambda: fcntl.fcntl(os.open(".", 0), fcntl.F_NOTIFY, fcntl.DN_CREATE)),
        ("pipe size", lambda: fcntl.fcntl(1, 1031, 1 << 20)),  # F_SETPIPE_SZ
    ):
        try:
            change()
            done.append(name)
        except OSError:
            pass
print(json.dumps(sorted(set(done))))
"""


def test_p5_neighbours_keep_their_limits_and_priorities(attack, outside, jail_pids, victim):
    """P5: no rlimit, priority, affinity or signal owner of zygote, parent or sibling changes."""
    before = {pid: _standing(pid) for pid in (os.getpid(), *jail_pids)}
    args = [str(pid) for pid in before]
    assert attack.report(NEIGHBOURS, args=args) == []
    for pid, standing in before.items():
        if os.path.exists(
            f"/proc/{pid}"
        ):  # a prewarmed process that has become a run is gone by now
            assert _standing(pid) == standing
    assert "prlimit" in outside.report(NEIGHBOURS, args=[str(victim.pid)])


def _standing(pid: int) -> tuple[object, ...]:
    limits: list[tuple[int, int]] = []
    with contextlib.suppress(PermissionError):  # root of a container may not look at its children
        for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_AS):
            limits.append(resource.prlimit(pid, which))
    return (
        limits,
        os.getpriority(os.PRIO_PROCESS, pid),
        sorted(os.sched_getaffinity(pid)),
    )
