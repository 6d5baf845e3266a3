"""The parameters of a function and their type hints, read off a program's text, which is not run.

This file is itself the program of a confined process (`strategies.py` starts it), as parsing what
somebody else wrote is best done in a jail; hence the standard library only. What it returns is
plain data: a hint is a tuple of a kind and its parts, such as ("list", ("int",)).
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Hint = tuple[Any, ...]
Hints = list[tuple[str, Hint]]

_SCALARS = ("int", "float", "complex", "str", "bytes", "bool", "None")
_LISTS = ("list", "Sequence", "MutableSequence", "Iterable", "Collection")
_SETS = {"set": "set", "AbstractSet": "set", "MutableSet": "set", "frozenset": "frozenset"}
_DICTS = ("dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict")
_OF_TYPING = {
    "Dict": "dict",
    "DefaultDict": "defaultdict",
    "FrozenSet": "frozenset",
    "List": "list",
    "Set": "set",
    "Tuple": "tuple",
    "NoneType": "None",
}
_ANY = ("any",)
_DEEPEST = 30
_MOST_PARTS = 10_000
"""Of all hints, with what names stand for put in their places: each name can double them."""

_WAY_OUT = "; pass a strategy"


def parameters(source: bytes, name: str) -> tuple[Hints, Hints]:
    """Return the hints of what `name` takes, in pairs, name and hint: of what is passed by
    position, and of what by keyword. Left out are `*args`, and what has a default and no hint.

    Raises ValueError where a hint is missing, or of no kind that is known.
    """
    tree = ast.parse(source)
    function, is_method = _find(tree, name)
    reader = _Reader(_aliases(tree))
    given = function.args
    all_positional = [*given.posonlyargs, *given.args]
    by_position: Hints = []
    by_keyword: Hints = []
    without_default = len(all_positional) - len(given.defaults)
    left_out = None
    for place, each in enumerate(all_positional):
        if is_method and place == 0:
            continue
        if each.annotation is None:
            if place < without_default:
                raise ValueError(f"{name}: {each.arg} has no type hint{_WAY_OUT}")
            left_out = each.arg
        elif left_out is None:
            by_position.append((each.arg, reader.hint_of(each)))
        elif place >= len(given.posonlyargs):
            by_keyword.append((each.arg, reader.hint_of(each)))
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        if each.annotation is not None:
            by_keyword.append((each.arg, reader.hint_of(each)))
        elif default is None:
            raise ValueError(f"{name}: {each.arg} has no type hint{_WAY_OUT}")
    return by_position, by_keyword


def _find(tree: ast.Module, name: str) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]:
    """Return the definition that `name` leads to, and whether it takes an instance first."""
    *classes, last = name.replace("()", "").split(".")
    body = tree.body
    for each in classes:
        body = _last(ast.ClassDef, body, each, f"class {each}", name).body
    found = _last((ast.FunctionDef, ast.AsyncFunctionDef), body, last, f"def {last}", name)
    decorators = {each.id for each in found.decorator_list if isinstance(each, ast.Name)}
    return found, bool(classes) and "staticmethod" not in decorators


def _last(kind: Any, body: list[ast.stmt], name: str, what: str, where: str) -> Any:
    """The last definition of a name, which is the one that holds."""
    found = [each for each in _statements(body) if isinstance(each, kind) and each.name == name]
    if not found:
        raise ValueError(f"{where}: the reference has no {what!r} to read{_WAY_OUT}")
    return found[-1]


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and of the branches in it, which are no scope of their own."""
    for each in body:
        yield each
        if isinstance(each, (ast.If, ast.Try, ast.With)):
            yield from _statements(each.body)
            yield from _statements(getattr(each, "orelse", ()))
            for handler in getattr(each, "handlers", ()):
                yield from _statements(handler.body)


def _aliases(tree: ast.Module) -> dict[str, ast.expr]:
    """What names of the module stand for: `Grid = list[list[int]]`."""
    aliases: dict[str, ast.expr] = {}
    for each in _statements(tree.body):
        if isinstance(each, ast.Assign):
            aliases.update((at.id, each.value) for at in each.targets if isinstance(at, ast.Name))
        elif isinstance(each, ast.AnnAssign) and each.value and isinstance(each.target, ast.Name):
            aliases[each.target.id] = each.value
        elif type(each).__name__ == "TypeAlias":  # `type Grid = ...`, of Python 3.12
            alias: Any = each
            aliases[alias.name.id] = alias.value
    return aliases


class _Unknown(Exception):
    """A hint of no kind that is known, nested too deep, or within itself."""


class _Reader:
    """Reads annotations; `aliases` are what names stand for."""

    def __init__(self, aliases: dict[str, ast.expr]) -> None:
        self._aliases = aliases
        self._parts = 0

    def hint_of(self, parameter: ast.arg) -> Hint:
        assert parameter.annotation is not None
        try:
            return self.read(parameter.annotation)
        except (_Unknown, SyntaxError):
            shown = repr(ast.unparse(parameter.annotation))[:200]
            raise ValueError(
                f"no inputs are known for the type hint of {parameter.arg}, {shown}{_WAY_OUT}"
            ) from None

    def read(self, node: ast.expr, depth: int = 0) -> Hint:
        if depth > _DEEPEST:
            raise _Unknown
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ValueError(f"the type hints have more than {_MOST_PARTS} parts{_WAY_OUT}")
        if isinstance(node, ast.Constant):
            if node.value is None:
                return ("None",)
            if isinstance(node.value, str):
                return self.read(ast.parse(node.value, mode="eval").body, depth + 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return ("union", self.read(node.left, depth + 1), self.read(node.right, depth + 1))
        if isinstance(node, ast.Subscript):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            hint = self._generic(_name(node.value), parts, depth + 1)
        elif isinstance(node, ast.Name) and node.id in self._aliases:
            hint = self.read(self._aliases[node.id], depth + 1)
        else:
            hint = self._bare(_name(node))
        if hint is None:
            raise _Unknown
        return hint

    def _bare(self, name: str) -> Hint | None:
        if name in _SCALARS:
            return (name,)
        if name in ("Any", "object"):
            return _ANY
        if name in _LISTS:
            return ("list", _ANY)
        if name == "tuple":
            return ("tuple...", _ANY)
        if name in _SETS:
            return (_SETS[name], _ANY)
        return ("dict", _ANY, _ANY) if name in _DICTS else None

    def _generic(self, name: str, parts: Sequence[ast.expr], depth: int) -> Hint | None:
        if name == "Literal":
            self._parts += len(parts)
            values = tuple(ast.literal_eval(each) for each in parts)
            return ("literal", *values) if values else None
        if name == "tuple" and len(parts) == 2 and _is_ellipsis(parts[1]):
            return ("tuple...", self.read(parts[0], depth))
        if name == "Annotated":
            return self.read(parts[0], depth)
        inner = tuple(self.read(each, depth) for each in parts)
        if name == "tuple":
            return ("tuple", *inner)
        if name == "Union" and inner:
            return ("union", *inner)
        if name in _DICTS:
            return ("dict", *inner) if len(inner) == 2 else None
        if len(inner) != 1:
            return None
        if name == "Optional":
            return ("union", ("None",), *inner)
        if name in _LISTS:
            return ("list", *inner)
        if name in _SETS:
            return (_SETS[name], *inner)
        return inner[0] if name in ("Final", "Required") else None


def _name(node: ast.expr) -> str:
    """The last part of a dotted name, as the built-in type is called that it means."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return _OF_TYPING.get(name, name)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...
