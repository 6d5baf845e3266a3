"""Arrays of numpy, scipy and torch as dtype, shape and bytes.

Only dtypes whose bytes hold no reference cross: no object dtype. Arrays arrive in C order, writable
and owning their memory; byte order is kept. Sparse matrices cross as their parts, tensors without
the graph that they came from.
"""

import re
import sys
from typing import Any

from .kinds import (
    ANY,
    LIST,
    Hold,
    Kind,
    NoLeaf,
    Packed,
    Packers,
    call,
    insist,
    is_vast,
    need,
    sized,
    truths,
)

_SIMPLE = re.compile(r"[<>|][biufcSUMm][1-9]\d{0,8}(\[\d{0,9}[a-zA-Z]{1,2}\])?", re.ASCII)
_INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_TENSORS = frozenset(("bool", *_INTEGERS, *_FLOATS))


def _spec(dtype: Any) -> Any:
    """A dtype as its name, or as (name, dtype) of its fields."""
    numpy = sys.modules["numpy"]
    if dtype.names is None:
        if not _SIMPLE.fullmatch(dtype.str) or numpy.dtype(dtype.str) != dtype:
            raise NoLeaf
        return dtype.str
    fields = tuple((name, dtype[name].str) for name in dtype.names)
    plain = numpy.dtype(list(fields))
    simple = all(_SIMPLE.fullmatch(spec) for _, spec in fields)
    if not simple or plain != dtype or dtype.type is not plain.type:
        raise NoLeaf  # titles, gaps, fields in fields, records
    return fields


def _dtype(spec: Any) -> Any:
    fields = (("", spec),) if type(spec) is str else spec
    insist(type(fields) is tuple and len(fields) > 0, "no dtype")
    for name, simple in fields:
        insist(type(name) is str and type(simple) is str, "no dtype")
        insist(_SIMPLE.fullmatch(simple) is not None, "a dtype whose values can't cross")
    return need("numpy").dtype(spec if type(spec) is str else list(spec))


def _pack_array(item: Any, hold: Hold) -> Packed:
    if is_vast((*item.shape, item.itemsize)):
        raise NoLeaf
    return "ndarray", _spec(item.dtype), item.shape, item.tobytes()


def _array(spec: Any, shape: tuple[int, ...], data: bytes) -> Any:
    numpy, dtype = need("numpy"), _dtype(spec)
    sized(shape, dtype.itemsize, data)
    flat = numpy.frombuffer(data, dtype) if data else numpy.empty(0, dtype)
    for column in [flat[name] for name in dtype.names] if dtype.names else [flat]:
        if column.dtype.kind == "b":
            truths(column.tobytes())
        elif column.dtype.kind == "U":
            codes = numpy.frombuffer(column.tobytes(), column.dtype.str[0] + "u4")
            insist(not len(codes) or codes.max() <= sys.maxunicode, "text that is no Unicode")
    return flat.reshape(shape).copy()


def _pack_scalar(item: Any, hold: Hold) -> Packed:
    # In an array these would lose zeros at their end.
    if item.dtype.kind == "U":
        return "numpy.str_", str(item)
    if item.dtype.kind == "S":
        return "numpy.bytes_", bytes(item)
    return "numpy.generic", _spec(item.dtype), item.tobytes()


def _pack_dtype(item: Any, hold: Hold) -> Packed:
    return "numpy.dtype", item.str if item.str == "|O" else _spec(item)


def _pack_sparse(item: Any, hold: Hold) -> Packed:
    if item.format == "coo":
        places = getattr(item, "coords", None) or (item.row, item.col)
    else:
        places = (item.indices, item.indptr)
    # scipy picks the width of its indices anew.
    parts = [hold(item.data), *(hold(each.astype("int64")) for each in places)]
    return "sparse", type(item).__name__, item.shape, parts


def _sparse(name: str, shape: tuple[int, ...], parts: list[Any]) -> Any:
    sparse = need("scipy.sparse")
    insist(name in PACKERS["scipy.sparse"], "no sparse matrix that can cross")
    insist(all(type(each) is need("numpy").ndarray for each in parts), "parts that are no arrays")
    data, *places = parts
    if name.startswith("coo"):
        return getattr(sparse, name)((data, tuple(places)), shape=shape)
    indices, starts = places
    matrix = getattr(sparse, name)((data, indices, starts), shape=shape)
    matrix.check_format(full_check=True)  # scipy's C code trusts them
    return matrix


def _pack_tensor(item: Any, hold: Hold) -> Packed:
    torch = sys.modules["torch"]
    strided = item.layout is torch.strided and item.device.type == "cpu"
    shape = tuple(item.shape)
    if (
        not strided
        or _torch_name(item.dtype) not in _TENSORS
        or is_vast((*shape, item.element_size()))
    ):
        raise NoLeaf
    flat = item.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    return "Tensor", _torch_name(item.dtype), shape, data, item.requires_grad


def _tensor(name: str, shape: tuple[int, ...], data: bytes, requires_grad: bool) -> Any:
    torch, dtype = need("torch"), _torch_dtype(name)
    insist(name in _TENSORS, "a tensor whose values can't cross")
    sized(shape, torch.empty(0, dtype=dtype).element_size(), data)
    if name == "bool":
        truths(data)
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).clone().requires_grad_(requires_grad)


def _torch_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _torch_dtype(name: str) -> Any:
    torch = need("torch")
    dtype = vars(torch).get(name)
    insist(type(dtype) is torch.dtype, "no dtype")
    return dtype


PACKERS: Packers = {
    "numpy": {"ndarray": _pack_array},
    "scipy.sparse": {
        f"{way}_{kind}": _pack_sparse
        for way in ("csr", "csc", "coo")
        for kind in ("matrix", "array")
    },
    "torch": {
        "Tensor": _pack_tensor,
        "Size": lambda item, hold: ("torch.Size", tuple(item)),
        "dtype": lambda item, hold: ("torch.dtype", _torch_name(item)),
    },
}

BASES: Packers = {"numpy": {"generic": _pack_scalar, "dtype": _pack_dtype}}
"""Types that the library has many derived ones of."""

KINDS: dict[str, Kind] = {
    "ndarray": ((ANY, tuple, bytes), _array),
    "numpy.generic": ((ANY, bytes), lambda spec, data: _array(spec, (1,), data)[0]),
    "numpy.str_": ((str,), call("numpy", "str_")),
    "numpy.bytes_": ((bytes,), call("numpy", "bytes_")),
    "numpy.dtype": (
        (ANY,),
        lambda spec: need("numpy").dtype("O") if spec == "|O" else _dtype(spec),
    ),
    "sparse": ((str, tuple, LIST), _sparse),
    "Tensor": ((str, tuple, bytes, bool), _tensor),
    "torch.Size": ((tuple,), call("torch", "Size")),
    "torch.dtype": ((str,), _torch_dtype),
}
