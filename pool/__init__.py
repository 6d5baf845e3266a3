"""Many processes over time: workers, the queue before them, and the `pool` command.

>>> from interpreter_pool import Pool
>>> with Pool() as pool:
...     result = pool.run("print('hello')")
"""

from typing import TYPE_CHECKING

from .._lazy import by_name, exports

if TYPE_CHECKING:
    from .engine.stats import Stats
    from .engine.task import RunFuture
    from .errors import (
        LimitExceeded,
        PoolClosed,
        PoolError,
        PoolFull,
        PoolTimeout,
        ProgramError,
        SessionLost,
    )
    from .executor import Executor
    from .function import Function
    from .fuzzing import Answer, Difference
    from .judge import (
        Asserts,
        Call,
        CaseResult,
        CheckerProgram,
        Interactive,
        Stdio,
        TestModule,
        Verdict,
    )
    from .persistent import PersistentPythonProcess
    from .pool import Pool
    from .program import Program
    from .remote.connect import connect
    from .rows import Calibration, Reading, Unreadable, calibrate, read_row, solutions_of
    from .runtime import Runtime
    from .service import PythonExecutorService
    from .session import Session
    from .snapshot import Snapshot

__all__ = [
    "Answer",
    "Asserts",
    "Calibration",
    "Call",
    "CaseResult",
    "CheckerProgram",
    "Difference",
    "Executor",
    "Function",
    "Interactive",
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
    "Reading",
    "RunFuture",
    "Runtime",
    "Session",
    "SessionLost",
    "Snapshot",
    "Stats",
    "Stdio",
    "TestModule",
    "Unreadable",
    "Verdict",
    "calibrate",
    "connect",
    "read_row",
    "solutions_of",
]

_MODULES = by_name(
    {
        ".errors": """
            LimitExceeded PoolClosed PoolError PoolFull
            PoolTimeout ProgramError SessionLost
        """,
        ".executor": "Executor",
        ".function": "Function",
        ".fuzzing": "Answer Difference",
        ".judge": """
            Asserts Call CaseResult CheckerProgram Interactive Stdio TestModule Verdict
        """,
        ".persistent": "PersistentPythonProcess",
        ".pool": "Pool",
        ".program": "Program",
        ".remote.connect": "connect",
        ".runtime": "Runtime",
        ".rows": "Calibration Reading Unreadable calibrate read_row solutions_of",
        ".service": "PythonExecutorService",
        ".session": "Session",
        ".snapshot": "Snapshot",
        ".engine.stats": "Stats",
        ".engine.task": "RunFuture",
    }
)

__getattr__ = exports(__name__, _MODULES)
