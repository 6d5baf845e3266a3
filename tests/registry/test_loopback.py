"""Ray's private parts, by which it is kept on loopback: without them it is not started at all."""

from types import SimpleNamespace

import pytest

from interpreter_pool.registry import ServiceError, loopback

pytest.importorskip("ray")


@pytest.mark.parametrize(
    "part",
    [
        "utils.read_ray_address",
        "ray_constants.ENABLE_RAY_CLUSTER",
        "ray_constants.DASHBOARD_ADDRESS",
        "ray_constants.KV_NAMESPACE_DASHBOARD",
        "node.Node.start_api_server",
        "node.Node.get_gcs_client",
    ],
)
def test_a_ray_with_other_private_parts_is_not_started(monkeypatch, part):
    """The error names what is missing and what to do; nothing was started, or changed, by then."""
    begun = []
    ray = SimpleNamespace(
        init=lambda **config: begun.append(config),
        util=SimpleNamespace(get_node_ip_address=lambda: loopback.LOOPBACK),
    )
    environment = dict(loopback.os.environ)
    monkeypatch.delattr(f"ray._private.{part}")
    with pytest.raises(ServiceError, match=rf"Ray \d\S+ has no ray\._private\.{part}.*<3"):
        loopback.init(ray, {"address": None})
    assert begun == []
    assert dict(loopback.os.environ) == environment


def test_the_ray_that_is_installed_has_them():
    """And has them back when it was started."""
    from ray._private import ray_constants
    from ray._private.node import Node

    before = ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server
    with loopback.only():
        assert (ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server) != before
    assert (ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server) == before
