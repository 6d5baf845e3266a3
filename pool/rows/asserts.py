"""Tests of asserts: cases of them where a test can be run against one function of a program."""

import ast
import functools
from collections.abc import Sequence

from ..function import check_name
from ..judge.cases import Asserts
from .imports import imports_in, names_of_imports
from .names import Ambiguous, crossing, defined_in, entry_point, missing, names, of_classes
from .reading import Reading


def read_asserts(
    shape: str,
    tests: Sequence[str],
    *,
    prelude: str = "",
    name: str | None = None,
    reference: str = "",
    hint: str = "",
    shared: str = "",
) -> Reading:
    """Return a reading of tests, each a case. Raises ValueError where one of them is no Python.

    name: of what is tested; None: found in the tests, with the help of `reference`, a right
    program, and `hint`, text that may hold its signature. shared: what the task's text gives, to
    tests and programs.
    """
    texts = tuple(tests)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"a test must be text, not {text!r:.80}")
    before = "\n".join(part for part in (shared, prelude) if part.strip())
    if name is None:
        try:
            name = entry_point(texts, before, reference=reference, hint=hint)
        except Ambiguous as error:
            return Reading(shape=shape, why=str(error))
    check_name(name)
    why = _why_not(texts, before, name, reference)
    if why:
        return Reading(shape=shape, why=why)
    return Reading(
        shape=shape,
        cases=tuple(Asserts(text, name, before) for text in texts),
        prelude=without(shared, name),
        imports=imports_in(prelude),
    )


@functools.lru_cache(maxsize=512)
def _why_not(texts: tuple[str, ...], prelude: str, name: str, reference: str) -> str:
    first = name.partition(".")[0].removesuffix("()")
    own = defined_in(reference) if reference else frozenset()
    lacking = missing(texts, prelude) - {first, "candidate"}
    lacking -= names_of_imports() - own
    if lacking & own:
        return (
            f"the tests use {_listed(lacking & own)} of the program besides {name}: classes and "
            "several functions of a program can't be judged yet"
        )
    if lacking:
        return (
            f"the tests use {_listed(lacking)}, which is defined neither in them nor in their "
            "prelude: helpers of the prompt go into a column prelude"
        )
    targets = frozenset({"candidate", name.rpartition(".")[2]})
    suspects = of_classes(prelude) - targets
    for text in texts:
        if suspects and (crossed := crossing(text, targets, suspects)) is not None:
            return (
                f"the tests pass instances of a class of the prompt ({crossed}), which can't cross "
                "between test and program yet"
            )
        odd = names(text).odd
        for called in (first, "candidate"):
            if called in odd:
                return f"the tests pass {odd[called]} to {name}, which can't cross to a program"
    return ""


def _listed(found: frozenset[str]) -> str:
    listed = sorted(found)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")


@functools.lru_cache(maxsize=512)
def without(prompt: str, name: str) -> str:
    """Return a prompt's source without the function that is asked for, so that a program has to
    define it.
    """
    try:
        tree = ast.parse(prompt)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ""
    first = name.partition(".")[0].removesuffix("()")
    lines = prompt.split("\n")
    for node in reversed(tree.body):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and node.name == first
            and node.end_lineno is not None
        ):
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            del lines[start - 1 : node.end_lineno]
    return "\n".join(lines).strip("\n")


def as_source(prompt: object) -> str:
    """Return a prompt if it is Python with a definition or an import; "" for what is prose."""
    if not isinstance(prompt, str) or not any(
        word in prompt for word in ("def ", "import ", "class ")
    ):
        return ""
    try:
        names(prompt)
    except ValueError:
        return ""
    return prompt
