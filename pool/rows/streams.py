"""Rows of inputs and outputs, in columns of their own."""

from collections.abc import Mapping
from typing import Any

from .calls import NO_CHECKERS, NO_FILES, NO_INTERACTION, halves, name_in_starter, read_pairs
from .cells import Row
from .reading import NO_TESTS, Reading
from .truth import NO_MODULES, read_truth


def apps(row: Row, code: str, compare: str) -> Reading | None:
    """APPS, TACO, AReaL: `input_output`, JSON of {"inputs", "outputs", "fn_name"?}."""
    if not row.has("input_output") or row.has("test"):
        return None
    shape = "taco" if row.has("source") else "areal" if row.has("qid") else "apps"
    if row["input_output"] in (None, "", "{}"):
        return Reading(shape=shape, why=NO_TESTS)
    found = row.parsed("input_output")
    if isinstance(found, Mapping) and not found.get("inputs"):
        return Reading(shape=shape, why=NO_TESTS)
    return read_truth(shape, found, code, compare=compare)


def livecodebench(row: Row, code: str, compare: str) -> Reading | None:
    """LiveCodeBench: `public_test_cases`, `private_test_cases` (packed), `metadata`."""
    if not row.has("public_test_cases"):
        return None
    tests: list[Any] = []
    for column in ("public_test_cases", "private_test_cases"):
        found = row.parsed(column) if row.get(column) not in (None, "") else None
        tests += found or []
    name = _function(row) if any(each.get("testtype") == "functional" for each in tests) else None
    return read_truth("livecodebench", tests, code, compare=compare, name=name)


def deepcoder(row: Row, code: str, compare: str) -> Reading | None:
    """DeepCoder and rllm: `tests`, a list as LiveCodeBench's or a dict as APPS'."""
    if not row.has("tests"):
        return None
    return read_truth("deepcoder", row["tests"], code, compare=compare, name=_function(row))


def columns(row: Row, code: str, compare: str) -> Reading | None:
    """rStar-Coder, and tables of this kind: `inputs`, `outputs`, and perhaps `func_name`."""
    if not row.has("inputs", "outputs"):
        return None
    shape = "rstar-coder" if row.has("question_id") else "columns"
    if row["inputs"] is None or row["outputs"] is None:
        return Reading(shape=shape, why=NO_TESTS)
    name = row.get("fn_name") or row.get("func_name") or name_in_starter(row.get("starter_code"))
    if row.get("class_name") not in (None, "", "Solution"):
        return Reading(shape=shape, why="classes of several methods can't be judged yet")
    return read_pairs(
        shape, row["inputs"], row["outputs"], name=name or None, code=code, compare=compare
    )


def roll(row: Row, code: str, compare: str) -> Reading | None:
    """ROLL: `case_type`, and `test_cases`, or `test_case_function`."""
    if not row.has("case_type"):
        return None
    kind = row["case_type"]
    if kind == "pytest":
        return Reading(shape="roll", why=NO_MODULES)
    if kind not in ("input", "assert"):
        return Reading(shape="roll", why=f"cases of the type {kind!r:.40} can't be judged")
    return read_truth("roll", row.get("test_cases"), code, compare=compare)


def _function(row: Row) -> str | None:
    metadata = row.get("metadata")
    if isinstance(metadata, str) and metadata.strip():
        metadata = row.parsed("metadata")
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    return name or name_in_starter(row.get("starter_code"))


def code_contests(row: Row, code: str, compare: str) -> Reading | None:
    """CodeContests: `public_tests`, `private_tests` and `generated_tests`."""
    if not row.has("public_tests"):
        return None
    if row.get("input_file") or row.get("output_file"):
        return Reading(shape="codecontests", why=NO_FILES)
    inputs: list[Any] = []
    outputs: list[Any] = []
    for column in ("public_tests", "private_tests", "generated_tests"):
        if row.get(column) is not None:
            given, out = halves(row.parsed(column))
            inputs += given
            outputs += out
    if not inputs:
        return Reading(shape="codecontests", why=NO_TESTS)
    return read_pairs("codecontests", inputs, outputs, compare=compare)


def codeforces(row: Row, code: str, compare: str) -> Reading | None:
    """open-r1/codeforces: `official_tests`, where there is neither checker nor interactor."""
    if not row.has("official_tests"):
        return None
    why = ""
    if row.get("interaction_format"):
        why = NO_INTERACTION
    elif row.get("generated_checker"):
        why = NO_CHECKERS
    elif row.get("input_mode") not in (None, "", "stdio"):
        why = NO_FILES
    elif not row.parsed("official_tests"):
        why = NO_TESTS
    if why:
        return Reading(shape="codeforces", why=why)
    inputs, outputs = halves(row.parsed("official_tests"))
    return read_pairs(
        "codeforces", list(map(_unix, inputs)), list(map(_unix, outputs)), compare=compare
    )


def _unix(text: Any) -> Any:
    return text.replace("\r\n", "\n") if isinstance(text, str) else text
