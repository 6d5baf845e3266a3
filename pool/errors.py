"""Errors of the pool: all of them mean that a run was not accepted, never how it ended."""

from sandbox.errors import SandboxError


class PoolError(SandboxError):
    """Base class of the pool's errors."""


class PoolClosed(PoolError):
    """The pool is closed, or belongs to another process (it can't be used across a fork)."""


class PoolFull(PoolError):
    """`max_queue` runs are waiting already; try again later, or give the pool more workers."""


class PoolTimeout(PoolError, TimeoutError):
    """The run waited `queue_timeout` seconds for a free worker, and was taken back unrun."""
