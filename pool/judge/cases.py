"""Cases: what a program is asked, and what is expected of it. Checked when they are made."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...sandbox.guest.jail import wire
from ...sandbox.guest.jail.confine import PROGRAM_FILE
from ...sandbox.guest.jail.report import MAX_VALUE
from ...sandbox.guest.run.dialogue import FUNCTION
from ...sandbox.run.files import check_name
from ..checks import require_count, require_runtime_name
from ..function import check_name as check_function
from ..function import pack_call
from ..program import bytes_from_json
from .checker import CheckerProgram, require_usable
from .text import COMPARISONS, TOLERANT
from .values import Rule, most_nodes
from .wanted import Wanted, wanted

Checker = Callable[[Any, Any], object]
"""Called in the trusted process with what came out (text, or a value) and what was expected;
returns whether it is right, or a number from 0 to 1: how right it is."""

_MISSING: Any = object()

_FLOAT_TOLERANCE = 1e-6

_CHECKED_PARTS = 200_000
"""Of a value for a checker: they are read in 0.1 s."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stdio:
    """The program is run with `input` and must write `expected` to its standard output, and come
    to its own end with status 0.

    compare: what counts as equal.
        "exact": byte for byte.
        "lines": but for white space at the ends of lines and blank lines at the end.
        "whitespace": and any white space within a line is as good as one blank.
        "tokens": and lines are as good as blanks: words are compared.
        "floats": words, of which numbers may be `abs_tol` or `rel_tol` apart (1e-6 each), unless
            both are whole.
        "judge": words, as the judges of programming contests compare them: whole numbers exactly,
            however long, numbers that are expected with a point or an exponent may be `abs_tol` or
            `rel_tol` apart (1e-6 each); all others, "YES" among them, as they are written.
    checker: decides instead; see `Checker`. It is given text, with invalid UTF-8 replaced.
        `expected` is then anything that it wants to know. A `CheckerProgram` is run in a jail of
        its own; `expected` is then text, or left out.
    input_file: a name in the program's working directory; `input` is there, and standard input is
        empty.
    output_file: a name in the program's working directory; the output is what is there at the end,
        and not what was written to standard output.
    """

    input: str | bytes
    expected: Any = _MISSING
    _: dataclasses.KW_ONLY
    compare: str = "lines"
    abs_tol: float | None = None
    rel_tol: float | None = None
    checker: Checker | CheckerProgram | None = None
    input_file: str | None = None
    output_file: str | None = None
    runtime: str | None = None

    def __post_init__(self) -> None:
        require_runtime_name(self.runtime)
        _require_text("input", self.input)
        _settle_expected(self)
        by_program = isinstance(self.checker, CheckerProgram) and self.expected is not None
        if self.checker is None or by_program:
            _require_text("expected", self.expected)
        for name in ("input_file", "output_file"):
            if getattr(self, name) is not None:
                _require_file(name, getattr(self, name))
        if self.input_file is not None and self.input_file == self.output_file:
            raise ValueError(f"input_file and output_file are both {self.input_file!r}")
        if self.compare not in COMPARISONS:
            raise ValueError(f"compare={self.compare!r}: there are {', '.join(COMPARISONS)}")
        for name in ("abs_tol", "rel_tol"):
            value = getattr(self, name)
            if value is not None and self.compare not in TOLERANT:
                raise ValueError(
                    f'{name} has no effect with compare={self.compare!r}; use "judge" or "floats"'
                )
            _require_tolerance(name, _FLOAT_TOLERANCE if value is None else value)
            if value is None and self.compare in TOLERANT:
                object.__setattr__(self, name, _FLOAT_TOLERANCE)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Stdio":
        """Return a case from JSON data: its fields by name, bytes as {"base64": "..."}, a checker
        as {"source": "...", "protocol": "..."}.
        """
        fields = _with_bytes(_fields(cls, data))
        if fields.get("checker") is not None:
            fields["checker"] = CheckerProgram.from_dict(fields["checker"])
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Interactive:
    """The program talks to an interactor, which decides whether it was right.

    Both run in a confined process each; what one writes to its standard output, the other reads
    from its standard input. The interactor, a Python program, is run as testlib has it:
    `interactor.py input.txt output.txt correct_output.txt`. The first file holds `input`, the last
    `expected` (empty where there is none), and the second is its own to write. It ends with status
    0 for a right program, and with 1, 2, 4 or 8 for a wrong one. With any other end, an exception
    or a limit among them, it fails the program if it has read anything by then; if not, the case
    itself is at fault.

    Raises ValueError for an interactor that evaluates or unpickles, as `CheckerProgram`.
    """

    interactor: str
    _: dataclasses.KW_ONLY
    input: str | bytes = ""
    expected: str | bytes = ""
    runtime: str | None = None

    def __post_init__(self) -> None:
        require_runtime_name(self.runtime)
        require_usable("the interactor", self.interactor)
        _require_text("input", self.input)
        _require_text("expected", self.expected)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Interactive":
        """Return a case from JSON data: its fields by name, bytes as {"base64": "..."}."""
        return cls(**_with_bytes(_fields(cls, data)))


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """The program is loaded as a module, `function` is called once, and must return `expected`.

    function: its name; it may lead through attributes and constructors: "Solution().method".
    args, kwargs, expected: plain data, as for `Pool.function`.
    Equal are values of the same types: 2 is not 2.0 or True, (1,) is not [1]; nan is nan.
    numeric: whole numbers and floats of the same value are equal (bool is no number).
    abs_tol, rel_tol: numbers of which one is a float (or complex) may be so far apart, as in
        `math.isclose`; implies `numeric`.
    ordered: False: the elements of a list or tuple that is returned may come in any order.
    as_json: tuples are as good as lists, keys of dicts as the strings that JSON makes of them.
    or_only_element: where a list of one element is expected, that element is as good: some data
        sets wrap all that is returned in a list, and don't say so.
    checker: decides instead; see `Checker`. `expected` is then anything that it wants to know.
    most_parts: how many values, containers included, may be returned: what has more is wrong, and
        is not read. By default twice as many as in `expected`, and 10,000; with a checker, 200,000
        at least.
    """

    function: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    expected: Any = _MISSING
    _: dataclasses.KW_ONLY
    numeric: bool = False
    abs_tol: float = 0.0
    rel_tol: float = 0.0
    ordered: bool = True
    as_json: bool = False
    or_only_element: bool = False
    checker: Checker | None = None
    most_parts: int | None = None
    runtime: str | None = None
    request: bytes = dataclasses.field(init=False, repr=False, compare=False)
    rule: Rule = dataclasses.field(init=False, repr=False, compare=False)
    most_nodes: int = dataclasses.field(init=False, repr=False, compare=False)
    least_bytes: int = dataclasses.field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        require_runtime_name(self.runtime)
        _checked_name("function", self.function)
        if isinstance(self.args, (str, bytes)) or not isinstance(self.args, Sequence):
            raise TypeError(f"args must be a list or tuple of arguments, not {self.args!r:.80}")
        kwargs = {} if self.kwargs is None else self.kwargs
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
            raise TypeError(f"kwargs must map names to arguments, not {self.kwargs!r:.80}")
        for name in ("numeric", "ordered", "as_json", "or_only_element"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r:.80}")
        for name in ("abs_tol", "rel_tol"):
            _require_tolerance(name, getattr(self, name))
        if self.or_only_element and self.checker is not None:
            raise ValueError("or_only_element has no effect with a checker, which decides instead")
        # Packed at once: what the caller does to its arguments later changes nothing.
        request = pack_call(self.function, tuple(self.args), dict(kwargs))
        object.__setattr__(self, "request", request)
        object.__setattr__(
            self,
            "rule",
            Rule(
                numeric=self.numeric or self.abs_tol > 0 or self.rel_tol > 0,
                abs_tol=self.abs_tol,
                rel_tol=self.rel_tol,
                ordered=self.ordered,
                as_json=self.as_json,
            ),
        )
        _settle_expected(self)
        if self.most_parts is not None:
            require_count("most_parts", self.most_parts, 1, wire.MAX_NODES)
        most = _CHECKED_PARTS
        if self.checker is None:
            try:
                encoded = wire.encode(self.expected, bases=True, max_bytes=MAX_VALUE)
                plain = wire.decode(encoded)
            except wire.TooMuch as error:
                raise ValueError(
                    f"expected can't be returned by any function: it is {error}; give a checker"
                ) from None
            except wire.WireError as error:
                raise TypeError(
                    f"expected can't be compared ({error}); give plain data, or a checker"
                ) from None
            self.rule.require_clear(plain)
            object.__setattr__(self, "expected", plain)
            object.__setattr__(self, "least_bytes", len(encoded))
            for each in self.accepted:
                self.rule.require_possible(each)
            if len(self.accepted) > 1:
                encoded = wire.encode(self.accepted[1], max_bytes=MAX_VALUE)
                object.__setattr__(self, "least_bytes", len(encoded))
            most = most_nodes(plain)
        elif type(self.expected) in wire.PLAIN:
            most = max(most, most_nodes(self.expected))
        most = self.most_parts or min(most, wire.MAX_NODES)
        object.__setattr__(self, "most_nodes", most)

    @property
    def accepted(self) -> tuple[Any, ...]:
        """What may be returned, without a checker."""
        wrapped = self.or_only_element and type(self.expected) in (list, tuple)
        if wrapped and len(self.expected) == 1:
            return self.expected, self.expected[0]
        return (self.expected,)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Call":
        """Return a case from JSON data: its fields by name; `as_json` is the default there."""
        return cls(**{"as_json": True, **_fields(cls, data)})


@dataclasses.dataclass(frozen=True, slots=True)
class Asserts:
    """A test full of asserts, as those of HumanEval and MBPP, which must run to its end.

    Test and program run in a confined process each. In the test, the program's names are stand-ins,
    whose calls go to the program's process. Arguments and results cross by value; so what the
    program does to an argument is not seen by the test. What may cross, the test's text decides:
    plain data; what libraries hold (numbers, dates, arrays, frames); instances of classes that the
    prelude defines, if the program has them as well. Of a class of the program's own that the test
    names, an instance stays where it is, and the test has a handle of it. Exceptions cross as the
    built-in type that they are of, and as that of a class that the test names.
    A test that defines `check` is called with the stand-in: `check(candidate)`. A test that never
    asks for anything judges nothing, and is at fault itself.

    prelude: what the test needs besides, such as helpers that the task's text defines. It is run
        before the test, and not in the program's process, which has its own source only.
    entry_point: "f", or "Solution().method"; of several, a tuple, the first of which is what
        `check` is called with. (): what the test uses, and neither it nor its prelude defines.
    mutates: what the program does to arguments is done to the test's, too. It lets a program edit
        what it is compared with: `assert f(xs) == sorted(xs)` is passed by one that empties xs.
    """

    test_source: str
    entry_point: str | Sequence[str] = ()
    prelude: str = ""
    _: dataclasses.KW_ONLY
    mutates: bool = False
    runtime: str | None = None
    names: Wanted = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_runtime_name(self.runtime)
        _require_test(self)
        given = (self.entry_point,) if isinstance(self.entry_point, str) else self.entry_point
        names = _checked_names("entry_point", given)
        try:
            found = wanted(self.test_source, "" if names else self.prelude, "", names)
        except ValueError:  # no Python: that will show
            found = tuple((name, FUNCTION) for name in names)
        object.__setattr__(self, "names", _some(found, "entry_point"))

    @property
    def subject(self) -> str:
        """What is tested, for people."""
        return _subject(self.names)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Asserts":
        """Return a case from JSON data: its fields by name."""
        return cls(**_fields(cls, data))


@dataclasses.dataclass(frozen=True, slots=True)
class TestModule:
    """A module of tests, for pytest or unittest, of which at least one must run, and each pass.

    It runs in a confined process, the program in another, as for `Asserts`; there, what it imports
    from `module` are stand-ins. A small runner of our own finds and runs the tests: functions and
    classes with their fixtures, marks and parameters, `unittest.TestCase`. A test that is skipped
    is not passed.

    module: by which name the test imports the program; it need not import it.
    entry_points: the names of the program that are tested; (): what the test imports of `module`,
        or, if it imports nothing, what it uses and neither it nor its prelude defines.
    prelude, mutates: as for `Asserts`.
    """

    __test__ = False  # for pytest: it collects whatever is called so

    test_source: str
    module: str = "solution"
    _: dataclasses.KW_ONLY
    entry_points: Sequence[str] = ()
    prelude: str = ""
    mutates: bool = False
    runtime: str | None = None
    names: Wanted = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_runtime_name(self.runtime)
        _require_test(self)
        if not isinstance(self.module, str) or not all(
            part.isidentifier() for part in self.module.split(".")
        ):
            raise ValueError(f"module={self.module!r:.80}: must be the name of a module")
        names = _checked_names("entry_points", self.entry_points)
        found = wanted(self.test_source, "" if names else self.prelude, self.module, names)
        object.__setattr__(self, "names", _some(found, "entry_points"))

    @property
    def subject(self) -> str:
        """What is tested, for people."""
        return _subject(self.names)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TestModule":
        """Return a case from JSON data: its fields by name."""
        return cls(**_fields(cls, data))


Case = Stdio | Call | Asserts | TestModule | Interactive

KINDS: dict[str, type[Case]] = {
    "stdio": Stdio,
    "call": Call,
    "asserts": Asserts,
    "module": TestModule,
    "interactive": Interactive,
}


def kind_of(case: Case) -> str:
    """Return the name of a case's kind, as in `KINDS`."""
    return next(name for name, kind in KINDS.items() if isinstance(case, kind))


def case_from_dict(data: object) -> Case:
    """Return a case from JSON data: {"kind": a name in `KINDS`, and its fields}.

    >>> case_from_dict({"kind": "stdio", "input": "1", "expected": "2"}).expected
    '2'
    """
    if not isinstance(data, dict):
        raise TypeError(f"a case must be a JSON object, not {data!r:.80}")
    fields = dict(data)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind={kind!r:.80}: a case's kind is one of {', '.join(KINDS)}")
    return KINDS[kind].from_dict(fields)


def _fields(cls: type[Case], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that JSON may give, all of which must be known."""
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    if cls is Call:
        known.remove("checker")  # which only code can give
    unknown = data.keys() - set(known)
    if unknown:
        raise ValueError(
            f"{cls.__name__}: unknown field {min(unknown)!r}; there are {', '.join(known)}"
        )
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is dataclasses.MISSING
    ]
    for name in required:
        if name not in data:
            raise ValueError(f"{cls.__name__}: the field {name!r} is missing")
    return dict(data)


def _with_bytes(fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("input", "expected"):
        if name in fields:
            fields[name] = bytes_from_json(name, fields[name])
    return fields


def _settle_expected(case: Stdio | Call) -> None:
    by_program = isinstance(case, Stdio) and isinstance(case.checker, CheckerProgram)
    if case.checker is not None and not by_program:
        _require_checker(case.checker)
    if case.expected is _MISSING:
        if case.checker is None:
            raise ValueError(
                f"{type(case).__name__}: expected is missing; give what must come out, or a checker"
            )
        object.__setattr__(case, "expected", None)


def _require_checker(checker: object) -> None:
    """Raise TypeError for what can't be called with two arguments: nothing that it is given could
    make it answer.
    """
    if not callable(checker):
        raise TypeError(f"checker must be callable, not {checker!r:.80}")
    try:
        signature = inspect.signature(checker)
    except ValueError:  # of some that are written in C, none is known
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise TypeError(
            f"checker must take what came out and what was expected: {error} ({checker!r:.80})"
        ) from None


def _require_test(case: Asserts | TestModule) -> None:
    for name in ("test_source", "prelude"):
        if not isinstance(getattr(case, name), str):
            raise TypeError(f"{name} must be text, not {getattr(case, name)!r:.80}")
    if not case.test_source.strip():
        raise ValueError("test_source is empty: it asserts nothing")
    if not isinstance(case.mutates, bool):
        raise TypeError(f"mutates must be True or False, not {case.mutates!r:.80}")


def _checked_names(field: str, names: object) -> tuple[str, ...]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Sequence):
        raise TypeError(f"{field} must be a list or tuple of names, not {names!r:.80}")
    for name in names:
        _checked_name(field, name)
    return tuple(dict.fromkeys(names))


def _some(found: Wanted, field: str) -> Wanted:
    if not found:
        raise ValueError(
            f"{field}: the test uses nothing that neither it nor its prelude defines; name what it "
            "tests"
        )
    return found


def _subject(names: Wanted) -> str:
    told = [name for name, _ in names]
    return ", ".join(told[:3]) + (", ..." if len(told) > 3 else "")


def _require_file(name: str, value: object) -> None:
    """Raise TypeError or ValueError for what is no name of a file beside the program's."""
    check_name(name, value)
    if set("*?[") & set(str(value)):
        raise ValueError(f"{name}={value!r}: a plain name is needed, without wildcards")
    if value == PROGRAM_FILE:
        raise ValueError(f"{name}={value!r} is the program's own; take another name")


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be str or bytes, not {value!r:.80}")


def _require_tolerance(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r:.80}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r}: must be 0 or more, and finite")


def _checked_name(field: str, name: object) -> None:
    try:
        check_function(name)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field}: {error}") from None
