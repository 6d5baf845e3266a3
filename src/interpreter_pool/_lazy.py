"""Names of a package that are imported when they are first asked for.

Importing a package must cost next to nothing: `pool run` pays for it with every program, and what
needs an extra (ray, torchrl, hypothesis) must not be imported by those who don't use it.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562).

    package: the module's `__name__`. modules: by a name that it exports, the submodule, relative to
    the package, that defines it.
    """

    def get(name: str) -> Any:
        try:
            module = modules[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = getattr(importlib.import_module(module, package), name)
        setattr(importlib.import_module(package), name, value)  # the next time it is just there
        return value

    return get


def by_name(names: Mapping[str, str]) -> dict[str, str]:
    """Return the submodule of each name, of the names of each submodule (separated by blanks)."""
    return {name: module for module, listed in names.items() for name in listed.split()}
