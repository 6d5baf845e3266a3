"""`connect`: a URL to an executor."""

import difflib
import functools
import urllib.parse
from typing import Any

from ...registry import Backend, get_services
from ...sandbox.limits import Limits
from ..checks import require_count, require_seconds
from .client import RemoteExecutor
from .link import Reach
from .messages import Nonsense
from .router import Router

_SCHEMES = ("local", "ray", "monarch")
_QUERY = ("namespace",)


def connect(
    url: str,
    *,
    retries: int = 2,
    hedge_after: float | None = None,
    max_queue: int | None = None,
    patience: float = 60.0,
    limits: Limits | None = None,
    **backend: Any,
) -> RemoteExecutor:
    """Return an executor: the methods of a `Pool`, on a service or a fleet that is registered.

    url: "local://NAME", "ray://NAME" or "monarch://NAME", as what was registered with
        `get_services("local")` and so on is called; "?namespace=..." where it has one of its own.
    retries: how often a run is made again whose executor was lost; then it is an infra error.
    hedge_after: seconds without a word from an executor, which always has one each second, after
        which what it has is made by another one, too, and the first answer counts; None: never.
    max_queue: how many runs may wait in this client before `PoolFull` is raised; None: any number.
    patience: seconds that runs wait where there is no executor at all.
    limits: what a run may use that is given none of its own; None: as the executor there says.
    backend: further options of `get_services`, such as `folder`.

    Raises ValueError for a URL that makes no sense, KeyError where there is nothing of that name,
    `PoolError` for a service that is no executor or that another version of ours runs.
    """
    scheme, name, query = _parsed(url)
    require_count("retries", retries, 0, 100)
    require_seconds("hedge_after", hedge_after)
    require_seconds("patience", patience)
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits must be a sandbox.Limits, not {limits!r}")
    if max_queue is not None:
        require_count("max_queue", max_queue, 1, 1 << 31)
    options = {
        "retries": retries,
        "hedge_after": hedge_after,
        "max_queue": max_queue,
        "patience_s": patience,
    }
    return _connect(url, scheme, name, {**query, **backend}, options, limits)


def _connect(
    url: str,
    scheme: str,
    name: str,
    backend: dict[str, Any],
    options: dict[str, Any],
    limits: Limits | None,
) -> RemoteExecutor:
    services = _services(scheme, backend)
    router = Router(url, functools.partial(_members, services, name), **options)
    again = functools.partial(_connect, url, scheme, name, backend, options, limits)
    return RemoteExecutor(router, again, limits)


def _services(scheme: str, backend: dict[str, Any]) -> Backend:
    if scheme == "ray":
        from ...registry import loopback

        ray = loopback.import_ray()
        if not ray.is_initialized() and "ray_init_config" not in backend:
            # Never one of its own: there would be nothing in it.
            backend = {**backend, "ray_init_config": {"address": "auto"}}
    return get_services(scheme, **backend)


class _ServiceReach:
    """An executor that is a service of a registry's."""

    def __init__(self, services: Backend, name: str, handle: Any) -> None:
        self._services = services
        self._name = name
        self._handle = handle

    def __call__(self, method: str, *args: Any) -> Any:
        try:
            call = getattr(self._handle, method)
        except AttributeError as error:
            raise Nonsense(f"{self._name!r} is no PythonExecutorService ({error})") from None
        return call.remote(*args)

    def result(self, call: Any, timeout: float) -> Any:
        return self._services.result(call, timeout=timeout)


def _members(services: Backend, name: str) -> dict[str, Reach]:
    """The executors of a fleet, or the one that is a service, by what tells each from any other."""
    return {
        key: _ServiceReach(services, name, handle) for key, handle in services.members(name).items()
    }


def _parsed(url: object) -> tuple[str, str, dict[str, str]]:
    if not isinstance(url, str):
        raise TypeError(f"url must be text such as 'ray://NAME', not {url!r:.80}")
    parts = urllib.parse.urlsplit(url)
    forms = ", ".join(f"{each}://NAME" for each in _SCHEMES)
    if parts.scheme in ("http", "https"):
        raise ValueError(f"url={url!r}: an executor can't be reached by HTTP yet; use {forms}")
    if parts.scheme not in _SCHEMES:
        near = difflib.get_close_matches(parts.scheme, _SCHEMES, 1)
        hint = f" (did you mean {near[0]}://?)" if near else ""
        raise ValueError(f"url={url!r}: begins with none of {forms}{hint}")
    name = urllib.parse.unquote(parts.netloc)
    if parts.scheme == "ray" and ":" in name:
        raise ValueError(
            f"url={url!r}: that is the form of Ray Client's addresses, HOST:PORT. Connect to Ray "
            "first, as by ray.init(address=...), and name the service: ray://NAME"
        )
    if not name or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"url={url!r}: must be {parts.scheme}://NAME, with ?namespace=... at most")
    query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(query.keys() - set(_QUERY))
    if unknown:
        raise ValueError(f"url={url!r}: unknown {unknown[0]!r}; there is {', '.join(_QUERY)}")
    return parts.scheme, name, query
