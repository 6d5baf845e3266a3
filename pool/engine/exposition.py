"""Prometheus's text format (0.0.4): how a number of any kind is written."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Metric(NamedTuple):
    """A metric's name, with its unit; its kind; and its meaning."""

    name: str
    kind: str
    meaning: str


Value = (
    float
    | Mapping[tuple[str, str], int]  # by label: its name and value
    | tuple[Mapping[str, int], float]  # of a histogram: by upper bound, and the sum
)


def exposition(found: Iterable[tuple[Metric, Value]]) -> str:
    """Return the text for metrics and what they are now.

    >>> print(exposition([(Metric("runs", COUNTER, "Runs, by reason."), {("reason", "ok"): 2})]))
    # HELP runs Runs, by reason.
    # TYPE runs counter
    runs{reason="ok"} 2
    <BLANKLINE>
    """
    lines = []
    for metric, value in found:
        lines.append(f"# HELP {metric.name} {metric.meaning}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += _samples(metric.name, value)
    return "".join(f"{line}\n" for line in lines)


def _samples(name: str, value: Value) -> Iterator[str]:
    if isinstance(value, tuple):
        buckets, total = value
        for bound, count in buckets.items():
            yield f'{name}_bucket{{le="{bound}"}} {count}'
        yield f"{name}_sum {total!r}"
        yield f"{name}_count {buckets['+Inf']}"
    elif isinstance(value, Mapping):
        for (label, text), count in value.items():
            yield f'{name}{{{label}="{_escaped(text)}"}} {count}'
    else:
        yield f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
