"""`reasons.decide`: one reason for every end, picked in the written order."""

import itertools
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.sandbox import Limits
from interpreter_pool.sandbox.details import explain
from interpreter_pool.sandbox.reasons import Decision, End, ExitReason, decide

HOST = (
    ExitReason.CANCELLED,
    ExitReason.WALL_TIMEOUT,
    ExitReason.CPU_TIMEOUT,
    ExitReason.OUTPUT,
    ExitReason.MEMORY,
    ExitReason.DENIED,
)


def exited(code: int) -> int:
    return code << 8


def end(**known) -> End:
    """An end with nothing remarkable about it but what is `known`."""
    defaults = {
        "host": None,
        "wait_status": 0,
        "out_of_memory": False,
        "memory_limited": True,
        "exception": False,
        "memory_error": False,
    }
    return End(**(defaults | known))


TABLE = [
    # what is the case, what is decided
    ({}, Decision(ExitReason.OK, exit_code=0)),
    ({"wait_status": exited(3)}, Decision(ExitReason.EXIT, exit_code=3)),
    ({"wait_status": exited(1)}, Decision(ExitReason.EXIT, exit_code=1)),
    ({"wait_status": exited(255)}, Decision(ExitReason.EXIT, exit_code=255)),
    (
        {"wait_status": exited(1), "exception": True},
        Decision(ExitReason.EXCEPTION, exit_code=1),
    ),
    (
        {"wait_status": exited(1), "exception": True, "memory_error": True},
        Decision(ExitReason.MEMORY),
    ),
    (
        {
            "wait_status": exited(1),
            "exception": True,
            "memory_error": True,
            "memory_limited": False,
        },
        Decision(ExitReason.EXCEPTION, exit_code=1),
    ),
    # A claim that the exit status does not bear out counts for nothing.
    ({"wait_status": 0, "exception": True}, Decision(ExitReason.OK, exit_code=0)),
    (
        {"wait_status": exited(2), "exception": True, "memory_error": True},
        Decision(ExitReason.EXIT, exit_code=2),
    ),
    ({"wait_status": signal.SIGKILL}, Decision(ExitReason.SIGNAL, signal=9)),
    ({"wait_status": signal.SIGSEGV | 0x80}, Decision(ExitReason.SIGNAL, signal=11)),
    ({"wait_status": signal.SIGSYS}, Decision(ExitReason.DENIED)),
    ({"wait_status": signal.SIGSYS | 0x80}, Decision(ExitReason.DENIED)),
    ({"wait_status": None}, Decision(ExitReason.INTERNAL)),
    ({"wait_status": None, "out_of_memory": True}, Decision(ExitReason.MEMORY)),
    ({"wait_status": signal.SIGKILL, "out_of_memory": True}, Decision(ExitReason.MEMORY)),
    # The kernel may take a thread's memory from under a leader that then exits by itself.
    ({"wait_status": 0, "out_of_memory": True}, Decision(ExitReason.MEMORY)),
    ({"wait_status": signal.SIGSYS, "out_of_memory": True}, Decision(ExitReason.MEMORY)),
    *(({"host": host}, Decision(host)) for host in HOST),
    *(({"host": host, "wait_status": None}, Decision(host)) for host in HOST),
    *(({"host": host, "out_of_memory": True}, Decision(host)) for host in HOST),
    *(({"host": host, "wait_status": signal.SIGSYS}, Decision(host)) for host in HOST),
]


@pytest.mark.parametrize("known, decision", TABLE)
def test_the_table(known, decision):
    """Host, then kernel, then the program's own end, then ours: every branch, and its order."""
    assert decide(end(**known)) == decision


claims = st.fixed_dictionaries({"exception": st.booleans(), "memory_error": st.booleans()})
wait_statuses = (
    st.integers(0, 255).map(exited)
    | st.integers(1, 64)
    | st.integers(1, 64).map(lambda number: number | 0x80)
)


@given(claims, st.none() | wait_statuses, st.booleans(), st.booleans(), st.sampled_from(HOST))
def test_what_the_host_decided_outranks_everything(claim, status, out_of_memory, limited, host):
    """No word and no death of a program changes what the host has decided."""
    decision = decide(
        end(
            host=host,
            wait_status=status,
            out_of_memory=out_of_memory,
            memory_limited=limited,
            **claim,
        )
    )
    assert decision == Decision(host)


@given(claims, wait_statuses, st.booleans(), st.booleans())
def test_a_program_that_ended_is_never_an_infra_error(claim, status, out_of_memory, limited):
    """Whatever a program says and however it dies: `internal` is out of its reach."""
    decision = decide(
        end(wait_status=status, out_of_memory=out_of_memory, memory_limited=limited, **claim)
    )
    assert decision.reason is not ExitReason.INTERNAL


@given(claims, claims, wait_statuses, st.booleans())
def test_a_word_moves_only_what_is_the_programs_to_tell(one, other, status, out_of_memory):
    """Claims decide between reasons of exit code 1 only; success can't be claimed or denied."""
    first, second = (
        decide(end(wait_status=status, out_of_memory=out_of_memory, **claim))
        for claim in (one, other)
    )
    if not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1):
        assert first == second
    assert (first.reason is ExitReason.OK) == (second.reason is ExitReason.OK)


@given(claims, st.none() | wait_statuses, st.booleans(), st.booleans())
def test_a_decision_has_one_kind_of_end(claim, status, out_of_memory, limited):
    """There is an exit code, or a signal, or neither; and the reason says which."""
    decision = decide(
        end(wait_status=status, out_of_memory=out_of_memory, memory_limited=limited, **claim)
    )
    has_code = decision.reason in (ExitReason.OK, ExitReason.EXCEPTION, ExitReason.EXIT)
    assert (decision.exit_code is not None) == has_code
    assert (decision.signal is not None) == (decision.reason is ExitReason.SIGNAL)


def test_reasons_are_plain_text():
    """A reason prints, compares and serialises as its name in DESIGN's list."""
    names = "ok exception exit signal wall_timeout cpu_timeout memory output denied cancelled"
    assert [str(reason) for reason in ExitReason] == [*names.split(), "internal"]
    assert all(reason == str(reason) for reason in ExitReason)


def test_every_reason_has_an_entry_in_this_table():
    """The table above shows every reason at least once."""
    shown = {decision.reason for _, decision in TABLE}
    assert shown == set(ExitReason), set(itertools.filterfalse(shown.__contains__, ExitReason))


# ---- in words

OWN = (ExitReason.OK, ExitReason.EXCEPTION, ExitReason.EXIT)


@pytest.mark.parametrize("reason", sorted(set(ExitReason) - {ExitReason.INTERNAL}))
def test_an_end_that_is_not_the_programs_doing_is_explained(reason):
    """In a sentence; of the program's own ends nothing is said."""
    limits = Limits(wall_s=1.5, cpu_s=2, memory_bytes=100 << 20, output_bytes=1000)
    said = explain(Decision(reason, signal=9), limits, output_of="stderr")
    assert bool(said) == (reason not in OWN)
    expected = {
        ExitReason.WALL_TIMEOUT: "stopped after 1.5 s of wall-clock time (Limits.wall_s)",
        ExitReason.CPU_TIMEOUT: "stopped after 2 s of CPU time (Limits.cpu_s)",
        ExitReason.MEMORY: "needed more than 100 MiB of memory (Limits.memory_bytes)",
        ExitReason.OUTPUT: "wrote more than 1000 bytes to stderr (Limits.output_bytes)",
        ExitReason.SIGNAL: "died of SIGKILL (signal 9)",
    }
    assert said.startswith(expected.get(reason, ""))


def test_what_is_known_already_is_not_explained_again():
    """A watcher's own words stand."""
    assert explain(Decision(ExitReason.DENIED), Limits(), found="ran 3 threads") == "ran 3 threads"


def test_memory_without_a_limit_is_the_hosts():
    """There is no limit to raise then."""
    said = explain(Decision(ExitReason.MEMORY), Limits(memory_bytes=None))
    assert "this host" in said and "Limits" not in said


def test_signals_without_a_name_are_numbers():
    """Real-time signals, which Python has no names for."""
    assert explain(Decision(ExitReason.SIGNAL, signal=40), Limits()) == "died of signal 40"
