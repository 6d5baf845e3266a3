"""Exhaustion: a program that takes all it can get takes its own share."""

import json
import signal
import subprocess

import psutil
import pytest

from interpreter_pool import ExitReason, Limits, Pool
from interpreter_pool.sandbox.session.state import State

SMALL = Limits(memory_bytes=64 << 20, disk_bytes=4 << 20, files=200, output_bytes=1 << 20)

FORK_BOMB = """
import os, threading
def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass
try:
    while True:
        threading.Thread(target=bomb).start()
except RuntimeError:
    bomb()
"""

THREADS = """
import json, sys, threading, time
wait = threading.Event()
started = 0
try:
    while started < int(sys.argv[1]):
        threading.Thread(target=wait.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
time.sleep(0.2)  # where threads are watched, nobody looks every moment
wait.set()
print(json.dumps(started))
"""


def test_r1_bombs_of_processes_and_threads_are_capped(attack, outside):
    """R1: a fork bomb runs into its time limit, a thread bomb into EAGAIN at limits.threads."""
    assert attack(FORK_BOMB, timeout=1).reason in ("wall_timeout", "denied")
    # No control for the fork bomb: it would be one.
    limits = Limits(threads=20)
    result = attack(THREADS, limits=limits, args=["10000"])
    # A tier that can only watch the number ends the run instead.
    assert result.reason == "denied" or json.loads(result.stdout) < 20
    assert outside.report(THREADS, args=["100"]) == 100


IGNORING = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        began = time.process_time()
        while time.process_time() < began + 0.05:
            pass
        os._exit(0)
    time.sleep(0.06)
"""


def test_r1_bombs_are_capped_where_processes_are_allowed(attack):
    """R1: bombs of processes, also of ones that nobody waits for, meet their limits all the same."""
    if attack.pool.tier != "namespaces":
        return
    several = Limits(processes=8, cpu_s=1)
    assert attack(FORK_BOMB, limits=several).reason in ("wall_timeout", "cpu_timeout", "denied")
    one_thread = several.replace(threads=1)
    assert attack(FORK_BOMB, limits=one_thread).reason in ("wall_timeout", "cpu_timeout")
    ended = attack(IGNORING, limits=several.replace(processes=50, cpu_s=0.5), timeout=8)
    # Without a cgroup only the wall clock counts these.
    assert ended.reason in ("cpu_timeout", "wall_timeout")


AT_ONCE = "import sys; print(len(bytearray(int(sys.argv[1]) << 20)))"

APPEND = """
import sys
kept = []
while len(kept) < int(sys.argv[1]):
    kept.append(bytearray(b"x" * (1 << 20)))
print(len(kept))
"""

SWALLOW = """
import sys
kept = []
while len(kept) < int(sys.argv[1]):
    try:
        kept.append(bytearray(b"x" * (1 << 20)))
    except MemoryError:
        pass
print(len(kept))
"""

SHARED = """
import mmap, sys
kept = []
while len(kept) < int(sys.argv[1]):
    kept.append(mmap.mmap(-1, 1 << 20))
    kept[-1][:] = bytes([len(kept) % 255 + 1]) * (1 << 20)
print(len(kept))
"""

FROM_A_THREAD = """
import ctypes, mmap, os, sys, threading
def fill():
    kept = []
    while len(kept) < int(sys.argv[1]):
        kept.append(mmap.mmap(-1, 1 << 20))
        kept[-1][:] = b"x" * (1 << 20)
    os.write(1, b"%d\\n" % len(kept))
    os._exit(0)
threading.Thread(target=fill).start()
libc = ctypes.CDLL(None)
libc.pthread_exit(0)
"""


@pytest.mark.parametrize("code", [AT_ONCE, APPEND, SWALLOW, SHARED, FROM_A_THREAD])
def test_r2_memory_is_capped(attack, outside, pool, code):
    """R2: memory taken at once, bit by bit, past every MemoryError, or shared ends the run. Where no
    cgroup counts it, none is shared, and a map can't be had.
    """
    replaced = pool.stats().replaced
    result = attack(code, limits=SMALL, args=[str(1 << 20)])
    expected = ("memory", "wall_timeout") if code is SWALLOW else ("memory",)
    refused = code in (SHARED, FROM_A_THREAD) and "Cannot allocate memory" in result.stderr
    assert result.reason in expected or refused, result
    assert result.peak_memory_bytes is None or result.peak_memory_bytes <= 96 << 20
    assert pool.stats().replaced == replaced
    assert outside(code, args=("100",)).stdout.strip() in (b"100", b"104857600")


INVISIBLE = """
import mmap, os, sys
size = int(sys.argv[1]) << 20
try:
    if sys.argv[2] == "anonymous":
        memory = mmap.mmap.__mro__[-2](-1, size)  # Python's own, whatever stands in its place
    else:
        memory = mmap.mmap(os.open("/dev/zero", os.O_RDWR), size)
except OSError:
    sys.exit(3)
for at in range(0, size, 1 << 20):
    memory[at : at + (1 << 20)] = b"x" * (1 << 20)
    memory.madvise(mmap.MADV_DONTNEED, at, 1 << 20)  # it is not mapped any more, and still there
    os.write(1, b".")
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * 4096 >> 20)
"""


@pytest.fixture(params=["with cgroups", "without"])
def uncounted(request, tier, monkeypatch):
    """A pool of one worker, where a cgroup counts its memory, if one can be had, and where none does."""
    if request.param == "without":
        place = "interpreter_pool.sandbox.host.probe.writable_cgroup"
        monkeypatch.setattr(place, lambda runtime: None)
    with Pool(1, tier=tier, limits=SMALL.replace(wall_s=10)) as pool:
        yield pool


@pytest.mark.parametrize("source", ["anonymous", "/dev/zero"])
def test_m1_memory_that_no_count_of_maps_sees_is_capped(uncounted, outside, source):
    """M1: pages of a shared map that was given up piece by piece are counted, or can't be had."""
    result = uncounted.run(INVISIBLE, args=["1024", source])
    assert result.reason == "memory" or result.exit_code == 3, result
    assert len(result.stdout) <= 80
    assert uncounted.run("print(1)").stdout == "1\n"
    held, resident = outside(INVISIBLE, args=("200", source)).stdout.rsplit(b".", 1)
    assert (len(held), int(resident) < 150) == (199, True)


@pytest.mark.parametrize("source", ["anonymous", "/dev/zero"])
@pytest.mark.parametrize("history", [16, 0])
def test_m1_memory_that_no_count_of_maps_sees_is_capped_in_a_session(uncounted, history, source):
    """M1: nor in a session, over any number of calls; its siblings and its earlier state are whole."""
    with (
        uncounted.session(history=history) as session,
        uncounted.session() as sibling,
    ):
        sibling.run("y = 2")
        session.run(
            "import sys; x = bytearray(b'x') * (40 << 20); sys.argv = ['', '1024', sys.argv]"
        )
        session.run(f"sys.argv[2] = {source!r}")
        # What is left of what it held is larger than what it holds, as it seems.
        result = session.run(f"del x\n{INVISIBLE}")
        assert (result.reason, result.rolled_back) in (("memory", 1), ("exit", 0)), result
        assert len(result.stdout) <= 64 + 16
        if result.rolled_back:
            assert session.run("len(x) >> 20").value == "40"
        assert sibling.run("y").value == "2"
        in_pieces = INVISIBLE.replace("size = int(sys.argv[1]) << 20", "size = 24 << 20")
        for n in range(8):
            session.run(in_pieces.replace("memory", f"memory{n}"))
        assert session.held.held_bytes() < 2 * (64 + 8 << 20)


LOOK_UP = """
import os, sys
folder = os.path.dirname(os.__file__)
for n in range(60_000):
    try:
        os.stat(f"{folder}/{'x' * 200}{sys.argv[1]}-{n}")
    except OSError:
        pass
"""


def test_m2_a_limit_does_not_grow_with_what_runs_leave_behind(attack, outside):
    """M2: names that were looked up and are not there stay with a worker's cgroup; the next run is
    held to its own limit all the same, and an honest one has all of it.
    """
    limits = Limits(memory_bytes=16 << 20)
    for n in range(3):
        for _ in attack.pool.engine.workers:
            assert attack(LOOK_UP, args=[str(n)], limits=limits, timeout=20).reason in (
                "ok",
                "memory",
            )
    result = attack(INVISIBLE, args=["512", "anonymous"], limits=limits)
    assert len(result.stdout) <= 16 + 6, result
    assert attack("print(len(bytearray(13 << 20)))", limits=limits).ok
    assert len(outside(INVISIBLE, args=("100", "anonymous")).stdout.rsplit(b".", 1)[0]) == 99


REWRITE = """
held = bytearray(24 << 20)
def rewrite(n):
    for at in range(0, len(held), 4096):
        held[at] = n
"""


@pytest.mark.parametrize("looked_at", [True, False], ids=["looked at", "not to be looked at"])
def test_m3_kept_states_of_a_session_do_not_add_up(uncounted, control, monkeypatch, looked_at):
    """M3: a session that rewrites what it holds goes on, with fewer earlier states; what it holds is
    their sum. Without a limit on memory it keeps them all.
    """
    if not looked_at:
        monkeypatch.setattr(State, "proportional_bytes", lambda state: None)
    small = SMALL.replace(memory_bytes=56 << 20)
    for limits in (small, small.replace(memory_bytes=None)):
        with uncounted.session(limits=limits) as session:
            assert session.run(REWRITE).ok
            for n in range(7):
                result = session.run(f"rewrite({n})")
                assert (result.reason, result.checkpointed) == ("ok", True), result
            if limits is small:
                assert 1 <= session.history <= 5
                assert session.held.held_bytes() < 2 * (56 + 16 << 20)
                assert uncounted.stats().session_bytes < 2 * (56 + 16 << 20)
            else:
                assert session.history == 8
                assert session.held.held_bytes() > 7 * 24 << 20
                assert uncounted.stats().session_bytes > 7 * 24 << 20
                control()
            session.rollback()
            assert session.run("held[0]").value == "5"


@pytest.mark.parametrize("large", ["code", "args"])
def test_r2_a_program_too_large_for_its_memory_is_out_of_memory(attack, large):
    """R2: a program (or its arguments) that its own limit can't hold is no failure of ours.

    No control: it takes a limit to be over one.
    """
    text = "#" + "x" * (15 << 20)
    options = {"args": [text], "code": "pass"} if large == "args" else {"code": text}
    result = attack(**options, limits=Limits(memory_bytes=8 << 20), timeout=5)
    assert result.reason == "memory" or "cgroup" not in result.layers["memory"], result


PAGE_TABLES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
size = int(sys.argv[1]) << 30
start = libc.mmap(None, size, 1, 0x4022, -1, 0)  # PROT_READ, PRIVATE | ANONYMOUS | NORESERVE
if start in (None, ctypes.c_void_p(-1).value):
    raise MemoryError
for offset in range(0, size, 2 << 20):  # one page in each page table
    ctypes.c_char.from_address(start + offset).value
print("touched")
"""


def test_r2_page_tables_are_memory(attack, outside):
    """R2: memory that the kernel takes on a program's behalf counts as the program's."""
    result = attack(PAGE_TABLES, limits=SMALL, args=["256"], timeout=3)
    if "cgroup" in result.layers["memory"]:
        assert result.reason == "memory"
    assert outside(PAGE_TABLES, args=("1",)).stdout == b"touched\n"


def test_r2_memory_is_given_back_before_the_next_run(pool):
    """R2: what a run used is not charged to the runs after it."""
    for _ in range(3):
        pool.run(PAGE_TABLES, limits=SMALL, args=["256"], timeout=3)
        after = [pool.submit("x = bytearray(20 << 20)", limits=SMALL) for _ in range(4)]
        assert [str(future.result().reason) for future in after] == ["ok"] * 4


FILL = """
import json, sys
folder, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
made, error = 0, None
try:
    for made in range(count):
        with open(f"{folder}/{made}", "wb", buffering=0) as file:
            for _ in range(size >> 18):
                if file.write(bytes(1 << 18)) != 1 << 18:
                    raise OSError(28, "short write")
except OSError as problem:
    error = problem.errno
print(json.dumps([made, error]))
"""

MANY = {"large": ("1000000", str(1 << 20)), "empty": ("10000000", "0")}


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("folder", [".", "../tmp", "../shm"])
def test_r3_disk_is_capped(attack, outside, pool, folder, kind, tmp_path):
    """R3: filling the scratch with bytes or with files ends in ENOSPC, or in `denied`."""
    result = attack(FILL, limits=SMALL, args=[folder, *MANY[kind]])
    if pool.tier == "namespaces":
        made, error = json.loads(result.stdout)
        assert error in (28, 27) and made <= 220
    else:
        assert result.reason == "denied", result
    bounded = {"large": ("8", str(1 << 20)), "empty": ("300", "0")}[kind]
    assert outside.report(FILL, args=(str(tmp_path), *bounded))[1] is None


DEEP = """
import json, os, sys
written = 0
for _ in range(25):  # past PATH_MAX
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
try:
    for number in range(int(sys.argv[1])):
        with open(str(number), "wb", buffering=0) as file:
            for _ in range(4):
                written += file.write(bytes(1 << 18))
except OSError:
    pass
print(json.dumps(written >> 20))
"""

UNLINKED = """
import json, os, sys
written, kept = 0, []
try:
    for number in range(int(sys.argv[1])):
        kept.append(open("file", "wb", buffering=0))
        os.unlink("file")
        for _ in range(4):
            written += kept[-1].write(bytes(1 << 18))
except OSError:
    pass
print(json.dumps(written >> 20))
"""


@pytest.mark.parametrize("code", [DEEP, UNLINKED], ids=["deep", "unlinked"])
def test_r3_disk_is_capped_where_nobody_sees_it(request, attack, outside, pool, code):
    """R3: files deeper than any path is long, and files without a name, count as well."""
    if pool.tier == "landlock" and code is UNLINKED:
        reason = "the watch walks the tree: it does not see what is open and has no name"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    result = attack(code, limits=SMALL, args=["100"])
    assert result.reason == "denied" or json.loads(result.stdout) <= 5
    assert outside.report(code, args=("8",)) == 8


OPEN = """
import json, os, sys
kept, error = [], None
try:
    while len(kept) < int(sys.argv[1]):
        kept.append(os.open("/dev/null", os.O_RDONLY))
except OSError as problem:
    error = problem.errno
print(json.dumps([len(kept), error]))
"""


def test_r3_descriptors_are_capped(attack, outside):
    """R3: opening files for ever ends in EMFILE at limits.open_files."""
    opened, error = attack.report(OPEN, limits=Limits(open_files=50), args=["100000"])
    assert (opened <= 50, error) == (True, 24)
    assert outside.report(OPEN, args=("100",))[1] is None


FLOOD = """
import os, sys
streams = [int(each) for each in sys.argv[1]]
data, left = b"x" * int(sys.argv[2]), int(sys.argv[3])
while left:
    for stream in streams:
        os.write(stream, data)
    left -= 1
"""


@pytest.mark.parametrize("streams", ["1", "2", "12"])
@pytest.mark.parametrize("piece", [1, 100_000])
def test_r4_endless_output_is_cut_off(attack, outside, streams, piece):
    """R4: a flood on stdout, stderr or both ends with `output`; the host keeps the cap's worth."""
    host = psutil.Process()
    attack("print('x' * 900_000)")
    before = host.memory_info().rss
    result = attack(FLOOD, limits=SMALL, timeout=10, args=[streams, str(piece), "-1"])
    assert result.reason == "output"
    assert len(result.stdout_bytes) <= 1 << 20 >= len(result.stderr_bytes)
    assert (result.stdout_truncated or result.stderr_truncated) and not result.ok
    assert host.memory_info().rss - before < 16 << 20
    done = outside(FLOOD, args=(streams, "100000", "20"))
    assert len(done.stdout) + len(done.stderr) == 2_000_000 * len(streams)


LONG = {
    "catastrophic regex": "import re; re.match('(a|a)*$', 'a' * 40 + 'b')",
    "holds the GIL": "import itertools; sum(itertools.repeat(0))",
    "power": "print(len(str(10 ** 10 ** 10)))",
    "sort": "sorted(range(10 ** 9), key=lambda x: -x)",
}


@pytest.mark.parametrize("name", LONG)
def test_r5_long_computations_end_with_the_limit(attack, outside, name):
    """R5: nothing that runs long in C, with or without the GIL, outlives the time limit."""
    result = attack(LONG[name], timeout=0.5)
    assert result.reason in ("wall_timeout", "memory"), result
    if name in ("catastrophic regex", "holds the GIL"):  # the others take all memory first
        with pytest.raises(subprocess.TimeoutExpired):
            outside(LONG[name], timeout=1)


def test_r5_huge_numbers_are_refused_by_python(attack, outside):
    """R5: str() of a number with too many digits is an exception, as everywhere."""
    result = attack("str(10 ** 100_000)")
    assert (result.reason, result.exception.type) == ("exception", "ValueError")
    assert outside("str(10 ** 100_000)").returncode == 1


STACK_END = """
import ctypes, sys
sys.setrecursionlimit(1 << 30)
class Deep:
    def __repr__(self):
        return repr([self.inner()])
    def inner(self):
        return Deep()
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def back(one, other):
    libc.qsort(array, 2, 4, callback)
    return 0
libc = ctypes.CDLL(None)
array = (ctypes.c_int * 2)(2, 1)
callback = compare(back)
libc.qsort(array, 2, 4, callback)
"""


def test_r6_the_end_of_the_stack_is_the_end_of_the_program(attack, outside):
    """R6: recursion through C past the end of the stack is SIGSEGV; Python's own an exception."""
    result = attack(STACK_END, timeout=5)
    assert (result.reason, result.signal) == ("signal", signal.SIGSEGV), result
    assert "the end of the stack" in result.detail
    assert attack("def f(): f()\nf()").exception.type == "RecursionError"
    ulimit = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    assert outside(ulimit + STACK_END).returncode == -signal.SIGSEGV


RAISE = """
import json, resource, sys
names = ["CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC"]
names += ["RTPRIO", "SIGPENDING"]
raised = []
for name in names:
    which = getattr(resource, "RLIMIT_" + name)
    if "lower" in sys.argv:
        resource.setrlimit(which, (0 if name != "NOFILE" else 20, resource.getrlimit(which)[1]))
    soft, hard = resource.getrlimit(which)
    for wanted in ((hard, hard), (resource.RLIM_INFINITY, hard), (resource.RLIM_INFINITY,) * 2):
        try:
            resource.setrlimit(which, wanted)
        except (OSError, ValueError):
            pass
    if resource.getrlimit(which)[0] != soft:
        raised.append(name)
print(json.dumps(raised))
"""


def test_r6_no_limit_can_be_raised(attack, outside):
    """R6: hard limits equal soft ones, and neither can be lifted, but for the stack's, and that on
    data where a cgroup counts memory.
    """
    raised = attack.report(RAISE, limits=Limits(cpu_s=5))
    assert raised == (["DATA"] if is_counted(attack) else [])
    assert "NOFILE" in outside.report(RAISE, args=("lower",))


def is_counted(attack) -> bool:
    """Whether a cgroup counts the memory of runs."""
    return "cgroup" in attack.pool.run("pass").layers["memory"]


RAISE_DATA = """
import resource
try:
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except ValueError:
    pass
kept = []
while True:
    kept.append(bytearray(1 << 20))
"""


def test_r6_raised_data_counts_as_memory(attack):
    """R6: who lifts its limit on data is ended at its limit on memory all the same."""
    result = attack(RAISE_DATA, limits=Limits(memory_bytes=64 << 20), timeout=20)
    assert result.reason == "memory", result


RAISE_STACK = """
import resource
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("raised", flush=True)
"""


def test_r6_a_stack_without_limit_counts_as_memory(attack, outside):
    """R6: as programs that recurse deeply have it; what they take then ends them at their limit."""
    result = attack(RAISE_STACK + STACK_END, limits=Limits(memory_bytes=64 << 20), timeout=20)
    assert (result.stdout, result.reason) == ("raised\n", "memory"), result
    assert b"raised" in outside(RAISE_STACK).stdout


ABORT = """
import ctypes, json, os, resource, sys
facts = [resource.getrlimit(resource.RLIMIT_CORE)[1], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)]
print(json.dumps(facts), flush=True)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.abort()
"""


def test_r7_an_abort_leaves_no_core(attack, outside, pool):
    """R7: os.abort() is SIGABRT; a core file is impossible twice over: an rlimit that keeps it from
    pipes as well, not dumpable."""
    result = attack(ABORT)
    assert (result.reason, result.signal) == (ExitReason.SIGNAL, signal.SIGABRT)
    shown = pool.engine.plan.shown  # the host must see it, in /proc
    assert json.loads(result.stdout) == [1, int(shown)]
    done = outside(ABORT)
    assert done.returncode == -signal.SIGABRT
    assert json.loads(done.stdout)[1] == 1
