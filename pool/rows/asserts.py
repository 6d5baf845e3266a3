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
    try:
        wanted = _names(texts, before, name, reference, hint)
    except Ambiguous as error:
        return Reading(shape=shape, why=str(error))
    why = _why_not(texts, wanted[0])
    if why:
        return Reading(shape=shape, why=why)
    own = classes_shared(texts, before, wanted[0])
    return Reading(
        shape=shape,
        cases=tuple(Asserts(text, _one_or_all(wanted), before) for text in texts),
        prelude="\n\n".join(part for part in (without(shared, *wanted), own) if part),
        imports=imports_in(prelude),
    )


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names


def _names(
    texts: tuple[str, ...], prelude: str, name: str | None, reference: str, hint: str
) -> tuple[str, ...]:
    """The names of the program that the tests use, first that of what `check` is given. Raises
    `Ambiguous` where they use others that nobody defines.
    """
    own = defined_in(reference) if reference else frozenset()
    if name is not None:
        check_name(name)
    lacking = missing(texts, prelude)
    if name is None:
        try:
            name = entry_point(texts, prelude, reference=reference, hint=hint)
        except Ambiguous:
            several = sorted(
                lacking & own if own else lacking - names_of_imports(),
                key=lambda each: (each[0].isupper(), each),  # classes are used besides
            )
            if not several:
                raise
            name = several[0]
            own |= set(several)
    first = name.partition(".")[0].removesuffix("()")
    lacking -= {first, "candidate"} | (names_of_imports() - own)
    if lacking - own:
        raise Ambiguous(
            f"the tests use {_listed(lacking - own)}, which is defined neither in them nor in "
            "their prelude: helpers of the prompt go into a column prelude"
        )
    return name, *sorted(lacking)


@functools.lru_cache(maxsize=512)
def _why_not(texts: tuple[str, ...], name: str) -> str:
    first = name.partition(".")[0].removesuffix("()")
    for text in texts:
        odd = names(text).odd
        for called in (first, "candidate"):
            if called in odd:
                return f"the tests pass {odd[called]} to {name}, which can't cross to a program"
    return ""


@functools.lru_cache(maxsize=512)
def classes_shared(texts: tuple[str, ...], prelude: str, name: str) -> str:
    """The source of the classes that a prelude defines, where tests pass instances of them to a
    program, or compare what it returns with some: it needs to know them.
    """
    targets = frozenset({"candidate", name.rpartition(".")[2]})
    suspects = of_classes(prelude) - targets
    if not suspects or not any(crossing(text, targets, suspects) for text in texts):
        return ""
    body = ast.parse(prelude).body
    return "\n\n".join(ast.unparse(node) for node in body if isinstance(node, ast.ClassDef))


def _listed(found: frozenset[str]) -> str:
    listed = sorted(found)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")


@functools.lru_cache(maxsize=512)
def without(prompt: str, *names: str) -> str:
    """Return a prompt's source without the definitions that are asked for, so that a program has to
    have them.
    """
    try:
        tree = ast.parse(prompt)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ""
    firsts = {name.partition(".")[0].removesuffix("()") for name in names}
    lines = prompt.split("\n")
    for node in reversed(tree.body):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and node.name in firsts
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
