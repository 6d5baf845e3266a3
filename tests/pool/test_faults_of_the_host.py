"""A host that runs out of disk, descriptors or processes, loses its cgroups, or changes its clock."""

import ast
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import is_idle, wait_until
from test_faults import begin, child_of, zygote_of
from test_load import load

from interpreter_pool import Pool
from interpreter_pool.sandbox import Limits, SetupError
from interpreter_pool.sandbox.guest.jail import capabilities, kernel
from interpreter_pool.sandbox.jail import cgroups as groups
from interpreter_pool.sandbox.jail import descriptors

ROOT = Path(__file__).parents[2]


@pytest.fixture
def single(tier):
    """A pool of one worker, which may be harmed."""
    with Pool(1, tier=tier, limits=Limits(wall_s=60)) as pool:
        wait_until(lambda: pool.stats().workers_alive == 1)
        yield pool


# ---- processes that hang


def test_a_run_that_has_ended_is_not_timed_out_for_a_zygote_that_hangs(single):
    """SIGSTOP of the zygote: the program had ended in time; it is run again, and is ok."""
    zygote = zygote_of(single)
    wait_until(lambda: is_idle(single))
    os.kill(zygote, signal.SIGSTOP)
    result = single.run("print(1)", timeout=3)
    assert (result.reason, result.stdout) == ("ok", "1\n")
    assert (single.stats().retried, single.stats().replaced) == (1, 1)
    wait_until(lambda: not psutil.pid_exists(zygote))


def test_a_run_without_a_limit_does_not_wait_for_ever_for_its_zygote(single, monkeypatch):
    """The same where no limit would ever end the wait."""
    monkeypatch.setattr("interpreter_pool.sandbox.run.watchdog._LONGEST_LOOK_S", 0.5)
    wait_until(lambda: is_idle(single))
    os.kill(zygote_of(single), signal.SIGSTOP)
    assert single.run("print(1)", limits=Limits(wall_s=None)).stdout == "1\n"


def test_a_prewarmed_process_that_hangs_does_not_hold_a_run(single, monkeypatch):
    """SIGSTOP of the child that waits for a job: the run takes place on another jail."""
    monkeypatch.setattr("interpreter_pool.sandbox.run.watchdog.START_PATIENCE_S", 1.0)
    wait_until(lambda: is_idle(single))
    os.kill(child_of(zygote_of(single)), signal.SIGSTOP)
    assert single.run("print(1)", timeout=1).stdout == "1\n"


def test_a_launcher_that_hangs_or_dies_costs_no_result():
    """SIGSTOP, then SIGKILL, of nsjail while a run is under way (the other tier has none)."""
    with Pool(1, tier="namespaces") as pool:
        future, _ = begin(pool, "print('begun', flush=True)\nimport time; time.sleep(1)")
        launcher = psutil.Process(pool.engine.workers[0].jail._process.pid)
        launcher.suspend()
        assert future.result(30).reason == "ok"
        launcher.kill()
        assert pool.run("print(1)").stdout == "1\n"
        launcher = psutil.Process(pool.engine.workers[0].jail._process.pid)
        launcher.suspend()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not launcher.is_running()


# ---- what runs out


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of `size_bytes` at `folder`."""
    kernel.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755,size=%d" % size_bytes)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(
    not capabilities.probe(capabilities.CAP_SYS_ADMIN), reason="only root can make a full disk"
)
def test_a_full_temporary_folder_is_our_failure_and_passes(tier, tmp_path, monkeypatch):
    """No program is blamed, nothing hangs, and with room again everything works again."""
    folder = tmp_path / "small"
    folder.mkdir()
    with small_disk(folder, 2 << 20):
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with Pool(1, tier=tier) as pool:
            assert pool.run("print(1)").ok
            (folder / "filler").write_bytes(b"")
            with contextlib.suppress(OSError), open(folder / "filler", "wb", 0) as filler:
                while True:
                    filler.write(bytes(4096))
            result = pool.run("print(1)", timeout=5)
            assert result.ok or result.infra_error, result
            assert result.ok or tier == "landlock", "this tier writes nothing there"
            (folder / "filler").unlink()
            wait_until(lambda: pool.run("print(1)").ok, timeout_s=20)
            with pool.session() as session:
                assert session.run("1").value == "1"
        (folder / "filler").write_bytes(bytes((2 << 20) - 20000))
        with contextlib.suppress(SetupError), Pool(1, tier=tier) as pool:
            assert pool.run("print(1)").reason in ("ok", "internal")


def test_descriptors_that_run_out_are_our_failure_and_pass(single):
    """EMFILE in the host: no program is blamed, no descriptor is lost, and it works again."""
    single.run("print(1)")
    wait_until(lambda: is_idle(single))
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(0, 14, 2):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest_descriptor() + 1 + room, hard))
        try:
            result = single.run("print(1)", timeout=5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert result.ok or result.infra_error, result
        wait_until(lambda: is_idle(single) and single.run("print(1)").ok, timeout_s=20)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def highest_descriptor() -> int:
    return max(map(int, os.listdir("/proc/self/fd")))


WORKERS = """
import os, resource, sys
from interpreter_pool import Pool
from interpreter_pool import SetupError
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
before = os.listdir("/proc/self/fd")
try:
    with Pool(8, tier=sys.argv[1]) as pool:
        print({result.reason.value for result in pool.map(["print(1)"] * 64)})
except SetupError as error:
    print(error)
assert os.listdir("/proc/self/fd") == before
"""


def test_workers_that_can_never_all_run_are_told_at_once(tier):
    """By the hard limit on descriptors; with as many as they need, all run."""

    def run(hard):
        command = [sys.executable, "-c", WORKERS, tier, str(hard)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done
        assert done.stderr == ""
        return done.stdout

    needed = descriptors.FOR_A_WORKER + descriptors.FOR_ITS_GROUP
    assert run(8 * needed + 20) == "{'ok'}\n"
    refused = run(60)
    assert "may have 60 open" in refused
    assert "each of 8 workers" in refused
    assert "a smaller size" in refused


STARTING = """
import os, resource, sys
from interpreter_pool import Pool
from interpreter_pool import SetupError
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
with Pool(1, tier=sys.argv[1]) as pool: pool.run("1")
before = len(os.listdir("/proc/self/fd")), os.listdir(sys.argv[2])
told = []
for room in range(int(sys.argv[3])):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + room, hard))
    try:
        with Pool(1, tier=sys.argv[1]) as pool:
            told.append(str(pool.run("print(1)").reason))
    except SetupError as error:
        told.append("refused")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    after = len(os.listdir("/proc/self/fd"))
    assert after == before[0], (room, told, before, after)
print(told)
"""


def test_a_pool_that_cannot_start_for_want_of_descriptors_keeps_none(tier, tmp_path):
    """However few there are: a pool works, or is refused and leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "-c", STARTING, tier, str(tmp_path), "40"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    told = ast.literal_eval(done.stdout)
    assert told[0] == "refused"
    assert told[-1] == "ok"
    assert set(told) <= {"refused", "ok", "internal"}


WITHOUT_PROCESSES = """
import json, os, sys, threading, time
from interpreter_pool import Pool
from interpreter_pool import SetupError
path = sys.argv[2]
def cap(number):
    with open(path + "/pids.max", "w") as file: file.write(str(number))
def now():
    with open(path + "/pids.current") as file: return int(file.read())
with open(path + "/cgroup.procs", "w") as file: file.write(str(os.getpid()))
told = []
with Pool(1, tier=sys.argv[1]) as pool:
    assert pool.run("print(1)").ok
    for room in (0, 1):
        cap(now() + room)
        zygote = pool.engine.workers[0].jail.zygote_pid
        try: os.kill(zygote, 9)
        except (ProcessLookupError, TypeError): pass
        began = time.monotonic()
        result = pool.run("print(1)", timeout=5)
        told.append([str(result.reason), result.infra_error, time.monotonic() - began])
        cap("max")
        deadline = time.monotonic() + 25
        while not pool.run("print(1)").ok: assert time.monotonic() < deadline
        time.sleep(0.5)
    starts = []
    for room in range(6):
        cap(now() + room)
        try:
            with Pool(1, tier=sys.argv[1]) as other: starts.append(other.run("print(1)").ok)
        except SetupError:
            starts.append(False)
        cap("max")
    told.append(starts)
    assert pool.run("print(1)").ok
    left = [thread.name for thread in threading.enumerate()]
    assert len(left) <= 4, left
print(json.dumps(told))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can cap the host's processes")
def test_processes_that_run_out_are_our_failure_and_pass(tier):
    """EAGAIN on every fork: no program is blamed, nothing hangs, and with room again it works."""
    parents = next((each for each in groups.find() if each.tasks), None)
    if parents is None:
        pytest.skip("there is no pids cgroup to be had here")
    path = f"{parents.tasks}/{groups.PREFIX}{os.getpid()}-few-processes"
    try:
        os.mkdir(path)
    except OSError as error:  # read-only, as in containers
        pytest.skip(f"no pids cgroup is to be had here: {error}")
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PROCESSES, tier, path],
            capture_output=True,
            text=True,
            timeout=110,
        )
    finally:
        groups.remove(path)
    assert done.returncode == 0, done.stderr
    *results, starts = json.loads(done.stdout)
    assert all(reason == "ok" or infra for reason, infra, _ in results), results
    assert all(took_s < 30 for _, _, took_s in results), results
    assert starts[0] is False, "the cap has kept nothing from being forked"


# ---- what is taken away


def test_a_cgroup_that_is_taken_away_is_replaced(single):
    """Its folder removed underneath: the run takes place on another jail, and is counted there."""
    wait_until(lambda: is_idle(single))
    jail = single.engine.workers[0].jail
    if jail.group is None:
        pytest.skip("no cgroup is writable here")
    for folder in filter(None, (getattr(jail.group, "memory", None), jail.group.tasks)):
        for pid in Path(folder, "cgroup.procs").read_text().split():
            Path(os.path.dirname(folder), "cgroup.procs").write_text(pid)
        wait_until(lambda folder=folder: removed(folder))
    result = single.run("print(1)")
    assert (result.reason, result.stdout) == ("ok", "1\n")
    assert single.run("x = bytearray(1 << 40)").reason == "memory"
    assert single.stats().replaced == 1


def removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


def test_a_runtime_folder_that_is_taken_away_breaks_no_run(single):
    """A zealous cleaner of /tmp: runs are answered, the pool closes, another one works."""
    shutil.rmtree(single.engine.folder.path, ignore_errors=True)
    for _ in range(3):
        result = single.run("print(1)", timeout=5)
        assert result.ok or result.infra_error, result


# ---- clocks and load


def test_no_decision_hangs_on_the_wall_clock():
    """A clock that jumps changes nothing: nobody asks it what time it is."""
    asked = []
    for package in ("sandbox", "pool", "registry", "transforms"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                if name in ("time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"):
                    asked.append(f"{file}:{node.lineno}")
    assert asked == []


def test_a_clock_that_jumps_ends_nothing(single, monkeypatch):
    """A day forward, a day back, in the host's eyes: limits and results are the same."""
    real = time.time
    for jump_s in (86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
        assert single.run("print(1)", timeout=5).stdout == "1\n"
        result = single.run("while True: pass", timeout=0.3)
        assert result.reason == "wall_timeout"
        assert 0.3 <= result.wall_s < 3


@pytest.mark.slow
@pytest.mark.soak
def test_everything_works_at_load_50(tier):
    """A pool starts, runs, keeps sessions and closes while 50 processes want the CPUs."""
    with load(50):
        with Pool(2, tier=tier, limits=Limits(wall_s=60, cpu_s=2)) as pool:
            futures = [pool.submit(f"print({number})") for number in range(50)]
            assert [future.result(100).stdout for future in futures] == [
                f"{number}\n" for number in range(50)
            ]
            with pool.session() as session:
                session.run("x = 1")
                branch = session.fork()
                assert branch.run("x").value == "1"
                branch.close()
            assert pool.run("while True: pass", limits=Limits(wall_s=60, cpu_s=0.2)).reason == (
                "cpu_timeout"
            )
            assert pool.stats().replaced == 0
