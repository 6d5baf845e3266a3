"""Runs untrusted, model-written Python: a fresh, confined process for every run.

>>> from interpreter_pool import Pool
>>> with Pool() as pool:
...     print(pool.run("print(sum(range(10)))", timeout=2).stdout)
45
<BLANKLINE>

The subpackages: `sandbox` (one process, one run), `pool` (many processes over time), `registry`
(names to services), `transforms` (a model's text in, results and rewards out).
"""

from typing import TYPE_CHECKING

from ._lazy import by_name, exports

if TYPE_CHECKING:
    from .pool import (
        Answer,
        Asserts,
        Call,
        CaseResult,
        CheckerProgram,
        Difference,
        Executor,
        Function,
        Interactive,
        LimitExceeded,
        PersistentPythonProcess,
        Pool,
        PoolClosed,
        PoolError,
        PoolFull,
        PoolTimeout,
        Program,
        ProgramError,
        PythonExecutorService,
        RunFuture,
        Runtime,
        Session,
        SessionLost,
        Snapshot,
        Stats,
        Stdio,
        TestModule,
        Verdict,
        connect,
    )
    from .registry import (
        Infeasible,
        ServiceDied,
        ServiceError,
        StartTimeout,
        get_services,
    )
    from .sandbox import (
        ExitReason,
        GuestException,
        Limits,
        PolicyError,
        Result,
        SandboxError,
        SetupError,
    )

__all__ = [
    "Answer",
    "Asserts",
    "Call",
    "CaseResult",
    "CheckerProgram",
    "Difference",
    "Executor",
    "ExitReason",
    "Function",
    "GuestException",
    "Infeasible",
    "Interactive",
    "LimitExceeded",
    "Limits",
    "PersistentPythonProcess",
    "PolicyError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolTimeout",
    "Program",
    "ProgramError",
    "PythonExecutorService",
    "Result",
    "RunFuture",
    "Runtime",
    "SandboxError",
    "ServiceDied",
    "ServiceError",
    "Session",
    "SessionLost",
    "SetupError",
    "Snapshot",
    "StartTimeout",
    "Stats",
    "Stdio",
    "TestModule",
    "Verdict",
    "connect",
    "get_services",
]

_MODULES = by_name(
    {
        ".pool": """
            Answer Asserts Call CaseResult CheckerProgram Difference Executor Function Interactive
            LimitExceeded PersistentPythonProcess Pool PoolClosed PoolError PoolFull PoolTimeout
            Program ProgramError PythonExecutorService RunFuture Runtime Session SessionLost
            Snapshot Stats Stdio TestModule Verdict connect
        """,
        ".registry": "Infeasible ServiceDied ServiceError StartTimeout get_services",
        ".sandbox": "ExitReason GuestException Limits PolicyError Result SandboxError SetupError",
    }
)

__getattr__ = exports(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
