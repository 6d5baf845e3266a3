"""What a client and an executor say to each other: requests with orders, replies with answers.

One method, `exchange`, carries all of it. A request brings new orders and waits for answers; an
executor keeps it until it is worth answering, or until the same client's next request comes, so
that a client can always send more and never has to ask. Both are bytes: a header that any version
can read, and a pickle. Whoever can call an executor's methods is trusted as its owner is (the same
user, or the same cluster); what a program says only ever is bytes within.
"""

import copyreg
import dataclasses
import operator
import pickle
from typing import Any, NamedTuple

from ...sandbox.limits import Limits
from ...sandbox.result import Result
from ...sandbox.run.job import Job
from ..errors import PoolError

HEADER = b"interpreter-pool exchange 1\n"
"""A later version that can't talk to this one has another number."""

RUN, JUDGE, SESSION, CALL, SNAPSHOT, FORGET, CANCEL, STATS, LEAVE, UNREADABLE = range(10)
"""Kinds of orders; their bodies are:

RUN       `RunBody`                                       answer: (Result, Record | None)
JUDGE     (program, cases, options)                        answer: Verdict
SESSION   (id, method, args, options); "" opens one        answer: what the method returns
CALL      (id, code, request, options)                     answer: Result
SNAPSHOT  (key, set-up code, timeout, runtime)             answer: None
FORGET    key of a snapshot                                answer: None
CANCEL    number of the order that is to be ended          no answer
STATS     None                                             answer: Stats
LEAVE     None: the client goes, and what it has with it   no answer
UNREADABLE  why: what an order becomes whose body can't be unpickled   answer: `Unreadable`
"""


class RunBody(NamedTuple):
    """A run. queue_timeout: seconds that it may still wait. snapshot: the key of where it is forked
    from; "": from where all are.
    """

    job: Job
    test: Job | None
    queue_timeout: float | None
    snapshot: str


class Sent(NamedTuple):
    """An order on its way; numbers are the client's, and never used twice."""

    number: int
    kind: int
    body: Any


class Answer(NamedTuple):
    """What has come of an order: a value, or the error that is to be raised."""

    number: int
    value: Any
    error: BaseException | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """sequence: how many requests this client has made of this executor before; they are taken in
    that order. oldest: the first of them that has no reply yet. incarnation: the executor that is
    meant; another one in its place must not take it. patience_s: how long an answer may wait for
    others that can go along with it.
    """

    client: str
    sequence: int
    incarnation: str
    orders: list[Sent]
    patience_s: float = 0.0
    oldest: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How busy an executor is. size: programs that run at once. queued: runs that wait.
    clients: how many it has.
    """

    size: int
    queued: int
    draining: bool = False
    clients: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """desk: what the executor keeps for this client; another one knows nothing of earlier orders,
    which were ended because the client was silent for too long.
    """

    answers: list[Answer]
    load: Load
    desk: str


@dataclasses.dataclass(frozen=True, slots=True)
class Described:
    """What a client knows of an executor before it sends anything."""

    incarnation: str
    limits: Limits
    tier: str
    load: Load
    runtimes: tuple[str, ...] = ()


def _make(kind: type[Any], values: tuple[Any, ...]) -> Any:
    made = object.__new__(kind)
    for put, value in zip(_SLOTS[kind], values, strict=True):
        put(made, value)
    return made


def _pickled_by_slots(kind: type[Any]) -> None:
    """Have a frozen dataclass with slots cross as its values: the way of its own, which asks
    `dataclasses.fields` for each object, is most of what a run costs its client.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    values_of = operator.attrgetter(*names)
    _SLOTS[kind] = [getattr(kind, name).__set__ for name in names]
    copyreg.pickle(kind, lambda each: (_make, (kind, values_of(each))))


_SLOTS: dict[type[Any], list[Any]] = {}
for _kind in (Job, Limits, Result):
    _pickled_by_slots(_kind)


class Nonsense(PoolError):
    """What the other side says can't be understood."""


class Unreadable(Nonsense):
    """An order can't be understood where it was sent: what it is made of is not there, say."""


class Apart(NamedTuple):
    """The body of an order that is pickled by itself."""

    data: bytes


def apart(body: object) -> Apart:
    return Apart(pickle.dumps(body, pickle.HIGHEST_PROTOCOL))


def pack(message: object) -> bytes:
    return HEADER + pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def pack_request(request: Request) -> bytes:
    """Pack a request so that it can be read also where the body of an order can't."""
    bodies = [each.body if each.number else None for each in request.orders]
    heads = [each._replace(body=None) if each.number else each for each in request.orders]
    packed = pickle.dumps(bodies, pickle.HIGHEST_PROTOCOL)
    return pack((dataclasses.replace(request, orders=heads), packed))


def unpack_request(data: object) -> Request:
    """Return a request, in which an order that can't be read is `UNREADABLE`; raise `Nonsense`."""
    request, packed = unpack(tuple, data, "a client")
    if not isinstance(request, Request) or not isinstance(packed, bytes):
        raise Nonsense(f"a client says {request!r:.80} in place of a Request")
    try:
        bodies = pickle.loads(packed)
    except Exception as error:  # noqa: BLE001  (unpickling raises whatever it likes)
        bodies = [error] * len(request.orders)
    orders = [
        _with_body(head, body) if head.number else head
        for head, body in zip(request.orders, bodies, strict=True)
    ]
    return dataclasses.replace(request, orders=orders)


def _with_body(head: Sent, body: Any) -> Sent:
    if isinstance(body, Apart):
        try:
            body = pickle.loads(body.data)
        except Exception as error:  # noqa: BLE001
            body = error
    if isinstance(body, Exception):
        why = f"an order can't be unpickled ({type(body).__name__}: {body})"
        return Sent(head.number, UNREADABLE, why)
    return head._replace(body=body)


def unpack(kind: type[Any], data: object, who: str) -> Any:
    """Return the message; raise `Nonsense`, which names who has said it."""
    if not isinstance(data, bytes) or not data.startswith(HEADER):
        said = data[: len(HEADER) + 8] if isinstance(data, bytes) else data
        raise Nonsense(
            f"{who} does not speak {HEADER.decode().strip()!r} (it says {said!r:.80}); have the "
            "same version of interpreter-pool on both sides"
        )
    try:
        message = pickle.loads(memoryview(data)[len(HEADER) :])
    except Exception as error:  # noqa: BLE001  (unpickling raises whatever it likes)
        raise Nonsense(
            f"{who}: what it says can't be unpickled ({type(error).__name__}: {error}); have the "
            "same version of interpreter-pool on both sides"
        ) from None
    if not isinstance(message, kind):
        raise Nonsense(f"{who} says {message!r:.80} in place of a {kind.__name__}")
    return message


def portable(error: BaseException) -> BaseException:
    """The error, or, where it can't travel, one with its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # noqa: BLE001
        return PoolError(f"{type(error).__name__}: {error}")
