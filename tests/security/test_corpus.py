"""The corpus is whole: every row is tried in every tier, and the table that is committed says so."""

import subprocess
import sys

import pytest

from . import table
from .corpus import ROWS, Row

COLLECT = """
import contextlib, io, sys
from tests.security import table
with contextlib.redirect_stdout(io.StringIO()):
    cells = table.collect("--collect-only", "-qq").cells(ran=False)
print(*table.gaps(cells), sep="\\n", file=sys.stderr)
sys.stdout.write(table.render(cells, ran=False))
"""


@pytest.fixture(scope="module")
def collected() -> "subprocess.CompletedProcess[str]":
    """What there is to be run, in all tiers: in a process of its own, as pytest is not re-entrant."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        cwd=table.ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env=table.environment(),
    )
    assert done.returncode == 0, done.stderr
    return done


def test_every_row_is_tried_in_every_tier(collected):
    """No row without a test in a tier, nor without a control or a reason why there is none; no test
    of a row that there is not.
    """
    assert collected.stderr.strip() == ""


def test_the_table_is_not_stale(collected):
    """docs/corpus.md is what `make corpus` writes where all is held: its rows, layers and tests."""
    assert table.FILE.read_text(encoding="utf-8") == collected.stdout


def test_a_gap_is_seen():
    """A row without a test or a control, a failure, and what is otherwise than written show."""
    cells = table.no_cells()
    for name in ROWS:
        for tier in table.TIERS:
            cells[name, tier].tests.add("t")
            cells[name, tier].controls.add("t")
            if tier in ROWS[name].but:
                cells[name, tier].open.add("t")
    assert table.gaps(cells) == [] and "**" not in table.render(cells, ran=True)
    cells["F1", "landlock"].tests.clear()
    cells["F2", "namespaces"].controls.clear()
    cells["X1", "namespaces"].tests.add("t")
    assert [gap.split()[0] for gap in table.gaps(cells)] == ["F1", "F2", "X1"]
    cells["F3", "landlock"].failed.add("t")
    cells["F4", "landlock"].open.add("t")
    text = table.render(cells, ran=True)
    for word in ("**not tested**", "**not seen**", "**NOT held**", "**otherwise than written**"):
        assert text.count(word) == 1, word


@pytest.mark.parametrize("name", ROWS)
def test_rows_say_what_holds_them(name):
    """Each says what is tried and names a layer for each tier."""
    row: Row = ROWS[name]
    assert row.tries and set(row.layers) == set(table.TIERS) >= set(row.but)


def test_docstrings_name_their_rows():
    """Lists and spans are read; a row that is only spoken of is not the test's."""
    assert table.rows_of("W1 to W3, F1: none.") == ["W1", "W2", "W3", "F1"]
    assert table.rows_of("S4, S3: a load.") == ["S4", "S3"]
    assert table.rows_of("As F1: nothing.") == table.rows_of(None) == []
