"""What a program may be given besides its input: files, an environment, a seed."""

import importlib.machinery
import os
import sys
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ..jail import wire
from ..jail.report import MAX_VALUE


def place(files: Sequence[tuple[str, int]], source: int) -> None:
    """Write files below the working directory; their contents stand one after the other in the
    file `source`. The host has checked the names; a link could not lead out of here anyway.
    """
    offset = 0
    for name, size in files:
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        end = offset + size
        while offset < end:
            # From file to file, so that nothing of it is ever in the program's own memory.
            offset += os.sendfile(file, source, offset, end - offset)
        os.close(file)


def set_environment(env: Mapping[str, str]) -> None:
    """Make `env` the whole environment."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()


def seed(number: int) -> None:
    """Make the global generators of `random` and numpy begin with `number`; numpy's also if it is
    imported only later. What asks the kernel (os.urandom, secrets, uuid4) stays unforeseeable.
    """
    sys.modules["random"].seed(number)
    if "numpy.random" in sys.modules:
        _seed_numpy(sys.modules["numpy.random"], number)
    else:
        sys.meta_path.insert(0, _SeedWhenImported(number))


def call(namespace: dict[str, Any], request: bytes) -> bytes:
    """Call what `request` names with the arguments in it; return what that returns, as wire data.

    A name is a dotted path from the namespace; a part that ends in () is called on the way, as in
    "Solution().method".
    """
    decoded: Any = wire.decode(request)
    name, args, kwargs = decoded
    target = find(namespace, name)
    value = target(*args, **kwargs)
    try:
        return wire.encode(value, max_bytes=MAX_VALUE, bases=True)
    except wire.WireError as error:
        raise TypeError(f"{name} returned what can't cross: {error}") from None


def require(namespace: dict[str, Any], name: str) -> str:
    """Return the first part of a dotted name, which must be there."""
    first: str = name.partition(".")[0].removesuffix("()")
    if first not in namespace:
        raise NameError(f"name {first!r} is not defined")
    return first


def find(namespace: dict[str, Any], name: str) -> Any:
    """Return what a dotted name leads to; a part that ends in () is called on the way."""
    target: Any = namespace[require(namespace, name)]
    for place, part in enumerate(name.split(".")):
        plain = part.removesuffix("()")
        if place:
            target = getattr(target, plain)
        if plain != part:
            target = target()
    return target


class _SeedWhenImported:
    """A finder that finds nothing, but seeds numpy's generator once it has been loaded."""

    def __init__(self, number: int) -> None:
        self._number = number

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "numpy.random":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_seed(module: ModuleType) -> None:
                load(module)
                _seed_numpy(module, self._number)

            spec.loader.exec_module = load_and_seed  # type: ignore[method-assign]
        return spec


def _seed_numpy(random: Any, number: int) -> None:
    random.seed(number & 0xFFFF_FFFF)  # all that it takes
