"""Registries of local services for a test, and how large their pools are."""

import contextlib
import itertools
import os
from collections.abc import Iterator

from interpreter_pool import Limits, Runtime, get_services

_numbers = itertools.count()
LIMITS = Limits(wall_s=20, memory_bytes=256 << 20)
RUNTIMES = {"packaged": Runtime(packages=("packaging",), preload=())}
OPTIONS = {"pool_size": 2, "limits": LIMITS, "max_sessions": 40, "runtimes": RUNTIMES}


def new_namespace() -> str:
    return f"remote-{os.getpid()}-{next(_numbers)}"


@contextlib.contextmanager
def local_services() -> Iterator:
    with get_services("local", namespace=new_namespace()) as services:
        yield services
