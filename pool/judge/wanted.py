"""What the text of a test wants of a program: which names, and what each of them stands for.

The text alone decides; so a program can't choose what may cross. An instance of a program's class
may be held by a test (as a handle) only if the text shows that the name is of a class: it takes an
attribute that data has not of what it gets by calling it, asks `isinstance`, takes attributes of
the name itself, or writes it as the names of classes are written. It may be reckoned with data
(`stack + [1]`) only if both is so.
"""

import ast
import builtins
import functools
import importlib
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator

from ...sandbox.guest.run.dialogue import CLASS, CONSTANT, ERROR, FUNCTION, HOLDER

Wanted = tuple[tuple[str, str], ...]
"""Names, each with what it stands for."""

_BUILTINS = frozenset(vars(builtins)) | {"__file__", "__name__", "__doc__", "__builtins__"}

STARS = (
    *("string", "operator", "collections", "heapq", "bisect", "math", "itertools", "functools"),
    *("typing", "builtins"),
)
"""Modules whose names are known where `from ... import *` stands."""

_RAISES = frozenset({"raises", "assertRaises", "assertRaisesRegex", "RaisesGroup"})
_ASKS_CLASS = ("isinstance", "issubclass", "assertIsInstance", "assertNotIsInstance")
_OF_DATA = frozenset(
    name
    for kind in (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, range, slice)
    for name in dir(kind)
) | {
    *("shape", "dtype", "dtypes", "ndim", "size", "T", "columns", "iloc", "loc", "values", "empty"),
    *("all", "any", "sum", "mean", "min", "max", "std", "round", "tolist", "to_dict", "to_numpy"),
    *("equals", "isin", "isna", "isnull", "notna", "head", "tail", "year", "month", "day", "group"),
}
"""Attributes that data has: who takes one of these has not shown that it is none."""
_CAMEL = re.compile(r"_*[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
_PRINTS = re.compile(
    r"\b(?:capsys|capfd|redirect_stdout|redirect_stderr|StringIO|sys\.std(?:out|err))\b"
)
_FILES = re.compile(
    r"\b(?:open|os|Path|pathlib|tempfile|tmp_path|tmpdir|shutil|glob|sqlite3|zipfile|tarfile|csv"
    r"|to_csv|read_csv|h5py|openpyxl|isfile|savefig|ZipFile)\b"
)
RUNS_CODE = re.compile(
    r"(?<!\bre\.)\b(?:eval|exec|compile|__import__|import_module|importlib|runpy|sympify|query|"
    r"parse_expr|c?[pP]ickle|dill|cloudpickle|joblib|marshal|shelve|allow_pickle|read_pickle|yaml|"
    r"ctypes|timeit|gc|_thread|builtins|__builtins__|setattr|delattr|open|pathlib|os|subprocess)\b"
)
"""A test with one of these words may do what a program's answer says, and then nothing that comes
behind it in its process could be relied on: it has one of its own."""
RUNS_FILES = re.compile(
    r"(?<!\bre\.)\b(?:eval|exec|compile|__import__|import_module|importlib|runpy|sys\.path|"
    r"c?[pP]ickle|dill|cloudpickle|joblib|marshal|shelve|allow_pickle|read_pickle|yaml\.load|"
    r"yaml\.unsafe_load|ctypes|torch\.load|subprocess|Popen|syspath_prepend|SourceFileLoader)\b"
)
"""A test with one of these words may execute what is in a file."""

LONGEST = 2 << 20
"""Characters of a test that are parsed: a second's work."""


@functools.lru_cache(maxsize=4)
def parse(source: str) -> ast.Module:
    """Parse a test; several look at one, each after the other. Raises ValueError where it is no
    Python, or too long.
    """
    if len(source) > LONGEST:
        raise ValueError(f"a test of {len(source)} characters is too long to be read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"a test is no Python ({error}): {source!r:.80}") from None


def nodes_of(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but constants, operators, and lists and tuples of constants, of which tests have a
    hundred thousand.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name in node._fields:
            value = getattr(node, name)
            if type(value) is list:
                stack += [each for each in value if not _is_dull(each)]
            elif isinstance(value, ast.AST) and not _is_dull(value):
                stack.append(value)


@functools.lru_cache(maxsize=4)
def nodes_in(source: str) -> tuple[ast.AST, ...]:
    """The nodes of a test. Raises ValueError as `parse`."""
    return tuple(nodes_of(parse(source)))


def _is_dull(node: object) -> bool:
    kind = type(node)
    if kind in (ast.List, ast.Tuple):
        return all(type(each) is ast.Constant for each in node.elts)  # type: ignore[attr-defined]
    return kind in _DULL


_DULL = frozenset({ast.Constant, ast.Load, ast.Store, str, type(None)})


@functools.lru_cache(maxsize=512)
def global_names(source: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The global names that a source reads, that it defines or imports, and that it imports.
    Raises ValueError where it is no Python.
    """
    used: set[str] = set()
    bound: set[str] = set()
    imported: set[str] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = symtable.symtable(source, "<test>", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"a test is no Python ({error}): {source!r:.80}") from None
    tables = [table]
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if not (top or symbol.is_global()):
                continue
            name = symbol.get_name()
            if symbol.is_referenced():
                used.add(name)
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                bound.add(name)
            if symbol.is_imported():
                imported.add(name)
        tables += table.get_children()
    return frozenset(used), frozenset(bound), frozenset(imported)


@functools.lru_cache(maxsize=512)
def wanted(test: str, prelude: str, module: str, names: tuple[str, ...] = ()) -> Wanted:
    """Return what a test uses of a program, in the order of its names.

    module: the name by which the test imports it, or "". names: of the program, where the caller
    knows them; else they are those that the test imports of `module`, and, of a test that imports
    none, those that neither it nor its prelude defines. Raises ValueError where it is no Python.
    """
    nodes = nodes_in(test)
    imports = _Imports(nodes, module)
    found = dict.fromkeys(names)
    if not names:
        if not imports.is_there or imports.star:
            found.update(dict.fromkeys(sorted(undefined(test, prelude))))
        found.update(dict.fromkeys(sorted({*imports.names.values(), *imports.attributes})))
    else:
        imports.names.setdefault("candidate", names[0])  # as which `check` is given it
    uses = _Uses(nodes, imports)
    return tuple((name, uses.kind(name)) for name in found)


@functools.lru_cache(maxsize=512)
def holders(test: str, module: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the attributes, functions and methods whose value a test takes for an object: it looks
    for attributes of it that data has not (`tree.root.left`), or calls it (`adder(3)(4)`).

    names: of the program. Raises ValueError where it is no Python.
    """
    nodes = nodes_in(test)
    imports = _Imports(nodes, module)
    used, bound, imported = global_names(test)
    program = imports.names.keys() | imports.aliases
    own = (bound | _BUILTINS) - program
    others = (imported | (used - bound)) - program - set(names)  # modules, as a rule

    def source(value: ast.expr) -> str:
        """The attribute that a value is, or what has returned it; "" where that is
        not the program's.
        """
        called = value.func if isinstance(value, ast.Call) else value
        if isinstance(called, ast.Attribute):
            return "" if _root(called) in others else called.attr
        if isinstance(called, ast.Name) and called is not value and called.id not in own:
            return imports.names.get(called.id, called.id)
        return ""

    sources: dict[str, set[str]] = {}  # of variables
    for node in nodes:
        for target, value in _assignments(node):
            if target and (its := source(value)):
                sources.setdefault(target, set()).add(its)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr not in _OF_DATA:
            found |= {*sources.get(_dotted(node.value), ()), source(node.value)}
        elif isinstance(node, ast.Call):
            found |= sources.get(_dotted(node.func), set())
            if isinstance(node.func, ast.Call):
                found.add(source(node.func))
    return tuple(sorted(found - {""}))


def undefined(test: str, prelude: str) -> frozenset[str]:
    """The names that a test or its prelude uses, and that neither of them defines, nor Python."""
    used, bound, _ = global_names(test)
    used_before, bound_before, _ = global_names(prelude)
    found = (used | used_before) - bound - bound_before - _BUILTINS
    for each in (test, prelude):
        for node in nodes_in(each) if found and "*" in each else ():
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                found -= names_of_star(node.module or "") or frozenset()
    return found


@functools.cache
def provided() -> dict[str, frozenset[str]]:
    """What each of `STARS` has for `import *`."""
    found = {}
    for name in STARS:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None) or [
            each for each in vars(module) if not each.startswith("_")
        ]
        found[name] = frozenset(names)
    return found


def names_of_star(module: str) -> frozenset[str] | None:
    """The names that `from module import *` defines; None where that is not known here."""
    return provided().get(module)


@functools.lru_cache(maxsize=512)
def classes_in(source: str) -> tuple[str, ...]:
    """The classes that a source defines at its top; none where it is no Python."""
    try:
        body = parse(source).body
    except ValueError:
        return ()
    return tuple(node.name for node in body if isinstance(node, ast.ClassDef))


def looks_at_output(test: str) -> bool:
    """Whether a test may look at what a call prints."""
    return _PRINTS.search(test) is not None


def seeds(test: str) -> bool:
    """Whether a test may seed generators of random numbers."""
    return "seed(" in test or "setstate(" in test or "set_state(" in test


def looks_at_files(test: str) -> bool:
    """Whether a test may look at files that a program makes, or make some for it."""
    return _FILES.search(test) is not None


def imports_module(test: str, module: str) -> bool:
    """Whether a test imports this module, or names of it."""
    return _Imports(nodes_in(test), module).is_there


class _Imports:
    """How a test imports the program: names by what the test calls them, and attributes that it
    takes of the module.
    """

    def __init__(self, nodes: tuple[ast.AST, ...], module: str) -> None:
        self.names: dict[str, str] = {}
        self.aliases: set[str] = set()
        self.star = False
        self.is_there = False
        if not module:
            nodes = ()
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and self._is(node, module):
                self.is_there = True
                for each in node.names:
                    if each.name == "*":
                        self.star = True
                    else:
                        self.names[each.asname or each.name] = each.name
            elif isinstance(node, ast.ImportFrom) and "." in module:
                package, _, last = module.rpartition(".")
                for each in node.names:
                    if node.module == package and each.name == last:
                        self._is_alias(each.asname or last)
            elif isinstance(node, ast.Import):
                for each in node.names:
                    if each.name == module:
                        self._is_alias(each.asname or module)
        self.attributes = {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and _dotted(node.value) in self.aliases
        }

    def _is(self, node: ast.ImportFrom, module: str) -> bool:
        return node.module == module or (
            node.level > 0 and node.module == module.rpartition(".")[2]
        )

    def _is_alias(self, name: str) -> None:
        self.is_there = True
        self.aliases.add(name)


class _Uses:
    """What a test does with the names of a program."""

    def __init__(self, nodes: tuple[ast.AST, ...], imports: _Imports) -> None:
        self._imports = imports
        self._called: set[str] = set()
        self._errors: set[str] = set()
        self._holders: set[str] = set()
        self._as_data: set[str] = set()
        handlers = [node for node in nodes if isinstance(node, ast.ExceptHandler)]
        self._caught = {node.name for node in handlers}
        self._made = self._made_by(nodes)
        for node in nodes:
            self._look(node)

    def kind(self, name: str) -> str:
        first = name.partition(".")[0].removesuffix("()")
        if name != first:
            return FUNCTION
        if name in self._errors:
            return ERROR
        is_camel = _CAMEL.fullmatch(name) is not None
        if name in self._holders:
            return CLASS if is_camel else HOLDER
        if is_camel:
            return HOLDER
        if name in self._called or name not in self._as_data:
            is_data = name.isupper() and name not in self._called
            return CONSTANT if is_data else FUNCTION
        return CONSTANT

    def _name(self, node: ast.AST) -> str | None:
        """The program's name that an expression is, or may be."""
        if isinstance(node, ast.Name):
            return self._imports.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and _dotted(node.value) in self._imports.aliases:
            return node.attr
        return None

    def _made_by(self, nodes: tuple[ast.AST, ...]) -> dict[str, set[str]]:
        """From which names' calls the test's variables come: directly, or, of names that are
        written as classes are, by way of others (`w = 2 * v`).
        """
        found: dict[str, set[str]] = {}
        parts: list[tuple[str, list[str]]] = []
        for node in nodes:
            for target, value in _assignments(node):
                if target:
                    found.setdefault(target, set()).update(self._called_in(value))
                    parts.append((target, [_dotted(each) for each in nodes_of(value)]))
        changed = True
        while changed:
            changed = False
            for target, names in parts:
                known = found[target]
                before = len(known)
                for name in names:
                    known |= {each for each in found.get(name, ()) if _CAMEL.fullmatch(each)}
                changed |= len(known) > before
        return found

    def _called_in(self, value: ast.expr) -> Iterator[str]:
        """The names whose call is this value; or in it, if they are written as classes are."""
        for node in nodes_of(value):
            name = self._name(node.func) if isinstance(node, ast.Call) else None
            if name is not None and (node is value or _CAMEL.fullmatch(name)):
                yield name

    def _look(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call):
            self._look_at_call(node)
        elif isinstance(node, ast.Attribute):
            self._look_at_attribute(node)
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            self._add(self._errors, _parts(node.type))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            self._add(self._errors, [what])
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            self._add(
                self._holders,
                [
                    each.context_expr.func
                    for each in node.items
                    if isinstance(each.context_expr, ast.Call)
                ],
            )
        elif isinstance(node, ast.Compare):
            self._add(self._as_data, [node.left, *node.comparators])
        elif isinstance(node, ast.Subscript):
            self._add(self._as_data, [node.value])
        elif isinstance(node, (ast.For, ast.comprehension)):
            self._add(self._as_data, [node.iter])

    def _look_at_call(self, node: ast.Call) -> None:
        self._add(self._called, [node.func])
        name = _dotted(node.func).rpartition(".")[2]
        if name in _RAISES and node.args:
            self._add(self._errors, _parts(node.args[0]))
        elif name in _ASKS_CLASS and len(node.args) > 1:
            about = _dotted(node.args[0])
            raised = about in self._caught or about.endswith((".value", ".exception"))
            found = self._errors if raised else self._holders
            self._add(found, _parts(node.args[1]))

    def _look_at_attribute(self, node: ast.Attribute) -> None:
        value = node.value
        if (name := self._name(value)) is not None:
            self._holders.add(name)
        made_by = {*self._made.get(_dotted(value), ()), *self._called_in(value)}
        for each in nodes_of(value):
            made_by |= {
                name for name in self._made.get(_dotted(each), ()) if _CAMEL.fullmatch(name)
            }
        self._holders |= {
            name for name in made_by if node.attr not in _OF_DATA or _CAMEL.fullmatch(name)
        }

    def _add(self, found: set[str], nodes: Iterable[ast.AST]) -> None:
        found |= {name for node in nodes if (name := self._name(node)) is not None}


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What is assigned to which variable, or attribute of one."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=False)
                yield from ((_dotted(each), value) for each, value in pairs)
            else:
                yield _dotted(target), node.value
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield _dotted(node.target), node.value
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            if item.optional_vars is not None:
                yield _dotted(item.optional_vars), item.context_expr
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):  # a fixture, say
        for each in nodes_of(node):
            if isinstance(each, (ast.Return, ast.Yield)) and each.value is not None:
                yield node.name, each.value


def _dotted(node: ast.AST) -> str:
    """A name with attributes as it is written; "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _root(node: ast.AST) -> str:
    """The name from which an expression takes attributes, items and answers; "" if it is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _parts(node: ast.AST) -> list[ast.AST]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]
