"""`guest.report`: a run's own account, which may be anything at all."""

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.jail.report import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    REGION,
    SIZE,
    Claim,
    Report,
)


class Region:
    """A report and the raw bytes behind it, as a hostile program has them."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("report", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, REGION)
        self.report = Report(self.fd)

    def scribble(self, data: bytes) -> None:
        self.report.clear()
        os.pwrite(self.fd, data[:SIZE], 0)

    def claim(self, value: object) -> None:
        body = wire.encode(value)
        self.scribble(struct.pack("<I", len(body)) + body)

    def close(self) -> None:
        self.report.close()
        os.close(self.fd)


@pytest.fixture
def region():
    region = Region()
    yield region
    region.close()


no_check = settings(suppress_health_check=list(HealthCheck), max_examples=200)


@no_check
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_never_an_error(region, data):
    """Whatever stands in the region, reading it gives a claim or none, and never raises."""
    region.scribble(data)
    assert type(region.report.read()) in (Claim, type(None))


@no_check
@given(st.binary(max_size=300))
def test_arbitrary_bytes_of_the_right_length_are_never_an_error(region, data):
    """A truthful length in front makes no difference."""
    region.scribble(struct.pack("<I", len(data)) + data)
    assert type(region.report.read()) in (Claim, type(None))


@pytest.mark.parametrize("length", [0, SIZE - 3, SIZE, 0x7FFFFFFF, 0xFFFFFFFF])
def test_lengths_that_lie_are_no_claim(region, length):
    """A length of nothing, or past the region's end, is no claim."""
    region.scribble(struct.pack("<I", length) + b"N" * (SIZE - 4))
    assert region.report.read() is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        (),
        (None,),
        (None, True),
        (None, 0),
        (None, False, None),
        ("ValueError", False),
        (("a", "b"), False),
        (("a", "b", b"c"), False),
        (("a", "b", "c", "d"), False),
        (("a", "b", "c"), 1),
        (("a", "b", "c"), None),
        ([[[[[[]]]]]], False),
    ],
)
def test_only_well_formed_claims_are_taken(region, value):
    """A claim of the wrong shape is none."""
    region.claim(value)
    assert region.report.read() is None


@no_check
@given(st.text(), st.text(), st.text(max_size=1000), st.booleans())
def test_a_claim_comes_back(region, kind, message, traceback, memory_error):
    """What a program says arrives as it was, up to the documented cuts."""
    region.report.write(Claim((kind, message, traceback), memory_error))
    expected = Claim((kind[:200], message[:MAX_MESSAGE], traceback), memory_error)
    assert region.report.read() == expected


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", "\ud800"])
def test_long_texts_are_cut_to_fit(region, letter):
    """Long texts are cut so that a claim fits; a traceback keeps both ends and says so."""
    text = "BEGIN" + letter * (1 << 20) + "END"
    region.report.write(Claim((text, text, text)))
    kind, message, traceback = region.report.read().exception
    assert len(kind) == 200
    assert len(message) == MAX_MESSAGE
    assert traceback.startswith("BEGIN")
    assert traceback.endswith("END")
    assert "characters left out" in traceback
    assert len(traceback) < MAX_TRACEBACK + 100


def test_a_plain_end_is_a_claim(region):
    """A program that ended without an exception says just that."""
    region.report.write(Claim())
    assert region.report.read() == Claim()


def test_a_cleared_report_says_nothing(region):
    """No run reads what an earlier one wrote, and the host takes no old word for a new one."""
    region.report.write(Claim(("ValueError", "secret", "Traceback")))
    region.report.clear()
    assert region.report.read() is None
    assert os.pread(region.fd, SIZE, 0) == bytes(SIZE)
