"""Cases from the rows of data sets, as trainers hand them to reward functions."""

import ast
import builtins
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..pool import Asserts, Call, Stdio
from ..pool.judge import Case, case_from_dict
from ..pool.judge.values import Rule, difference

_SOLUTION_CLASS = re.compile(r"^class Solution\b", re.MULTILINE)

MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random"),
    *("statistics", "itertools", "functools", "operator", "io", "sys", "json"),
)
_STARS = (
    *("collections", "heapq", "bisect", "math", "itertools", "functools", "typing", "builtins"),
)
FUNCTION_IMPORTS = (
    "import " + ", ".join(MODULES) + "".join(f"; from {name} import *" for name in _STARS)
)
"""In one line: what sources of tasks with `fn_name` take for granted, `List` and `deque` included.
The built-in functions come last, and stay what they are."""

_CONVENTIONS = "cases; test and entry_point; test_list; ground_truth"


def with_imports(code: str, cases: Iterable[Case], imports: str = FUNCTION_IMPORTS) -> str:
    """Return the program with what those whose functions are called take for granted."""
    if not any(isinstance(case, Call) for case in cases) or "from __future__" in code:
        return code
    return f"{imports}\n{code}"


def cases_from_row(row: Mapping[str, Any], code: str) -> list[Case] | None:
    """Return the cases in a row of a data set; None if its columns for them hold None.

    The first of these that the row has:
    - `cases`: a list of cases, or of their fields ({"kind": "stdio", "input": ...}), or JSON of it.
    - `test`, `entry_point`, and `prelude` if there is one: as in HumanEval.
    - `test_list`, with `test_setup_code` or `test_imports`, and `entry_point` if there is one: as
        in MBPP; without `entry_point`, the asserts must call one function only.
    - `ground_truth`: verl's format; see `cases_from_ground_truth`.

    code: the program that is to be judged. Raises ValueError or TypeError for what is none of it.
    """
    if "cases" in row:
        return None if row["cases"] is None else _cases(row["cases"])
    if "test" in row and "entry_point" in row:
        if row["test"] is None:
            return None
        return [Asserts(row["test"], row["entry_point"], row.get("prelude") or "")]
    if "test_list" in row:
        return None if row["test_list"] is None else _cases_of_asserts(row)
    if "ground_truth" in row:
        truth = row["ground_truth"]
        return None if truth is None else cases_from_ground_truth(truth, code)
    raise ValueError(f"no column with cases: there must be {_CONVENTIONS}; got {sorted(row)}")


def cases_from_value(value: Any, code: str) -> list[Case] | None:
    """Return the cases in one value: a list of them as in `cases`, a ground truth of verl's, JSON
    of either, or None.
    """
    if isinstance(value, str):
        value = _parsed("cases", value)
    if value is None:
        return None
    return cases_from_ground_truth(value, code) if isinstance(value, Mapping) else _cases(value)


def cases_from_ground_truth(
    truth: str | Mapping[str, Any], code: str, *, compare: str = "lines"
) -> list[Case]:
    """Return the cases in a ground truth of verl's: a dict, or JSON of one.

    {"inputs": [...], "outputs": [...]}: standard input and output; lists are lines.
    {..., "fn_name": "f"}: each input holds the arguments, as JSON, one a line; each output what is
        to be returned, as JSON, or the string itself. If `code` has a class Solution, and no
        function of this name, its method is called.
    {"assert_case": [...]}: test code; `fn_name` is what it tests, or the one function it calls.
    compare: as for `Stdio`, of standard output.
    """
    if isinstance(truth, str):
        truth = _parsed("ground_truth", truth)
    if not isinstance(truth, Mapping):
        raise TypeError(f"ground_truth must be a dict, or JSON of one, not {truth!r:.80}")
    name = truth.get("fn_name")
    asserts = truth.get("assert_case")
    if asserts is not None and len(asserts):
        _require_no_input(truth)
        return [Asserts(text, name or _only_function([text])) for text in asserts]
    for field in ("inputs", "outputs"):
        if truth.get(field) is None:
            raise ValueError(
                f"ground_truth: {field!r} is missing; it has {sorted(map(str, truth))}"
            )
    inputs, outputs = list(truth["inputs"]), list(truth["outputs"])
    if len(inputs) != len(outputs):
        raise ValueError(f"ground_truth: {len(inputs)} inputs, but {len(outputs)} outputs")
    if not inputs:
        raise ValueError("ground_truth: no inputs; without a case there is nothing to judge")
    pairs = zip(inputs, outputs, strict=True)
    if name is None:
        return [Stdio(_lines(given or ""), _lines(out), compare=compare) for given, out in pairs]
    function = _callable_in(code, name)
    return [_call(function, given, out) for given, out in pairs]


@dataclasses.dataclass(frozen=True, slots=True)
class AsJson:
    """A checker: a value is right if it equals what was expected as JSON has it, or if it is a
    string that is written so, as where a program prints it.
    """

    text: str

    def __call__(self, value: Any, expected: Any) -> bool:
        if type(value) is str and value.rstrip("\n") == self.text.rstrip("\n"):
            return True
        return difference(value, expected, Rule(numeric=True, as_json=True)) is None


def _call(function: str, given: Any, out: Any) -> Call:
    if isinstance(given, str):
        lines = given.strip("\n").split("\n") if given.strip() else []
        args = [_parsed("ground_truth: a line of inputs", line) for line in lines]
    else:
        args = list(given or ())
    if not isinstance(out, str):
        return Call(function, args, expected=out, numeric=True, as_json=True)
    try:
        expected = json.loads(out)
    except ValueError:
        expected = out
    return Call(function, args, expected=expected, checker=AsJson(out))


def _callable_in(code: str, name: str) -> str:
    if "." in name or not _SOLUTION_CLASS.search(code):
        return name
    own = re.search(rf"^(?:(?:async +)?def +{re.escape(name)}\b|{re.escape(name)} *=)", code, re.M)
    return name if own else f"Solution().{name}"


def _cases(value: Any) -> list[Case]:
    if isinstance(value, str):
        value = _parsed("cases", value)
    if isinstance(value, (Mapping, Stdio, Call, Asserts)) or not isinstance(value, Sequence):
        raise TypeError(f"cases must be a list of cases, or JSON of one, not {value!r:.80}")
    return [
        each if isinstance(each, (Stdio, Call, Asserts)) else case_from_dict(_without_gaps(each))
        for each in value
    ]


def _without_gaps(case: object) -> object:
    """Leave out what a table puts where a row has no such field: None. Only what a function is
    expected to return may be that.
    """
    if not isinstance(case, Mapping):
        return case
    keep = "expected" if case.get("kind") == "call" else None
    return {name: value for name, value in case.items() if value is not None or name == keep}


def _cases_of_asserts(row: Mapping[str, Any]) -> list[Case]:
    tests = list(row["test_list"])
    imports = row.get("test_imports") or ()
    prelude = "\n".join([*imports, row.get("test_setup_code") or row.get("prelude") or ""])
    name = row.get("entry_point") or _only_function(tests)
    return [Asserts(test, name, prelude) for test in tests]


def _only_function(tests: Sequence[str]) -> str:
    """The one function that all the tests call, and that Python does not have."""
    called: set[str] | None = None
    for test in tests:
        try:
            tree = ast.parse(test)
        except SyntaxError as error:
            raise ValueError(f"a test is no Python ({error}): {test!r:.80}") from None
        names = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        called = names if called is None else called & names
    found = sorted(name for name in called or () if not hasattr(builtins, name))
    if len(found) != 1:
        raise ValueError(
            f"the tests call {', '.join(found) or 'no function'}: name the one that is tested in "
            "entry_point (of a ground truth, in fn_name)"
        )
    return found[0]


def _require_no_input(truth: Mapping[str, Any]) -> None:
    for field in ("inputs", "outputs"):
        given = truth.get(field)
        if given is not None and any(each not in ("", None) for each in given):
            raise ValueError(f"ground_truth: {field} and assert_case can't be judged together")


def _lines(text: Any) -> Any:
    """What verl allows for a text: a list of its lines."""
    if isinstance(text, (str, bytes)):
        return text
    if not isinstance(text, Iterable) or not all(isinstance(line, str) for line in text):
        raise TypeError(
            f"ground_truth: inputs and outputs must be text, or lists of lines, not {text!r:.80}"
        )
    return "\n".join(text)


def _parsed(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON ({error}): {text!r:.80}") from None
