"""What a person is told when a program lacks a package that is there to be offered."""

import re

from packaging.utils import canonicalize_name

from sandbox.interpreter import current, find
from sandbox.packages import provider_of
from sandbox.result import Result


def missing_package(
    result: Result, python: str | None, offered: tuple[str, ...] = ()
) -> str | None:
    """Return a hint at `--with` where a run failed for want of a package that is installed, and
    was not among those `offered`.
    """
    error = result.exception
    if error is None or error.type not in ("ModuleNotFoundError", "ImportError"):
        return None
    named = re.match(r"No module named '([^'.]+)", error.message)
    if named is None:
        return None
    name = provider_of(named[1], current() if python is None else find(python))
    if name is None or canonicalize_name(name) in map(canonicalize_name, offered):
        return None
    return (
        f"{name!r} is installed here, but programs see only what they are offered: "
        f"pool run --with {name} ..."
    )
