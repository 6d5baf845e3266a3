"""Keeping our own frames out of what a program sees of its stack.

Under `python` nothing stands below a program's `<module>`; here, we do. CPython passes over a frame
that has not come to its code's first instruction that can be traced (`_PyFrame_IsIncomplete`, 3.11
to 3.14): in f_back, sys._getframe, tracebacks, stack levels of warnings. So in our code objects the
number of that instruction is set to their end. Where a code object has the number is private, so it
is found out, and tried; where that fails, our frames can be seen. faulthandler shows them anyway.
"""

import ctypes
import dis
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_SIZES = (1037, 2053, 4099)
"""Numbers of instructions that are no other number in a code object by chance."""


def hide(*things: object) -> None:
    """Hide functions, all that the modules among `things` define, and the outermost frame there is
    now. Not for what uses super() without arguments, which looks for its own frame.
    """
    if _PLACE is None:
        return
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    for code in [frame.f_code, *_codes(things)]:
        _hide(code, _PLACE)


def _hide(code: CodeType, place: int) -> None:
    """Safe because `place` lies within a code object, and holds a number that is only compared."""
    ctypes.c_int.from_address(id(code) + place).value = len(code.co_code) // 2


def _codes(things: tuple[object, ...]) -> Iterator[CodeType]:
    for thing in things:
        thing = getattr(thing, "__func__", thing)  # of a method of any kind
        if isinstance(thing, ModuleType):
            own = [each for each in vars(thing).values() if _is_of(each, thing)]
            classes = [each for each in own if isinstance(each, type)]
            yield from _codes((*own, *(each for cls in classes for each in vars(cls).values())))
        elif isinstance(thing, FunctionType):
            yield from _with_inner(thing.__code__)


def _is_of(thing: object, module: ModuleType) -> bool:
    return getattr(thing, "__module__", None) == module.__name__


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _with_inner(each)


def _place() -> int | None:
    """Where in a code object the number stands, in bytes; None where that can't be told."""
    if hasattr(sys, "gettotalrefcount"):  # a debug build, which asserts what a frame must be
        return None
    padding = bytes((dis.opmap["NOP"], 0))
    found: set[int] | None = None
    for size in _SIZES:
        code = _sample.__code__.replace(co_code=padding * size + _sample.__code__.co_code)
        numbers = (ctypes.c_int * (type(code).__basicsize__ // 4)).from_address(id(code))
        at = {place for place, number in enumerate(numbers) if number == size}
        found = at if found is None else found & at
    if not found or len(found) != 1:
        return None
    place = 4 * found.pop()
    _hide(_hidden.__code__, place)
    return place if _hidden() is _place.__code__ else None


def _sample() -> None: ...


def _hidden() -> Any:
    return _caller()


def _caller() -> Any:
    back = sys._getframe().f_back
    return back and back.f_code


_PLACE = _place()  # first of all: later, what it allocates would leave holes in a zygote's memory
