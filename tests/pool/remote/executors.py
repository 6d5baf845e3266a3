"""Fixtures: an executor of each kind in turn, all of them with the same pool behind."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_until

from interpreter_pool import Asserts, Limits, Pool, PythonExecutorService, connect, get_services

REGISTRY = Path(__file__).parents[2] / "registry"
sys.path.append(str(REGISTRY))
from clusters import ray_running  # noqa: E402

_numbers = itertools.count()
LIMITS = Limits(wall_s=20, memory_bytes=256 << 20)
OPTIONS = {"pool_size": 2, "limits": LIMITS, "max_sessions": 40}


def new_namespace() -> str:
    return f"remote-{os.getpid()}-{next(_numbers)}"


@contextlib.contextmanager
def local_services() -> Iterator:
    with get_services("local", namespace=new_namespace()) as services:
        yield services


@contextlib.contextmanager
def executor_of(kind: str) -> Iterator:
    if kind == "pool":
        with Pool(2, limits=LIMITS, max_sessions=40) as pool:
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


KINDS = ["pool", "local service", "local fleet", "ray service"]


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


def settle(executor) -> None:
    """Have all jails made that will ever be there: those of all workers, of their tests, and that of
    sessions.
    """
    for session in [executor.session() for _ in range(2)]:  # one at each of a fleet
        session.close()
    wait_until(lambda: executor.stats().workers_alive >= 2)
    workers = executor.stats().workers
    at_once = [("def f(): pass", [Asserts("f()\nimport time; time.sleep(0.4)", "f")])] * workers
    assert all(verdict.passed for verdict in executor.judge_many(at_once))
