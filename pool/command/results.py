"""The file of a batch's results: one JSON object a line, whole lines only, taken up again."""

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any


class ResultsFile:
    """Where results are appended. `done` holds the ids of those that were there already.

    path: "-" is standard output. overwrite: begin anew whatever is there. A last line that was cut
    off is removed, and so are infra errors, which are worth another try.
    """

    def __init__(self, path: str, *, overwrite: bool = False) -> None:
        self.done: set[str] = set()
        self._file: IO[bytes]
        if path == "-":
            self._file = sys.stdout.buffer
            return
        if os.path.exists(path) and not overwrite:
            self._take_up(path)
        self._file = open(path, "wb" if overwrite else "ab", buffering=0)  # noqa: SIM115

    def _take_up(self, path: str) -> None:
        """Note what is there; write the file anew without what is not worth keeping."""
        fresh = f"{path}.{os.getpid()}.tmp"
        try:
            with open(path, "rb") as old, open(fresh, "xb") as new:
                for line in old:
                    found = _parse(line)
                    if found is None or found.get("infra_error") or found["id"] in self.done:
                        continue
                    self.done.add(found["id"])
                    new.write(line)
            os.replace(fresh, path)
        except BaseException:
            if os.path.exists(fresh):
                os.unlink(fresh)
            raise

    def write(self, result: Mapping[str, Any]) -> None:
        """Append one result, whole: an interruption comes before or after it."""
        left = memoryview(json.dumps(result).encode("ascii") + b"\n")
        while left:
            left = left[self._file.write(left) :]
        self._file.flush()

    def close(self) -> None:
        if self._file is not sys.stdout.buffer:
            self._file.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The result in a line; None for a line that was cut off, or is none."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if isinstance(found, dict) and isinstance(found.get("id"), str):
        return found
    return None
