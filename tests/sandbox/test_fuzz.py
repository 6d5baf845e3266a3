"""Everything that reads bytes from a jail, fed with bytes that no jail of ours would send.

Whatever comes, the reader returns something of its kind or raises the one error that it is
documented to raise; it keeps no descriptor, and waits for nothing that does not come.
"""

import contextlib
import os
import socket
import stat
import struct
import tempfile
import time

import pytest
from conftest import wait_until
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from interpreter_pool import Limits, SetupError
from interpreter_pool.sandbox.guest.jail import protocol, wire
from interpreter_pool.sandbox.guest.jail.report import REGION, SIZE, Report
from interpreter_pool.sandbox.guest.jail.scratch import wipe
from interpreter_pool.sandbox.guest.jail.tree import copy_tree
from interpreter_pool.sandbox.guest.session.head import FAULT, HEADER, RESULT
from interpreter_pool.sandbox.host.probe import Requirements, probe_host
from interpreter_pool.sandbox.jail.folder import HostFolder
from interpreter_pool.sandbox.jail.messages import JailLost, quoted, understood
from interpreter_pool.sandbox.jail.pidfd import Pidfd
from interpreter_pool.sandbox.reasons import End, decide
from interpreter_pool.sandbox.run.files import Pattern, collect
from interpreter_pool.sandbox.run.resource_monitor import look_through
from interpreter_pool.sandbox.run.run_jail import Prewarmed, RunJail
from interpreter_pool.sandbox.session.call import Call, _Outcome
from interpreter_pool.sandbox.session.channel import Channel
from interpreter_pool.sandbox.session.state import Home, State, StateLost, fault_of
from interpreter_pool.sandbox.session.supervisor import Supervisor
from interpreter_pool.sandbox.snapshot.template import SetupFailed, SetupRefused, Template

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

HUGE = 10**5000
"""A number that Python refuses to write out."""

scalars = (
    st.none() | st.booleans() | st.integers() | st.booleans().map(lambda _: HUGE) | st.floats() | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from(
        ["hello", "fault", "exit", "first", "forked", "ready", "failed", "refused", "zygote", "ok",
         "exception", "address_bytes", "data_bytes", "landlock_abi"]
    )
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=6).map(tuple)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["address_bytes", "data_bytes"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
"""Well-formed, and of any shape."""

frames = values.map(wire.encode) | st.binary(max_size=100)


@pytest.fixture(scope="module")
def plan():
    """A plan that works here; what it plans is not what is tested."""
    folder = HostFolder()
    probed = probe_host(Requirements(tier="landlock"), Limits(), folder)
    probed.jail.close()
    yield probed.plan
    probed.plan.launcher.close()
    folder.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Zygote:
    """The other end of a jail's control socket, which says what it is told to say and goes."""

    def __init__(self, plan) -> None:
        self.jail = RunJail(plan)
        self.jail._control, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.jail._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.jail._poll.register(self.jail._control)

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        # Its "process id" may be our own: there is nothing to kill.
        if self.jail._zygote is not None:
            self.jail._zygote.close()
        self.jail.close()

    def say(self, data: bytes, kinds: tuple[str, ...] = ()) -> None:
        """Send a message with descriptors of these kinds."""
        made = [_descriptor(kind) for kind in kinds]
        try:
            socket.send_fds(self.socket, [data], made)
        finally:
            for fd in made:
                os.close(fd)


def _descriptor(kind: str) -> int:
    match kind:
        case "pidfd":
            return os.pidfd_open(os.getpid())
        case "socket":
            one, other = socket.socketpair()
            other.close()
            return one.detach()
        case "folder":
            return os.open("/", os.O_RDONLY)
        case _:
            return os.open("/dev/null", os.O_RDONLY)


kinds = st.lists(st.sampled_from(["pidfd", "socket", "folder", "file"]), max_size=4).map(tuple)
events = (
    st.builds(
        protocol.EVENT.pack,
        st.sampled_from([b"r", b"h", b"x", b"?"]),
        st.integers(0, 3) | st.integers(0, (1 << 64) - 1),
        st.integers(-1, 1 << 17) | st.integers(-(1 << 63), (1 << 63) - 1),
        st.integers(0, 2) | st.integers(-(1 << 63), (1 << 63) - 1),
    )
    | st.binary(min_size=1, max_size=60)
    | frames.filter(bool)
)


@fuzz
@given(frames.filter(bool), kinds)
@example(wire.encode(("hello", {"address_bytes": HUGE, "data_bytes": -1})), ())
@example(wire.encode(HUGE), ())
@example(wire.encode(("hello", {"address_bytes": 1, "data_bytes": 1, "landlock_abi": "x"})), ())
def test_a_hello_is_one_or_the_jail_is_lost(plan, data, sent):
    """What a zygote says first is taken for a hello with plausible numbers, or refused."""
    before = descriptors()
    with Zygote(plan) as zygote:
        zygote.say(data, sent)
        try:
            zygote.jail._meet()
        except (JailLost, SetupError):
            pass
        else:
            assert 0 <= zygote.jail.address_bytes < 1 << 47
            assert 0 <= zygote.jail.data_bytes < 1 << 47
            assert 0 <= zygote.jail.landlock_abi < 1000
    wait_until(lambda: descriptors() <= before)  # other threads open files for a moment


def _end(wait_status: int) -> End:
    return End(
        host=None,
        wait_status=wait_status,
        out_of_memory=False,
        memory_limited=True,
        exception=False,
        memory_error=False,
    )


@fuzz
@given(
    st.lists(st.tuples(events, kinds), max_size=4), st.sampled_from(["prewarmed", "exit", "hold"])
)
@example([(protocol.EVENT.pack(b"x", 1, 9, 0), ())], "exit")
@example([(protocol.EVENT.pack(b"r", 1, 0, 0), ("file", "pidfd"))], "prewarmed")
@example([(protocol.EVENT.pack(b"r", 1, 0, 0), ("socket", "file"))], "prewarmed")
@example([(protocol.EVENT.pack(b"r", 1, 0, 0), ("socket", "pidfd", "file"))], "prewarmed")
@example([(protocol.EVENT.pack(b"h", 1, 0, 0), ("file", "file"))], "hold")
def test_events_are_taken_or_the_jail_is_lost(plan, sent, notification):
    """Whatever a zygote says of prewarmed processes, ends and scratches: an answer of that kind, or `JailLost`."""
    before = descriptors()
    with Zygote(plan) as zygote:
        ours, theirs = socket.socketpair()
        prewarmed = Prewarmed(1, ours, Pidfd.of(os.getpid()))
        for data, with_these in sent:
            zygote.say(data, with_these)
        zygote.socket.shutdown(socket.SHUT_WR)
        try:
            match notification:
                case "prewarmed":
                    found = zygote.jail.next_prewarmed()
                    assert found.process.pid == os.getpid()
                    found.close()
                case "exit":
                    while True:
                        if (ended := zygote.jail.wait_exit(prewarmed, 1.0)) is None:
                            break
                        assert 0 <= ended[0] < 1 << 16 and ended[1] >= 0
                        decide(_end(ended[0]))
                case "hold":
                    folder = zygote.jail.hold(prewarmed)
                    if folder is not None:
                        os.close(folder)
        except JailLost:
            pass
        finally:
            prewarmed.close()
            theirs.close()
    wait_until(lambda: descriptors() <= before)  # other threads open files for a moment


@fuzz
@given(frames)
def test_what_ours_say_is_a_value_or_the_jail_is_lost(data):
    """A message is understood or `JailLost`; it can be shown to people whatever it is."""
    try:
        message = understood(data)
    except JailLost as lost:
        assert len(str(lost)) < 400
    else:
        assert len(quoted(message)) <= 200


@fuzz
@given(st.lists(st.tuples(frames.filter(bool), kinds), min_size=1, max_size=3))
def test_a_templates_words_are_understood_or_it_is_lost(sent):
    """A template is ready, failed or refused, or lost; it forks a zygote, or is lost."""
    before = descriptors()
    template = Template.__new__(Template)
    template._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    template.process = None
    template._scratch = None
    template.fork_server = _Silent()
    for data, with_these in sent:
        made = [_descriptor(kind) for kind in with_these]
        socket.send_fds(other, [data], made)
        for fd in made:
            os.close(fd)
    other.shutdown(socket.SHUT_WR)
    try:
        template._meet(5.0)
        template.fork_zygote(other, 0, "x").close()
    except (JailLost, SetupFailed, SetupRefused):
        pass
    finally:
        template.close()
        other.close()
    wait_until(lambda: descriptors() <= before)  # other threads open files for a moment


class _Silent:
    """A fork server that has logged nothing."""

    def log(self) -> str:
        return ""


def channel() -> tuple[Channel, socket.socket]:
    """A family's channel, and the family init's end of it."""
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(_Nobody(), ours, Supervisor(0)), other


class _Nobody:
    """A monitor that is played by the test."""

    def add(self, fd, watched) -> None:
        pass

    def remove(self, fd) -> None:
        pass


@fuzz
@given(st.lists(frames.filter(bool), max_size=5))
@example([wire.encode(("exit", 7, 9, 0))])
@example([wire.encode(("exit", 7, HUGE, 0))])
@example([wire.encode(("exit", 7, 0, -1))])
def test_a_family_inits_words_are_kept_or_it_is_lost(sent):
    """Words of a family init that were not asked for are kept, few of them, or it is lost."""
    made, other = channel()
    state = _Ending()
    state.inner = 7
    made.supervisor.know(state)
    for data in sent:
        other.send(data)
    made.attend(0)
    made.close()
    other.close()
    if state.ended is not None:
        decide(_end(state.ended[0]))


class _Ending:
    """A state whose end a family init tells."""

    ended: tuple[int, float] | None = None
    pid = os.getpid()


def test_a_family_init_that_talks_without_end_is_lost():
    """Neither time nor memory is taken without bound by words that nobody asked for."""
    made, other = channel()
    other.setblocking(False)
    word = wire.encode("x" * 1000)
    began = time.monotonic()
    while "more than it was asked" not in repr(made):
        try:
            for _ in range(150):
                other.send(word)
        except BlockingIOError:
            pass
        made.attend(0)
        assert time.monotonic() < began + 10
    with pytest.raises(JailLost, match="more than it was asked"):
        made.tell(("first",))
    made.close()
    other.close()


headers = st.builds(
    HEADER.pack,
    st.sampled_from([RESULT, FAULT, b"h", b"?"]),
    st.integers(0, 200) | st.integers(0, (1 << 64) - 1),
)


@fuzz
@given(st.builds(bytes.__add__, headers, frames) | st.binary(max_size=100), st.booleans())
@example(HEADER.pack(FAULT, len(wire.encode(HUGE))) + wire.encode(HUGE), False)
def test_a_states_fault_is_a_text(data, at_once):
    """What a state says of a failure becomes a text for people, whatever it is."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    before = time.monotonic()
    first = ours.recv(HEADER.size) if at_once else None
    assert isinstance(fault_of(ours, first), str)
    assert time.monotonic() < before + 3
    ours.close()


@fuzz
@given(values | st.tuples(st.sampled_from(["ok", "exit", "exception"]), *[scalars] * 5), st.data())
@example(("ok", 0, None, None, False, None), None)
@example(("exception", 1, None, ("E", "m", "t"), True, None), None)
def test_an_outcome_is_one_or_none(value, data):
    """What a session's process says of its code's end is an outcome, or none: never an error."""
    outcome = _Outcome.of(value)
    if outcome is not None:
        decide(
            End(
                host=None,
                wait_status=outcome.status,
                out_of_memory=False,
                memory_limited=True,
                exception=outcome.exception is not None,
                memory_error=outcome.memory_error,
            )
        )
    call = Call.__new__(Call)
    payload = wire.encode(value)
    for answer in (
        HEADER.pack(RESULT, len(payload)) + payload,
        HEADER.pack(RESULT, 7 if data is None else data.draw(st.integers(0, 1 << 63))) + payload,
        b"" if data is None else data.draw(st.binary(max_size=40)),
        payload,
    ):
        call._answer = bytearray(answer)
        call._outcome()


@fuzz
@given(
    st.integers(0, 200) | st.integers(0, (1 << 32) - 1),
    frames | st.binary(max_size=2000),
    st.integers(0, 200) | st.integers(0, (1 << 32) - 1),
    st.binary(max_size=200),
)
def test_a_report_is_a_claim_or_none(length, claim, value_length, value):
    """Whatever stands in the shared memory is a claim of three texts, or none, and a value within it."""
    fd = os.memfd_create("report")
    os.ftruncate(fd, REGION)
    report = Report(fd)
    try:
        os.pwrite(fd, struct.pack("<I", length) + claim, 0)
        os.pwrite(fd, struct.pack("<I", value_length) + value, SIZE)
        found = report.read()
        assert found is None or found.exception is None or len(found.exception) == 3
        returned = report.read_value()
        assert returned is None or 0 < len(returned) <= REGION - SIZE
    finally:
        report.close()
        os.close(fd)


@fuzz
@given(st.binary(max_size=60))
def test_an_event_is_one_or_none(data):
    """A record of another size, kind or range is no event."""
    event = protocol.unpack_event(data)
    assert event is None or (len(data) == protocol.EVENT.size and event[2] in range(1 << 16))


# ---- trees of files

names = st.one_of(
    st.sampled_from(
        ["a", "b", ".c", "main.py", "a b", "-rf", "*", "[", "\n", "\x1b[2J", "%s", "é"]
    ),
    st.binary(min_size=1, max_size=20)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b".."))
    .map(os.fsdecode),
)
nodes = st.recursive(
    st.tuples(st.just("file"), st.binary(max_size=50), st.sampled_from([0, 0o400, 0o777]))
    | st.tuples(st.just("sparse"), st.integers(0, 1 << 40))
    | st.tuples(
        st.just("link"),
        st.sampled_from(["/etc/passwd", "a", "..", ".", "/proc/self/fd/0", "main.py", "x" * 300]),
    )
    | st.tuples(st.just("fifo"))
    | st.tuples(st.just("socket")),
    lambda inner: st.tuples(
        st.just("folder"),
        st.dictionaries(names, inner, max_size=4),
        st.sampled_from([0o700, 0, 0o500]),
    ),
    max_leaves=12,
)


def plant(folder: str, tree: dict[str, tuple]) -> None:
    """Make a tree of files as a program could have made it."""
    for name, (kind, *details) in tree.items():
        path = os.path.join(folder, name)
        match kind:
            case "file":
                with open(path, "wb") as file:
                    file.write(details[0])
                os.chmod(path, details[1])
            case "sparse":
                with open(path, "wb") as file:
                    file.truncate(details[0])
            case "link":
                os.symlink(details[0], path)
            case "fifo":
                os.mkfifo(path)
            case "socket":
                os.mknod(path, stat.S_IFSOCK | 0o600)
            case "folder":
                os.mkdir(path)
                plant(path, details[0])
                os.chmod(path, details[1])


@settings(fuzz, max_examples=150)
@given(st.dictionaries(names, nodes, max_size=5))
def test_any_tree_is_taken_out_watched_copied_and_wiped(tree):
    """Of any tree, regular files come out and the rest is named; a link is never followed; looking
    through it, copying and emptying it end, whatever is in it.
    """
    before = descriptors()
    limits = Limits(disk_bytes=1 << 20, files=1000)
    with tempfile.TemporaryDirectory() as top:
        plant(top, tree)
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        found, skipped = collect(fd, (Pattern.parse("**"),), limits)
        assert sum(map(len, found.values())) <= 1 << 20
        assert not found.keys() & skipped.keys() and "main.py" not in found
        for name, content in found.items():
            path = os.path.join(top, name)
            assert stat.S_ISREG(os.lstat(path).st_mode) and os.path.realpath(path) == os.path.join(
                os.path.realpath(top), name
            )
            assert len(content) == os.lstat(path).st_size
        trouble = look_through(top, limits, 1 << 16).trouble
        assert trouble is None or isinstance(trouble, str)
        with tempfile.TemporaryDirectory() as copy:
            target = os.open(copy, os.O_RDONLY | os.O_DIRECTORY)
            try:
                copy_tree(fd, target)
            except OSError:  # what a branch is then refused for
                pass
            os.close(target)
            wipe(copy)
        os.close(fd)
        wipe(top)
        assert os.listdir(top) == []
    wait_until(lambda: descriptors() <= before)  # other threads open files for a moment


def test_a_new_state_that_goes_is_lost():
    """A state that leaves, resets its socket or says too little while it settles is `StateLost`."""
    for said in (b"", b"h", b"\xff" * HEADER.size, HEADER.pack(FAULT, 1 << 60)):
        ours, theirs = socket.socketpair()
        theirs.sendall(said)
        theirs.close()
        with contextlib.closing(State(os.getpid(), 1, ours, Home())) as state:
            state.process.close()  # or the end of it would be ours
            with pytest.raises(StateLost):
                state.expect(b"h")
        ours.close()
