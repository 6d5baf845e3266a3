"""Fixtures: an executor of each kind in turn, all of them with the same pool behind."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import settle
from small_services import LIMITS, OPTIONS, RUNTIMES, new_namespace

from interpreter_pool import Pool, PythonExecutorService, connect, get_services

REGISTRY = Path(__file__).parents[2] / "registry"
sys.path.append(str(REGISTRY))
from clusters import ray_running  # noqa: E402


@contextlib.contextmanager
def executor_of(kind: str) -> Iterator:
    if kind == "pool":
        with Pool(2, limits=LIMITS, max_sessions=40, runtimes=RUNTIMES) as pool:
            pool.session(runtime="packaged").close()  # its jail stays, and two for runs
            list(pool.map(["import time; time.sleep(0.3)"] * 2, runtime="packaged"))
            yield pool
        return
    backend, what = kind.split()
    running = ray_running(8) if backend == "ray" else contextlib.nullcontext()
    with running, get_services(backend, namespace=new_namespace()) as services:
        if what == "fleet":
            services.register_fleet("executor", PythonExecutorService, min=2, **OPTIONS)
        else:
            services.register("executor", PythonExecutorService, **OPTIONS)
        with connect(f"{backend}://executor?namespace={services.namespace}") as executor:
            yield executor


KINDS = ["pool", "local fleet", "ray service", "monarch service"]


@pytest.fixture(scope="module", params=KINDS)
def executor(request) -> Iterator:
    with executor_of(request.param) as executor:
        settle(executor)
        yield executor


@pytest.fixture(scope="module")
def reference() -> Iterator[Pool]:
    """A pool of this process, to compare with."""
    with executor_of("pool") as pool:
        settle(pool)
        yield pool
