"""The table of how graders of contests compare output, in docs/judging.md: our column is true."""

import re
from pathlib import Path

import pytest

from interpreter_pool import Stdio
from interpreter_pool.pool.judge.text import difference

PAGE = Path(__file__).parents[3] / "docs" / "judging.md"
ROW = re.compile(r"^\| `(.*?)` \| `(.*?)` \| (right|wrong) \|(?: (?:right|wrong) \|){3}", re.M)

EXAMPLES = [
    (expected.replace("\\n", "\n"), output.replace("\\n", "\n"), said == "right")
    for expected, output, said in ROW.findall(PAGE.read_text(encoding="utf-8"))
]


def test_the_table_is_found():
    """Both kinds are in it."""
    assert len(EXAMPLES) >= 15
    assert {right for _, _, right in EXAMPLES} == {True, False}


@pytest.mark.parametrize("expected, output, right", EXAMPLES)
def test_the_documented_examples_are_compared_as_documented(expected, output, right):
    """With the tolerance that a case has by default."""
    case = Stdio("", expected, compare="judge")
    found = difference(output.encode(), expected.encode(), "judge", case.abs_tol, case.rel_tol)
    assert (found is None) is right, found
