"""Rows whose tests are modules, for pytest or unittest."""

from .asserts import as_source
from .cells import Row
from .imports import imports_in
from .reading import NO_TESTS, Reading
from .suites import is_module, read_module
from .truth import NO_INSERTS, read_truth


def bigcodebench(row: Row, code: str, compare: str) -> Reading | None:
    """BigCodeBench: `test` is for unittest, of `entry_point`; the prompt in `complete_prompt`, or
    in `prelude`, has what the tests take for granted.
    """
    if not row.has("test", "entry_point") or not is_module(row.text("test")):
        return None
    shared = as_source(row.get("complete_prompt")) or as_source(row.get("prompt"))
    return read_module(
        "bigcodebench",
        row.text("test"),
        names=(row.text("entry_point"),),
        prelude=row.text("prelude"),
        shared=shared,
    )


def classeval(row: Row, code: str, compare: str) -> Reading | None:
    """ClassEval: `test` is for unittest, of `class_name`."""
    if not row.has("test", "class_name"):
        return None
    reference = row.text("solution_code") or row.text("solution")
    return read_module(
        "classeval",
        row.text("test"),
        # The harness has test and program in one module: tests go by the program's imports.
        prelude="\n".join([*imports_in(reference), row.text("prelude")]),
        reference=reference,
        names=() if reference else (row.text("class_name"),),
    )


def kodcode(row: Row, code: str, compare: str) -> Reading | None:
    """KodCode: `test_code` or `test` is for pytest, and imports from the module solution."""
    column = "test_code" if row.has("test_code") else "test"
    others = row.has("entry_point") or row.has("class_name") or row.has("test_list")
    if not row.has(column) or others:
        return None
    if row[column] is None:
        return Reading(shape="kodcode", why=NO_TESTS)
    if not is_module(row.text(column)):
        return None
    return read_module(
        "kodcode",
        row.text(column),
        prelude=row.text("prelude"),
        reference=row.text("solution"),
    )


def ds1000(row: Row, code: str, compare: str) -> Reading | None:
    """DS-1000: `code_context` builds a program around the answer."""
    if not row.has("code_context"):
        return None
    return Reading(shape="ds-1000", why=NO_INSERTS)


def sandboxfusion(row: Row, code: str, compare: str) -> Reading | None:
    """SandboxFusion's samples: `test` is a list of streams (OJ), or a source with a place for the
    program (AutoEval).
    """
    test = row.text("test").lstrip()
    lists = isinstance(row.get("test"), list)
    if not row.has("test") or row.has("entry_point") or not (lists or test[:1] in ("{", "[")):
        return None
    return read_truth("sandboxfusion", row["test"], code, compare=compare)


def repositories(row: Row, code: str, compare: str) -> Reading | None:
    """SWE-bench and its like: the tests of a repository."""
    if not (row.has("FAIL_TO_PASS") or row.has("PASS_TO_PASS")):
        return None
    return Reading(
        shape="repository", why="tests of a whole repository are not for a pool: use a container"
    )
