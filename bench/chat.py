"""One step of a batch of chat environments, beside TorchRL's own transform.

    python -m bench.chat [--rounds N]

Every environment's model answers with one block, `print(n)`; what is timed is `env.step`, TorchRL's
own share included (which "no tool" shows). Services have 8 workers, on Ray. Ours runs every block
in a fresh, confined process, or in a confined session of its environment's. Writes
bench/results/chat.json.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

from .harness import Alternative, Summary, interleave, ratios
from .results import Aim, Measurement, machine, show, write

SIZES = (1, 32, 128)
WORKERS = 8
BUDGET_S = 90.0
AIMS = {"their service": ("our service", 15.0), "their runs": ("our runs", 9.0)}
"""At 128 environments: what theirs takes, as a multiple of ours."""
PERSISTENT_AIM = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chat", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore")  # TorchRL's and Ray's
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(
        "local",
        num_cpus=32,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    try:
        measurements, aims = _measure(rounds)
    finally:
        ray.shutdown()
    show(measurements, aims)
    for line in write("chat", {"machine": machine()}, measurements, aims):
        Console().print(line)


def _measure(rounds: int) -> tuple[list[Measurement], list[Aim]]:
    import torchrl.envs.llm.transforms as theirs
    from torchrl.services import get_services as get_their_services

    from interpreter_pool import PythonExecutorService, get_services
    from interpreter_pool.transforms import PythonInterpreter

    options: dict[str, Any] = {"num_cpus": WORKERS, "max_concurrency": WORKERS}
    their_services = get_their_services(backend="ray", namespace="theirs")
    their_services.register(
        "python_executor", theirs.PythonExecutorService, pool_size=WORKERS, **options
    )
    services = get_services(backend="ray", namespace="ours")
    services.register("python_executor", PythonExecutorService, pool_size=WORKERS, **options)
    kinds: dict[str, tuple[str, Callable[[], Any]]] = {
        "no tool": ("TorchRL's step alone", lambda: None),
        "our runs": ("fresh runs on a pool of the process", PythonInterpreter),
        "our sessions": ("a session each", partial(PythonInterpreter, persistent=True)),
        "our service": (
            "fresh runs on a service",
            partial(PythonInterpreter, services="ray", namespace="ours"),
        ),
        "our service's sessions": (
            "a session each, on a service",
            partial(PythonInterpreter, services="ray", namespace="ours", persistent=True),
        ),
        "their runs": ("a temporary process each", theirs.PythonInterpreter),
        "their processes": (
            "a process of each environment's own",
            partial(theirs.PythonInterpreter, persistent=True),
        ),
        "their service": (
            "8 interpreters on a service",
            partial(theirs.PythonInterpreter, services="ray", namespace="theirs"),
        ),
    }
    measurements, aims = [], []
    for size in SIZES:
        made = {name: make() for name, (_, make) in kinds.items()}
        found = [
            Alternative(name, about, _stepper(made[name], size))
            for name, (about, _) in kinds.items()
        ]
        samples = interleave(found, rounds=rounds, warm_up=1, budget_s=BUDGET_S)
        measurements.append(Measurement(f"step-{size}", "ms", "our runs", found, samples))
        if size == SIZES[-1]:
            pairs = [*((a, *b) for a, b in AIMS.items())]
            pairs.append(("their processes", "our sessions", PERSISTENT_AIM))
            for slow, fast, least in pairs:
                ratio: Summary = ratios(samples, fast)[slow]
                aims.append(Aim(f"{slow} / {fast}, {size} environments", least, True, ratio))
        for transform in made.values():
            if transform is not None:
                transform.close()
    services.reset()
    their_services.reset()
    return measurements, aims


def _stepper(transform: Any, size: int) -> Callable[[], float]:
    """Return what makes a step of `size` environments and returns its milliseconds."""
    from tensordict import TensorDict, lazy_stack, set_list_to_stack
    from torchrl.data.llm import History
    from torchrl.envs.llm import ChatEnv

    set_list_to_stack(True).set()
    env = ChatEnv(batch_size=(size,), input_mode="history")
    if transform is not None:
        env = env.append_transform(transform)
    state = env.reset(TensorDict({"query": ["Count."] * size}, batch_size=(size,)))

    def answer(number: int) -> Any:
        text = f"So:\n```python\nprint({number})\n```"
        return lazy_stack([History(role="assistant", content=text)])

    answers = lazy_stack([answer(number) for number in range(size)])
    full = state["history"].prompt.extend(answers, dim=-1, inplace=False)

    def step() -> float:
        ready = state.clone()
        ready["history"].full = full.clone()
        began = time.perf_counter()
        after = env.step(ready)["next"]
        took_ms = (time.perf_counter() - began) * 1e3
        if transform is not None:
            last = after["history"].prompt[size - 1, -1].content
            if f"successfully:\n{size - 1}" not in last:
                raise RuntimeError(f"a wrong answer has no speed: {last!r}")
        return took_ms

    return step


if __name__ == "__main__":
    main()
