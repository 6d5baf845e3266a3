"""Options that several commands share, and what they come to."""

import contextlib
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ...sandbox.limits import Limits
from ..judge.plan import wall_for
from ..pool import Pool
from .sizes import parse_seconds, parse_size

MOST_BYTES = 256 << 20
"""Of a file that is read whole, and of a line: there is no end of some, such as /dev/zero."""

Timeout = Annotated[str, typer.Option(metavar="S", help="Wall-clock seconds, or 'none'.")]
CpuTime = Annotated[str, typer.Option(metavar="S", help="CPU seconds, or 'none'.")]
Memory = Annotated[
    str, typer.Option(metavar="SIZE", help="Memory, such as 512M (K, M, G), or 'none'.")
]
Processes = Annotated[
    int,
    typer.Option(metavar="N", help="Processes at once, the program included (namespaces tier)."),
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME", help="An installed package to offer; repeatable."),
]
Preload = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="Import this before programs begin; repeatable."),
]
Python = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Another interpreter, or a virtual environment's folder."),
]
Tier = Annotated[
    str, typer.Option(metavar="T", help="auto, namespaces, landlock, or none (trusted code).")
]
Require = Annotated[
    str | None, typer.Option(metavar="T", help="Refuse anything weaker than this tier.")
]


def limits(timeout: str, cpu_time: str, memory: str, processes: int = 1) -> Limits:
    """Return the limits that `--timeout`, `--cpu-time`, `--memory` and `--processes` ask for."""
    return Limits(
        wall_s=parse_seconds("--timeout", timeout),
        cpu_s=parse_seconds("--cpu-time", cpu_time),
        memory_bytes=parse_size("--memory", memory),
        processes=processes,
    )


def judging_limits(
    timeout: str | None, cpu_time: str, memory: str, cpu_option: str = "--cpu-time"
) -> Limits:
    """Return the limits of judged programs: without `--timeout`, CPU time counts first."""
    cpu_s = parse_seconds(cpu_option, cpu_time)
    wall_s = wall_for(cpu_s) if timeout is None else parse_seconds("--timeout", timeout)
    return Limits(cpu_s=cpu_s, wall_s=wall_s, memory_bytes=parse_size("--memory", memory))


def make_pool(
    workers: int | None,
    limits: Limits | None,
    with_: Sequence[str] | None,
    preload: Sequence[str] | None,
    python: str | None,
    tier: str,
    require: str | None,
) -> Pool:
    """Return the pool that a command's options ask for; None: what `Pool` has by itself."""
    return Pool(
        workers,
        limits=limits,
        packages=names(with_),
        preload=names(preload),
        python=python,
        tier=tier,
        require=require,
    )


def names(options: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in repeated options, each of which may hold several, with commas.

    >>> names(["numpy,pandas", "sympy"])
    ('numpy', 'pandas', 'sympy')
    >>> names(["numpy>=1.26,<3,pandas[excel,plot]"])
    ('numpy>=1.26,<3', 'pandas[excel,plot]')
    """
    # Not at the commas of "numpy>=1.26,<3" or "pandas[excel,plot]".
    between = re.compile(r",(?=\s*[A-Za-z0-9_])(?![^\[\]]*\])")
    split = (name.strip(", ") for each in options or () for name in between.split(each))
    return tuple(name for name in split if name)


def read(path: str, most: int | None = None) -> bytes:
    """Return what is in a file, or, for "-", in standard input; not much more than `most` bytes, of
    which it is then clear that it is too much. Without `most`, ValueError for what has no end.
    """
    size = 1 + (MOST_BYTES if most is None else most)
    with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
        data = file.read(size)
    if most is None and len(data) > MOST_BYTES:
        raise ValueError(f"{path}: more than {MOST_BYTES >> 20} MiB")
    return data
