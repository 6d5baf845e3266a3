"""Comparing output: each way ignores what it says, and nothing else."""

import time

import pytest

from interpreter_pool.pool.judge.text import COMPARISONS, difference, least_bytes

WAYS = [
    # output, expected, the ways in which they are equal
    (b"1\n2\n", b"1\n2\n", "exact lines whitespace tokens floats judge"),
    (b"1\n2", b"1\n2\n", "lines whitespace tokens floats judge"),
    (b"1 \r\n2\t\n\n", b"1\n2\n", "lines whitespace tokens floats judge"),
    (b"1  2\n", b"1 2\n", "whitespace tokens floats judge"),
    (b" 1\n", b"1\n", "whitespace tokens floats judge"),
    (b"1 2\n", b"1\n2\n", "tokens floats judge"),
    (b"\n1\n", b"1\n", "tokens floats judge"),
    (b"0.3000000001", b"0.3", "floats judge"),
    (b"1e3", b"1000", "floats judge"),
    (b"+3", b"3", "floats judge"),
    (b"x 1.0", b"x 1", "floats judge"),
    (b"1000001", b"1000000", ""),
    (b"0.301", b"0.3", ""),
    (b"12", b"1 2", ""),
    (b"1", b"1\n2", ""),
    (b"1\n2", b"1", ""),
    (b"", b"1", ""),
    (b"1", b"", ""),
    (b"Nan", b"nan", ""),
    (b"1_0", b"10", ""),
    (b"0x10", b"16", ""),
    (b"1\xc2\xa0", b"1", ""),
    (b"A", b"a", ""),
    (b"1e999", b"1" * 320, ""),
    (b"1e999", b"2e999", ""),
    (b"-1e999", b"1e999", ""),
    (b"inf", b"inf", "exact lines whitespace tokens floats judge"),
    (b"inf", b"1e999", ""),
    (b"1" * 320, b"1" * 320, "exact lines whitespace tokens floats judge"),
    (b"1" * 320, b"1" * 320 + b".0", "judge"),
    # where the two that know of tolerance differ: whole numbers
    (b"1000000.5", b"1000000", "floats"),
    (b"1000000.5", b"1000000.0", "floats judge"),
    (b"1000001", b"1000000.0", "floats judge"),
    (b"5.000001", b"5", "floats"),
    (b"5.000001", b"5.0", "floats judge"),
    (b"5", b"5.0", "floats judge"),
    (b"2e3", b"2000.0001", "floats judge"),
    (b"3", b"2.5", ""),
    (b"11", b"0011", "floats"),
    (b"007", b"7", "floats"),
    (b"-0", b"0", "floats judge"),
    (b"-0.0000001", b"0.0", "floats judge"),
    (b"1" * 5000 + b".0", b"1" * 5000, "judge"),
    (b"1" * 4999 + b"2", b"1" * 5000, ""),
    (b"0." + b"3" * 5000, b"0.3333333", "judge"),
    (b"1e400", b"1e401", ""),
    (b"1" + b"0" * 400, b"1e400", "judge"),
    (b"nan", b"1.0", ""),
    (b"1.0", b"nan", ""),
    (b"-inf", b"inf", ""),
    (b"1e9999999999999", b"1.0", ""),
    (b"YES", b"yes", ""),
    (b"yes\nno", b"yes no", "tokens floats judge"),
    (b"", b" \n", "lines whitespace tokens floats judge"),
    (b".5", b"0.5", "floats judge"),
    (b"0.5,", b"0.50,", ""),
]


@pytest.mark.parametrize("output, expected, ways", WAYS)
def test_each_way_ignores_what_it_says(output, expected, ways):
    """And nothing else."""
    equal = {way for way in COMPARISONS if difference(output, expected, way, 1e-6, 1e-6) is None}
    assert equal == set(ways.split())


@pytest.mark.parametrize("output, expected, ways", WAYS)
def test_no_output_that_is_equal_is_shorter_than_the_least(output, expected, ways):
    """By which a case is refused that no program could pass."""
    for way in ways.split():
        assert least_bytes(expected, way) <= len(output)


@pytest.mark.parametrize(
    "way, told",
    [
        ("exact", "line 2: expected 'b', got 'c'"),
        ("lines", "line 2: expected 'b', got 'c'"),
        ("tokens", "word 2: expected 'b', got 'c'"),
    ],
)
def test_the_first_difference_is_told(way, told):
    """With its place, in a line."""
    assert difference(b"a\nc\n", b"a\nb\n", way) == told
    assert "expected the end, got 'b'" in difference(b"a\nb", b"a", way)
    assert "expected 'b', got the end" in difference(b"a", b"a\nb", way)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize(
    "output",
    [
        b"1" * (1 << 18),
        b" " * (1 << 18),
        b"\n" * (1 << 18),
        b"1e9999999 " * 20_000,
        b"1.0" + b"0" * (1 << 18) + b"e" + b"9" * (1 << 18),
        b"1" * (1 << 20) + b".5",
        b"0." + b"9" * (1 << 18),
        b"\x1b[2J" * 20_000,
        bytes(range(256)) * 1000,
    ],
)
def test_hostile_output_takes_no_long_time_and_shows_no_control_characters(compare, output):
    """Whatever is in it, it is linear, and told in a short printable line."""
    began = time.monotonic()
    told = difference(output, b"1.0 2.0", compare, 1e-6, 1e-6)
    assert told is not None
    assert len(told) < 1000
    assert told.isprintable()
    assert time.monotonic() - began < 5
