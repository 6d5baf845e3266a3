"""Messages and descriptors from a jail, checked before they are used."""

import os
import socket

from ..guest.jail import wire


class JailLost(Exception):
    """The jail has died, does not answer, or breaks the protocol. Only `close` is left."""


def understood(data: bytes, max_nodes: int = 1000) -> wire.Value:
    """Return what an internal process in a jail says; raise `JailLost` for what is no value."""
    try:
        return wire.decode(data, max_nodes=max_nodes)
    except wire.WireError as error:
        raise JailLost(f"what a process of the jail says can't be read: {error}") from None


def quoted(message: wire.Value) -> str:
    """What came from a jail, for people. Numbers can be too long for Python to write them out."""
    try:
        return f"{message!r:.200}"
    except ValueError:
        return "something too long to show"


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found += memoryview(data[: len(data) - len(data) % 4]).cast("i").tolist()
    return found


def close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def credentials_pid(item: tuple[int, int, bytes]) -> int:
    """The process id in an SCM_CREDENTIALS message (struct ucred), which the kernel vouches for."""
    level, kind, data = item
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
        return 0
    return int.from_bytes(data[:4], "little")
