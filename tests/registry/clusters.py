"""A Ray for a test module, Monarch for all of them, and other processes that can import what is here."""

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Iterator

import pytest
from example_services import Counter

from interpreter_pool import get_services
from interpreter_pool.registry import loopback

HERE = os.path.dirname(os.path.abspath(__file__))


needs_monarch = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="Monarch has wheels for x86-64 only"
)


@functools.cache
def warm_monarch() -> None:
    """Start what Monarch has in a process from its first call until the end: threads, pipes."""
    with get_services("monarch", namespace=f"warm-{os.getpid()}") as services:
        services.result(services.register("counter", Counter).get.remote(), timeout=60)


@contextlib.contextmanager
def ray_running(num_cpus: int, **config) -> Iterator[None]:
    """A Ray of this process's own, on loopback, whose workers can import what is here."""
    import ray

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, os.path.dirname(HERE)])
    try:
        # "local": not the one that a test beside this one may have started.
        own = {"address": "local", "num_cpus": num_cpus, "log_to_driver": False}
        loopback.init(ray, {**own, **config})
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    try:
        yield
    finally:
        ray.shutdown()


def main_of(code: str) -> list[str]:
    """The command of another process that can import what is here."""
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {[HERE]!r}\n{code}"]
