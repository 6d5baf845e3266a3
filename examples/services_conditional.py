"""The first of several equal workers makes the service; the others use it; without, they manage.

python examples/services_conditional.py [local | ray]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from interpreter_pool import Pool, PythonExecutorService, get_services

backend = sys.argv[1] if len(sys.argv) > 1 else "local"


def executor_of(services):
    """Found, or made: of several that try at once one wins, and the others get "already exists"."""
    while True:
        if "python_executor" in services:
            return services["python_executor"], "found"
        try:
            made = services.register(
                "python_executor", PythonExecutorService, pool_size=2, max_concurrency=8
            )
            return made, "made"
        except ValueError:
            time.sleep(0.05)  # another one was faster, and is still starting it


def run(services, code):
    """On the service where there is one, else on a pool of one's own."""
    if "python_executor" in services:
        ref = services["python_executor"].execute.remote(code)
        return "on the service", services.result(ref, timeout=30)["stdout"]
    with Pool(1) as pool:
        return "on a pool of its own", pool.run(code).stdout


with get_services(backend, namespace="conditional") as services:
    print(*run(services, "print(6 * 7)"))
    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(executor_of, [services] * 4))
    print(sorted(how for _, how in found))
    print(*run(services, "print(6 * 7)"))
