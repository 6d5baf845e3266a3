"""A loaded machine: limits on CPU time end no program that keeps to them."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from interpreter_pool import Limits


@contextlib.contextmanager
def load(count: int) -> Iterator[None]:
    """Keep `count` processes busy, each in a session of its own."""
    spin = "import ctypes; ctypes.CDLL(None).prctl(1, 9)\nwhile True: pass"
    command = [sys.executable, "-S", "-c", spin]
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_cpu_limit_ends_nothing_that_keeps_to_it_at_load_20(pool):
    """0.2 CPU seconds under a limit of 1 pass, however long they take; over the limit they don't."""
    needs = "import time\nwhile time.process_time() < {}: pass\nprint('done')"
    limits = Limits(cpu_s=1.0, wall_s=100)
    with load(20):
        futures = [pool.submit(needs.format(0.2), limits=limits) for _ in range(4)]
        results = [future.result() for future in futures]
        assert [result.stdout for result in results] == ["done\n"] * 4
        assert max(result.cpu_s for result in results) < 1
        result = pool.run(needs.format(5), limits=Limits(cpu_s=0.3, wall_s=100))
        assert result.reason == "cpu_timeout"
        assert result.cpu_s < 1
