"""A pool of which every run is an infra error."""

import os
import signal
from collections.abc import Iterator

from conftest import wait_until

from interpreter_pool import Pool, SetupError


def hopeless_pool(tier: str, monkeypatch) -> Iterator[Pool]:
    """Yield a pool that has lost its worker and gets no other."""

    def refuse(*_args, **_options):
        raise SetupError("launch", "out of order")

    with Pool(1, tier=tier) as pool:
        worker = pool.engine.workers[0]
        wait_until(lambda: worker.is_alive and worker.jail is not None)
        monkeypatch.setattr("interpreter_pool.sandbox.run.run_jail.RunJail.start", refuse)
        os.kill(worker.jail.zygote_pid, signal.SIGKILL)
        wait_until(lambda: pool.stats().workers_alive == 0)
        yield pool
