"""Packages as a jail must hold them; `distributions.py` finds them by their metadata."""

import dataclasses
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
