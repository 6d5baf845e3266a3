"""The test's side of a dialogue: it asks the program's process, and reads what comes back.

One thread at a time asks; the program is asked for one thing at a time.
"""

import _thread
import builtins
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ..jail import wire
from . import ahead, seeding
from .crossing import Crossing, Entry
from .dialogue import (
    CALL,
    ERROR,
    EXCEPTIONS,
    GARBLED,
    MAX_ANSWER,
    MAX_CALL,
    RAISED,
    TOO_LARGE,
    UNFIT,
    VALUE,
    Role,
    leave,
    receive,
    send,
)
from .sharing import Files

_OWN_WORD = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "contains", "bool", "hash", "subclass", "leave", "aleave"}
)
"""Operations whose answer only says what the program says of itself."""

_PAIRS = frozenset({"get", "next", "anext"})
"""Operations that are answered by a truth and a value."""

_NO_EXCEPTIONS_OF = frozenset(
    {"unittest", "pytest", "_pytest", "nose", "hypothesis", "__main__", "test_main"}
)
"""Modules of which no exception may come from a program: some tell a runner to skip a test. Nor
may one that is derived from theirs; other modules have theirs by names of their own.
"""

_MOST_WATCHED = 8
_OURS = 3
"""References to a container that only `_write_out` knows: its list's, its variable, the count's."""

Maker = Callable[[Entry, bool], object]
"""Makes what stands for an entry of a table; the second argument: the test has asked for an object,
and not for what may be data."""


class Asking:
    """What the test's process knows of the program. There is one; it lasts for all tests.

    make: makes stand-ins for what the program keeps; tell: finds the entry of such a one.
    """

    def __init__(self, role: Role, make: Maker, tell: Callable[[object], Entry | None]) -> None:
        self.role = role
        self._turn = _thread.RLock()  # tests may have threads; what is read may ask
        self._make, self._tell = make, tell
        self._crossing = Crossing(role.records, {}, tell, self._object_of)
        self._errors: dict[tuple[Any, ...], type[Exception]] = {}
        self._for_object = self.may_be_object = False
        self._watched: list[tuple[int, object, str, Any, bytes]] = []
        self._files = Files(os.getcwd()) if role.shares else None
        self._states = seeding.states() if role.seeds else None
        self.has_data = self.has_own_word = False
        self.errors = {
            place: type(
                name.rpartition(".")[2], (Exception,), {"__module__": role.module or "program"}
            )
            for place, (name, kind) in enumerate(role.names)
            if kind == ERROR
        }

    def begin(self, namespace: dict[str, Any]) -> None:
        """Be told what the next test's names are: its records are of the classes in there."""
        self._crossing.namespace = namespace
        self._watched.clear()  # an earlier test's
        self.has_data = self.has_own_word = False

    @property
    def is_weak(self) -> bool:
        """Whether all that the present test has learned is what the program says of itself."""
        return self.has_own_word and not self.has_data

    def say(self, kind: int, body: bytes = b"") -> None:
        with self._turn:
            send(kind, body)

    def exchange(self, kind: int, body: bytes) -> int:
        """Say something to the host, and return the kind of its answer."""
        with self._turn:
            send(kind, body)
            return receive()[0]

    def ask(
        self,
        operation: str,
        place: int,
        target: object = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        for_object: bool = False,
    ) -> Any:
        """Have the program do something; return what comes of it, or raise what it raised.

        place: of a name, or -1: of `target`. for_object: where an object comes of it, the test has
        asked for one.
        """
        keywords = dict(kwargs or {})
        with self._turn:
            if self._watched:
                self._write_out()
            try:
                moved, news = (args, keywords), None
                if self._files is not None:
                    moved, news = self._files.outward(moved), self._files.news()
                question = (operation, place, target, *moved, news, self._new_states())
                request, objects = self._crossing.pack(question, MAX_CALL)
            except wire.WireError as error:
                name = "the program" if place < 0 else self.role.names[place][0]
                why = f"an argument of {name} can't cross: {error}"
                _give_up(TOO_LARGE if isinstance(error, wire.TooMuch) else UNFIT, why)
            send(CALL, request)
            kind, body = receive()
            before = self._for_object, self.may_be_object
            self._for_object = for_object
            self.may_be_object = self.role.takes_object(operation, place, args)
            try:
                answer, _ = self._crossing.unpack(
                    body, MAX_ANSWER, objects if self.role.mutates else None
                )
                if kind == RAISED:
                    answer = self._exception(answer)
                elif self.role.tells_more:
                    answer, afterwards, printed, news = answer
                    self._take(printed, news)
                    if self._files is not None:
                        answer = self._files.inward(answer)
                    if self.role.mutates:  # whatever the program says
                        _write_back([((args, keywords), tuple(afterwards[:2]))])
            except Exception as error:  # whatever it was made to raise
                _give_up(GARBLED, str(error))
            finally:
                self._for_object, self.may_be_object = before
            if operation in _OWN_WORD:
                self.has_own_word = True
            elif kind == RAISED:
                self.has_data = True
            else:
                self._take_note(answer, operation in _PAIRS)
        if kind == VALUE:
            return answer
        raise answer

    def ask_for_many(self, place: int, calls: bytes, count: int) -> list[tuple[Any, ...]]:
        """Have the program make `count` calls of a name; return the outcomes of some of them, the
        first included: (value,), or (None, exception), after which there are no more.
        """
        with self._turn:
            if self._watched:
                self._write_out()
            question: Any = ("calls", place, None, (calls,), {}, None, self._new_states())
            send(CALL, wire.encode(question, max_bytes=MAX_CALL))
            _, body = receive()
            try:
                match wire.decode(body, max_bytes=MAX_ANSWER, max_nodes=len(body) + 1):
                    case (list(answers), bytes(raised)) if 0 < len(answers) + bool(raised) <= count:
                        pass
                    case _:
                        raise wire.WireError("no answers")
                outcomes: list[tuple[Any, ...]] = [(self._read(each),) for each in answers]
                if raised:
                    told, _ = self._crossing.unpack(raised, MAX_ANSWER)
                    outcomes.append((None, self._exception(told)))
            except Exception as error:  # as above
                _give_up(GARBLED, str(error))
            self.has_data = True
            return outcomes

    def _read(self, answer: Any) -> Any:
        if type(answer) is str:
            return ahead.from_json(answer)
        if type(answer) is not bytes:
            raise wire.WireError("no answer")
        return self._crossing.unpack(answer, MAX_ANSWER)[0]

    def _take_note(self, answer: Any, is_pair: bool) -> None:
        """Of what the test has learned: something that is data, or only that there are objects."""
        if is_pair and type(answer) is tuple and len(answer) == 2:
            answer = answer[1]
        if self._tell(answer) is not None:
            self.has_own_word = True
        elif answer is not None and not self._is_of_objects(answer):
            self.has_data = True

    def _is_of_objects(self, answer: Any) -> bool:
        """Whether it is a container of what the program keeps, and of nothing else."""
        kind = type(answer)
        held = answer.values() if kind is dict else answer
        is_container = kind in (list, tuple, set, frozenset, dict) and len(answer) > 0
        return is_container and all(self._tell(each) is not None for each in held)

    def watch(self, place: int, target: object, name: str, value: object) -> None:
        """Take note of a container that was an attribute: the test has a copy, and what it does to
        that is done to the program's before it is asked for anything else.
        """
        if type(value) in (list, dict, set):
            try:
                packed, _ = self._crossing.pack(value, MAX_CALL)
            except wire.WireError:  # it has come, and can't go back: a coroutine is in it
                return
            self._watched.append((place, target, name, value, packed))
            del self._watched[:-_MOST_WATCHED]

    def _write_out(self) -> None:
        watched, self._watched = self._watched, []
        for place, target, name, value, packed in watched:
            try:
                now, _ = self._crossing.pack(value, MAX_CALL)
            except wire.WireError as error:
                _give_up(UNFIT, f"what the test has put into {name} can't cross: {error}")
            if now != packed:
                self.ask("set", place, target, (name, value))
            if sys.getrefcount(value) > _OURS:  # the test still has it
                self._watched.append((place, target, name, value, now))

    def _new_states(self) -> seeding.States | None:
        """Of generators of random numbers, where the test has seeded them since."""
        if not self.role.seeds:
            return None
        states = seeding.states()
        if states == self._states:
            return None
        self._states = states
        return states

    def _take(self, printed: Any, news: Any) -> None:
        """Have what the program has printed and done to files be done here."""
        if self._files is not None:
            printed = self._files.inward(printed)
            if news is not None:
                self._files.take(news)
        for stream, text in zip((sys.stdout, sys.stderr), printed, strict=False):
            if text:
                stream.write(text)

    def _object_of(self, entry: Entry) -> object:
        return self._make(entry, self._for_object)

    def _exception(self, told: Any) -> Exception:
        match told:
            case (
                str(base),
                tuple(args),
                tuple(places),
                (str(module), str(name)),
                str(text),
                dict(attributes),
                printed,
                news,
            ) if base in EXCEPTIONS:
                pass
            case _:
                raise wire.WireError("it names no exception")
        self._take(printed, news)
        if self._files is not None:
            args, text = self._files.inward(args), self._files.inward(text)
        kind: type[Exception] = EXCEPTIONS[base]
        if module:
            kind = self._type_of(kind, places, module, name)
        error = _made(kind, args)
        if kind is not EXCEPTIONS[base]:
            own = {key: each for key, each in attributes.items() if not key.startswith("__")}
            vars(error).update(own)
            if text and not _reads(error, text):
                told_as = {"__module__": kind.__module__, "__str__": lambda self: text}
                error = _made(type(kind.__name__, (kind,), told_as), args)
                vars(error).update(own)
        return error

    def _type_of(
        self, base: type[Exception], places: tuple[Any, ...], module: str, name: str
    ) -> type[Exception]:
        """The type of an exception: of the classes that the test names, or one of a library."""
        named = tuple(self.errors[place] for place in places)
        if named:
            known = self._errors.get((base, *named))
            if known is None:
                bases = named if base is Exception else (*named, base)
                own = {"__module__": named[0].__module__}
                known = self._errors[base, *named] = type(named[0].__name__, bases, own)
            return known
        holder: Any = sys.modules.get(module)
        if holder is None or "." in name:
            return base
        found = vars(holder).get(name)
        if not (isinstance(found, type) and issubclass(found, base)):
            return base
        for each in found.__mro__:
            of_runner = each.__module__.partition(".")[0] in _NO_EXCEPTIONS_OF
            if of_runner or each in (StopIteration, StopAsyncIteration):
                return base
        return found


def _reads(error: Exception, text: str) -> bool:
    try:
        return str(error) == text
    except Exception:  # a class of a library, whose __init__ did not run
        return False


def _give_up(kind: int, why: str) -> NoReturn:
    """Say what can't go on; the host then ends this process."""
    send(kind, why.encode("utf-8", "replace"))
    receive()
    leave(1)


def _made(kind: type[Exception], args: tuple[Any, ...]) -> Exception:
    if kind.__module__ == builtins.__name__:
        try:
            return kind(*args)
        except Exception:
            pass
    try:
        error = kind.__new__(kind)  # no __init__ of a library is to see what a program sends
    except Exception:
        error = Exception()
    error.args = args
    return error


def _write_back(pairs: list[tuple[Any, Any]]) -> None:
    """Have each of the first, and what it holds, become as the second."""
    seen = set()
    while pairs:
        old, new = pairs.pop()
        if old is new or type(old) is not type(new) or id(old) in seen:
            continue
        seen.add(id(old))
        kind = type(old)
        if kind in (list, tuple):
            pairs += zip(old, new, strict=False)
            if kind is list:
                merged = [_kept(a, b) for a, b in zip(old, new, strict=False)]
                old[:] = merged + new[len(merged) :]
        elif kind is dict:
            pairs += [(old[key], each) for key, each in new.items() if key in old]
            merged_dict = {key: _kept(old.get(key), each) for key, each in new.items()}
            old.clear()
            old.update(merged_dict)
        elif kind is set:
            old.clear()
            old.update(new)
        elif kind is bytearray:
            old[:] = new
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray" and old.shape == new.shape:
            old[...] = new


def _kept(old: Any, new: Any) -> Any:
    """The old one, where it is one that can be made as the new one."""
    return old if type(old) is type(new) and type(old) in (list, dict, set, bytearray) else new
