"""Many processes over time: workers, the queue before them, and the `pool` command.

>>> from pool import Pool
>>> with Pool() as pool:
...     result = pool.run("print('hello')")
"""

from .errors import (
    LimitExceeded,
    PoolClosed,
    PoolError,
    PoolFull,
    PoolTimeout,
    ProgramError,
    SessionLost,
)
from .function import Function
from .fuzzing import Answer, Difference
from .judge import Asserts, Call, CaseResult, Stdio, Verdict
from .persistent import PersistentPythonProcess
from .pool import Pool
from .program import Program
from .service import PythonExecutorService
from .session import Session
from .snapshot import Snapshot
from .stats import Stats
from .task import RunFuture

__all__ = [
    "Answer",
    "Asserts",
    "Call",
    "CaseResult",
    "Difference",
    "Function",
    "LimitExceeded",
    "PersistentPythonProcess",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolTimeout",
    "Program",
    "ProgramError",
    "PythonExecutorService",
    "RunFuture",
    "Session",
    "SessionLost",
    "Snapshot",
    "Stats",
    "Stdio",
    "Verdict",
]
