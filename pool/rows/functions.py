"""Rows of which a function is tested: by asserts, or by a script that calls it."""

import ast
from typing import Any

from ..judge.cases import Call
from .asserts import as_source, read_asserts
from .cells import Row
from .names import SOLUTION, Ambiguous, entry_point
from .reading import NO_TESTS, Reading
from .suites import is_module


def humaneval(row: Row, code: str, compare: str) -> Reading | None:
    """HumanEval, HumanEval+ and LeetCodeDataset: `test`, often with a function `check`, and
    `entry_point`; helpers of the prompt in `prompt`, or in `prelude`.
    """
    if not row.has("test", "entry_point") or row.has("base_input") or is_module(row.text("test")):
        return None
    name = row["entry_point"]
    leetcode = isinstance(name, str) and name.startswith(f"{SOLUTION}().")
    shape = "leetcodedataset" if leetcode else "humaneval"
    if row["test"] is None:
        return Reading(shape=shape, why=NO_TESTS)
    return read_asserts(
        shape,
        [row["test"]],
        prelude=row.text("prelude"),
        name=name,
        shared=as_source(row.get("prompt")),
    )


def evalplus(row: Row, code: str, compare: str) -> Reading | None:
    """HumanEval+ and MBPP+ as their own package has them: inputs, and no outputs."""
    if not row.has("base_input", "plus_input"):
        return None
    return Reading(
        shape="evalplus",
        why="the row has inputs and no outputs, which canonical_solution would have to compute; "
        "take the form with a column test",
    )


def mbppplus(row: Row, code: str, compare: str) -> Reading | None:
    """MBPP+: `test` is a script that calls the function which `test_list` asserts call."""
    if not row.has("test", "test_list") or row.has("entry_point"):
        return None
    if row["test"] is None:
        return _of_test_list("mbpp", row)
    return read_asserts(
        "mbppplus",
        [row["test"]],
        prelude=_before(row),
        name=_name_in_list(row),
        reference=row.text("code"),
        hint=row.text("prompt"),
    )


def mbpp(row: Row, code: str, compare: str) -> Reading | None:
    """MBPP, in its full and its sanitized form: `test_list`, and what it needs."""
    if not row.has("test_list") or row.has("test"):
        return None
    return _of_test_list("mbpp", row)


def acecode(row: Row, code: str, compare: str) -> Reading | None:
    """AceCode: `test_cases` are asserts."""
    if not row.has("test_cases") or row.has("case_type"):
        return None
    tests = row.parsed("test_cases")
    if tests is None or tests == []:
        return Reading(shape="acecode", why=NO_TESTS)
    if not isinstance(tests, list) or not all(isinstance(each, str) for each in tests):
        return None
    name = row.get("entry_point")
    return read_asserts("acecode", tests, name=name, hint=row.text("question"))


def prime_leetcode(row: Row, code: str, compare: str) -> Reading | None:
    """PRIME's LeetCode problems: `test` makes a Solution, and asserts what its method returns."""
    test = row.text("test")
    if row.has("entry_point") or row.has("test_list") or "= Solution()" not in test:
        return None
    return read_asserts("prime-leetcode", [test], prelude=row.text("prelude"))


def cruxeval(row: Row, code: str, compare: str) -> Reading | None:
    """CRUXEval: a function f in `code`, with the text of its arguments and of what it returns."""
    others = ("test", "tests", "instruction", "question", "problem")
    if not row.has("code", "input", "output") or any(map(row.__contains__, others)):
        return None
    try:
        args, kwargs = _arguments(row.text("input"))
        expected = ast.literal_eval(row.text("output"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return Reading(shape="cruxeval", why="the arguments are no literals, and can't cross")
    case = Call("f", args, kwargs, expected=expected, numeric=True)
    return Reading(shape="cruxeval", cases=(case,))


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("no arguments")
    args = [ast.literal_eval(each) for each in call.args]
    return args, {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}


def _of_test_list(shape: str, row: Row) -> Reading:
    tests = row["test_list"]
    if tests is None:
        return Reading(shape=shape, why=NO_TESTS)
    return read_asserts(
        shape,
        list(tests),
        prelude=_before(row),
        name=row.get("entry_point") or None,
        reference=row.text("code"),
        hint=row.text("prompt"),
    )


def _before(row: Row) -> str:
    imports = row.get("test_imports") or ()
    return "\n".join([*imports, row.text("test_setup_code") or row.text("prelude")])


def _name_in_list(row: Row) -> str | None:
    """What the asserts call, where that is clear by itself; a script calls much besides."""
    if not row["test_list"]:
        return None
    try:
        return entry_point(
            tuple(row["test_list"]),
            _before(row),
            reference=row.text("code"),
            hint=row.text("prompt"),
        )
    except Ambiguous:
        return None
