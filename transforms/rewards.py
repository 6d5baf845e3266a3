"""Rewards for programs that a model writes, as TRL's trainers ask for them."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..pool import Pool, Verdict
from ..pool.awaited import in_own_thread
from ..pool.judge import Case
from ..pool.judge.plan import RECURSION_LIMIT
from ..pool.judge.verdict import CHECKER
from ..pool.wording import lacking
from ..sandbox import Limits
from .answers import answer_code
from .cases import FUNCTION_IMPORTS, cases_from_row, with_imports
from .extract import extract_code
from .tool import PythonEnvironment

logger = logging.getLogger(__name__)

Extract = Callable[[str], str | None]
Cases = Callable[[Mapping[str, Any], str], Iterable[Case] | None]

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
    fails by itself, where the row has no cases, or where its `PythonEnvironment` lost a call.

    pool: who closes it is who made it.
    cases: called with a row (its columns but `prompts`, by name) and the code; returns the cases,
        or None. The default knows what `cases_from_row` says.
    extract: called with the text of a completion; returns the code, or None (see `answer_code`). Of
        a conversation, the text is that of the last message of the assistant.
    timeout, limits, recursion_limit, stop_at_first_failure: as for `Pool.judge`.
    function_imports: put before programs of which a case calls a function; a pool that preloads
        `transforms.cases.MODULES` has them at once. "": nothing.
    all_or_nothing: 1 if all cases pass, else 0.

    Logs to the trainer: the metrics `code/passed`, `code/no_code`, `code/inconclusive` (shares of
    the batch), and the column `code_verdict`.

    One warning names a package that is installed, and for want of which programs fail, as the pool
    does not offer it.

    A row whose cases make no sense raises ValueError or TypeError, with its number, before anything
    is run.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        cases: Cases = cases_from_row,
        extract: Extract = answer_code,
        timeout: float | None = None,
        limits: Limits | None = None,
        recursion_limit: int | None = RECURSION_LIMIT,
        all_or_nothing: bool = False,
        stop_at_first_failure: bool = False,
        function_imports: str = FUNCTION_IMPORTS,
    ) -> None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool must be a pool.Pool, not {pool!r}")
        for name, value in (("cases", cases), ("extract", extract)):
            if not callable(value):
                raise TypeError(f"{name} must be callable, not {value!r:.80}")
        self.__name__ = "code_reward"  # TRL's name for it in logs
        self._pool = pool
        self._cases = cases
        self._extract = extract
        self._timeout = timeout
        self._limits = limits
        self._recursion_limit = recursion_limit
        self._all_or_nothing = all_or_nothing
        self._stop = stop_at_first_failure
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
        codes, planned = self._plan(completions, columns)
        wanted = [
            number for number, cases in enumerate(planned) if cases is not None and codes[number]
        ]
        verdicts = self._pool.judge_many(
            [self._item(codes[number] or "", planned[number] or []) for number in wanted],
            timeout=self._timeout,
            limits=self._limits,
            recursion_limit=self._recursion_limit,
            stop_at_first_failure=self._stop or self._all_or_nothing,
        )
        found = dict(zip(wanted, verdicts, strict=True))
        _log(codes, found, columns)
        warn_of_packages(verdicts, self.said)
        return [
            None if planned[number] is None else self._reward(found.get(number))
            for number in range(len(codes))
        ]

    def _item(self, code: str, cases: list[Case]) -> tuple[str, list[Case]]:
        return with_imports(code, cases, self._function_imports), cases

    def _plan(
        self, completions: Any, columns: dict[str, Any]
    ) -> tuple[list[str | None], list[list[Case] | None]]:
        """The code of each completion, and its cases; None for those that get no reward."""
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
        planned: list[list[Case] | None] = []
        for number, completion in enumerate(completions):
            code = self._extract(answer_text(completion))
            codes.append(code)
            if environments is not None and _is_spoilt(environments[number]):
                planned.append(None)
                continue
            row = {name: values[number] for name, values in rows.items()}
            try:
                cases = self._cases(row, code or "")
                planned.append(None if cases is None else list(cases))
            except (TypeError, ValueError) as error:
                raise type(error)(f"row {number}: {error}") from error
        return codes, planned

    def _reward(self, verdict: Verdict | None) -> float | None:
        if verdict is None:
            return 0.0  # there was no code
        if not verdict.conclusive:
            return None
        return float(verdict.passed) if self._all_or_nothing else verdict.score


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
    return any(case.reason == CHECKER for case in verdict.cases)


def _is_spoilt(environment: object) -> bool:
    return isinstance(environment, PythonEnvironment) and environment.infra_error


def _log(
    codes: Sequence[str | None], found: Mapping[int, Verdict], columns: Mapping[str, Any]
) -> None:
    for number, verdict in found.items():
        if verdict.harness_error is not None:
            logger.warning("row %d: its test is at fault: %s", number, verdict.harness_error)
    failing = [number for number, verdict in found.items() if _checker_failed(verdict)]
    if failing:
        logger.warning(
            "%d programs fail because a checker raised, or gave no score, such as that of row %d: "
            "have it return False for what it can't use",
            len(failing),
            failing[0],
        )
    inconclusive = [verdict for verdict in found.values() if not verdict.conclusive]
    log_metric, log_extra = columns.get("log_metric"), columns.get("log_extra")
    if log_metric is not None and codes:
        shares = {
            "code/passed": sum(verdict.passed for verdict in found.values()),
            "code/no_code": sum(code is None for code in codes),
            "code/inconclusive": len(inconclusive),
        }
        for name, count in shares.items():
            log_metric(name, count / len(codes))
    if log_extra is not None:
        log_extra(
            "code_verdict",
            [
                repr(found[number])
                if number in found
                else "no code"
                if code is None
                else "not judged"
                for number, code in enumerate(codes)
            ],
        )
