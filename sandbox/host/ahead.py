"""Which modules of packages can be imported ahead of programs, found out by trying."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

from ..errors import SetupError
from ..guest.jail import proc
from ..jail.folder import HostFolder
from ..jail.plan import Plan, profile_of
from ..limits import Limits
from ..run.run_jail import RunJail
from .probe import Offer, Requirements, probe_host


@dataclasses.dataclass(frozen=True, slots=True)
class Import:
    """A module, and whether a zygote can have it before programs are forked from there.

    why: what keeps it from that. import_s: how long it takes, and size_bytes: how much memory, less
    what is mapped from files; of one that can't be imported ahead, 0.
    """

    module: str
    ahead: bool
    why: str = ""
    import_s: float = 0.0
    size_bytes: int = 0


def try_imports(packages: Sequence[str], python: str | None = None) -> Iterator[Import]:
    """Try each top-level module of the distributions `packages` in a zygote of its own, in the
    strongest tier that works. Raises `PolicyError` for what can't be offered, `SetupError` where no
    jail starts.
    """
    from .distributions import modules_named

    requirements = Requirements(offer=Offer(tuple(packages), None, python))
    with HostFolder() as folder:
        probed = probe_host(requirements, Limits(), folder)
        try:
            with_nothing = _start(probed.plan)
            for module in modules_named(packages, probed.plan.interpreter):
                yield _try(probed.plan, module, with_nothing)
        finally:
            probed.jail.close()
            probed.plan.launcher.close()


def _try(plan: Plan, module: str, nothing: tuple[float, int]) -> Import:
    try:
        import_s, size_bytes = _start(dataclasses.replace(plan, warm=(module,)))
    except SetupError as error:
        return Import(module, False, why=error.text.partition("; ")[0])
    return Import(
        module,
        True,
        import_s=round(max(import_s - nothing[0], 0.0), 3),
        size_bytes=max(size_bytes - nothing[1], 0),
    )


def _start(plan: Plan) -> tuple[float, int]:
    """Start a jail; return how long that took, and the size of its zygote."""
    began = time.monotonic()
    jail = RunJail(plan)
    jail.start(profile_of(Limits(), 0, plan))
    try:
        return time.monotonic() - began, proc.anonymous_bytes(jail.zygote_pid)
    finally:
        jail.close()
