"""The fixed records that host and zygote exchange for every run, as bytes; no I/O here.

Numbers are little-endian; where a limit may be absent, -1 says so. What comes from a jail is
read with `unpack_event`, which accepts nothing but a record as it should be.
"""

import struct
from typing import NamedTuple

MAX_MESSAGE = 128 << 10
"""Bytes of the largest message on a control socket: the configuration."""

EVENT = struct.Struct("<cQqq")
"""zygote -> host: READY or EXIT, the spare's serial number, its wait status, its CPU time in
microseconds. For READY: 0, and how many shapes the host had asked for when it was forked."""
READY, EXIT = b"r", b"x"

SHAPE = struct.Struct("<qqq")

_JOB = struct.Struct("<QQqqqqq")  # size of all, size of the source, and JobLimits
FIRST_READ = 8 << 10
"""Bytes of a job that go along with its descriptors; the rest follows."""

STARTED = b"\x01"
"""child -> host: the program gets control now."""


class JobLimits(NamedTuple):
    """The rlimits that come with a job; -1 where there is none."""

    data: int = -1
    address_space: int = -1
    file_size: int = -1
    open_files: int = -1
    cpu: int = -1


class Shape(NamedTuple):
    """What a spare is confined to before its job is known; None is unlimited."""

    disk_bytes: int | None
    inodes: int | None
    tasks: int | None


def pack_shape(shape: Shape) -> bytes:
    return SHAPE.pack(*(-1 if each is None else each for each in shape))


def unpack_shape(data: bytes) -> Shape:
    return Shape(*(None if each < 0 else each for each in SHAPE.unpack(data)))


def unpack_event(data: bytes) -> tuple[bytes, int, int, int] | None:
    """Return (kind, serial, wait status, CPU µs), or None if `data` is no event."""
    if len(data) != EVENT.size:
        return None
    kind, serial, status, cpu_us = EVENT.unpack(data)
    if kind not in (READY, EXIT) or not 0 <= status <= 0xFFFF or cpu_us < 0:
        return None
    return kind, serial, status, cpu_us


def pack_job(source: bytes, argv: tuple[str, ...], limits: JobLimits) -> bytes:
    """A program, its arguments (which hold no NUL) and the rlimits that are its own."""
    text = "".join("\0" + each for each in argv).encode("utf-8", "surrogatepass")
    return _JOB.pack(_JOB.size + len(source) + len(text), len(source), *limits) + source + text


def job_size(data: bytes) -> int:
    """The size of the job that begins with `data`, its first bytes."""
    return int(_JOB.unpack_from(data)[0])


def unpack_job(data: bytes) -> tuple[bytes, list[str], list[int]]:
    """Return source, arguments and limits (in the order of `JobLimits`)."""
    _, size, *limits = _JOB.unpack_from(data)
    end = _JOB.size + size
    text = data[end:]
    argv = text.decode("utf-8", "surrogatepass").split("\0")[1:] if text else []
    return data[_JOB.size : end], argv, limits
