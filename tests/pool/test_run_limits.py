"""Limits tell the truth: each ends a run with its own reason, or with an errno inside."""

import threading
import time

import pytest

from interpreter_pool import Limits, Pool

BUSY = "while True: pass"


def test_wall_time_ends_a_sleeper(pool):
    """The host's clock ends a run that does nothing, close to its time."""
    result = pool.run("import time; time.sleep(60)", timeout=0.3)
    assert result.reason == "wall_timeout"
    assert (result.exit_code, result.signal, result.ok) == (None, None, False)
    assert 0.3 <= result.wall_s < 3
    assert result.cpu_s < 0.2


def test_wall_time_ends_what_ignores_every_signal(pool):
    """Handlers and masks make no difference."""
    code = (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    )
    assert pool.run(code, timeout=0.3).reason == "wall_timeout"


def test_unlimited_wall_time_is_possible(pool):
    """None lifts the limit."""
    assert pool.run("print(1)", limits=pool.limits.replace(wall_s=None)).ok


@pytest.mark.parametrize("limit", [0.15, 0.5])
def test_cpu_time_counts_in_fractions(pool, limit):
    """CPU time ends a busy run near its limit, fractions of a second included."""
    result = pool.run(BUSY, limits=Limits(cpu_s=limit, wall_s=30))
    assert result.reason == "cpu_timeout"
    assert limit <= result.cpu_s < limit + 1


def test_cpu_time_counts_all_threads(pool):
    """Threads at work outside the GIL count together."""
    code = (
        "import threading, hashlib\ndata = b'x' * (1 << 26)\n"
        "def f():\n    while True: hashlib.sha256(data)\n"
        "for _ in range(2): threading.Thread(target=f).start()"
    )
    result = pool.run(code, limits=Limits(cpu_s=0.5, wall_s=30))
    assert result.reason == "cpu_timeout"
    assert result.cpu_s >= 0.5


def test_sleeping_costs_no_cpu_time(pool):
    """A run longer than its CPU limit is fine as long as it waits."""
    result = pool.run("import time; time.sleep(0.6)", limits=Limits(cpu_s=0.3))
    assert result.ok, result
    assert result.cpu_s < 0.3


def test_cpu_time_is_not_derived_from_wall_time(pool):
    """Without a CPU limit a busy run lasts as long as its wall time."""
    result = pool.run(BUSY, timeout=0.5)
    assert result.reason == "wall_timeout"


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(200 << 20)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "x = 'x' * (1 << 40)",
        "x = [0] * (200 << 20)",
        "def f(): raise MemoryError\nf()",
        "class Mine(MemoryError): pass\nraise Mine",
    ],
)
def test_too_much_memory_is_told(pool, code):
    """An allocation beyond the limit, uncaught, has the reason `memory`."""
    result = pool.run(code, limits=Limits(memory_bytes=64 << 20))
    assert result.reason == "memory", result
    assert (result.exit_code, result.signal) == (None, None)


def test_a_memory_error_can_be_caught(pool):
    """The error is raised inside, and a program that handles it goes on."""
    code = (
        "try:\n    bytearray(200 << 20)\nexcept MemoryError:\n    print('caught')\n"
        "x = bytearray(20 << 20)\nprint(len(x))"
    )
    result = pool.run(code, limits=Limits(memory_bytes=64 << 20))
    assert result.ok, result
    assert result.stdout == f"caught\n{20 << 20}\n"


def test_memory_shared_and_mapped_counts(pool):
    """A map that is asked for as shared ends the run at the limit: as `memory` where a cgroup counts
    it; elsewhere it is private, and can't be had.
    """
    code = (
        "import mmap, time\nm = mmap.mmap(-1, 200 << 20)\n"
        "for n in range(0, len(m), 4096): m[n] = 1\ntime.sleep(5)\nprint('survived')"
    )
    result = pool.run(code, limits=Limits(memory_bytes=64 << 20))
    refused = result.exception is not None and "Cannot allocate memory" in result.exception.message
    assert result.reason == "memory" or refused, result


def test_most_of_the_memory_can_be_used(pool):
    """A limit is no lie in the other direction: nine tenths of it are there."""
    result = pool.run("x = bytearray(90 << 20)\nprint(1)", limits=Limits(memory_bytes=100 << 20))
    assert result.ok, result


def test_a_peak_is_this_runs_own(pool):
    """A hungry run's peak is told, and does not show in the next one's."""
    hungry = pool.run("x = bytearray(100 << 20)")
    if hungry.peak_memory_bytes is None:
        assert "unknown" in hungry.layers["memory"]
        return
    assert 100 << 20 <= hungry.peak_memory_bytes < 140 << 20
    for _ in range(4):
        assert pool.run("print(1)").peak_memory_bytes < 20 << 20


def test_cpu_time_is_this_runs_own(pool):
    """A busy run's CPU time does not show in the next one's."""
    busy = pool.run("import time\nwhile time.process_time() < 0.5: pass")
    assert 0.4 < busy.cpu_s < 2
    for _ in range(4):
        assert pool.run("print(1)").cpu_s < 0.3


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_at_the_cap_is_fine_and_one_more_is_not(pool, stream):
    """The limit itself may be written; one byte more ends the run as `output`."""
    for size in (1, 1000, 65536, 100_000):
        limits = Limits(output_bytes=size)
        code = f"import sys; sys.{stream}.write('x' * {size})"
        result = pool.run(code, limits=limits)
        assert result.ok, (size, result)
        assert getattr(result, stream) == "x" * size
        assert not getattr(result, f"{stream}_truncated")
        more = pool.run(f"import sys; sys.{stream}.write('x' * {size + 1})", limits=limits)
        assert more.reason == "output"
        assert getattr(more, stream) == "x" * size
        assert getattr(more, f"{stream}_truncated")
        other = "stderr" if stream == "stdout" else "stdout"
        assert not getattr(more, f"{other}_truncated")


def test_each_stream_has_a_cap_of_its_own(pool):
    """The cap is per stream: both may be filled."""
    code = "import sys; sys.stdout.write('x' * 1000); sys.stderr.write('y' * 1000)"
    assert pool.run(code, limits=Limits(output_bytes=1000)).ok


def test_endless_output_ends_soon(pool):
    """A program that never stops printing is ended by its output, long before its time."""
    result = pool.run("while True: print('x' * 1000)", limits=Limits(wall_s=30))
    assert result.reason == "output"
    assert len(result.stdout_bytes) == 1 << 20
    assert result.wall_s < 10


WRITE = """
import errno
try:
    with open('big', 'wb', buffering=0) as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
    print('written')
except OSError as error:
    print(errno.errorcode[error.errno])
"""

MANY = """
import errno, os
try:
    for n in range(200):
        with open(f'file-{n}', 'wb', buffering=0) as file:
            file.write(os.urandom(1 << 19))
    import time
    time.sleep(5)
    print('written')
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_one_large_file_fails_inside(pool):
    """A file larger than the disk limit is EFBIG or ENOSPC, in both tiers; the run goes on."""
    result = pool.run(WRITE, limits=Limits(disk_bytes=8 << 20))
    assert result.ok, result
    assert result.stdout.strip() in ("EFBIG", "ENOSPC")


def test_many_files_over_the_disk_limit(pool):
    """Their sum is capped in the namespaces tier (ENOSPC), watched in the other (`denied`)."""
    result = pool.run(MANY, limits=Limits(disk_bytes=8 << 20))
    if pool.tier == "namespaces":
        assert (result.reason, result.stdout) == ("ok", "ENOSPC\n"), result
    else:
        assert result.reason == "denied", result
        assert result.detail == "wrote more than 8 MiB of files (Limits.disk_bytes): allow more"


def test_too_many_files(pool):
    """Inodes are capped in the namespaces tier (ENOSPC), watched in the other (`denied`)."""
    code = (
        "import errno, time\nmade = 0\ntry:\n    for n in range(300):\n"
        "        open(f'f{n}', 'w').close(); made += 1\n    time.sleep(5)\n"
        "except OSError as e: print(errno.errorcode[e.errno], made)"
    )
    result = pool.run(code, limits=Limits(files=50))
    if pool.tier == "namespaces":
        error, made = result.stdout.split()
        assert error == "ENOSPC"
        assert 50 <= int(made) < 58, "a few inodes are set aside for what is ours"
    else:
        assert result.reason == "denied", result
    assert pool.run(code.replace("300", "45").replace("sleep(5)", "sleep(0.1)"),
                    limits=Limits(files=50)).ok  # fmt: skip


@pytest.mark.slow
def test_threads_are_limited(pool):
    """A thread too many can't be started; those within the limit can."""
    code = (
        "import threading\ngate = threading.Event()\nn = 1\ntry:\n"
        "    while n < 40:\n        threading.Thread(target=gate.wait).start(); n += 1\n"
        "    import time; time.sleep(1)\n"
        "except RuntimeError as e: print(e)\nfinally: gate.set()\nprint(n)"
    )
    result = pool.run(code, limits=Limits(threads=10))
    if result.layers["threads"] == "watched":  # a host that can't cap them ends the run instead
        assert result.reason == "denied", result
        assert "more than 10 (Limits.threads)" in result.detail
        return
    assert result.ok, result
    assert result.stdout == "can't start new thread\n10\n"
    assert pool.run(code, limits=Limits(threads=40)).stdout == "40\n"


def test_open_files_are_limited(pool):
    """A descriptor too many is EMFILE, the standard three included."""
    code = (
        "import errno\nheld = []\ntry:\n    while True: held.append(open('/dev/null'))\n"
        "except OSError as e: print(errno.errorcode[e.errno], len(held) + 3)"
    )
    result = pool.run(code, limits=Limits(open_files=20))
    assert result.stdout == "EMFILE 20\n", result


def test_no_process_can_be_started(pool):
    """One process is all there is: fork, spawn and exec fail inside, and the run goes on."""
    code = (
        "import os, subprocess, sys\n"
        "for f in (os.fork, lambda: subprocess.run(['true']), lambda: os.execv('/bin/sh', ['sh']),"
        " lambda: os.posix_spawn('/bin/sh', ['sh'], {}), lambda: os.system('true') and 1/0):\n"
        "    try: f(); print('started')\n    except (OSError, ZeroDivisionError): print('refused')"
    )
    assert pool.run(code).stdout == "refused\n" * 5


def test_a_source_over_the_cap_is_the_callers_mistake(pool):
    """A program too large is refused with its size, the limit and the argument's name."""
    limits = Limits(source_bytes=100)
    assert pool.run("#" + "x" * 99, limits=limits).ok
    with pytest.raises(ValueError, match=r"code has 101 bytes.*source_bytes=100"):
        pool.run("#" + "x" * 100, limits=limits)
    with pytest.raises(ValueError, match="102 bytes"):
        pool.run("#" + "é" * 50 + "x", limits=limits)


def test_timeout_wins_over_limits(pool):
    """`timeout` is short for wall_s and outranks the limits given beside it."""
    began = time.monotonic()
    result = pool.run(BUSY, limits=Limits(wall_s=60), timeout=0.2)
    assert result.reason == "wall_timeout"
    assert time.monotonic() - began < 10


def test_limits_of_one_run_do_not_stay(pool):
    """A run with its own limits, tighter or wider, leaves the next one with the pool's."""
    small = Limits(memory_bytes=16 << 20, disk_bytes=4096, files=8, threads=2, open_files=10)
    large = Limits(memory_bytes=1 << 30, disk_bytes=256 << 20, threads=200)
    for limits in (small, large, small):
        assert pool.run("print(1)", limits=limits).ok
        assert pool.run(
            "import threading\nx = bytearray(200 << 20)\nopen('f', 'wb').write(bytes(10 << 20))\n"
            "ts = [threading.Thread(target=print, args=('',)) for _ in range(10)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts]"
        ).ok


def test_everything_unlimited_runs(pool):
    """None everywhere that it may stand: a run works."""
    limits = Limits(
        wall_s=None, memory_bytes=None, output_bytes=None, disk_bytes=None, files=None,
        threads=None, open_files=None, source_bytes=None,
    )  # fmt: skip
    result = pool.run("open('x', 'w').write('x' * 100)\nprint(1)", limits=limits)
    assert result.ok, result


@pytest.mark.parametrize("name", ["memory_bytes", "disk_bytes", "files", "threads", "open_files"])
def test_more_than_any_machine_has_is_no_limit(pool, name):
    """What `Limits` takes runs: the kernel is told no number that it refuses."""
    result = pool.run("open('x', 'w').write('x')\nprint(1)", limits=Limits(**{name: 1 << 62}))
    assert result.ok, result


@pytest.mark.parametrize("limits", [{"threads": 4194304}, {"files": 1 << 61}])
def test_a_limit_that_is_none_costs_no_tier(pool, limits):
    """The strongest tier that works is taken, whatever the numbers."""
    with Pool(1, limits=Limits(**limits)) as other, Pool(1) as usual:
        assert other.tier == usual.tier
        assert other.run("print(1)").ok


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"code": 1}, TypeError),
        ({"code": None}, TypeError),
        ({"code": "", "stdin": 1}, TypeError),
        ({"code": "", "args": "abc"}, TypeError),
        ({"code": "", "args": [1]}, TypeError),
        ({"code": "", "args": ["a\0b"]}, ValueError),
        ({"code": "", "limits": 1}, TypeError),
        ({"code": "", "timeout": -1}, ValueError),
        ({"code": "", "timeout": "1"}, TypeError),
        ({"code": "", "queue_timeout": -1}, ValueError),
        ({"code": "", "queue_timeout": "1"}, TypeError),
        ({"code": "", "queue_timeout": float("nan")}, ValueError),
        ({"code": "", "queue_timeout": float("inf")}, ValueError),
        ({"code": "", "queue_timeout": threading.TIMEOUT_MAX * 2}, ValueError),
        ({"code": "", "queue_timeout": 10**400}, ValueError),
        ({"code": "", "timeout": float("nan")}, ValueError),
        ({"code": "", "timeout": 10**400}, ValueError),
    ],
)
def test_a_callers_mistake_raises(pool, arguments, error):
    """What makes no sense raises, before anything runs, and is named as the caller named it."""
    runs = pool.stats().runs
    with pytest.raises(error, match=f"^{list(arguments)[-1]}"):
        pool.run(**arguments)
    assert pool.stats().runs == runs


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"size": 0}, ValueError),
        ({"size": -1}, ValueError),
        ({"size": 1.5}, TypeError),
        ({"size": True}, TypeError),
        ({"max_queue": -1}, ValueError),
        ({"limits": {}}, TypeError),
        ({"packages": "numpy"}, TypeError),
        ({"packages": [1]}, TypeError),
        ({"packages": 1}, TypeError),
        ({"preload": "json"}, TypeError),
        ({"packages": ["no-such-package"]}, ValueError),
        ({"tier": "best"}, ValueError),
        ({"require": "none"}, ValueError),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused_by_name(arguments, error):
    """The error names the argument, and nothing is left behind."""
    with pytest.raises(error) as caught:
        Pool(**arguments)
    assert next(iter(arguments)) in str(caught.value)
