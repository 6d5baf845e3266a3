"""Network: a program reaches nobody, not even itself."""

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@dataclasses.dataclass
class Listeners:
    """Sockets of the host that wait for someone to come."""

    names: dict[str, Any]
    sockets: list[socket.socket]

    def visitors(self) -> int:
        """How many connections and messages have arrived since last asked."""
        arrived = 0
        for each in self.sockets:
            with contextlib.suppress(BlockingIOError):
                if each.type == socket.SOCK_STREAM:
                    each.accept()[0].close()
                else:
                    each.recv(100)
                arrived += 1
        return arrived


@pytest.fixture
def listeners(tmp_path) -> Iterator[Listeners]:
    """On loopback, in the abstract namespace, and on a path that everybody may enter."""
    path = Path(tmp_path)
    while path != path.parent and path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
        path.chmod(0o755)
        path = path.parent
    addresses = [
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        ("abstract stream", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{tmp_path}-s"),
        ("abstract datagram", socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{tmp_path}-d"),
        ("path stream", socket.AF_UNIX, socket.SOCK_STREAM, f"{tmp_path}/s"),
        ("path datagram", socket.AF_UNIX, socket.SOCK_DGRAM, f"{tmp_path}/d"),
    ]
    with contextlib.ExitStack() as stack:
        listeners = Listeners({}, [])
        for name, family, kind, address in addresses:
            each = stack.enter_context(socket.socket(family, kind))
            each.bind(address)
            if family == socket.AF_UNIX and isinstance(address, str) and address[0] == "/":
                Path(address).chmod(0o777)
            if kind == socket.SOCK_STREAM:
                each.listen()
            each.setblocking(False)
            listeners.names[name] = each.getsockname()
            if isinstance(listeners.names[name], bytes):
                listeners.names[name] = listeners.names[name].decode()
            listeners.sockets.append(each)
        yield listeners


VISIT = """
import json, socket, sys, time
names = json.loads(sys.argv[1])
reached, began = [], time.monotonic()

def attempt(label, action):
    try:
        action()
        reached.append(label)
    except OSError:
        pass

def visit(family, kind, address, *flags):
    with socket.socket(family, kind) as visitor:
        visitor.settimeout(1)
        if kind == socket.SOCK_STREAM:
            visitor.connect(address)
        else:
            visitor.sendto(b"hello", *flags, address)

def from_pair(kind, address, use):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other:
        use(one, address)

for name, address in names.items():
    family = socket.AF_INET if name in ("tcp", "udp") else socket.AF_UNIX
    kind = socket.SOCK_DGRAM if name in ("udp",) or "datagram" in name else socket.SOCK_STREAM
    address = tuple(address) if isinstance(address, list) else address
    attempt(name, lambda: visit(family, kind, address))
    if kind == socket.SOCK_DGRAM:
        attempt(name + " with flags", lambda: visit(family, kind, address, socket.MSG_DONTWAIT))
    if family == socket.AF_UNIX:
        for pair in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            for use in (
                lambda one, to: one.sendto(b"hello", to),
                lambda one, to: one.sendmsg([b"hello"], [], 0, to),
                lambda one, to: one.connect(to),
            ):
                attempt(name + " from a pair", lambda: from_pair(pair, address, use))
if sys.argv[2:]:
    for host in sys.argv[2:]:
        attempt(host, lambda: visit(socket.AF_INET, socket.SOCK_STREAM, (host, 80)))
    attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
    attempt("dns", lambda: visit(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.53", 53)))
    attempt("ipv6", lambda: visit(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 80)))
    attempt("bind", lambda: socket.create_server(("127.0.0.1", 0)).close())
print(json.dumps([sorted(set(reached)), time.monotonic() - began]))
"""


def test_n1_no_address_can_be_reached(attack, outside, listeners):
    """N1: TCP, UDP, DNS and the metadata service are refused at once; nobody is called."""
    names = {name: listeners.names[name] for name in ("tcp", "udp")}
    reached, took_s = attack.report(VISIT, args=[json.dumps(names), "169.254.169.254", "1.1.1.1"])
    assert reached == []
    assert took_s < 0.5
    assert listeners.visitors() == 0
    assert set(outside.report(VISIT, args=[json.dumps(names)])[0]) >= {"tcp", "udp"}
    assert listeners.visitors() == 2


def test_n2_unix_sockets_of_the_host_cannot_be_reached(attack, outside, listeners):
    """N2: neither by connect nor by a message, neither from a socket of its own nor from a pair."""
    names = {name: address for name, address in listeners.names.items() if " " in name}
    assert attack.report(VISIT, args=[json.dumps(names)])[0] == []
    assert listeners.visitors() == 0
    reached = outside.report(VISIT, args=[json.dumps(names)])[0]
    assert set(reached) >= {*names, "abstract datagram from a pair", "path datagram from a pair"}
    assert listeners.visitors() == 4


MAKE = """
import json, socket
made = []
for family in range(46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        for protocol in (0, 1, 3):
            try:
                socket.socket(family, kind, protocol).close()
                made.append(family)
            except OSError:
                pass
print(json.dumps(sorted(set(made))))
"""


def test_n3_sockets_of_no_family_can_be_made(attack, outside):
    """N3: raw, packet, netlink, vsock, crypto: of 46 families, not one socket."""
    assert attack.report(MAKE) == []
    assert {int(socket.AF_NETLINK), int(socket.AF_UNIX)} <= set(outside.report(MAKE))
