"""Runs that may have several processes: what honest programs do with them, and what is counted."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from interpreter_pool import Limits, PolicyError, Pool

LIMITS = Limits(processes=6, wall_s=30)


@pytest.fixture(scope="module")
def pool():
    """Only the namespaces tier can hold several processes."""
    with Pool(1, tier="namespaces", limits=LIMITS) as pool:
        pool.session(limits=Limits()).close()  # the jail of sessions stays
        yield pool


PROGRAMS = {
    "subprocess": """
import subprocess, sys
done = subprocess.run([sys.executable, "-c", "import sys; print(input(), sys.argv)", "x"],
                      input="in", capture_output=True, text=True, check=True)
print(done.stdout)
""",
    "by name": """
import subprocess
for name in ("python", "python3"):
    print(subprocess.check_output([name, "-c", "print(1)"], text=True))
""",
    "its own file": """
import os, subprocess, sys
open("tool", "w").write(f"#!{sys.executable}\\nimport os; print('tool', os.getcwd() == os.path.dirname(__file__))")
os.chmod("tool", 0o700)
print(subprocess.check_output([os.path.abspath("tool")], text=True))
""",
    "fork": """
import os
pid = os.fork()
if pid == 0:
    print("child")
    raise SystemExit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "exec": """
import os, sys
print("before")
os.execv(sys.executable, [sys.executable, "-c", "print('after')"])
""",
    "posix_spawn": """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "print(5)"], os.environ)
print(os.waitpid(pid, 0)[1])
""",
    "a pipeline": """
import subprocess, sys
run = [sys.executable, "-c"]
first = subprocess.Popen([*run, "print('a b c')"], stdout=subprocess.PIPE)
second = subprocess.Popen([*run, "print(input().split())"], stdin=first.stdout, stdout=subprocess.PIPE)
first.stdout.close()
print(second.communicate())
""",
    "signals and groups": """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(os.getpgid(child.pid) == child.pid == os.getsid(child.pid))
os.killpg(child.pid, signal.SIGTERM)
print(child.wait())
try:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("timeout")
""",
    "process pools": """
from concurrent.futures import ProcessPoolExecutor
def square(x): return x * x
if __name__ == "__main__":
    with ProcessPoolExecutor(3) as executor:
        print(list(executor.map(square, range(8))))
""",
    "multiprocessing": """
import multiprocessing
def add(x, queue, lock, total):
    with lock:
        total.value += x
    queue.put(x)
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        queue, lock, total = context.Queue(), context.Lock(), context.Value("i", 0)
        both = [context.Process(target=add, args=(x, queue, lock, total)) for x in (1, 2)]
        for each in both: each.start()
        print(sorted(queue.get() for _ in both), end=" ")
        for each in both: each.join()
        print(method, total.value, [each.exitcode for each in both])
""",
    "multiprocessing pools and pipes": """
import multiprocessing, os
def f(x): return x + 1
def g(connection): connection.send(os.getppid()); connection.close()
if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print(pool.map(f, range(5)), pool.apply(f, (1,)))
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=g, args=(theirs,))
    process.start()
    print(ours.recv() == os.getpid())
    process.join()
""",
    "shared memory": """
from multiprocessing import Process, shared_memory
def write(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[0] = 7
    memory.close()
if __name__ == "__main__":
    memory = shared_memory.SharedMemory(create=True, size=100)
    process = Process(target=write, args=(memory.name,))
    process.start()
    process.join()
    print(memory.buf[0])
    memory.close()
    memory.unlink()
""",
    "asyncio": """
import asyncio, sys
async def main():
    command = [sys.executable, "-c", "print(9)"]
    both = [await asyncio.create_subprocess_exec(*command, stdout=-1) for _ in range(2)]
    print([(await each.communicate())[0] for each in both], [each.returncode for each in both])
asyncio.run(main())
""",
    "an exception in a child": """
import os
if os.fork() == 0:
    raise ValueError("the child's")
os.wait()
print("parent")
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_with_processes_run_as_elsewhere(pool, tmp_path, name):
    """What honest programs do with processes has the outcome that it has outside."""
    result = pool.run(PROGRAMS[name])
    (tmp_path / "main.py").write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-u", "main.py"],
        cwd=tmp_path,
        # Not every host has an interpreter by each of its names; an environment has.
        env=os.environ | {"PATH": os.path.dirname(sys.executable)},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert (result.stdout_bytes, result.exit_code) == (done.stdout, done.returncode), result
    assert result.ok and result.exception is None and result.completed == (name != "exec")
    assert result.layers["processes"] == "a pid namespace of its own; 6 at once"


def test_what_is_started_finds_the_packages():
    """An interpreter that a program starts imports what the program itself can import."""
    code = """
import subprocess, sys
for script in ("import numpy; print(numpy.arange(3).sum())", "import pytest"):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    print(done.stdout, "ModuleNotFoundError" in done.stderr)
"""
    limits = LIMITS.replace(threads=None)
    with Pool(1, tier="namespaces", limits=limits, packages=("numpy",)) as pool:
        result = pool.run(code)
    assert result.stdout == "3\n False\n True\n", result


def test_all_processes_count_for_cpu_time(pool):
    """CPU time is that of all processes, waited for or not."""
    code = "import os\nfor _ in range(2):\n    if os.fork() == 0: break\nwhile True: pass"
    result = pool.run(code, limits=LIMITS.replace(cpu_s=0.6))
    assert result.reason == "cpu_timeout"
    assert 0.5 < result.cpu_s < 3
    used = "import os, time\nif os.fork() == 0:\n    while time.process_time() < 0.3: pass\n    os._exit(0)\nos.wait()"
    assert pool.run(used).cpu_s >= 0.3


def test_all_processes_count_for_memory(pool):
    """The memory limit holds for all of them together, whether a cgroup counts or we watch."""
    code = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20)) * 60
        time.sleep(5)
        os._exit(0)
for _ in range(3):
    if os.wait()[1]: break
"""
    result = pool.run(code, limits=LIMITS.replace(memory_bytes=128 << 20))
    assert result.reason == "memory", result
    assert pool.run(code.replace("sleep(5)", "sleep(0)").replace("60", "10")).ok


def test_orphans_make_room_for_others(pool):
    """Processes that have ended and that nobody waits for do not count for ever."""
    code = """
import os, time
for n in range(60):
    while True:
        try:
            pid = os.fork()
            break
        except BlockingIOError:
            time.sleep(0.02)
    if pid == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
print("done")
"""
    result = pool.run(code, limits=LIMITS.replace(threads=4))
    assert result.stdout == "done\n", result


def test_one_process_is_the_default_again(pool):
    """A worker that has served several processes holds the next program to one."""
    fork = "import os\nprint(os.fork() and os.wait()[1])"
    for _ in range(2):
        assert pool.run(fork).stdout.endswith("0\n")
        refused = pool.run(fork, limits=Limits())
        assert "PermissionError" in refused.stderr
        assert refused.layers["processes"] == "a pid namespace of its own; no fork"


def test_what_is_executed_inherits_no_large_stack(pool):
    """It would be the size of each of its threads' stacks, all of which count when they start."""
    code = """
import subprocess, sys
ask = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0] >> 20)"
print(subprocess.check_output([sys.executable, "-c", ask], text=True))
"""
    assert pool.run(code, recursion_limit=50_000).stdout.split() == ["64"]


def test_snapshots_have_them_as_well():
    """Runs of a snapshot can have several processes."""
    with Pool(1, tier="namespaces", limits=LIMITS) as pool, pool.snapshot("base = 40") as snapshot:
        result = snapshot.run("import os\nif os.fork() == 0: print(base + 2)\nelse: os.wait()")
    assert result.stdout == "42\n", result


def test_functions_have_them_as_well(pool):
    """A function of an untrusted program may use several processes."""
    source = """
import multiprocessing
def square(x): return x * x
def squares(n):
    with multiprocessing.Pool(2) as pool:
        return pool.map(square, range(n))
"""
    assert pool.function(source, "squares")(4) == [0, 1, 4, 9]


def test_the_landlock_tier_refuses_by_name():
    """Where no pid namespace holds them, more than one process is the caller's mistake."""
    with pytest.raises(PolicyError, match=r"landlock.*processes=1"):
        Pool(1, tier="landlock", limits=LIMITS)
    with Pool(1, tier="landlock") as other:
        for limits in (LIMITS, Limits(processes=None)):
            with pytest.raises(PolicyError, match="landlock"):
                other.run("", limits=limits)
        assert other.run("print(1)").ok


def test_sessions_refuse_by_name(pool):
    """A session is one process: asking for more says so, and how to have one here all the same."""
    with pytest.raises(PolicyError, match="a session is one process"):
        pool.session()
    with contextlib.closing(pool.session(limits=Limits())) as session:
        assert session.run("1 + 1").value == "2"


def test_the_command_takes_a_number(tmp_path):
    """`pool run --processes N`."""
    file = tmp_path / "main.py"
    file.write_text(PROGRAMS["fork"])

    def run(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable,
            "-c",
            "from interpreter_pool.pool.command import main; main()",
            "run",
        ]
        return subprocess.run(
            [*command, *options, str(file)], capture_output=True, text=True, timeout=60
        )

    assert run("--processes", "2", "--json").stdout.count("child") == 1
    refused = run("--processes", "2", "--tier", "landlock")
    assert (refused.returncode, "landlock tier" in refused.stderr) == (125, True)
    assert json.loads(run("--json").stdout)["reason"] == "exception"


def test_more_processes_than_linux_can_have_are_any_number(pool):
    """They are no reason to say that the host can't have several."""
    for processes in (4194304, 9_999_999_999):
        limits = Limits(processes=processes)
        assert pool.run("import os; print(os.fork() >= 0)", limits=limits).ok


def test_without_a_cgroup_all_of_them_are_watched(monkeypatch):
    """Where no cgroup counts, memory, CPU time and number of processes are looked at, of them all."""
    monkeypatch.setattr("interpreter_pool.sandbox.host.probe.writable_cgroup", lambda runtime: None)
    code = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        exec(sys.argv[1])
        os._exit(0)
for _ in range(3): os.wait()
"""
    limits = LIMITS.replace(memory_bytes=128 << 20, cpu_s=2)
    with Pool(1, tier="namespaces", limits=limits) as pool:
        hold = "held = bytearray(os.urandom(1 << 20)) * 60; time.sleep(5)"
        assert pool.run(code, args=(hold,)).reason == "memory"
        executed = f"os.execl(sys.executable, 'python', '-c', 'import os, time; {hold}')"
        assert pool.run(code, args=(executed,)).reason == "memory"
        assert pool.run(code, args=("while True: pass",)).reason == "cpu_timeout"
        many = "[os.fork() for _ in range(3)]; time.sleep(5)"
        result = pool.run(code, args=(many,))
        assert result.reason == "denied" and "more than 6 (Limits.processes)" in result.detail
        assert pool.run(code, args=("time.sleep(0)",)).ok


SHARING = """
import mmap, multiprocessing, os
number = multiprocessing.get_context("fork").Value("i", 0)
try:
    shared = mmap.mmap(-1, 4096)
except OSError as error:
    print(error)
    shared = None
if os.fork() == 0:
    number.value = 7
    if shared:
        shared[0] = 7
    os._exit(0)
os.wait()
print(number.value, shared and shared[0])
"""


@pytest.mark.parametrize("grouped", [True, False], ids=["with cgroups", "without"])
def test_processes_of_runs_and_snapshots_share_memory_where_it_is_counted(monkeypatch, grouped):
    """multiprocessing shares files, always; memory in no file is refused without a cgroup, in words."""
    if not grouped:
        place = "interpreter_pool.sandbox.host.probe.writable_cgroup"
        monkeypatch.setattr(place, lambda runtime: None)
    with Pool(1, tier="namespaces", limits=LIMITS) as pool, pool.snapshot("import os") as snapshot:
        for run in (pool.run, lambda code: snapshot.run(code, limits=LIMITS)):
            result = run(SHARING)
            if pool.engine.plan.cgroup_parents is not None:
                assert result.stdout == "7 7\n", result
            else:
                assert "no cgroup counts memory on this host" in result.stdout
                assert result.stdout.endswith("7 None\n"), result
