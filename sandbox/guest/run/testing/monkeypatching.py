"""`pytest.MonkeyPatch`: changes that are undone."""

import os
import sys
from collections.abc import Callable
from typing import Any

_MISSING = object()


class MonkeyPatch:
    """Sets attributes, items, the environment; `undo` brings back what was there."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    @classmethod
    def context(cls) -> "_Context":
        """A context with a MonkeyPatch, undone at its end."""
        return _Context()

    def setattr(self, target: Any, name: Any, value: Any = _MISSING, raising: bool = True) -> None:
        """Set an attribute; `setattr("module.name", value)` imports the module."""
        if value is _MISSING:
            target, name, value = *_resolved(target), name
        before = vars(target).get(name, _MISSING) if isinstance(target, type) else _MISSING
        if before is _MISSING:
            before = getattr(target, name, _MISSING)
        if before is _MISSING and raising:
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        inherited = isinstance(target, type) and name not in vars(target)
        self._undo.append(lambda: _set(target, name, _MISSING if inherited else before))
        setattr(target, name, value)

    def delattr(self, target: Any, name: Any = _MISSING, raising: bool = True) -> None:
        if name is _MISSING:
            target, name = _resolved(target)
        before = vars(target).get(name, _MISSING) if isinstance(target, type) else _MISSING
        if before is _MISSING:
            before = getattr(target, name, _MISSING)
        if before is _MISSING:
            if raising:
                raise AttributeError(name)
            return
        self._undo.append(lambda: _set(target, name, before))
        delattr(target, name)

    def setitem(self, mapping: Any, name: Any, value: Any) -> None:
        before = mapping.get(name, _MISSING)
        self._undo.append(lambda: _set_item(mapping, name, before))
        mapping[name] = value

    def delitem(self, mapping: Any, name: Any, raising: bool = True) -> None:
        if name not in mapping:
            if raising:
                raise KeyError(name)
            return
        before = mapping[name]
        self._undo.append(lambda: _set_item(mapping, name, before))
        del mapping[name]

    def setenv(self, name: str, value: Any, prepend: str | None = None) -> None:
        if prepend and name in os.environ:
            value = f"{value}{prepend}{os.environ[name]}"
        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        self.delitem(os.environ, name, raising)

    def syspath_prepend(self, path: Any) -> None:
        before = sys.path[:]
        self._undo.append(lambda: sys.path.__setitem__(slice(None), before))
        sys.path.insert(0, str(path))

    def chdir(self, path: Any) -> None:
        before = os.getcwd()
        self._undo.append(lambda: os.chdir(before))
        os.chdir(path)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


class _Context:
    def __enter__(self) -> MonkeyPatch:
        self._patch = MonkeyPatch()
        return self._patch

    def __exit__(self, *error: object) -> None:
        self._patch.undo()


def _set(target: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        delattr(target, name)
    else:
        setattr(target, name, value)


def _set_item(mapping: Any, name: Any, value: Any) -> None:
    if value is not _MISSING:
        mapping[name] = value
    elif name in mapping:
        del mapping[name]


def _resolved(path: Any) -> tuple[Any, str]:
    """The object and the attribute that a dotted name leads to."""
    import importlib

    if not isinstance(path, str) or "." not in path:
        raise TypeError(f"must be the dotted name of an attribute, not {path!r}")
    parts = path.split(".")
    target: Any = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:-1], 2):
        if not hasattr(target, part):
            importlib.import_module(".".join(parts[:number]))
        target = getattr(target, part)
    return target, parts[-1]
