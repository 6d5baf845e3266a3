"""Workers that die, hang or never start: callers see a result, and the pool goes on."""

import glob
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from conftest import wait_until

from interpreter_pool import Limits, PolicyError, Pool, SetupError
from interpreter_pool.sandbox.guest.jail import capabilities
from interpreter_pool.sandbox.jail import jail as jail_module
from interpreter_pool.sandbox.jail.cgroups import PREFIX
from interpreter_pool.sandbox.jail.folder import base_folder
from interpreter_pool.sandbox.jail.jail import Jail
from interpreter_pool.sandbox.jail.nsjail import VARIABLE

SLEEP = "print('begun', flush=True)\nimport time; time.sleep(60)"


@pytest.fixture
def single(tier):
    """A pool of one worker, which may be harmed."""
    with Pool(1, tier=tier, limits=Limits(wall_s=60)) as pool:
        wait_until(lambda: pool.stats().workers_alive == 1)
        yield pool


def zygote_of(pool: Pool) -> int:
    """The host's process id of the only worker's zygote."""
    (worker,) = pool.engine.workers
    wait_until(lambda: worker.is_alive and worker.jail is not None and worker.jail.zygote_pid)
    return worker.jail.zygote_pid


def kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it was just replaced


def is_stopped(pid: int) -> bool:
    """Stop a process, if it isn't yet: who traces a new process takes its first SIGSTOP for his."""
    os.kill(pid, signal.SIGSTOP)
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def child_of(zygote: int) -> int:
    """The process id of the zygote's only child: the run, or the prewarmed process."""
    found = []

    def there_is_one() -> bool:
        found[:] = psutil.Process(zygote).children()
        return len(found) == 1

    wait_until(there_is_one)
    return found[0].pid


def begin(pool: Pool, code: str = SLEEP, **options):
    """Submit a program and wait until it runs; return its future and its process id."""
    future = pool.submit(code, **options)
    wait_until(lambda: pool.stats().workers_busy == 1)
    child = child_of(zygote_of(pool))
    # The program has begun when it sleeps in its own way; its file is written just before.
    wait_until(lambda: has_begun(child))
    return future, child


def has_begun(pid: int) -> bool:
    """Whether the run sleeps in its own way: a prewarmed process waits for its job in another.

    Of an undumpable process an ordinary user is not shown even that (it reads "0"); but then its
    file, which is written just before, can be seen.
    """
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            where = file.read()
    except OSError:
        return False
    written = f"{base_folder()}/{os.getpid()}-*/scratch-*/home/main.py"
    return "nanosleep" in where or (where == "0" and bool(glob.glob(written)))


def test_an_idle_worker_that_dies_is_replaced(single):
    """kill -9 of a waiting zygote: the next run is fine, and nobody is told."""
    for killed in range(1, 4):
        os.kill(zygote_of(single), signal.SIGKILL)
        assert single.run("print(1)").stdout == "1\n"
        wait_until(lambda killed=killed: single.stats().replaced == killed)
    assert single.stats().runs_by_reason == {"ok": 3}


def test_a_prewarmed_process_that_dies_is_replaced(single):
    """kill -9 of the child that waits for a job: the next run is fine."""
    for _ in range(3):
        os.kill(child_of(zygote_of(single)), signal.SIGKILL)
        assert single.run("print(1)").stdout == "1\n"


def test_a_run_lost_once_is_tried_again(single):
    """kill -9 of the zygote mid-run: one retry on a fresh jail, and its result counts."""
    code = "import time; time.sleep(1); print('done')"
    future, _ = begin(single, code)
    os.kill(zygote_of(single), signal.SIGKILL)
    result = future.result(30)
    assert (result.reason, result.stdout) == ("ok", "done\n")
    stats = single.stats()
    assert (stats.retried, stats.replaced, stats.runs) == (1, 1, 1)


def test_a_run_lost_twice_is_charged(single):
    """The second jail that falls with a run is its doing: denied, with the story in detail."""
    future, _ = begin(single)
    first = zygote_of(single)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: single.stats().retried == 1)
    wait_until(lambda: single.stats().workers_busy == 1 and zygote_of(single) != first)
    wait_until(lambda: has_begun(child_of(zygote_of(single))))
    os.kill(zygote_of(single), signal.SIGKILL)
    result = future.result(30)
    assert result.reason == "denied"
    assert "twice" in result.detail
    assert not result.infra_error
    assert single.run("print(1)").ok


def test_a_run_killed_from_outside_died_of_the_signal(single):
    """kill -9 of the run itself is a signal, as far as anyone can tell; no retry, no new jail."""
    future, child = begin(single)
    os.kill(child, signal.SIGKILL)
    result = future.result(10)
    assert (result.reason, result.signal, result.returncode) == ("signal", 9, -9)
    assert single.run("print(1)").ok
    assert (single.stats().retried, single.stats().replaced) == (0, 0)


def test_a_zygote_that_hangs_does_not_hold_the_result(single):
    """SIGSTOP of the zygote mid-run: the limit still ends the run, and a new jail comes."""
    future, _ = begin(single, timeout=1)
    zygote = zygote_of(single)
    os.kill(zygote, signal.SIGSTOP)
    result = future.result(1 + 2 + 5)
    assert result.reason == "wall_timeout"
    assert result.stdout == "begun\n"
    assert single.run("print(1)").ok
    assert single.stats().replaced == 1
    wait_until(lambda: not psutil.pid_exists(zygote))


def test_a_run_that_hangs_stopped_is_ended(single):
    """SIGSTOP of the run: its wall time ends it as any other."""
    future, child = begin(single, timeout=1)
    os.kill(child, signal.SIGSTOP)
    assert future.result(10).reason == "wall_timeout"
    assert single.run("print(1)").ok


@pytest.mark.skipif(
    not capabilities.probe(capabilities.CAP_SYS_PTRACE), reason="needs root's power to trace a jail"
)
@pytest.mark.parametrize("call", ["set_robust_list", "prctl", "group"])
def test_a_child_that_is_stopped_as_it_is_born(tier, monkeypatch, call):
    """It has just asked to die with its zygote, or not even that, nor would it hear that it is told
    to go; and there may be no cgroup by which to find it.
    """
    monkeypatch.setattr("interpreter_pool.sandbox.host.probe.writable_cgroup", lambda runtime: None)
    single = Pool(1, tier=tier)
    zygote = zygote_of(single)
    prewarmed = child_of(zygote)
    if call == "group":
        call = "setsid" if tier == "namespaces" else "setpgid"
    processes = ["-e", f"trace={call}", "-e", f"inject={call}:delay_enter=100000000"]
    tracer = subprocess.Popen(
        ["strace", "-f", *processes, "-p", str(zygote)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert "attached" in tracer.stderr.readline()
        os.kill(prewarmed, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(prewarmed))
        child = child_of(zygote)
        wait_until(lambda: psutil.Process(child).status() == psutil.STATUS_TRACING_STOP)
        time.sleep(0.2)  # on its way to the call it is stopped for moments, too
        os.kill(child, signal.SIGSTOP)
    finally:
        tracer.kill()
        tracer.wait()
        tracer.stderr.close()
    wait_until(lambda: is_stopped(child))
    single.close()
    wait_until(lambda: not psutil.pid_exists(child), 5)


def test_cancelling_reaches_a_run_whose_zygote_hangs(single):
    """cancel() of a run under a stopped zygote ends within the patience for killed processes."""
    future, _ = begin(single)
    os.kill(zygote_of(single), signal.SIGSTOP)
    future.cancel()
    assert future.result(10).reason == "cancelled"


def test_closing_with_a_stopped_zygote(tier):
    """close() ends also what does not answer."""
    pool = Pool(1, tier=tier)
    wait_until(lambda: "1 idle" in repr(pool))
    zygote = zygote_of(pool)
    os.kill(zygote, signal.SIGSTOP)
    pool.close()
    wait_until(lambda: not psutil.pid_exists(zygote))


def test_many_deaths_under_load(tier):
    """Workers killed at random moments: every run has one result, and none is ours to blame."""
    with Pool(2, tier=tier) as pool:
        futures = [pool.submit(f"print({n})") for n in range(60)]
        for worker in list(pool.engine.workers) * 2:
            jail = worker.jail
            if jail is not None and jail.zygote_pid:
                kill_if_there(jail.zygote_pid)
            futures[0].result(30)
        for number, future in enumerate(futures):
            result = future.result(30)
            assert (result.reason, result.stdout) == ("ok", f"{number}\n"), result


def script(folder, text: str) -> str:
    path = folder / "fake-nsjail"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("text", ["echo out of order >&2; exit 1", "exit 0", "kill -9 $$"])
def test_a_jail_that_cannot_start_names_its_step(monkeypatch, tmp_path, text):
    """A launcher that fails is a SetupError with the step and the launcher's own words."""
    monkeypatch.setenv(VARIABLE, script(tmp_path, text))
    with pytest.raises(SetupError) as caught:
        Pool(1, tier="namespaces")
    assert caught.value.step == "hello"
    assert ("out of order" in str(caught.value)) == ("out of order" in text)


def test_an_nsjail_that_is_no_program_is_named(monkeypatch, tmp_path):
    """What INTERPRETER_POOL_NSJAIL names must be executable; the error says the variable."""
    path = tmp_path / "nsjail"
    path.touch(mode=0o644)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(SetupError, match=VARIABLE):
        Pool(1, tier="namespaces")


def test_what_is_required_is_never_weakened(monkeypatch, caplog):
    """require="namespaces" refuses where that can't be; without it the fall back is told."""
    monkeypatch.setenv(VARIABLE, "/nonexistent")
    with pytest.raises(SetupError, match="namespaces"):
        Pool(1, require="namespaces")
    with Pool(1) as pool:
        assert pool.tier == "landlock"
        assert pool.run("print(1)").tier == "landlock"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "landlock" in caplog.text
    assert VARIABLE in caplog.text


def test_a_contradiction_is_a_policy_error():
    """A tier below what is required is the caller's mistake."""
    with pytest.raises(PolicyError, match="weaker"):
        Pool(1, tier="landlock", require="namespaces")


def test_a_preload_that_does_not_import_is_named(tier):
    """The step names the module, and the message is the import's."""
    with pytest.raises(SetupError, match="No module named") as caught:
        Pool(1, tier=tier, preload=["no_such_module"])
    assert caught.value.step == "preload no_such_module"


def test_when_no_worker_can_be_replaced_runs_are_answered(single, monkeypatch):
    """Nothing waits for ever: with no jail to be had, a run is an infra error with the reason."""
    real = type(single.engine.workers[0].jail).start

    def refuse(*_args, **_options):
        raise SetupError("launch", "out of order")

    monkeypatch.setattr("interpreter_pool.sandbox.run.run_jail.RunJail.start", refuse)
    os.kill(zygote_of(single), signal.SIGKILL)
    wait_until(lambda: single.stats().workers_alive == 0)
    result = single.run("print(1)")
    assert result.infra_error
    assert result.reason == "internal"
    assert "out of order" in result.detail
    monkeypatch.setattr("interpreter_pool.sandbox.run.run_jail.RunJail.start", real)
    wait_until(lambda: single.stats().workers_alive == 1, timeout_s=15)
    assert single.run("print(1)").ok


HOST = """
import sys
import time
from interpreter_pool import Pool
pool = Pool(2, tier=sys.argv[1])
future = pool.submit("while True: pass", timeout=600)
while pool.stats().workers_busy == 0 or pool.stats().workers_alive < 2: pass
print(pool.run("print('ready')").stdout, end="", flush=True)
future.result()
"""


def test_a_host_that_is_killed_leaves_nothing_running(tier, tmp_path):
    """kill -9 of the host: within 2 s no process of it lives; the next pool sweeps the rest."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOST, tier], stdout=subprocess.PIPE, text=True, env=environment
    ) as host:
        ready = host.stdout.readline()
        processes = psutil.Process(host.pid).children(recursive=True)
        host.kill()
        assert ready == "ready\n"
        assert len(processes) >= 3, "two zygotes and the run, at least"
        _, alive = psutil.wait_procs(processes, timeout=2)
        assert not [each for each in alive if not is_dead(each)]
    (base,) = (path for path in tmp_path.iterdir() if path.name.startswith("interpreter-pool-"))
    (folder,) = base.iterdir()
    groups = our_cgroups(folder.name)
    done = subprocess.run(
        [sys.executable, "-c", "from interpreter_pool import Pool; Pool(1).close()"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert list(base.iterdir()) == []
    assert not [path for path in groups if os.path.exists(path)]
    assert our_cgroups(folder.name) == []


def is_dead(process: psutil.Process) -> bool:
    """Whether it has ended; when it is reaped is up to process 1."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def our_cgroups(owner: str) -> list[str]:
    """The cgroups of the runtime folder `owner`, wherever they are."""
    return [
        os.path.join(folder, name)
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(PREFIX + owner)
    ]


def test_a_pool_with_a_stopped_zygote_closes(tier):
    """A zygote that does nothing any more, at whatever moment, does not keep `close` waiting."""
    pool = Pool(1, tier=tier)
    zygote = psutil.Process(pool.engine.workers[0].jail.zygote_pid)
    zygote.suspend()  # its worker may be waiting for a prewarmed process, or for work
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5
    assert not zygote.is_running()


def test_no_two_jails_have_one_user_id(tier):
    """However many there were before; ids are given back, and are enough for any number."""
    with Pool(2, tier=tier) as pool:
        wait_until(lambda: pool.stats().workers_alive == 2)
        if pool.engine.plan.own_ids:
            assert len({worker.jail._slot for worker in pool.engine.workers}) == 2
    plan = SimpleNamespace(own_ids=True)
    jails = [SimpleNamespace(plan=plan, _slot=None) for _ in range(5000)]
    ids = {Jail._ids(each) for each in jails}
    assert len(ids) == 5000
    assert all(1_000_000_000 <= each < 1 << 31 for each in ids)
    jail_module._free_slots.extend(each._slot for each in jails)
