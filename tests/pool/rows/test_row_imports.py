"""What programs take for granted stands before their first statement, and changes nothing else."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreter_pool import Asserts
from interpreter_pool.pool import read_row
from interpreter_pool.pool.rows import FUNCTION_IMPORTS, with_imports
from interpreter_pool.pool.rows.batch import judge_readings
from interpreter_pool.pool.rows.imports import imports_for_tests, needed

IMPORT = "import marked"


def placed(code: str) -> list[ast.stmt]:
    """The statements of a program with an import, which must be the only change, and its place."""
    before, after = ast.parse(code), ast.parse(with_imports(code, IMPORT))
    (place,) = [n for n, each in enumerate(after.body) if ast.unparse(each) == IMPORT]
    rest = [each for n, each in enumerate(after.body) if n != place]
    assert list(map(ast.dump, rest)) == list(map(ast.dump, before.body))
    assert ast.get_docstring(after, clean=False) == ast.get_docstring(before, clean=False)
    compile(with_imports(code, IMPORT), "x", "exec")
    return after.body[:place]


BLANKS = st.text(alphabet=" \t", max_size=2)
NOTHING = st.sampled_from(["\n", "\r\n", "  \n", "# a comment\n", "#!x\n", "\\\n", "\f\n", ""])
STRINGS = st.sampled_from(
    [
        '"a"',
        "'a'",
        '"""a\n"b" \\"""c"""',
        "'''a\n'''",
        'r"\\"',
        "u'x'",
        '""',
        "''",
        '"#"',
        "R'''('''",
    ]
).filter(lambda text: text != 'r"\\"')
DOCSTRINGS = st.one_of(
    STRINGS,
    st.tuples(STRINGS, STRINGS).map(" ".join),
    STRINGS.map("({})".format),
    STRINGS.map("(  # )\n {} )".format),
    STRINGS.map("{} \\\n 'b'".format),
)
FUTURES = st.sampled_from(
    [
        "from __future__ import annotations",
        "from  __future__ \\\n import annotations as a, division",
        "from __future__ import (annotations,  # )\n division)",
    ]
)
ENDS = st.sampled_from(["\n", "  # c\n", ";\n", "; ", "\r\n", " ;\n\n"])
FIRSTS = st.sampled_from(
    [
        "x = 1",
        "def f(): pass",
        "@a\nclass B: pass",
        "import os; y = 2",
        "if 1:\n  z = 1",
        "",
        "'a'.b()",
    ]
)


@given(
    st.sampled_from(["", "\ufeff"]),
    st.lists(NOTHING, max_size=3).map("".join),
    st.none() | st.tuples(DOCSTRINGS, ENDS).map("".join),
    st.lists(st.tuples(FUTURES, ENDS).map("".join), max_size=2).map("".join),
    FIRSTS,
)
def test_imports_come_first_but_for_docstring_and_future(mark, before, docstring, futures, first):
    """For all valid programs: nothing else is changed, and it still compiles."""
    code = mark + before + (docstring or "") + futures + first
    try:
        compile(code, "x", "exec")
    except (SyntaxError, ValueError):
        return
    if not ast.parse(code).body:
        assert with_imports(code, IMPORT) == code
        return
    for statement in placed(code):
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        assert future or isinstance(statement, ast.Expr), ast.dump(statement)


@given(st.text(alphabet="\"'\\#;()\n abcfr_=\ufeff", max_size=40))
def test_what_is_no_program_stays_none(code):
    """And what is one stays that."""
    try:
        compile(code, "x", "exec")
    except (SyntaxError, ValueError):
        return
    compile(with_imports(code, IMPORT), "x", "exec")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 1\ny", 2),
        ('"""doc"""\ndef f(): pass\ny', 3),
        ("from __future__ import annotations\ndef f(): pass\ny", 3),
        ("\ndef f(): pass\ny", 3),
        ("# c\nimport os\ny", 3),
        ('"doc"; def_ = 1\ny', 2),
    ],
)
def test_lines_keep_their_numbers(code, line):
    """Where the first statement leaves room for it."""
    for imports in (IMPORT, "import marked\nimport others"):
        (name,) = [
            node
            for node in ast.walk(ast.parse(with_imports(code, imports)))
            if isinstance(node, ast.Name) and node.id == "y"
        ]
        assert name.lineno == line


def test_a_beginning_without_end_costs_nothing():
    """Nor what is no Python: it is left as it is."""
    for code in ("'''" + "a" * 10_000_000, "#" * 10_000_000, '"' * 100_001, "(" * 1_000_000):
        assert with_imports(code, IMPORT) == code
    assert with_imports("  x = 1", IMPORT) == "  x = 1"


def test_of_the_usual_imports_those_come_that_a_text_has_words_of():
    """They define what all of them would define."""
    assert needed("def f(x): return x + 1") == ""
    everything: dict[str, object] = {}
    exec(FUNCTION_IMPORTS, everything)
    names = ["List", "Counter", "deque", "math", "gcd", "pow", "heapq", "inf", "reduce", "copy"]
    names += ["ascii_lowercase", "xor", "bisect", "json", "count", "sum"]
    for name in names:
        found: dict[str, object] = {}
        exec(needed(f"print({name})"), found)
        assert found.get(name, everything[name]) is everything[name], name
    with_none = needed("print(min(sum([1])))")
    assert with_none == "" or "builtins" in with_none


CODES = [
    '"""Doc."""\nfrom __future__ import annotations\ndef f(x: Unknown) -> List[int]: return [gcd(x, 4)]',
    "\ufefffrom __future__ import annotations\ndef f(x): return list(deque([math.gcd(x, 4)]))",
    "def f(x: List[int]): return [reduce(lambda a, b: a + b, [x // 3, 0])]",
]


def test_functions_asserts_and_streams_find_them(pool):
    """Off by `imports=""`: then a program has its own only."""
    main = "\nif __name__ == '__main__': print(*f(int(input())))"
    rows = [
        {"cases": [{"kind": "call", "function": "f", "args": [6], "expected": [2]}]},
        {"test": "assert f(6) == [gcd(6, 4)] and f(6)[0] < inf", "entry_point": "f"},
        {"inputs": ["6"], "outputs": ["2"]},
    ]
    pairs = [(code + main, read_row(row, code)) for code in CODES for row in rows]
    for imports, expected in ((FUNCTION_IMPORTS, True), ("", False)):
        judged = judge_readings(pool, pairs, imports=imports)
        assert [each.verdict.passed for each in judged] == [expected] * len(pairs)


def test_the_tests_of_a_row_have_the_same_prelude():
    """So that they can share what was prepared for one."""
    cases = imports_for_tests([Asserts("assert f(1) == inf", "f"), Asserts("assert f(2)", "f")])
    assert cases[0].prelude == cases[1].prelude == "from math import *"
    assert imports_for_tests([Asserts("assert f(1)", "f")])[0].prelude == ""
