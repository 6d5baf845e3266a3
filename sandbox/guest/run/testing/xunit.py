"""`setup_module`, `setup_method` and their like, as the fixtures that they amount to."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .fixtures import Fixture
from .marks import all_names_of

_Find = Callable[[Any], Any]
"""From a request to what is to be called, or to be handed over; None for nothing."""


def of_module(own: Mapping[str, Any]) -> dict[str, Fixture]:
    """By names that no test can request, and that come first in their order."""

    def find(*names: str) -> _Find:
        return lambda request: next((own[each] for each in names if each in own), None)

    def of_functions(name: str) -> _Find:
        return lambda request: own.get(name) if request.cls is None else None

    found = {}
    if {"setup_module", "teardown_module", "setUpModule", "tearDownModule"} & set(own):
        before = find("setUpModule", "setup_module")
        after = find("tearDownModule", "teardown_module")
        found[" setup_module"] = _around("module", before, after, lambda request: request.module)
    if {"setup_function", "teardown_function"} & set(own):
        before, after = of_functions("setup_function"), of_functions("teardown_function")
        found[" setup_function"] = _around(
            "function", before, after, lambda request: request.function
        )
    return found


def of_class(cls: type) -> dict[str, Fixture]:
    """The same, for what a class defines or inherits."""

    def find_in_class(name: str) -> _Find:
        def find(request: Any) -> Any:
            function = getattr(request.cls, name, None)
            return getattr(function, "__func__", function)  # as pytest: it is given the class

        return find

    def find_in_test(name: str) -> _Find:
        return lambda request: getattr(request.instance, name, None)

    names = set(all_names_of(cls))
    found = {}
    if {"setup_class", "teardown_class"} & names:
        before, after = find_in_class("setup_class"), find_in_class("teardown_class")
        found[" setup_class"] = _around("class", before, after, lambda request: request.cls)
    if {"setup_method", "teardown_method"} & names:
        before, after = find_in_test("setup_method"), find_in_test("teardown_method")
        found[" setup_method"] = _around(
            "function",
            before,
            after,
            lambda request: getattr(request.instance, request.node.originalname),
        )
    return found


def _around(scope: str, before: _Find, after: _Find, argument: _Find) -> Fixture:
    """argument: what both get, if they take one."""

    def both(request: Any) -> Iterator[None]:
        for find in (before, after):
            function = find(request)
            if function is not None:
                plain: Any = getattr(function, "__func__", function)
                takes = plain.__code__.co_argcount - (plain is not function)
                function(*(argument(request),) if takes else ())
            if find is before:
                yield

    return Fixture(both, scope, autouse=True, method=False)
