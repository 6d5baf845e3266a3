"""One process, one run: limits, reasons, results, the jail, and what this host can enforce.

`jail.py` opens with the theory of operation. Most people want `pool.Pool`, which keeps jails
and hands them programs.
"""

from .errors import PolicyError, SandboxError, SetupError
from .limits import Limits
from .reasons import ExitReason
from .result import GuestException, Result

__all__ = [
    "ExitReason",
    "GuestException",
    "Limits",
    "PolicyError",
    "Result",
    "SandboxError",
    "SetupError",
]
