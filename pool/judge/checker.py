"""Checkers that are programs: what they are given, and how their verdict is read."""

import dataclasses
import re
from collections.abc import Iterable, Mapping

from ...sandbox.limits import Limits
from ...sandbox.reasons import ExitReason
from ...sandbox.result import Result
from ...sandbox.run.files import in_pages
from ...sandbox.run.job import Job
from ..program import Program
from .evaluating import why_unusable
from .excerpt import line
from .finding import ending

PRINTED, TESTLIB = "printed", "testlib"
PROTOCOLS = (PRINTED, TESTLIB)

INPUT, EXPECTED, OUTPUT = "input.txt", "correct_output.txt", "solution_output.txt"
"""The files that a checker finds in its working directory, and their paths in its arguments."""

RIGHT, WRONG = (0,), (1, 2, 4, 8)
"""Exit statuses of testlib: right; and wrong, badly presented, with something behind it, too short.
Others (3 is "the jury's fault") are no verdict."""

_SCORE = re.compile(rb"(?:0*[01](?:\.\d{0,20})?|\.\d{1,20})")

_LEAST_OUTPUT_BYTES = 64 << 10
_LEAST_FILES = 64
_STEP = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class CheckerProgram:
    """A Python program that decides whether an output is right, in a jail of its own.

    It is run when the judged program has come to a good end, with three files in its working
    directory and their paths as arguments: the input, the expected output (empty if there is none),
    and what the program has written.

    protocol:
        "printed": `checker.py input.txt correct_output.txt solution_output.txt` prints nothing but
            a number, 1 for a right output, 0 for a wrong one, or what is between, and ends with
            status 0, as the checkers of open-r1/codeforces do.
        "testlib": `checker.py input.txt solution_output.txt correct_output.txt` ends with status 0
            for a right output, and 1, 2, 4 or 8 for a wrong one.

    Raises ValueError for a source that is not Python, or that evaluates or unpickles: what it is
    given comes from the program that is judged.
    """

    source: str
    _: dataclasses.KW_ONLY
    protocol: str = PRINTED

    def __post_init__(self) -> None:
        require_usable("the checker", self.source)
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol={self.protocol!r:.80}: there are {', '.join(PROTOCOLS)}")

    @classmethod
    def from_dict(cls, data: object) -> "CheckerProgram":
        """Return a checker from JSON data: its fields by name, or its source alone."""
        if isinstance(data, str):
            return cls(data)
        if not isinstance(data, Mapping):
            raise TypeError(f"checker must be its source, or a JSON object, not {data!r:.80}")
        unknown = data.keys() - {"source", "protocol"}
        if unknown:
            raise ValueError(f"checker: unknown field {min(unknown)!r}; there are source, protocol")
        if "source" not in data:
            raise ValueError("checker: the field 'source' is missing")
        return cls(**data)

    def job(
        self,
        given: bytes,
        expected: bytes,
        output: bytes,
        limits: Limits,
        recursion_limit: int | None,
        runtime: str | None,
    ) -> Job:
        """Return its run on an output. limits: those of judging, of which more is allowed as far as
        the files need it.
        """
        files = {INPUT: given, EXPECTED: expected, OUTPUT: output}
        args = [*files] if self.protocol == PRINTED else [INPUT, OUTPUT, EXPECTED]
        limits = with_room(limits, files.values())
        program = Program(
            self.source,
            args=args,
            files=files,
            recursion_limit=recursion_limit,
            runtime=runtime,
        )
        return program.job(limits)


def require_usable(what: str, source: object) -> None:
    """Raise TypeError or ValueError for what is no source of a checker or an interactor."""
    if not isinstance(source, str):
        raise TypeError(f"{what} must be the source of a program, not {source!r:.80}")
    if why := why_unusable(source):
        raise ValueError(f"{what} {why}")


def with_room(limits: Limits, contents: Iterable[bytes]) -> Limits:
    """Return limits with room for files that their program did not choose, and for a few words.

    Disk space grows in steps: another size needs another prewarmed process.
    """
    size = sum(in_pages(len(content)) for content in contents)
    changes: dict[str, int | None] = {"source_bytes": None}  # which has been looked at
    if limits.disk_bytes is not None and limits.disk_bytes < 2 * size:
        changes["disk_bytes"] = limits.disk_bytes + -(-size // _STEP) * _STEP
    if limits.memory_bytes is not None and size > _STEP // 8:  # where they are, is memory, too
        changes["memory_bytes"] = limits.memory_bytes + size
    if limits.output_bytes is not None and limits.output_bytes < _LEAST_OUTPUT_BYTES:
        changes["output_bytes"] = _LEAST_OUTPUT_BYTES
    if limits.files is not None and limits.files < _LEAST_FILES:
        changes["files"] = _LEAST_FILES
    return limits.replace(**changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a checker has said of an output: score from 0 to 1, or None, and then why not, as the
    rest of a sentence about it.
    """

    score: float | None
    why: str = ""


def said(checker: CheckerProgram, result: Result) -> Said:
    """Read the verdict from a checker's run."""
    if checker.protocol == TESTLIB:
        if result.reason in (ExitReason.OK, ExitReason.EXIT):
            if result.exit_code in RIGHT:
                return Said(1.0)
            if result.exit_code in WRONG:
                return Said(0.0)
        return Said(None, ending(result))
    if not result.ok:
        return Said(None, ending(result))
    text = result.stdout_bytes.strip()
    if not _SCORE.fullmatch(text) or float(text) > 1:
        return Said(None, f"printed {line(text)}, which is not a number from 0 to 1")
    return Said(float(text))
