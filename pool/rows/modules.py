"""Rows whose tests are modules of their own: known, so that a batch can say what is missing."""

import re

from .cells import Row
from .reading import NO_TESTS, Reading
from .truth import NO_INSERTS, NO_MODULES, read_truth

_MODULE = re.compile(
    r"^(?:import unittest|from unittest|import pytest|from pytest)\b"
    r"|^class \w+\((?:unittest\.)?TestCase\)|^(?:class Test\w*|(?:async +)?def test_?\w* *\()"
    r"|^from solution import|^import solution\b",
    re.MULTILINE,
)
_CHECK = re.compile(r"^def check\b", re.MULTILINE)


def is_module(test: str) -> bool:
    """Whether a test is for pytest or unittest."""
    return _MODULE.search(test) is not None and _CHECK.search(test) is None


def bigcodebench(row: Row, code: str, compare: str) -> Reading | None:
    """BigCodeBench: `test` is for unittest, of `entry_point`."""
    if not row.has("test", "entry_point") or not is_module(row.text("test")):
        return None
    return Reading(shape="bigcodebench", why=NO_MODULES)


def classeval(row: Row, code: str, compare: str) -> Reading | None:
    """ClassEval: `test` is for unittest, of `class_name`."""
    if not row.has("test", "class_name"):
        return None
    return Reading(shape="classeval", why=NO_MODULES)


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
    return Reading(shape="kodcode", why=NO_MODULES)


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
