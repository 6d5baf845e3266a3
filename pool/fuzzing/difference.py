"""What two functions came to, and an input on which that differs."""

import dataclasses
import keyword
import math
from typing import Any

from ...sandbox.reasons import ExitReason
from ..judge.excerpt import shorten
from ..judge.excerpt import value as excerpt
from ..judge.values import Rule, canonical, difference

_TIMES = (ExitReason.WALL_TIMEOUT, ExitReason.CPU_TIMEOUT)

_MOST_OF_MESSAGE = 200

_EMPTY: dict[type, str] = {set: "set()", frozenset: "frozenset()"}


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to: `value`, or the type of the exception that ended it, or the limit that
    did. message: the exception's own, which is not compared, or the limit's detail.
    """

    value: Any = None
    exception: str | None = None
    limit: ExitReason | None = None
    message: str = ""

    def __str__(self) -> str:
        because = f" ({shorten(self.message, _MOST_OF_MESSAGE)})" if self.message else ""
        if self.limit is not None:
            return f"ended by {self.limit}{because}"
        if self.exception is not None:
            return f"raised {self.exception}{because}"
        return f"returned {excerpt(self.value)}"

    @property
    def is_value(self) -> bool:
        return self.exception is None and self.limit is None

    @property
    def is_late(self) -> bool:
        """Whether its time was over: by the wall's clock or the CPU's, which the load decides."""
        return self.limit in _TIMES

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; the value as a text that Python reads, None if there is none."""
        return {
            "value": literal(self.value) if self.is_value else None,
            "exception": self.exception,
            "limit": None if self.limit is None else str(self.limit),
            "message": self.message,
        }

    def is_as(self, other: "Answer", rule: Rule) -> bool:
        """Whether it comes to the same as `other`, which is what was expected."""
        if self.is_value and other.is_value:
            rule.require_possible(other.value)
            if rule.is_tolerant:
                return difference(self.value, other.value, rule) is None
            return canonical(self.value, rule, top=True) == canonical(other.value, rule, top=True)
        return self._end() == other._end()

    def _end(self) -> tuple[str | None, str | None]:
        return self.exception, "time" if self.is_late else self.limit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An input on which a candidate does not do what the reference does: the simplest one that was
    found.

    args, kwargs: the input. candidate, reference: what each came to.
    examples: how many inputs were tried, the search for simpler ones included. seed: with this the
        same search is made again.
    flaky: asked again, one of them came to something else; it can't be relied on to show again.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    candidate: Answer
    reference: Answer
    examples: int
    seed: int
    flaky: bool = False

    def __str__(self) -> str:
        flaky = " (flaky: not so every time)" if self.flaky else ""
        return (
            f"{shorten(self.as_call())}{flaky}\n"
            f"candidate: {self.candidate}\nreference: {self.reference}"
        )

    def as_call(self) -> str:
        """The call as a line of Python that can be pasted.

        >>> from interpreter_pool.pool.fuzzing import Answer
        >>> Difference(function="f", args=([math.nan],), kwargs={"k": set()}, candidate=Answer(1),
        ...     reference=Answer(2), examples=1, seed=0).as_call()
        "f([float('nan')], k=set())"
        """
        named = all(n.isidentifier() and not keyword.iskeyword(n) for n in self.kwargs)
        parts = [literal(each) for each in self.args]
        if named:
            parts += [f"{name}={literal(each)}" for name, each in self.kwargs.items()]
        else:
            parts.append(f"**{literal(self.kwargs)}")
        return f"{self.function}({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; the input as the line of `as_call`."""
        return {
            "call": self.as_call(),
            "function": self.function,
            "candidate": self.candidate.to_dict(),
            "reference": self.reference.to_dict(),
            "examples": self.examples,
            "seed": self.seed,
            "flaky": self.flaky,
        }


def literal(value: Any) -> str:
    """Plain data as Python reads it: where repr has no such text, another one."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return f"float('{value}')"
    if kind is int and value.bit_length() > 1000:
        return hex(value)  # decimal digits are limited, and take long
    if kind is complex:
        return f"complex({literal(value.real)}, {literal(value.imag)})"
    if kind in _EMPTY and not value:
        return _EMPTY[kind]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    if kind is list:
        return "[" + ", ".join(map(literal, value)) + "]"
    if kind is set:
        return "{" + ", ".join(map(literal, value)) + "}"
    if kind is frozenset:
        return "frozenset({" + ", ".join(map(literal, value)) + "})"
    return repr(value)
