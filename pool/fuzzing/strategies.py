"""What inputs are drawn from: hypothesis's strategies, given or made from type hints."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...sandbox.limits import Limits
from ..errors import LimitExceeded, ProgramError
from ..wording import escape
from . import signature

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from ..function import MakeFunction
    from ..program import Program

_READING_S = 10.0
"""Enough to parse 16 MiB of a program on a busy machine."""

_MOST_OF_ERROR = 300

_MOST_VALUES = 400
"""Of an input, on average. Hypothesis takes some 0.1 ms for each, and gives up on inputs that are
much larger: lists of lists of lists of lists are drawn, those of one level more are not."""

_ITEMS, _OF_ANY, _LITERALS_A_VALUE = 4, 2, 10
"""What a container has on average; what `Any` counts for; how many values that are listed, or types
that are joined, cost as much as one that is drawn."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arguments:
    """What a function is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, drawn: object) -> "Arguments":
        """Return them from what a strategy gave; raise TypeError if that is none."""
        if isinstance(drawn, Arguments):
            return drawn
        if isinstance(drawn, tuple):
            return cls(drawn, {})
        if isinstance(drawn, dict) and all(isinstance(name, str) for name in drawn):
            return cls((), drawn)
        raise TypeError(
            f"the strategy gave {drawn!r:.80}: it must give tuples of arguments, or dicts of "
            "keyword arguments; or give a list of strategies, one for each argument"
        )


def require_hypothesis() -> None:
    """Raise ImportError, with the extra that it comes with, if hypothesis is not there."""
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise ImportError(
            "fuzzing needs hypothesis: pip install 'interpreter-pool[fuzz]'"
        ) from None


def strategy_of(
    given: object, limits: Limits, make: "MakeFunction", reference: "Program", function: str
) -> "SearchStrategy[Any]":
    """Return a strategy from what was given; from None, that of the reference's type hints."""
    from hypothesis import strategies as st

    if given is None:
        return _from_hints(*_read_hints(limits, make, reference, function))

    def is_one(each: object) -> bool:
        return isinstance(each, st.SearchStrategy)

    if isinstance(given, st.SearchStrategy):
        return given
    if isinstance(given, Mapping) and all(map(is_one, given.values())):
        return st.fixed_dictionaries(dict(given))
    if isinstance(given, Sequence) and all(map(is_one, given)):
        return st.tuples(*given)
    raise TypeError(
        "strategy must be a hypothesis strategy, or a list or dict of them, one for each argument, "
        f"not {given!r:.80}"
    )


def _read_hints(
    limits: Limits, make: "MakeFunction", reference: "Program", function: str
) -> tuple[Any, Any]:
    source = reference.job(limits).source
    program = inspect.getsource(signature)
    read = make(program, "parameters", limits.replace(wall_s=_READING_S), False)
    try:
        by_position, by_keyword = read(source, function)
    except ProgramError as error:
        if error.type == "ValueError":  # of ours, which says what is missing
            raise ValueError(escape(error.message)) from None
        raise ValueError(
            f"the reference can't be parsed: {escape(str(error))[:_MOST_OF_ERROR]}; pass a strategy"
        ) from None
    except LimitExceeded as error:
        raise ValueError(f"the reference can't be parsed: {error}; pass a strategy") from None
    return by_position, by_keyword


def _from_hints(by_position: Any, by_keyword: Any) -> "SearchStrategy[Arguments]":
    from hypothesis import strategies as st

    size = sum(_size(hint) for _, hint in (*by_position, *by_keyword))
    if size > _MOST_VALUES:
        raise ValueError(
            f"the type hints of the reference's function stand for inputs of some {size:.0f} "
            f"values; {_MOST_VALUES} at most can be drawn from hints: pass a strategy"
        )
    return st.builds(
        Arguments,
        st.tuples(*(_of_hint(hint) for _, hint in by_position)),
        st.fixed_dictionaries({name: _of_hint(hint) for name, hint in by_keyword}),
    )


def _size(hint: tuple[Any, ...]) -> float:
    """About how many values an input of this hint has, for drawing which time is spent."""
    kind, *parts = hint
    match kind:
        case "any":
            return _OF_ANY
        case "literal":
            return 1 + len(parts) / _LITERALS_A_VALUE
        case "union":
            return max(map(_size, parts)) + len(parts) / _LITERALS_A_VALUE
        case "tuple":
            return 1 + sum(map(_size, parts))
        case "tuple..." | "list" | "set" | "frozenset" | "dict":
            return 1 + _ITEMS * sum(map(_size, parts))
    return 1


def _of_hint(hint: tuple[Any, ...], *, hashable: bool = False) -> "SearchStrategy[Any]":
    """The strategy of a hint as `signature` returns it; hashable: of what goes into sets."""
    from hypothesis import strategies as st

    kind, *parts = hint
    if kind in ("list", "set", "dict") and hashable:
        raise ValueError(
            f"a {kind} can't be a key, or in a set, as a type hint asks; pass a strategy"
        )
    match kind:
        case "int":
            return _integers()
        case "float":
            return st.floats()
        case "complex":
            return st.complex_numbers()
        case "str":
            return st.text()
        case "bytes":
            return st.binary()
        case "bool":
            return st.booleans()
        case "None":
            return st.none()
        case "any":
            return _scalars() if hashable else _anything()
        case "literal":
            return st.sampled_from(parts)
        case "union":
            return st.one_of(*(_of_hint(each, hashable=hashable) for each in parts))
        case "tuple":
            return st.tuples(*(_of_hint(each, hashable=hashable) for each in parts))
        case "tuple...":
            return st.lists(_of_hint(parts[0], hashable=hashable)).map(tuple)
        case "list":
            return st.lists(_of_hint(parts[0]))
        case "set":
            return st.sets(_of_hint(parts[0], hashable=True))
        case "frozenset":
            return st.frozensets(_of_hint(parts[0], hashable=True))
        case "dict":
            return st.dictionaries(_of_hint(parts[0], hashable=True), _of_hint(parts[1]))
    raise AssertionError(kind)


def _integers() -> "SearchStrategy[int]":
    """Half of them small: indices and counts that fit the lists beside them, and repeat."""
    from hypothesis import strategies as st

    return st.integers(-10, 30) | st.integers()


def _scalars() -> "SearchStrategy[Any]":
    from hypothesis import strategies as st

    return st.none() | st.booleans() | _integers() | st.floats() | st.text() | st.binary()


def _anything() -> "SearchStrategy[Any]":
    """Any plain data, simple ones first."""
    from hypothesis import strategies as st

    return st.recursive(
        _scalars(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
