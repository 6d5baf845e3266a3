"""Fixtures at work: what they have made for tests, and when that is taken down."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from .collecting import Test
from .fixtures import GENERATOR, SCOPES, Definition, flags
from .outcomes import Fail


class _Module:
    """What has a module's names, to get and to set."""


class Request:
    """The fixture `request`."""

    def __init__(self, setups: "Setups", test: Test, made: "Made | None") -> None:
        self._setups, self._test, self._made = setups, test, made
        self.function, self.cls, self.instance = test.function, test.cls, test.instance
        definition = made.definition if made else None
        self.scope = SCOPES[definition.scope] if definition else "function"
        self.fixturename = definition.name if definition else None
        self.fixturenames = list(test.fixtures)
        self.node = SimpleNamespace(
            name=test.name.rpartition("::")[2],
            nodeid=test.name,
            originalname=getattr(test.function, "__name__", None),
            own_markers=test.marks,
            get_closest_marker=lambda name, default=None: next(test.marked(name), default),
            iter_markers=test.marked,
            keywords={mark.name: mark for mark in test.marks},
        )
        self.module = _Module()
        self.module.__dict__ = test.namespace
        if definition is not None and definition.name in test.params:
            self.param = test.params[definition.name][1]

    def addfinalizer(self, finalizer: Callable[[], object]) -> None:
        (self._made or self._setups.of_test).finalizers.append(finalizer)

    def getfixturevalue(self, name: str) -> Any:
        return self._setups.value(name, self._test, self._made)

    __class_getitem__ = classmethod(lambda cls, item: cls)


class Made:
    """What a fixture has made, until it is taken down; without one, what a test leaves to do."""

    def __init__(self, definition: Definition | None, index: int | None) -> None:
        self.definition, self.index = definition, index
        self.scope = definition.scope if definition else SCOPES.index("function")
        self.value: Any = None
        self.done = False
        self.finalizers: list[Callable[[], object]] = []

    def take_down(self) -> None:
        """Run the finalizers, the last first. Raises the first error of theirs, at the end."""
        self.done = True
        missed: BaseException | None = None
        while self.finalizers:
            try:
                self.finalizers.pop()()
            except BaseException as error:
                missed = error if missed is None else missed
        if missed is not None:
            raise missed


class Setups:
    """All that is made at present, in the order in which it was made."""

    def __init__(self) -> None:
        self._made: list[Made] = []
        self._holders: dict[type, Any] = {}
        self.of_test = Made(None, None)

    def enter(self, test: Test, narrowest: str = "function") -> None:
        """Make what a test requests, as far as its scope is not narrower than that."""
        if narrowest == "function":
            self.of_test = Made(None, None)
            self._made.append(self.of_test)
        for name in test.fixtures:
            if test.known[name].scope <= SCOPES.index(narrowest):
                self.value(name, test, None)

    def arguments(self, test: Test) -> dict[str, Any]:
        return {name: self.value(name, test, None) for name in test.requested}

    def value(self, name: str, test: Test, asker: Made | None) -> Any:
        """What `name` stands for, made if it has to be."""
        if name in test.values:
            return test.values[name]
        if name == "request":
            return Request(self, test, asker)
        asking = asker.definition if asker else None
        definition = asking.find(name, test.known) if asking else test.known.get(name)
        if definition is None:
            raise Fail(f"there is no fixture {name!r}")
        index = test.params[name][0] if name in test.params else None
        made = next((each for each in self._made if each.definition is definition), None)
        if made is not None and (made.done or made.index != index):
            self._take_down(made)
            made = None
        if made is None:
            made = Made(definition, index)
            self._made.append(made)
            try:
                self._make(made, test)
            except BaseException:
                made.done = True
                raise
        if asker is not None:
            # Whoever was made with it goes before it.
            made.finalizers.append(lambda: self._take_down(asker))
        return made.value

    def _make(self, made: Made, test: Test) -> None:
        definition = made.definition
        assert definition is not None
        function = definition.function
        arguments = {name: self.value(name, test, made) for name in definition.requested}
        if definition.cls is not None:
            function = function.__get__(self._holder(definition, test))
        if not flags(definition.function) & GENERATOR:
            made.value = function(**arguments)
            return
        generator = function(**arguments)
        try:
            made.value = next(generator)
        except StopIteration:
            raise Fail(f"fixture {definition.name} did not yield a value") from None
        made.finalizers.append(lambda: _finish(generator, definition.name))

    def _holder(self, definition: Definition, test: Test) -> Any:
        """The `self` of a fixture in a class: the test's own, but one for all if it outlives it."""
        if SCOPES[definition.scope] == "function":
            return test.instance
        assert definition.cls is not None
        if definition.cls not in self._holders:
            self._holders[definition.cls] = definition.cls()
        return self._holders[definition.cls]

    def leave(self, test: Test | None, following: Test | None) -> None:
        """Take down what the next test has no part in: all if there is none. Raises the first error
        of what does so.
        """
        narrowest = -1
        if following is not None:
            within = test is not None and test.cls is following.cls is not None
            narrowest = SCOPES.index("class" if within else "module")
        missed: BaseException | None = None
        for made in [each for each in reversed(self._made) if each.scope > narrowest]:
            try:
                self._take_down(made)
            except BaseException as error:
                missed = error if missed is None else missed
        if missed is not None:
            raise missed

    def _take_down(self, made: Made) -> None:
        if made in self._made:
            try:
                made.take_down()
            finally:
                self._made.remove(made)


def _finish(generator: Iterator[Any], name: str) -> None:
    try:
        next(generator)
    except StopIteration:
        return
    raise Fail(f"fixture {name} yielded more than once")
