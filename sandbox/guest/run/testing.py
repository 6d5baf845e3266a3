"""Stub until the real one comes."""

import types
from typing import Any


def prepare(source: str) -> None:
    return None


def run(namespace: dict[str, Any]) -> None:
    found = [
        each
        for name, each in namespace.items()
        if name.startswith("test") and type(each) is types.FunctionType
    ]
    for each in found:
        each()
    if not found:
        raise LookupError("no tests were found")
