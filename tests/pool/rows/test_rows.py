"""Rows of public data sets, as their columns are: which shape each has, and what is judged by it."""

import json

import numpy as np
import pytest
from shapes import CALLS, DOUBLE, JUDGED, KNOWN, LISTED, PAIRS, THRICE, TWICE

from interpreter_pool import Asserts, Call, Limits, Stdio
from interpreter_pool.pool import Reading, Unreadable, read_row, solutions_of
from interpreter_pool.pool.rows.batch import judge_readings
from interpreter_pool.pool.rows.cells import Row
from interpreter_pool.pool.rows.read import RECOGNISERS, read_value

ALL = [(shape, row) for shape, row, *_ in (*JUDGED, *KNOWN)]


@pytest.mark.parametrize(("shape", "row"), ALL)
def test_one_recogniser_takes_a_row(shape, row):
    """No row is of two shapes by accident: all are asked, and one answers."""
    takers = [each.__name__ for each in RECOGNISERS if each(Row(row), "", "lines") is not None]
    assert len(takers) == 1, takers
    assert read_row(row).shape == shape


@pytest.mark.parametrize(("shape", "row", "why"), KNOWN)
def test_what_cannot_be_judged_says_what_is_missing(shape, row, why):
    reading = read_row(row)
    assert reading.cases == () and why in reading.why


def test_right_programs_pass_and_wrong_ones_do_not(pool):
    """Of each shape, with the program's code as a model writes it."""
    for place, expected in ((2, True), (3, False)):
        pairs = [(each[place], read_row(each[1], each[place])) for each in JUDGED]
        judged = judge_readings(pool, pairs)
        for (shape, row, *_), found in zip(JUDGED, judged, strict=True):
            assert found.verdict is not None and found.verdict.conclusive, (shape, row)
            assert found.verdict.passed is expected, (shape, row, found)
            assert found.verdict.shape == found.verdict.to_dict()["shape"] == shape


def as_arrays(value):
    """As pandas reads parquet: lists become arrays."""
    if isinstance(value, list):
        found = np.empty(len(value), dtype=object)
        found[:] = [as_arrays(each) for each in value]
        return found
    if isinstance(value, dict):
        return {key: as_arrays(each) for key, each in value.items()}
    return value


def test_a_table_may_hold_rows_of_several_data_sets():
    """The columns of the others hold gaps then, and count for nothing."""
    names = {name for _, row in ALL for name in row}
    for shape, row in ALL:
        for gap in (None, float("nan")):
            mixed = {**dict.fromkeys(names, gap), **row}
            reading = read_row(mixed)
            if reading.is_gap:  # it has no tests of its own
                assert not read_row(row).cases
            else:
                assert (reading.shape, len(reading.cases)) == (shape, len(read_row(row).cases))


@pytest.mark.parametrize(("shape", "row"), ALL)
def test_cells_may_be_arrays_and_gaps(shape, row):
    """Arrays of numpy in place of lists, NaN and None for columns of others: the same is read."""
    given = {name: as_arrays(each) for name, each in row.items()}
    assert read_row(given).shape == shape
    assert len(read_row(given).cases) == len(read_row(row).cases)
    gaps = {name: np.float64("nan") for name, each in row.items() if each is None}
    assert read_row({**given, **gaps, "more": float("nan")}) is not None


def test_cells_may_be_scalars_of_numpy():
    row = {"time_limit": np.float64(0.5), "memory_limit": np.int64(64), "official_tests": LISTED}
    reading = read_row(row)
    assert (reading.cpu_s, reading.memory_bytes) == (0.5, 64 << 20)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"answer": 1},
        {"cases": 3},
        {"cases": "["},
        {"cases": [{"kind": "call", "function": "1", "expected": 1}]},
        {"ground_truth": b"\xff"},
        {"ground_truth": "eJ" + "A" * 300},
        {"ground_truth": [LISTED, 1]},
        {"ground_truth": "[" * 100_000},
        {"ground_truth": "(" * 100_000},
        {"test_list": ["assert ("]},
        {"test_list": [3]},
        {"test_list": 3},
        {"test": "assert f(1)", "entry_point": 3},
        {"test": "x", "entry_point": "f()("},
        {"input_output": json.dumps({**PAIRS, "outputs": []})},
        {"input_output": json.dumps({**CALLS, "inputs": ["1 2"] * 2})},
        {"input_output": json.dumps({**CALLS, "fn_name": "a b"})},
        {
            "public_test_cases": json.dumps(
                [{"input": "1", "output": "2", "testtype": "functional"}]
            )
        },
        {"public_test_cases": [3]},
        {"public_tests": 3},
        {"public_tests": {"input": 3, "output": [1]}},
        {"official_tests": [3]},
        {"tests": {"inputs": [{}], "outputs": [{}]}},
        {"verification_info": "{'a': f()}"},
        {"inputs": [object()], "outputs": ["1"]},
        {"inputs": ["1"], "outputs": [None]},
    ],
)
def test_rows_that_make_no_sense_are_unreadable(row):
    """One error for all of them, with the columns, and a kind for counting."""
    with pytest.raises(Unreadable) as caught:
        read_row(row)
    assert caught.value.kind and caught.value.columns == tuple(row)


def test_arguments_of_read_row_are_checked():
    with pytest.raises(TypeError, match="row must map columns to cells, not 3"):
        read_row(3)
    with pytest.raises(TypeError, match="code must be text"):
        read_row({}, b"")
    with pytest.raises(ValueError, match="compare='equal': there are"):
        read_row({}, compare="equal")


# ---- what is read


def test_answers_in_a_list_of_one_count_both_ways(pool):
    """As verl takes Codewars' outputs: `[[false]]` is False, and [False]."""
    row = {"input_output": json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [[False]]})}
    (case,) = read_row(row).cases
    codes = ["return False", "return [False]", "return (False,)", "return 0", "return [[False]]"]
    items = [(f"def f(x): {code}", [case]) for code in codes]
    scores = [verdict.score for verdict in pool.judge_many(items)]
    assert scores == [1, 1, 1, 0, 0]


def test_whole_numbers_that_json_made_texts_of_are_numbers_again():
    """Keys of a dict that is the one argument."""
    calls = {"fn_name": "f", "inputs": [[{"1": 2, "-3": 4}]], "outputs": [1]}
    (case,) = read_row({"input_output": json.dumps(calls)}).cases
    assert case.args == [{1: 2, -3: 4}]
    for other in ([{"1": 2, "a": 3}], [{"01": 2}], [{"1": 2}, 1]):
        (case,) = read_row({"input_output": json.dumps({**calls, "inputs": [other]})}).cases
        assert case.args == other


def test_contests_compare_with_a_tolerance_unless_told_otherwise():
    row = {"inputs": ["1"], "outputs": ["0.5"]}
    (case,) = read_row(row).cases
    assert case == Stdio("1", "0.5", compare="judge")
    (case,) = read_row(row, compare="lines").cases
    assert case == Stdio("1", "0.5")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("time_limit", {"seconds": 1, "nanos": 500_000_000}, (1.5, None)),
        ("time_limit", "2 seconds", (2.0, None)),
        ("time_limit", "500 ms", (0.5, None)),
        ("time_limit", 3, (3.0, None)),
        ("time_limit", None, (None, None)),
        ("time_limit", "soon", (None, None)),
        ("time_limit", -1, (None, None)),
        ("time_limit", float("inf"), (None, None)),
        ("memory_limit_bytes", 64_000_000, (None, 64_000_000)),
        ("memory_limit", 256, (None, 256 << 20)),
        ("memory_limit", "256 megabytes", (None, 256 << 20)),
        ("memory_limit", "1 GB", (None, 1 << 30)),
        ("memory_limit", "512000 KB", (None, 512_000 << 10)),
        ("memory_limit", "much", (None, None)),
        ("memory_limit", 0, (None, None)),
    ],
)
def test_limits_of_a_row_are_read(column, value, expected):
    """What makes no sense is no limit."""
    reading = read_row({**PAIRS, column: value})
    assert (reading.cpu_s, reading.memory_bytes) == expected


def test_limits_of_a_row_apply_at_most_the_pools(pool):
    most = Limits(cpu_s=5.0, wall_s=20.0, memory_bytes=256 << 20)
    shorter = Reading(shape="x", why="-", cpu_s=0.5, memory_bytes=64 << 20).limits(most)
    assert (shorter.cpu_s, shorter.wall_s, shorter.memory_bytes) == (0.5, 3.0, 64 << 20)
    longer = Reading(shape="x", why="-", cpu_s=50.0, memory_bytes=1 << 40).limits(most)
    assert longer == most
    assert Reading(shape="x", why="-", memory_bytes=1).limits(most).memory_bytes == 8 << 20
    row = {**PAIRS, "time_limit": 0.2, "memory_limit": 64}
    codes = ["while True: pass", "x = bytearray(100 << 20)"]
    judged = judge_readings(pool, [(code, read_row(row)) for code in codes], limits=most)
    reasons = [each.verdict.cases[0].reason for each in judged]
    assert reasons in (["cpu_timeout", "memory"], ["wall_timeout", "memory"])  # on a busy machine


# ---- which function is tested


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"test_list": ["assert sum(10, 15) == 6"], "code": "def sum(a, b): pass"}, "sum"),
        ({"test_list": ["assert f(1) == g(1)"], "code": "def f(x): pass"}, None),
        ({"test_list": ["assert f(Counter('a')) == {'a': 1}"]}, "f"),
        ({"test_list": ["assert count(1) == 2"]}, "count"),
        ({"test_list": ["assert set(f(1)) == {1}"]}, "f"),
        (
            {"test_list": ["assert size((1,)) == sys.getsizeof((1,))"], "code": "import sys\n"},
            "size",
        ),
        ({"test_list": ["assert a(b(1)) == 1"], "prompt": "def a(x): ..."}, None),
        ({"test_list": ["assert a(1) == b(1)"], "test_setup_code": "def b(x): return x"}, "a"),
        ({"test_list": ["assert len([1]) == 1"]}, None),
        (
            {"test_list": ["assert f([Pair(1, 2)]) == 1"], "code": "class Pair: 1\ndef f(): 1"},
            ("f", "Pair"),
        ),
        ({"test_list": ["assert f(g(1)) == 1"]}, ("f", "g")),
        (
            {
                "test_list": ["assert f(root) == 1"],
                "test_setup_code": "root = Node(1)",
                "code": "class Node: pass\ndef f(x): pass",
            },
            ("f", "Node"),
        ),
        ({"test_list": ["assert f((1, 'a'), int) == 1"], "code": "def f(x, y): pass"}, "f"),
        ({"test_list": ["assert f(lambda x: x) == 1"]}, None),
        ({"test": "assert helper(f(1))", "entry_point": "f"}, None),
        ({"test": "assert helper(f(1))", "entry_point": "f", "prelude": "helper = bool"}, "f"),
        ({"test": "from odd import *\nassert helper(f(1))", "entry_point": "f"}, "f"),
        ({"test": "assert f(1) == inf\nassert deque([f(1)])", "entry_point": "f"}, "f"),
    ],
)
def test_the_function_that_is_tested_is_found_in_the_text(row, name):
    """In the tests, and the reference; where it is not clear, or can't be called, there is no case,
    whatever a program is like.
    """
    reading = read_row(row)
    assert [case.entry_point for case in reading.cases] == ([] if name is None else [name])
    assert reading.why if name is None else not reading.why


NODES = """
class Node:
    def __init__(self, x): self.x = x
def node(x): return Node(x)
def same(a, b): return a.x == b.x
def total(values): return sum(values)
"""


@pytest.mark.parametrize(
    ("test", "given"),
    [
        ("assert candidate(node(1)) == 1", True),
        ("assert candidate(a=[node(1)]) == 1", True),
        ("assert same(candidate(1), node(1))", True),
        ("assert candidate(1) == Node(1)", True),
        ("assert total(candidate(1)) == 1", False),
        ("assert candidate(1) == 1", False),
        ("assert node(1).x == 1 and candidate(1) == 1", False),
    ],
)
def test_classes_of_a_prelude_are_given_to_programs_whose_tests_pass_instances(test, given):
    """The program has to know them; its helpers stay the test's own."""
    test = f"def check(candidate):\n    {test}"
    reading = read_row({"test": test, "entry_point": "f", "prelude": NODES})
    assert reading.cases and ("class Node" in reading.prelude) is given
    assert "def same" not in reading.prelude
    reading = read_row({"test": test, "entry_point": "f", "prompt": NODES})
    assert reading.cases and "def same" in reading.prelude


def test_instances_of_classes_of_the_prompt_cross(pool):
    test = "def check(candidate): assert same(candidate(node(1)), node(2))"
    row = {"test": test, "entry_point": "f", "prelude": NODES}
    codes = ["def f(n): return Node(n.x + 1)", "def f(n): return n"]
    judged = judge_readings(pool, [(code, read_row(row, code)) for code in codes])
    assert [each.verdict.score for each in judged] == [1, 0]


def test_helpers_of_a_prompt_are_given_to_tests_and_programs():
    """The prompt that a model sees; the function that is asked for is not in the program's part."""
    prompt = (
        "import math\n\ndef helper(x):\n    return x\n\n@staticmethod\ndef f(x):\n    '''?'''\n"
    )
    test = "def check(candidate): assert helper(candidate(1)) == 1"
    reading = read_row({"test": test, "entry_point": "f", "prompt": prompt})
    assert reading.cases == (Asserts(test, "f", prompt),)
    assert "def helper" in reading.prelude and "def f" not in reading.prelude
    prose = read_row({"test": test, "entry_point": "f", "prompt": "Define helper(x)."})
    assert prose.why and not prose.prelude


def test_a_prelude_is_not_given_to_programs(pool):
    """It may hold what the program is to be compared with."""
    test = "def check(candidate): assert candidate(3) == oracle(3)"
    row = {"test": test, "entry_point": "f", "prelude": "def oracle(x): return x * x"}
    codes = ["def f(x): return x * x", "def f(x): return oracle(x)"]
    judged = judge_readings(pool, [(code, read_row(row, code)) for code in codes])
    assert [each.verdict.score for each in judged] == [1, 0]


def test_the_imports_of_a_prelude_are_given_to_programs(pool):
    """Those that they have words of: one that is missing is no loss of others."""
    test = "def check(candidate): assert candidate(3) == '03'"
    prelude = "from textwrap import dedent as undented, fill\nimport os.path\nsecret = '03'"
    row = {"test": test, "entry_point": "f", "prelude": prelude}
    bodies = ["undented('0') + fill(str(x))", "os.path.basename(f'0{x}')", "secret"]
    codes = [f"def f(x): return {body}" for body in bodies]
    judged = judge_readings(pool, [(code, read_row(row, code)) for code in codes])
    assert [each.verdict.score for each in judged] == [1, 1, 0]
    assert read_row(row).item("def f(x): 1", Limits())[0].code == "def f(x): 1"


def test_a_script_is_judged_by_all_of_it(pool):
    """MBPP+: not by the three asserts that stand beside it."""
    row = next(row for shape, row, *_ in JUDGED if shape == "mbppplus")
    code = "def twice(x): return 2"
    judged = judge_readings(pool, [(code, read_row(row, code))])
    assert judged[0].verdict.score == 0


# ---- a row's own solutions


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"code": TWICE}, [TWICE]),
        ({"canonical_solution": "    1\n", "prompt": "def f():\n", "entry_point": "f"}, 1),
        ({"canonical_solution": TWICE, "prompt": "import os\n", "entry_point": "twice"}, [TWICE]),
        ({"solutions": json.dumps([TWICE, THRICE])}, [TWICE, THRICE]),
        ({"solutions": np.array([TWICE, THRICE], dtype=object)}, [TWICE, THRICE]),
        ({"solutions": {"language": [2, 3, 1], "solution": ["c", DOUBLE, "p"]}}, [DOUBLE]),
        (
            {"completion": TWICE, "prompt": "from typing import *\n", "entry_point": "twice"},
            [TWICE],
        ),
        ({"gold_standard_solution": DOUBLE}, [DOUBLE]),
        ({"solutions": "not JSON"}, ["not JSON"]),
        ({"solution": None, "other": 1}, []),
    ],
)
def test_the_solutions_of_a_row_are_found(row, expected):
    if expected == 1:
        expected = ["def f():\n    1\n"]
    assert solutions_of(row) == expected


def test_a_column_of_solutions_can_be_named():
    assert solutions_of({"mine": DOUBLE, "code": TWICE}, "mine") == [DOUBLE]
    with pytest.raises(ValueError, match=r"there is no column 'mine'; there are \['code'\]"):
        solutions_of({"code": TWICE}, "mine")
    with pytest.raises(ValueError, match="holds no programs: 3"):
        solutions_of({"mine": 3}, "mine")


def test_a_value_is_read_like_a_cell():
    """As a scorer gets it: a ground truth by itself."""
    assert read_value(json.dumps(PAIRS)).cases[0] == Stdio("1\n", "2\n", compare="judge")
    (call,) = read_value({"fn_name": "f", "inputs": ["1\n2"], "outputs": ["3"]}).cases
    assert isinstance(call, Call) and call.args == [1, 2]
    assert read_value(None).is_gap
    with pytest.raises(Unreadable, match="'outputs' is missing"):
        read_value({"inputs": []})
