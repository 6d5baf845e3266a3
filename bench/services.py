"""A service's calls: through Ray, beside TorchRL's own executor, and what they cost over a pool.

    python -m bench.services [--rounds N]

Two executors of eight workers or interpreters each are actors of one Ray: ours, which gives every
program a fresh and confined process, and TorchRL's, which gives it neither. The same programs are
called with 1, 8, 32 and 128 calls in flight; ours also in batches (`execute_many`), as a local
service without Ray, and as a pool of this process, which shows what the way to a service costs.
Writes bench/results/services.json.
"""

import argparse
import collections
import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rich.console import Console

from interpreter_pool import Pool, PythonExecutorService
from interpreter_pool.registry import RayService, ServiceBase, get_services

from .harness import Alternative, Samples, interleave, ratios
from .results import Aim, Measurement, machine, show, write

SIZE = 8
AT_ONCE = 2 * SIZE
ONE_LINE = ("print(sum(range(1000)))", "499500\n")
TEN_LINES = ("for n in range(10): print(n)", "".join(f"{n}\n" for n in range(10)))
"""Programs and what they print."""
CASES = (
    ("1 call in flight", 1, ONE_LINE),
    ("8 calls in flight", 8, ONE_LINE),
    ("32 calls in flight", 32, ONE_LINE),
    ("128 calls in flight", 128, ONE_LINE),
    ("8 calls in flight, ten lines printed", 8, TEN_LINES),
)
BATCH = 128
DURATION_S = 0.7
BUDGET_S = 75.0
THEIRS = "TorchRL's service, Ray"
OURS = "our service, Ray"

Submit = Callable[[], Any]
Wait = Callable[[Any], Any]


def check(result: dict[str, Any], printed: str) -> None:
    if not result["success"] or result["stdout"] != printed:
        raise RuntimeError(f"a call failed: {result}")


class Caller:
    """Keeps calls in flight; tells how many ended in a second, and how long one took.

    submit: makes a call of `programs` programs; wait: gives their results, of which each must
        have `printed` that.
    """

    def __init__(
        self, submit: Submit, wait: Wait, printed: str, in_flight: int, programs: int = 1
    ) -> None:
        self._submit = submit
        self._wait = wait
        self._printed = printed
        self._in_flight = in_flight
        self._programs = programs
        self.latencies_ms: list[float] = []
        """Of each sample the median: from a call's submission to its result."""

    def rate(self) -> float:
        pending: collections.deque[tuple[float, Any]] = collections.deque()
        began = time.perf_counter()
        ends_at = began + DURATION_S
        took_ms = []
        for _ in range(self._in_flight):
            pending.append((time.perf_counter(), self._submit()))
        while pending:
            at, call = pending.popleft()
            results = self._wait(call)
            took_ms.append((time.perf_counter() - at) * 1e3)
            for result in results:
                check(result, self._printed)
            if time.perf_counter() < ends_at:
                pending.append((time.perf_counter(), self._submit()))
        self.latencies_ms.append(statistics.median(took_ms))
        return self._programs * len(took_ms) / (time.perf_counter() - began)


@contextlib.contextmanager
def theirs() -> Iterator[Any]:
    """TorchRL's own service as an actor, without anything of ours."""
    import ray
    from torchrl.envs.llm.transforms import PythonExecutorService as Theirs

    actor = ray.remote(Theirs).options(num_cpus=0, max_concurrency=AT_ONCE).remote(SIZE, 10.0)
    ray.get(actor.__ray_ready__.remote(), timeout=120)
    try:
        yield actor
    finally:
        ray.get(actor.cleanup.remote(), timeout=60)
        ray.kill(actor)


def alternatives(
    ray_services: RayService,
    local_services: ServiceBase,
    pool: Pool,
    their_actor: Any,
    n: int,
    program: tuple[str, str],
) -> dict[str, tuple[str, Caller]]:
    """By name what it is, and its caller, with `n` calls of a program in flight."""
    code, printed = program

    def service(services: ServiceBase, handle: Any) -> Caller:
        submit = partial(handle.execute.remote, code)
        return Caller(submit, lambda ref: [services.result(ref, 60)], printed, n)

    ours, local = ray_services["ours"], local_services["ours"]
    found = {
        THEIRS: ("unconfined, one process for all programs", service(ray_services, their_actor)),
        OURS: ("a fresh, confined process each", service(ray_services, ours)),
        "our service, local": ("the same without Ray", service(local_services, local)),
        "our pool": (
            "the same without a service",
            Caller(lambda: pool.submit(code), lambda run: [run.result(60).to_dict()], printed, n),
        ),
    }
    if n == BATCH:
        submit = partial(ours.execute_many.remote, [code] * BATCH)
        wait = partial(ray_services.result, timeout=60)
        found[f"our service, Ray, batches of {BATCH}"] = (
            "execute_many, one call after the other",
            Caller(submit, wait, printed, 1, BATCH),
        )
    return found


def measure(make: Callable[..., dict[str, tuple[str, Caller]]], rounds: int) -> list[Measurement]:
    measured = []
    for name, n, program in CASES:
        callers = make(n, program)
        compared = [
            Alternative(name, about, caller.rate) for name, (about, caller) in callers.items()
        ]
        samples = interleave(compared, rounds=rounds, warm_up=1, budget_s=BUDGET_S)
        took: Samples = {
            each: caller.latencies_ms[-len(samples[each]) :]
            for each, (_, caller) in callers.items()
        }
        measured.append(Measurement(name, "programs/s", THEIRS, compared, samples))
        measured.append(Measurement(f"{name}, latency", "ms a call", THEIRS, compared, took))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.services", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    facts = {"machine": machine(), "size": SIZE, "max_concurrency": AT_ONCE}
    namespace = f"bench-{os.getpid()}"
    config = {"address": "local", "num_cpus": SIZE, "log_to_driver": False}
    with contextlib.ExitStack() as stack:
        ray_services = stack.enter_context(
            get_services("ray", namespace=namespace, ray_init_config=config)
        )
        local_services = stack.enter_context(get_services("local", namespace=namespace))
        assert isinstance(ray_services, RayService)
        ray_services.register(
            "ours", PythonExecutorService, SIZE, num_cpus=0, max_concurrency=AT_ONCE
        )
        local_services.register("ours", PythonExecutorService, SIZE, max_concurrency=AT_ONCE)
        pool = stack.enter_context(Pool(SIZE))
        their_actor = stack.enter_context(theirs())
        measurements = measure(
            partial(alternatives, ray_services, local_services, pool, their_actor), rounds
        )
    aims = [
        Aim(f"{each.name}: ours / TorchRL's", 2.5, True, ratios(each.samples, THEIRS)[OURS])
        for each in measurements
        if each.unit == "programs/s" and each.name.startswith("8 ")
    ]
    show(measurements, aims)
    for line in write("services", facts, measurements, aims):
        Console().print(line)


if __name__ == "__main__":
    main()
