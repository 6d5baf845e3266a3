"""What people are told of an exception that comes of how programs are confined: a package that the
pool does not offer, a network that is not there.

An exception is the program's own word: a hint decides nothing, and a program that lies about it
misleads whoever reads its own result.
"""

import dataclasses
import logging
import re

from ..jail.plan import Plan
from ..result import GuestException, Result
from .packages import is_offered

logger = logging.getLogger(__name__)

_NO_MODULE = re.compile(r"No module named '([^\W\d]\w{0,99})['.]")

_NO_NETWORK = "there is no network in the jail"
_NO_NAMES = re.compile(
    r"Temporary failure in name resolution|Name or service not known|"
    r"No address associated with hostname|NameResolutionError"
)
_NOT_PERMITTED = re.compile(r"\[Errno 1\] Operation not permitted")
_IN_SOCKET = re.compile(r'socket\.py", line|\bsocket\.socket\(')
_IN_FORK = re.compile(r"\b_?fork(_exec|pty)?\(|\b_?(posix_)?spawn\w*\(|\bexecv\w*\(")

_LONGEST_LOOK = 4 << 10
"""Characters of a traceback's end that are looked at."""


def with_hint(result: Result, plan: Plan) -> Result:
    """Return `result` with a hint in `detail`, and with `not_offered`, where its exception comes of
    what the jails of `plan` do not have. Costs nothing where no exception ended the program.
    """
    error = result.exception
    if error is None:
        return result
    try:
        name = _not_offered(error, plan)
        if name is not None:
            detail = not_offered(name, f"Pool(packages=({name!r},))")
            detail = f"{result.detail}; {detail}" if result.detail else detail
            return dataclasses.replace(result, detail=detail, not_offered=name)
        hint = "" if result.detail else _hint(error)
    except Exception:  # of metadata that can't be read: the result matters more than a hint
        logger.exception("no hint could be given about an exception of a program")
        return result
    return dataclasses.replace(result, detail=hint) if hint else result


def not_offered(name: str, way_out: str) -> str:
    """The sentence about a distribution that is installed and not offered."""
    return f"{name} is installed here, but this pool does not offer it: {way_out}"


def _not_offered(error: GuestException, plan: Plan) -> str | None:
    """The distribution that the program lacked, if it is installed, and does not come with what is
    offered.
    """
    if error.type not in ("ModuleNotFoundError", "ImportError"):
        return None
    named = _NO_MODULE.match(error.message)
    if named is None or is_offered(named[1], plan.packages):
        return None
    from .distributions import provider_of  # costs 50 ms, which most pools needn't pay

    return provider_of(named[1], plan.interpreter.sites)


def _hint(error: GuestException) -> str:
    if error.type.rpartition(".")[2] == "gaierror" or _NO_NAMES.search(error.message):
        return _NO_NETWORK
    if error.type == "PermissionError" and _NOT_PERMITTED.match(error.message):
        end = error.traceback[-_LONGEST_LOOK:]
        if _IN_SOCKET.search(end):
            return _NO_NETWORK
        if _IN_FORK.search(end):
            return (
                "programs can't start processes here; Limits(processes=) allows it in the "
                "namespaces tier"
            )
        return "a system call was refused: pool run --explain, or Pool(explain=True), names it"
    return ""
