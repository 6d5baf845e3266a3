"""Frames over a Unix socket: a length, a number, a kind, and a pickle; after the key was said."""

import contextlib
import hmac
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum

from ..errors import ServiceDied

KEY_BYTES = 32

SEND_PATIENCE_S = 30.0
"""Who takes nothing for so long is stopped, or lost."""

_HEAD = struct.Struct("<QQB")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_TIME = struct.Struct("ll")  # struct timeval


class Kind(IntEnum):
    CALL = 0
    VALUE = 1
    ERROR = 2


class Channel:
    """A caller's connection to a service, over a socket that is its own from now on."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def send(self, number: int, payload: bytes) -> None:
        """Make a call. Raises OSError where no call can be made any more."""
        send(self._link, number, Kind.CALL, payload)

    def receive(self) -> tuple[int, Kind, bytes]:
        """Wait for the next answer. Raises OSError when there will be none."""
        return receive(self._link)

    def shut(self) -> None:
        """Have `receive` raise, in whatever thread it waits."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back what it holds; nobody may be in `receive`, unless this is a forked copy."""
        self._link.close()


def connect(path: str, key: bytes) -> socket.socket:
    """Return a socket to the service at `path`, on which it takes calls."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(SEND_PATIENCE_S)
        with short(path) as name:
            link.connect(name)
        require_same_user(link)
        link.sendall(key)
        _prepare(link)
    except OSError as error:
        link.close()
        raise ServiceDied(f"the service can't be reached ({error})") from None
    return link


@contextlib.contextmanager
def short(path: str) -> Iterator[str]:
    """Another name for a socket: wherever its folder is, a path of more than 107 bytes won't do."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def admit(link: socket.socket, key: bytes) -> bool:
    """Whether the other end is this user, and knows the key. It has a few seconds to say it."""
    link.settimeout(SEND_PATIENCE_S)
    try:
        require_same_user(link)
        said = _receive(link, KEY_BYTES)
    except OSError:
        return False
    _prepare(link)
    return hmac.compare_digest(said, key)


def send(link: socket.socket, number: int, kind: Kind, payload: bytes) -> None:
    """Raises OSError if the other end is gone, or takes nothing; the socket is then of no use."""
    link.sendall(_HEAD.pack(len(payload), number, kind))
    link.sendall(payload)


def receive(link: socket.socket) -> tuple[int, Kind, bytes]:
    """Wait for the next frame. Raises OSError when there will be none."""
    length, number, kind = _HEAD.unpack(_receive(link, _HEAD.size))
    return number, Kind(kind), _receive(link, length)


def require_same_user(link: socket.socket) -> None:
    data = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    if uid != os.geteuid():
        raise PermissionError(f"the other end is user {uid}, not {os.geteuid()}")


def _prepare(link: socket.socket) -> None:
    """Wait for what comes without limit, for what is taken with one."""
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(int(SEND_PATIENCE_S), 0))


def _receive(link: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = link.recv_into(view)
        if not count:
            raise ConnectionResetError("the other end has closed the connection")
        view = view[count:]
    return bytes(data)
