"""Rows of inputs and outputs, in columns of their own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..judge.cases import Interactive, Stdio
from ..judge.checker import CheckerProgram
from .calls import NO_INTERACTOR, halves, name_in_starter, read_pairs
from .cells import Row
from .reading import NO_TESTS, Reading
from .suites import read_module
from .truth import read_truth


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
    return _checked(read_truth(shape, found, code, compare=compare), row)


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
        test = row.text("test_case_function") or row.text("test_cases")
        return read_module("roll", test) if test else Reading(shape="roll", why=NO_TESTS)
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
    inputs: list[Any] = []
    outputs: list[Any] = []
    for column in ("public_tests", "private_tests", "generated_tests"):
        if row.get(column) is not None:
            given, out = halves(row.parsed(column))
            inputs += given
            outputs += out
    if not inputs:
        return Reading(shape="codecontests", why=NO_TESTS)
    reading = _checked(read_pairs("codecontests", inputs, outputs, compare=compare), row)
    files = row.get("input_file") or None, row.get("output_file") or None
    return _with_streams(reading, input_file=files[0], output_file=files[1])


def code_contests_plus(row: Row, code: str, compare: str) -> Reading | None:
    """CodeContests+: `test_cases`, with `checker`, as a rule in C++, and `generator`."""
    if not row.has("test_cases", "checker", "generator"):
        return None
    shape = "codecontests-plus"
    tests = row.parsed("test_cases")
    if not tests:
        return Reading(shape=shape, why=NO_TESTS)
    return _checked(read_pairs(shape, *halves(tests), compare=compare), row)


def codeforces(row: Row, code: str, compare: str) -> Reading | None:
    """open-r1/codeforces: `official_tests`, and perhaps `generated_checker`."""
    if not row.has("official_tests"):
        return None
    shape = "codeforces"
    if not row.parsed("official_tests"):
        return Reading(shape=shape, why=NO_TESTS)
    if row.get("interaction_format") and not row.get("interactor"):
        return Reading(shape=shape, why=NO_INTERACTOR)
    inputs, outputs = halves(row.parsed("official_tests"))
    inputs, outputs = [*map(_unix, inputs)], [*map(_unix, outputs)]
    reading = read_pairs(shape, inputs, outputs, compare=compare)
    if row.get("interaction_format"):
        return _interactive(reading, row.text("interactor"))
    reading = _checked(reading, row)
    if row.get("input_mode") in (None, "", "stdio"):
        return reading
    return _with_streams(reading, input_file="input.txt", output_file="output.txt")


def _checked(reading: Reading, row: Row) -> Reading:
    """With the checker that the row has, if any; one that can't be used leaves no case."""
    source = row.get("generated_checker") or row.get("checker")
    if not source or not reading.cases:
        return reading
    try:
        checker = CheckerProgram(source)
    except ValueError as error:
        return dataclasses.replace(reading, cases=(), why=str(error))
    return _with_streams(reading, checker=checker)


def _with_streams(reading: Reading, **changes: Any) -> Reading:
    """With these fields in all cases of standard streams."""
    cases = (
        dataclasses.replace(case, **changes) if isinstance(case, Stdio) else case
        for case in reading.cases
    )
    return dataclasses.replace(reading, cases=tuple(cases))


def _interactive(reading: Reading, interactor: str) -> Reading:
    """With an interactor, which gets what the tests hold; one that can't be used leaves no case."""
    try:
        cases = tuple(
            Interactive(interactor, input=case.input, expected=case.expected)
            for case in reading.cases
            if isinstance(case, Stdio)
        )
    except ValueError as error:
        return dataclasses.replace(reading, cases=(), why=str(error))
    return dataclasses.replace(reading, cases=cases)


def _unix(text: Any) -> Any:
    return text.replace("\r\n", "\n") if isinstance(text, str) else text
