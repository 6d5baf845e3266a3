"""Between runs: a run finds nothing of another, and nothing of the host."""

import json
import os
import platform
import re
import socket
import subprocess
import sys

import pytest

from interpreter_pool import Pool

from .syscalls import program

UNSET = """
import builtins, gc, json, locale, os, random, re, resource, signal, socket, sys, threading
import time, types, warnings
sys.stdout.reconfigure(encoding="latin-1")
sys.modules["json"] = sys.modules["math"] = types.ModuleType("fake")
sys.modules["fake"] = sys
sys.path[:] = ["/nowhere"]
sys.argv[:] = ["left"]
os.environ["LEFT"] = "behind"
os.umask(0o777)
sys.setrecursionlimit(100)
sys.addaudithook(lambda *_: None)
sys.setswitchinterval(10)
sys.set_int_max_str_digits(0)
sys.dont_write_bytecode = False
gc.disable()
warnings.simplefilter("error")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
socket.setdefaulttimeout(1)
threading.stack_size(1 << 20)
random.seed(1)
locale.setlocale(locale.LC_ALL, "C")
re.compile = None
builtins.len = builtins.open = None
os.chdir("/tmp" if os.path.isdir("/tmp") else "/")
print("set")
builtins.print = None
"""

STANDING = """
import gc, json, locale, os, re, resource, signal, socket, sys, threading, warnings, builtins, math
print(json.dumps({
    "modules": [json.__name__, math.__name__, "fake" in sys.modules],
    "path": sys.path, "argv": sys.argv, "environment": dict(os.environ), "cwd": os.getcwd(),
    "umask": os.umask(0o22), "recursion": sys.getrecursionlimit(), "gc": gc.isenabled(),
    "switch": sys.getswitchinterval(), "digits": sys.get_int_max_str_digits(),
    "warnings": [str(each) for each in warnings.filters],
    "signals": [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "timer": signal.getitimer(signal.ITIMER_REAL),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "timeout": socket.getdefaulttimeout(), "stack": threading.stack_size(),
    "locale": locale.setlocale(locale.LC_ALL), "compile": str(type(re.compile)),
    "builtins": [str(type(len)), str(type(open)), str(type(print))],
    "encoding": sys.stdout.encoding, "threads": threading.active_count(),
    "priority": os.getpriority(os.PRIO_PROCESS, 0), "group": os.getpgid(0) == os.getpid(),
}))
"""


def test_l1_state_of_the_interpreter_does_not_pass_on(attack, pool, outside):
    """L1: builtins, modules, paths, masks, timers, locale and limits are as new in every run."""
    first = _standing(attack)
    for _ in range(3):
        assert attack(UNSET).stdout == "set\n"
        assert _standing(attack) == first
    # In one process the second half sees what the first one did: it can't even print.
    assert outside(UNSET + STANDING).returncode != 0


def _standing(attack) -> str:
    """What a new run finds, without the number of the folder that it finds it in."""
    return re.sub(r"scratch-\d+", "scratch", attack(STANDING).stdout)


LEAVE = """
import fcntl, json, mmap, os, sys, tempfile, threading, time
top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
for folder in (os.getcwd(), tempfile.gettempdir(), "/dev/shm", f"{top}/shm", top, "/tmp"):
    try:
        file = open(f"{folder}/left-behind", "w")
        file.write("x")
        file.flush()
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.mkfifo(f"{folder}/left-fifo")
    except OSError:
        pass
locked = open(os.__file__)
fcntl.flock(locked, fcntl.LOCK_EX)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
"""

FIND = """
import fcntl, json, os, sys, tempfile, threading
top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
found = []
for folder in (os.getcwd(), tempfile.gettempdir(), "/dev/shm", f"{top}/shm", top, "/tmp"):
    try:
        found += [name for name in os.listdir(folder) if name.startswith("left")]
    except OSError:
        pass
try:
    fcntl.flock(open(os.__file__), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    found.append("lock")
found += ["thread"] * (threading.active_count() - 1)
print(json.dumps(found))
"""


def test_l2_files_locks_and_threads_do_not_pass_on(attack, outside):
    """L2: files, fifos, locks and threads left behind are gone when the next run starts."""
    for _ in range(3):
        attack(LEAVE)
        assert attack.report(FIND) == []
    assert "left-behind" in outside.report(LEAVE + FIND)


RANDOM = """
import json, os, random, secrets, tempfile, uuid
print(json.dumps([
    random.random(), random.Random().random(), str(uuid.uuid4()), secrets.token_hex(),
    os.urandom(8).hex(), tempfile.mktemp(), os.path.basename(tempfile.mkdtemp()),
]))
"""


def test_l3_randomness_differs_between_runs(attack, outside):
    """L3: random, uuid4, secrets, urandom and names of temporary files never repeat."""
    futures = [attack.pool.submit(RANDOM) for _ in range(10)]
    drawn = [json.loads(future.result().stdout) for future in futures]
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == len(drawn)
    fixed = "import random; random.seed(1); print(random.random())"
    assert attack(fixed).stdout_bytes == outside(fixed).stdout


LOOK = """
import json, os, platform, socket, sys
seen = [dict(os.environ), sys.argv, sys.orig_argv, sys.path, os.getcwd(), __file__]
seen += [sys.executable, sys.prefix, sys.base_prefix, os.__file__]
try:
    seen.append(socket.gethostname())
except OSError:
    pass
seen += [platform.node(), list(os.uname()), os.path.expanduser("~")]
for name in ("environ", "cmdline", "cgroup", "mountinfo", "mounts", "maps"):
    for pid in ("self", "1", str(os.getppid())):
        try:
            seen.append(open(f"/proc/{pid}/{name}", errors="replace").read())
        except OSError:
            pass
seen += [type(sys.modules.get(name)).__name__ for name in sys.argv[1:]]
for module in list(sys.modules.values()):
    seen.append(getattr(module, "__file__", None))
print(json.dumps(seen))
"""


def test_l4_the_host_shows_nothing_of_itself(attack, outside, pool, monkeypatch):
    """L4: environment, host name and command line of the host are not to be seen."""
    monkeypatch.setenv("POOL_TEST_SECRET", "t0p-s3cret")
    seen = attack(LOOK).stdout
    assert "t0p-s3cret" not in seen and "POOL_TEST" not in seen
    assert "pytest" not in seen.replace("/tmp/pytest", "")
    if pool.tier == "namespaces":
        assert socket.gethostname() not in seen or socket.gethostname() == "sandbox"
        assert platform.node() == "sandbox" or platform.node() not in seen
    assert b"t0p-s3cret" in outside(LOOK).stdout


def test_l4_paths_of_the_host_are_not_shown(request, attack, pool):
    """L4: a program finds no path of the host's own work; in a root of its own, none at all."""
    private = {os.getcwd(), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    if pool.tier == "namespaces":
        private |= {os.path.expanduser("~"), sys.base_prefix, sys.prefix} - {"/usr", "/usr/local"}
    seen = attack(LOOK).stdout
    shown = sorted(path for path in private if path in seen)
    if pool.tier == "namespaces" and shown:
        reason = "/proc/self/mountinfo names the sources of all binds (SECURITY.md says so)"
        request.applymarker(pytest.mark.xfail(reason=reason))
    assert shown == []


def test_l4_identity_is_the_jails(attack, pool):
    """L4: user and process numbers are the jail's own where there are namespaces."""
    code = (
        "import json, os; print(json.dumps([os.getuid(), os.getgid(), os.getpid(), os.getppid()]))"
    )
    user, group, _pid, parent = attack.report(code)
    if pool.tier == "namespaces":
        assert (user, group, parent) == (1000, 1000, 1)
        # A jail counts its own processes, whatever the host starts meanwhile.
        with Pool(size=1, tier="namespaces") as single:
            before = json.loads(single.run(code).stdout)[2]
            for _ in range(100):
                subprocess.run(["true"], check=True)
            assert before < json.loads(single.run(code).stdout)[2] < before + 50
    assert attack.report(program(("getppid",)))['["getppid"]'] == "done"
