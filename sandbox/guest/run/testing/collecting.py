"""Finding the tests in what a source has defined, by pytest's rules.

Only functions and classes of the module's own are looked at: any other object may stand for one of
the program's, which would be asked.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from . import builtin, marks
from .fixtures import (
    ASYNC_GENERATOR,
    GENERATOR,
    Definition,
    Fixture,
    around,
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
    known = found_in({**own, **_of_module(own)}, None, builtin.FIXTURES)
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
        known = found_in({**_names(cls), **_of_class(cls)}, cls, self.known)
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


def _names(cls: type) -> dict[str, Any]:
    """All names of a class, its own instead of inherited ones, inherited ones first."""
    names: dict[str, Any] = {}
    for base in reversed(type.mro(cls)):
        names.update(marks.names_of(base))
    return names


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
    made = anything.__init__ is not object.__init__ or anything.__new__ is not object.__new__
    if made:
        return
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


def _of_function(name: str, function: Any, place: _Place, static: bool = False) -> Iterator[Test]:
    """The tests that one function amounts to, one for each set of values."""
    if not getattr(function, "__test__", True):
        return
    name = place.prefix + name
    if flags(function) & (GENERATOR | ASYNC_GENERATOR):
        raise Unfit(f"{name} yields: nothing of it would be run")
    on_test = [*marks.of(function), *place.on_classes, *place.on_module]
    arguments = requested(function, bound=place.cls is not None and not static)
    sets: list[tuple[list[marks.Choice], set[str]]] = []
    given: set[str] = set()
    for mark in on_test:
        if mark.name == "parametrize":
            found = marks.choices(mark, name)
            indirect = mark.kwargs.get("indirect", mark.args[2] if len(mark.args) > 2 else False)
            names = set(found[0][0])
            by_fixture = names if indirect is True else set(indirect or ())
            sets.append((found, by_fixture))
            given |= names - by_fixture
    fixtures = _fixtures(name, on_test, arguments, place, given)
    for found, _ in sets:
        for each in found[0][0]:
            if each not in (*arguments, *fixtures) and not _asked(each, fixtures, place):
                raise Unfit(f"{name} uses no argument {each!r}, which parametrize names")
    named = {each for found, _ in sets for each in found[0][0]}
    by_marks = len(sets)
    for each in fixtures:
        params = place.known[each].params
        if params is not None and each not in named:
            choices = [
                ({each: param.values[0]}, param.marks, label)
                for param, label in zip(params, place.known[each].labels, strict=True)
            ]
            if not choices:
                raise Unfit(f"{name} is skipped: fixture {each} has no params")
            sets.insert(len(sets) - by_marks, (choices, {each}))

    def combine(
        number: int, values: dict[str, Any], params: dict[str, tuple[int, Any]],
        own: list[marks.Mark], labels: tuple[str, ...],
    ) -> Iterator[Test]:  # fmt: skip
        if number == len(sets):
            test = Test(
                f"{name}[{'-'.join(labels)}]" if labels else name, function, place.cls,
                name.rpartition("::")[2],
            )  # fmt: skip
            test.namespace, test.known, test.requested = place.namespace, place.known, arguments
            test.fixtures, test.values, test.params = fixtures, values, params
            test.marks = [*own, *on_test]
            marks.require_judging(test.name, test.marks, place.namespace)
            yield test
            return
        found, by_fixture = sets[number]
        for index, (chosen, on_choice, label) in enumerate(found):
            direct = {each: chosen[each] for each in chosen if each not in by_fixture}
            through = {each: (index, chosen[each]) for each in chosen if each in by_fixture}
            yield from combine(
                number + 1, {**values, **direct}, {**params, **through}, [*own, *on_choice],
                (*labels, label),
            )  # fmt: skip

    yield from combine(0, {}, {}, [], ())


def _asked(name: str, fixtures: list[str], place: _Place) -> bool:
    """Whether a fixture that the test gets requests `name`."""
    return any(name in place.known[each].requested for each in fixtures)


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
    test.methods, test.namespace, test.known, test.marks = (
        methods, place.namespace, place.known, on_class,
    )  # fmt: skip
    test.fixtures = _fixtures(name, on_class, (), place, set())
    yield test


def _pair(before: str, after: str, holder: Mapping[str, Any]) -> bool:
    return before in holder or after in holder


def _of_module(own: dict[str, Any]) -> dict[str, Fixture]:
    """The fixtures that `setup_module`, `setup_function` and their like amount to."""

    def find(*names: str) -> Callable[[Any], Any]:
        return lambda request: next((own[each] for each in names if each in own), None)

    def of_functions(name: str) -> Callable[[Any], Any]:
        return lambda request: own.get(name) if request.cls is None else None

    found = {}
    if any(
        _pair(*names, own)
        for names in (("setup_module", "teardown_module"), ("setUpModule", "tearDownModule"))
    ):
        found[" setup_module"] = around(
            "module",
            find("setUpModule", "setup_module"),
            find("tearDownModule", "teardown_module"),
            lambda request: request.module,
        )
    if _pair("setup_function", "teardown_function", own):
        found[" setup_function"] = around(
            "function",
            of_functions("setup_function"),
            of_functions("teardown_function"),
            lambda request: request.function,
        )
    return found


def _of_class(cls: type) -> dict[str, Fixture]:
    """The same for `setup_class` and `setup_method`."""
    names = _names(cls)
    found = {}

    def of_class(name: str) -> Callable[[Any], Any]:
        def find(request: Any) -> Any:
            function = getattr(request.cls, name, None)
            return getattr(function, "__func__", function)

        return find

    def of_method(name: str) -> Callable[[Any], Any]:
        return lambda request: getattr(request.instance, name, None)

    if _pair("setup_class", "teardown_class", names):
        found[" setup_class"] = around(
            "class",
            of_class("setup_class"),
            of_class("teardown_class"),
            lambda request: request.cls,
        )
    if _pair("setup_method", "teardown_method", names):
        found[" setup_method"] = around(
            "function",
            of_method("setup_method"),
            of_method("teardown_method"),
            lambda request: getattr(request.instance, request.node.originalname),
        )
    return found
