"""The campaign: `make campaign MINUTES=… SEED=… CORPUS=…`, in slices that go on from a kept corpus.

In turn it fuzzes system calls in every tier, kind of jail and imitated host (`fuzz.py`), drives sessions
with hostile calls (`tests/pool/test_hostile_session_machine.py`) and has jails try to meet
(`tests/security/test_meetings.py`). The folder holds:

- `corpus/`: sequences that brought an answer (a call and its errno) that none had brought before;
- `log.jsonl`: a line for each slice, with its seed, and what was done and seen;
- `findings/`: what did not hold, and the program that showed it;
- `hypothesis/`: what hypothesis keeps of failures.

The exit status is 1 if something did not hold. It prints what all slices in the folder have done.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SLICE_S = 20.0

HANGS_S = 120.0
"""A slice that takes this much longer than it should hangs."""

FUZZED = (
    # host, tier, kind; "": this one
    ("", "namespaces", "run"),
    ("", "landlock", "run"),
    ("", "namespaces", "session"),
    ("", "landlock", "session"),
    ("", "namespaces", "processes"),
    ("ordinary", "namespaces", "run"),
    ("docker-user", "landlock", "run"),
    ("ordinary", "namespaces", "processes"),
    ("docker-root", "landlock", "run"),
    ("ordinary", "namespaces", "session"),
    ("docker-user", "landlock", "session"),
    ("delegated", "landlock", "run"),
    ("", "namespaces", "explained"),
    ("docker-user", "landlock", "explained"),
)
"""Imitated hosts (tests/hosts) have no writable cgroup, but for "delegated"; only root can imitate."""

TESTED = {
    "machine": "tests/pool/test_hostile_session_machine.py",
    "meetings": "tests/security/test_meetings.py",
}

WATCHED = (sys.prefix, sys.base_prefix, "/etc")
"""Folders in which no file may change meanwhile."""


class Folder:
    """What is kept between slices."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for each in ("corpus", "findings"):
            (path / each).mkdir(parents=True, exist_ok=True)
        self.log = path / "log.jsonl"

    def slices(self) -> list[dict[str, Any]]:
        return _lines(self.log)

    def note(self, told: dict[str, Any]) -> None:
        _append(self.log, told)

    def kept(self, name: str) -> list[dict[str, Any]]:
        return _lines(self.path / "corpus" / f"{name}.jsonl")

    def keep(self, name: str, told: dict[str, Any]) -> None:
        _append(self.path / "corpus" / f"{name}.jsonl", told)

    def found(self, name: str, seed: int, what: str, program: str) -> None:
        (self.path / "findings" / f"{name}-{seed}.txt").write_text(what)
        if program:
            (self.path / "findings" / f"{name}-{seed}.py").write_text(program)


def _lines(path: Path) -> list[dict[str, Any]]:
    """What a file of JSON lines holds; the last one may be half written, if its writer was killed."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _append(path: Path, told: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(told) + "\n")


def fuzz(folder: Folder, host: str, tier: str, kind: str, seed: int, seconds: float) -> list[str]:
    """One slice of system calls; return what was wrong."""
    name = f"{host or 'here'}-{tier}-{kind}"
    kept = folder.kept(name)
    told = {
        "tier": tier,
        "kind": kind,
        "seed": seed,
        "seconds": seconds,
        "kept": [each["kept"] for each in kept],
        "known": [pair for each in kept for pair in each["new"]],
    }
    command = [sys.executable, "-m", "campaign.fuzz"]
    if host:
        command = [sys.executable, "-m", "hosts.imitate", host, *command]
    began = time.monotonic()
    output, error, code = _call(command, json.dumps(told), seconds + HANGS_S)
    said = [json.loads(line) for line in output.splitlines() if line.endswith("}")]
    wrong = [] if code == 0 else [f"status {code}: {error[-2000:]}"]
    note: dict[str, Any] = {"slice": name, "seed": seed, "new": 0}
    program = ""
    for each in said:
        if "kept" in each:
            folder.keep(name, each)
            note["new"] += len(each["new"])
        elif "wrong" in each:
            wrong.append(each["wrong"])
            program = each["program"]
        else:
            note |= {key: value for key, value in each.items() if key != "pairs"}
    note |= {"seconds": round(time.monotonic() - began, 1), "wrong": wrong}
    folder.note(note)
    if wrong:
        folder.found(name, seed, "\n".join(wrong), program)
    return wrong


def test(folder: Folder, name: str, seed: int, seconds: float) -> list[str]:
    """One slice of a test that goes on for `seconds`; return what was wrong."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=0", "-m", "soak or not soak",
        f"--hypothesis-seed={seed}", TESTED[name],
    ]  # fmt: skip
    began = time.monotonic()
    output, error, code = _call(
        command,
        "",
        20 * seconds + HANGS_S,
        POOL_CAMPAIGN_S=str(seconds),
        HYPOTHESIS_STORAGE_DIRECTORY=str(folder.path / "hypothesis"),
    )
    wrong = [] if code == 0 else [(output + error)[-20000:]]
    taken = round(time.monotonic() - began, 1)
    folder.note(
        {"slice": name, "seed": seed, "seconds": taken, "wrong": wrong, "said": output[-300:]}
    )
    if wrong:
        folder.found(name, seed, wrong[0], "")
    return wrong


def _call(command: list[str], told: str, timeout_s: float, **more: str) -> tuple[str, str, int]:
    """Run it in a process group of its own; what it wrote, and its status (-9 if it hangs)."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}/tests:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            output, error = child.communicate(told, timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, error = child.communicate()
            error += f"\nit hangs: ended after {timeout_s:.0f} s"
        return output, error, child.returncode


def outside() -> dict[str, tuple[int, ...]]:
    """Files of the host by path, with what a write would change; caches of byte code come and go."""
    found = {}
    for top in WATCHED:
        for path, _, names in os.walk(top):
            if os.path.basename(path) == "__pycache__":
                continue
            for name in names:
                file = os.path.join(path, name)
                try:
                    stat = os.lstat(file)
                except OSError:
                    continue
                found[file] = (stat.st_mode, stat.st_uid, stat.st_size, stat.st_mtime_ns)
    return found


def summary(folder: Folder) -> dict[str, Any]:
    """What all slices in a folder have done."""
    slices = folder.slices()
    reasons: Counter[str] = Counter()
    for each in slices:
        reasons.update(each.get("reasons", {}))
    pairs = {
        tuple(pair)
        for file in (folder.path / "corpus").glob("*.jsonl")
        for line in _lines(file)
        for pair in line["new"]
    }
    return {
        "slices": len(slices),
        "hours": round(sum(each["seconds"] for each in slices) / 3600, 2),
        "programs": sum(each.get("programs", 0) for each in slices),
        "calls": sum(each.get("calls", 0) for each in slices),
        "pairs": len(pairs),
        "reasons": dict(reasons),
        "jails_replaced": sum(each.get("replaced", 0) for each in slices),
        "wrong": sum(bool(each["wrong"]) for each in slices),
    }


def main() -> int:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser = argparse.ArgumentParser(prog="python -m campaign")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0, help="added to the number of the slice")
    parser.add_argument("--folder", type=Path, default=Path(cache) / "interpreter-pool-campaign")
    parser.add_argument("--only", default="", help="slices whose name has this in it")
    options = parser.parse_args()
    folder = Folder(options.folder)
    todo: list[tuple[str, ...]] = [
        each for each in FUZZED if os.geteuid() == 0 or each[0] == ""
    ] + [(name,) for name in TESTED]
    todo = [each for each in todo if options.only in "-".join(each)]
    deadline = time.monotonic() + options.minutes * 60
    before, number, failed = outside(), len(folder.slices()), 0
    while time.monotonic() < deadline:
        seconds = min(SLICE_S, max(1.0, deadline - time.monotonic()))
        chosen, seed = todo[number % len(todo)], options.seed + number
        if len(chosen) == 1:
            wrong = test(folder, chosen[0], seed, seconds)
        else:
            host, tier, kind = chosen
            wrong = fuzz(folder, host, tier, kind, seed, seconds)
        now = outside()
        if changed := [
            path for path in now.keys() | before.keys() if now.get(path) != before.get(path)
        ]:
            wrong.append(f"files outside have changed, been made or removed: {sorted(changed)[:5]}")
            folder.found("outside", seed, wrong[-1], "")
            before = now
        failed += bool(wrong)
        number += 1
        print("-".join(filter(None, chosen)), "seed", seed, wrong or "ok", flush=True)
    print(json.dumps(summary(folder), indent=1))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
