"""The file of a batch's results: one JSON object a line, whole lines only, taken up again.

Fields that are the same in all records (`SAME`) stand in the first one, and again where they
change: a record that lacks one has that of the record before. Records that have them all, as
earlier versions wrote, are read likewise.

A program that is run again keeps its record until the new one is written behind it. So nothing is
lost by an interruption, and only after a crash an id may have two records. The last one counts; the
earlier ones are taken out at the end, or when the file is taken up again, by a new file that
replaces this one.
"""

import json
import os
import select
import stat
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, NamedTuple

from ...sandbox.reasons import ExitReason

SAME = ("tier", "layers", "value", "rolled_back", "checkpointed", "refused_calls")
"""Fields that are the same in all or most of a batch's records."""

_HEAD = b'{"id": '
"""How every line begins that we write."""

_PIPE_BYTES = 4096
"""PIPE_BUF: what a pipe that is writable takes without making us wait (pipe(7))."""

_LOOK_S, _PATIENCE_S = 0.2, 2.0
"""While a reader does not read: how often we look whether to stop, and how long a line that was
begun may then take."""


class _Known(NamedTuple):
    """What is kept in mind of a record."""

    reason: str
    cpu_s: float
    lacked: str | None  # a package that is installed, and was not offered

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "_Known":
        cpu_s = record.get("cpu_s")
        reason = ExitReason.INTERNAL if record.get("infra_error") else record["reason"]
        lacked = record.get("not_offered")
        return cls(
            sys.intern(str(reason)),
            cpu_s if isinstance(cpu_s, (int, float)) else 0.0,
            sys.intern(lacked) if isinstance(lacked, str) else None,
        )


class ResultsFile:
    """Where results are written.

    done: of the records that were there already and count, the reasons by id. again: of those
    that were there and are to be replaced, what is known. reasons, lacked, cpu_s: of all records in
    the file, by reason, by package that was not offered, and in all. dropped: lines that were cut
    off by a crash.

    path: "-" is standard output. overwrite: begin anew whatever is there. rerun: reasons of
    records that are to be replaced; those of infra errors are in any case. Only a regular file is
    taken up: a device or pipe is written to as it is. hurry: set to true by whoever wants to stop;
    a reader that does not read is then not waited for.

    Raises ValueError for a file with a line that is no result: it is not ours to rewrite.
    """

    def __init__(self, path: str, *, overwrite: bool = False, rerun: Collection[str] = ()) -> None:
        self.done: dict[str, str] = {}
        self.again: dict[str, _Known] = {}
        self.reasons: Counter[str] = Counter()
        self.cpu_s = 0.0
        self.lacked: Counter[str] = Counter()
        self.dropped = 0
        self.hurry = False
        self._same: dict[str, Any] = {}
        self._has_earlier = False  # records of which there is a later one
        if path == "-":
            self._fd = os.dup(sys.stdout.fileno())
        else:
            path = os.path.realpath(path)  # a rename must replace the file, not a link to it
            if os.path.isfile(path) and not overwrite:
                self._take_up(path, {ExitReason.INTERNAL, *rerun})
            ways = os.O_TRUNC if overwrite else os.O_APPEND
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | ways, 0o666)
        self._path = path
        self.is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def _take_up(self, path: str, rerun: Collection[str]) -> None:
        """Note what is there; take out what does not count."""
        known: dict[str, _Known] = {}
        number = 0
        with open(path, "rb") as file:
            for number, record in enumerate(_records(file), 1):
                if record is None:
                    raise ValueError(
                        f"--out {path!r}: line {number} is no result of `pool batch`; "
                        "name another file, or replace this one with --overwrite"
                    )
                known[record["id"]] = _Known.of(record)
                self._same.update(_same_of(record))
            self.dropped = file.tell() < os.fstat(file.fileno()).st_size
        if self.dropped or number > len(known):
            compact(path)
        for name, what in known.items():
            self._count(what, 1)
            if what.reason in rerun:
                self.again[name] = what
            else:
                self.done[name] = what.reason

    def write(self, result: Mapping[str, Any]) -> None:
        """Append one result, whole: an interruption comes before or after it. Raises TimeoutError
        where nobody reads and we are in a hurry.
        """
        left = memoryview(_line(result, self._same))
        give_up_at: float | None = None
        while left:
            if self.is_file:
                left = left[os.write(self._fd, left) :]
            elif select.select([], [self._fd], [], _LOOK_S)[1]:
                left = left[os.write(self._fd, left[:_PIPE_BYTES]) :]
            elif self.hurry:
                give_up_at = give_up_at or time.monotonic() + _PATIENCE_S
                if time.monotonic() > give_up_at:
                    raise TimeoutError("nobody reads the results")
        earlier = self.again.pop(result["id"], None)
        if earlier is not None:
            self._has_earlier = True
            self._count(earlier, -1)
        self._count(_Known.of(result), 1)

    def _count(self, what: _Known, number: int) -> None:
        self.reasons[what.reason] += number
        self.cpu_s += number * what.cpu_s
        if what.lacked is not None:
            self.lacked[what.lacked] += number

    def close(self) -> None:
        os.close(self._fd)
        if self._has_earlier and self.is_file:
            compact(self._path)


def compact(path: str) -> None:
    """Keep the last record of each id, by a new file that replaces the one at `path`."""
    last: dict[str, int] = {}
    fresh = f"{path}.{os.getpid()}.tmp"
    try:
        with open(path, "rb") as old, open(fresh, "xb") as new:
            os.fchmod(new.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
            for number, record in enumerate(_records(old)):
                if record is not None:
                    last[record["id"]] = number
            old.seek(0)
            here: dict[str, Any] = {}
            there: dict[str, Any] = {}
            for number, record in enumerate(_records(old)):
                if record is None:
                    continue
                here.update(_same_of(record))
                if last[record["id"]] == number:
                    new.write(_line({**record, **here}, there))
        os.replace(fresh, path)
    except BaseException:
        if os.path.exists(fresh):
            os.unlink(fresh)
        raise


def _records(file: IO[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield the record in each line, None for a line that has none; end before a last line of
    ours that is not whole, and leave the file there.
    """
    while line := file.readline():
        if not line.endswith(b"\n") and line[: len(_HEAD)] == _HEAD[: len(line)]:
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield _parse(line)


def _same_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in SAME if name in record}


def _line(record: Mapping[str, Any], same: dict[str, Any]) -> bytes:
    """The line of a whole record behind one that had, or meant, `same`, which is updated."""
    new = {
        name: value
        for name, value in _same_of(record).items()
        if name not in same or same[name] != value
    }
    same.update(new)
    said = {name: value for name, value in record.items() if name not in SAME or name in new}
    return json.dumps(said).encode("ascii") + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The result in a line; None for a line that is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("id"), str) and isinstance(found.get("reason"), str):
        return found
    return None
