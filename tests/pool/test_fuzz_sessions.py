"""Sessions whose own process says what it likes on its socket to the host, fed by hypothesis.

A session's process is the program's: every byte that comes from it may be made up, at any moment
of the protocol. Real processes, real sockets; nothing but what the API documents may come of it.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpreter_pool import Limits, PolicyError, PoolError, Result, SessionLost
from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.session.head import HEADER

LIMITS = Limits(wall_s=0.5)

SAY = """
import os, stat
def _is_socket(fd):
    try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError: return False
_jobs = [fd for fd in range(3, 300) if _is_socket(fd)]
for _frame in @FRAMES@:
    for _fd in _jobs:
        try: os.write(_fd, _frame)
        except OSError: pass
@THEN@
"""

words = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=10)
    | st.binary(max_size=10)
    | st.sampled_from(["ok", "exit", "exception", "a" * 5000]),
    lambda inner: st.lists(inner, max_size=6).map(tuple),
    max_leaves=8,
).map(wire.encode)
outcomes = st.tuples(
    st.sampled_from(["ok", "exit", "exception"]),
    st.sampled_from([0, 1, 256, -1, 1 << 70]),
    st.none() | st.text(max_size=5),
    st.none() | st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)),
    st.booleans() | st.none(),
    st.none() | st.binary(max_size=5),
).map(wire.encode)
payloads = words | outcomes | st.binary(max_size=50)


@st.composite
def frames(draw) -> bytes:
    """A letter of the protocol or another, a size that may be true, and something."""
    payload = draw(payloads)
    size = draw(st.just(len(payload)) | st.sampled_from([0, 1, 1 << 20, 1 << 40, (1 << 64) - 1]))
    return HEADER.pack(draw(st.sampled_from([b"h", b"r", b"x", b"s", b"f", b"?"])), size) + payload


spoken = st.lists(frames() | st.binary(max_size=40), min_size=1, max_size=3)
ends = st.sampled_from(
    [
        "",
        "os._exit(0)",
        "while True: pass",
        "import time; time.sleep(9)",
        "[os.close(fd) for fd in _jobs]",
        "import signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "for fd in _jobs: os.read(fd, 1 << 16)\nfor fd in _jobs: os.write(fd, b'x' * 20)\nos._exit(1)",
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(spoken, ends)
def test_whatever_a_sessions_process_says_has_a_documented_outcome(pool, said, then):
    """A call, what follows it, a branch and a rollback end in time, as results or as errors that are
    documented, and the pool serves others as before.
    """
    code = SAY.replace("@FRAMES@", repr(said)).replace("@THEN@", then)
    with pool.session(limits=LIMITS) as session:
        session.run("x = 1")
        first = session.run(code)
        assert isinstance(first, Result) and not first.infra_error
        for step in (
            lambda: session.run("x"),
            lambda: session.fork().close(),
            lambda: session.rollback(),
            lambda: session.run("x"),
        ):
            try:
                step()
            except (SessionLost, PolicyError, PoolError):
                pass
    with pool.session() as other:
        assert other.run("6 * 7").value == "42"


@pytest.mark.parametrize("rollback", [True, False])
def test_a_number_without_end_is_no_failure_of_ours(pool, rollback):
    """A fault that is a number too long to be written out does not break the host."""
    huge = HEADER.pack(b"x", 3000) + wire.encode(1 << 23000)[:3000]
    code = SAY.replace("@FRAMES@", repr([huge])).replace("@THEN@", "")
    with pool.session(limits=LIMITS, rollback=rollback) as session:
        assert not session.run(code).infra_error
    assert pool.run("print(1)").ok
