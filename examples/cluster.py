"""From one process to a cluster: the same calls on a pool, a local fleet, and a fleet on Ray.

    python examples/cluster.py

The cluster of two nodes is on this machine, as Ray's own tests have them; on a real one leave out
`Cluster`, and give the registry ray_init_config={"address": "auto"}.
"""

from ray.cluster_utils import Cluster

from interpreter_pool import Executor, Pool, PythonExecutorService, Stdio, connect, get_services
from interpreter_pool.registry import loopback

CASES = [Stdio("2", "4"), Stdio("21", "42")]


def work(executor: Executor, where: str) -> None:
    """Whatever it is: results, verdicts and sessions mean the same."""
    results = executor.map(f"print({number} ** 2)" for number in range(40))
    total = sum(int(result.stdout) for result in results)
    verdict = executor.judge("print(2 * int(input()))", CASES)
    with executor.session() as session:
        session.run("x = 40")
        print(f"{where}: {total}, passed {verdict.passed}, x + 2 = {session.run('x + 2').value}")


with Pool(2) as pool:
    work(pool, "a pool of this process")

with get_services("local", namespace="cluster-example") as services:
    services.register_fleet("executors", PythonExecutorService, pool_size=2, min=2)
    with connect("local://executors?namespace=cluster-example") as executor:
        work(executor, "a fleet of two processes")

cluster = Cluster()
with loopback.only():  # reached from this machine alone
    for _ in range(2):
        cluster.add_node(num_cpus=2, include_dashboard=False)
config = {"address": cluster.address, "log_to_driver": False}
try:
    with get_services("ray", ray_init_config=config, namespace="cluster-example") as services:
        services.register_fleet("executors", PythonExecutorService, pool_size=2, num_cpus=1, min=2)
        with connect("ray://executors?namespace=cluster-example") as executor:
            work(executor, "a fleet over two nodes")
            print("executors:", len(executor.stats_by_executor()))
finally:
    import ray

    ray.shutdown()
    cluster.shutdown()
