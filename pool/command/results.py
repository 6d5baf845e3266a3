"""The file of a batch's results: one JSON object a line, whole lines only, taken up again."""

import json
import os
import select
import stat
import sys
import time
from collections.abc import Mapping
from typing import Any

_HEAD = b'{"id": '
"""How every line begins that we write."""

_PIPE_BYTES = 4096
"""PIPE_BUF: what a pipe that is writable takes without making us wait (pipe(7))."""

_LOOK_S, _PATIENCE_S = 0.2, 2.0
"""While a reader does not read: how often we look whether to stop, and how long a line that was
begun may then take."""


class ResultsFile:
    """Where results are appended. `done` holds the ids of those that were there already, `dropped`
    is the number of lines that were not worth keeping.

    path: "-" is standard output. overwrite: begin anew whatever is there. A last line that was cut
    off is removed, and so are infra errors, which are worth another try. Only a regular file is
    taken up: a device or pipe is written to as it is. hurry: set to true by whoever wants to stop;
    a reader that does not read is then not waited for.

    Raises ValueError for a file with a line that is no result: it is not ours to rewrite.
    """

    def __init__(self, path: str, *, overwrite: bool = False) -> None:
        self.done: set[str] = set()
        self.dropped = 0
        self.hurry = False
        if path == "-":
            self._fd = os.dup(sys.stdout.fileno())
        else:
            path = os.path.realpath(path)  # a rename must replace the file, not a link to it
            if os.path.isfile(path) and not overwrite:
                self._take_up(path)
            ways = os.O_TRUNC if overwrite else os.O_APPEND
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | ways, 0o666)
        self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def _take_up(self, path: str) -> None:
        """Note what is there; write the file anew without what is not worth keeping."""
        fresh = f"{path}.{os.getpid()}.tmp"
        try:
            with open(path, "rb") as old, open(fresh, "xb") as new:
                os.fchmod(new.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
                for number, line in enumerate(old, 1):
                    if not line.endswith(b"\n") and _begins_like_ours(line):
                        self.dropped += 1
                        break  # cut off by a crash
                    found = _parse(line)
                    if found is None:
                        raise ValueError(
                            f"--out {path!r}: line {number} is no result of `pool batch`; "
                            "name another file, or replace this one with --overwrite"
                        )
                    if found.get("infra_error") or found["id"] in self.done:
                        self.dropped += 1
                        continue
                    self.done.add(found["id"])
                    new.write(line)
            os.replace(fresh, path)
        except BaseException:
            if os.path.exists(fresh):
                os.unlink(fresh)
            raise

    def write(self, result: Mapping[str, Any]) -> None:
        """Append one result, whole: an interruption comes before or after it. Raises TimeoutError
        where nobody reads and we are in a hurry.
        """
        left = memoryview(json.dumps(result).encode("ascii") + b"\n")
        give_up_at: float | None = None
        while left:
            if self._is_file:
                left = left[os.write(self._fd, left) :]
            elif select.select([], [self._fd], [], _LOOK_S)[1]:
                left = left[os.write(self._fd, left[:_PIPE_BYTES]) :]
            elif self.hurry:
                give_up_at = give_up_at or time.monotonic() + _PATIENCE_S
                if time.monotonic() > give_up_at:
                    raise TimeoutError("nobody reads the results")

    def close(self) -> None:
        os.close(self._fd)


def _begins_like_ours(line: bytes) -> bool:
    return line[: len(_HEAD)] == _HEAD[: len(line)]


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
