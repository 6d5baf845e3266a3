"""Which backend: the door of the registry."""

import inspect
from typing import Any

from .backend import Backend
from .local import LocalService
from .monarch import MonarchService
from .ray import RayService

BACKENDS: dict[str, type[Backend]] = {
    each.kind: each for each in (RayService, LocalService, MonarchService)
}


def get_services(backend: str = "ray", **init: Any) -> Backend:
    """Return the registry of services behind `backend`.

    backend: "ray" (a cluster; needs the extra `ray`), "local" (this machine and user) or
        "monarch" (the same by Monarch's actors; needs the extra `monarch`).
    init: namespace, and what else the backend takes (`RayService`, `LocalService`,
        `MonarchService`).
    """
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(
            f"Unsupported backend: {backend!r}; there are: {', '.join(map(repr, BACKENDS))}"
        )
    cls = BACKENDS[backend]
    known = inspect.signature(cls).parameters
    unknown = [name for name in init if name not in known]
    if unknown:
        raise TypeError(
            f"the {backend} backend has no option {', '.join(unknown)}; there are: "
            f"{', '.join(known)}"
        )
    return cls(**init)
