"""`CodeReward`: a TorchRL transform that judges the program in a model's answer."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase, is_non_tensor
from torchrl.data import Composite, Unbounded
from torchrl.envs import Transform

from pool import Pool, Verdict
from sandbox import Limits

from .cases import cases_from_row
from .executors import LocalPool
from .rewards import last_block

VERDICT = "verdict"
"""Where what was found stands in the tensordict."""


class CodeReward(Transform):
    """Judges the last block of Python in every environment's answer, all of a batch at once. For
    `ChatEnv` in history mode; appended before or after `PythonInterpreter`.

    cases_key: where each environment's cases stand, in the step's tensordict or its root: what
        `cases_from_row` takes as `cases` (a list of cases or of their fields, or JSON of it). An
        environment without any gets `inconclusive`.
    reward_key: where the reward is written: the share of cases passed, from 0 to 1; 0 without code.
    inconclusive: the reward where nothing can be said of the program: after a failure of ours,
        where a test fails by itself, or without cases. NaN by default, so that a loss that forgets
        the mask shows it.
    all_or_nothing: 1 if all cases pass, else 0.
    pool: to judge on; who closes it is who made it. None: one of this process, made when it is
        first used, with `limits`, and closed by `close`.
    timeout, limits, stop_at_first_failure: as for `Pool.judge`.

    Also writes, with a last dimension of 1: ("verdict", "passed"), ("verdict", "score") and
    ("verdict", "infra_error"), true wherever the reward is `inconclusive`.
    """

    def __init__(
        self,
        pool: Pool | None = None,
        *,
        cases_key: str = "cases",
        reward_key: str = "reward",
        inconclusive: float = math.nan,
        all_or_nothing: bool = False,
        timeout: float | None = None,
        limits: Limits | None = None,
        stop_at_first_failure: bool = False,
    ) -> None:
        super().__init__()
        if pool is not None and not isinstance(pool, Pool):
            raise TypeError(f"pool must be a pool.Pool or None, not {pool!r}")
        self._settings: dict[str, Any] = {
            "cases_key": cases_key,
            "reward_key": reward_key,
            "inconclusive": inconclusive,
            "all_or_nothing": all_or_nothing,
            "timeout": timeout,
            "limits": limits,
            "stop_at_first_failure": stop_at_first_failure,
        }
        self._given = pool
        self._own = LocalPool(self._make_pool)

    def _make_pool(self) -> Pool:
        return Pool(limits=self._settings["limits"])

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        full = tensordict["history"].full
        answers = list(full.reshape(-1, full.shape[-1])[..., -1].content)
        rows = self._rows(tensordict, next_tensordict, len(answers))
        verdicts = self._judge(answers, rows)
        shape = (*next_tensordict.batch_size, 1)

        def column(values: list[Any], dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=next_tensordict.device).view(shape)

        next_tensordict.set(
            self._settings["reward_key"], column(list(map(self._reward, verdicts)), torch.float32)
        )
        found: dict[str, tuple[list[Any], torch.dtype]] = {
            "passed": ([v is not None and v.passed for v in verdicts], torch.bool),
            "score": ([0.0 if v is None else v.score for v in verdicts], torch.float32),
            "infra_error": ([v is None or not v.conclusive for v in verdicts], torch.bool),
        }
        report = {name: column(values, dtype) for name, (values, dtype) in found.items()}
        return next_tensordict.set(VERDICT, report)

    def _rows(
        self, tensordict: TensorDictBase, next_tensordict: TensorDictBase, count: int
    ) -> list[Any]:
        """What stands under the cases' key, for each environment."""
        key = self._settings["cases_key"]
        for each in (next_tensordict, tensordict):
            value = each.get(key)
            if value is not None:
                rows = _flat(value.tolist() if is_non_tensor(value) else value, each.batch_dims)
                if len(rows) != count:
                    raise ValueError(f"{key!r} has {len(rows)} entries for {count} environments")
                return rows
        return [None] * count

    def _judge(self, answers: Sequence[Any], rows: Sequence[Any]) -> list[Verdict | None]:
        """A verdict for each environment; None for those without cases."""
        codes = [last_block(text) if isinstance(text, str) else None for text in answers]
        items = []
        for at, (code, row) in enumerate(zip(codes, rows, strict=True)):
            try:
                # No code is a program that does nothing: it passes no case.
                items.append((code or "", cases_from_row({"cases": row}, code or "")))
            except (TypeError, ValueError) as error:
                raise type(error)(f"environment {at}: {error}") from error
        wanted = [at for at, (_, cases) in enumerate(items) if cases]
        judged = (self._given or self._own.get()).judge_many(
            [(code, cases or ()) for code, cases in items if cases],
            timeout=self._settings["timeout"],
            limits=self._settings["limits"],
            stop_at_first_failure=self._settings["stop_at_first_failure"]
            or self._settings["all_or_nothing"],
        )
        found = dict(zip(wanted, judged, strict=True))
        return [found.get(at) for at in range(len(items))]

    def _reward(self, verdict: Verdict | None) -> float:
        if verdict is None or not verdict.conclusive:
            return float(self._settings["inconclusive"])
        return float(verdict.passed) if self._settings["all_or_nothing"] else verdict.score

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        shape = (*reward_spec.shape, 1)
        reward_spec[self._settings["reward_key"]] = Unbounded(shape=shape, dtype=torch.float32)
        return reward_spec

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        shape = (*observation_spec.shape, 1)
        columns = {
            "passed": Unbounded(shape=shape, dtype=torch.bool),
            "score": Unbounded(shape=shape, dtype=torch.float32),
            "infra_error": Unbounded(shape=shape, dtype=torch.bool),
        }
        observation_spec[VERDICT] = Composite(columns, shape=observation_spec.shape)
        return observation_spec

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        return tensordict_reset.update(
            {
                VERDICT: self.transform_observation_spec(
                    Composite(shape=tensordict_reset.shape)
                ).zero()[VERDICT]
            }
        )

    def close(self) -> None:
        """Close the pool, if it is its own."""
        self._own.close()

    def clone(self) -> "CodeReward":
        """Return one with the same settings, on the same pool if one was given."""
        return type(self)(self._given, **self._settings)

    def __getstate__(self) -> dict[str, Any]:
        if self._given is not None:
            raise TypeError("a CodeReward with a pool given can't be pickled; let it make its own")
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._own = LocalPool(self._make_pool)


def _flat(value: Any, depth: int) -> list[Any]:
    """The entries of lists that are nested `depth` deep; of none, the value itself."""
    if depth == 0:
        return [value]
    return [entry for each in value for entry in _flat(each, depth - 1)]
