"""One executor, shared by many workers: each is a process that finds it by its name.

python examples/services_executor.py [local | ray]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from interpreter_pool import PythonExecutorService, get_services

backend = sys.argv[1] if len(sys.argv) > 1 else "local"
WORKERS, PROGRAMS = 8, 16


def worker(number):
    services = get_services(backend, namespace="shared")
    executor = services["python_executor"]
    programs = [f"print({number} * {each})" for each in range(PROGRAMS)]
    # One call for a batch costs far less than a call for each program.
    results = services.result(executor.execute_many.remote(programs), timeout=60)
    services.shutdown()
    return sum(int(result["stdout"]) for result in results)


with get_services(backend, namespace="shared") as services:
    executor = services.register(
        "python_executor", PythonExecutorService, pool_size=4, timeout=5.0, max_concurrency=32
    )
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as workers:  # of a trainer these would be processes
        print("sums:", list(workers.map(worker, range(WORKERS))))
    print(f"{WORKERS * PROGRAMS} programs in {time.monotonic() - began:.2f} s")

    # Not a program's doing, but told like any: it ran into its limit, and the next is fine.
    spin = executor.execute.remote("while True: pass", timeout=0.5)
    print("a loop:", services.result(spin, timeout=30)["reason"])

    # State: a session by its id, and a branch of it.
    session = services.result(executor.open_session.remote(), timeout=30)
    services.result(executor.execute_in.remote(session, "x = 41"), timeout=30)
    branch = services.result(executor.fork_session.remote(session), timeout=30)
    value = services.result(executor.execute_in.remote(branch, "x + 1"), timeout=30)["value"]
    print("in a branch:", value)

    stats = services.result(executor.stats.remote(), timeout=30)
    print("runs by reason:", stats["runs_by_reason"])
