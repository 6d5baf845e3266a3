"""Fast and heavy executors side by side: short programs never wait behind long ones.

python examples/services_fast_and_heavy.py [local | ray]
"""

import sys
import time

from interpreter_pool import Limits, PythonExecutorService, get_services

backend = sys.argv[1] if len(sys.argv) > 1 else "local"

with get_services(backend, namespace="two") as services:
    fast = services.register(
        "fast",
        PythonExecutorService,
        pool_size=2,
        limits=Limits(wall_s=2, memory_bytes=128 << 20),
        max_concurrency=16,
    )
    heavy = services.register(
        "heavy",
        PythonExecutorService,
        pool_size=2,
        limits=Limits(wall_s=30, memory_bytes=2 << 30),
        packages=("numpy",),
        preload=("numpy",),
        max_concurrency=4,
    )
    long = "import numpy, time; time.sleep(1); print(numpy.arange(10).sum())"
    began = time.monotonic()
    waiting = [heavy.execute.remote(long) for _ in range(4)]
    quick = services.result([fast.execute.remote("print(1)") for _ in range(20)], timeout=30)
    assert all(result["success"] for result in quick)
    print(f"20 fast ones after {time.monotonic() - began:.2f} s")
    print("heavy ones:", [result["stdout"] for result in services.result(waiting, timeout=60)])
    print(f"all after {time.monotonic() - began:.2f} s")
