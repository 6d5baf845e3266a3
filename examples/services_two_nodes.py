"""A cluster of two nodes with an executor on each: workers use the one beside them, or both.

    python examples/services_two_nodes.py

Both nodes are on this machine, as Ray's own tests have them; on a real cluster leave out `Cluster`,
and give the registry ray_init_config={"address": "auto"}.
"""

from ray.cluster_utils import Cluster

from interpreter_pool import PythonExecutorService
from interpreter_pool.registry import get_services, loopback

cluster = Cluster()
with loopback.only():  # reached from this machine alone
    for node in ("left", "right"):
        cluster.add_node(num_cpus=2, resources={node: 1}, include_dashboard=False)
config = {"address": cluster.address, "log_to_driver": False}
try:
    with get_services("ray", ray_init_config=config, namespace="nodes") as services:
        for node in ("left", "right"):
            services.register_with_options(
                f"executor_{node}",
                PythonExecutorService,
                {"num_cpus": 1, "resources": {node: 0.1}, "max_concurrency": 16},
                pool_size=2,
                timeout=5.0,
            )
        print("there are:", services.list())
        halves = [[f"print({number} ** 2)" for number in part] for part in (range(4), range(4, 8))]
        refs = [
            services[f"executor_{node}"].execute_many.remote(programs)
            for node, programs in zip(("left", "right"), halves, strict=True)
        ]
        for node, results in zip(("left", "right"), services.result(refs, timeout=60), strict=True):
            print(node, [result["stdout"].strip() for result in results])
finally:
    import ray

    ray.shutdown()
    cluster.shutdown()
