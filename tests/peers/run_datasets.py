"""Calibrates the data sets in a folder, and compares with plain Python: `make peers DATASETS=FOLDER`.

FOLDER has files of rows (JSON lines, JSON, parquet; gzip), such as humaneval.jsonl.gz. Each row goes
through as a TRL trainer has it: its `prompt` is dropped, and was copied to `prelude` if it is source.
For each file, prints a JSON object: how many rows pass in plain Python, in a process of their own
without any confinement; how many score 1 here by `CodeRewardFunction`; what `calibrate` keeps and
leaves out, and every row that passes plainly and does not score 1, with the reason.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interpreter_pool import Call, Pool, Stdio
from interpreter_pool.pool import Unreadable, calibrate, read_row, solutions_of
from interpreter_pool.pool.judge.text import difference
from interpreter_pool.pool.rows.calibration import Kind
from interpreter_pool.pool.rows.imports import FUNCTION_IMPORTS
from interpreter_pool.pool.rows.tables import name_of, read_table
from interpreter_pool.transforms import CodeRewardFunction

MOST_BYTES = 1 << 30
PLAIN_S = 60.0
"""What a row may take in plain Python, by the clock."""

COLUMNS = {"leetcodedataset": "completion", "leetcodedataset_nodes": "completion"}
"""Where solutions are, where that is not found by itself: what a model writes."""

PACKAGES = ("numpy", "sortedcontainers")
BATCH = 64


def rows_of(path: Path) -> list[dict[str, Any]]:
    found = read_table(path.name, path.read_bytes(), MOST_BYTES)
    return [dict(row) for row in found if not isinstance(row, Unreadable)]


def as_trl_has_it(row: dict[str, Any]) -> dict[str, Any]:
    """Without `prompt`, which TRL keeps for itself; a task's source is in `prelude` in its place."""
    prompt = row.get("prompt")
    kept = {name: cell for name, cell in row.items() if name != "prompt"}
    if isinstance(prompt, str) and row.get("entry_point") and "prelude" not in row:
        kept["prelude"] = prompt
    return kept


def plain_source(row: dict[str, Any], solution: str) -> str | None:
    """The program that a row's own harness would run, but for streams: ends with status 0 if all
    is well. None: not known of this shape.
    """
    before = FUNCTION_IMPORTS.replace("; ", "\n") + "\n"
    test, name = row.get("test"), row.get("entry_point")
    if isinstance(test, str) and isinstance(name, str) and "def check" in test:
        return f"{before}{row.get('prompt', '')}\n{solution}\n{test}\ncheck({name})\n"
    if isinstance(test, str) and "TestCase" in test:
        return f"{solution}\n{test}\nimport unittest\nunittest.main()\n"
    if row.get("test_list") is not None:
        setup = "\n".join([*(row.get("test_imports") or ()), row.get("test_setup_code") or ""])
        tests = test if isinstance(test, str) else "\n".join(row["test_list"])
        return f"{setup}\n{solution}\n{tests}\n"
    reading = read_row(row, solution)
    if reading.cases and all(isinstance(case, Call) for case in reading.cases):
        calls = [
            f"_got = {case.function}(*{list(case.args)!r}, **{dict(case.kwargs or {})!r})\n"
            f"assert _json(_got) == _json({case.expected!r}) or _json([_got]) == _json({case.expected!r})"
            for case in reading.cases
        ]
        return f"{before}{solution}\nfrom json import dumps as _json\n" + "\n".join(calls) + "\n"
    return None


def run_plainly(source: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes] | None:
    """A process of its own with the recursion limit that graders set; None: it took too long."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "main.py")
        Path(path).write_text(source, encoding="utf-8", errors="surrogatepass")
        start = (
            "import runpy, sys; sys.setrecursionlimit(50000); "
            f"runpy.run_path({path!r}, run_name='__main__')"
        )
        try:
            return subprocess.run(
                [sys.executable, "-c", start],
                input=given,
                capture_output=True,
                timeout=PLAIN_S,
                cwd=folder,
                env={**os.environ, "MPLBACKEND": "Agg"},
            )
        except subprocess.TimeoutExpired:
            return None


def passes_plainly(row: dict[str, Any], solution: str) -> bool | None:
    """Whether a solution passes its row's tests in plain Python; None: no way is known here."""
    try:
        reading = read_row(row, solution)
    except Unreadable:
        return None
    if reading.cases and all(isinstance(case, Stdio) for case in reading.cases):
        for case in reading.cases:
            done = run_plainly(solution, case.input.encode())
            if done is None or done.returncode:
                return False
            if difference(done.stdout, case.expected.encode(), "floats", 1e-6, 1e-6) is not None:
                return False
        return True
    source = plain_source(row, solution)
    if source is None:
        return None
    done = run_plainly(source)
    return done is not None and done.returncode == 0


def rewards(pool: Pool, rows: list[dict[str, Any]], solutions: list[str]) -> list[float | None]:
    """What a trainer gets for the solutions, in batches."""
    reward = CodeRewardFunction(pool)
    found: list[float | None] = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        columns = {name: [row.get(name) for row in part] for name in part[0]}
        answers = [f"```python\n{each}\n```" for each in solutions[start : start + BATCH]]
        try:
            found += reward(None, answers, **columns)
        except ValueError as error:  # no row of the batch can be read
            print(error, file=sys.stderr)
            found += [None] * len(part)
    return found


def measured(pool: Pool, path: Path) -> dict[str, Any]:
    name = path.name.partition(".")[0]
    whole = rows_of(path)
    rows = [as_trl_has_it(row) for row in whole]
    solutions = [(solutions_of(row, COLUMNS.get(name)) or [""])[0] for row in whole]
    with ThreadPoolExecutor(2) as executor:
        plain = list(executor.map(passes_plainly, whole, solutions))
    for row, solution in zip(rows, solutions, strict=True):
        row["own_solution"] = solution
    began = time.monotonic()
    calibration = calibrate(pool, rows, solution="own_solution")
    took_s = time.monotonic() - began
    for row in rows:
        del row["own_solution"]
    scores = rewards(pool, rows, solutions)
    missed = [
        {"row": row, "name": name_of(whole[row]), "kind": str(report.kind), "why": report.why}
        for row, report in enumerate(calibration.rows)
        if plain[row] and scores[row] != 1.0
    ]
    counted = [kind for kind in calibration.rows if kind.kind not in (Kind.UNJUDGED,)]
    return {
        "set": name,
        "rows": len(rows),
        "shapes": dict(Counter(row.shape for row in calibration.rows)),
        "pass_plainly": sum(each is True for each in plain),
        "no_plain_way": sum(each is None for each in plain),
        "score_1": sum(score == 1.0 for score in scores),
        "score_none": sum(score is None for score in scores),
        "score_1_of_those": sum(
            score == 1.0 for each, score in zip(plain, scores, strict=True) if each
        ),
        "kept": len(calibration.keep),
        "counts": calibration.counts,
        "judged": len(counted),
        "cheats": dict(Counter(cheat for row in calibration.rows for cheat in row.cheats)),
        "took_s": round(took_s, 1),
        "missed": missed,
        "left_out": [
            {"name": each.name, "kind": str(each.kind), "why": each.why, "cheats": each.cheats}
            for each in calibration.left_out
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=None, help="names of sets")
    parser.add_argument("--packages", nargs="*", default=list(PACKAGES))
    given = parser.parse_args()
    paths = [
        each
        for each in sorted(given.folder.iterdir())
        if ".json" in each.name or ".parquet" in each.name
    ]
    with Pool(2, packages=tuple(given.packages)) as pool:
        about = {
            "version": version("interpreter-pool"),
            "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d"),
            "tier": pool.tier,
            "packages": given.packages,
        }
        for path in paths:
            if given.only is None or path.name.partition(".")[0] in given.only:
                print(json.dumps({**measured(pool, path), **about}), flush=True)


if __name__ == "__main__":
    main()
