"""Values of pandas: frames, series and indexes as their columns, and columns as what they hold.

Names, order, duplicates and dtypes are kept, `attrs` and flags are not. A column is an array of
numpy or of pandas, or a list of plain data and leaves where its dtype is object.
"""

import sys
from typing import Any

from .kinds import (
    ANY,
    HELD,
    LIST,
    Hold,
    Kind,
    NoLeaf,
    Packed,
    Packers,
    attributes,
    call,
    insist,
    is_vast,
    need,
)

_INDEXES = tuple(
    kind + "Index" for kind in ("", "Datetime", "Timedelta", "Period", "Categorical", "Interval")
)
_MASKED = {"b": "BooleanArray", "f": "FloatingArray", "i": "IntegerArray"}
_MOST_COLUMNS = 1 << 14
"""Each takes a hundred times the bytes that it is sent in, if it is empty."""


def _column(values: Any, hold: Hold) -> Any:
    """What a Series or an Index holds."""
    dtype = values.dtype
    if not isinstance(dtype, sys.modules["numpy"].dtype) or dtype.kind in "Mm":
        return hold(values.array)
    if dtype.kind != "O":
        return hold(values.to_numpy())
    return "objects", [hold(each) for each in values.to_numpy().tolist()]


def _zone(zone: Any, hold: Hold) -> Any:
    """A time zone; pandas itself finds pytz' by their names."""
    return "" + zone.zone if type(zone).__module__.startswith("pytz") else hold(zone)


def _objects(values: list[Any]) -> Any:
    return need("numpy").fromiter(values, object, len(values))


def _is_column(array: Any) -> bool:
    kinds = (need("numpy").ndarray, need("pandas").api.extensions.ExtensionArray)
    return isinstance(array, kinds) and array.ndim == 1


def _pack_array(item: Any, hold: Hold) -> Packed:
    """An array of pandas' own: its dtype says of which kind."""
    pandas, dtype = sys.modules["pandas"], item.dtype
    kind = type(dtype)
    if kind is pandas.CategoricalDtype:
        return "Categorical", hold(item.categories), hold(item.codes), bool(item.ordered)
    if kind is pandas.PeriodDtype:
        return "periods", hold(item.asi8), dtype.name.removeprefix("period[")[:-1]
    if kind is pandas.IntervalDtype:
        return "intervals", hold(item.left), hold(item.right), item.closed
    if kind is pandas.DatetimeTZDtype:
        return "times", hold(item.tz_convert(None).to_numpy()), _zone(item.tz, hold)
    if kind is pandas.StringDtype:
        missing = getattr(dtype, "na_value", pandas.NA) is pandas.NA
        texts = item.to_numpy(dtype=object, na_value=None).tolist()
        return "strings", dtype.storage, missing, [hold(each) for each in texts]
    if getattr(dtype, "kind", "") in ("M", "m") and hasattr(item, "asi8"):
        return "times", hold(item.to_numpy()), None
    if type(item).__name__ in _MASKED.values():
        data = item.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return "masked", hold(data), hold(item.isna())
    raise NoLeaf


def _pack_dtype(item: Any, hold: Hold) -> Packed:
    empty = sys.modules["pandas"].Series([], dtype=item).array
    if empty.dtype != item:
        raise NoLeaf  # pandas 2.0 forgets the unit of times with a zone
    return "pandas.dtype", hold(empty)


def _dtype(array: Any) -> Any:
    insist(_is_column(array), "no column")
    return array.dtype


def _times(values: Any, zone: Any) -> Any:
    insist(_is_column(values) and values.dtype.kind in "Mm", "no times")
    array = need("pandas").Series(values, dtype=values.dtype).array
    return array if zone is None else array.tz_localize("UTC").tz_convert(zone)


def _strings(storage: str, missing: bool, texts: list[Any]) -> Any:
    pandas = need("pandas")
    insist(storage in ("python", "pyarrow", "pyarrow_numpy"), "no storage of strings")
    insist(all(type(text) is str or text is None for text in texts), "no strings")
    options = {} if missing or storage == "pyarrow_numpy" else {"na_value": need("math").nan}
    return pandas.array(texts, dtype=pandas.StringDtype(storage, **options))


def _masked(data: Any, missing: Any) -> Any:
    insist(_is_column(data) and _is_column(missing), "no columns")
    kind = _MASKED.get(data.dtype.kind, "IntegerArray")
    return getattr(need("pandas").arrays, kind)(data, missing)


def _periods(ordinals: Any, freq: str) -> Any:
    pandas = need("pandas")
    insist(_is_column(ordinals), "no column")
    return pandas.arrays.PeriodArray(ordinals, dtype=pandas.PeriodDtype(freq))


def _categorical(categories: Any, codes: Any, ordered: bool) -> Any:
    pandas = need("pandas")
    insist(isinstance(categories, pandas.Index) and _is_column(codes), "no categories")
    return pandas.Categorical.from_codes(codes, categories=categories, ordered=ordered)


def _intervals(left: Any, right: Any, closed: str) -> Any:
    pandas = need("pandas")
    insist(isinstance(left, pandas.Index) and isinstance(right, pandas.Index), "no bounds")
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed)


def _pack_index(item: Any, hold: Hold) -> Packed:
    name = type(item).__name__
    freq = item.freq if name in ("DatetimeIndex", "TimedeltaIndex") else None
    if freq is not None:
        to_offset = sys.modules["pandas"].tseries.frequencies.to_offset
        if to_offset(freq.freqstr) != freq:
            raise NoLeaf  # of holidays, say
        freq = freq.freqstr
    return name, _column(item, hold), hold(item.name), freq


def _index_of(kind: str) -> Kind:
    def build(array: Any, name: Any, freq: Any) -> Any:
        pandas = need("pandas")
        insist(_is_column(array), "no column")
        if kind == "Index":
            return pandas.Index(array, dtype=array.dtype, name=name, tupleize_cols=False)
        options = {} if freq is None else {"freq": freq}
        return getattr(pandas, kind)(array, name=name, **options)

    return (HELD, HELD, ANY), build


def _pack_range(item: Any, hold: Hold) -> Packed:
    if is_vast((len(item), 0)):
        raise NoLeaf
    return "RangeIndex", item.start, item.stop, item.step, hold(item.name)


def _range(start: int, stop: int, step: int, name: Any) -> Any:
    insist(not is_vast((len(range(start, stop, step)), 0)), "too many rows without a value")
    return need("pandas").RangeIndex(start, stop, step, name=name)


def _pack_multi(item: Any, hold: Hold) -> Packed:
    levels = [hold(level.rename(None)) for level in item.levels]
    codes = [hold(sys.modules["numpy"].asarray(each)) for each in item.codes]
    return "MultiIndex", levels, codes, [hold(name) for name in item.names]


def _multi(levels: list[Any], codes: list[Any], names: list[Any]) -> Any:
    pandas = need("pandas")
    insist(all(isinstance(level, pandas.Index) for level in levels), "no levels")
    insist(all(_is_column(each) and each.dtype.kind == "i" for each in codes), "no codes")
    return pandas.MultiIndex(levels=levels, codes=codes, names=names)


def _pack_series(item: Any, hold: Hold) -> Packed:
    return "Series", _column(item, hold), hold(item.index), hold(item.name)


def _series(array: Any, index: Any, name: Any) -> Any:
    pandas = need("pandas")
    insist(isinstance(index, pandas.Index) and _is_column(array), "no column, or no index")
    insist(len(array) == len(index), "not as many values as the index says")
    return pandas.Series(array, index=index, dtype=array.dtype, name=name)


def _pack_frame(item: Any, hold: Hold) -> Packed:
    if item.shape[1] > _MOST_COLUMNS:
        raise NoLeaf
    columns = [_column(item.iloc[:, place], hold) for place in range(item.shape[1])]
    return "DataFrame", columns, hold(item.columns), hold(item.index)


def _frame(arrays: list[Any], columns: Any, index: Any) -> Any:
    pandas = need("pandas")
    insist(isinstance(columns, pandas.Index), "no columns")
    insist(len(arrays) <= _MOST_COLUMNS, "too many columns")
    insist(len(arrays) == len(columns), "not as many columns as have names")
    series = {place: _series(array, index, None) for place, array in enumerate(arrays)}
    frame = pandas.DataFrame(series, index=index)
    frame.columns = columns
    return frame


def _stamp(value: Any, zone: Any) -> Any:
    stamp = need("pandas").Timestamp(value)
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)


PACKERS: Packers = {
    "pandas": {
        "DataFrame": _pack_frame,
        "Series": _pack_series,
        **dict.fromkeys(_INDEXES, _pack_index),
        "RangeIndex": _pack_range,
        "MultiIndex": _pack_multi,
        "Timestamp": lambda item, hold: ("Timestamp", hold(item.asm8), _zone(item.tz, hold)),
        "Timedelta": attributes("Timedelta", "asm8"),
        "Period": attributes("Period", "ordinal", "freqstr"),
        "Interval": attributes("Interval", "left", "right", "closed"),
    },
    "pandas._libs.missing": {"NAType": lambda item, hold: ("NA",)},
    "pandas._libs.tslibs.nattype": {"NaTType": lambda item, hold: ("NaT",)},
}

BASES: Packers = {
    "pandas.api.extensions": {"ExtensionArray": _pack_array, "ExtensionDtype": _pack_dtype}
}
"""Types that the library has many derived ones of."""

KINDS: dict[str, Kind] = {
    "objects": ((LIST,), _objects),
    "times": ((HELD, HELD), _times),
    "strings": ((str, bool, LIST), _strings),
    "masked": ((HELD, HELD), _masked),
    "periods": ((HELD, str), _periods),
    "Categorical": ((HELD, HELD, bool), _categorical),
    "intervals": ((HELD, HELD, str), _intervals),
    **{kind: _index_of(kind) for kind in _INDEXES},
    "pandas.dtype": ((HELD,), _dtype),
    "RangeIndex": ((int, int, int, HELD), _range),
    "MultiIndex": ((LIST, LIST, LIST), _multi),
    "Series": ((HELD, HELD, HELD), _series),
    "DataFrame": ((LIST, HELD, HELD), _frame),
    "Timestamp": ((HELD, HELD), _stamp),
    "Timedelta": ((HELD,), call("pandas", "Timedelta")),
    "Period": ((int, str), lambda number, freq: need("pandas").Period(ordinal=number, freq=freq)),
    "Interval": ((HELD, HELD, str), call("pandas", "Interval")),
    "NA": ((), lambda: need("pandas").NA),
    "NaT": ((), lambda: need("pandas").NaT),
}
