"""What is read from a row of a data set."""

import dataclasses
from collections.abc import Iterable

from ...sandbox.limits import Limits
from ..judge.cases import Asserts, Case, TestModule
from ..judge.plan import wall_for
from ..program import Program
from .imports import FUNCTION_IMPORTS, imports_for_tests, needed, those_needed, with_code

NO_TESTS = "the row has no tests"
LEFT_OUT = "the calibration leaves the row out"

_LEAST_MEMORY = 8 << 20
"""As `Limits` has it."""


class Unreadable(ValueError):
    """A row whose shape is not known, or whose content makes no sense.

    kind: the shape, with what is wrong in a word or two: the same for rows of the same fault.
    columns: the names of the row's columns.
    """

    def __init__(self, message: str, kind: str, columns: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.columns = tuple(columns)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a row asks of a program.

    shape: the data set, or the trainer, whose rows look like this one, such as "apps".
    cases: what the program is to be judged by; empty where it can't be.
    why: a sentence that says why there are no cases; "" where there are some.
    prelude: source that the task's text gives, and that programs take for granted.
    imports: import statements of the tests' prelude; a program is given those that it has words of.
    cpu_s, memory_bytes: the row's own limits; None where it has none.
    """

    shape: str
    cases: tuple[Case, ...] = ()
    why: str = ""
    prelude: str = ""
    imports: tuple[str, ...] = ()
    cpu_s: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if bool(self.cases) == bool(self.why):
            raise AssertionError(f"either cases or why, not {self!r:.200}")

    @property
    def is_gap(self) -> bool:
        """Whether the row is of a known shape, and its tests are left out, or it is itself: in a
        mixture of tasks, it is for somebody else.
        """
        return self.why in (NO_TESTS, LEFT_OUT)

    @property
    def may_see_changes(self) -> bool:
        """Whether there are tests that see no changes of arguments, and could."""
        return any(
            isinstance(case, (Asserts, TestModule)) and not case.mutates for case in self.cases
        )

    def seeing_changes(self) -> "Reading":
        """Return the same, with tests that see what a program does to their arguments."""
        cases = tuple(
            dataclasses.replace(case, mutates=True)
            if isinstance(case, (Asserts, TestModule))
            else case
            for case in self.cases
        )
        return dataclasses.replace(self, cases=cases)

    def in_runtime(self, runtime: str | None) -> "Reading":
        """Return the same, with cases whose programs and tests are run in `runtime`."""
        cases = tuple(dataclasses.replace(case, runtime=runtime) for case in self.cases)
        return dataclasses.replace(self, cases=cases)

    def item(
        self, code: str, limits: Limits, *, imports: str = FUNCTION_IMPORTS
    ) -> tuple[Program, tuple[Case, ...]]:
        """Return a program and its cases, as `Pool.judge_many` takes them.

        limits: the most that a program may use; see `judge.plan.judging_limits`. Those of the row
        count where they are less. imports: put before programs and tests; "": nothing.
        """
        before = "\n".join([*those_needed(self.imports, code), self.prelude])
        usual = needed(f"{before}\n{code}") if imports == FUNCTION_IMPORTS else imports
        program = with_code(with_code(code, before), usual)
        return (
            Program(program, limits=self.limits(limits)),
            imports_for_tests(self.cases, imports),
        )

    def limits(self, most: Limits) -> Limits:
        """Return the row's limits, at most `most`."""
        found = most
        if self.cpu_s is not None and (most.cpu_s is None or self.cpu_s < most.cpu_s):
            wall_s = wall_for(self.cpu_s)
            if most.wall_s is not None and wall_s is not None:
                wall_s = min(most.wall_s, wall_s)
            found = found.replace(cpu_s=self.cpu_s, wall_s=wall_s)
        if self.memory_bytes is not None:
            memory = max(self.memory_bytes, _LEAST_MEMORY)
            if most.memory_bytes is None or memory < most.memory_bytes:
                found = found.replace(memory_bytes=memory)
        return found
