"""`Limits`: what makes no sense is refused, with words that help."""

import dataclasses
import math

import pytest

from interpreter_pool import Limits, PolicyError, SandboxError

SECONDS = ("wall_s", "cpu_s")
COUNTS = (
    "memory_bytes",
    "output_bytes",
    "disk_bytes",
    "files",
    "threads",
    "open_files",
    "source_bytes",
)


def test_the_fields_are_the_documented_ones():
    """A limit that these tests do not know is a limit that nobody checked."""
    assert {field.name for field in dataclasses.fields(Limits)} == {*SECONDS, *COUNTS, "processes"}


@pytest.mark.parametrize("name", (*SECONDS, *COUNTS))
def test_none_is_unlimited(name):
    """None stands for unlimited in every limit that can be lifted."""
    assert getattr(Limits(**{name: None}), name) is None


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", ["1", True, False, 1j, b"1", [1.0], object()])
def test_seconds_of_a_wrong_type_are_refused(name, value):
    """Seconds are a number; the message names the argument, the value, and None."""
    with pytest.raises(TypeError) as caught:
        Limits(**{name: value})
    assert str(caught.value).startswith(name)
    assert repr(value) in str(caught.value)
    assert "None" in str(caught.value)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, math.inf, -math.inf, math.nan, 1e12, 10**30])
def test_absurd_seconds_are_refused(name, value):
    """Zero, negative, infinite and astronomical times are refused; None is named as the way out."""
    with pytest.raises(ValueError, match="None is unlimited") as caught:
        Limits(**{name: value})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize("name", SECONDS)
def test_whole_seconds_become_floats(name):
    """Seconds are floats, whatever number they were given as; small fractions stay."""
    value = getattr(Limits(**{name: 3}), name)
    assert type(value) is float
    assert getattr(Limits(**{name: 1e-3}), name) == 1e-3


@pytest.mark.parametrize("name", SECONDS)
def test_a_whole_number_too_large_for_a_float_is_refused_in_words(name):
    """An integer beyond every float is a ValueError that names the argument, not an overflow."""
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 10**400})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", ["1", 1.0, True, 1e6, b"1", [1]])
def test_counts_of_a_wrong_type_are_refused(name, value):
    """Bytes and counts are whole numbers; the message names the argument and the value."""
    with pytest.raises(TypeError) as caught:
        Limits(**{name: value})
    assert str(caught.value).startswith(name)
    assert repr(value) in str(caught.value)
    assert "None" in str(caught.value)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, -(1 << 70), (1 << 62) + 1, 1 << 80])
def test_absurd_counts_are_refused(name, value):
    """Zero, negative and astronomical counts are refused; None is named as the way out."""
    with pytest.raises(ValueError, match="None is unlimited") as caught:
        Limits(**{name: value})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    "name, least", [("memory_bytes", 8 << 20), ("disk_bytes", 4096), ("open_files", 8)]
)
def test_what_not_even_an_empty_program_can_live_on_is_refused(name, least):
    """Some limits have a least value, which the message tells."""
    assert getattr(Limits(**{name: least}), name) == least
    with pytest.raises(ValueError, match=str(least)):
        Limits(**{name: least - 1})


@pytest.mark.parametrize("value", [None, 2, 64])
def test_a_tier_that_cannot_hold_processes_refuses_them_as_policy(value):
    """That is one of our errors and a ValueError, and names the tier and the way out."""
    limits = Limits(processes=value)
    limits.require_fit("namespaces")
    with pytest.raises(PolicyError, match=f"processes={value}") as caught:
        limits.require_fit("landlock")
    assert isinstance(caught.value, (ValueError, SandboxError))
    assert "landlock" in str(caught.value) and "processes=1" in str(caught.value)
    Limits().require_fit("landlock")


def test_processes_and_threads_are_counted_together():
    """The kernel counts tasks: those of each process, and what is allowed of threads beyond."""
    assert Limits(processes=1, threads=64).tasks == 64
    assert Limits(processes=4, threads=1).tasks == 4
    assert Limits(processes=4, threads=64).tasks == 67
    assert Limits(processes=None).tasks is None is Limits(threads=None).tasks


def test_more_tasks_than_linux_can_have_are_any_number():
    """pids.max takes no number over 4194304, and the zygote is one more."""
    assert Limits(threads=4194302).tasks == 4194302
    assert Limits(threads=4194303).tasks is None is Limits(processes=1 << 62).tasks


def test_limits_are_frozen_and_keyword_only():
    """Limits can be shared between threads and pools: nobody can change them."""
    limits = Limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.wall_s = 1.0
    with pytest.raises(TypeError):
        Limits(1.0)
    assert not hasattr(limits, "__dict__")
    assert limits == Limits()
    assert hash(limits) == hash(Limits())


def test_replace_checks_again():
    """A changed copy is checked as a new one is, and the original stays."""
    limits = Limits()
    assert limits.replace(wall_s=1).wall_s == 1.0
    assert limits.wall_s == 10.0
    with pytest.raises(ValueError, match="wall_s=-1"):
        limits.replace(wall_s=-1)
    with pytest.raises(TypeError, match="wal_s"):
        limits.replace(wal_s=1)
