"""Rewards for programs that a model writes, as TRL's trainers ask for them."""

import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..pool import Executor, Verdict
from ..pool.awaited import in_own_thread
from ..pool.executor import require_executor
from ..pool.judge import Case
from ..pool.judge.verdict import CHECKER, CHECKERS_RUN
from ..pool.program import RECURSION_LIMIT
from ..pool.rows import FUNCTION_IMPORTS, Calibration, Reading, Unreadable, read_row
from ..pool.rows.batch import Judged, judge_readings, none_can_be_read
from ..pool.rows.read import require_comparison
from ..pool.rows.reading import LEFT_OUT, NO_TESTS
from ..pool.wording import lacking
from ..sandbox import Limits
from .answers import answer_code
from .extract import extract_code
from .tool import PythonEnvironment

logger = logging.getLogger(__name__)

Extract = Callable[[str], str | None]
Cases = Callable[[Mapping[str, Any], str], Reading | Iterable[Case] | None]

_UNKNOWN = "rows that are not in the calibration"
"""Stands in `said` among the packages, when it was warned of."""

_NO_COLUMNS = ("prompts", "trainer_state", "log_extra", "log_metric", "environments")


def last_block(text: str) -> str | None:
    """Return the last block of Python in `text`; if there is none, the last unlabelled one; else
    None. Blocks only; `answer_code` reads answers that are written otherwise, too.
    """
    for unlabelled in (False, True):
        blocks = extract_code(text, which="last", unlabelled=unlabelled)
        if blocks:
            return blocks[0].code
    return None


class CodeRewardFunction:
    """A reward function of TRL's: judges the code in each completion by the cases of its row.

    `GRPOTrainer(reward_funcs=CodeRewardFunction(pool), ...)`. A batch is judged at once. The
    reward is the share of cases passed, from 0 to 1; 0 where there is no code. None, which TRL
    leaves out, where nothing can be said of the program: after a failure of ours, where a test
    fails by itself, where the row has no cases, can't be read or can't be judged, or where its
    `PythonEnvironment` lost a call.

    pool: a `Pool`, or what `connect` returns; who closes it is who made it.
    cases: called with a row (its columns but `prompts`, by name) and the code; returns the cases,
        or what `read_row` returns, or None. The default is `read_row`.
    extract: called with the text of a completion; returns the code, or None (see `answer_code`). Of
        a conversation, the text is that of the last message of the assistant.
    compare: as for `Stdio`, of standard output; None: as contests have it.
    timeout, limits, recursion_limit, stop_at_first_failure: as for `Pool.judge`. The limits of a
        row count where they are less.
    stop_at_first_timeout: as for `Pool.judge`; here, a program that has run out of time in one case
        fails in those behind it, unless told otherwise: early in training, many programs never end.
    function_imports: put before programs and tests; of the default, what they have words of. A pool
        that preloads `transforms.cases.MODULES` has them at once. "": nothing.
    keep: a `Calibration`, or the path of a file of one; rows that it leaves out get None. Rows that
        it does not know are judged, and a warning says so.
    all_or_nothing: 1 if all cases pass, else 0.
    runtime: which of the pool's runtimes programs and tests are run in: its name; or a function,
        called with a row, that returns it, or None.

    Logs to the trainer: the metrics `code/passed`, `code/no_code`, `code/inconclusive` and
    `code/unreadable` (shares of the batch; the last of rows that can't be read or judged), and the
    column `code_verdict`, which names the shape of each row.

    One warning names a package that is installed, and for want of which programs fail, as the pool
    does not offer it; one for each kind of rows that can't be read or judged names a row.

    ValueError where no row of a batch can be read.
    """

    def __init__(
        self,
        pool: Executor,
        *,
        cases: Cases | None = None,
        extract: Extract = answer_code,
        compare: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
        recursion_limit: int | None = RECURSION_LIMIT,
        all_or_nothing: bool = False,
        stop_at_first_failure: bool = False,
        stop_at_first_timeout: bool = True,
        function_imports: str = FUNCTION_IMPORTS,
        keep: Calibration | str | os.PathLike[str] | None = None,
        runtime: str | Callable[[Mapping[str, Any]], str | None] | None = None,
    ) -> None:
        require_executor("pool", pool)
        if cases is None:
            cases = functools.partial(read_row, compare=require_comparison(compare))
        elif compare is not None:
            raise ValueError("give cases or compare, not both: compare is for those of read_row")
        for name, value in (("cases", cases), ("extract", extract)):
            if not callable(value):
                raise TypeError(f"{name} must be callable, not {value!r:.80}")
        if isinstance(keep, (str, os.PathLike)):
            keep = Calibration.load(keep)
        elif keep is not None and not isinstance(keep, Calibration):
            raise TypeError(f"keep must be a Calibration or the path of one, not {keep!r:.80}")
        if not callable(runtime):
            pool.runner.require_runtime(runtime)
        self._runtime = runtime
        self._keep = keep
        self.__name__ = "code_reward"  # TRL's name for it in logs
        self._pool = pool
        self._cases = cases
        self._extract = extract
        self._timeout = timeout
        self._limits = limits
        self._recursion_limit = recursion_limit
        self._all_or_nothing = all_or_nothing
        self._stop = stop_at_first_failure
        self._stop_at_timeout = stop_at_first_timeout
        self._function_imports = function_imports
        self.said: set[str] = set()  # the packages that were warned of

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._pool!r}>"

    def __call__(
        self,
        prompts: Any = None,
        completions: Any = None,
        completion_ids: Any = None,
        **columns: Any,
    ) -> Any:
        return self._rewards(completions, columns)

    def _rewards(self, completions: Any, columns: dict[str, Any]) -> list[float | None]:
        codes, rows = self._plan(completions, columns)
        readings = [
            None if row is None else self._kept(number, self._in_runtime(row, code or ""))
            for number, (row, code) in enumerate(zip(rows, codes, strict=True))
        ]
        wanted = [number for number, reading in enumerate(readings) if reading is not None]
        judged = judge_readings(
            self._pool,
            [
                (codes[number] or None, reading)
                for number, reading in enumerate(readings)
                if reading
            ],
            timeout=self._timeout,
            limits=self._limits,
            recursion_limit=self._recursion_limit,
            stop_at_first_failure=self._stop or self._all_or_nothing,
            imports=self._function_imports,
            stop_at_first_timeout=self._stop_at_timeout,
            runtime=None if callable(self._runtime) else self._runtime,
        )
        error = none_can_be_read(judged)
        if error is not None:
            raise ValueError(f"row {wanted[0]}: {error} (no row of the batch can be read)")
        found = dict(zip(wanted, judged, strict=True))
        warn_of_rows(found, self.said, list(rows[wanted[0]] or ()) if wanted else ())
        _log(codes, found, columns)
        warn_of_packages([each.verdict for each in judged if each.verdict], self.said)
        return [self._reward(found.get(number)) for number in range(len(codes))]

    def _in_runtime(self, row: Mapping[str, Any], code: str) -> Reading | Unreadable:
        """What a row asks of a program, in the runtime that it is to have."""
        reading = self._read(row, code)
        if not callable(self._runtime) or isinstance(reading, Unreadable):
            return reading
        try:
            runtime = self._runtime(row)
            self._pool.runner.require_runtime(runtime)
        except (TypeError, ValueError) as error:
            return Unreadable(str(error), f"runtime: {type(error).__name__}", row)
        return reading.in_runtime(runtime)

    def _read(self, row: Mapping[str, Any], code: str) -> Reading | Unreadable:
        try:
            cases = self._cases(row, code)
            if cases is None:
                return Reading(shape="cases", why=NO_TESTS)
            if isinstance(cases, Reading):
                return cases
            found = tuple(cases)
            return Reading(shape="cases", cases=found, why="" if found else NO_TESTS)
        except Unreadable as error:
            return error
        except (TypeError, ValueError) as error:
            return Unreadable(str(error), f"cases: {type(error).__name__}", row)

    def _kept(self, number: int, reading: Reading | Unreadable) -> Reading | Unreadable:
        """The reading, unless the calibration leaves it out."""
        if self._keep is None or isinstance(reading, Unreadable) or not reading.cases:
            return reading
        is_kept = self._keep.keeps(reading)
        if is_kept is None and _UNKNOWN not in self.said:
            self.said.add(_UNKNOWN)
            logger.warning("row %d is not in the calibration, and is judged all the same", number)
        return reading if is_kept is not False else Reading(shape=reading.shape, why=LEFT_OUT)

    def _plan(
        self, completions: Any, columns: dict[str, Any]
    ) -> tuple[list[str | None], list[Mapping[str, Any] | None]]:
        """The code of each completion, and its row; None for those that get no reward."""
        if isinstance(completions, str) or not isinstance(completions, Sequence):
            raise TypeError(f"completions must be a list, not {completions!r:.80}")
        environments = columns.get("environments")
        rows = {name: each for name, each in columns.items() if name not in _NO_COLUMNS}
        for name, values in rows.items():
            if not isinstance(values, Sequence) or len(values) != len(completions):
                raise ValueError(
                    f"the column {name!r} must have a value for each of the {len(completions)} "
                    f"completions, not {values!r:.80}"
                )
        codes: list[str | None] = []
        found: list[Mapping[str, Any] | None] = []
        for number, completion in enumerate(completions):
            codes.append(self._extract(answer_text(completion)))
            spoilt = environments is not None and _is_spoilt(environments[number])
            found.append(
                None if spoilt else {name: values[number] for name, values in rows.items()}
            )
        return codes, found

    def _reward(self, judged: Judged | None) -> float | None:
        if judged is None or not judged.can_be_judged:
            return None
        if judged.verdict is None:
            return 0.0  # there was no code
        if not judged.verdict.conclusive:
            return None
        return float(judged.verdict.passed) if self._all_or_nothing else judged.verdict.score


class AsyncCodeRewardFunction(CodeRewardFunction):
    """The same for trainers that run their reward functions side by side: its call is awaited."""

    async def __call__(
        self,
        prompts: Any = None,
        completions: Any = None,
        completion_ids: Any = None,
        **columns: Any,
    ) -> list[float | None]:
        work = functools.partial(self._rewards, completions, columns)
        return await in_own_thread("rewards", work)


def answer_text(completion: Any) -> str:
    """Return the text of a completion: itself, or that of the last message of the assistant."""
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence):
        raise TypeError(f"a completion must be text or a list of messages, not {completion!r:.80}")
    messages = [each for each in completion if each.get("role", "assistant") == "assistant"]
    content = messages[-1].get("content") if messages else None
    if content is None:
        return ""  # nothing but calls of tools
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def warn_of_packages(verdicts: Sequence[Verdict], said: set[str]) -> None:
    """Warn of packages for want of which programs fail, as the pool does not offer them: a batch of
    zeros for that must not go unseen. said: those that were named before, which are not again.
    """
    counts = Counter(name for verdict in verdicts for name in verdict.not_offered)
    for name, count in counts.items():
        if name not in said:
            said.add(name)
            logger.warning("%s", lacking(count, len(verdicts), name, f"packages=({name!r},)"))


def _checker_failed(verdict: Verdict) -> bool:
    """Whether a function of the caller's did: a data set's checker may fail on what is wrong."""
    return any(
        case.reason == CHECKER and not case.detail.startswith(CHECKERS_RUN)
        for case in verdict.cases
    )


def warn_of_rows(judged: Mapping[int, Judged], said: set[str], columns: Sequence[str] = ()) -> None:
    """Warn of rows, by their numbers, that can't be read or judged: once for each kind. said: those
    that were named before. columns: of the rows.
    """
    for number, each in judged.items():
        if each.can_be_judged or each.is_gap:
            continue
        if each.error is None:
            kind, what = f"{each.shape}: {each.why}", f"can't be judged ({each.shape})"
        else:
            kind, what = each.error.kind, f"can't be read ({each.error.kind})"
        if kind not in said:
            said.add(kind)
            listed = ", ".join(map(str, (each.error and each.error.columns) or columns))
            logger.warning("row %d %s: %s; columns: %s", number, what, each.why, listed or "none")


def _is_spoilt(environment: object) -> bool:
    return isinstance(environment, PythonEnvironment) and environment.infra_error


def _log(
    codes: Sequence[str | None], found: Mapping[int, Judged], columns: Mapping[str, Any]
) -> None:
    verdicts = {number: each.verdict for number, each in found.items() if each.verdict is not None}
    for number, verdict in verdicts.items():
        if verdict.harness_error is not None:
            logger.warning("row %d: its test is at fault: %s", number, verdict.harness_error)
    failing = [number for number, verdict in verdicts.items() if _checker_failed(verdict)]
    if failing:
        logger.warning(
            "%d programs fail because a checker raised, or gave no score, such as that of row %d: "
            "have it return False for what it can't use",
            len(failing),
            failing[0],
        )
    log_metric, log_extra = columns.get("log_metric"), columns.get("log_extra")
    if log_metric is not None and codes:
        shares = {
            "code/passed": sum(verdict.passed for verdict in verdicts.values()),
            "code/no_code": sum(code is None for code in codes),
            "code/inconclusive": sum(not verdict.conclusive for verdict in verdicts.values()),
            "code/unreadable": sum(
                not (each.can_be_judged or each.is_gap) for each in found.values()
            ),
        }
        for name, count in shares.items():
            log_metric(name, count / len(codes))
    if log_extra is not None:
        said = [_said(code, found.get(number)) for number, code in enumerate(codes)]
        log_extra("code_verdict", said)


def _said(code: str | None, judged: Judged | None) -> str:
    """A word on a sample, for the log."""
    if judged is not None and judged.verdict is not None:
        return repr(judged.verdict)
    if judged is not None and judged.error is not None:
        return f"unreadable: {judged.why}"
    if judged is not None and judged.why and not judged.is_gap:
        return f"not judged ({judged.shape}): {judged.why}"
    return "no code" if code is None else "not judged"
