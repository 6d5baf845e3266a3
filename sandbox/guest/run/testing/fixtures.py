"""Fixtures as they are defined, and which of them a test gets."""

import sys
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from . import marks
from .outcomes import Fail, Unfit

SCOPES = ("session", "package", "module", "class", "function")

GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x200
"""Of `co_flags`, which `inspect` reads, too."""


class Fixture:
    """What `pytest.fixture` makes of a function. method: it takes `self` where it is in a class."""

    def __init__(
        self,
        function: Any,
        scope: Any = "function",
        params: Any = None,
        autouse: bool = False,
        ids: Any = None,
        name: str | None = None,
        method: bool = True,
    ) -> None:
        self.function, self.scope, self.autouse = function, scope, autouse
        self.params, self.ids, self.name, self.method = params, ids, name, method

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise Fail("a fixture is called directly; tests request it by naming it as an argument")


def fixture(
    function: Any = None,
    *,
    scope: Any = "function",
    params: Any = None,
    autouse: bool = False,
    ids: Any = None,
    name: str | None = None,
) -> Any:
    """`pytest.fixture`, with or without arguments."""

    def decorate(function: Any) -> Fixture:
        return Fixture(function, scope, params, autouse, ids, name)

    return decorate if function is None else decorate(function)


class Definition:
    """A fixture where it was found. cls: the class of which it is a method, or None. outer: the
    one of the same name that it replaces, and may request.
    """

    def __init__(
        self, name: str, fixture: Fixture, cls: type | None, outer: "Definition | None"
    ) -> None:
        if fixture.scope not in SCOPES:
            raise Unfit(f"fixture {name} has the scope {fixture.scope!r}, which is not known here")
        self.name, self.autouse, self.cls, self.outer = name, fixture.autouse, cls, outer
        self.scope = SCOPES.index(fixture.scope)
        self.function = fixture.function
        if type(self.function) in (staticmethod, classmethod):
            raise Unfit(f"fixture {name} is a {type(self.function).__name__}: not known here")
        if flags(self.function) & (COROUTINE | ASYNC_GENERATOR):
            raise Unfit(f"fixture {name} is async, which is not known here")
        self.requested = requested(self.function, bound=cls is not None)
        self.params: list[marks.Param] | None = None
        self.labels: list[str] = []
        if fixture.params is not None:
            listed = list(fixture.params)
            self.params = [
                each if type(each) is marks.Param else marks.Param(each) for each in listed
            ]
            self.labels = marks.identities(self.params, [name], fixture.ids)

    def find(self, name: str, known: Mapping[str, "Definition"]) -> "Definition | None":
        """What this fixture gets if it requests `name`."""
        return self.outer if name == self.name else known.get(name)


def flags(function: Any) -> int:
    return function.__code__.co_flags if type(function) is FunctionType else 0


def requested(function: Any, bound: bool) -> tuple[str, ...]:
    """The arguments without defaults, less the first if `bound`, and less what mock.patch gives."""
    given = 0
    if type(function) is FunctionType and not {"__wrapped__", "__signature__"} & set(
        vars(function)
    ):
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        needed = names[: code.co_argcount - len(function.__defaults__ or ())]
        by_name = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        needed += tuple(each for each in by_name if each not in (function.__kwdefaults__ or ()))
    else:
        import inspect

        needed = tuple(
            name
            for name, each in inspect.signature(function).parameters.items()
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            and each.default is each.empty
        )
        default = getattr(sys.modules.get("unittest.mock"), "DEFAULT", None)
        given = sum(
            not each.attribute_name and each.new is default
            for each in getattr(function, "patchings", ())
        )
    return needed[bound + given :]


def found_in(
    holder: Mapping[str, Any], cls: type | None, outer: Mapping[str, Definition]
) -> dict[str, Definition]:
    """All that is known where `holder` stands (the names of a module or a class): its own fixtures,
    in the order of their names as pytest has it, and the `outer` ones.
    """
    own = {}
    for attribute in sorted(name for name in holder if type(holder[name]) is Fixture):
        fixture = holder[attribute]
        name = fixture.name or attribute
        own[name] = Definition(name, fixture, cls if fixture.method else None, outer.get(name))
    return {**outer, **own}


def closure(
    first: list[str], known: Mapping[str, Definition], given: set[str], test: str
) -> list[str]:
    """All names that a test requests, and what these request, the widest scope first; given: those
    that have values already. Raises Unfit for one that is unknown, or that requests itself.
    """
    names: dict[str, int] = {}

    def visit(name: str, definition: Definition | None, path: tuple[Definition, ...]) -> None:
        if name in given or name == "request":
            return
        if definition is None:
            raise Unfit(f"{test} requests {name!r}, and there is no fixture of this name")
        if definition in path:
            raise Unfit(f"{test}: fixture {name} requests itself, by way of others")
        if path and path[-1].scope < definition.scope:
            raise Unfit(f"{test}: fixture {path[-1].name} can't request {name}, of narrower scope")
        names.setdefault(name, known[name].scope)
        for each in definition.requested:
            visit(each, definition.find(each, known), (*path, definition))

    for name in first:
        visit(name, known.get(name), ())
    return sorted(names, key=lambda name: names[name])
