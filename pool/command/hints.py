"""What a person is told when a program lacks a package that is there to be offered."""

import re

from ...sandbox.errors import PolicyError
from ...sandbox.host.distributions import find_packages, provider_of
from ...sandbox.host.interpreter import current, find
from ...sandbox.host.packages import is_offered
from ...sandbox.result import Result


def missing_package(
    result: Result, python: str | None, offered: tuple[str, ...] = ()
) -> str | None:
    """Return a hint at `--with` where a run failed for want of a package that is installed, and
    does not come with what is `offered` (requirements, as `packages=` takes them).
    """
    error = result.exception
    if error is None or error.type not in ("ModuleNotFoundError", "ImportError"):
        return None
    named = re.match(r"No module named '([^'.]+)", error.message)
    if named is None:
        return None
    try:
        interpreter = current() if python is None else find(python)
        if is_offered(named[1], find_packages(offered, interpreter)):
            return None
    except PolicyError:  # changed since the pool began; the result matters more than a hint
        return None
    name = provider_of(named[1], interpreter)
    if name is None:
        return None
    return (
        f"{name!r} is installed here, but programs see only what they are offered: "
        f"pool run --with {name} ..."
    )
