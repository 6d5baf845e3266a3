"""The examples of services run as they stand, in seconds."""

import os
import subprocess
import sys

import psutil
import pytest
from clusters import ray_running

from interpreter_pool.registry import loopback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

EXAMPLES = {
    "basics": "most common: [('to', 2), ('be', 2)]",
    "executor": "in a branch: 42",
    "fast_and_heavy": "heavy ones: ['45\\n', '45\\n', '45\\n', '45\\n']",
    "conditional": "on the service 42",
}
"""What each prints, among other things."""


@pytest.fixture(scope="module", params=["local", "ray"])
def backend(request):
    if request.param == "local":
        yield "local", {}
        return
    with ray_running(4):
        ray = sys.modules["ray"]
        yield "ray", {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}


def run(name, *arguments, **environment) -> str:
    path = os.path.join(ROOT, "examples", f"{name}.py")
    done = subprocess.run(
        [sys.executable, path, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_on_each_backend(backend, name):
    """The same script, on this machine and on Ray."""
    kind, environment = backend
    assert EXAMPLES[name] in run(f"services_{name}", kind, **environment)


def test_services_and_backends_of_ones_own():
    """A service and a backend of a script's own; the same code uses both backends."""
    lines = run("services_custom").splitlines()
    assert lines == [f"{each} [[0, 1, 2, 0, 1], 3]" for each in ("LocalService", "InProcess")]


def test_the_same_work_on_a_pool_a_local_fleet_and_a_cluster():
    """Two nodes, reached from this machine alone."""
    lines = run("cluster").splitlines()
    told = [line.partition(": ")[2] for line in lines]
    assert told == ["20540, passed True, x + 2 = 42"] * 3 + ["2"]


def test_clusters_can_be_kept_on_loopback():
    """loopback.only: also what Ray's own classes start listens there alone."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        with loopback.only():
            node = cluster.add_node(num_cpus=1, include_dashboard=False)
        assert node.node_ip_address == "127.0.0.1"
        pids = [each.process.pid for kind in node.all_processes.values() for each in kind]
        ips = {
            connection.laddr.ip.removeprefix("::ffff:")
            for pid in pids
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert ips == {"127.0.0.1"}
    finally:
        cluster.shutdown()


def test_the_cluster_that_is_there_is_joined_unless_told_otherwise():
    """As `ray.init` does it; a cluster on loopback can be joined at all, a new one is there, too."""
    from ray.cluster_utils import Cluster

    def cpus(config):
        code = (
            "import ray\n"
            "from interpreter_pool import get_services\n"
            f"with get_services('ray', ray_init_config={config!r}, namespace='joined'):\n"
            "    assert ray.util.get_node_ip_address() == '127.0.0.1'\n"
            "    print(int(ray.cluster_resources()['CPU']))\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    cluster = Cluster()  # notes its address where processes look, as `ray start` does
    try:
        with loopback.only():
            cluster.add_node(num_cpus=3, include_dashboard=False)
        assert cpus({}) == cpus({"address": "auto"}) == 3
        assert cpus({"address": "local", "num_cpus": 1}) == 1
    finally:
        cluster.shutdown()
