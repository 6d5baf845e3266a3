"""Ground truths: what trainers hand to a reward function as one value, whatever holds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..judge.cases import KINDS, case_from_dict
from .asserts import read_asserts
from .calls import CONTEST, read_pairs
from .cells import parsed, plain
from .reading import NO_TESTS, Reading
from .suites import read_module

NO_INSERTS = "programs that are inserted into a test's source can't be judged yet"


def read_truth(
    shape: str,
    value: Any,
    code: str = "",
    *,
    compare: str = CONTEST,
    name: str | None = None,
    reference: str = "",
) -> Reading:
    """Return a reading of a ground truth: a dict, a list, or text of one (JSON, a literal of
    Python, packed data). Raises ValueError or TypeError for what is none.

    {"inputs", "outputs", "fn_name"?} as verl has it; {"assert_case"}; {"functional"}; {"pytest"};
    {"test_cases"}; {"unit_tests"}; lists of asserts, of {"input", "output", "testtype"?, ...}, of
    {"assert_code"}, of {"stdin", "expected_stdout"}, of our own cases.
    """
    value = plain(parsed("ground_truth", value))
    if value is None:
        return Reading(shape=shape, why=NO_TESTS)
    if isinstance(value, Mapping):
        return _of_dict(shape, value, code, compare, name, reference)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return _of_list(shape, list(value), code, compare, name, reference)
    raise TypeError(f"ground_truth must be a dict, or JSON of one, not {value!r:.80}")


def _of_dict(
    shape: str, truth: Mapping[str, Any], code: str, compare: str, name: str | None, reference: str
) -> Reading:
    name = truth.get("fn_name") or truth.get("func_name") or name
    asserts = truth.get("assert_case")
    if asserts is not None and len(asserts):
        _require_no_input(truth)
        asserts = [asserts] if isinstance(asserts, str) else list(asserts)
        return read_asserts(shape, asserts, name=name, reference=reference)
    if truth.get("functional") is not None:
        return read_asserts(shape, [truth["functional"]], name=name, reference=reference)
    if truth.get("pytest") is not None:
        return read_module(shape, truth["pytest"], reference=reference)
    if isinstance(truth.get("code"), str) and "#<INSERT>" in truth["code"]:
        return Reading(shape=shape, why=NO_INSERTS)
    for inner in ("test_cases", "unit_tests"):
        if truth.get(inner) is not None:
            return read_truth(
                shape, truth[inner], code, compare=compare, name=name, reference=reference
            )
    if {"input", "output"} <= truth.keys() and isinstance(truth["input"], list):
        truth = {"inputs": truth["input"], "outputs": truth["output"]}
    for field in ("inputs", "outputs"):
        if truth.get(field) is None:
            raise ValueError(
                f"ground_truth: {field!r} is missing; it has {sorted(map(str, truth))}"
            )
    return read_pairs(
        shape, truth["inputs"], truth["outputs"], name=name, code=code, compare=compare
    )


def _of_list(
    shape: str, tests: list[Any], code: str, compare: str, name: str | None, reference: str
) -> Reading:
    if not tests:
        return Reading(shape=shape, why=NO_TESTS)
    if len(tests) == 1 and isinstance(tests[0], str) and tests[0].lstrip()[:1] in ("[", "{"):
        return read_truth(shape, tests[0], code, compare=compare, name=name, reference=reference)
    if all(isinstance(each, str) for each in tests):
        return read_asserts(shape, tests, name=name, reference=reference)
    if all(isinstance(each, tuple(KINDS.values())) for each in tests):
        return Reading(shape=shape, cases=tuple(tests))
    if not all(isinstance(each, Mapping) for each in tests):
        raise TypeError(f"ground_truth: a list of asserts, or of dicts, not {tests!r:.80}")
    first = tests[0]
    if "kind" in first:
        return Reading(shape=shape, cases=tuple(case_from_dict(without_gaps(e)) for e in tests))
    if "assert_code" in first:
        texts = [each["assert_code"] for each in tests]
        return read_asserts(shape, texts, name=name, reference=reference)
    return _of_tests(shape, tests, code, compare, name)


def _of_tests(shape: str, tests: list[Any], code: str, compare: str, name: str | None) -> Reading:
    """Of a list of dicts, each with an input and an output by one of several names."""
    inputs, outputs = [], []
    for test in tests:
        found = _in_and_out(test)
        if found is None:
            raise ValueError(f"a test must have input and output: {test!r:.80}")
        inputs.append(found[0])
        outputs.append(found[1])
        metadata = test.get("metadata")
        inner = metadata.get("func_name") if isinstance(metadata, Mapping) else None
        name = test.get("fn_name") or inner or name
    kinds = {test.get("testtype") or test.get("type") for test in tests}
    if kinds & {"stdin", "stdin_stdout"}:
        if len(kinds) > 1:
            raise ValueError(f"tests of several kinds: {', '.join(sorted(map(str, kinds)))}")
        name = None
    elif kinds & {"functional", "function_call"} and name is None:
        raise ValueError("the tests call a function, and nothing names it (func_name, fn_name)")
    return read_pairs(shape, inputs, outputs, name=name, code=code, compare=compare)


def _in_and_out(test: Mapping[str, Any]) -> tuple[Any, Any] | None:
    if "expected_stdout" in test:
        return test.get("stdin") or "", test["expected_stdout"]
    if not {"input", "output"} <= test.keys():
        return None
    given, out = test["input"], test["output"]
    if isinstance(given, Mapping) and isinstance(out, Mapping) and "stdout" in out:
        return given.get("stdin") or "", out["stdout"]
    return given, out


def without_gaps(case: object) -> object:
    """Leave out what a table puts where a row has no such field: None. Only what a function is
    expected to return may be that.
    """
    if not isinstance(case, Mapping):
        return case
    keep = "expected" if case.get("kind") == "call" else None
    return {name: value for name, value in case.items() if value is not None or name == keep}


def _require_no_input(truth: Mapping[str, Any]) -> None:
    for field in ("inputs", "outputs"):
        given = truth.get(field)
        if given is not None and any(each not in ("", None) for each in given):
            raise ValueError(f"ground_truth: {field} and assert_case can't be judged together")
