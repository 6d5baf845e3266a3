"""Packages as a jail must hold them; `distributions.py` finds them by their metadata."""

import dataclasses
import functools
import os
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Packages:
    """Installed distributions as a jail must hold them: `entries` of the folder `site`, files and
    folders by their path below it.
    """

    site: str
    entries: tuple[str, ...]


def is_offered(module: str, packages: Iterable[Packages]) -> bool:
    """Tell whether a top-level module, or a part of it, is among the entries of `packages`."""
    return any(
        module == entry.partition("/")[0].partition(".")[0]
        for each in packages
        for entry in each.entries
    )


def modules_of(packages: Iterable[Packages]) -> frozenset[str]:
    """The names that can be the first part of a module's name in `packages`."""
    return frozenset(
        entry.partition("/")[0].partition(".")[0]
        for each in packages
        for entry in each.entries
        if not entry.partition("/")[0].endswith((".dist-info", ".egg-info", ".libs"))
    )


def has_module(name: str, packages: Iterable[Packages]) -> bool:
    """Tell whether there is a file for a module in `packages`. Nothing is imported."""
    *above, last = name.split(".")
    return any(last in _modules_in(os.path.join(each.site, *above)) for each in packages)


@functools.lru_cache(maxsize=1024)
def _modules_in(folder: str) -> frozenset[str]:
    """The names of what can be imported from a folder: it is read once, whatever programs name."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return frozenset()
    return frozenset(
        entry.name.partition(".")[0]
        for entry in entries
        if entry.name.endswith((".py", ".so")) or entry.is_dir()
    )
