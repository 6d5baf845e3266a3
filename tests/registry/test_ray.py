"""What is Ray's own: resources, leases of names, the registry's actor, and executors as actors."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from clusters import main_of, ray_running
from conftest import wait_until
from example_services import Counter, Meeting
from folders import is_untouched, with_names_like_ours

from interpreter_pool import PythonExecutorService, SessionLost
from interpreter_pool.registry import Infeasible, RayService, ServiceDied, StartTimeout
from interpreter_pool.registry.ray_registry import REGISTRY_NAME

pytest_plugins = ["registries"]

CPUS = 4


@pytest.fixture(scope="module")
def backend():
    with ray_running(CPUS):
        yield "ray"


@pytest.fixture
def ray(backend):
    return sys.modules["ray"]


def free_cpus(ray) -> float:
    return ray.available_resources().get("CPU", 0)


# ---- the registry


def test_ray_listens_on_loopback_alone(ray):
    """No process of a Ray that is started here can be reached from another machine."""
    listening = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        # Without root, jails of the same session can't be looked at; they have no sockets.
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            listening |= {
                connection.laddr.ip
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_starting_ray_asks_for_no_outside_address(tmp_path):
    """Not even for the route to one, which is how Ray looks for its own address."""
    log = tmp_path / "log"
    code = (
        "from interpreter_pool import get_services\n"
        "own = {'address': 'local', 'num_cpus': 1, 'log_to_driver': False}\n"
        "get_services('ray', ray_init_config=own).shutdown()\n"
        "import ray; ray.shutdown()"
    )
    strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(log)]
    subprocess.run([*strace, *main_of(code)], check=True, timeout=100)
    outside = [
        line
        for line in log.read_text("utf-8", "replace").splitlines()
        if ("sin_port" in line or "sin6_port" in line) and "127.0.0.1" not in line
    ]
    assert not [line for line in outside if '"::1"' not in line]


def test_the_state_api_is_refused_at_once(ray):
    """Without a dashboard there is none to ask: an error, and no waiting for one to come."""
    from ray.util.state import list_actors

    began = time.monotonic()
    with pytest.raises((ray.util.state.exception.RayStateApiException, OSError)):
        list_actors()
    assert time.monotonic() - began < 10


def test_the_registry_takes_no_cpu(ray, services):
    """All CPUs of the cluster are there for services, one by one as well as together."""
    wait_until(lambda: free_cpus(ray) == CPUS, 20)
    services.register("all", Counter, num_cpus=CPUS)
    assert services.list() == ["all"]


def test_more_than_any_machine_has_is_refused_at_once(services):
    """Infeasible, a ValueError: what was asked, and what there is; nothing is listed."""
    began = time.monotonic()
    with pytest.raises(Infeasible, match=r"asks for 1000 CPU; .* at most 4 CPU"):
        services.register("big", Counter, num_cpus=1000)
    with pytest.raises(ValueError, match=r"1 CPU, 2 GPU;.* at most 4 CPU, 0 GPU"):
        services.register("big", Counter, num_cpus=1, num_gpus=2)
    with pytest.raises(Infeasible, match=r"0\.5 heart"):
        services.register_with_options("big", Counter, {"resources": {"heart": 0.5}})
    with pytest.raises(Infeasible, match="accelerator_type:H200"):
        services.register("big", Counter, accelerator_type="H200")
    assert time.monotonic() - began < 10
    assert services.list() == []


def test_what_is_taken_is_waited_for_with_a_limit(connect):
    """CPUs that others hold: StartTimeout tells what was asked and what is free."""
    connect().register("all", Counter, num_cpus=CPUS)
    services = connect(start_timeout=1.5)
    with pytest.raises(StartTimeout, match="asks for 2 CPU; free now in the whole cluster: 0 CPU"):
        services.register("more", Counter, num_cpus=2)
    assert services.list() == ["all"]


def test_options_reach_ray(ray, services):
    """num_cpus are held, max_restarts restarts, runtime_env is the service's."""
    wait_until(lambda: free_cpus(ray) == CPUS, 20)
    services.register("held", Counter, num_cpus=1.5)
    wait_until(lambda: free_cpus(ray) == CPUS - 1.5, 20)
    handle = services.register("meeting", Meeting, max_restarts=1, max_task_retries=-1)
    first = services.result(handle.pid.remote(), timeout=30)
    os.kill(first, signal.SIGKILL)
    assert services.result(handle.pid.remote(), timeout=60) != first
    assert "meeting" in services


def test_handles_are_rays_own(ray, services):
    """ray.get resolves what they return."""
    handle = services.register("counter", Counter, 5)
    assert ray.get([handle.get.remote(), services["counter"].get.remote()], timeout=30) == [5, 5]


OF_A_USER = """
from interpreter_pool import PythonExecutorService, get_services

class Mine:
    def get(self):
        return 8

if __name__ == "__main__":
    with get_services("ray", namespace="clashes") as services:
        executor = services.register("executor", PythonExecutorService, pool_size=1, num_cpus=0)
        ran = services.result(executor.execute.remote("print(9)"), timeout=60)
        mine = services.register("mine", Mine, num_cpus=0)
        print(ran["stdout"] + str(services.result(mine.get.remote(), timeout=60)))
"""


def test_a_user_s_folder_is_not_in_the_workers_way(ray, tmp_path):
    """Ray puts the driver's folder on its workers' path; a pool.py there is never imported."""
    folder = with_names_like_ours(tmp_path)
    (folder / "script.py").write_text(OF_A_USER, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.stdout.endswith("9\n8\n"), done.stderr
    assert is_untouched(folder)


def test_a_name_whose_registrant_died_is_free_again(ray, services, namespace, tmp_path):
    """kill -9 while its constructor runs: the name can be taken within the lease's time."""
    note = tmp_path / "note"
    code = (
        "from interpreter_pool import get_services\n"
        "from example_services import Slow\n"
        f"services = get_services('ray', namespace={namespace!r})\n"
        f"services.register('model', Slow, 300, {str(note)!r})"
    )
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    registrant = subprocess.Popen(main_of(code), env=environment)
    try:
        wait_until(note.exists, 60)
        with pytest.raises(ValueError, match="already exists"):
            services.register("model", Counter)
    finally:
        registrant.kill()
        registrant.wait()
    half_made = int(note.read_text())
    deadline = time.monotonic() + 30
    while "model" not in services:
        assert time.monotonic() < deadline
        try:
            services.register("model", Counter)
        except ValueError:
            time.sleep(0.5)
    wait_until(lambda: not psutil.pid_exists(half_made), 20)


def test_a_registry_that_crashed_finds_its_services_again(ray, services, connect):
    """kill -9 of its process: names, services and further registrations are as before."""
    services.register("counter", Counter, 5)
    actor = ray.get_actor(REGISTRY_NAME, namespace=services.namespace)
    pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=30)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), 10)
    assert services.list() == connect().list() == ["counter"]
    assert services.result(services["counter"].get.remote(), timeout=30) == 5
    with pytest.raises(ValueError, match="already exists"):
        services.register("counter", Counter)


def test_the_last_to_leave_ends_the_registry(ray, connect, namespace):
    """shutdown, with nothing registered: the registry's actor is gone; the next user has another."""
    connect().shutdown()

    def is_gone() -> bool:
        try:
            ray.get_actor(REGISTRY_NAME, namespace=namespace)
        except ValueError:
            return True
        return False

    wait_until(is_gone, 20)
    services = connect()
    services.register("counter", Counter)
    assert services.list() == ["counter"]


def test_tasks_find_services(ray, services, namespace):
    """In a task on the cluster, get_services leads to the same services."""
    services.register("counter", Counter, 8)

    @ray.remote(num_cpus=0)
    def task():
        from interpreter_pool import get_services

        peer = get_services("ray", namespace=namespace)
        return peer.result(peer["counter"].get.remote(), timeout=30)

    assert ray.get(task.remote(), timeout=60) == 8


# ---- the executor as an actor


def jails_of(pid: int) -> list[psutil.Process]:
    """The processes below an actor's: nsjail, zygotes, runs."""
    return psutil.Process(pid).children(recursive=True)


def pid_of(ray, actor) -> int:
    return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60)


@pytest.fixture
def executor(services):
    return services.register(
        "executor", PythonExecutorService, pool_size=2, timeout=5.0, num_cpus=0, max_concurrency=8
    )


def test_an_executor_runs_programs_for_all(services, connect, executor):
    """Results are dicts with TorchRL's keys; a batch is one call; a failure is a result."""
    (result,) = services.result([executor.execute.remote("print(6 * 7)")], timeout=30)
    assert {
        **result,
        **{"success": True, "stdout": "42\n", "stderr": "", "returncode": 0},
    } == result
    peer = connect()
    programs = [f"print({number})" for number in range(20)]
    results = peer.result(peer["executor"].execute_many.remote(programs), timeout=30)
    assert [each["stdout"] for each in results] == [f"{number}\n" for number in range(20)]
    failed = services.result(executor.execute.remote("raise ValueError('no')"), timeout=30)
    assert (failed["success"], failed["returncode"]) == (False, 1)
    assert "ValueError: no" in failed["stderr"]


def test_callers_mistakes_are_readable(services, executor):
    """TypeError, ValueError and our own errors come through as what they are, with their text."""
    with pytest.raises(TypeError, match="code must be str or bytes, not int"):
        services.result(executor.execute.remote(3), timeout=30)
    with pytest.raises(ValueError, match=r"programs\[1\]: a program must have the field 'code'"):
        services.result(executor.execute_many.remote(["", {}]), timeout=30)
    with pytest.raises(SessionLost, match="there is no session 'x'"):
        services.result(executor.execute_in.remote("x", "1"), timeout=30)


def test_calls_beyond_max_concurrency_wait(services, executor):
    """A hundred calls in flight on a pool of two: all are answered."""
    refs = [executor.execute.remote(f"print({number})") for number in range(100)]
    results = services.result(refs, timeout=60)
    assert [each["stdout"] for each in results] == [f"{number}\n" for number in range(100)]


def test_sessions_by_id(services, executor):
    """State persists, branches and goes back, for whoever has the id."""

    def call(method, *args):
        return services.result(getattr(executor, method).remote(*args), timeout=30)

    session = call("open_session")
    assert call("execute_in", session, "x = 1; x")["value"] == "1"
    branches = call("fork_session", session, 2)
    assert call("execute_in", branches[0], "x += 1; x")["value"] == "2"
    assert call("execute_in", session, "x")["value"] == "1"
    call("execute_in", session, "x = 5")
    call("rollback_session", session)
    assert call("execute_in", session, "x")["value"] == "1"
    call("close_session", session)
    with pytest.raises(SessionLost, match="there is no session"):
        call("execute_in", session, "x")


def test_nothing_survives_the_kill_of_an_executor(ray, services, executor):
    """kill -9 of the actor's process while programs run: within 3 s all that it started is gone."""
    executor.open_session.remote()
    for _ in range(2):
        executor.execute.remote("import time; time.sleep(60)")
    pid = pid_of(ray, executor)
    wait_until(
        lambda: services.result(executor.stats.remote(), timeout=30)["workers_busy"] == 2, 30
    )
    jails = jails_of(pid)
    assert len(jails) >= 4
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(each) for each in jails), 3)


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_executor_that_is_restarted_serves_again(ray, services):
    """max_restarts: after a kill -9 the same handle answers; sessions of before are lost."""
    executor = services.register(
        "executor",
        PythonExecutorService,
        pool_size=1,
        num_cpus=0,
        max_restarts=2,
        max_concurrency=2,
    )
    session = services.result(executor.open_session.remote(), timeout=30)
    os.kill(pid_of(ray, executor), signal.SIGKILL)

    def serves() -> bool:
        try:
            result = services.result(executor.execute.remote("print(1)"), timeout=30)
        except ServiceDied:
            return False
        return result["stdout"] == "1\n"

    wait_until(serves, 60)
    with pytest.raises(SessionLost, match="started again since"):
        services.result(executor.execute_in.remote(session, "1"), timeout=30)
    assert services.list() == ["executor"]


def test_what_an_executor_counts_is_offered_to_prometheus(ray, services, executor):
    """Runs by reason, times in buckets, and workers are in what Ray's agent offers."""
    pytest.importorskip("prometheus_client")
    services.result(executor.execute_many.remote(["print(1)", "1 / 0", "exit(3)"]), timeout=30)
    time.sleep(1.1)  # gauges are told once a second
    services.result(executor.execute.remote("print(1)"), timeout=30)
    node = ray.nodes()[0]
    url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"

    def offered() -> dict[str, float]:
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        found = {}
        for line in text.splitlines():
            if "pool_" in line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                key = name.partition("{")[0]
                if 'reason="' in name:
                    key += "/" + name.partition('reason="')[2].partition('"')[0]
                found[key] = found.get(key, 0) + float(value)
        return found

    def is_there() -> bool:
        found = offered()
        names = " ".join(found)
        return all(
            each in names
            for each in (
                "pool_runs",
                "/ok",
                "/exception",
                "/exit",
                "pool_queue_s_bucket",
                "pool_run_s_bucket",
                "pool_workers_alive",
                "pool_replaced",
                "pool_sessions_parked",
            )
        )

    wait_until(is_there, 60)
    stats = services.result(executor.stats.remote(), timeout=30)
    assert stats["runs_by_reason"] == {"ok": 2, "exception": 1, "exit": 1}
    assert stats["run_s_buckets"]["+Inf"] == 4


def test_a_missing_ray_is_told_with_the_way_out(tmp_path):
    """Without the extra the registry imports, local services work, and ray names the extra."""
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from interpreter_pool import get_services\n"
        f"get_services('local', folder={str(tmp_path / 'f')!r}).shutdown()\n"
        "get_services('ray')"
    )
    run = subprocess.run(main_of(code), capture_output=True, text=True, timeout=60)
    assert (
        "ImportError: the ray backend needs Ray: pip install 'interpreter-pool[ray]'" in run.stderr
    )


def test_importing_the_registry_or_the_pool_does_not_import_ray():
    """Who needs no Ray does not pay for it."""
    code = (
        "import interpreter_pool.registry, interpreter_pool.pool; assert 'ray' not in sys.modules"
    )
    subprocess.run(main_of(code), check=True, timeout=60)


def test_a_ray_of_ones_own_config_is_used(ray):
    """A registry joins the Ray that is there already, whatever config it was given."""
    RayService({"num_cpus": 77}, "joined").shutdown()
    assert ray.cluster_resources()["CPU"] == CPUS
