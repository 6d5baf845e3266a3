"""What crosses between a test and the program that it calls: plain data, and objects.

A message is one value as `wire` has it. Where it holds objects, their table stands before it:

    "#"  a length and the table  a length and the attributes of all records  the value

The three are values of their own, the second a list; a "@" in the latter two is a place in the
table. So nothing recurses, whatever the objects form: a list of 100,000 nodes is a table of
as many. An entry of the table is one of

    (RECORD, class, shape, origin)  an instance of a class that both sides define: its attributes
                                    cross, and each side builds its own. class: its place among the
                                    role's records; shape: the names of its attributes, by their
                                    place in the table's first part; origin: its place in the table
                                    of the call, if it came with that, else -1
    (LEAF, ...)                     a value of a library, as `leaves` packs it
    (SCALAR, number, ...)           a scalar of numpy's, as Python's own and as `leaves` packs it
    others                          what one side keeps, and the other has a stand-in for
"""

import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from ..jail import wire
from . import leaves

RECORD, LEAF, SCALAR = "record", "leaf", "scalar"
HANDLE, NAME, ITERATOR, AWAITABLE = "handle", "name", "iterator", "awaitable"

MAX_DEPTH = 48

_MARK = b"#"
_PREFIX = 5
"""Bytes of a list before its elements."""
_MOST_ATTRIBUTES = 1000
_HOLDING = tuple(wire.PLAIN - {type(None), bool})

Entry = tuple[Any, ...]

_NO_ENTRIES: Mapping[int, Any] = {}


class Crossing:
    """One side's way to write values, and to read what the other side has written.

    records: the names of the classes whose instances cross as records. namespace: where they are
    defined. entry_of: tells what stands in the table for an object that only this side knows, or
    None; object_of: what stands here for such an entry.
    """

    def __init__(
        self,
        records: tuple[str, ...],
        namespace: dict[str, Any],
        entry_of: Callable[[object], Entry | None],
        object_of: Callable[[Entry], object],
    ) -> None:
        self.namespace = namespace
        self._records = records
        self._entry_of = entry_of
        self._object_of = object_of

    def pack(
        self,
        value: object,
        max_bytes: int,
        origins: Mapping[int, int] = _NO_ENTRIES,
        keep: Callable[[object], Entry | None] | None = None,
    ) -> tuple[bytes, list[Any]]:
        """Return `value` as bytes, and the objects of its table. Raises `wire.WireError` for what
        can't cross. origins: the places of objects in the table of a call, by id(). keep: as
        `entry_of`, of what would not cross otherwise.
        """
        table: list[Entry] = []
        objects: list[Any] = []  # also keeps their ids from being given to others
        places: dict[int, int] = {}
        shapes: dict[tuple[str, ...], int] = {}
        unwritten: list[list[Any]] = []
        classes = self._classes()

        def refer(item: object) -> int | None:
            place = places.get(id(item))
            if place is not None:
                return place
            entry = self._entry_of(item)
            if entry is None and type(item) in classes:
                attributes = _attributes(item)
                shape = shapes.setdefault(tuple(attributes), len(shapes))
                entry = (RECORD, classes[type(item)], shape, origins.get(id(item), -1))
                unwritten.append(list(attributes.values()))
            if entry is None:
                entry = _leaf(item)
            if entry is None and keep is not None:
                entry = keep(item)
            if entry is None:
                return None
            place = places[id(item)] = len(table)
            table.append(entry)
            objects.append(item)
            return place

        def write(part: object, room: int) -> bytes:
            return wire.encode(
                part, max_bytes=room, max_depth=MAX_DEPTH, max_nodes=room, bases=True, refer=refer
            )

        whole = write(value, max_bytes)
        if not table:
            return whole, objects
        bodies: list[bytes] = []
        count, size = 0, len(whole) + _PREFIX
        for attributes in unwritten:  # which grows meanwhile
            body = write(attributes, max(max_bytes - size, _PREFIX))[_PREFIX:]
            count += len(attributes)
            size += len(body)
            bodies.append(body)
        head = wire.encode(
            [list(shapes), table], max_bytes=max_bytes, max_nodes=max_bytes, bases=True
        )
        if size + len(head) + 9 > max_bytes:
            raise wire.TooMuch(f"larger than {max_bytes} bytes")
        body = b"".join([b"l", count.to_bytes(4, "little"), *bodies])
        lengths = [len(each).to_bytes(4, "little") for each in (head, body)]
        return b"".join([_MARK, lengths[0], head, lengths[1], body, whole]), objects

    def unpack(
        self, data: bytes, max_bytes: int, origins: list[Any] | None = None
    ) -> tuple[Any, list[Any]]:
        """Return what `pack` has written, and the objects of its table. Raises `wire.WireError` for
        anything else. origins: the objects of a call's table; records that came from there are put
        in place of what they were.
        """
        if len(data) > max_bytes:
            raise wire.WireError(f"larger than {max_bytes} bytes")
        if data[:1] != _MARK:
            return _read(data, ()), []
        head, at = _part(data, 1)
        body, at = _part(data, at)
        match _read(head, ()):
            case [list(shapes), list(table)]:
                pass
            case _:
                raise wire.WireError("a table that is none")
        objects: list[Any] = []
        records: list[tuple[Any, _Plan]] = []
        plans: dict[tuple[int, int], _Plan] = {}
        for entry in table:
            match entry:
                case (str(kind), int(number), int(shape), int(origin)) if kind == RECORD:
                    plan = plans.get((number, shape))
                    if plan is None:
                        plan = plans[number, shape] = _Plan(
                            self._class(number), _names(shapes, shape)
                        )
                    item: Any = object.__new__(plan.kind)
                    if origins is not None and 0 <= origin < len(origins):
                        if type(origins[origin]) is not plan.kind:
                            raise wire.WireError("a record that has become one of another class")
                        item = origins[origin]
                    records.append((item, plan))
                    objects.append(item)
                case (str(kind), packed) if kind == LEAF:
                    objects.append(leaves.unpack(packed))
                case (str(kind), plain, packed) if kind == SCALAR:
                    known = "numpy" in sys.modules
                    objects.append(leaves.unpack(packed) if known else plain)
                case tuple():
                    objects.append(self._object_of(entry))
                case _:
                    raise wire.WireError("a table that is none")
        values = _read(body, objects)
        if type(values) is not list or len(values) != sum(len(each.names) for _, each in records):
            raise wire.WireError("records without their attributes")
        first = 0
        for item, plan in records:
            behind = first + len(plan.names)
            plan.fill(item, values[first:behind])
            first = behind
        return _read(data[at:], objects), objects

    def records_in(self, objects: list[Any]) -> list[Any]:
        """Those of the objects that are records."""
        classes = self._classes()
        return [each for each in objects if type(each) in classes]

    def _classes(self) -> dict[type, int]:
        found: dict[type, int] = {}
        for place, name in enumerate(self._records):
            kind = self.namespace.get(name)
            if _is_record_class(kind):
                found[kind] = place
        return found

    def _class(self, number: int) -> type:
        kind = None
        if 0 <= number < len(self._records):
            kind = self.namespace.get(self._records[number])
        if not _is_record_class(kind):
            raise wire.WireError("a record of what is no class of records here")
        return kind


def _is_record_class(kind: object) -> TypeGuard[type]:
    """Whether an instance is its attributes, and nothing else."""
    # What has a metaclass (Enum) is not made so, nor what holds something by its base.
    made_as_usual = getattr(kind, "__new__", None) is object.__new__
    return type(kind) is type and made_as_usual and not issubclass(kind, _HOLDING)


def _leaf(item: object) -> Entry | None:
    packed = leaves.pack(item)
    if packed is None:
        return None
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(item, numpy.generic):
        plain = item.item()
        return (SCALAR, plain, packed) if type(plain) in wire.PLAIN else (LEAF, packed)
    return LEAF, packed


def _read(data: bytes, objects: Any) -> Any:
    return wire.decode(
        data, max_depth=MAX_DEPTH + 2, max_nodes=len(data) + 1, referents=objects or ()
    )


def _part(data: bytes, at: int) -> tuple[bytes, int]:
    """The part of a message that begins at `at`, and where the next one does."""
    end = at + 4 + int.from_bytes(data[at : at + 4], "little")
    if at + 4 > len(data) or end > len(data):
        raise wire.WireError("the bytes end inside a part")
    return data[at + 4 : end], end


def _attributes(item: object) -> dict[str, Any]:
    """What an instance holds, by name: what is in its dict, and in its slots."""
    found: dict[str, Any] = {}
    for kind in type(item).__mro__:
        for name, each in vars(kind).items():
            if type(each) is types.MemberDescriptorType:
                try:
                    found[name] = each.__get__(item)
                except AttributeError:  # an empty slot
                    pass
    found.update(getattr(item, "__dict__", {}))
    return found


def _names(shapes: list[Any], place: int) -> tuple[str, ...]:
    match shapes[place] if 0 <= place < len(shapes) else None:
        case tuple(names) if len(names) <= _MOST_ATTRIBUTES and all(
            type(each) is str and not each.startswith("__") for each in names
        ):
            return names
    raise wire.WireError("a record whose attributes have no names")


class _Plan:
    """How records of one class are given attributes of these names, and none else. One that would
    hide a method of the class is refused: what a test calls on a record is to be its own.
    """

    def __init__(self, kind: type, names: tuple[str, ...]) -> None:
        self.kind = kind
        self.names = names
        self._slots: list[tuple[int, str]] = []
        for place, name in enumerate(names):
            known = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
            if type(known) is types.MemberDescriptorType:
                self._slots.append((place, name))
            elif type(known) not in wire.PLAIN:
                raise wire.WireError(f"the attribute {name} hides what its class has by that name")
        self._has_dict = kind.__dictoffset__ != 0
        if not self._has_dict and len(self._slots) < len(names):
            raise wire.WireError("an attribute that its class has no place for")

    def fill(self, item: Any, values: list[Any]) -> None:
        if self._has_dict:
            held = item.__dict__
            held.clear()
            held.update(zip(self.names, values, strict=True))
        for place, name in self._slots:
            object.__setattr__(item, name, values[place])
            if self._has_dict:
                del item.__dict__[name]
