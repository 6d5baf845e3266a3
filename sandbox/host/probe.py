"""What this host can enforce, found out by trying.

A sysctl says what should be possible; a container runtime, a security module or an older kernel
may have another opinion. So the strongest plan is tried, for real, then the next weaker one, and
the first jail that starts is the one the pool goes on with.
"""

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator, Mapping

from ..errors import PolicyError, SetupError
from ..guest.jail import capabilities, landlock
from ..jail import cgroups, layout, seccomp
from ..jail.folder import HostFolder
from ..jail.jail import HIDDEN
from ..jail.launch import Launcher, is_reachable, is_readable
from ..jail.messages import JailLost
from ..jail.plan import Plan, profile_of
from ..limits import Limits
from ..run.job import Job
from ..run.run import NotStarted, Run, RunLost
from ..run.run_jail import RunJail
from ..run.stop import Stop
from .interpreter import Interpreter, current, find
from .packages import Packages, is_offered

logger = logging.getLogger(__name__)

_FIRST_PROGRAM = b"print(6 * 7)"

TIERS = ("namespaces", "landlock", "none")
"""From the strongest to no confinement at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What programs are run with. preload: None for what they import of `packages`. Raises
    TypeError for what can't be meant.
    """

    packages: tuple[str, ...] = ()
    preload: tuple[str, ...] | None = ()
    python: str | None = None

    def __post_init__(self) -> None:
        for name in ("packages", "preload"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, str) or not all(isinstance(each, str) for each in value):
                raise TypeError(f"{name} must be a sequence of names, not {value!r}")
        if self.python is not None and not isinstance(self.python, str):
            raise TypeError(f"python must be a path or None, not {self.python!r}")

    def interpreter(self) -> Interpreter:
        return current() if self.python is None else find(self.python)


@dataclasses.dataclass(frozen=True, slots=True)
class Requirements:
    """What a caller asks of its jails; more: for those that name another runtime. Raises
    `PolicyError` for what can't be meant.
    """

    tier: str = "auto"
    require: str | None = None
    offer: Offer = Offer()
    more: Mapping[str, Offer] = dataclasses.field(default_factory=dict)
    explain: bool = False

    def __post_init__(self) -> None:
        if self.tier not in ("auto", *TIERS):
            raise PolicyError(f"tier={self.tier!r}: must be 'auto' or one of {', '.join(TIERS)}")
        if self.require not in (None, *TIERS[:2]):
            raise PolicyError(f"require={self.require!r}: must be None, 'namespaces' or 'landlock'")
        if self.require and self.tier != "auto" and _weaker(self.tier, self.require):
            raise PolicyError(f"tier={self.tier!r} is weaker than require={self.require!r}")
        if self.explain and self.tier == "none":
            raise PolicyError('explain: tier="none" refuses no system call; use another tier')

    def tiers(self) -> tuple[str, ...]:
        """The tiers to try, in order. No confinement at all is never tried unless named."""
        if self.tier != "auto":
            return (self.tier,)
        return tuple(
            tier for tier in TIERS[:2] if not (self.require and _weaker(tier, self.require))
        )


def _weaker(tier: str, than: str) -> bool:
    return TIERS.index(tier) > TIERS.index(than)


@dataclasses.dataclass(frozen=True, slots=True)
class Probed:
    """A plan that works here, its first jail, and why stronger tiers were passed over. runtimes:
    the plans of other runtimes, by name; they differ in what is offered, and were not tried.
    """

    plan: Plan
    jail: RunJail
    passed_over: tuple[str, ...]
    runtimes: Mapping[str, Plan]


def require_linux() -> None:
    if sys.platform != "linux":
        raise SetupError("host", f"this is {sys.platform}; confinement needs Linux 5.13 or newer")


def probe_host(requirements: Requirements, limits: Limits, folder: HostFolder) -> Probed:
    """Return the strongest ground on which a jail starts; raise `SetupError` where none does.

    The caller owns the jail, and the launchers of all plans. Costs a failed start (some 50 ms) for
    every plan that does not work.
    """
    require_linux()
    ours = _Found.of(requirements.offer)
    others = {name: _of_runtime(name, offer) for name, offer in requirements.more.items()}
    failures: list[str] = []
    for tier in requirements.tiers():
        limits.require_fit(tier)
        try:
            plan, jail = _settle_tier(tier, ours, requirements, limits, folder)
        except SetupError as error:
            if _is_callers(error):
                raise _explained(error) from None
            failures.append(f"{tier}: {error}")
            step = error.step
        except OSError as error:  # a host that is out of something: no reason for a weaker tier
            raise SetupError("host", str(error)) from error
        else:
            return Probed(plan, jail, tuple(failures), _plans_of_runtimes(others, plan, jail))
    raise SetupError(step, "no jail starts here. " + "; ".join(failures))


def _find_packages(names: tuple[str, ...], interpreter: Interpreter) -> tuple[Packages, ...]:
    if not names:
        return ()
    from .distributions import find_packages  # costs 50 ms, which most pools needn't pay

    return find_packages(names, interpreter)


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """An offer, and what it is on this host."""

    offer: Offer
    interpreter: Interpreter
    packages: tuple[Packages, ...]

    @classmethod
    def of(cls, offer: Offer) -> "_Found":
        interpreter = offer.interpreter()
        return cls(offer, interpreter, _find_packages(offer.packages, interpreter))

    def sources(self) -> list[str]:
        _, mounts = layout.in_namespaces(self.interpreter, self.packages)
        return [source for source, _ in mounts.binds]


def _of_runtime(name: str, offer: Offer) -> _Found:
    try:
        found = _Found.of(offer)
        for module in offer.preload or ():
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and not is_offered(top, found.packages):
                raise PolicyError(
                    f"preload: {module!r} is in none of its packages; name one that has it"
                )
    except PolicyError as error:
        raise PolicyError(f"runtimes[{name!r}]: {error}") from None
    return found


def _plans_of_runtimes(others: Mapping[str, _Found], plan: Plan, jail: RunJail) -> dict[str, Plan]:
    """The strongest plans of the tier of `plan` for `others`."""
    found: dict[str, Plan] = {}
    try:
        for name, each in others.items():
            its = next(_plans(plan.tier, each, plan.explain, plan.folder, f"-{len(found)}"), None)
            if its is None:
                raise SetupError(f"runtimes[{name!r}]", f"there is no plan for tier {plan.tier}")
            found[name] = dataclasses.replace(its, shown=plan.shown)
            if plan.own_ids and not its.own_ids:
                logger.warning(
                    "runtimes[%r] runs as this user: not everybody may read its files", name
                )
    except BaseException:
        for its in (plan, *found.values()):
            its.launcher.close()
        jail.close()
        raise
    return found


def _settle_tier(
    tier: str,
    ours: _Found,
    requirements: Requirements,
    limits: Limits,
    folder: HostFolder,
) -> tuple[Plan, RunJail]:
    """Return the first plan of `tier` that works, and its jail; raise what the strongest met."""
    first: SetupError | None = None
    for plan in _plans(tier, ours, requirements.explain, folder):
        try:
            return _start_shown(plan, limits)
        except BaseException as error:
            plan.launcher.close()
            if not isinstance(error, SetupError) or _is_callers(error):
                raise
            first = first or error
    raise first or SetupError("tier", f"there is no plan for {tier}")


def _start_shown(plan: Plan, limits: Limits) -> tuple[Plan, RunJail]:
    """Start a first jail; where it can't be watched, one whose processes let themselves be seen.

    That they can't be traced is one layer of several: no run may look into /proc, or trace.
    """
    try:
        return plan, _start_and_try(plan, limits)
    except SetupError as error:
        if error.step != HIDDEN or plan.tier != "landlock":
            raise
    plan = dataclasses.replace(plan, shown=True)
    return plan, _start_and_try(plan, limits)


def _is_callers(error: SetupError) -> bool:
    """Whether no other plan would help: the caller's own module does not import."""
    return error.step.startswith("preload")


def _explained(error: SetupError) -> SetupError:
    if "No module named" not in error.text:
        return error
    return SetupError(
        error.step,
        f"{error.text}; a module that is preloaded must be offered, too: "
        "packages=(...), or pool run --with",
    )


def _start_and_try(plan: Plan, limits: Limits) -> RunJail:
    """Start a jail and run a first program in it: what starts may still not be able to run."""
    jail = RunJail(plan)
    jail.start(profile_of(limits, 0, plan))
    try:
        result = Run(
            jail, jail.next_prewarmed(), Job(_FIRST_PROGRAM, (), b"", limits), Stop()
        ).drive()
    except (JailLost, NotStarted, RunLost) as error:
        text = f"{error}; {jail.log() or 'nothing was logged'}"
        jail.close()
        raise SetupError("first run", text) from None
    except OSError as error:  # of descriptors, as a rule, there are too few
        jail.close()
        raise SetupError("first run", str(error)) from error
    except BaseException:
        jail.close()
        raise
    if result.stdout == "42\n":
        return jail
    jail.close()
    raise SetupError(
        "first run",
        f"a first program ended as {result.reason} instead of printing 42: "
        f"{result.stderr[-300:] or result.detail}; if the limits are very low, raise them",
    )


def _plans(
    tier: str, found: _Found, explain: bool, folder: HostFolder, suffix: str = ""
) -> Iterator[Plan]:
    """Yield plans for `tier`, the strongest first. suffix: for the names of its parts of the
    folder.
    """
    if tier == "landlock" and landlock.probe() < landlock.LEAST_ABI:
        raise SetupError(
            "landlock",
            f"this kernel has ABI {landlock.probe()} (0 is none); {landlock.LEAST_ABI} is needed, "
            "as older ones do not govern truncation: Linux 6.2 or newer, booted with lsm=landlock",
        )
    if tier != "none":
        seccomp.build(tier)  # fails with its own words where libseccomp is missing
    parents = writable_cgroup(folder)
    links = os.path.join(folder.path, f"packages{suffix}")
    if not os.path.isdir(links):
        os.mkdir(links)
        os.chmod(links, 0o755)  # whatever the umask says: workers may have ids of their own
        layout.link_packages(found.packages, links)
    for own_ids in (True, False) if tier != "none" and _can_manage_ids() else (False,):
        sources = found.sources()
        if own_ids and not all(map(is_readable, sources)):
            continue
        if own_ids and tier == "landlock" and not all(map(is_reachable, sources)):
            continue  # without a root of its own there is no other place to show it at
        launcher = Launcher()
        if own_ids and tier == "namespaces":
            stage = os.path.join(folder.path, f"stage{suffix}")
            os.makedirs(stage, exist_ok=True)
            try:
                launcher = Launcher(sources, stage)
            except SetupError as error:
                logger.info("workers can't have ids of their own here: %s", error)
                continue
        yield Plan(
            tier=tier,
            interpreter=found.interpreter,
            packages=found.packages,
            preload=found.offer.preload or (),
            folder=folder,
            launcher=launcher,
            package_links=links,
            own_ids=own_ids,
            cgroup_parents=parents,
            explain=explain,
            warms=found.offer.preload is None and bool(found.packages),
        )


def _can_manage_ids() -> bool:
    """Whether this process can start others under ids of their own, and also end them and take
    away their files: root in a container may lack a part of that.
    """
    return os.geteuid() == 0 and capabilities.probe(
        capabilities.CAP_SETUID,
        capabilities.CAP_SETGID,
        capabilities.CAP_KILL,
        capabilities.CAP_CHOWN,
        capabilities.CAP_FOWNER,
        capabilities.CAP_DAC_OVERRIDE,
    )


def writable_cgroup(folder: HostFolder) -> cgroups.Parents | None:
    """Where cgroups can be made, found by making one and removing it again; None if nowhere."""
    name = f"{cgroups.PREFIX}{os.path.basename(folder.path)}-probe"
    for parents in cgroups.find():
        try:
            group = cgroups.make(parents, name)
        except OSError:
            continue
        try:
            group.begin(64 << 20, 64)
            group.end()
            return parents
        except (OSError, ValueError):
            continue
        finally:
            group.remove()
    return None
