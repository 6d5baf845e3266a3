"""A reward function of verl's.

In verl's configuration, without a file of one's own:

    reward.custom_reward_function.path=pkg://interpreter_pool.transforms.verl
    reward.custom_reward_function.name=compute_score   # acompute_score; compute_scores (batch)
    +reward.custom_reward_function.reward_kwargs.timeout=5

(Versions before 0.9 know it without the `reward.` in front. Tried with the managers of 0.9.1.)

verl has no reward that says "leave this sample out": what it is given is trained on. So where
nothing can be said of a program, after a failure of ours or where its test fails by itself, it is
judged once more, and then `Inconclusive` is raised, as it is for a ground truth that can't be read:
of verl's reward managers, naive, batch and dapo let it end the step; prime takes any exception for
a score of 0, and starts a process for each of 64 samples, each with a pool: use another. Who masks
samples by themselves gives `on_inconclusive=0.0` (or any number): that is the score then, and
`infra_error` in the extra information is 1.
"""

import dataclasses
import functools
import json
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from ..pool import Executor, Pool, PoolError, Verdict, connect
from ..pool.awaited import in_own_thread
from ..pool.executor import require_executor
from ..pool.program import RECURSION_LIMIT, limits_from_dict
from ..pool.rows import FUNCTION_IMPORTS, MODULES, Reading, Unreadable, read_value
from ..pool.rows.batch import Judged, attempt, judge_readings
from ..pool.rows.read import require_comparison
from ..sandbox import Limits
from .answers import answer_code
from .rewards import Extract, warn_of_packages, warn_of_rows


class Inconclusive(PoolError):
    """Nothing can be said of a program, for a reason that is not its own. verdict: None where its
    ground truth can't be read or judged.
    """

    def __init__(self, verdict: Verdict | None, why: str = "") -> None:
        super().__init__(f"the program could not be judged: {why or repr(verdict)}")
        self.verdict = verdict


class Scorer:
    """Scores answers by verl's ground truths. Makes its pool when it is first called, in the
    process that calls; a process that was forked from there makes its own. A context manager.

    pool: a `Pool`, or what `connect` returns, which is not closed then; or the URL of an executor
        elsewhere, "ray://NAME"; or the arguments of a `Pool`, by name, limits also as a mapping of
        theirs; None: none.
    timeout, recursion_limit, runtime: as for `Pool.judge`. compare: as for `Stdio`, of standard
        output; None: as contests have it.
    extract: called with the answer; returns the code, or None, which scores 0.
    function_imports: put before programs and tests; of the default, what they have words of.
    all_or_nothing: the score is 1 if all cases pass, else 0; otherwise it is the share that passes.
    stop_at_first_timeout: a program that has run out of time in one case fails in those behind it.
    on_inconclusive: the score where nothing can be said of the program, or its ground truth can't
        be read or judged; None: raise `Inconclusive`.
    """

    def __init__(
        self,
        pool: Executor | Mapping[str, Any] | str | None = None,
        *,
        timeout: float | None = None,
        recursion_limit: int | None = RECURSION_LIMIT,
        compare: str | None = None,
        extract: Extract = answer_code,
        function_imports: str = FUNCTION_IMPORTS,
        all_or_nothing: bool = False,
        stop_at_first_timeout: bool = True,
        on_inconclusive: float | None = None,
        runtime: str | None = None,
    ) -> None:
        if not (pool is None or isinstance(pool, (Mapping, str))):
            require_executor("pool", pool, ", its URL, the arguments of a Pool, or None")
        self._given = pool if isinstance(pool, Executor) else None
        self._url = pool if isinstance(pool, str) else None
        self._arguments = dict(pool) if isinstance(pool, Mapping) else {}
        if isinstance(self._arguments.get("limits"), Mapping):
            self._arguments["limits"] = limits_from_dict(self._arguments["limits"])
        self._timeout = timeout
        self._recursion_limit = recursion_limit
        self._compare = require_comparison(compare)
        self._extract = extract
        self._function_imports = function_imports
        self._all_or_nothing = all_or_nothing
        self._stop_at_timeout = stop_at_first_timeout
        self._on_inconclusive = on_inconclusive
        self._runtime = runtime
        self._lock = threading.Lock()  # guards _own
        self._own: Executor | None = None
        self._said: set[str] = set()
        os.register_at_fork(after_in_child=functools.partial(_start_anew, weakref.ref(self)))

    def __call__(
        self,
        data_source: Any = None,
        solution_str: str = "",
        ground_truth: Any = None,
        extra_info: Any = None,
        **ignored: Any,
    ) -> dict[str, float]:
        """Return {"score": ..., "acc": 1.0 if all cases pass, "infra_error": 0.0}."""
        (score,) = self.batch([data_source], [solution_str], [ground_truth])
        return score

    def batch(
        self,
        data_sources: Any = None,
        solution_strs: Sequence[str] = (),
        ground_truths: Sequence[Any] = (),
        extra_infos: Any = None,
        **ignored: Any,
    ) -> list[dict[str, float]]:
        """The same for many answers at once, as verl's batch reward manager asks for them."""
        if len(solution_strs) != len(ground_truths):
            raise ValueError(
                f"{len(solution_strs)} solution_strs, but {len(ground_truths)} ground_truths"
            )
        codes = [self._extract(text) for text in solution_strs]
        wanted: dict[int, tuple[str | None, Reading | Unreadable]] = {}
        for number, (code, truth) in enumerate(zip(codes, ground_truths, strict=True)):
            read = functools.partial(read_value, truth, code or "", compare=self._compare)
            wanted[number] = (code, attempt(read))
        judged = self._judge(wanted)
        again = {number: wanted[number] for number, it in judged.items() if _is_inconclusive(it)}
        judged.update(self._judge(again))
        warn_of_rows(judged, self._said, ("ground_truth",))
        warn_of_packages([it.verdict for it in judged.values() if it.verdict], self._said)
        return [self._score(it) for it in judged.values()]

    def close(self) -> None:
        """Close the pool, if it is its own; the next call makes another. Idempotent."""
        with self._lock:
            pool, self._own = self._own, None
        if pool is not None:
            pool.close()

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _pool(self) -> Executor:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None:
                if self._url is not None:
                    self._own = connect(self._url)
                else:
                    usual = {} if self._arguments.get("packages") else {"preload": MODULES}
                    self._own = Pool(**{**usual, **self._arguments})
            return self._own

    def _judge(
        self, wanted: Mapping[int, tuple[str | None, Reading | Unreadable]]
    ) -> dict[int, Judged]:
        if not wanted:
            return {}
        judged = judge_readings(
            self._pool(),
            wanted.values(),
            timeout=self._timeout,
            recursion_limit=self._recursion_limit,
            runtime=self._runtime,
            stop_at_first_failure=self._all_or_nothing,
            imports=self._function_imports,
            stop_at_first_timeout=self._stop_at_timeout,
        )
        return dict(zip(wanted, judged, strict=True))

    def _score(self, judged: Judged) -> dict[str, float]:
        verdict = judged.verdict
        if verdict is None and judged.can_be_judged:
            return {"score": 0.0, "acc": 0.0, "infra_error": 0.0}  # there was no code
        if verdict is None or not verdict.conclusive:
            if self._on_inconclusive is None:
                raise Inconclusive(verdict, judged.why)
            return {"score": float(self._on_inconclusive), "acc": 0.0, "infra_error": 1.0}
        passed = float(verdict.passed)
        score = passed if self._all_or_nothing else verdict.score
        return {"score": score, "acc": passed, "infra_error": 0.0}


def _is_inconclusive(judged: Judged) -> bool:
    return judged.verdict is not None and not judged.verdict.conclusive


def _start_anew(scorer: "weakref.ref[Scorer]") -> None:
    """In a forked child: a pool belongs to the process that made it, and the lock may be held by
    a thread that is not here.
    """
    here = scorer()
    if here is not None:
        here._lock = threading.Lock()
        here._own = None


class _Scorers:
    """The scorers of this process, one for each set of options that it was asked with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _by_options; nothing is waited for under it
        self._by_options: dict[str, Scorer] = {}

    def of(self, options: Mapping[str, Any]) -> Scorer:
        key = json.dumps(options, sort_keys=True, default=_plain)
        with self._lock:
            scorer = self._by_options.get(key)
            if scorer is None:
                scorer = self._by_options[key] = Scorer(**options)
            return scorer

    def close(self) -> None:
        with self._lock:
            scorers = list(self._by_options.values())
            self._by_options.clear()
        for scorer in scorers:
            scorer.close()


_scorers = _Scorers()
"""verl knows functions by module and name: nothing else could hold the pool from call to call. It
is made by the first call, and closed by `close`, or when the process ends."""


def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    pool: Mapping[str, Any] | str | None = None,
    timeout: float | None = None,
    recursion_limit: int | None = RECURSION_LIMIT,
    compare: str | None = None,
    function_imports: str = FUNCTION_IMPORTS,
    all_or_nothing: bool = False,
    stop_at_first_timeout: bool = True,
    on_inconclusive: float | None = None,
    runtime: str | None = None,
    **ignored: Any,
) -> dict[str, float]:
    """Return {"score": ..., "acc": 1.0 if all cases pass, "infra_error": 0.0} for an answer.

    ground_truth: a dict, a list, or text of one; see `pool.rows.read_value`. Options as for
        `Scorer`; those that are not known are left to others, since verl adds some. Calls with the
        same options share a pool.
    """
    options = {
        "pool": pool,
        "timeout": timeout,
        "recursion_limit": recursion_limit,
        "compare": compare,
        "function_imports": function_imports,
        "all_or_nothing": all_or_nothing,
        "stop_at_first_timeout": stop_at_first_timeout,
        "on_inconclusive": on_inconclusive,
        "runtime": runtime,
    }
    return _scorers.of(options)(data_source, solution_str, ground_truth)


async def acompute_score(
    data_source: Any, solution_str: str, ground_truth: Any, extra_info: Any = None, **options: Any
) -> dict[str, float]:
    """`compute_score` for verl's reward loop, which awaits it, many at once."""
    return await in_own_thread(
        "reward",
        functools.partial(
            compute_score, data_source, solution_str, ground_truth, extra_info, **options
        ),
    )


def compute_scores(
    data_sources: Any,
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Any = None,
    *,
    pool: Mapping[str, Any] | str | None = None,
    timeout: float | None = None,
    recursion_limit: int | None = RECURSION_LIMIT,
    compare: str | None = None,
    function_imports: str = FUNCTION_IMPORTS,
    all_or_nothing: bool = False,
    stop_at_first_timeout: bool = True,
    on_inconclusive: float | None = None,
    runtime: str | None = None,
    **ignored: Any,
) -> list[dict[str, float]]:
    """`compute_score` for verl's batch reward manager: all answers are judged side by side."""
    options = {
        "pool": pool,
        "timeout": timeout,
        "recursion_limit": recursion_limit,
        "compare": compare,
        "function_imports": function_imports,
        "all_or_nothing": all_or_nothing,
        "stop_at_first_timeout": stop_at_first_timeout,
        "on_inconclusive": on_inconclusive,
        "runtime": runtime,
    }
    return _scorers.of(options).batch(data_sources, solution_strs, ground_truths)


def close() -> None:
    """Close the pools of this process; the next call makes another."""
    _scorers.close()


def _plain(value: Any) -> Any:
    """What a configuration has in place of dicts and lists, as JSON knows them; and limits."""
    if isinstance(value, Limits):
        return dataclasses.asdict(value)
    return dict(value) if isinstance(value, Mapping) else list(value)
