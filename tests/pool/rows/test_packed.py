"""Packed test data is read as data: nothing in a data file is run, and nothing is without end."""

import base64
import collections
import json
import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool.pool.rows import cells, packed
from interpreter_pool.pool.rows.cells import parsed, plain

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
    ),
)


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_is_read_as_it_was_written(value, protocol):
    assert packed.read_pickle(pickle.dumps(value, protocol)) == value


@given(st.binary())
def test_what_is_no_pickle_is_an_error(data):
    for read in (packed.read_pickle, packed.decompress, packed.unpack):
        try:
            read(data)
        except ValueError:
            pass


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('run')",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value", [Evil(), [Evil()], print, collections.OrderedDict(a=1), {1}, b"x", bytearray(b"x"), 1j]
)
def test_a_pickle_of_more_than_plain_data_is_refused(value, protocol):
    """Neither found nor called; not even what would be harmless."""
    with pytest.raises(ValueError, match="more than plain data"):
        packed.read_pickle(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"]",
        b"(.",
        b"]]a",
        b"K\x01K\x02s.",
        b"(K\x01t(",
        b"h\x01.",
        b"]r\xff\xff\xff\xff]\x8c\x01a.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",
        b"\x8b\xff\xff\xff\x7f1.",
        b"L" + b"9" * 10_000 + b"L\n.",
        b"]q\x00h\x00a" + b"0" * 10,
        b"}]K\x01s.",
        b"(dh\x00.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x82\x01.",
        b"Pid\n.",
    ],
)
def test_malformed_pickles_are_errors(data):
    with pytest.raises(ValueError):
        packed.read_pickle(data)


def test_what_unpacks_without_end_is_refused(monkeypatch):
    """A bomb of zlib, instructions without end, lists that share lists."""
    monkeypatch.setattr(packed, "MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="more than 1 MiB"):
        packed.unpack(pack(b"\0" * (2 << 20)))
    monkeypatch.setattr(packed, "_MOST_VALUES", 1000)
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        packed.read_pickle(b"(" + b"N" * 2000 + b"l.")
    monkeypatch.setattr(cells, "_MOST_PARTS", 10_000)
    shared = []
    for _ in range(60):
        shared = [shared, shared]
    with pytest.raises(ValueError, match="too many parts"):
        plain(packed.read_pickle(pickle.dumps(shared)))
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested too deeply"):
        plain(packed.read_pickle(pickle.dumps(endless)))


def test_text_is_read_by_what_it_looks_like():
    """JSON, literals of Python, packed data, packed JSON; never an expression."""
    tests = [{"input": "1", "output": "2"}]
    for text in (
        json.dumps(tests),
        repr(tests),
        pack(pickle.dumps(tests)),
        pack(pickle.dumps(json.dumps(tests))),
        json.dumps(tests).encode(),
    ):
        assert parsed("cell", text) == tests
    for text in ("[__import__('os')]", "[1][0]", "{**{}}", "(1).real", "f()", "[" * 10_000):
        with pytest.raises(ValueError, match=r"cell is no JSON|nested too deeply"):
            parsed("cell", text)
