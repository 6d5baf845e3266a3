"""Runtimes: what programs are run with, where those of one pool are not all run with the same."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from ..sandbox.host.probe import Offer
from .checks import names_of


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter, and what it offers. Arguments as for `Pool`.

    packages: what programs may import besides the standard library.
    preload: modules that are imported once, before programs are forked from there; None: those that
        programs import.
    python: the interpreter; None: this one.
    """

    packages: Sequence[str] = ()
    preload: Sequence[str] | None = None
    python: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        self.offer()  # for its errors

    def offer(self) -> Offer:
        """As the sandbox takes it. Raises TypeError."""
        return Offer(
            names_of("packages", self.packages),
            None if self.preload is None else names_of("preload", self.preload),
            os.fspath(self.python) if isinstance(self.python, os.PathLike) else self.python,
        )


def offers_of(runtimes: object) -> dict[str, Offer]:
    """Return what the runtimes of a pool offer, by name; raise TypeError or ValueError."""
    if runtimes is None:
        return {}
    if not isinstance(runtimes, Mapping):
        raise TypeError(f"runtimes must map names to Runtimes, not {runtimes!r:.80}")
    found = {}
    for name, runtime in runtimes.items():
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
            raise ValueError(f"runtimes: {name!r:.80} is no name; use a few printable characters")
        if not isinstance(runtime, Runtime):
            raise TypeError(f"runtimes[{name!r}] must be a Runtime, not {runtime!r:.80}")
        found[name] = runtime.offer()
    return found
