"""Options that several commands share, and what they come to."""

import contextlib
import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ...sandbox.limits import Limits
from ..executor import Executor
from ..pool import Pool
from ..program import RECURSION_LIMIT
from .sizes import parse_recursion_limit, parse_seconds, parse_size

MOST_BYTES = 256 << 20
"""Of a file that is read whole, and of a line: there is no end of some, such as /dev/zero."""

timeout = click.option(
    "--timeout", metavar="S", default="10", help="Wall-clock seconds, or 'none'."
)
cpu_time = click.option("--cpu-time", metavar="S", default="none", help="CPU seconds, or 'none'.")
memory = click.option(
    "--memory", metavar="SIZE", default="512M", help="Memory, such as 512M (K, M, G), or 'none'."
)
processes = click.option(
    "--processes",
    metavar="N",
    type=int,
    default=1,
    help="Processes at once, the program included (namespaces tier).",
)

_OF_JAILS = (
    click.option(
        "--with",
        "with_",
        metavar="NAME",
        multiple=True,
        help="An installed package to offer; repeatable.",
    ),
    click.option(
        "--preload",
        metavar="MODULE",
        multiple=True,
        help="Import this before programs begin; repeatable.",
    ),
    click.option(
        "--python",
        metavar="PATH",
        help="Another interpreter, or a virtual environment's folder.",
    ),
    click.option(
        "--tier",
        metavar="T",
        default="auto",
        help="auto, namespaces, landlock, or none (trusted code).",
    ),
    click.option("--require", metavar="T", help="Refuse anything weaker than this tier."),
)

_ELSEWHERE = click.option(
    "--on", metavar="URL", help="Run elsewhere: on local://NAME, ray://NAME or monarch://NAME."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Jails:
    """What a command's options say of its jails: what they hold, and how they confine; or the
    URL of an executor elsewhere, which has its own.
    """

    packages: tuple[str, ...]
    preload: tuple[str, ...]
    python: str | None
    tier: str
    require: str | None
    on: str | None = None

    def executor(
        self,
        limits: Limits | None,
        *,
        workers: int | None = None,
        size: int | None = None,
        explain: bool = False,
    ) -> Executor:
        """Return the pool that is asked for, or the executor elsewhere. workers: what --workers
        says; size: of a pool, where it says nothing. None: what `Pool` has by itself.
        """
        if self.on is not None:
            return self._elsewhere(self.on, limits, workers, explain)
        return self.pool(size if workers is None else workers, limits, explain=explain)

    def pool(self, workers: int | None, limits: Limits | None, *, explain: bool = False) -> Pool:
        """Return the pool that is asked for; None: what `Pool` has by itself."""
        return Pool(
            workers,
            limits=limits,
            packages=self.packages,
            preload=self.preload or None,
            python=self.python,
            tier=self.tier,
            require=self.require,
            explain=explain,
        )

    def _elsewhere(
        self, url: str, limits: Limits | None, workers: int | None, explain: bool
    ) -> Executor:
        asked = {
            "--with": self.packages,
            "--preload": self.preload,
            "--python": self.python,
            "--tier": self.tier != "auto",
            "--require": self.require,
            "--workers": workers is not None,
            "--explain": explain,
        }
        for option, given in asked.items():
            if given:
                raise ValueError(f"{option} can't be had with --on: the executor there has its own")
        from ..remote.connect import connect  # not for those who run here

        try:
            return connect(url, limits=limits)
        except (LookupError, RuntimeError, ImportError, ConnectionError) as error:
            said = error.args[0] if isinstance(error, KeyError) else error
            raise ValueError(f"--on {url}: {said}") from error


def of_jails(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` these options; it gets them as one argument, `jails`."""

    @functools.wraps(command)
    def collected(
        *,
        with_: Sequence[str],
        preload: Sequence[str],
        python: str | None,
        tier: str,
        require: str | None,
        on: str | None = None,
        **others: object,
    ) -> None:
        command(jails=Jails(names(with_), names(preload), python, tier, require, on), **others)

    return _with_options(collected, _OF_JAILS)


def of_executor(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the same, and the choice to run elsewhere."""
    return _with_options(of_jails(command), (_ELSEWHERE,))


_OF_JUDGING = (
    click.option("--workers", metavar="N", type=int, help="Cases at once; as many as CPUs."),
    click.option(
        "--cpu-time", metavar="S", default="10", help="CPU seconds of each case, or 'none'."
    ),
    click.option("--timeout", metavar="S", help="Wall-clock seconds; 6 times as many."),
    memory,
    click.option(
        "--recursion-limit",
        metavar="N",
        default=str(RECURSION_LIMIT),
        help="How deep calls may go; 'none': Python's own 1000.",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Judging:
    """What a command's options say of how programs are judged."""

    workers: int | None
    limits: Limits
    recursion_limit: int | None


def of_judging(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` these options; it gets them as one argument, `judging`."""

    @functools.wraps(command)
    def collected(
        *,
        workers: int | None,
        cpu_time: str,
        timeout: str | None,
        memory: str,
        recursion_limit: str,
        **others: object,
    ) -> None:
        limits = judging_limits(timeout, cpu_time, memory)
        depth = parse_recursion_limit(recursion_limit)
        command(judging=Judging(workers, limits, depth), **others)

    return _with_options(collected, _OF_JUDGING)


def _with_options(
    command: Callable[..., None], options: Sequence[Callable[..., Any]]
) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command


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
    from ..judge.plan import wall_for  # not for commands that don't judge

    cpu_s = parse_seconds(cpu_option, cpu_time)
    wall_s = wall_for(cpu_s) if timeout is None else parse_seconds("--timeout", timeout)
    return Limits(cpu_s=cpu_s, wall_s=wall_s, memory_bytes=parse_size("--memory", memory))


def names(options: Sequence[str]) -> tuple[str, ...]:
    """Return the names in repeated options, each of which may hold several, with commas.

    >>> names(["numpy,pandas", "sympy"])
    ('numpy', 'pandas', 'sympy')
    >>> names(["numpy>=1.26,<3,pandas[excel,plot]"])
    ('numpy>=1.26,<3', 'pandas[excel,plot]')
    """
    # Not at the commas of "numpy>=1.26,<3" or "pandas[excel,plot]".
    between = re.compile(r",(?=\s*[A-Za-z0-9_])(?![^\[\]]*\])")
    split = (name.strip(", ") for each in options for name in between.split(each))
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
