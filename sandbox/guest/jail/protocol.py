"""The fixed records that host and zygote exchange for every run, as bytes; no I/O here.

Numbers are little-endian; where a limit may be absent, -1 says so. What comes from a jail is
read with `unpack_event`, which accepts nothing but a record as it should be.
"""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import wire

MAX_MESSAGE = 128 << 10
"""Bytes of the largest message on a control socket: the configuration."""

EVENT = struct.Struct("<cQqq")
"""zygote -> host: READY, HELD or EXIT, the prewarmed process's serial number, its wait status, its
CPU time in microseconds. For READY: 0, and how many profiles the host had asked for when it was
forked. For HELD: zeros; with it comes the working directory of the prewarmed process's scratch."""
READY, HELD, EXIT = b"r", b"h", b"x"

COMMAND = struct.Struct("<cqqqqq")
"""host -> zygote: PROFILE and the profile; HOLD and a prewarmed process's serial number: keep its
scratch when it has ended, until RELEASE."""
PROFILE, HOLD, RELEASE = b"s", b"h", b"r"

_JOB = struct.Struct(
    "<QQQqqqqqqqqq"
)  # sizes of all, of the source, of the arguments, and JobLimits
FIRST_READ = 8 << 10
"""Bytes of a job that go along with its descriptors; the rest follows."""

STARTED = b"\x01"
"""child -> host: the program gets control now."""

LISTENER = b"\x02"
"""child -> host, first of all, where refused calls are watched: with it comes the descriptor to
answer them on."""


class JobLimits(NamedTuple):
    """The rlimits that come with a job; -1 where there is none. data: may be raised again if
    data_may_rise is 1, not 0. stack: of the main thread; always may. memory: `Limits.memory_bytes`,
    for messages. recursion: for sys.setrecursionlimit.
    """

    address_space: int = -1
    file_size: int = -1
    open_files: int = -1
    cpu: int = -1
    data: int = -1
    data_may_rise: int = 0
    stack: int = -1
    memory: int = -1
    recursion: int = -1


class Profile(NamedTuple):
    """What a prewarmed process is confined to before its job is known; None is unlimited.
    processes: whether the run may have more than one. numeric_threads: how many numeric libraries
    may have, where that is fewer than they would have.
    """

    disk_bytes: int | None
    inodes: int | None
    tasks: int | None
    processes: bool = False
    numeric_threads: int | None = None


class Extras(NamedTuple):
    """What few jobs have. files: names and sizes, in the order in which they stand in the file that
    comes as the fourth descriptor. env: the whole environment, None for the usual one. call: what
    to call when the source has been loaded (`furnishing.Call`, as wire data), None for a program.
    role: of one of two processes that talk (`dialogue.Role`); the last descriptor is its stream.
    filename: of the program's file, None for the usual one.
    """

    files: tuple[tuple[str, int], ...] = ()
    env: Mapping[str, str] | None = None
    seed: int | None = None
    call: bytes | None = None
    role: tuple[Any, ...] | None = None
    filename: str | None = None


NO_EXTRAS = Extras()


def pack_profile(profile: Profile) -> bytes:
    return COMMAND.pack(PROFILE, *(-1 if each is None else each for each in profile))


def pack_hold(serial: int) -> bytes:
    return COMMAND.pack(HOLD, serial, 0, 0, 0, 0)


def pack_release() -> bytes:
    return COMMAND.pack(RELEASE, 0, 0, 0, 0, 0)


def unpack_command(data: bytes) -> tuple[bytes, list[int]]:
    """Return the kind and its numbers."""
    kind, *numbers = COMMAND.unpack(data)
    return kind, numbers


def to_shape(numbers: list[int]) -> Profile:
    disk_bytes, inodes, tasks, processes, threads = (None if each < 0 else each for each in numbers)
    return Profile(disk_bytes, inodes, tasks, bool(processes), threads)


def unpack_event(data: bytes) -> tuple[bytes, int, int, int] | None:
    """Return (kind, serial, wait status, CPU µs), or None if `data` is no event."""
    if len(data) != EVENT.size:
        return None
    kind, serial, status, cpu_us = EVENT.unpack(data)
    if kind not in (READY, HELD, EXIT) or not 0 <= status <= 0xFFFF or cpu_us < 0:
        return None
    return kind, serial, status, cpu_us


def pack_job(
    source: bytes, argv: tuple[str, ...], limits: JobLimits, extras: Extras = NO_EXTRAS
) -> bytes:
    """A program, its arguments (which hold no NUL), the rlimits that are its own, and the rest."""
    text = "".join("\0" + each for each in argv).encode("utf-8", "surrogatepass")
    rest = b""
    if extras != NO_EXTRAS:
        env = None if extras.env is None else dict(extras.env)
        rest = wire.encode((tuple(extras.files), env, *extras[2:]))
    sizes = _JOB.size + len(source) + len(text) + len(rest), len(source), len(text)
    return _JOB.pack(*sizes, *limits) + source + text + rest


def job_size(data: bytes) -> int:
    """The size of the job that begins with `data`, its first bytes."""
    return int(_JOB.unpack_from(data)[0])


def unpack_job(data: bytes) -> tuple[bytes, list[str], JobLimits, Extras]:
    """Return source, arguments, limits, and the rest."""
    size, source_size, text_size, *numbers = _JOB.unpack_from(data)
    limits = JobLimits(*numbers)
    text_at = _JOB.size + source_size
    rest_at = text_at + text_size
    source, text = data[_JOB.size : text_at], data[text_at:rest_at]
    argv = text.decode("utf-8", "surrogatepass").split("\0")[1:] if text else []
    if rest_at == size:
        return source, argv, limits, NO_EXTRAS
    return source, argv, limits, Extras(*wire.decode(data[rest_at:]))  # type: ignore[misc]
