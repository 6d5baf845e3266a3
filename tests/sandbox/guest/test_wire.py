"""`guest.wire`: plain data crosses unchanged, and hostile bytes are refused in one way."""

import itertools
import math
import struct
import sys
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum
from fractions import Fraction

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.jail.wire import WireError, decode, encode

text = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too
hashable_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 4000), 1 << 4000)
    | st.floats()
    | st.complex_numbers()
    | text
    | st.binary()
)
hashables = st.recursive(
    hashable_scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.frozensets(inner.filter(lambda value: decode(encode(value)) == value), max_size=4)
    ),
    max_leaves=8,
)
# A NaN is not equal to itself and so is no key that could be compared afterwards.
keys = hashables.filter(lambda value: decode(encode(value)) == value)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(keys, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def same(one: object, other: object) -> bool:
    """Equal in type and value, all the way down; NaN is NaN, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (
            math.isnan(one) and math.isnan(other)
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(map(repr, map(type, one))) == sorted(
            map(repr, map(type, other))
        )
    return one == other


@pytest.mark.slow
@given(values)
@example(math.nan)
@example(-0.0)
@example(complex(math.nan, -math.inf))
@example(1 << 100_000)
@example(-(1 << 63))
@example("\ud800 lone \udfff")
@example({(1, frozenset({b""})): [{}, set(), ()]})
def test_plain_data_comes_back_as_it_was(value):
    """Every exact plain type round trips with its type, its order and its sign."""
    assert same(decode(encode(value)), value)


@pytest.mark.slow
@given(values)
def test_a_value_has_one_spelling(value):
    """What was decoded encodes to the same bytes: nothing can be said in two ways."""
    frame = encode(value)
    if b"S" not in frame and b"Z" not in frame:  # sets have no order of their own
        assert encode(decode(frame)) == frame


@settings(max_examples=500)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(b"NTFidcsbltSZm\0\1\2\xff")).map(bytes))
def test_arbitrary_bytes_are_a_value_or_a_wire_error(data):
    """Nothing that a program can write raises anything but WireError."""
    try:
        value = decode(data)
    except WireError:
        return
    # A frozenset's key may be spelled in another order; the value is the same.
    assert same(decode(encode(value)), value)


@pytest.mark.slow
@settings(max_examples=300)
@given(values, st.data())
def test_a_damaged_frame_is_a_value_or_a_wire_error(value, data):
    """Cut, lengthened and changed frames decode or raise WireError, nothing else."""
    frame = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(frame) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert"))):
            case "change":
                frame[place] = data.draw(st.integers(0, 255))
            case "cut" if place:
                del frame[place:]
            case _:
                frame[place:place] = data.draw(st.binary(max_size=4))
    try:
        decode(bytes(frame))
    except WireError:
        pass


@pytest.mark.parametrize("value", [[1, "two", b"3"], {"a": (1.0, None)}, "x" * 10, 1 << 200])
def test_every_shortened_frame_is_refused(value):
    """A frame without its end is no value, wherever it was cut."""
    frame = encode(value)
    for length in range(len(frame)):
        with pytest.raises(WireError):
            decode(frame[:length])
    with pytest.raises(WireError, match="after the value"):
        decode(frame + b"N")


class Sly(int):
    pass


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [Sly(1), Text("x"), object(), int, range(3), bytearray(b""), memoryview(b""), {1: Sly(2)}, ...],
)
def test_only_exact_plain_types_are_encoded(value):
    """A subclass may lie about its contents, and anything else is no data: both are refused."""
    with pytest.raises(WireError, match="no plain data"):
        encode(value)


@pytest.mark.parametrize("kind", [list, dict])
def test_cycles_are_refused(kind):
    """A container that holds itself is too deep, and refusing it takes no time."""
    value = kind()
    if kind is list:
        value.append(value)
    else:
        value["me"] = value
    with pytest.raises(WireError, match="cyclic"):
        encode(value)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_capped_on_both_sides():
    """Both sides take the same depth and refuse one more."""
    assert decode(encode(nested(3), max_depth=3), max_depth=4) == nested(3)
    with pytest.raises(WireError, match="nested deeper"):
        encode(nested(4), max_depth=3)
    with pytest.raises(WireError, match="nested deeper"):
        decode(encode(nested(4)), max_depth=4)


def test_depth_costs_no_recursion():
    """Frames nested deeper than the interpreter's stack are refused, or read, without one."""
    depth = sys.getrecursionlimit() * 20
    value = nested(depth)
    frame = encode(value, max_depth=depth + 1)
    with pytest.raises(WireError, match="nested deeper"):
        decode(frame)
    read = decode(frame, max_depth=depth + 2)
    for _ in range(depth):
        (read,) = read  # type: ignore[misc]
        value = value[0]  # lets go of both, one level at a time
    assert read == []


def test_nodes_are_capped_on_both_sides():
    """The number of values is capped, the containers themselves included."""
    assert decode(encode([0] * 9, max_nodes=10), max_nodes=10) == [0] * 9
    with pytest.raises(WireError, match="more than 10 values"):
        encode([0] * 10, max_nodes=10)
    with pytest.raises(WireError, match="more than 10 values"):
        decode(encode([0] * 10), max_nodes=10)


@pytest.mark.parametrize("value", ["é" * 100, b"x" * 200, 1 << 1600, [b"x" * 100] * 2])
def test_size_is_capped_on_both_sides(value):
    """The size of a frame is capped, whatever fills it."""
    frame = encode(value)
    assert decode(frame, max_bytes=len(frame)) == value
    with pytest.raises(WireError, match="larger than"):
        encode(value, max_bytes=len(frame) - 1)
    with pytest.raises(WireError, match="larger than"):
        decode(frame, max_bytes=len(frame) - 1)


@pytest.mark.parametrize("tag", [b"l", b"t", b"S", b"Z", b"m"])
def test_a_claimed_count_is_not_believed(tag):
    """A count that the bytes can't bear out is refused before any work is done for it."""
    with pytest.raises(WireError, match="claims more values"):
        decode(tag + struct.pack("<I", 0xFFFFFFFF) + b"N")


@pytest.mark.parametrize("tag", [b"s", b"b", b"i"])
def test_a_claimed_length_is_not_believed(tag):
    """A length that the bytes can't bear out is refused."""
    with pytest.raises(WireError, match="end inside"):
        decode(tag + struct.pack("<I", 0xFFFFFFFF) + b"x")


ONE = encode(1)


@pytest.mark.parametrize(
    "frame",
    [
        b"i" + struct.pack("<I", 2) + b"\x01\x00",  # 1, a byte too long
        b"i" + struct.pack("<I", 0),  # 0, a byte too short
        b"S" + struct.pack("<I", 2) + ONE + ONE,
        b"Z" + struct.pack("<I", 2) + ONE + b"T",  # 1 == True
        b"m" + struct.pack("<I", 2) + ONE + b"N" + ONE + b"N",
    ],
)
def test_second_spellings_are_refused(frame):
    """Long integers, values twice in a set and keys twice in a dict are refused."""
    with pytest.raises(WireError):
        decode(frame)


@pytest.mark.parametrize("inner", [encode([]), encode({}), encode(set()), encode(([],))])
def test_unhashable_keys_are_refused(inner):
    """A list can't be a key: refused as WireError, not as TypeError."""
    with pytest.raises(WireError, match="unhashable"):
        decode(b"S" + struct.pack("<I", 1) + inner)
    with pytest.raises(WireError, match="unhashable"):
        decode(b"m" + struct.pack("<I", 1) + inner + b"N")


def test_deep_frozensets_are_hashed_without_harm():
    """Hashing nested tuples and frozensets stays within the cap on depth."""
    value: object = 1
    for level in range(wire.MAX_DEPTH - 1):
        value = frozenset({value}) if level % 2 else (value,)
    assert decode(encode(value)) == value


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize("tag, make", [(b"S", set), (b"Z", frozenset), (b"m", dict.fromkeys)])
def test_colliding_keys_are_refused(tag, make):
    """Keys made to hash alike would take a set quadratic time; a few of them are an accident."""
    modulus = sys.hash_info.modulus
    few = make([modulus * (k + 1) for k in range(3000)])
    assert decode(encode(few)) == few
    count = 100_000
    # Built by hand: making such a set would take the time that reading it must not.
    value = b"N" if tag == b"m" else b""
    keys = b"".join(encode(modulus * (k + 1)) + value for k in range(count))
    with pytest.raises(WireError, match="one hash"):
        decode(tag + struct.pack("<I", count) + keys)


def test_honest_keys_collide_too():
    """hash(-1) is hash(-2): so many right answers hold hundreds of keys of one hash."""
    corners = set(itertools.product([-1, -2], repeat=8))
    assert len(set(map(hash, corners))) == 1
    assert decode(encode(corners)) == corners
    powers = {2**k for k in range(10_000)}  # of 61 hashes, and long, but soon told apart
    assert decode(encode(powers)) == powers


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize("length, spread", [(1, 1), (1, 100), (300, 1), (300, 10), (3000, 1)])
def test_collisions_are_counted_by_what_they_cost(length, spread):
    """Keys that are long and alike to their ends take longer to compare; so do many sets, each of
    which would pass.
    """
    modulus = sys.hash_info.modulus
    count = 900_000 // (length + 3) // spread
    body = encode(0.5) * length

    def key(number):
        return b"t" + struct.pack("<I", length + 1) + body + encode(modulus * (number + 1))

    keys = b"S" + struct.pack("<I", count) + b"".join(map(key, range(count)))
    with pytest.raises(WireError, match="one hash"):
        decode(b"l" + struct.pack("<I", spread) + keys * spread)


def test_kinds_of_dict_and_tuple_cross_as_their_base():
    """Counter, defaultdict, OrderedDict and namedtuples, at any depth, where that is asked for."""
    point = namedtuple("point", "x y")
    value = [Counter("aab"), defaultdict(list, a=[point(1, 2)]), OrderedDict(b=2)]
    assert decode(encode(value, bases=True)) == [{"a": 2, "b": 1}, {"a": [(1, 2)]}, {"b": 2}]
    assert type(decode(encode(value, bases=True))[0]) is dict
    with pytest.raises(WireError, match="Counter"):
        encode(value)


class _Text(str):
    def encode(self, *_):
        return b"a lie"


class _List(list):
    def __iter__(self):
        return iter([9])


class _Bytes(bytes):
    def __len__(self):
        return 99


class _Int(int):
    def bit_length(self):
        return 1

    def __pos__(self):
        return 5


class _Dict(dict):
    def items(self):
        return [("a", "lie")]


@pytest.mark.parametrize(
    "value, held",
    [
        (IntEnum("Colour", "RED GREEN").GREEN, 2),
        (_Text("x"), "x"),
        (_List([1]), [1]),
        (_Bytes(b"ab"), b"ab"),
        (_Int(1000), 1000),
        (_Dict(a=1), {"a": 1}),
        (namedtuple("Point", "x y")(_Int(1), 2.0), (1, 2.0)),
        (frozenset({_Int(3)}), frozenset({3})),
        ([numpy.float64(1.5), numpy.int64(3), numpy.bool_(True)], [1.5, 3, True]),
        ({numpy.str_("k"): numpy.complex64(1j)}, {"k": 1j}),
    ],
    ids=repr,
)
def test_what_is_derived_crosses_as_what_it_holds(value, held):
    """And not as its own methods have it; without `bases`, only exact types do."""
    crossed = decode(encode(value, bases=True))
    assert crossed == held
    assert encode(crossed) == encode(held)  # of exact types, all the way down
    with pytest.raises(WireError, match="no plain data"):
        encode(value)


@pytest.mark.parametrize(
    "value", [numpy.zeros(2), numpy.datetime64("2020-01-01"), range(3), bytearray(b"x"), object()]
)
def test_what_is_not_derived_from_plain_data_does_not_cross(value):
    with pytest.raises(WireError, match="no plain data"):
        encode(value, bases=True)


def chained(count: int, bits: int) -> list[int]:
    """Whole numbers that walk one after the other through a dict's table of 2**bits places: half
    of them fill a part of the way, the others come to it wherever they look first (CPython,
    Objects/dictobject.c, "perturb").
    """
    size, half = 1 << bits, count // 2
    rank = numpy.empty(size, numpy.int64)
    way = [0]
    while len(way) < size:
        way.append((5 * way[-1] + 1) % size)
    rank[way] = numpy.arange(size)
    keys, first = way[:half], size
    while len(keys) < count:
        numbers = numpy.arange(first, first + (1 << 21))
        places, perturb = numbers % size, numbers.copy()
        fits = rank[places] < half
        while perturb.any():
            perturb >>= 5
            places = (5 * places + perturb + 1) % size
            fits &= rank[places] < half
        keys += numbers[fits].tolist()
        first += 1 << 21
    return keys[:count]


def test_keys_of_one_probe_chain_are_refused():
    """C2: no two have the same hash; a plain dict of them takes 400 times as long as of others."""
    keys = chained(21_000, 15)
    assert len(set(map(hash, keys))) == len(keys)
    with pytest.raises(WireError, match="made to collide"):
        decode(encode(dict.fromkeys(keys)))


@pytest.mark.parametrize(
    "value",
    [
        set(range(100_000)),
        {n << 20 for n in range(100_000)},
        {float(n) for n in range(100_000)},
        {(n, -n) for n in range(50_000)},
        dict.fromkeys(map(str, range(100_000))),
        [{-1: n, -2: n} for n in range(30_000)],
    ],
    ids=["numbers", "multiples", "floats", "tuples", "texts", "small dicts"],
)
def test_honest_keys_are_read(value):
    """C2: in whatever number, and however regular they are."""
    assert decode(encode(value)) == value


def test_keys_of_values_that_are_built_are_bounded_likewise():
    """C2: a Fraction has the hash of a whole number, and its bytes do not show it."""
    prime = (1 << 61) - 1
    with pytest.raises(WireError, match="made to collide"):
        wire.distinct([Fraction(number * prime) for number in range(20_000)])
    honest = [Fraction(number, 7) for number in range(20_000)]
    assert list(wire.distinct(honest)) == honest
    with pytest.raises(WireError, match="a key twice"):
        wire.distinct([1, Fraction(1)])
    with pytest.raises(WireError, match="unhashable"):
        wire.distinct([bytearray()])
