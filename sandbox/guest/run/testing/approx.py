"""`pytest.approx`: equal but for a tolerance."""

import builtins
import math
import sys
from collections.abc import Iterator
from typing import Any


def approx(expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> Any:
    """What equals a number, or a list, tuple, dict or array of numbers, within the larger of a
    relative (1e-6) and an absolute (1e-12) tolerance. Nested lists raise TypeError.
    """
    options = rel, abs, nan_ok
    kind = type(expected)
    array = _as_array(expected)
    if array is not None:
        return _Array(array, *options)
    if issubclass(kind, (str, bytes)) or not hasattr(kind, "__len__"):
        return _Scalar(expected, *options)
    if hasattr(kind, "keys"):
        return _Mapping(expected, *options)
    if hasattr(kind, "__getitem__"):
        return _Sequence(expected, *options)
    raise TypeError(f"pytest.approx() only supports ordered sequences, but got: {expected!r}")


def _as_array(value: Any) -> Any:
    """An array, or what holds one, as an array; else None."""
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "ndarray") or not hasattr(type(value), "__array__"):
        return None
    return None if issubclass(type(value), numpy.generic) else numpy.asarray(value)


def _is_number(value: object) -> bool:
    """By the type alone: an object of a program's is not asked what it is."""
    kind = type(value)
    if kind in (int, float, complex):
        return True
    if kind in (str, bytes, list, tuple, dict, type(None)) or _is_bool(value):
        return False
    from decimal import Decimal
    from numbers import Complex

    return issubclass(kind, (Complex, Decimal))


class _Approx:
    __array_ufunc__ = None
    """numpy leaves the comparison to this side."""
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: Any, abs: Any, nan_ok: bool) -> None:
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok
        self._check()

    def _check(self) -> None:
        for value in self._values():
            if isinstance(value, (list, tuple, dict)):
                text = "pytest.approx() does not support nested data structures"
                raise TypeError(f"{text}: {value!r}")

    def _values(self) -> Any:
        return self.expected

    def _pairs(self, actual: Any) -> Iterator[tuple[Any, Any]]:
        """What is to be equal. Raises TypeError if `actual` is not of the same shape."""
        raise NotImplementedError

    def _scalar(self, value: Any) -> "_Scalar":
        return _Scalar(value, self.rel, self.abs, self.nan_ok)

    def __eq__(self, actual: object) -> bool:
        try:
            pairs = self._pairs(actual)
            return builtins.all(each == self._scalar(value) for value, each in pairs)
        except TypeError:
            return False

    def __ne__(self, actual: object) -> bool:
        return not self == actual

    def __bool__(self) -> bool:
        raise AssertionError("approx() is not supported in a boolean context; write ==")


class _Sequence(_Approx):
    def _pairs(self, actual: Any) -> Iterator[tuple[Any, Any]]:
        if len(actual) != len(self.expected):
            raise TypeError
        return zip(
            self.expected, actual, strict=False
        )  # only as many as are expected are asked for

    def __repr__(self) -> str:
        kind: Any = tuple if type(self.expected) is tuple else list
        return f"approx({kind(map(self._scalar, self.expected))!r})"


class _Mapping(_Approx):
    def _values(self) -> Any:
        return self.expected.values()

    def _pairs(self, actual: Any) -> Iterator[tuple[Any, Any]]:
        if not hasattr(type(actual), "keys") or set(actual.keys()) != set(self.expected.keys()):
            raise TypeError
        return ((value, actual[key]) for key, value in self.expected.items())

    def __repr__(self) -> str:
        shown = {key: self._scalar(value) for key, value in self.expected.items()}
        return f"approx({shown!r})"


class _Array(_Approx):
    def _values(self) -> Any:
        return ()

    def _pairs(self, actual: Any) -> Iterator[tuple[Any, Any]]:
        numpy: Any = sys.modules["numpy"]
        if _is_number(actual):
            _require_some(self.expected)
            return ((value, actual) for value in self.expected.flat)
        try:
            other = numpy.asarray(actual)
        except Exception:
            raise TypeError from None
        if other.shape != self.expected.shape:
            raise TypeError
        return zip(self.expected.flat, other.flat, strict=True)

    def __repr__(self) -> str:
        return f"approx({self._nested(self.expected.tolist())!r})"

    def _nested(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._nested(each) for each in value]
        return self._scalar(value)


class _Scalar(_Approx):
    def _check(self) -> None:
        pass

    @property
    def tolerance(self) -> Any:
        """The larger of the two tolerances; only the absolute one if no other is given. Raises
        ValueError for a negative one, or NaN.
        """
        exact = type(self.expected).__name__ == "Decimal"
        absolute = _default("1e-12", exact) if self.abs is None else self.abs
        _require_tolerance("absolute", absolute)
        if self.rel is None and self.abs is not None:
            return absolute
        relative = _default("1e-6", exact) if self.rel is None else self.rel
        relative = relative * builtins.abs(self.expected)
        _require_tolerance("relative", relative)
        return max(relative, absolute)

    def __eq__(self, actual: object) -> bool:
        array = _as_array(actual)
        if array is not None:
            return array.size > 0 and builtins.all(self == each for each in array.flat)
        expected: Any = self.expected
        if _is_bool(expected) and not _is_bool(actual):
            return False
        if actual == expected:
            return True
        if not (_is_number(expected) and _is_number(actual)):
            return False
        number: Any = actual
        size = builtins.abs(expected)
        if math.isnan(size):
            return self.nan_ok and math.isnan(builtins.abs(number))
        if math.isinf(size):
            return False
        return bool(builtins.abs(expected - number) <= self.tolerance)

    def __repr__(self) -> str:
        if not _is_number(self.expected) or math.isinf(builtins.abs(self.expected)):
            return str(self.expected)
        try:
            bound = self.tolerance
        except ValueError:
            return f"{self.expected} ± ???"
        plain = type(bound).__name__ != "Decimal" and 1e-3 <= bound < 1e3
        turned = " ∠ ±180°" if isinstance(self.expected, complex) and self.expected.imag else ""
        return f"{self.expected} ± {bound:{'n' if plain else '.1e'}}{turned}"


def _require_some(array: Any) -> None:
    """Raise TypeError for an empty array: no number is like it, though none in it is unlike one."""
    if array.size == 0:
        raise TypeError


def _is_bool(value: object) -> bool:
    return type(value).__name__ in ("bool", "bool_")


def _default(text: str, exact: bool) -> Any:
    if not exact:
        return float(text)
    from decimal import Decimal

    return Decimal(text)


def _require_tolerance(which: str, value: Any) -> None:
    if math.isnan(value):
        raise ValueError(f"{which} tolerance can't be NaN.")
    if value < 0:
        raise ValueError(f"{which} tolerance can't be negative: {value}")
