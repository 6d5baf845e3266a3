"""Many processes over time: workers, the queue before them, and the `pool` command.

>>> from pool import Pool
>>> with Pool() as pool:
...     result = pool.run("print('hello')")
"""

from .errors import PoolClosed, PoolError, PoolFull, PoolTimeout
from .pool import Pool
from .program import Program
from .stats import Stats
from .task import RunFuture

__all__ = [
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolTimeout",
    "Program",
    "RunFuture",
    "Stats",
]
