"""`PythonInterpreter`: a TorchRL transform that runs the code in a model's answers."""

import types
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from tensordict import NonTensorData, TensorDictBase, lazy_stack
from torchrl.data import Composite, NonTensor, Unbounded
from torchrl.envs.llm.transforms.tools import ToolTransformBase

from ..pool import Executor, PythonExecutorService, connect
from ..pool.executor import require_executor
from ..pool.remote.client import RemoteExecutor
from ..registry import get_services
from ..sandbox import Limits, PolicyError, SandboxError
from ..sandbox.host.cpus import usable_cpus
from ..sandbox.limits import require_limit
from .executors import OnExecutor, PerProcess, Runs, ServiceFailed, Sessions
from .extract import extract_code
from .render import MOST_CHARACTERS, render_result, require_max_chars

RESULTS = "python"
"""Where a step's outcomes stand in the tensordict."""

_TIMEOUT_S = 10.0
"""TorchRL's default, which is in its signature."""

_BACKENDS = ("ray", "local", "monarch")

_SERVICE_PATIENCE_S = 60.0
"""For a service to answer, besides the time that its runs may take."""

_NUMBERS: dict[str, torch.dtype] = {
    "runs": torch.int64,
    "ok": torch.bool,
    "infra_error": torch.bool,
    "exit_code": torch.int64,
    "wall_s": torch.float32,
    "cpu_s": torch.float32,
    "queue_s": torch.float32,
    "peak_memory_bytes": torch.int64,
}


class PythonInterpreter(ToolTransformBase):
    """Runs the Python blocks of the last answer of every environment, and puts what came of them
    into the conversation, as TorchRL's transform of that name does. For `ChatEnv` in history mode.

    tokenizer: kept, not used. tool_name: the role of the replies.
    persistent: every environment has an interpreter whose state persists from block to block and
        step to step, until it is reset; else every block is a fresh run.
    timeout: wall-clock seconds for a block, short for limits.wall_s; None, or where it is left as
        it is while there are `limits`: as they say. A service has its own: give it here as well,
        for how long the service is waited for goes by it.
    services: "ray", "local" or "monarch": run on the service `service_name` of that registry, in
        `namespace` (None: the default one); None: on a pool of this process, made when it is first
        used.
    limits, packages, preload, tier, pool_size: of that pool, as for `pool.Pool`; a service has its
        own.
    executor: a `Pool`, what `connect` returns, or its URL ("ray://NAME"): run there instead.
    which_blocks: "all", "first" or "last" of an answer's. max_output_chars: the longest reply.

    The blocks of a batch run at the same time, those of one environment in their order; a service
    gets one call for a batch. A step also writes, for each environment, under ("python", ...) with
    a last dimension of 1: `runs` (blocks run), `ok` (all ended well), `infra_error` (a failure of
    ours, which says nothing about the code: leave the sample out of a loss), `exit_code` (of the
    last block; -1: it has none), `wall_s`, `cpu_s`, `queue_s` (sums), `peak_memory_bytes` (the
    largest; 0 where the host can't tell); and `reason`, text, of the last block that did not end
    well, else "ok", or "" where nothing was run. The reply to an infra error says that the tool was
    unavailable.

    Raises ValueError "Invalid services backend", RuntimeError "Failed to get Ray service" (or
    local). Content that is no text has no blocks.
    """

    use_step = True

    def __init__(
        self,
        tokenizer: Any = None,
        tool_name: str = "tool",
        persistent: bool = False,
        timeout: float | None = _TIMEOUT_S,
        services: str | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        *,
        limits: Limits | None = None,
        packages: Sequence[str] = (),
        preload: Sequence[str] | None = None,
        tier: str = "auto",
        pool_size: int | None = None,
        executor: Executor | str | None = None,
        which_blocks: Literal["all", "first", "last"] = "all",
        max_output_chars: int | None = MOST_CHARACTERS,
    ) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {
            "tokenizer": tokenizer,
            "tool_name": tool_name,
            "persistent": persistent,
            "timeout": timeout,
            "services": services,
            "service_name": service_name,
            "namespace": namespace,
            "limits": limits,
            "packages": tuple(packages),
            "preload": None if preload is None else tuple(preload),
            "tier": tier,
            "pool_size": pool_size,
            "executor": executor,
            "which_blocks": which_blocks,
            "max_output_chars": max_output_chars,
        }
        # Mistakes show here, and not when the first block is run.
        self._limits = limits or Limits()
        if timeout is not None and (limits is None or timeout != _TIMEOUT_S):
            require_limit("timeout", timeout)
            self._limits = self._limits.replace(wall_s=timeout)
        extract_code("", which=which_blocks)
        require_max_chars("max_output_chars", max_output_chars)
        self.tokenizer = tokenizer
        self.tool_role = tool_name
        self.persistent = persistent
        self.timeout = self._limits.wall_s
        self.services = services
        self.service_name = service_name
        self.namespace = namespace
        self.python_service: Any = None
        self._connect()

    def _connect(self) -> None:
        """Find the service or the executor, or prepare to make a service in this process."""
        self._own: PerProcess[Any] | None = None
        kind = Sessions if self.persistent else Runs
        executor = self._settings["executor"]
        if executor is not None:
            self._executor = kind(OnExecutor(self._elsewhere(executor)), self._patience_s)
            return
        if self.services is None:
            self._own = PerProcess(self._make_service, PythonExecutorService.cleanup)
            self._executor = kind(self._call_own, self._patience_s)
            return
        if self.services not in _BACKENDS:
            raise ValueError(
                f"Invalid services backend: {self.services!r}. "
                f"Must be {', '.join(map(repr, _BACKENDS))} or None."
            )
        name = self.services.capitalize()
        where = {} if self.namespace is None else {"namespace": self.namespace}
        try:
            self._registry = get_services(backend=self.services, **where)
            self.python_service = self._registry[self.service_name]
        except Exception as error:
            raise RuntimeError(
                f"Failed to get {name} service {self.service_name!r}. "
                f"Make sure the service is registered. Error: {error}"
            ) from error
        self._executor = kind(self._call_shared, self._patience_s)

    def _elsewhere(self, executor: object) -> Callable[[], Executor]:
        """What returns the executor that was given, or, of a URL, this process's client."""
        if self.services is not None:
            raise ValueError("give services or executor, not both")
        if isinstance(executor, str):
            url = executor
            own = self._own = PerProcess(lambda: connect(url), RemoteExecutor.close)
            own.get()  # what is wrong with it shows now
            return own.get
        require_executor("executor", executor, ", or its URL")
        assert isinstance(executor, Executor)
        given = executor
        return lambda: given

    def _make_service(self) -> PythonExecutorService:
        return PythonExecutorService(
            self._settings["pool_size"] or usable_cpus(),
            limits=self._limits,
            packages=self._settings["packages"],
            preload=self._settings["preload"],
            tier=self._settings["tier"],
            session_idle_s=None,  # an environment may wait for its model as long as it takes
        )

    def _call_own(self, method: str, *args: Any, timeout_s: float | None, **options: Any) -> Any:
        assert self._own is not None
        try:
            return getattr(self._own.get(), method)(*args, **options)
        except PolicyError:
            raise  # what was asked for can't be had, ever
        except SandboxError as error:
            raise ServiceFailed(f"the pool failed: {error}") from error

    def _call_shared(self, method: str, *args: Any, timeout_s: float | None, **options: Any) -> Any:
        try:
            ref = getattr(self.python_service, method).remote(*args, **options)
            return self._registry.result(ref, timeout=timeout_s)
        except Exception as error:  # whatever the backend raises, it is not the model's doing
            raise ServiceFailed(f"the service {self.service_name!r} failed: {error}") from error

    def _patience_s(self, blocks: int) -> float | None:
        """How long a service may take for that many blocks, were they to run one by one."""
        return None if self.timeout is None else _SERVICE_PATIENCE_S + self.timeout * blocks

    @property
    def processes(self) -> list[str] | None:
        """The ids of the environments' sessions in this process; None where a service has them."""
        if self.services is not None:
            return None
        return list(self._executor.ids.values()) if isinstance(self._executor, Sessions) else []

    # ---- a batch

    def _process_tensordict(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        history, _ = self._validate_and_extract_history(next_tensordict)
        shape = next_tensordict.batch_size
        # One dimension of environments, and one of messages. (The base class would lose replies
        # in more: what it extends there is a copy.)
        flat = history if len(shape) == 1 else history.reshape(-1, history.shape[-1])
        texts = _texts(flat[..., -1].content, shape.numel())
        blocks = {at: codes for at, text in enumerate(texts) if (codes := self._codes(text))}
        outcomes = self._executor.run(blocks)
        replies = [self._replies(outcomes.get(at)) for at in range(len(texts))]
        answered = {"history": types.SimpleNamespace(prompt=flat)}
        self._inject_results_to_history(flat, replies, answered)
        longer = answered["history"].prompt
        next_tensordict["history"].prompt = (
            longer if len(shape) == 1 else longer.reshape(*shape, longer.shape[-1])
        )
        report = self._report([outcomes.get(at, []) for at in range(len(texts))], next_tensordict)
        return next_tensordict.update(report)

    def _process_batch_item(self, content: str, index: int) -> list[str] | None:
        """One environment's answer; what the base class calls where it goes through them itself."""
        codes = self._codes(content)
        return self._replies(self._executor.run({index: codes})[index]) if codes else None

    def _execute_python_code(self, code: str, i: int) -> dict[str, Any]:
        """Run one block of the environment `i`."""
        return self._executor.run({i: [code]})[i][0]

    def _codes(self, text: object) -> list[str]:
        if not isinstance(text, str):
            return []
        return [block.code for block in extract_code(text, which=self._settings["which_blocks"])]

    def _replies(self, outcomes: list[dict[str, Any]] | None) -> list[str] | None:
        if not outcomes:
            return None
        most = self._settings["max_output_chars"]
        return [
            render_result(outcome, number=number, max_chars=most)
            for number, outcome in enumerate(outcomes, 1)
        ]

    def _report(
        self, outcomes: list[list[dict[str, Any]]], like: TensorDictBase
    ) -> dict[str, dict[str, Any]]:
        rows = [_summary(each) for each in outcomes]
        report: dict[str, Any] = {
            name: torch.tensor([row[name] for row in rows], dtype=dtype, device=like.device).view(
                *like.batch_size, 1
            )
            for name, dtype in _NUMBERS.items()
        }
        reasons = lazy_stack([NonTensorData(row["reason"]) for row in rows])
        report["reason"] = reasons.reshape(like.batch_size)
        return {RESULTS: report}

    # ---- the life of environments

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        wanted = None if tensordict is None else tensordict.get("_reset")
        if wanted is None:
            self._executor.reset()
        else:
            self._executor.reset(wanted.reshape(-1).nonzero().reshape(-1).tolist())
        nothing: list[list[dict[str, Any]]] = [[]] * tensordict_reset.batch_size.numel()
        return tensordict_reset.update(self._report(nothing, tensordict_reset))

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        shape = observation_spec.shape
        numbers = {
            name: Unbounded(shape=(*shape, 1), dtype=dtype, device=observation_spec.device)
            for name, dtype in _NUMBERS.items()
        }
        reason = NonTensor(shape=shape, example_data="", device=observation_spec.device)
        observation_spec[RESULTS] = Composite({**numbers, "reason": reason}, shape=shape)
        return observation_spec

    def close(self) -> None:
        """End what it holds: its sessions, and its pool or client; a service, or an executor that
        was given, stays. It can be used again.
        """
        if self._own is not None and not self._own.is_made:
            return  # what there may be, another process has made
        self._executor.reset()
        if self._own is not None:
            self._own.close()

    def clone(self) -> "PythonInterpreter":
        """Return one with the same settings, and nothing in common."""
        return type(self)(**self._settings)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        for held in ("_executor", "_own", "_registry", "python_service"):
            state.pop(held, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.python_service = None
        self._connect()

    def __del__(self) -> None:
        # Transforms are dropped rather than closed; what is dropped must not keep interpreters.
        if "_executor" in self.__dict__:
            self.close()


def _texts(content: Any, count: int) -> list[Any]:
    """The content of `count` messages; where it is the same in all, TorchRL may give it once."""
    return list(content) if isinstance(content, list) else [content] * count


def _summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """One environment's step, from the outcomes of its blocks."""

    def total(name: str) -> float:
        return sum(each[name] or 0.0 for each in outcomes)

    bad = [each["reason"] for each in outcomes if not each["success"]]
    last = outcomes[-1].get("exit_code") if outcomes else None
    return {
        "runs": len(outcomes),
        "ok": not bad,
        "infra_error": any(each["infra_error"] for each in outcomes),
        "exit_code": -1 if last is None else last,
        "wall_s": total("wall_s"),
        "cpu_s": total("cpu_s"),
        "queue_s": total("queue_s"),
        "peak_memory_bytes": max((each["peak_memory_bytes"] or 0 for each in outcomes), default=0),
        "reason": bad[-1] if bad else "ok" if outcomes else "",
    }
