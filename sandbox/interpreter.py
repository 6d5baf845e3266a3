"""Which files a jail must hold for an interpreter and the packages asked for.

Everything is read off this environment: `sys`, `sysconfig`, and the packages' own metadata. What
a program may see is exactly this list; site-packages as a whole is never part of it.
"""

import dataclasses
import functools
import glob
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .errors import PolicyError

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_DATA = ("/usr/share/zoneinfo",)
_HIDDEN = ("site-packages", "dist-packages")
"""Entries of a standard library folder that are no part of it: whatever is installed here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter as a jail must hold it. All paths are absolute and real.

    executable: the interpreter itself.
    prefix: where it looks for its library; `stdlib`, `extensions` lie below it.
    libraries: folders of shared libraries outside of it.
    own_libraries: shared libraries below its prefix: libpython, where it is one.
    """

    executable: str
    prefix: str
    stdlib: str
    extensions: str
    libraries: tuple[str, ...]
    own_libraries: tuple[str, ...]

    @property
    def relocated(self) -> bool:
        """Whether a jail shows it at another place: a home directory is nobody's business."""
        return not (self.prefix == "/usr" or self.prefix.startswith("/usr/"))

    def hidden(self) -> list[str]:
        """Folders within the standard library that must not be seen."""
        candidates = (os.path.join(self.stdlib, name) for name in _HIDDEN)
        return [path for path in candidates if os.path.isdir(path)]

    def stdlib_entries(self) -> list[str]:
        """What the standard library consists of, entry by entry, without what is hidden."""
        with os.scandir(self.stdlib) as entries:
            return [entry.path for entry in entries if entry.name not in _HIDDEN]


@functools.cache
def current() -> Interpreter:
    """Describe the interpreter that is running (of a virtual environment: the one behind it)."""
    prefix = os.path.realpath(sys.base_prefix)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    stdlib = os.path.join(prefix, "lib", version)
    return Interpreter(
        executable=executable,
        prefix=prefix,
        stdlib=stdlib,
        extensions=os.path.join(stdlib, "lib-dynload"),
        libraries=tuple(_library_folders(prefix)),
        own_libraries=tuple(
            path
            for path in sorted(glob.glob(f"{glob.escape(prefix)}/lib/libpython3*.so*"))
            if prefix != "/usr"
        ),
    )


def _library_folders(prefix: str) -> Iterator[str]:
    """Folders that the dynamic linker looks in, and the interpreter's own, if it is not below."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    candidates = [
        f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/lib64",
        sysconfig.get_config_var("LIBDIR") or "",
    ]  # fmt: skip
    seen = set()
    for candidate in candidates:
        real = os.path.realpath(candidate) if candidate else ""
        # /usr/lib as a whole would bring other programs' files, and the system's Pythons.
        if real and real not in seen and os.path.isdir(real) and real not in ("/usr/lib", "/lib"):
            seen.add(real)
            if real != os.path.join(prefix, "lib"):
                yield real


@dataclasses.dataclass(frozen=True, slots=True)
class Packages:
    """Installed distributions as a jail must hold them: `entries` of the folder `site`."""

    site: str
    entries: tuple[str, ...]


def find_packages(names: Iterable[str]) -> tuple[Packages, ...]:
    """Return the distributions `names` and everything they need, from this environment.

    Raises `PolicyError` naming a distribution that is not installed here.
    """
    entries: dict[str, set[str]] = {}
    for distribution in _closure(names):
        site = os.path.realpath(str(distribution.locate_file("")))
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not os.path.isabs(str(file)):
                entries.setdefault(site, set()).add(top)
    return tuple(
        Packages(site, tuple(sorted(each for each in tops if os.path.exists(f"{site}/{each}"))))
        for site, tops in sorted(entries.items())
    )


def _closure(names: Iterable[str]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    waiting = [(name, "asked for") for name in names]
    while waiting:
        name, why = waiting.pop()
        key = canonicalize_name(name)
        if key in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except (metadata.PackageNotFoundError, ValueError):
            raise PolicyError(
                f"packages: {name!r} ({why}) is not installed in this environment "
                f"({sys.prefix}); install it there, or leave it out"
            ) from None
        found[key] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            # Without an extra chosen, a requirement of an extra does not hold.
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append((requirement.name, f"needed by {name}"))
    return list(found.values())


def shared_object_interpreters() -> list[str]:
    """The dynamic linkers' fixed paths: they are compiled into every program."""
    return [path for path in glob.glob("/lib*/ld-linux*.so.*") if os.path.exists(path)]


DATA = tuple(path for path in _DATA if os.path.isdir(path))
