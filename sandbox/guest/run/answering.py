"""The program's side of a dialogue: it does what a test asks of it, for as long as any asks come.

An object of a class that the test names stays here; the test holds a handle of it, a number, and
asks for one of `OPERATIONS`. So does what can only be taken one after the other: iterators, and
coroutines. All else crosses as what it holds (`crossing`), or not at all.
"""

import builtins
import copy
import functools
import io
import operator
import os
import types
from collections.abc import Callable
from typing import Any, NoReturn

from ..jail import wire
from . import ahead, seeding
from . import furnishing as furnishing
from .crossing import AWAITABLE, HANDLE, ITERATOR, NAME, Crossing, Entry
from .dialogue import (
    CLASS,
    ERROR,
    EXCEPTIONS,
    HOLDER,
    MAX_ANSWER,
    MAX_CALL,
    RAISED,
    UNFIT,
    VALUE,
    Role,
    receive,
    send,
)
from .sharing import Files

__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
"""As in `program.py`: a program that takes away its own builtins keeps these."""

_MAX_MESSAGE = 4096
_MOST_PRINTED = 1 << 20
"""Bytes of what a call prints that the test is handed."""

_MOST_OF_MANY = 1 << 20
"""Bytes, or characters, of the answers to calls that were asked for at once."""

_METHODS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_FROZEN = (int, float, complex, str, bytes, tuple, frozenset)
_MUTABLE = (list, dict, set)


class Recorder(io.FileIO):
    """The raw end of a standard stream, which remembers what a call writes."""

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd, "wb", closefd=False)
        self.name = name
        self.written = bytearray()

    def write(self, data: Any, /) -> int:
        done = super().write(data)
        if len(self.written) < _MOST_PRINTED:
            self.written += bytes(data)[: _MOST_PRINTED - len(self.written)]
        return done

    def take(self) -> str:
        text = self.written.decode("utf-8", "replace")
        self.written.clear()
        return text


def serve(role: Role, namespace: dict[str, Any], recorders: tuple[Recorder, ...]) -> NoReturn:
    """When the program has been loaded: answer, for as long as anything is asked.

    What is no Exception (SystemExit, say) is not caught: it ends the program, and with it the test.
    """
    answering = Answering(role, namespace, recorders)
    while True:
        kind, body = answering.answer(receive()[1])
        send(kind, body)


class Answering:
    def __init__(
        self, role: Role, namespace: dict[str, Any], recorders: tuple[Recorder, ...]
    ) -> None:
        self._role = role
        self._namespace = namespace
        self._recorders = recorders
        self._crossing = Crossing(role.records, namespace, self._entry_of, self._object_of)
        self._things: list[object] = []  # what the test has handles of, by number
        self._numbers: dict[int, int] = {}  # by id()
        self._files = Files(os.getcwd()) if role.shares else None
        for name, _ in role.names:
            furnishing.require(namespace, name)

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """Do what is asked; return the kind and the body of the answer."""
        asked, objects = self._crossing.unpack(request, MAX_CALL)
        operation, place, target, args, kwargs, news, states = asked
        if states is not None:
            seeding.set_states(states)
        if self._files is not None:
            self._files.take(news)
            args, kwargs = self._files.inward(args), self._files.inward(kwargs)
        for each in self._recorders:
            each.take()
        if operation == "calls":
            return self._many(self._role.names[place][0], args[0])
        try:
            if place >= 0:
                target = furnishing.find(self._namespace, self._role.names[place][0])
            value = OPERATIONS[operation](target, *args, **kwargs)
        except Exception as error:
            return RAISED, self._raised(error)
        keep = None
        if self._role.takes_object(operation, place, args):
            keep = functools.partial(self._keep, value)
        if operation == "get":
            value = self._got(value, known=keep is not None)
        whole = value
        origins: dict[int, int] = {}
        try:
            if self._role.tells_more:
                # Records that came along are all told: they may no longer lead to each other.
                afterwards = (args, kwargs, self._crossing.records_in(objects))
                whole = (value, afterwards if self._role.mutates else None, *self._more())
                origins = {id(each): number for number, each in enumerate(objects)}
                if self._files is not None:
                    whole = (self._files.outward(value), *whole[1:])
            return VALUE, self._crossing.pack(whole, MAX_ANSWER, origins, keep)[0]
        except wire.WireError as error:
            return UNFIT, str(error).encode("utf-8", "replace")

    def _many(self, name: str, packed: bytes) -> tuple[int, bytes]:
        """Make calls until one raises, or there is no more room for answers. Each answer is
        written when it is there: it may be changed by the next call.
        """
        answers: list[str | bytes] = []
        raised, size = b"", 0
        for args in ahead.unpacked(packed):
            try:
                value = furnishing.find(self._namespace, name)(*args)
            except Exception as error:
                raised = self._raised(error)
                break
            answer: str | bytes | None = ahead.as_json(value)
            if answer is None:
                try:
                    answer = self._crossing.pack(value, MAX_ANSWER)[0]
                except wire.WireError as error:
                    if answers:  # it is asked for once more, and then is the first
                        break
                    return UNFIT, str(error).encode("utf-8", "replace")
            size += len(answer)
            if answers and size > _MOST_OF_MANY:
                break
            answers.append(answer)
        try:
            return VALUE, wire.encode((answers, raised), max_bytes=MAX_ANSWER)
        except wire.WireError as error:
            return UNFIT, str(error).encode("utf-8", "replace")

    def _keep(self, value: object, item: object) -> Entry | None:
        if item is not value or isinstance(item, (*_FROZEN, *_MUTABLE)):
            return None
        return HANDLE, self._number(item), (), "", None

    def _got(self, value: object, *, known: bool) -> tuple[bool, object]:
        """Of an attribute: whether it is to be called by its name, and what it is if not."""
        known = known and not isinstance(value, _METHODS)
        known = known or isinstance(value, type) or self._entry_of(value) is not None
        is_method = callable(value) and not known
        return is_method, None if is_method else value

    def _more(self) -> tuple[Any, Any]:
        """What was printed, and what has become of the files."""
        printed = tuple(each.take() for each in self._recorders)
        if self._files is None:
            return printed, None
        return self._files.outward(printed), self._files.news()

    def _raised(self, error: Exception) -> bytes:
        """An exception as the nearest built-in type that it is of, and whatever else of it may
        cross.
        """
        mro = type(error).__mro__
        base: type[Exception] = RuntimeError  # as PEP 479 has it
        if not isinstance(error, (StopIteration, StopAsyncIteration)):
            base = next(kind for kind in mro if EXCEPTIONS.get(kind.__name__) is kind)
        places = self._places(mro, (ERROR,))
        its = tuple(error.args)
        if isinstance(error, OSError) and len(its) == 2 and type(error.filename) is str:
            its += (error.filename,)  # which args leave out
        text, origin, attributes = "", ("", ""), {}
        if type(error) is not base:
            text = ("" + str(error))[:_MAX_MESSAGE]
            origin = type(error).__module__, type(error).__qualname__
            attributes = dict(vars(error))
        try:
            more = self._more()
        except wire.WireError:
            more = ((), None)
        plain = {name: each for name, each in attributes.items() if type(each) in wire.PLAIN}
        tries: tuple[tuple[Any, dict[str, Any]], ...] = (
            (its, attributes if places else plain),
            (its, plain),
            (its, {}),
        )
        for args, said in tries:
            try:
                whole = (base.__name__, args, places, origin, text, said, *more)
                return self._crossing.pack(whole, MAX_ANSWER)[0]
            except wire.WireError:
                pass
        args = ("" + str(error)[:_MAX_MESSAGE],)
        return self._crossing.pack(
            (base.__name__, args, places, origin, text, {}, *more), MAX_ANSWER
        )[0]

    # ---- what the test has handles of

    def _places(self, mro: tuple[type, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
        """Which of the names lead to these classes, in this order."""
        found = {}
        for place, (name, kind) in enumerate(self._role.names):
            if kind in kinds:
                found[id(self._namespace.get(name))] = place
        return tuple(found[id(kind)] for kind in mro if id(kind) in found)

    def _entry_of(self, item: object) -> Entry | None:
        kind = type(item)
        if isinstance(item, (type, types.FunctionType)):
            for place, (name, _) in enumerate(self._role.names):
                if self._namespace.get(name) is item:
                    return NAME, place
        places = self._places(kind.__mro__, (CLASS, HOLDER))
        if places:
            return HANDLE, self._number(item), places, *_held(item)
        if kind.__module__ in ("builtins", "itertools"):
            if kind is types.CoroutineType:
                return AWAITABLE, self._number(item)
            if hasattr(kind, "__next__"):
                return ITERATOR, self._number(item)
        return None

    def _number(self, item: object) -> int:
        number = self._numbers.get(id(item))
        if number is None:
            number = self._numbers[id(item)] = len(self._things)
            self._things.append(item)
        return number

    def _object_of(self, entry: Entry) -> object:
        if entry[0] == NAME:
            return furnishing.find(self._namespace, self._role.names[entry[1]][0])
        return self._things[entry[1]]


def _held(item: object) -> tuple[str, object]:
    """What kind of plain data an object is by its base, and which, if that can't change."""
    for base in _FROZEN:
        if isinstance(item, base):
            return base.__name__, wire.plain(item)
    return next((base.__name__ for base in _MUTABLE if isinstance(item, base)), ""), None


def _next(item: Any) -> tuple[bool, object]:
    """Whether there was another, and which: what ends an iteration may not cross."""
    try:
        return True, next(item)
    except StopIteration:
        return False, None


_loop: Any = None


def _wait_for(awaitable: Any) -> Any:
    """What a coroutine returns; all of them run in one event loop."""
    global _loop
    import asyncio

    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop.run_until_complete(awaitable)


def _next_of_async(item: Any) -> tuple[bool, object]:
    try:
        return True, _wait_for(item.__anext__())
    except StopAsyncIteration:
        return False, None


def _leave(item: Any, error: tuple[str, tuple[Any, ...]] | None) -> bool:
    """Call __exit__, as `with` does."""
    return bool(item.__exit__(*_error_info(error)))


def _error_info(error: tuple[str, tuple[Any, ...]] | None) -> tuple[Any, Any, Any]:
    if error is None:
        return None, None, None
    raised = EXCEPTIONS.get(error[0], Exception)(*error[1])
    return type(raised), raised, None


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "matmul", "truediv")},
    **{name: getattr(operator, name) for name in ("floordiv", "mod", "pow", "lshift", "rshift")},
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "divmod": divmod,
}

ARITHMETIC = {
    **_BINARY,
    **{f"r{name}": lambda a, b, do=do: do(b, a) for name, do in _BINARY.items()},
    **{f"i{name}": getattr(operator, f"i{name}") for name in _BINARY if name != "divmod"},
}
ORDERING = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge")}

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda item, /, *args, **kwargs: item(*args, **kwargs),
    "method": lambda item, name, /, *args, **kwargs: getattr(item, name)(*args, **kwargs),
    "value": lambda item: item,
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "length": len,
    "item": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": operator.contains,
    "iter": iter,
    "next": _next,
    "reversed": reversed,
    "bool": bool,
    "str": str,
    "repr": repr,
    "format": format,
    "bytes": bytes,
    "hash": hash,
    "int": int,
    "float": float,
    "complex": complex,
    "index": operator.index,
    "round": round,
    "abs": abs,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    "eq": operator.eq,
    "ne": operator.ne,
    **ORDERING,
    **ARITHMETIC,
    "enter": lambda item: item.__enter__(),
    "leave": _leave,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "plain": wire.plain,
    "subclass": issubclass,
    "await": _wait_for,
    "aiter": lambda item: item.__aiter__(),
    "anext": _next_of_async,
    "aenter": lambda item: _wait_for(item.__aenter__()),
    "aleave": lambda item, error: bool(_wait_for(item.__aexit__(*_error_info(error)))),
}
"""What a test may ask of a name or a handle; the first argument is what that stands for."""
