"""Starting Ray for this machine alone: on the loopback interface, without dashboard or reports.

Ray by itself listens on every interface and finds its address by asking which route leads to one
outside; of 127.0.0.1 it makes that address, too. Only its switch for machines without clusters,
meant for macOS and Windows, keeps it on the loopback interface everywhere; and who connects to a
Ray that was started so needs the switch as well.
"""

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from .errors import ServiceError

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_NOBODY = b"127.0.0.1:1"
_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_HAS_READ = "ENABLE_RAY_CLUSTER"
"""The constant that Ray's own process has made of the switch when it was imported."""
ENVIRONMENT = {_SWITCH: "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""For a process that calls `ray.init` by itself, to do the same."""


def import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "the ray backend needs Ray: pip install 'interpreter-pool[ray]'"
        ) from error
    return ray


def init(ray: Any, config: Mapping[str, Any]) -> None:
    """`ray.init(**config)`: connect to the cluster that is there, else start one on loopback.

    Which one is there is as Ray has it: that of `address`, of $RAY_ADDRESS, or what `ray start` has
    started last on this machine. The address "local" is that of none.
    """
    config = dict(config)
    address = _address_of_cluster(config.get("address"))
    if address:
        with only() if _is_loopback(address) else contextlib.nullcontext():
            ray.init(**config)
        return
    config.setdefault("include_dashboard", False)
    if config.get("_node_ip_address") not in (None, LOOPBACK):
        ray.init(**config)
        return
    config.pop("_node_ip_address", None)
    with only(dashboard=config["include_dashboard"]):
        ray.init(**config)
    listens_on = ray.util.get_node_ip_address()
    if listens_on != LOOPBACK:
        logger.warning("Ray listens on %s, not on loopback alone as it was told to", listens_on)


def _private(name: str) -> Any:
    """A private part of Ray's, such as "node.Node.start_api_server".

    Another Ray may not have it, or have it in vain. Then none is started: it would listen on every
    interface. Raises ServiceError.
    """
    module, *attributes = name.split(".")
    try:
        found: Any = importlib.import_module(f"ray._private.{module}")
        for attribute in attributes:
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        ray = import_ray()
        raise ServiceError(
            f"Ray {ray.__version__} has no ray._private.{name}, which is needed to keep it on the "
            "loopback interface; install 'ray>=2.40,<3', or call ray.init yourself, before"
        ) from error
    return found


def _address_of_cluster(named: str | None) -> str | None:
    read_ray_address = _private("utils.read_ray_address")
    if named in (None, "", "auto"):
        named = os.environ.get("RAY_ADDRESS") or read_ray_address() or named
    return None if named == "local" else named


def _is_loopback(address: str) -> bool:
    return address.rpartition(":")[0] in (LOOPBACK, "localhost")


@contextlib.contextmanager
def only(*, dashboard: bool = False) -> Iterator[None]:
    """Whatever of Ray is started or connected to within this keeps to the loopback interface."""
    constants = _private("ray_constants")
    _private(f"ray_constants.{_HAS_READ}")
    without_reports = contextlib.nullcontext() if dashboard else _without_reports()
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_reports)
        for name, value in ENVIRONMENT.items():
            stack.enter_context(_changed(os.environ, name, value))
        # Ray's processes inherit the environment; this one has read it already.
        stack.enter_context(_changed(vars(constants), _HAS_READ, False))
        yield


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Without the process that would serve the dashboard: with neither that nor reports to make, it
    still asks the metadata service of three clouds which of them this is.

    Ray's state API asks that process, too. It has nothing to serve without a dashboard; told an
    address where nobody listens, the API says so at once, instead of after forty seconds.
    """
    node_class = _private("node.Node")
    start = _private("node.Node.start_api_server")
    _private("node.Node.get_gcs_client")
    key = _private("ray_constants.DASHBOARD_ADDRESS").encode()
    namespace = _private("ray_constants.KV_NAMESPACE_DASHBOARD")

    def note_address(node: Any, *_: Any, **__: Any) -> None:
        node.get_gcs_client().internal_kv_put(key, _NOBODY, True, namespace)

    node_class.start_api_server = note_address
    try:
        yield
    finally:
        node_class.start_api_server = start


@contextlib.contextmanager
def _changed(mapping: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    before = mapping.get(name)
    mapping[name] = value
    try:
        yield
    finally:
        if before is None:
            mapping.pop(name, None)
        else:
            mapping[name] = before
