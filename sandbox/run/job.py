"""A program, ready to be handed over, and the descriptors that go along with it."""

import contextlib
import dataclasses
import fcntl
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..guest.jail import protocol
from ..guest.jail.confine import PROGRAM_FILE
from ..jail import descriptors
from ..jail.jail import Jail
from ..limits import Limits
from .files import Pattern

if TYPE_CHECKING:
    from ..guest.run.dialogue import Role
    from .feed import Feed

_TICKS_TOO_MANY = 1.25
"""RLIMIT_CPU goes by the kernel's ticks, which on a loaded machine come to more than the time that
was used: a program was killed at 11 s that had used 9.6."""

_NUMERIC_BUFFER_BYTES = 16 * (32 << 20)
"""What numeric libraries reserve without filling it: OpenBLAS maps 32 MiB for each thread that is
calculating. It counts as data, not as memory; so where there are packages, an allocation somewhat
over the limit may succeed, and end the run only when it is written to."""


_SPARSE_BYTES = 16 << 30
"""Address space beyond its memory that a run may map where no cgroup counts the page tables (1/512
of it). Far more than the arenas of numeric libraries, which a tight RLIMIT_AS would break."""


_LARGEST_STACK_BYTES = 1 << 30
"""The main stack of a program without a limit on memory. The kernel keeps some gigabytes free below
a stack, at random, and without randomness at least 128 MiB (mmap_base, arch/x86/mm/mmap.c)."""

_INHERITED_STACK_BYTES = 64 << 20


_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A program, ready to be handed over. What stands in it has been checked.

    files: contents by name, to be written below its working directory; collect: what is taken out
    of there when it has ended. env: its whole environment, None for the usual one. filename: what
    its file is called. id: passed on to the result. call: what to call when the source is loaded
    (`guest.furnishing.call`). role: what it is to another process that it talks to (`pair.py`).
    recursion_limit: how deep Python lets it recurse, None for Python's own limit; with one, its
    stack may take all of its memory. feed: its input, in place of `stdin`, where that comes while
    it runs. runtime: the name of that which it is run in; None: the pool's own.
    """

    source: bytes
    argv: tuple[str, ...]
    stdin: bytes
    limits: Limits
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    collect: tuple[Pattern, ...] = ()
    env: Mapping[str, str] | None = None
    seed: int | None = None
    filename: str = PROGRAM_FILE
    id: str | None = None
    call: bytes | None = None
    role: "Role | None" = None
    recursion_limit: int | None = None
    feed: "Feed | None" = None
    runtime: str | None = None

    def pack(self, limits: protocol.JobLimits) -> bytes:
        """The job's first message, less its descriptors."""
        sizes = tuple((name, len(content)) for name, content in self.files.items())
        filename = None if self.filename == PROGRAM_FILE else self.filename
        role = None if self.role is None else tuple(self.role)
        extras = protocol.Extras(sizes, self.env, self.seed, self.call, role, filename)
        return protocol.pack_job(self.source, self.argv, limits, extras)

    @contextlib.contextmanager
    def descriptors(
        self, stdout: int, stderr: int, stdin: int | None = None
    ) -> Iterator[list[int]]:
        """What goes along with the message: the standard three, and the files' contents, if any.
        stdin: to be read from in place of the job's own.
        """
        with contextlib.ExitStack() as owned:
            if self.feed is not None:
                stdin = self.feed.read_end
            elif stdin is None:
                stdin = in_memory("stdin", [self.stdin])
                owned.callback(os.close, stdin)
            found = [stdin, stdout, stderr]
            if self.files:
                found.append(in_memory("files", self.files.values()))
                owned.callback(os.close, found[-1])
            yield found


def in_memory(name: str, pieces: Iterable[bytes]) -> int:
    """A descriptor to read `pieces` from: a file in memory, so that nobody has to keep writing."""
    pieces = [piece for piece in pieces if piece]
    if not pieces:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.writelines(pieces)
        # A descriptor to read with can be opened anew to write with, in /proc/self/fd.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def rlimits_for(
    limits: Limits, jail: Jail, *, counted: bool, recursion_limit: int | None = None
) -> protocol.JobLimits:
    """The rlimits of a program under `limits`. counted: a cgroup counts its memory."""
    data = address_space = cpu = stack = -1
    if limits.memory_bytes is not None:
        # A little below the cgroup's limit: MemoryError comes before the kernel's kill.
        slack = max(1 << 20, limits.memory_bytes >> 5)
        data = jail.data_bytes + limits.memory_bytes - slack
        if jail.plan.packages:
            data += _NUMERIC_BUFFER_BYTES
        if not counted:
            address_space = jail.address_bytes + limits.memory_bytes + _SPARSE_BYTES
    if limits.cpu_s is not None:
        # Whole seconds, of one process: only a backstop behind the host's own clock.
        cpu = math.ceil(limits.cpu_s * _TICKS_TOO_MANY) + 1
    file_size = -1 if limits.disk_bytes is None else limits.disk_bytes
    open_files = descriptors.for_a_program(limits.open_files)
    if recursion_limit is not None:
        stack = _stack_bytes(limits)
    return protocol.JobLimits(
        address_space,
        file_size,
        open_files,
        cpu,
        data,
        int(counted),
        stack,
        -1 if limits.memory_bytes is None else limits.memory_bytes,
        -1 if recursion_limit is None else recursion_limit,
    )


def _stack_bytes(limits: Limits) -> int:
    """How large the main stack of a program that recurses deeply may become: as large as its
    memory, which ends it then. So it does not die of SIGSEGV, whatever its calls take.
    """
    stack = _LARGEST_STACK_BYTES if limits.memory_bytes is None else limits.memory_bytes
    if not limits.one_process:  # what a program executes gives each of its threads as much
        stack = min(stack, _INHERITED_STACK_BYTES)
    return stack
