"""Whether a checker's source runs what it is given: looked for in its syntax, before it is used.

A checker has a jail of its own, so whoever gets code to run there can do no harm but one: to say
that he is right. What is found is what careless authors write, not what hides itself.
"""

import ast
import functools
import re
import warnings
from collections.abc import Iterator

_NAMES = frozenset(
    ("eval", "exec", "execfile", "compile", "__import__", "__builtins__", "breakpoint")
)
"""As names of their own: `re.compile` is another."""

_ATTRIBUTES = frozenset(
    (
        *("eval", "exec", "execfile", "__import__", "__builtins__", "__globals__", "__code__"),
        *("__subclasses__", "import_module", "exec_module", "load_module", "run_path"),
        *("run_module", "read_pickle", "sympify", "parse_expr"),
    )
)

_MODULES = frozenset(
    (
        *("builtins", "importlib", "imp", "runpy", "code", "codeop", "zipimport", "timeit"),
        *("doctest", "pdb", "bdb", "trace", "profile", "cProfile", "pickle", "cPickle", "_pickle"),
        *("pickletools", "dill", "cloudpickle", "joblib", "jsonpickle", "marshal", "shelve"),
        *("subprocess", "multiprocessing", "ctypes", "cffi", "pty", "sympy", "numexpr"),
    )
)
"""Those that run text, unpickle data or start something. sympy evaluates every text it is given."""

_OF_MODULES = {
    "os": re.compile(r"system|popen|exec\w+|spawn\w+|posix_spawnp?|fork|forkpty|startfile"),
    "yaml": re.compile(r"(?:unsafe_|full_)?load(?:_all)?|(?:Unsafe|Full)?Loader"),
    "pandas": re.compile(r"eval|read_pickle"),
}
"""Modules of which only these names do."""

_CPP = re.compile(
    r"^\s*#\s*include\b|^\s*using namespace\b|\bint\s+main\s*\(|^\s*(?:registerTestlibCmd|quitf)\b",
    re.MULTILINE,
)
_JAVA = re.compile(r"^\s*(?:public\s+)?(?:final\s+)?class\s+\w+[^:\n]*\{|^import java\b", re.M)


@functools.lru_cache(maxsize=256)
def why_unusable(source: str) -> str:
    """Say why a checker or interactor can't be used, as the rest of a sentence about it. "" if it
    can.

    >>> why_unusable("import sys\\nprint(eval(open(sys.argv[3]).read()))")
    'runs what it is given (eval, in line 2), so that a program could answer for it'
    """
    if not source.strip():
        return "is empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        for language, pattern in (("C++", _CPP), ("Java", _JAVA)):
            if pattern.search(source):
                return f"is written in {language}, and can't be run: only Python is"
        return f"is no Python ({type(error).__name__}: {error})"
    for word, line in _found(tree):
        return (
            f"runs what it is given ({word}, in line {line}), so that a program could answer for it"
        )
    return ""


def _found(tree: ast.Module) -> Iterator[tuple[str, int]]:
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                module = each.name.partition(".")[0]
                aliases[each.asname or module] = module
    for node in ast.walk(tree):
        word = _word(node, aliases)
        if word:
            yield word, getattr(node, "lineno", 0)


def _word(node: ast.AST, aliases: dict[str, str]) -> str:
    """What a node names that runs or unpickles something; "": it does not."""
    match node:
        case ast.Import(names=names):
            modules = [each.name.partition(".")[0] for each in names]
            return next((each for each in modules if each in _MODULES), "")
        case ast.ImportFrom(module=str(module), names=names, level=0):
            module = module.partition(".")[0]
            if module in _MODULES:
                return module
            for each in names:
                if each.name in _ATTRIBUTES or _is_of(module, each.name):
                    return f"{module}.{each.name}"
        case ast.Name(id=name) if name in _NAMES:
            return name
        case ast.Attribute(value=value, attr=name):
            module = aliases.get(value.id, "") if isinstance(value, ast.Name) else ""
            if name in _ATTRIBUTES or _is_of(module, name):
                return f"{module}.{name}" if module else name
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return name if name in _NAMES | _ATTRIBUTES else ""
        case ast.keyword(arg="allow_pickle", value=value):
            off = isinstance(value, ast.Constant) and not value.value
            return "" if off else "allow_pickle"
    return ""


def _is_of(module: str, name: str) -> bool:
    pattern = _OF_MODULES.get(module)
    return pattern is not None and pattern.fullmatch(name) is not None
