"""Fixtures: each backend in turn, and registries that are gone after their test."""

import itertools
import os
from collections.abc import Iterator

import pytest
from clusters import needs_monarch, ray_running, warm_monarch

from interpreter_pool import get_services

_numbers = itertools.count()


@pytest.fixture(
    scope="module", params=["local", "ray", pytest.param("monarch", marks=needs_monarch)]
)
def backend(request) -> Iterator[str]:
    """Each backend in turn; Ray with eight CPUs, whatever this machine has."""
    if request.param == "monarch":
        warm_monarch()
    if request.param != "ray":
        yield request.param
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
