"""`guest.leaves`: values of libraries cross unchanged, and hostile packings are refused in one way."""

import array
import collections
import datetime
import decimal
import fractions
import math
import pathlib
import pickle
import re
import subprocess
import sys
import tracemalloc
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from interpreter_pool.sandbox.guest.jail import wire
from interpreter_pool.sandbox.guest.jail.wire import WireError
from interpreter_pool.sandbox.guest.run import leaves

relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck))

short = st.text(max_size=8)
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | short
    | st.binary(max_size=8)
)
zones = (
    st.none()
    | st.just(datetime.UTC)
    | st.integers(-1439, 1439).map(
        lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
    )
    | st.just(datetime.timezone(datetime.timedelta(hours=1), "CET"))
    | st.sampled_from(["Europe/Paris", "America/New_York", "UTC"]).map(zoneinfo.ZoneInfo)
)
dtypes = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(),
    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays_of.complex_number_dtypes(),
    arrays_of.byte_string_dtypes(min_len=1, max_len=5),
    arrays_of.unicode_string_dtypes(min_len=1, max_len=5, endianness="?"),
    arrays_of.datetime64_dtypes(),
    arrays_of.timedelta64_dtypes(),
)
arrays = arrays_of.arrays(dtypes, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
numbers = st.builds(array.array, st.sampled_from("bhilq"), st.lists(st.integers(-128, 127)))
texts = st.text("ab", max_size=5)
matches = st.tuples(
    st.sampled_from(["a*", "(?P<x>a)|(b)", "^a", "(?<=a)b", "(?i)B$", "a??"]).map(re.compile), texts
).flatmap(
    lambda both: st.sampled_from(
        [found for found in (both[0].match(both[1]), both[0].fullmatch(both[1], 1)) if found]
        + list(both[0].finditer(both[1]))
        or [both[0]]
    )
)
hashable_leaves = st.one_of(
    st.decimals(),
    st.fractions(),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.dates(),
    st.times(timezones=zones),
    st.datetimes(timezones=zones, allow_imaginary=False),
    st.timedeltas(),
    zones.filter(bool),
    st.uuids(),
    short.map(pathlib.PurePosixPath),
    short.map(pathlib.PosixPath),
    st.sampled_from([..., NotImplemented, int, str, type, ValueError, object, pd.NA, pd.NaT]),
    st.sampled_from([torch.Size([2, 3]), torch.float32, np.dtype("f4"), np.dtype("O")]),
    arrays_of.arrays(dtypes, ()).map(lambda array: array[()]),
    st.integers(-(10**15), 10**15).map(lambda n: pd.Timestamp(n, unit="us", tz="Europe/Paris")),
    st.integers(-(10**15), 10**15).map(lambda n: pd.Timedelta(n, unit="us")),
    st.integers(0, 10**4).map(lambda n: pd.Period(ordinal=n, freq="M")),
    matches,
)
# A NaN is not equal to itself and so is no key that could be compared afterwards.
keys = (atoms | hashable_leaves).filter(lambda key: key is pd.NA or bool(key == key))
values = st.recursive(
    atoms | hashable_leaves | arrays | st.binary(max_size=8).map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(short, inner, max_size=3),
        st.sets(st.integers() | st.decimals(allow_nan=False), max_size=3),
        st.frozensets(short | st.dates(), max_size=3),
    ),
    max_leaves=6,
)
containers = st.one_of(
    st.lists(values, max_size=4).map(lambda items: collections.deque(items, len(items) + 1)),
    st.lists(values, max_size=4).map(collections.deque),
    st.dictionaries(keys, values, max_size=3).map(collections.OrderedDict),
    st.dictionaries(keys, values, max_size=3).map(collections.Counter),
    st.dictionaries(keys, values, max_size=3).map(lambda made: collections.defaultdict(list, made)),
    st.dictionaries(keys, values, max_size=3).map(dict.keys),
    st.dictionaries(keys, values, max_size=3).map(dict.values),
    st.dictionaries(keys, values, max_size=3).map(dict.items),
    st.builds(slice, values, values, values),
    numbers,
)

# What a library's own comparison can compare.
cells = (
    atoms
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.lists(st.integers() | st.fractions(), max_size=2)
)
stamps = st.integers(-(10**9), 10**9) | st.none()


def times(numbers: list, unit: str, zone: str | None) -> pd.Series:
    made = [pd.NaT if number is None else pd.Timestamp(number, unit="s") for number in numbers]
    series = pd.Series(made, dtype=f"M8[{unit}]")
    return series if zone is None else series.dt.tz_localize("UTC").dt.tz_convert(zone)


def columns_of(size: int) -> st.SearchStrategy[pd.Series]:
    """Columns of every dtype that crosses."""

    def lists(items: st.SearchStrategy) -> st.SearchStrategy[list]:
        return st.lists(items, min_size=size, max_size=size)

    def typed(items: st.SearchStrategy, *names: object) -> st.SearchStrategy[pd.Series]:
        return st.builds(
            lambda data, dtype: pd.Series(data, dtype=dtype), lists(items), st.sampled_from(names)
        )

    small = st.integers(0, 100)
    none = st.none()
    return st.one_of(
        typed(small, "int64", "uint8", "float32", "float64", "complex128", "category"),
        typed(st.floats(), "float64"),
        typed(st.booleans(), "bool"),
        typed(small | none, "Int64", "UInt8", "Float64", "float64"),
        typed(st.booleans() | none, "boolean"),
        typed(texts | none, "str", "string", "string[python]", "object", "category"),
        typed(cells, "object"),
        typed(small.map(lambda n: pd.Period(ordinal=n, freq="M")) | none, "period[M]"),
        typed(small.map(lambda n: pd.Interval(n, n + 1)), "interval"),
        typed(small, "m8[ns]", "m8[s]"),
        st.builds(
            times,
            lists(stamps),
            st.sampled_from(["s", "ms", "us", "ns"]),
            st.sampled_from([None, "UTC", "Europe/Paris"]),
        ),
    )


def indexes_of(size: int) -> st.SearchStrategy[pd.Index]:
    def multi(one: pd.Series, other: pd.Series) -> pd.Index:
        return pd.MultiIndex.from_arrays([one, other], names=["x", None])

    plain = columns_of(size).map(
        lambda column: pd.Index(column if column.dtype != object else range(size), name="q")
    )
    hashed = st.lists(texts | st.integers(0, 3), min_size=size, max_size=size).map(
        lambda items: pd.Series(items, dtype=object)
    )
    return st.one_of(
        plain,
        st.just(pd.RangeIndex(3, 3 + 2 * size, 2, name=("a", 1))),
        st.sampled_from(["D", "2h", "W-WED", "MS"]).map(
            lambda freq: pd.date_range("2020", periods=size, freq=freq, tz="Europe/Paris")
        ),
        st.just(pd.timedelta_range("1s", periods=size)),
        st.builds(multi, hashed, hashed),
    )


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    size, width = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    columns = [draw(columns_of(size)) for _ in range(width)]
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(size))
    frame.columns = pd.Index(
        draw(st.lists(st.sampled_from(["a", "b", 1]), min_size=width, max_size=width)),
        dtype=object,
        name="names",
    )
    frame.index = draw(indexes_of(size))
    return frame


def sparse_of(array: np.ndarray, name: str) -> object:
    return getattr(scipy.sparse, name)(array)


SPARSE = [f"{way}_{kind}" for way in ("csr", "csc", "coo") for kind in ("matrix", "array")]
sparse = st.builds(
    sparse_of,
    arrays_of.arrays(
        st.sampled_from(["f8", "i4", "?", "c16"]), st.tuples(st.integers(1, 4), st.integers(1, 4))
    ),
    st.sampled_from(SPARSE),
)
TENSORS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16"]
TENSORS += ["float32", "float64", "complex64", "complex128"]
tensors = st.builds(
    lambda array, name, turned: (
        torch.tensor(array).to(getattr(torch, name)).T
        if turned and array.ndim == 2
        else torch.tensor(array).to(getattr(torch, name))
    ),
    arrays_of.arrays("f4", arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4)),
    st.sampled_from(TENSORS),
    st.booleans(),
)


def crossed(value: object) -> object:
    packed = leaves.pack(value)
    assert packed is not None, value
    return leaves.unpack(wire.decode(wire.encode(packed)))


def same(one: object, other: object) -> bool:
    """Equal in type and value, by the strictest measure that each library has."""
    if type(one) is not type(other):
        return False
    match one:
        case float() | complex() | np.generic() | np.ndarray():
            one, other = np.asarray(one), np.asarray(other)
            if one.dtype != other.dtype or one.shape != other.shape:
                return False
            if one.dtype.kind in "fc":
                return np.array_equal(one, other, equal_nan=True)
            return one.tobytes() == other.tobytes()
        case torch.Tensor():
            alike = (one.dtype, one.shape, one.requires_grad)
            if alike != (other.dtype, other.shape, other.requires_grad):
                return False
            return torch.equal(one, other) or torch.allclose(one, other, equal_nan=True)
        case pd.DataFrame():
            assert_frame_equal(one, other, check_exact=True, check_freq=True, check_flags=False)
            return same(one.columns, other.columns) and same(one.index, other.index)
        case pd.Series():
            assert_series_equal(one, other, check_exact=True, check_freq=True)
            return same(one.index, other.index)
        case pd.Index():
            assert_index_equal(one, other, exact=True, check_exact=True)
            return getattr(one, "freq", None) == getattr(other, "freq", None)
        case pd.api.extensions.ExtensionArray():
            return same(pd.Series(one), pd.Series(other))
        case _ if scipy.sparse.issparse(one):
            return same(one.toarray(), other.toarray())
        case list() | tuple() | collections.deque():
            if getattr(one, "maxlen", None) != getattr(other, "maxlen", None):
                return False
            return len(one) == len(other) and all(map(same, one, other))
        case dict():
            if getattr(one, "default_factory", 0) is not getattr(other, "default_factory", 0):
                return False
            return same(list(one.items()), list(other.items()))
        case slice():
            return same([one.start, one.stop, one.step], [other.start, other.stop, other.step])
        case range():
            return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
        case re.Match():
            return (one.re, one.string, one.regs) == (other.re, other.string, other.regs)
        case datetime.datetime() | datetime.time() | pd.Timestamp():
            return one is other or (one, one.fold, repr(one)) == (other, other.fold, repr(other))
        case decimal.Decimal():
            return one.as_tuple() == other.as_tuple()
        case set() | frozenset():
            return one == other
    if isinstance(one, (type({}.keys()), type({}.values()), type({}.items()))):
        return same(list(one), list(other))
    return one is other or one == other


@relaxed
@given(hashable_leaves | containers)
def test_values_of_the_standard_library_cross_unchanged(value):
    """And so do scalars of the others, and what containers hold."""
    assert same(value, crossed(value))


@relaxed
@given(arrays)
def test_an_array_crosses_unchanged_and_is_its_owners(array):
    """With dtype, byte order and shape; it can be written to, and shares no memory."""
    there = crossed(array)
    assert same(array, there)
    assert there.flags.writeable and there.flags.c_contiguous


@settings(relaxed, max_examples=25)
@given(frames())
def test_a_frame_crosses_unchanged(frame):
    """Names, order, duplicates, dtypes, index and its frequency."""
    assert same(frame, crossed(frame))
    for place in range(frame.shape[1]):
        assert same(frame.iloc[:, place], crossed(frame.iloc[:, place]))
    assert same(frame.index, crossed(frame.index))


@settings(relaxed, max_examples=30)
@given(st.integers(0, 4).flatmap(columns_of))
def test_arrays_and_dtypes_of_pandas_cross_unchanged(column):
    """A column without its frame."""
    if column.dtype.kind in "biufcO" and isinstance(column.dtype, np.dtype):
        assert leaves.pack(column.array) is None
    else:
        assert same(column.array, crossed(column.array))
    assert crossed(column.dtype) == column.dtype


@relaxed
@given(sparse | tensors)
def test_sparse_matrices_and_tensors_cross_unchanged(value):
    """By their parts; a view or a transposed one as what it shows."""
    assert same(value, crossed(value))


def test_structured_arrays_cross_and_those_with_references_do_not():
    """Fields of simple dtypes without gaps."""
    fields = [("a", "<i2"), ("b", ">f8"), ("c", "<U3"), ("d", "?")]
    array = np.array([(1, 2.5, "x", True), (3, 4.5, "yz", False)], dtype=fields)
    assert same(array, crossed(array))
    assert same(array[0], crossed(array[0]))
    for other in (
        np.array([object()]),
        np.array([([1, 2],)], dtype=[("a", "i4", 2)]),
        np.zeros(1, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.zeros(1, [("a", [("b", "i4")])]),
        np.zeros(1, "V4"),
        np.zeros(1, np.dtype([("a", "O")])),
        np.rec.array([(1,)], dtype=[("a", "i4")]),
    ):
        assert leaves.pack(other) is None, other


def test_an_uncommon_tensor_keeps_what_it_is_or_stays():
    """requires_grad is kept, the graph is not; other layouts and derived classes do not cross."""
    wanting = torch.tensor([1.0, 2.0], requires_grad=True)
    assert same(wanting, crossed(wanting))
    made = crossed(wanting * 2)
    assert made.requires_grad and made.grad_fn is None
    assert same(
        torch.tensor([1 + 2j]).conj().resolve_conj(), crossed(torch.tensor([1 + 2j]).conj())
    )
    for other in (
        torch.nn.Parameter(torch.zeros(1)),
        torch.zeros(1, device="meta"),
        torch.eye(2).to_sparse(),
    ):
        assert leaves.pack(other) is None, other


class Own(dict):
    pass


class OwnFrame(pd.DataFrame):
    pass


class OwnFloat(np.float64):
    pass


def test_what_is_derived_from_a_leaf_is_none():
    """A derived class may have methods of the program's."""
    for value in (
        Own(a=1),
        OwnFrame({"a": [1]}),
        OwnFloat(1),
        scipy.sparse.csr_matrix([[1]]).todense(),
        np.ma.array([1], mask=[True]),
        collections.namedtuple("N", "a")(1),
        type("D", (decimal.Decimal,), {})(1),
        type("E", (datetime.tzinfo,), {})(),
        datetime.datetime(2020, 1, 1, tzinfo=type("E", (datetime.tzinfo,), {})()),
        collections.deque([object()]),
        collections.defaultdict(lambda: 1),
        pd.Series([object()]),
        Own,
        object(),
        len,
        re,
        iter([]),
        re.compile("a" * 20_000),
        array.array("u", "a"),
    ):
        assert leaves.pack(value) is None, value


def test_plain_data_is_no_leaf():
    """The wire takes it as it is."""
    for value in (None, True, 1, 1.5, 1j, "a", b"a", [1], (1,), {1}, frozenset({1}), {1: 2}):
        assert leaves.pack(value) is None


def test_what_a_program_says_of_its_class_is_not_believed():
    """A class can't pass for another by its name, its module or its `__class__`."""

    class Liar:
        __class__ = np.ndarray  # type: ignore[assignment]

        def __getattr__(self, name: str) -> object:
            raise AssertionError("asked")

        __reduce__ = __array__ = __eq__ = __hash__ = __getattr__  # type: ignore[assignment]

    for name, module in (("ndarray", "numpy"), ("DataFrame", "pandas"), ("Decimal", "decimal")):
        Liar.__name__, Liar.__qualname__, Liar.__module__ = name, name, module
        assert leaves.pack(Liar()) is None
        assert leaves.pack(collections.deque([Liar()])) is None

    class Meta(type):
        def __hash__(cls) -> int:
            raise AssertionError("asked")

    assert leaves.pack(Meta("Odd", (), {})()) is None


def test_each_match_in_a_text_is_found_again():
    """Where it starts, and what its groups hold; also one that only a walk through the text finds."""
    for pattern, text in (
        ("a??", "aab"),
        ("a*", "baac"),
        (r"\b(\w)(?=\w*$)", "one two"),
        ("", "ab"),
    ):
        for found in re.finditer(pattern, text):
            assert same(found, crossed(found))


def test_leaves_in_leaves_end():
    """A cycle is no leaf, and neither is what is nested deeper than others can read."""
    circle: collections.deque = collections.deque()
    circle.append(circle)
    assert leaves.pack(circle) is None
    nested: object = 1
    for _ in range(leaves.MOST_DEPTH):
        nested = collections.deque([nested])
    assert crossed(nested) == nested
    assert leaves.pack(collections.deque([nested])) is None
    deepest: object = np.zeros(1, [("a", "i4")])
    for _ in range(leaves.MOST_DEPTH - 1):
        deepest = collections.deque([deepest])
    depth = 2 * leaves.MOST_DEPTH + 3
    wire.encode(leaves.pack(deepest), max_depth=depth)


INDEX = ("RangeIndex", 0, 1, 1, None)
ONE = ("ndarray", "<f8", (1,), bytes(8))
BOMBS = {
    "a shape without data": ("ndarray", "<f8", (1 << 40,), b""),
    "a shape that overflows": ("ndarray", "<f8", (1 << 32, 1 << 32), b""),
    "a negative shape": ("ndarray", "<f8", (-1, -1), bytes(8)),
    "a shape of truths": ("ndarray", "<f8", (True,), bytes(8)),
    "an empty shape of many rows": ("ndarray", "<f8", (1 << 40, 0), b""),
    "too many axes": ("ndarray", "<f8", (1,) * 100_000, bytes(8)),
    "text of no characters": ("ndarray", "<U0", (1 << 40,), b""),
    "bytes of no bytes": ("ndarray", "|S0", (1 << 40,), b""),
    "a huge itemsize": ("ndarray", "|S999999999", (0,), b""),
    "objects": ("ndarray", "|O", (1,), bytes(8)),
    "void": ("ndarray", "|V8", (1,), bytes(8)),
    "objects in a field": ("ndarray", (("a", "|O"),), (1,), bytes(8)),
    "no fields": ("ndarray", (), (1 << 40,), b""),
    "a dtype by an expression": ("ndarray", "(1000000,)<f8", (0,), b""),
    "a dtype of several": ("ndarray", "<f8,<f8", (1,), bytes(16)),
    "a truth of two": ("ndarray", "|b1", (1,), b"\2"),
    "a truth of two in a field": ("ndarray", (("a", "|b1"),), (1,), b"\2"),
    "text that is no Unicode": ("ndarray", "<U1", (1,), b"\xff" * 4),
    "a scalar of two": ("numpy.generic", "<f8", bytes(16)),
    "a tensor without data": ("Tensor", "float32", (1 << 40,), b"", False),
    "a tensor's empty shape": ("Tensor", "float32", (1 << 40, 0), b"", False),
    "a tensor of another dtype": ("Tensor", "quint8", (1,), b"\0", False),
    "a tensor of a module's": ("Tensor", "load", (1,), b"\0", False),
    "a tensor of whole numbers that learns": ("Tensor", "int8", (1,), b"\0", True),
    "a tensor's truth of two": ("Tensor", "bool", (1,), b"\2", False),
    "numbers that are text": ("array", "u", b"\xff" * 4),
    "numbers cut short": ("array", "d", bytes(9)),
    "a bytearray by its size": ("bytearray", 1 << 40),
    "a deque of a huge bound": ("deque", [1], "x"),
    "a deque past its bound": ("deque", [1, 2], 1),
    "a fraction of nothing": ("Fraction", 1, 0),
    "a fraction not in lowest terms": ("Fraction", 2, 4),
    "a fraction of many digits": ("Fraction", 3**1_000_000, 2**1_000_000),
    "a date out of range": ("date", 10_000, 1, 1),
    "a time by truths": ("timedelta", 10**20, 0, 0),
    "an offset out of range": ("timezone", ("tuple", (("timedelta", 2, 0, 0),))),
    "a zone by its path": ("ZoneInfo", "../../../etc/passwd"),
    "a number with a line": ("Decimal", "1_0"),
    "an exponent past all": ("Decimal", "1E+9999999999999999999999"),
    "a pattern that prints": ("Pattern", "a", 128 | 32),
    "a pattern of groups": ("Pattern", "(" * 10_000, 32),
    "a match elsewhere": ("Match", ("Pattern", "a", 32), "ba", (0, 2), "match", ((0, 1),)),
    "a match by another way": ("Match", ("Pattern", "a", 32), "a", (0, 1), "sub", ((0, 1),)),
    "a type of no builtins": ("type", "os.system"),
    "a function": ("type", "eval"),
    "a factory that is a function": ("defaultdict", [], [], ("partial", ("type", "int"))),
    "a factory that is data": ("defaultdict", [], [], 1),
    "a key twice": ("OrderedDict", [1, True], [1, 1]),
    "a key without a hash": ("OrderedDict", [("list", [])], [1]),
    "objects as a leaf": ("objects", [1]),
    "a range of rows": ("RangeIndex", 0, 10**12, 1, None),
    "a range without a step": ("RangeIndex", 0, 1, 0, None),
    "a name without a hash": ("RangeIndex", 0, 1, 1, ("list", [])),
    "a frame of rows": ("DataFrame", [], INDEX, ("RangeIndex", 0, 10**12, 1, None)),
    "a frame of text": ("DataFrame", ["x"], INDEX, INDEX),
    "a series of one for many": ("Series", ONE, ("RangeIndex", 0, 9, 1, None), None),
    "a series of a scalar": ("Series", 1, ("RangeIndex", 0, 1 << 20, 1, None), None),
    "codes of no category": ("Categorical", INDEX, ("ndarray", "|i1", (1,), b"\5"), False),
    "codes of no level": ("MultiIndex", [INDEX], [("ndarray", "|i1", (1,), b"\5")], [None]),
    "a period of another frequency": ("Period", 1, "eval"),
    "an index of another frequency": ("DatetimeIndex", ("times", ("ndarray", "<M8[ns]", (2,), bytes(16)), None), None, "D"),
    "strings that are numbers": ("strings", "python", True, [1]),
    "strings kept elsewhere": ("strings", "os", True, ["a"]),
    "a sparse matrix that points outside": ("sparse", "csr_matrix", (1, 1), [ONE, ("ndarray", "<i8", (1,), b"\xff" * 7 + b"\x00"), ("ndarray", "<i8", (2,), bytes(8) + b"\1" + bytes(7))]),
    "a sparse matrix of another kind": ("sparse", "load_npz", (1, 1), []),
    "too few parts": ("ndarray", "<f8"),
    "a kind of none": ("os.system", "true"),
    "nothing": (),
    "no kind": (1, 2),
    "no tuple": ["ndarray"],
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_hostile_packing_is_refused_for_little(what):
    """By `WireError`, without memory that the bytes do not account for."""
    for packed in (BOMBS[what], ("deque", [BOMBS[what]], None)):
        tracemalloc.start()
        try:
            with pytest.raises(WireError):
                leaves.unpack(packed)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_a_frame_of_very_many_columns_is_refused_before_it_is_made():
    """An empty column takes far more memory than the bytes that it was sent in."""
    with pytest.raises(WireError, match="too many columns"):
        leaves.unpack(("DataFrame", [1] * 20_000, INDEX, INDEX))
    assert leaves.pack(pd.DataFrame(np.zeros((1, 20_000)))) is None


def test_containers_are_leaves_in_leaves_only():
    """Alone they are plain data."""
    for packed in (("list", [1]), ("tuple", (1,)), ("dict", [1], [2]), ("set", {1})):
        with pytest.raises(WireError, match="pack does not write it"):
            leaves.unpack(packed)
        assert leaves.unpack(("deque", [packed], None))


def test_keys_that_were_made_to_collide_are_refused():
    """Numbers of all libraries have the hashes of whole numbers."""
    prime = (1 << 61) - 1
    colliding = [("Decimal", str(number * prime)) for number in range(30_000)]
    with pytest.raises(WireError, match="collide"):
        leaves.unpack(("OrderedDict", colliding, [1] * len(colliding)))
    honest = collections.Counter(decimal.Decimal(number) / 7 for number in range(30_000))
    assert crossed(honest) == honest


EXAMPLES = [
    array.array("d", [1.5, 2.5]),
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    range(3),
    slice(1, None),
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    datetime.time(1, tzinfo=datetime.UTC),
    uuid.UUID(int=5),
    pathlib.Path("/a"),
    collections.deque([1, "a", (2, [3])], 4),
    collections.Counter("abca"),
    collections.defaultdict(int, a=decimal.Decimal(1)),
    {1: 2}.items(),
    re.search("b(.)", "abc"),
    np.arange(6.0).reshape(2, 3),
    np.array(["a", "bcd"]),
    np.array([(1, True)], dtype=[("a", "i4"), ("b", "?")]),
    np.float32(1),
    torch.tensor([1.0]),
    torch.tensor([True]),
    scipy.sparse.csr_matrix(np.eye(2)),
    scipy.sparse.coo_array(np.eye(2)),
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}),
    pd.DataFrame({"a": [decimal.Decimal(1)], "b": pd.array([None], dtype="Int64")}),
    pd.Series(pd.period_range("2020-01", periods=2, freq="M")),
    pd.date_range("2020", periods=3, tz="UTC"),
    pd.MultiIndex.from_tuples([(1, "a"), (1, "b")]),
    pd.interval_range(0, 2),
    pd.Timestamp("2020", tz="Europe/Paris"),
    pd.Timedelta("1s"),
    pd.Period("2020-01", "M"),
]
PACKED = [leaves.pack(value) for value in EXAMPLES]

plain = st.recursive(
    st.sampled_from([-1, 0, 1, 2, 255, 1 << 31, 1 << 63, 1 << 70, "<f8", "|b1", "<U1", "M", "D"])
    | st.sampled_from(sorted(leaves._KINDS))
    | st.sampled_from(PACKED)
    | atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers(), inner, max_size=2)
        | st.tuples(st.sampled_from(sorted(leaves._KINDS)), inner, inner)
    ),
    max_leaves=8,
)


def refused_or_honest(packed: object) -> None:
    """Either `WireError`, or a value that packs to just what came."""
    try:
        value = leaves.unpack(packed)
    except WireError:
        return
    assert leaves.pack(value) == packed


@relaxed
@given(plain)
def test_arbitrary_data_is_refused_or_what_pack_writes(packed):
    """Nothing but `WireError`, whatever comes."""
    refused_or_honest(packed)


@st.composite
def mutated(draw: st.DrawFn) -> object:
    """A packing in which something, anywhere in it, is something else."""

    def change(item: object) -> object:
        if not isinstance(item, (tuple, list)) or not item or draw(st.integers(0, 3)) == 0:
            if isinstance(item, bytes) and item and draw(st.booleans()):
                place = draw(st.integers(0, len(item) - 1))
                return item[:place] + bytes([draw(st.integers(0, 255))]) + item[place + 1 :]
            if isinstance(item, (tuple, list)) and draw(st.booleans()):
                return type(item)(draw(st.permutations(item)))
            return draw(plain)
        place = draw(st.integers(0, len(item) - 1))
        return type(item)(
            change(each) if number == place else each for number, each in enumerate(item)
        )

    return change(draw(st.sampled_from(PACKED)))


@settings(relaxed, max_examples=400)
@given(mutated())
def test_a_changed_packing_is_refused_or_what_pack_writes(packed):
    """Nothing but `WireError`, whatever has been changed."""
    refused_or_honest(packed)


def test_a_value_of_a_library_that_is_not_there_is_refused(monkeypatch):
    """With a sentence that names it."""
    packed = leaves.pack(np.arange(3))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(WireError, match="needs numpy, which can't be imported"):
        leaves.unpack(packed)


def test_packing_imports_nothing():
    """Libraries that a program has not imported cost it nothing."""
    code = """if True:
        import sys
        before = set(sys.modules)
        from interpreter_pool.sandbox.guest.run import leaves
        class Own: pass
        assert leaves.pack(Own()) is None and leaves.pack(range(3)) is not None
        heavy = {"numpy", "pandas", "scipy", "torch", "decimal", "fractions", "uuid", "zoneinfo"}
        print(*heavy & set(sys.modules) - before)
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_nothing_is_unpickled(monkeypatch):
    """Neither by us nor by a library for us."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for value in EXAMPLES:
        crossed(value)
    assert math.isnan(crossed(np.float64("nan")))  # type: ignore[arg-type]
