"""Errors of the sandbox: a caller's mistake, or our failure to make a jail.

What a program does is never an error here: it is a `Result`.
"""


class SandboxError(Exception):
    """Base class of everything that this project raises on its own account."""


class SetupError(SandboxError):
    """A jail could not be made: `step` names what failed, the message says why and what to do."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.text = message

    def __reduce__(self) -> tuple[type["SetupError"], tuple[str, str]]:
        return SetupError, (self.step, self.text)  # callers of a service are in other processes


class PolicyError(SandboxError, ValueError):
    """The caller asked for something that this host, tier or version does not allow."""
