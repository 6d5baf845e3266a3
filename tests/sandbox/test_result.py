"""`Result`: what the host tells, in words and as JSON."""

import dataclasses
import json

import pytest

from interpreter_pool import ExitReason, Result
from interpreter_pool.sandbox.result import GuestException


def result(**known) -> Result:
    known = {"reason": ExitReason.OK, "exit_code": 0, "stdout_bytes": b"1\n"} | known
    return dataclasses.replace(Result.internal("", tier="none", queue_s=0.0), **known)


KEYS = {
    "reason", "ok", "success", "exit_code", "signal", "returncode", "completed", "stdout",
    "stderr", "stdout_truncated", "stderr_truncated", "exception", "wall_s", "cpu_s", "queue_s",
    "peak_memory_bytes", "tier", "layers", "infra_error", "detail", "files", "files_skipped", "id",
    "value", "rolled_back", "checkpointed", "not_offered", "refused_calls",
}  # fmt: skip


@pytest.mark.parametrize("reason", list(ExitReason))
def test_to_dict_is_json_and_has_torchrls_keys(reason):
    """`to_dict` is plain JSON data and carries success, stdout, stderr and returncode."""
    given = result(
        reason=reason,
        stdout_bytes=b"\xff\x00\x1b[0m",
        exception=GuestException("ValueError", "\ud800", "Traceback"),
        layers={"tier": "none"},
    )
    data = given.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(data) == KEYS
    assert data["success"] is data["ok"] is (reason == "ok")
    assert data["infra_error"] is (reason == "internal")
    assert type(data["reason"]) is str
    assert type(data["layers"]) is dict
    assert data["exception"] == {
        "type": "ValueError",
        "message": "\ud800",
        "traceback": "Traceback",
    }


@pytest.mark.parametrize(
    "known, returncode",
    [
        ({}, 0),
        ({"reason": ExitReason.EXIT, "exit_code": 3}, 3),
        ({"reason": ExitReason.SIGNAL, "exit_code": None, "signal": 11}, -11),
        ({"reason": ExitReason.WALL_TIMEOUT, "exit_code": None}, -9),
        ({"reason": ExitReason.INTERNAL, "exit_code": None}, -9),
    ],
)
def test_returncode_is_subprocess_like(known, returncode):
    """One number as `subprocess` gives it: exit code, minus the signal, -9 for force."""
    assert result(**known).returncode == returncode


def test_invalid_bytes_are_replaced_and_kept():
    """Text has replacement characters; the bytes as written are there too."""
    given = result(stdout_bytes=b"a\xffb", stderr_bytes=b"\xe2\x82")
    assert given.stdout == "a�b"
    assert given.stderr == "�"
    assert given.stdout_bytes == b"a\xffb"


def test_an_infra_error_is_no_success():
    """Our failure is neither ok nor a wrong answer: it has no exit code and says what it is."""
    given = Result.internal("no worker", tier="namespaces", queue_s=1.5)
    assert given.infra_error
    assert not given.ok
    assert given.exit_code is given.signal is given.exception is given.cpu_s is None
    assert (given.detail, given.queue_s, given.tier) == ("no worker", 1.5, "namespaces")


def test_a_result_is_frozen():
    """Nobody who gets a result can change what others see of it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().reason = ExitReason.OK
