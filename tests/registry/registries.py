"""Fixtures: Ray for one test module at a time, and registries that are gone after their test."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator

import pytest

from registry import get_services, loopback

HERE = os.path.dirname(os.path.abspath(__file__))
_numbers = itertools.count()


@contextlib.contextmanager
def ray_running(num_cpus: int, **config) -> Iterator[None]:
    """A Ray of this process's own, on loopback, whose workers can import what is here."""
    import ray

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, os.path.dirname(HERE)])
    try:
        loopback.init(ray, {"num_cpus": num_cpus, "log_to_driver": False, **config})
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module", params=["local", "ray"])
def backend(request) -> Iterator[str]:
    """Each backend in turn; Ray with eight CPUs, whatever this machine has."""
    if request.param == "local":
        yield "local"
        return
    with ray_running(8):
        yield "ray"


@pytest.fixture
def namespace() -> str:
    return f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def connect(backend, namespace):
    """Make registries as different users would; everything in their namespaces ends with the test."""
    made = []

    def make(namespace=namespace, **options):
        services = get_services(backend, namespace=namespace, **options)
        made.append(services)
        return services

    yield make
    for services in made:
        if not services._is_shut:
            services.reset()
            services.shutdown()


@pytest.fixture
def services(connect):
    return connect()


def main_of(code: str) -> list[str]:
    """The command of another process that can import what is here."""
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {[HERE]!r}\n{code}"]
