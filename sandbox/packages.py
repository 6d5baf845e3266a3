"""Which files of installed distributions a jail must hold, by their own metadata."""

import dataclasses
import os
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .errors import PolicyError
from .interpreter import Interpreter


@dataclasses.dataclass(frozen=True, slots=True)
class Packages:
    """Installed distributions as a jail must hold them: `entries` of the folder `site`."""

    site: str
    entries: tuple[str, ...]


def find_packages(names: Iterable[str], interpreter: Interpreter) -> tuple[Packages, ...]:
    """Return the distributions `names`, and everything they need, of `interpreter`.

    A name may be a requirement, such as "pandas[excel]>=2". Raises `PolicyError` naming what is
    not installed there, has another version, or has no files that could be shown.
    """
    entries: dict[str, set[str]] = {}
    for name, distribution in _closure(names, interpreter):
        site = os.path.realpath(str(distribution.locate_file("")))
        tops = _top_entries(distribution, site)
        if name is not None and not any(map(_is_importable, tops)):
            raise PolicyError(
                f"packages: {name!r} has no modules in {site}, as it is when something was "
                "installed in place (pip install -e) or by the system; install it plainly"
            )
        entries.setdefault(site, set()).update(tops)
    return tuple(Packages(site, tuple(sorted(tops))) for site, tops in sorted(entries.items()))


def provider_of(module: str, interpreter: Interpreter) -> str | None:
    """Return the distribution of `interpreter` that a top-level module belongs to, if any does."""
    for distribution in metadata.distributions(path=list(interpreter.sites)):
        site = os.path.realpath(str(distribution.locate_file("")))
        tops = {top.partition(".")[0] for top in _top_entries(distribution, site)}
        if module in tops:
            return str(distribution.metadata["Name"])
    return None


def _top_entries(distribution: metadata.Distribution, site: str) -> set[str]:
    found = set()
    for file in distribution.files or ():
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not os.path.isabs(str(file)):
            found.add(top)
    return {top for top in found if os.path.exists(f"{site}/{top}")}


def _is_importable(top: str) -> bool:
    return not top.endswith((".dist-info", ".egg-info", ".pth")) and "__editable__" not in top


def _closure(
    names: Iterable[str], interpreter: Interpreter
) -> Iterable[tuple[str | None, metadata.Distribution]]:
    """All distributions needed, each once, with its name if it was asked for."""
    found: dict[str, tuple[str | None, metadata.Distribution]] = {}
    followed: set[tuple[str, str]] = set()
    waiting = [(_parse(name), "asked for", name) for name in names]
    while waiting:
        requirement, why, asked = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key not in found:
            found[key] = (asked or None, _installed(requirement, why, interpreter))
        distribution = found[key][1]
        if asked and not requirement.specifier.contains(distribution.version, prereleases=True):
            raise PolicyError(
                f"packages: {asked!r} does not fit what is installed, "
                f"{requirement.name} {distribution.version} ({interpreter.home})"
            )
        for extra in ("", *requirement.extras):
            if (key, extra) in followed:
                continue
            followed.add((key, extra))
            for text in distribution.requires or ():
                needed = Requirement(text)
                environment = {**interpreter.markers, "extra": extra}
                if needed.marker is None or needed.marker.evaluate(environment):
                    waiting.append((needed, f"needed by {requirement.name}", ""))
    return found.values()


def _parse(name: str) -> Requirement:
    try:
        return Requirement(name)
    except InvalidRequirement:
        raise PolicyError(
            f"packages: {name!r} (asked for) is no name of a distribution; "
            'write "numpy", "pandas[excel]" or "numpy>=2"'
        ) from None


def _installed(
    requirement: Requirement, why: str, interpreter: Interpreter
) -> metadata.Distribution:
    sites = list(interpreter.sites)
    found = next(iter(metadata.distributions(name=requirement.name, path=sites)), None)
    if found is None:
        raise PolicyError(
            f"packages: {requirement.name!r} ({why}) is not installed in this environment "
            f"({interpreter.home}); install it there, or leave it out"
        )
    return found
