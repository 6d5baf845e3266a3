"""Finding the tests in what a source has defined, by pytest's rules.

Only functions and classes of the module's own are looked at: any other object may stand for one of
the program's, which would be asked.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from . import builtin, marks, xunit
from .fixtures import (
    ASYNC_GENERATOR,
    GENERATOR,
    Definition,
    Fixture,
    closure,
    flags,
    found_in,
    requested,
)
from .outcomes import Unfit


class Test:
    """One test with its values. name: as pytest has it (`TestX::test_y[2-a]`). cls: the class that
    it is in, of which `instance` is made when it is run. methods: of a unittest class, which is run
    as one, the names of its tests.
    """

    __test__ = False

    def __init__(self, name: str, function: Any, cls: type | None, attribute: str) -> None:
        self.name, self.function, self.cls, self.attribute = name, function, cls, attribute
        self.instance: Any = None
        self.methods: tuple[str, ...] = ()
        self.namespace: dict[str, Any] = {}
        self.known: Mapping[str, Definition] = {}
        self.marks: list[marks.Mark] = []
        self.requested: tuple[str, ...] = ()
        self.fixtures: list[str] = []
        self.values: dict[str, Any] = {}
        self.params: dict[str, tuple[int, Any]] = {}

    def marked(self, name: str | None = None) -> Iterator[marks.Mark]:
        return (mark for mark in self.marks if name in (None, mark.name))


def collect(namespace: dict[str, Any]) -> list[Test]:
    """All tests of a module, in the order in which they run. Raises Unfit if there is none, one is
    skipped or expected to fail, or asks for what is not known here.
    """
    holder = dict(namespace)
    name = holder["__name__"]
    own = {key: value for key, value in holder.items() if _is_own(value, name)}
    known = found_in({**own, **xunit.of_module(own)}, None, builtin.FIXTURES)
    place = _Place(namespace, name, marks.of(holder), known)
    tests = list(_in_module(own, place))
    if not tests:
        raise Unfit("the module holds no test: no test function, Test class or unittest.TestCase")
    return tests


class _Place:
    """Where tests are found: what is known there."""

    def __init__(
        self,
        namespace: dict[str, Any],
        module: str,
        on_module: list[marks.Mark],
        known: dict[str, Definition],
        cls: type | None = None,
        outside: tuple[type, ...] = (),
        on_classes: tuple[marks.Mark, ...] = (),
    ) -> None:
        self.namespace, self.module, self.on_module = namespace, module, on_module
        self.known, self.cls, self.outside, self.on_classes = known, cls, outside, on_classes
        self.prefix = "".join(f"{each.__qualname__.rpartition('.')[2]}::" for each in outside)

    def within(self, cls: type) -> "_Place":
        known = found_in({**marks.all_names_of(cls), **xunit.of_class(cls)}, cls, self.known)
        on_classes = (*marks.of_class(cls), *self.on_classes)
        outside = (*self.outside, cls)
        return _Place(self.namespace, self.module, self.on_module, known, cls, outside, on_classes)


def _is_own(value: Any, module: str) -> bool:
    kind = type(value)
    if kind is FunctionType:
        found = value.__module__
    elif issubclass(kind, type):
        found = marks.names_of(value).get("__module__")
    else:
        return kind is Fixture
    return type(found) is str and found == module


def _in_module(own: dict[str, Any], place: _Place) -> Iterator[Test]:
    for name, value in own.items():
        if issubclass(type(value), type):
            yield from _in_class(name, value, place)
        elif type(value) is FunctionType and name.startswith("test"):
            yield from _of_function(name, value, place)


def _in_class(name: str, cls: type, place: _Place) -> Iterator[Test]:
    case = sys.modules.get("unittest.case")
    is_case = case is not None and issubclass(cls, case.TestCase)
    if not is_case and not name.startswith("Test"):
        return
    if any(each is cls for each in place.outside) or not getattr(cls, "__test__", True):
        return
    if is_case:
        yield from _of_test_case(cls, place.within(cls))
        return
    anything: Any = cls
    if anything.__init__ is not object.__init__ or anything.__new__ is not object.__new__:
        return  # pytest has it so: such a class is no mere bundle of tests
    inside = place.within(cls)
    seen: set[str] = set()
    found: list[list[tuple[str, Any]]] = []
    for base in type.mro(cls):
        fresh = [each for each in marks.names_of(base).items() if each[0] not in seen]
        seen.update(each[0] for each in fresh)
        found.insert(0, fresh)
    for attribute, value in (each for several in found for each in several):
        if issubclass(type(value), type):
            if _is_own(value, place.module):
                yield from _in_class(attribute, value, inside)
        elif attribute.startswith("test"):
            function = value.__func__ if type(value) in (staticmethod, classmethod) else value
            if type(function) is FunctionType:
                yield from _of_function(attribute, function, inside, type(value) is staticmethod)


class _Axis(NamedTuple):
    """One of the things by which a test is multiplied: a mark `parametrize`, or a fixture's params.
    by_fixture: the names whose values go to fixtures.
    """

    choices: list[marks.Choice]
    by_fixture: set[str]

    @property
    def names(self) -> set[str]:
        return set(self.choices[0][0])


def _of_function(name: str, function: Any, place: _Place, static: bool = False) -> Iterator[Test]:
    """The tests that one function amounts to, one for each set of values."""
    if not getattr(function, "__test__", True):
        return
    attribute, name = name, place.prefix + name
    if flags(function) & (GENERATOR | ASYNC_GENERATOR):
        raise Unfit(f"{name} yields: nothing of it would be run")
    on_test = [*marks.of(function), *place.on_classes, *place.on_module]
    arguments = requested(function, bound=place.cls is not None and not static)
    axes = [_axis(mark, name) for mark in on_test if mark.name == "parametrize"]
    given = {each for axis in axes for each in axis.names - axis.by_fixture}
    fixtures = _fixtures(name, on_test, arguments, place, given)
    parametrized = {each for axis in axes for each in axis.names}
    used = {*arguments, *fixtures, *(n for each in fixtures for n in place.known[each].requested)}
    for each in sorted(parametrized - used):
        raise Unfit(f"{name} uses no argument {each!r}, which parametrize names")
    of_fixtures = [
        _axis_of_params(place.known[each], name)
        for each in fixtures
        if each not in parametrized and place.known[each].params is not None
    ]
    axes = [*of_fixtures, *axes]
    for chosen in itertools.product(*(enumerate(axis.choices) for axis in axes)):
        labels = "-".join(label for _, (_, _, label) in chosen)
        test = Test(f"{name}[{labels}]" if chosen else name, function, place.cls, attribute)
        test.namespace, test.known = place.namespace, place.known
        test.requested, test.fixtures = arguments, fixtures
        test.marks = [*(mark for _, (_, own, _) in chosen for mark in own), *on_test]
        for axis, (index, (values, _, _)) in zip(axes, chosen, strict=True):
            for each, value in values.items():
                if each in axis.by_fixture:
                    test.params[each] = index, value
                else:
                    test.values[each] = value
        marks.require_judging(test.name, test.marks, place.namespace)
        yield test


def _axis(mark: marks.Mark, test: str) -> _Axis:
    choices = marks.choices(mark, test)
    indirect = mark.kwargs.get("indirect", mark.args[2] if len(mark.args) > 2 else False)
    return _Axis(choices, set(choices[0][0] if indirect is True else indirect or ()))


def _axis_of_params(definition: Definition, test: str) -> _Axis:
    name = definition.name
    if not definition.params:
        raise Unfit(f"{test} is skipped: fixture {name} has no params")
    labelled = zip(definition.params, definition.labels, strict=True)
    return _Axis([({name: each.values[0]}, each.marks, label) for each, label in labelled], {name})


def _fixtures(
    name: str, on_test: list[marks.Mark], arguments: tuple[str, ...], place: _Place, given: set[str]
) -> list[str]:
    automatic = [each for each, definition in place.known.items() if definition.autouse]
    used = [each for mark in on_test if mark.name == "usefixtures" for each in mark.args]
    return closure([*automatic, *used, *arguments], place.known, given, name)


def _of_test_case(cls: Any, place: _Place) -> Iterator[Test]:
    """A unittest class as one test, if it has any."""
    import unittest

    name = place.prefix.removesuffix("::")
    methods = tuple(
        method
        for method in unittest.TestLoader().getTestCaseNames(cls)
        if getattr(getattr(cls, method), "__test__", True)
    )
    if not methods and hasattr(cls, "runTest"):
        methods = ("runTest",)
    if not methods:
        return
    on_class = [*place.on_classes, *place.on_module]
    for method in methods:
        function = getattr(cls, method)
        each = f"{name}::{method}"
        for holder in (cls, function):
            if getattr(holder, "__unittest_skip__", False):
                reason = getattr(holder, "__unittest_skip_why__", "")
                raise Unfit(f"{each} is skipped" + (f": {reason}" if reason else ""))
            if getattr(holder, "__unittest_expecting_failure__", False):
                raise Unfit(f"{each} is expected to fail")
        marks.require_judging(each, [*marks.of(function), *on_class], place.namespace)
    test = Test(name, cls, cls, "")
    test.methods, test.marks = methods, on_class
    test.namespace, test.known = place.namespace, place.known
    test.fixtures = _fixtures(name, on_class, (), place, set())
    yield test
