"""TorchRL: a reward for the code in a model's last answer. Needs torchrl."""

import math
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.utils import NestedKey
from torchrl.data import Binary, Composite, TensorSpec, Unbounded
from torchrl.envs import Transform

from ..pool import Executor, Pool
from ..pool.executor import require_executor
from ..pool.program import RECURSION_LIMIT
from ..pool.rows import read_value
from ..sandbox import Limits
from .answers import answer_code
from .executors import PerProcess
from .rewards import CodeRewardFunction, Extract


class CodeReward(Transform):
    """Judges the last answer in each environment by cases that the tensordict carries. For a
    `ChatEnv` in history mode; a batch, of any dimensions, is judged at once.

    pool: a `Pool` or what `connect` returns, to judge on; who closes it is who made it. None: a
        pool of the process that uses it, with `limits`, made when it is first needed and closed by
        `close`; then, and with what `connect` returns, this can be pickled.
    cases_key: where the cases of each environment are: a list of cases or of their fields, a ground
        truth of verl's, or JSON of either, which suits a tensordict best. None: no reward.
    reward_key: the share of cases passed, 0 without code; of shape (*batch, 1).
    infra_error_key: True where there is no reward, for a failure of ours, a test that fails by
        itself, or cases that are missing or can't be read: a mask of the same shape.
    inconclusive: the reward there; nan, so that what was not masked is noticed.
    extract, timeout, limits, recursion_limit, all_or_nothing, stop_at_first_timeout: as for
        `CodeRewardFunction`. runtime: the name of one of the pool's.
    """

    def __init__(
        self,
        pool: Executor | None = None,
        *,
        cases_key: NestedKey = "cases",
        reward_key: NestedKey = "reward",
        infra_error_key: NestedKey = "infra_error",
        inconclusive: float = math.nan,
        extract: Extract = answer_code,
        timeout: float | None = None,
        limits: Limits | None = None,
        recursion_limit: int | None = RECURSION_LIMIT,
        all_or_nothing: bool = False,
        stop_at_first_timeout: bool = True,
        runtime: str | None = None,
    ) -> None:
        super().__init__(
            in_keys=[("history", "full"), cases_key], out_keys=[reward_key, infra_error_key]
        )
        if pool is not None:
            require_executor("pool", pool, ", or None")
            pool.runner.require_runtime(runtime)
        elif runtime is not None:
            raise ValueError(f"runtime={runtime!r:.80}: give a pool that has it")
        self._cases_key = cases_key
        self._reward_key = reward_key
        self._infra_error_key = infra_error_key
        self._inconclusive = inconclusive
        self._options: dict[str, Any] = {
            "extract": extract,
            "timeout": timeout,
            "limits": limits,
            "recursion_limit": recursion_limit,
            "all_or_nothing": all_or_nothing,
            "stop_at_first_timeout": stop_at_first_timeout,
            "runtime": runtime,
        }
        self._said: set[str] = set()
        self._given = pool
        self._own = PerProcess(self._make_pool, Pool.close)

    def _make_pool(self) -> Pool:
        return Pool(limits=self._options["limits"])

    def _judge(self, texts: list[str], cases: list[Any]) -> list[float | None]:
        judge = CodeRewardFunction(
            self._given or self._own.get(),
            cases=lambda row, code: read_value(row["cases"], code),
            **self._options,
        )
        judge.said = self._said
        rewards: list[float | None] = judge(None, texts, cases=cases)
        return rewards

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        if ("history", "full") not in tensordict.keys(include_nested=True):
            raise RuntimeError("CodeReward must be used with a ChatEnv in history mode")
        size = tensordict.batch_size
        answers = _listed(tensordict["history"].full[..., -1].content, size)
        holder = next_tensordict if self._cases_key in next_tensordict.keys(True) else tensordict
        cases = _listed(holder.get(self._cases_key), size)
        texts = [answer if isinstance(answer, str) else "" for answer in answers]
        rewards = self._judge(texts, cases)
        lost = [reward is None for reward in rewards]
        values = [self._inconclusive if reward is None else reward for reward in rewards]
        device = next_tensordict.device
        shape = (*size, 1)
        next_tensordict.set(self._reward_key, torch.tensor(values, device=device).view(shape))
        next_tensordict.set(self._infra_error_key, torch.tensor(lost, device=device).view(shape))
        return next_tensordict

    def transform_reward_spec(self, reward_spec: TensorSpec) -> TensorSpec:
        shape = (*self.parent.batch_size, 1)
        reward_spec[self._reward_key] = Unbounded(shape=shape, device=reward_spec.device)
        return reward_spec

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        shape = (*self.parent.batch_size, 1)
        observation_spec[self._infra_error_key] = Binary(
            shape=shape, dtype=torch.bool, device=observation_spec.device
        )
        return observation_spec

    def close(self) -> None:
        """Close the pool, if it is its own; it can be used again."""
        self._own.close()

    def clone(self) -> "CodeReward":
        """Return one with the same settings; on the same pool, if one was given."""
        return type(self)(
            self._given,
            cases_key=self._cases_key,
            reward_key=self._reward_key,
            infra_error_key=self._infra_error_key,
            inconclusive=self._inconclusive,
            **self._options,
        )

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._given, Pool):
            raise TypeError(
                "a CodeReward with a Pool given can't be pickled; let it make its own, or give it "
                "what connect(url) returns"
            )
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._own = PerProcess(self._make_pool, Pool.close)


def _listed(values: Any, size: torch.Size) -> list[Any]:
    """One value for each environment, in the order of a flattened batch."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not size or not isinstance(values, list):
        return [values] * size.numel()
    flat: list[Any] = values
    for _ in size[1:]:
        flat = [each for part in flat for each in part]
    if len(flat) != size.numel():
        raise ValueError(f"{size.numel()} environments, but values for {len(flat)}")
    return flat
