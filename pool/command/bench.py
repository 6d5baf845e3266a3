"""`pool bench`: what to expect on this host, measured in less than twenty seconds."""

import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Iterator

import click
import psutil
from rich.table import Table
from rich.text import Text

from ...sandbox.host.cpus import usable_cpus
from ..pool import Pool
from . import options, render
from .ends import printing

HELP = """Measure what to expect on this host: runs per second, workers to choose, memory of each.

Each run is a fresh process for the program print(1). It takes less than 20 seconds; what else the
machine does meanwhile shows in the numbers. The repository's bench/ compares, and takes longer.

Example:

  pool bench --with numpy --preload numpy
"""

_PROGRAM = "print(1)"
_LATENCY_S = 2.0
_RATE_S = 1.5
_NO_LATER_S = 14.0
"""Nothing is begun that may end too late, after this."""

_READY_S = 10.0

_AS_GOOD = 0.95
"""The fewest workers are chosen that reach this share of the best rate."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A pool of so many workers: seconds until the first could run, and until all could; memory of
    one that waits (shared pages divided by their sharers); runs per second."""

    workers: int
    first_s: float
    ready_s: float
    memory_bytes: int
    runs_per_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Of one run after the other: the median and 90th percentile, from call to result."""

    tier: str
    cpus: int
    run_p50_ms: float
    run_p90_ms: float
    sizes: list[Size]

    @property
    def chosen(self) -> Size:
        best = max(each.runs_per_s for each in self.sizes)
        return next(each for each in self.sizes if each.runs_per_s >= _AS_GOOD * best)


@click.command(help=HELP, short_help="Measure what to expect on this host.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.of_jails
def bench(
    as_json: bool,
    jails: options.Jails,
) -> None:
    cpus = usable_cpus()
    began = time.monotonic()
    latencies: list[float] = []
    sizes: list[Size] = []
    for workers in sorted({1, max(cpus // 2, 1), cpus, 2 * cpus}):
        if sizes and time.monotonic() - began > _NO_LATER_S:
            break
        at = time.monotonic()
        with jails.pool(workers, None) as pool:
            first_s = time.monotonic() - at
            _wait_for_all(pool, workers)
            ready_s = time.monotonic() - at
            memory_bytes = _held_by(pool) // workers
            if not sizes:
                latencies = list(_latencies(pool))
            sizes.append(
                Size(
                    workers=workers,
                    first_s=first_s,
                    ready_s=ready_s,
                    memory_bytes=memory_bytes,
                    runs_per_s=_rate(pool),
                )
            )
            tier = pool.tier
    report = Report(
        tier=tier,
        cpus=cpus,
        run_p50_ms=statistics.median(latencies),
        run_p90_ms=statistics.quantiles(latencies, n=10)[-1],
        sizes=sizes,
    )
    with printing():
        _tell(report, as_json)


def _wait_for_all(pool: Pool, workers: int) -> None:
    deadline = time.monotonic() + _READY_S
    while f" {workers} idle;" not in repr(pool) and time.monotonic() < deadline:
        time.sleep(0.002)


def _latencies(pool: Pool) -> Iterator[float]:
    """Milliseconds of runs, with a pause after each, in which the next child gets ready."""
    _require_right(pool)
    ends_at = time.monotonic() + _LATENCY_S
    while time.monotonic() < ends_at:
        began = time.perf_counter()
        _require_right(pool)
        yield (time.perf_counter() - began) * 1e3
        time.sleep(0.008)


def _require_right(pool: Pool) -> None:
    result = pool.run(_PROGRAM)
    if result.stdout != "1\n":
        raise RuntimeError(f"a run ended as {result.reason}, which has no speed: {result.detail}")


def _rate(pool: Pool) -> float:
    """Runs per second, with a few for each worker in flight."""
    began = time.monotonic()
    programs = itertools.takewhile(
        lambda _: time.monotonic() - began < _RATE_S, itertools.repeat(_PROGRAM)
    )
    right = sum(result.stdout == "1\n" for result in pool.map(programs))
    return right / (time.monotonic() - began)


def _held_by(pool: Pool) -> int:
    """Bytes of all processes of the pool."""
    held = 0
    for process in psutil.Process().children(recursive=True):
        try:
            held += process.memory_full_info().pss
        except psutil.AccessDenied:
            held += process.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return int(held)


# ---- what is shown


def _tell(report: Report, as_json: bool) -> None:
    chosen = report.chosen
    if as_json:
        print(json.dumps({**dataclasses.asdict(report), "workers": chosen.workers}))
        return
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in ("workers", "runs/s", "first ready, s", "all ready, s", "memory each, MB"):
        table.add_column(column, justify="right")
    for each in report.sizes:
        table.add_row(
            Text(str(each.workers)),
            Text(f"{each.runs_per_s:.0f}"),
            Text(f"{each.first_s:.2f}"),
            Text(f"{each.ready_s:.2f}"),
            Text(f"{each.memory_bytes / 1e6:.1f}"),
        )
    console = render.whole_lines()
    render.print_folded(
        console,
        f"{report.tier} tier, {report.cpus} CPUs. A fresh process for {_PROGRAM} takes "
        f"{report.run_p50_ms:.1f} ms; 90 % take at most {report.run_p90_ms:.1f} ms.",
    )
    console.print()
    render.print_table(console, table)
    console.print()
    render.print_folded(
        console,
        f"Choose Pool({chosen.workers}): {chosen.runs_per_s:.0f} runs/s. Its workers hold "
        f"{chosen.memory_bytes * chosen.workers / 1e6:.0f} MB in all; what runs need comes on "
        "top, up to their limit each. For programs that wait more than they compute, take more "
        "workers.",
    )
