"""speed.svg: the time of one print(1), confined and not, from bench/results."""

import json
from math import log10
from pathlib import Path
from typing import Any

from svg import BLUE, FAINT, GREY, INK, LINE, Canvas

RESULTS = Path(__file__).parents[2] / "bench" / "results"

WAYS = (
    ("Confined, for untrusted code", None),
    ("interpreter-pool, namespaces tier", "ours, namespaces"),
    ("interpreter-pool, landlock tier", "ours, landlock"),
    ("nsjail + python for each program", "nsjail"),
    ("Not confined, trusted code only", None),
    ("subprocess.run(python)", "subprocess"),
    ("ProcessPoolExecutor, spawn", "executor, spawn"),
    ("ProcessPoolExecutor, forkserver", "executor, forkserver"),
    ("multiprocessing.Pool, forkserver", "multiprocessing, forkserver"),
    ("multiprocessing.Pool, fork", "multiprocessing, fork"),
)
"""What a row is called, and its name in the results; None for the heading of a group. smolagents is
left out: it has no process."""

WIDTH, LEFT, RIGHT = 900, 300, 830
TOP, ROW, BAR, HEADING = 108, 44, 15, 36
DECADES = (0.1, 1, 10, 100)
PALE_BLUE, PALE_GREY = "#9dbcf2", "#d0d6dd"
"""Of bars without numpy, beside the full colours with it."""


def draw() -> str:
    """Return the picture. Medians: of bench.latency where it measured it, else of bench.peers."""
    bare, numpy = _medians(""), _medians("-numpy")
    machine = _result("latency")["machine"]
    bottom = TOP + sum(ROW if name else HEADING for _, name in WAYS)
    title = "Time of one print(1) in a process of its own; lower is better"
    canvas = Canvas(
        WIDTH,
        bottom + 72,
        title,
        "Bars on a logarithmic axis of milliseconds, for each way with nothing and numpy loaded.",
    )
    canvas.write(28, 40, title, size=19, bold=True)
    keys = (((PALE_BLUE, PALE_GREY), "nothing loaded"), ((BLUE, GREY), "numpy loaded"))
    for column, (colours, words) in enumerate(keys):
        at = LEFT + 190 * column
        for place, colour in enumerate(colours):
            canvas.box(at + 15 * place, 54, 12, 12, fill=colour, radius=2)
        canvas.write(at + 36, 64.5, words, size=13)
    for tick in DECADES:
        x = _x(tick)
        canvas.line((x, TOP - 14), (x, bottom), colour=LINE)
        for base in (TOP - 20, bottom + 18):
            canvas.write(x, base, f"{tick:g} ms", size=12, colour=FAINT, anchor="middle")
    y = float(TOP)
    for words, name in WAYS:
        if name is None:
            canvas.write(28, y + 22, words, size=14, bold=True)
            y += HEADING
            continue
        ours = name.startswith("ours")
        canvas.write(LEFT - 12, y + 24, words, size=13, bold=ours, anchor="end")
        for place, (found, colour) in enumerate(
            zip((bare, numpy), (PALE_BLUE, BLUE) if ours else (PALE_GREY, GREY), strict=True)
        ):
            top = y + 4 + place * (BAR + 2)
            end = _x(found[name])
            canvas.box(LEFT, top, end - LEFT, BAR, fill=colour, radius=2)
            told = _told(found[name])
            canvas.box(end + 4, top, 7.2 * len(told) + 4, BAR, fill="#ffffff", radius=0)
            canvas.write(end + 7, top + 12, told, size=12.5, bold=ours, colour=INK)
        y += ROW
    canvas.line((LEFT, TOP - 14), (LEFT, bottom), colour=GREY)
    canvas.write(
        28,
        bottom + 50,
        f"Medians on {machine['cores']} cores ({machine['cpu']}), Linux "
        f"{machine['kernel'].split('-')[0]}, Python {machine['python']}. "
        "Each grid line is 10 times the one before. All pools have a process ready.",
        size=11.5,
        colour=FAINT,
    )
    return canvas.text


def _x(ms: float) -> float:
    """Where a value lies on the axis, which has whole decades."""
    first, last = log10(DECADES[0]), log10(DECADES[-1])
    return round(LEFT + (log10(ms) - first) / (last - first) * (RIGHT - LEFT), 1)


def _told(ms: float) -> str:
    return f"{ms:.0f} ms" if ms >= 9.95 else f"{ms:.1f} ms"


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _medians(suffix: str) -> dict[str, float]:
    """By alternative its median in ms."""
    found: dict[str, float] = {}
    for bench in ("peers", "latency"):
        alternatives = _result(bench + suffix)["measurements"]["latency"]["alternatives"]
        found |= {name: each["median"] for name, each in alternatives.items()}
    return found
