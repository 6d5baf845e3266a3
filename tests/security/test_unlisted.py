"""Programs of the same kinds as the corpus's rows that are not listed there."""

import json
import os

import pytest

from interpreter_pool import Asserts, Call, Limits, Pool

from .syscalls import BAD, let_through, program

CALLS = (
    # prctl: MM, SECCOMP, SYSCALL_USER_DISPATCH, SPECULATION_CTRL, IO_FLUSHER, SCHED_CORE, VMA,
    # TIMERSLACK, TSC, MCE_KILL, KEEPCAPS, PTRACER
    ("prctl", 35, 1, BAD, 0, 0), ("prctl", 22, 2, BAD), ("prctl", 59, 1, 0, 0, BAD),
    ("prctl", 53, 0, 4, 0, 0), ("prctl", 57, 1, 0, 0, 0), ("prctl", 62, 1, 0, 1, 0),
    ("prctl", 0x53564D41, 0, BAD, 1, BAD), ("prctl", 29, 1), ("prctl", 26, 2), ("prctl", 33, 1, 0),
    ("prctl", 8, 1), ("prctl", 0x59616D61, -1),
    ("landlock_add_rule", -1, 1, BAD, 0), ("landlock_restrict_self", -1, 0), ("seccomp", 3, 0, BAD),
    ("mlock", BAD, 1), ("mlockall", 99), ("mlock2", BAD, 1, 99), ("remap_file_pages", BAD, 0, 0, 0, 0),
    ("timer_create", 99, BAD, BAD), ("timerfd_create", 8, 0), ("timerfd_create", 9, 0),
    ("tee", -1, -1, 1, 0), ("signalfd", -1, BAD, 8), ("inotify_init",), ("fanotify_mark", -1, 0, 0, -1, BAD),
    ("mbind", BAD, 1, 9, BAD, 1, 0), ("set_mempolicy", 9, BAD, 1), ("move_pages", 0, 1, BAD, BAD, BAD, 0),
    ("name_to_handle_at", -1, BAD, BAD, BAD, 0), ("open_by_handle_at", -1, BAD, 0), ("getcpu_none",),
    ("process_madvise", -1, BAD, 1, 0, 0), ("process_mrelease", -1, 0), ("pidfd_send_signal", -1, 9, 0, 0),
    ("pidfd_getfd", -1, 0, 0), ("epoll_pwait2", -1, BAD, 1, 0, 0), ("futex_waitv", BAD, 1, 0, 0, 0),
    ("quotactl_fd", -1, 99, 0, BAD), ("openat2", -1, BAD, BAD, 24), ("pkey_alloc", 99, 0),
    ("io_setup", 1, BAD), ("io_submit", 1, 1, BAD), ("vserver",), ("uselib", BAD), ("sysfs", 9, 0, 0),
    ("ustat", 0, BAD), ("lookup_dcookie", 0, BAD, 1), ("socket", 1, 99, 0), ("accept", -1, 0, 0),
    ("bind", -1, BAD, 0), ("listen", -1, 0), ("setsockopt", -1, 1, 1, BAD, 4), ("sendmmsg", -1, BAD, 1, 0),
    ("get_robust_list", 1, BAD, BAD), ("sched_setattr", 0, BAD, 0), ("setfsuid", 0), ("setns", -1, 0),
    ("rt_sigqueueinfo", "parent", 18, BAD), ("rt_tgsigqueueinfo", "parent", "parent", 18, BAD),
    ("ioprio_get", 1, 1), ("sync_file_range", -1, 0, 0, 0), ("readahead", -1, 0, 1), ("vmsplice", 1, BAD, 1, 0),
)  # fmt: skip

HARMLESS = (("mlock", BAD, 1), ("openat2", -1, BAD, BAD, 24), ("timer_create", 99, BAD, BAD))


def test_more_calls_are_refused(attack, outside):
    """K3, K4, K5: calls near those of the rows: of memory, events, signals, handles, limits, prctl."""
    assert let_through(attack.report(program(*CALLS))) == {}
    assert let_through(outside.report(program(*HARMLESS)))


WRITE = """
import json, os, sys
opened = []
for name in sys.argv[1:]:
    for path in (f"/proc/self/{name}", f"/proc/thread-self/{name}", f"/proc/1/{name}"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            opened.append(name)
        except OSError:
            pass
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        opened.append(path)
    except OSError:
        pass
print(json.dumps(opened))
"""

OF_PROC = (
    "mem", "comm", "oom_score_adj", "clear_refs", "coredump_filter", "timerslack_ns", "setgroups",
    "uid_map", "gid_map", "autogroup", "attr/current", "loginuid", "sched", "projid_map",
)  # fmt: skip


def test_nothing_of_proc_is_written(attack, outside):
    """F5, R6, P2: not its memory, name, maps of ids, weight for the OOM killer, or the kernel's own."""
    assert attack.report(WRITE, args=list(OF_PROC)) == []
    assert {"comm", "mem"} <= set(outside.report(WRITE, args=("comm", "mem")))


ODD = {
    "prints without stdout": "import os; os.close(1); print('x')",
    "opens its stdout anew": "open('/proc/self/fd/1', 'w').write('a'); print('b')",
    "swaps its streams": "import os; os.dup2(2, 1); print('x')",
    "an importer that exits": "import sys\nclass F:\n def find_spec(self, *_): raise SystemExit(7)\n"
    "sys.meta_path.insert(0, F())\nprint(1)",
    "a trace that exits": "import sys\ndef f(*_): raise SystemExit(9)\nsys.setprofile(f)\nlen('x')",
    "faulthandler": "import faulthandler, signal\nsignal.signal(signal.SIGABRT, lambda *_: 0)\n"
    "faulthandler.dump_traceback_later(60, exit=True); print(1)",
    "a customizer in its folder": "open('sitecustomize.py', 'w').write('1/0')\nprint(1)",
    "alarms": "import signal, time\nsignal.signal(14, lambda *_: None)\n"
    "signal.setitimer(0, 1e-3, 1e-3)\ntime.sleep(0.05)\nsignal.setitimer(0, 0)\nprint(1)",
    "an exception that is none": "class M(type):\n __name__ = property(lambda s: 1 / 0)\n"
    "class E(Exception, metaclass=M): pass\nraise E",
    "a chain of exceptions": "e = None\nfor i in range(300):\n n = ValueError(i); n.__context__ = e; e = n\nraise e",
    "notes that are none": "e = ValueError(); e.__notes__ = 5\nraise e",
    "an alarm that nobody takes": "import signal, time\nsignal.alarm(1); time.sleep(0.01)\nsignal.raise_signal(14)",
    "a full pipe, without waiting": "import os; os.set_blocking(1, False)\nn = 0\nwhile n < 300_000:\n"
    " try: n += os.write(1, b'x' * 1000)\n except BlockingIOError: pass",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_programs_end_as_under_python(attack, outside, name):
    """O2, O3, H3: streams closed and swapped, hooks that loop, odd exceptions: python's own end."""
    result, expected = attack(ODD[name], timeout=5), outside(ODD[name])
    assert (result.returncode, result.stdout_bytes) == (expected.returncode, expected.stdout)


@pytest.mark.parametrize("number", ["SIGTTOU", "SIGTTIN", "SIGTSTP"])
def test_terminals_signals_stop_nobody(attack, number):
    """H1: a program that stops itself as a terminal would is not stopped, or ends with its time."""
    code = f"import os, signal; os.kill(os.getpid(), signal.{number}); print(1)"
    assert attack(code, timeout=0.5).reason in ("ok", "wall_timeout")


COLLECTED = {
    "nothing may be read": ("open('a', 'w').write('x'); os.chmod('a', 0); os.chmod('.', 0)", {"a"}),
    "its folder is gone": ("h = os.getcwd(); os.chdir('/'); shutil.rmtree(h)", set()),
    "a file for its folder": (
        "h = os.getcwd(); os.unlink(__file__); os.rmdir(h); open(h, 'w').close()",
        set(),
    ),
    "a link for its folder": (
        "h = os.getcwd(); os.unlink(__file__); os.rmdir(h); os.symlink('/etc', h)",
        set(),
    ),
    "pipes": ("os.mkfifo('f')", set()),
    "loops": ("os.symlink('.', 'a'); os.symlink('b', 'b')", set()),
    "names of all kinds": (
        r"for n in (b'\xff', b'\n', b'-rf', b'\x1b[2J', b' ', '\u202e'.encode()): open(n, 'w').close()",
        {"\udcff", "\n", "-rf", "\x1b[2J", " ", "\u202e"},
    ),
    "far too long": ("f = open('s', 'wb'); f.truncate(1 << 62)", {"s"}),
    "many links to one file": (
        "open('a', 'wb').write(bytes(1 << 20))\nfor n in range(99): os.link('a', f'l{n}')",
        None,
    ),
    "a folder for its own file": (
        "os.unlink('main.py'); os.mkdir('main.py'); open('main.py/x', 'w').close()",
        {"main.py/x"},
    ),
}


@pytest.mark.parametrize("name", COLLECTED)
def test_what_is_collected_is_the_programs_own(attack, name):
    """F6, O6: whatever it makes of its folder, the host takes its files, and no more than it may have.
    (F6's own test has the control.)
    """
    code, expected = COLLECTED[name]
    limits = Limits(disk_bytes=8 << 20)
    result = attack(f"import os, shutil\n{code}", collect=("**",), limits=limits, timeout=5)
    if name == "nothing may be read" and result.tier == "namespaces" and os.geteuid() != 0:
        assert "a" in result.files_skipped, result  # the host may not, either, and says so
        expected = set()
    assert expected is None or set(result.files) == expected, result
    assert sum(map(len, result.files.values())) <= 8 << 20
    json.dumps(result.to_dict())


def test_loaders_variables_gain_nothing(tier, canaries):
    """K6, P2: a program of several processes that sets LD_PRELOAD, LD_AUDIT and PYTHON* for what it
    executes runs its own code, as confined as before. (F1's own test has the control.)
    """
    if tier != "namespaces":
        return
    code = """
import json, os, subprocess, sys
open("sitecustomize.py", "w").write(
    "import ctypes, json, os\\n"
    "libc = ctypes.CDLL(None)\\n"
    "print(json.dumps([os.path.exists(os.environ['CANARY']), libc.prctl(21, 0, 0, 0, 0),"
    " libc.prctl(39, 0, 0, 0, 0), libc.unshare(0x10000000)]), flush=True)\\n"
)
extra = {"PYTHONPATH": os.getcwd(), "PYTHONSTARTUP": "sitecustomize.py", "LD_PRELOAD": os.getcwd()}
extra |= {"LD_LIBRARY_PATH": os.getcwd(), "LD_AUDIT": "x.so", "PYTHONINSPECT": "1"}
environment = dict(os.environ) | extra | {"CANARY": sys.argv[1]}
subprocess.run([sys.executable, "-c", "pass"], env=environment)
"""
    limits = Limits(processes=4)
    with Pool(1, tier=tier, limits=limits) as pool:
        result = pool.run(code, args=[str(canaries.file)])
        assert json.loads(result.stdout) == [False, 2, 1, -1], result
        assert os.path.exists(canaries.file) and pool.run("print(1)").stdout == "1\n"


SENDS = """
import socket, os
def f(x):
    judge = socket.socket(fileno=os.dup(3))
    for _ in range(200):
        try:
            socket.send_fds(judge, [b"\\0"], [0, 1, 2, 3])
        except OSError:
            break
    return 4
"""


def test_descriptors_sent_to_the_judge_go_nowhere(pool):
    """W9, O6: with what a judged program says may come descriptors: the host takes none, and the test
    gets none. (No control: outside there is no judge.)
    """
    open_ = len(os.listdir("/proc/self/fd"))
    cases = [Asserts("assert f(2) == 4", "f"), Call("f", (2,), expected=4)]
    verdict = pool.judge(SENDS, cases, limits=Limits(wall_s=3))
    assert verdict.conclusive and not verdict.cases[0].passed, verdict.cases
    assert len(os.listdir("/proc/self/fd")) <= open_ + 2
    assert pool.judge("def f(x): return 2 * x", cases).passed


LOCKS = """
import fcntl, os, struct, time
end = time.monotonic() + 0.5
made, files = 0, [open(str(number), "wb") for number in range(100)]
try:
    while time.monotonic() < end:
        for file in files:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * made)
        made += 1
except OSError:
    pass
print(made > 9)
"""


def test_locks_end_with_their_run(attack, outside):
    """R3, L2: as many locks as there is time for are gone with their run, and hold up nobody."""
    assert attack(LOCKS, timeout=3).stdout == "True\n"
    assert outside(LOCKS).stdout == b"True\n"
