"""docs/corpus.md: which row of the attack corpus is held, in which tier, by what, with what control.

`make corpus` (python -m tests.security.table) runs every test of a row and writes the table from
what it saw. A test is of the rows that its docstring begins with: "F1: …", "W1 to W8: …", "S4, S3: …".
"""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from .corpus import ROWS, Row

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "corpus.md"
FOLDERS = (
    "tests/security",
    "tests/pool",
    "tests/sandbox/guest",
    "tests/transforms/test_extract.py",
)
TIERS = ("namespaces", "landlock")

_ID = r"[CFJMNKPRHOWSLT]\d+"
_BEGINNING = re.compile(rf"({_ID}(?:(?:, | to | and ){_ID})*)[ :]")
_VARIANTS = {"ns": "namespaces", "ll": "landlock"}
_WAYS = {"parties": "session", "session": "session", "judge": "judge", "answers": "judge"}
CONTROL = "control"


def rows_of(docstring: str | None) -> list[str]:
    """The rows that a test is of.

    >>> rows_of("W1 to W3, F1: none of them passes."), rows_of("What F1 is.")
    (['W1', 'W2', 'W3', 'F1'], [])
    """
    found = _BEGINNING.match((docstring or "").replace("\n    ", " "))
    rows: list[str] = []
    for part in re.split(", | and ", found[1]) if found else ():
        first, _, last = part.partition(" to ")
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        rows += [f"{first[0]}{number}" for number in numbers]
    return rows


def rows_of_item(item: pytest.Item) -> list[str]:
    """The rows that a test is of; where a parameter begins with one of them, it is of that one."""
    rows = rows_of(getattr(item, "function", item).__doc__)
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    named = [value.split(" ")[0] for value in params.values() if isinstance(value, str)]
    return [each for each in rows if each in named] or rows


def tiers_of(item: pytest.Item) -> tuple[str, ...]:
    """The tier that a test runs in; one that names none says something of all."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if "tier" in params:
        return (params["tier"],)
    variant = str(params.get("variant", "")).partition("-")[0]
    return (_VARIANTS[variant],) if variant in _VARIANTS else TIERS


def ways_of(item: pytest.Item) -> set[str]:
    """By which way the untrusted code comes in."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if "way" in params:
        return {params["way"]}
    if any(
        part in item.nodeid
        for part in ("test_cheats", "test_checkers", "test_uncounted", "/judge/")
    ):
        return {"judged"}
    fixtures = set(getattr(item, "fixturenames", ()))
    if "parties" in fixtures or "session" in item.name or "test_sessions" in item.nodeid:
        return {"session"}
    return {"run"}


class Cell:
    """What is known of a row in a tier: its tests, ways, controls, and what did not hold."""

    def __init__(self) -> None:
        self.tests: set[str] = set()
        self.ways: set[str] = set()
        self.controls: set[str] = set()
        self.open: set[str] = set()
        self.failed: set[str] = set()


Cells = dict[tuple[str, str], Cell]


def no_cells() -> Cells:
    return defaultdict(Cell)


def environment() -> dict[str, str]:
    """For a process that collects: the tests of all tiers, whichever are tried here."""
    return os.environ | {"POOL_TESTS_TIERS": " ".join(TIERS)}


class Watcher:
    """A plugin of pytest: what was collected, and what became of it."""

    def __init__(self) -> None:
        self.items: dict[str, pytest.Item] = {}
        self.reports: dict[str, list[pytest.TestReport]] = defaultdict(list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is of no row."""
        items[:] = [each for each in items if rows_of_item(each)]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = {item.nodeid: item for item in session.items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports[report.nodeid].append(report)

    def cells(self, *, ran: bool) -> Cells:
        """By row and tier. ran: only what was seen counts as a control."""
        cells = no_cells()
        for name, item in self.items.items():
            for row in rows_of_item(item):
                for tier in tiers_of(item):
                    self._note(cells[row, tier], name, item, ran)
        return cells

    def _note(self, cell: Cell, name: str, item: pytest.Item, ran: bool) -> None:
        cell.tests.add(name)
        cell.ways |= ways_of(item)
        reports = self.reports[name]
        properties = {key for report in reports for key, _ in report.user_properties}
        promised = CONTROL in getattr(item, "fixturenames", ())
        if CONTROL in properties if ran else promised:
            cell.controls.add(name)
        if any(report.failed for report in reports) or (ran and not reports):
            cell.failed.add(name)
        if any(hasattr(report, "wasxfail") for report in reports):
            cell.open.add(name)


def collect(*options: str) -> Watcher:
    """Collect the tests of the corpus (or, without --collect-only, run them)."""
    watcher = Watcher()
    folders = [str(ROOT / folder) for folder in FOLDERS]
    pytest.main(
        ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *options, *folders], [watcher]
    )
    return watcher


def render(cells: Cells, *, ran: bool) -> str:
    """The table. Without `ran`, as it must be: what is tested is held, and every control is seen."""
    lines = [
        "# The attack corpus",
        "",
        "Made by `make corpus` from a run of the tests named here; do not edit. What is tried stands",
        "in `tests/security/corpus.py`; tests carry their rows in their docstrings. *Control*: the",
        "same program gets through outside, so that the test could fail.",
        "",
        "| row | what is tried | namespaces: held by | landlock: held by | ways in | control |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        held = [_held(row, tier, cells[name, tier], ran) for tier in TIERS]
        ways = sorted(set().union(*(cells[name, tier].ways for tier in TIERS)))
        control = _control(row, [cells[name, tier] for tier in TIERS])
        lines.append(
            f"| {name} | {row.tries} | {' | '.join(held)} | {', '.join(ways)} | {control} |"
        )
    lines += ["", "Tests of each row, over all tiers and parameters:", ""]
    for name in ROWS:
        lines.append(f"- {name}: {', '.join(_functions(name, cells))}")
    return "\n".join(lines) + "\n"


def _held(row: Row, tier: str, cell: Cell, ran: bool) -> str:
    if not cell.tests:
        return "**not tested**"
    if cell.failed:
        return f"**NOT held** ({len(cell.failed)} of {len(cell.tests)})"
    but = row.but.get(tier, "")
    if ran and bool(cell.open) != bool(but):
        return f"**otherwise than written**: {', '.join(cell.open) or 'held after all'}"
    return row.layers[tier] + (f"; but {but}" if but else "")


def _control(row: Row, cells: Iterable[Cell]) -> str:
    if row.no_control:
        return f"none: {row.no_control}"
    return "seen" if all(cell.controls for cell in cells) else "**not seen**"


def _functions(row: str, cells: Cells) -> list[str]:
    tests = {test for tier in TIERS for test in cells[row, tier].tests}
    return sorted({f"`{Path(test.partition('[')[0]).as_posix()}`" for test in tests})


def gaps(cells: Cells) -> list[str]:
    """Rows without a test in a tier or without a control, and tests of rows that there are not."""
    found = [
        f"{name} has no test in the {tier} tier"
        for name in ROWS
        for tier in TIERS
        if not cells[name, tier].tests
    ]
    found += [
        f"{name} has no control in the {tier} tier, and nothing says why"
        for name, row in ROWS.items()
        for tier in TIERS
        if not row.no_control and not cells[name, tier].controls
    ]
    return found + sorted(f"{row} is no row" for row, _ in cells if row not in ROWS)


def main() -> int:
    """Run the tests, write the table; 1 where anything is not held, not tested or not seen."""
    cells = collect("--tb=short").cells(ran=True)
    text = render(cells, ran=True)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text, encoding="utf-8")
    print(*gaps(cells), sep="\n")
    return int("**" in text)


if __name__ == "__main__":
    sys.exit(main())
