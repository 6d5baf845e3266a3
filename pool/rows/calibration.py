"""What a calibration has found: a word on each row, in memory and as a file of lines.

The file's first line has the settings, each other one a row; the last word on a row counts.
"""

import dataclasses
import enum
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..judge.cases import Asserts, Case, Interactive, Stdio, TestModule
from ..judge.checker import CheckerProgram
from .reading import Reading

FORMAT = 1
"""Of the file; the first line says it."""

_HEAD = "calibration"


class Kind(enum.StrEnum):
    """What becomes of a row. All but the first are left out."""

    KEPT = "kept"
    WRONG = "wrong"
    """Its own solution fails."""
    WEAK = "weak"
    """A program that solves nothing scores more than 0."""
    FLAKY = "flaky"
    """Its own solution passes at times."""
    SLOW = "slow"
    """Its own solution takes more of its CPU time than it may."""
    NOT_OFFERED = "not_offered"
    """Its own solution, or its test, imports an installed package that the pool does not offer."""
    NO_SOLUTION = "no_solution"
    UNJUDGED = "unjudged"
    """Its tests can't be judged."""
    UNREADABLE = "unreadable"
    HARNESS_ERROR = "harness_error"
    """Its test fails by itself."""
    INFRA_ERROR = "infra_error"
    """A failure of ours: nothing is known of the row."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RowReport:
    """What a calibration says of a row.

    row: its place in the data, from 0. kind: see `Kind`. why: for people, where it is left out.
    shape: as `Reading.shape`. digest: of its tests; "" where it can't be judged. name: what the
    row calls itself, if it does. cpu_s: of its solution, of the case that took longest. cheats:
    the scores of those that got more than 0, by name.
    """

    row: int
    kind: Kind
    why: str = ""
    shape: str = ""
    digest: str = ""
    name: str | None = None
    cpu_s: float | None = None
    cheats: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def keep(self) -> bool:
        return self.kind is Kind.KEPT

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON data: the fields, and `keep`."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **found,
            "kind": str(self.kind),
            "cheats": dict(self.cheats),
            "cpu_s": None if self.cpu_s is None else round(self.cpu_s, 4),
            "keep": self.keep,
        }

    @classmethod
    def from_dict(cls, data: Any) -> "RowReport":
        """The same from JSON data. Raises ValueError for what is no report."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, dict) or not {"row", "kind"} <= data.keys():
            raise ValueError(f"no report on a row: {data!r:.80}")
        fields = {name: value for name, value in data.items() if name in names}
        row, kinds = fields["row"], [str(kind) for kind in Kind]
        if type(row) is not int or row < 0 or fields["kind"] not in kinds:
            raise ValueError(f"no report on a row: {data!r:.80}")
        return cls(**{**fields, "kind": Kind(fields["kind"])})


class Calibration:
    """Which rows of a data set to train on, and why not the others.

    rows: a report on each row, in their order. settings: under which they were judged, as plain
    JSON data. `dataset.select(calibration.keep)` and `CodeRewardFunction(keep=calibration)` leave
    the others out.
    """

    def __init__(
        self, rows: Iterable[RowReport], settings: Mapping[str, Any] | None = None
    ) -> None:
        last = {report.row: report for report in rows}
        self.rows = tuple(last[row] for row in sorted(last))
        self.settings = dict(settings or {})
        self._keep_by_digest: dict[str, bool] = {}
        for report in self.rows:
            if report.digest:
                kept = self._keep_by_digest.get(report.digest, False)
                self._keep_by_digest[report.digest] = kept or report.keep

    @property
    def keep(self) -> list[int]:
        """The numbers of the rows to keep, from 0."""
        return [report.row for report in self.rows if report.keep]

    @property
    def left_out(self) -> list[RowReport]:
        """The reports on the others."""
        return [report for report in self.rows if not report.keep]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are of each kind that there is."""
        found = Counter(report.kind for report in self.rows)
        return {str(kind): found[kind] for kind in Kind if found[kind]}

    def keeps(self, reading: Reading) -> bool | None:
        """Whether a row with these tests is kept; None: the calibration knows of no such row."""
        return self._keep_by_digest.get(digest_of(reading.cases))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a file, which replaces one that is there."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(head(self.settings))
            file.writelines(line(report) for report in self.rows)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read what `save`, or `pool calibrate --out`, has written; also of a calibration that was
        interrupted. Raises ValueError for a file of another kind.
        """
        with open(path, "rb") as file:
            settings, reports, _ = parse(os.fspath(path), file.read())
        return cls(reports, settings)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"<Calibration of {len(self.rows)} rows: {counts or 'none'}>"


def head(settings: Mapping[str, Any]) -> str:
    """The first line of a file."""
    return json.dumps({_HEAD: FORMAT, "settings": dict(settings)}) + "\n"


def line(report: RowReport) -> str:
    """The line of a row."""
    return json.dumps(report.to_dict()) + "\n"


def parse(path: str, data: bytes) -> tuple[dict[str, Any], list[RowReport], int]:
    """Return settings and reports of a file's contents, and how many bytes its whole lines have: an
    interruption may have cut the last one. Raises ValueError for a file of another kind.
    """
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.splitlines()
    reports = []
    settings: dict[str, Any] = {}
    try:
        for number, text in enumerate(lines):
            found = json.loads(text)
            if number:
                reports.append(RowReport.from_dict(found))
                continue
            if not isinstance(found, dict) or found.get(_HEAD) != FORMAT:
                raise ValueError("no calibration")
            settings = dict(found["settings"])
        if not lines:
            raise ValueError("no calibration")
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(
            f"{path}: no file of a calibration of this version; name one that `pool calibrate "
            "--out` has written"
        ) from None
    return settings, reports, len(whole)


def digest_of(cases: Iterable[Case]) -> str:
    """Return a digest of what a row's tests ask and expect: the same wherever its other columns
    have gone, in which order its sets are, and whether a program has a class Solution.
    """
    found = hashlib.sha256()
    for part in _parts([*map(_asked, cases)]):
        found.update(part.encode("utf-8", "surrogatepass"))
        found.update(b"\0")
    return found.hexdigest()[:32]


def _asked(case: Case) -> tuple[Any, ...]:
    if isinstance(case, (Asserts, TestModule)):
        names = [name.rpartition(".")[2] for name, _ in case.names]
        return "asserts", case.test_source, names[0] if len(names) == 1 else names
    if isinstance(case, Interactive):
        return "interactive", case.interactor, case.input, case.expected
    if isinstance(case, Stdio):
        if isinstance(case.checker, CheckerProgram):
            return "stdio", case.input, case.expected, case.checker.source
        return "stdio", case.input, case.expected
    name = case.function.rpartition(".")[2]
    return "call", name, list(case.args), dict(case.kwargs or {}), case.expected


def _parts(value: Any) -> Iterator[str]:
    """A value's parts as text, in an order that depends on nothing else."""
    if isinstance(value, Mapping):
        yield f"dict {len(value)}"
        for key, each in value.items():
            yield from _parts(key)
            yield from _parts(each)
    elif isinstance(value, (list, tuple)):
        yield f"list {len(value)}"
        for each in value:
            yield from _parts(each)
    elif isinstance(value, (set, frozenset)):
        yield f"set {len(value)}"
        yield from sorted("\1".join(_parts(each)) for each in value)
    else:
        yield f"{type(value).__name__} {value!r}" if not isinstance(value, str) else f"str {value}"
