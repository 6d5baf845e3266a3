"""Marks, as `pytest.mark` makes them, and what they say before a test is run."""

from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

from .outcomes import Unfit


class Mark:
    """A decorator that leaves itself on what it decorates; called with anything else, it is a mark
    with these arguments.
    """

    def __init__(self, name: str, args: tuple[Any, ...] = (), kwargs: Any = None) -> None:
        self.name = name
        self.args = args
        self.kwargs: dict[str, Any] = kwargs or {}

    @property
    def mark(self) -> "Mark":
        return self

    def with_args(self, *args: Any, **kwargs: Any) -> "Mark":
        return Mark(self.name, self.args + args, {**self.kwargs, **kwargs})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs:
            return self.with_args(*args, **kwargs)
        (decorated,) = args
        target: Any = decorated
        if type(target) in (staticmethod, classmethod):
            target = target.__func__
        plain = type(target) is FunctionType and target.__name__ != "<lambda>"
        if not plain and not issubclass(type(target), type):
            return self.with_args(decorated)
        target.pytestmark = [*of(target), self]
        return decorated

    def __repr__(self) -> str:
        return f"Mark(name={self.name!r}, args={self.args!r}, kwargs={self.kwargs!r})"


class Marks:
    """`pytest.mark`: any attribute is a mark of that name."""

    def __getattr__(self, name: str) -> Mark:
        if name.startswith("_"):
            raise AttributeError(name)
        return Mark(name)


class Param:
    """One set of values of `parametrize` or of a fixture's `params`, as `pytest.param` makes it."""

    def __init__(self, *values: Any, marks: Any = (), id: str | None = None) -> None:
        self.values = values
        self.marks = listed(marks)
        self.id = id


def of(target: Any) -> list[Mark]:
    """The marks on a function, a class or (as a dict) a module itself, the nearest first."""
    names = target if type(target) is dict else names_of(target)
    return listed(names.get("pytestmark"))


def names_of(target: Any) -> Mapping[str, Any]:
    """The names of a function or a class itself; a class is asked by none of its own methods."""
    if issubclass(type(target), type):
        return dict(type.__getattribute__(target, "__dict__"))
    return dict(vars(target))


def all_names_of(cls: type) -> dict[str, Any]:
    """The names of a class with those that it inherits."""
    names: dict[str, Any] = {}
    for base in reversed(type.mro(cls)):
        names.update(names_of(base))
    return names


def of_class(cls: type) -> list[Mark]:
    """The marks on a class and those that it inherits, the nearest first."""
    return [mark for base in type.mro(cls) for mark in of(base)]


def listed(marks: Any) -> list[Mark]:
    """Marks that may be given as one or as a list."""
    several = marks if type(marks) in (list, tuple) else [marks]
    return [mark for mark in several if type(mark) is Mark]


def require_judging(name: str, marks: list[Mark], namespace: Mapping[str, Any]) -> None:
    """Raise Unfit for a test that its marks skip, or expect to fail."""
    for mark in marks:
        if mark.name not in ("skip", "skipif", "xfail"):
            continue
        given = mark.args + ((mark.kwargs["condition"],) if "condition" in mark.kwargs else ())
        unconditional = mark.name == "skip" or (mark.name == "xfail" and not given)
        if unconditional or any(_holds(name, each, namespace) for each in given):
            what = "expected to fail" if mark.name == "xfail" else "skipped"
            reason = mark.kwargs.get("reason") or (
                given[0] if mark.name == "skip" and given else ""
            )
            raise Unfit(f"{name} is {what} by a mark" + (f": {reason}" if reason else ""))


def _holds(name: str, condition: Any, namespace: Mapping[str, Any]) -> bool:
    if type(condition) is not str:
        return bool(condition)
    import os
    import platform
    import sys

    try:
        known = {"os": os, "sys": sys, "platform": platform, **namespace}
        return bool(eval(condition, known))
    except Exception as error:
        raise Unfit(f"{name} has a mark with the condition {condition!r}: {error!r}") from None


Choice = tuple[dict[str, Any], list[Mark], str]
"""One set of values: by name, with marks, and what the test's name shows of it."""


def choices(mark: Mark, test: str) -> list[Choice]:
    """What a mark `parametrize` offers. Raises Unfit for one that pytest would refuse."""

    def read(
        argnames: Any, argvalues: Any, indirect: Any = False, ids: Any = None, scope: Any = None
    ) -> list[Choice]:
        names, single = argnames, False
        if type(argnames) is str:
            names = [each.strip() for each in argnames.split(",") if each.strip()]
            single = len(names) == 1
        found = [
            each if type(each) is Param else Param(each) if single else Param(*each)
            for each in argvalues
        ]
        for param in found:
            if len(param.values) != len(names):
                count = len(param.values)
                raise Unfit(f"{test}: parametrize names {list(names)}, and gives {count} values")
        if not found:
            raise Unfit(f"{test} is skipped: parametrize gives no values for {list(names)}")
        labels = identities(found, list(names), ids)
        return [
            (dict(zip(names, param.values, strict=True)), param.marks, label)
            for param, label in zip(found, labels, strict=True)
        ]

    try:
        return read(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise Unfit(f"{test}: parametrize can't be read: {error}") from None


def identities(params: list[Param], names: list[str], ids: Any) -> list[str]:
    """What to call each of these sets of values; ids: None, a function, or a name for each."""
    given: list[Any] = [None] * len(params)
    if ids is not None and not callable(ids):
        given = list(ids)
        if len(given) != len(params):
            raise TypeError(f"{len(given)} ids for {len(params)} sets of values")
    labels = []
    for number, (param, label) in enumerate(zip(params, given, strict=True)):
        if label is None:
            pairs = zip(param.values, names, strict=True)
            label = "-".join(_label(value, name, number, ids) for value, name in pairs)
        labels.append(str(param.id or label))
    return labels


def _label(value: Any, name: str, number: int, ids: Callable[[Any], Any] | None) -> str:
    label = ids(value) if callable(ids) else None
    if label is not None:
        return str(label)
    if type(value) in (str, int, float, bool, complex, type(None)):
        text = str(value)
        if len(text) <= 100:
            return text
    if type(value) in (FunctionType, BuiltinFunctionType, type):
        return str(value.__name__)
    return f"{name}{number}"
