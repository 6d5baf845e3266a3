"""What a jail looks like from inside: where things stand, and what may be read or written.

The namespaces tier builds a root of its own and shows everything at neutral places; the
landlock tier leaves things where they are and names what may be touched.
"""

import dataclasses
import os

from ..guest.jail import landlock
from ..guest.jail.libraries import THREAD_VARIABLES
from ..host.cpus import usable_cpus
from ..host.interpreter import DATA, DEVICES, Interpreter, shared_object_interpreters
from ..host.packages import Packages

GUEST = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest")

_READ_WRITE = landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE

_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "LOGNAME": "sandbox",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "USER": "sandbox",
    # Hashing that is the same in every zygote, so that a run with a seed can be repeated. What a
    # foreseeable hash makes slow is the program's own time. Taken away before a program sees it.
    "PYTHONHASHSEED": "0",
    # Every symbol is bound once, here, and not by each child that needs it. Taken away, too.
    "LD_BIND_NOW": "1",
}

_MOST_NUMERIC_THREADS = 8
"""Numeric libraries start a thread for each CPU when they are imported, with tens of megabytes
each; on a large host that alone would pass the usual limits."""


def numeric_threads() -> int:
    """How many threads a numeric library has in a run, if its limits allow them."""
    return min(usable_cpus(), _MOST_NUMERIC_THREADS)


def fewer_numeric_threads(tasks: int | None) -> int | None:
    """How many it may have where there may be only `tasks`; None for no fewer than otherwise.
    OpenBLAS interrupts a program for which it can't start the threads that it wants.
    """
    if tasks is None or tasks >= _MOST_NUMERIC_THREADS:  # nearly always; CPUs take time to count
        return None
    return tasks if tasks < numeric_threads() else None


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where a zygote finds everything.

    guest_parent: the folder whose `guest` holds our code.
    path: the sys.path of programs. scratch: see `Confinement`. rules: for Landlock.
    """

    executable: str
    guest_parent: str
    path: list[str]
    scratch: str
    rules: list[tuple[str, int]]
    environment: dict[str, str]

    @property
    def devices(self) -> list[str]:
        return [path for path, _ in self.rules if path.startswith("/dev/")]

    def command(self, control_fd: int) -> list[str]:
        """The zygote's command line. Nothing of the host's configuration is read: its environment
        is `environment` alone, and -P -s -S leave the rest out.
        """
        start = (
            "import sys; sys.path.insert(0, sys.argv[1]); "
            "from guest.jail.zygote import main; main(int(sys.argv[2]))"
        )
        options = ["-P", "-s", "-S", "-B"]
        return [self.executable, *options, "-c", start, self.guest_parent, str(control_fd)]


@dataclasses.dataclass(frozen=True, slots=True)
class Mounts:
    """What the root of a namespaces jail is made of.

    binds: (host path, jail path), read-only; devices are the same on both sides.
    covers: jail paths that are covered with something empty. links: (target, jail path).
    """

    binds: list[tuple[str, str]]
    covers: list[str]
    links: list[tuple[str, str]]


def in_namespaces(
    interpreter: Interpreter,
    packages: tuple[Packages, ...],
    devices: tuple[str, ...] = DEVICES,
) -> tuple[Layout, Mounts]:
    """Lay out a root of its own: neutral places, so that the host's paths tell nothing."""
    prefix = "/opt/python" if interpreter.relocated else interpreter.prefix

    executable = f"{prefix}/bin/{os.path.basename(interpreter.executable)}"

    def inside(path: str) -> str:
        if path == interpreter.prefix or path.startswith(interpreter.prefix + os.sep):
            return prefix + path[len(interpreter.prefix) :]
        return path

    binds = [(folder, inside(folder)) for folder in interpreter.libraries]
    binds += [(library, inside(library)) for library in interpreter.own_libraries]
    binds += [
        (interpreter.executable, executable),
        (interpreter.stdlib, inside(interpreter.stdlib)),
        (GUEST, "/opt/interpreter-pool/guest"),
    ]
    binds += [(data, data) for data in DATA]
    path = [inside(interpreter.stdlib), inside(interpreter.extensions)]
    for number, package in enumerate(packages):
        site = f"/opt/packages/{number}"
        binds += [(f"{package.site}/{each}", f"{site}/{each}") for each in package.entries]
        path.append(site)
    links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("/scratch/run/shm", "/dev/shm"),
        ("/scratch/run/tmp", "/tmp"),
        ("/scratch/run/tmp", "/var/tmp"),
    ]
    # Accounts: who the one id in here is, as libc looks it up.
    links += [
        (f"/opt/interpreter-pool/guest{file}", file) for file in ("/etc/passwd", "/etc/group")
    ]
    # Programs that may start processes call it by these names.
    links += [
        (executable, name)
        for name in ("/usr/local/bin/python", "/usr/local/bin/python3")
        if name != executable
    ]
    for linker in shared_object_interpreters():
        folder = os.path.dirname(linker)
        if os.path.islink(folder):
            links.append((os.readlink(folder), folder))
        if not any(os.path.realpath(linker).startswith(f"{bound}/") for bound, _ in binds):
            binds.append((os.path.realpath(linker), os.path.realpath(linker)))
    if os.path.islink("/lib"):
        links.append((os.readlink("/lib"), "/lib"))
    layout = Layout(
        executable=executable,
        guest_parent="/opt/interpreter-pool",
        path=path,
        scratch="/scratch/run",
        # The rule for the scratch stands on its mount point's parent: a ruleset made now does
        # not cover a file system that is mounted later.
        rules=[
            ("/", landlock.READ),
            ("/scratch", landlock.SCRATCH),
            *((device, _READ_WRITE) for device in devices),
        ],
        environment=_environment(
            "/scratch/run", f"{prefix}/lib" if interpreter.relocated else None
        ),
    )
    return layout, Mounts(binds, [inside(each) for each in interpreter.hidden()], links)


def in_place(
    interpreter: Interpreter,
    packages: tuple[Packages, ...],
    scratch: str,
    links: str,
    devices: tuple[str, ...] = DEVICES,
) -> Layout:
    """Leave everything where it is on the host; `scratch` is an empty folder of the worker's.

    Packages are found through the links that `link_packages` made in the folder `links`.
    """
    readable = [*interpreter.stdlib_entries(), *interpreter.libraries, *interpreter.own_libraries]
    readable += [*DATA, "/etc/ld.so.cache"]
    path = [interpreter.stdlib, interpreter.extensions]
    # Imports list these folders; what lies in them is readable only where a rule says so.
    listed = [interpreter.stdlib, links]
    if packages:
        path.append(links)
    for package in packages:
        readable += [f"{package.site}/{each}" for each in package.entries]
    return Layout(
        executable=interpreter.executable,
        guest_parent=os.path.dirname(GUEST),
        path=path,
        scratch=scratch,
        rules=[
            *((each, landlock.READ) for each in readable),
            *((each, landlock.READ_DIR) for each in listed),
            (scratch, landlock.SCRATCH),
            *((device, _READ_WRITE) for device in devices),
        ],
        environment=_environment(scratch, None),
    )


def link_packages(packages: tuple[Packages, ...], links: str) -> None:
    """Make the folder `links` hold a link to each entry of `packages`, and nothing else.

    With site-packages itself on the path, importing what is installed there but not offered
    would be a PermissionError, where programs expect an ImportError.
    """
    for package in packages:
        for entry in package.entries:
            folder = links
            for part in entry.split("/")[:-1]:
                folder = f"{folder}/{part}"
                if os.path.islink(folder):  # an earlier site has all of it
                    break
                os.makedirs(folder, mode=0o755, exist_ok=True)
            else:
                # What an earlier site has under that name is what Python would find, too.
                if not os.path.lexists(f"{links}/{entry}"):
                    os.symlink(f"{package.site}/{entry}", f"{links}/{entry}")


def _environment(scratch: str, libraries: str | None) -> dict[str, str]:
    environment = dict(_ENVIRONMENT, HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp")
    environment |= dict.fromkeys(THREAD_VARIABLES, str(numeric_threads()))
    if libraries:
        # Some builds name their library by an absolute path, which relocation has changed.
        environment["LD_LIBRARY_PATH"] = libraries
    return environment
