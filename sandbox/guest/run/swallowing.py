"""What a program's `with` may swallow of its test's errors: what leaves out no assertion.

A program that swallows whatever it is told of would else pass `with f() as x: assert x.y == 1`.
"""

import linecache
import sys
from types import TracebackType
from typing import Any


def may_swallow(error: BaseException, traceback: TracebackType | None) -> bool:
    """Whether a `with` of the test's, in whose block this was raised, has no assertion at the place
    where it was, or behind it. traceback: as `__exit__` is given it.
    """
    if isinstance(error, AssertionError) or not isinstance(error, Exception):
        return False
    import ast

    blocks: tuple[type[ast.AST], ...] = (ast.With, ast.AsyncWith)
    while traceback is not None:
        frame, line = traceback.tb_frame, traceback.tb_lineno
        if frame.f_globals is vars(sys.modules["__main__"]):
            lines = linecache.getlines(frame.f_code.co_filename)
            if not lines or _asserts(ast.parse("".join(lines)), blocks, line):
                return False
        blocks = (ast.FunctionDef, ast.AsyncFunctionDef)  # which the block has called
        traceback = traceback.tb_next
    return True


def _asserts(tree: Any, blocks: tuple[type, ...], line: int) -> bool:
    """Whether blocks of these kinds around a line assert anything there, or behind it."""
    import ast

    for block in ast.walk(tree):
        if not isinstance(block, blocks) or not block.lineno <= line <= block.end_lineno:  # type: ignore[attr-defined]
            continue
        for node in ast.walk(block):
            if isinstance(node, ast.Assert):
                name = "assert"
            elif isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            else:
                continue
            if name.startswith(("assert", "fail", "raises", "check")) and node.end_lineno >= line:  # type: ignore[operator]
                return True
    return False
