"""What stands in a test for what the program has: functions, classes, handles of their instances.

Whatever is done to one of these is asked of the program, by name, from one fixed table
(`answering.OPERATIONS`). What comes back is data; so a handle proves nothing that a test does not
look at. It is never equal to plain data, and does not reckon with data that a test may expect,
unless the test has made it itself, of a class that its text shows to be one: `abs(f(2) - 4) < 0.1`
must not be what an object makes of it. What a method, an operator or an index makes of such an
object may be data again (`vector[0]`, `v * w`, `abs(v)`), and does not reckon with data. Nor does
it have the methods by which data says whether it is what is expected: `f(x).equals(expected)`.
"""

import functools
import operator
import types
import weakref
from collections.abc import Callable
from typing import Any

from ..jail import wire
from . import sharing
from .ahead import Ahead
from .answering import ARITHMETIC, ORDERING
from .asking import Asking
from .crossing import AWAITABLE, HANDLE, ITERATOR, NAME, Entry
from .dialogue import CLASS, CONSTANT, ERROR, HOLDER, Role
from .swallowing import may_swallow

_ask: Callable[..., Any] = None  # type: ignore[assignment]
_watch: Callable[..., Any] = None  # type: ignore[assignment]

_SPECIAL = frozenset(
    {"__dict__", "__doc__", "__name__", "__wrapped__", "__annotations__", "__all__"}
)
"""Names of Python's own that are asked for; of the others, a stand-in has what it has."""

_ANSWERS_FOR_DATA = frozenset(
    {
        *("startswith", "endswith", "isdisjoint", "issubset", "issuperset", "difference"),
        *("symmetric_difference", "equals", "equal", "isin", "eq", "ne", "compare", "allclose"),
        "identical",
    }
)
"""Methods of texts, sets, arrays and frames that are given what is expected, and say if it is."""

_OF_ITERATORS = frozenset({"send", "throw", "close"})


class _StandIn(type):
    """The type of stand-ins for classes: what is done to one is done to the program's class."""

    __place__: int
    __makes__: bool  # it is a class for sure, so that what it is called for is an object
    __met__: bool  # it has come where data may have been expected

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _ask("call", cls.__place__, None, args, kwargs, for_object=cls.__makes__)

    def __getattr__(cls, name: str) -> Any:
        return _attribute(name, cls.__place__, None, not cls.__met__)

    def __setattr__(cls, name: str, value: Any) -> None:
        _ask("set", cls.__place__, None, (name, value))

    def __delattr__(cls, name: str) -> None:
        _ask("delete", cls.__place__, None, (name,))

    def __subclasscheck__(cls, other: type) -> bool:
        if type(other) is _StandIn and cls.__place__ >= 0 and other.__place__ >= 0:
            return bool(_ask("subclass", other.__place__, None, (cls,)))
        return super().__subclasscheck__(other)

    def __len__(cls) -> int:
        return _ask("length", cls.__place__)  # type: ignore[no-any-return]

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return _ask("item", cls.__place__, None, (key,))

    def __iter__(cls) -> Any:
        return _ask("iter", cls.__place__)

    def __contains__(cls, item: Any) -> bool:
        if not isinstance(item, Handle):
            return any(each is item or each == item for each in iter(cls))
        return bool(_ask("contains", cls.__place__, None, (item,)))


class Handle(metaclass=_StandIn):
    """An instance that the program has.

    __number__: by which the program knows it. __made__: the test has made it, by calling a class.
    __derived__, __held__: the type of plain data that its class is derived from, if any; and what
    it holds as that, if it can't change.
    """

    __slots__ = ("__derived__", "__held__", "__made__", "__number__", "__weakref__")
    __place__ = -1
    __makes__ = __met__ = False

    def __getattr__(self, name: str) -> Any:
        return _attribute(name, -1, self, self.__made__)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask("set", -1, self, (name, value))

    def __delattr__(self, name: str) -> None:
        _ask("delete", -1, self, (name,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _ask("call", -1, self, args, kwargs)

    def __eq__(self, other: object) -> Any:
        return _compared(self, other, "eq")

    def __ne__(self, other: object) -> Any:
        return _compared(self, other, "ne")

    def __hash__(self) -> int:
        if self.__derived__:
            return hash(self.__held__)
        return _ask("hash", -1, self)  # type: ignore[no-any-return]

    def __contains__(self, item: Any) -> bool:
        if not _may_reckon(self, item):
            return any(each is item or each == item for each in iter(self))
        return bool(_ask("contains", -1, self, (item,)))

    def __format__(self, spec: str) -> str:
        return _ask("format", -1, self, (spec,))  # type: ignore[no-any-return]

    def __enter__(self) -> Any:
        return _ask("enter", -1, self, for_object=self.__made__)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        swallows = bool(_ask("leave", -1, self, (_told(error),)))
        return swallows and (error is None or may_swallow(error, traceback))

    async def __aenter__(self) -> Any:
        return _ask("aenter", -1, self, for_object=self.__made__)

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        swallows = bool(_ask("aleave", -1, self, (_told(error),)))
        return swallows and (error is None or may_swallow(error, traceback))

    def __next__(self) -> Any:
        return _next(self)

    async def __anext__(self) -> Any:
        goes_on, value = _ask("anext", -1, self)
        if not goes_on:
            raise StopAsyncIteration
        return value

    def __copy__(self) -> Any:
        return _ask("copy", -1, self, for_object=self.__made__)

    def __deepcopy__(self, memo: Any) -> Any:
        return _ask("deepcopy", -1, self, for_object=self.__made__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("what a program has can't be pickled in its test")


def _told(error: BaseException | None) -> Any:
    if error is None:
        return None
    args = tuple(each for each in error.args if type(each) in wire.PLAIN)
    return type(error).__name__, args


def _compared(handle: Handle, other: object, operation: str) -> Any:
    if isinstance(other, Handle):
        return _ask(operation, -1, handle, (other,))
    if type(other) not in wire.PLAIN:
        return NotImplemented
    if not handle.__derived__:
        return operation == "ne"
    held = handle.__held__
    if held is None:
        held = _ask("plain", -1, handle)
        if type(held) not in wire.PLAIN:
            return operation == "ne"
    return (held == other) is (operation == "eq")


def _may_reckon(handle: Handle, other: object) -> bool:
    return handle.__made__ or isinstance(other, Handle)


def _binary(operation: str) -> Callable[[Handle, Any], Any]:
    in_place = operation.startswith("i")
    plain = getattr(operator, operation, None) or getattr(operator, f"{operation}_", None)

    def do(self: Handle, *others: Any) -> Any:
        (other, *_) = others
        if type(other) in wire.PLAIN and self.__derived__ and self.__held__ is not None:
            if plain is not None:
                return plain(self.__held__, other)
            return _reflected(operation)(other, self.__held__)
        if not _may_reckon(self, other):
            return NotImplemented
        # Only what is done in place surely makes an object of an object.
        return _ask(operation, -1, self, others, for_object=self.__made__ and in_place)

    return do


def _reflected(operation: str) -> Callable[[Any, Any], Any]:
    name = operation.removeprefix("r")
    return getattr(operator, name, None) or getattr(operator, f"{name}_", None) or divmod


def _unary(operation: str) -> Callable[..., Any]:
    def do(self: Handle, *args: Any) -> Any:
        return _ask(operation, -1, self, args)

    return do


_UNARY = {
    **{name: name for name in ("iter", "reversed", "bool", "str", "repr", "bytes", "int", "float")},
    **{name: name for name in ("complex", "index", "round", "abs", "neg", "pos", "invert")},
    "len": "length",
    "getitem": "item",
    "setitem": "setitem",
    "delitem": "delitem",
    "aiter": "aiter",
}
for _name, _operation in _UNARY.items():
    type.__setattr__(Handle, f"__{_name}__", _unary(_operation))
for _name in (*ARITHMETIC, *ORDERING):
    type.__setattr__(Handle, f"__{_name}__", _binary(_name))


class Iterator:
    """An iterator that the program has."""

    def __init__(self, number: int) -> None:
        self.__number__ = number

    def __iter__(self) -> "Iterator":
        return self

    def __next__(self) -> Any:
        return _next(self)

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_ITERATORS:  # it may stand where data is expected
            raise AttributeError(f"an iterator of the program's has no {name}")
        return _attribute(name, -1, self, False)


def _next(iterator: Any) -> Any:
    goes_on, value = _ask("next", -1, iterator)
    if not goes_on:
        raise StopIteration
    return value


class _Awaitable:
    """What stands in a call for a coroutine of the program's."""

    def __init__(self, number: int) -> None:
        self.__number__ = number


async def _awaiting(awaitable: _Awaitable) -> Any:
    return _ask("await", -1, awaitable)


def _attribute(name: str, place: int, target: Any, is_made: bool) -> Any:
    """What an attribute is; of a method, a function that calls it by its name. is_made: it is
    one of what can't have come in place of data.
    """
    if name.startswith("__") and name.endswith("__") and name not in _SPECIAL:
        raise AttributeError(f"a stand-in has no {name}")
    is_method, value = _ask("get", place, target, (name,))
    if not is_method:
        _watch(place, target, name, value)
        return value

    def method(*args: Any, **kwargs: Any) -> Any:
        about_data = not all(isinstance(each, Handle) for each in (*args, *kwargs.values()))
        if about_data and not is_made and name in _ANSWERS_FOR_DATA:
            raise TypeError(f"{name} of the program's own is no answer about data")
        return _ask("method", place, target, (name, *args), kwargs)

    method.__name__ = method.__qualname__ = name
    return method


class StandIns:
    """All stand-ins of a test's process, by the names and numbers that the program knows."""

    def __init__(self, role: Role) -> None:
        global _ask, _watch
        self.asking = Asking(role, self._make, self._tell)
        _ask, _watch = self.asking.ask, self.asking.watch
        if role.shares:
            sharing.refuse_code()
        self._role = role
        self._handles: weakref.WeakValueDictionary[int, Handle] = weakref.WeakValueDictionary()
        self._places: dict[int, int] = {}  # of functions and classes, by id()
        self._standing: dict[int, Any] = {}
        self._ahead: Ahead | None = None
        for place, (name, kind) in enumerate(role.names):
            if kind == ERROR:
                standing: Any = self.asking.errors[place]
            elif kind in (CLASS, HOLDER):
                own: dict[str, Any] = {"__place__": place, "__slots__": ()}
                own["__module__"] = role.module or "program"
                own |= {"__makes__": kind == CLASS, "__met__": False}
                standing = type.__new__(_StandIn, name, (Handle,), own)
            elif kind == CONSTANT:
                continue
            else:
                standing = self._function(place, name)
            self._places[id(standing)] = place
            self._standing[place] = standing

    def at(self, place: int) -> Any:
        """What stands for the name at this place; of data, the data as it is now."""
        if place in self._standing:
            return self._standing[place]
        return self.asking.ask("value", place)

    def _function(self, place: int, name: str) -> Callable[..., Any]:
        ask = self.asking.ask

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._ahead is not None and not kwargs:
                outcome = self._ahead.take(args)
                if outcome is not None:
                    if len(outcome) > 1:
                        raise outcome[1]
                    return outcome[0]
            return ask("call", place, None, args, kwargs)

        call.__name__ = call.__qualname__ = name.rpartition(".")[2]
        return call

    def ahead(self, function: object, calls: Any) -> Any:
        """What a loop of calls is to go through: the same, and each call finds its answer."""
        place = self._places.get(id(function))
        if place is None or type(calls) is not list or self._role.tells_more:
            return calls
        self._ahead = Ahead(functools.partial(self.asking.ask_for_many, place), calls)
        return self._ahead

    def _tell(self, item: object) -> Entry | None:
        kind = type(item)
        if isinstance(item, Handle):
            return HANDLE, item.__number__
        if kind in (Iterator, _Awaitable):
            return ITERATOR, item.__number__  # type: ignore[attr-defined]
        place = self._places.get(id(item))
        return None if place is None else (NAME, place)

    def _make(self, entry: Entry, is_made: bool) -> object:
        match entry:
            case (str(what), int(number), tuple(places), str(base), held) if what == HANDLE:
                return self._handle(number, places, base, held, is_made)
            case (str(what), int(place)) if what == NAME and place in self._standing:
                standing = self._standing[place]
                if type(standing) is _StandIn:
                    type.__setattr__(standing, "__met__", True)
                return standing
            case (str(what), int(number)) if what == ITERATOR:
                return Iterator(number)
            case (str(what), int(number)) if what == AWAITABLE:
                return _awaiting(_Awaitable(number))
        raise wire.WireError("an object that is none")

    def _handle(
        self, number: int, places: tuple[Any, ...], base: str, held: Any, is_made: bool
    ) -> Handle:
        kinds = {place: kind for place, (_, kind) in enumerate(self._role.names)}
        if any(kinds.get(place) not in (CLASS, HOLDER) for place in places):
            raise wire.WireError("an object of a class that the test does not name")
        if not places and not self.asking.may_be_object:
            raise wire.WireError("an object where the test takes none")
        is_made = is_made and bool(places) and kinds[places[0]] == CLASS
        found = self._handles.get(number)
        if found is not None:
            # Once it has come where data may have been expected, it no longer reckons with data.
            object.__setattr__(found, "__made__", found.__made__ and is_made)
            return found
        handle: Handle = object.__new__(self._kind(places) if places else Handle)
        for name, value in (
            ("__number__", number),
            ("__made__", is_made),
            ("__derived__", base),
            ("__held__", held),
        ):
            object.__setattr__(handle, name, value)
        self._handles[number] = handle
        return handle

    def _kind(self, places: tuple[int, ...]) -> type:
        """The class of handles of an instance of these classes, the nearest first."""
        nearest = self._standing[places[0]]
        others = tuple(self._standing[place] for place in places[1:])
        if others and nearest.__bases__ == (Handle,):
            try:
                type.__setattr__(nearest, "__bases__", others)
            except TypeError as error:  # in another order than before
                raise wire.WireError(f"classes that can't be: {error}") from None
        return nearest  # type: ignore[no-any-return]


class Module(types.ModuleType):
    """Stands for the module of which a test imports the program's names."""

    def __init__(self, name: str, stand_ins: StandIns, places: dict[str, int]) -> None:
        super().__init__(name)
        vars(self)["_stand_ins"] = stand_ins
        vars(self)["_places"] = places
        vars(self)["__all__"] = list(places)
        vars(self)["__path__"] = []

    def __getattr__(self, name: str) -> Any:
        if name not in self._places:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self._stand_ins.at(self._places[name])
