"""Rows made up in the shapes of public data sets, each with a right program and a wrong one."""

import base64
import json
import pickle
import zlib

DOUBLE = "print(2 * int(input()))"
TRIPLE = "print(3 * int(input()))"
TWICE = "def twice(x): return x * 2"
THRICE = "def twice(x): return x * 3"
METHOD = "class Solution:\n    def twice(self, x: List[int]) -> List[int]: return x * 2"
NO_METHOD = "class Solution:\n    def twice(self, x): return x"

PAIRS = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}
CALLS = {"fn_name": "twice", "inputs": [[[1]], [[2, 3]]], "outputs": [[[1, 1]], [[2, 3, 2, 3]]]}
LISTED = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
FUNCTIONAL = [
    {
        "input": "[1]",
        "output": "[1, 1]",
        "testtype": "functional",
        "metadata": {"func_name": "twice"},
    }
]
STARTER = "class Solution:\n    def twice(self, x: List[int]) -> List[int]:\n        "
CHECK = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate('a') == 'aa'\n"
UNITTEST = (
    "import unittest\nclass TestCases(unittest.TestCase):\n"
    "    def test_a(self): self.assertEqual(twice(1), 2)\n"
)
PYTEST = "from solution import twice\n\ndef test_twice():\n    assert twice(1) == 2\n"
BOX = "import math\nclass Box:\n    def __init__(self, x): self.x = x\n    def half(self): return self.x / 2"
TEST_OF_BOX = (
    "import unittest\nclass BoxTestHalf(unittest.TestCase):\n"
    "    def test_half(self): self.assertEqual(Box(math.pi).half(), math.pi / 2)\n"
)
ASSERTS = ["assert twice(1) == 2", "assert twice('a') == 'aa'"]
SCRIPT = (
    "from math import inf\n\ndef same(out, exp):\n    assert out == exp, f'{out} {inf}'\n\n"
    "inputs = [[1], ['a']]\nresults = [2, 'aa']\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    same(twice(*inp), exp)\n"
)

SUM = (
    "import sys\n"
    "def main(given, expected, output):\n"
    "    wanted, found = open(given).read(), open(output).read()\n"
    "    print(1 if sum(map(int, found.split())) == int(wanted) else 0)\n"
    "main(*sys.argv[1:])\n"
)
"""A checker of a problem with many answers."""

INTERACTOR = (
    "import sys\n"
    "number = int(open(sys.argv[1]).read())\n"
    "if input() != '?': sys.exit(2)\n"
    "print(number, flush=True)\n"
    "sys.exit(0 if int(input()) == 2 * number else 1)\n"
)


def packed(value) -> str:
    """As LiveCodeBench has its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


JUDGED = [
    (
        "bigcodebench",
        {"test": UNITTEST, "entry_point": "twice", "libs": "[]", "code_prompt": ""},
        TWICE,
        THRICE,
    ),
    (
        "classeval",
        {"class_name": "Box", "solution_code": BOX, "test": TEST_OF_BOX},
        BOX,
        BOX.replace("self.x", "1"),
    ),
    ("kodcode", {"solution": TWICE, "test_code": PYTEST, "test_info": []}, TWICE, THRICE),
    ("kodcode", {"solution": TWICE, "test": PYTEST, "style": "instruct"}, TWICE, THRICE),
    ("roll", {"case_type": "pytest", "test_case_function": PYTEST}, TWICE, THRICE),
    ("verl", {"reward_model": {"ground_truth": json.dumps({"pytest": PYTEST})}}, TWICE, THRICE),
    ("cases", {"cases": [{"kind": "stdio", "input": "1", "expected": "2"}]}, DOUBLE, TRIPLE),
    ("humaneval", {"task_id": "x", "test": CHECK, "entry_point": "twice"}, TWICE, THRICE),
    (
        "leetcodedataset",
        {"test": CHECK, "entry_point": "Solution().twice", "input_output": []},
        METHOD,
        NO_METHOD,
    ),
    ("mbpp", {"test_list": ASSERTS, "test_setup_code": "", "code": TWICE}, TWICE, THRICE),
    (
        "mbpp",
        {"test_list": ASSERTS, "test_imports": ["import math"], "prompt": "Write a function."},
        TWICE,
        THRICE,
    ),
    (
        "mbppplus",
        {"test": SCRIPT, "test_list": ["assert twice(1) == 2"], "test_imports": [], "code": TWICE},
        TWICE,
        "def twice(x): return 2",
    ),
    ("acecode", {"id": "a", "question": "?", "test_cases": ASSERTS}, TWICE, THRICE),
    (
        "prime-leetcode",
        {
            "test": "my_solution = Solution()\ntest_input = {'x': [1]}\n"
            "assert my_solution.twice(**test_input) == [1, 1]\n"
        },
        METHOD,
        NO_METHOD,
    ),
    (
        "cruxeval",
        {"id": "s", "code": "", "input": "(1, 'a'), b=2", "output": "{1: (2, 'a')}"},
        "def f(x, b): return {x[0]: (b, x[1])}",
        "def f(x, b): return {x[0]: [b, x[1]]}",
    ),
    ("apps", {"problem_id": 1, "input_output": json.dumps(PAIRS)}, DOUBLE, TRIPLE),
    ("apps", {"input_output": json.dumps(CALLS), "solutions": "[]"}, TWICE, THRICE),
    (
        "taco",
        {
            "source": "codewars",
            "time_limit": "2 seconds",
            "memory_limit": "256 megabytes",
            "input_output": json.dumps(CALLS),
        },
        METHOD,
        NO_METHOD,
    ),
    ("areal", {"qid": 1, "prompt": "?", "input_output": json.dumps(PAIRS)}, DOUBLE, TRIPLE),
    (
        "livecodebench",
        {
            "question_id": "1",
            "public_test_cases": json.dumps(LISTED),
            "private_test_cases": packed([{"input": "4", "output": "8", "testtype": "stdin"}]),
            "metadata": "{}",
            "starter_code": "",
        },
        DOUBLE,
        "print(2)",
    ),
    (
        "livecodebench",
        {
            "public_test_cases": json.dumps(FUNCTIONAL),
            "private_test_cases": json.dumps(FUNCTIONAL),
            "starter_code": STARTER,
        },
        METHOD,
        NO_METHOD,
    ),
    ("deepcoder", {"problem": "?", "tests": json.dumps(LISTED), "metadata": {}}, DOUBLE, TRIPLE),
    ("deepcoder", {"tests": json.dumps(FUNCTIONAL)}, METHOD, NO_METHOD),
    ("deepcoder", {"tests": json.dumps(CALLS)}, TWICE, THRICE),
    (
        "codecontests",
        {
            "public_tests": {"input": ["1"], "output": ["2"]},
            "private_tests": {"input": ["2"], "output": ["4"]},
            "generated_tests": None,
            "time_limit": {"seconds": 2, "nanos": 0},
            "memory_limit_bytes": 256000000,
            "input_file": "",
            "output_file": "",
        },
        DOUBLE,
        "print(2)",
    ),
    (
        "codeforces",
        {
            "official_tests": [{"input": "1\r\n", "output": "2\r\n"}],
            "input_mode": "stdio",
            "generated_checker": None,
            "interaction_format": None,
            "time_limit": 1.0,
            "memory_limit": 256.0,
        },
        "import sys\nassert '\\r' not in sys.stdin.read()\nprint(2)",
        "print(3)",
    ),
    (
        "codeforces",
        {
            "official_tests": [{"input": "3\r\n", "output": "3 0\r\n"}],
            "generated_checker": SUM,
            "interaction_format": None,
        },
        "n = int(input())\nprint(1, n - 1)",
        "print(1, int(input()))",
    ),
    (
        "codeforces",
        {
            "official_tests": [{"input": "3\r\n", "output": "6\r\n"}],
            "input_mode": "file",
            "generated_checker": "",
        },
        "open('output.txt', 'w').write(str(2 * int(open('input.txt').read())))",
        DOUBLE,
    ),
    (
        "codeforces",
        {
            "official_tests": [{"input": "3\n", "output": ""}, {"input": "4\n", "output": ""}],
            "interaction_format": "The program asks.",
            "interactor": INTERACTOR,
        },
        "print('?', flush=True)\nprint(2 * int(input()))",
        "print(6)",
    ),
    (
        "codecontests",
        {
            "public_tests": {"input": ["2"], "output": ["4"]},
            "input_file": "numbers.in",
            "output_file": "",
        },
        "print(2 * int(open('numbers.in').read()))",
        DOUBLE,
    ),
    (
        "codecontests-plus",
        {
            "test_cases": [{"input": "3", "output": "3 0"}],
            "checker": SUM,
            "generator": "",
            "validator": "",
        },
        "n = int(input())\nprint(1, n - 1)",
        "print(1, int(input()))",
    ),
    ("rstar-coder", {"question_id": "s", "question": "?", **PAIRS}, DOUBLE, TRIPLE),
    (
        "rstar-coder",
        {
            "question_id": "s",
            "func_name": "twice",
            "class_name": "Solution",
            "starter_code": STARTER,
            "inputs": json.dumps(["[1]"]),
            "outputs": json.dumps(["[1, 1]"]),
        },
        METHOD,
        NO_METHOD,
    ),
    (
        "roll",
        {"case_type": "input", "test_cases": '[{"stdin": "1", "expected_stdout": "2"}]'},
        DOUBLE,
        TRIPLE,
    ),
    (
        "roll",
        {"case_type": "assert", "test_cases": '[{"assert_code": "assert twice(1) == 2"}]'},
        TWICE,
        THRICE,
    ),
    (
        "sandboxfusion",
        {"id": 1, "test": '[{"input": {"stdin": "1"}, "output": {"stdout": "2"}}]'},
        DOUBLE,
        TRIPLE,
    ),
    (
        "verl",
        {"data_source": "taco", "reward_model": {"ground_truth": json.dumps(PAIRS)}},
        DOUBLE,
        TRIPLE,
    ),
    (
        "verl",
        {"reward_model": {"ground_truth": json.dumps({"functional": "\n".join(ASSERTS)})}},
        TWICE,
        THRICE,
    ),
    (
        "verl",
        {
            "reward_model": {
                "ground_truth": {"functional": CHECK + "\ncheck(Solution().twice)", "pytest": None}
            }
        },
        METHOD,
        NO_METHOD,
    ),
    (
        "skyrl",
        {"reward_spec": {"method": "rule", "ground_truth": json.dumps(FUNCTIONAL)}},
        METHOD,
        NO_METHOD,
    ),
    ("nemo-gym", {"verifier_metadata": {"unit_tests": PAIRS}}, DOUBLE, TRIPLE),
    (
        "synthetic-1",
        {
            "verification_info": repr(
                {
                    "language": "python",
                    "test_cases": [
                        {"type": "stdin_stdout", "fn_name": None, "input": "1", "output": "2"}
                    ],
                }
            ),
            "gold_standard_solution": DOUBLE,
        },
        DOUBLE,
        TRIPLE,
    ),
    (
        "synthetic-1",
        {
            "verification_info": {
                "language": "python",
                "test_cases": [
                    {
                        "type": "function_call",
                        "fn_name": "twice",
                        "input": [[1]],
                        "output": [[1, 1]],
                    }
                ],
            }
        },
        TWICE,
        THRICE,
    ),
    ("ground_truth", {"ground_truth": {"fn_name": "twice", "assert_case": ASSERTS}}, TWICE, THRICE),
    ("ground_truth", {"ground_truth": json.dumps(LISTED)}, DOUBLE, TRIPLE),
    ("ground_truth", {"ground_truth": ASSERTS, "dataset": "ace_coder"}, TWICE, THRICE),
    ("ground_truth", {"ground_truth": [json.dumps(ASSERTS)]}, TWICE, THRICE),
    ("ground_truth", {"ground_truth": packed(LISTED), "dataset": "code_stdio"}, DOUBLE, TRIPLE),
]
"""Shape, row, a right program, a wrong one."""

KNOWN = [
    (
        "bigcodebench",
        {"test": UNITTEST.replace("(1), 2", "(mock.Mock()), 2"), "entry_point": "twice"},
        "the tests replace what the program uses",
    ),
    ("roll", {"case_type": "pytest", "test_cases": None}, "the row has no tests"),
    ("evalplus", {"base_input": [[1]], "plus_input": [], "canonical_solution": ""}, "no outputs"),
    ("ds-1000", {"code_context": "", "reference_code": "", "prompt": ""}, "inserted"),
    (
        "sandboxfusion",
        {"test": '{"code": "#<INSERT>\\nf()", "asset": {}}', "labels": "{}"},
        "inserted",
    ),
    ("repository", {"FAIL_TO_PASS": "[]", "PASS_TO_PASS": "[]", "patch": ""}, "repository"),
    (
        "codeforces",
        {
            "official_tests": [{"input": "", "output": ""}],
            "generated_checker": "import sys\nprint(int(eval(open(sys.argv[3]).read()) == 1))",
        },
        "the checker runs what it is given (eval, in line 2)",
    ),
    (
        "codecontests-plus",
        {
            "test_cases": [{"input": "", "output": ""}],
            "checker": '#include "testlib.h"\nint main(int argc, char* argv[]) {}',
            "generator": "",
        },
        "the checker is written in C++",
    ),
    (
        "codeforces",
        {"official_tests": [{"input": "", "output": ""}], "interaction_format": "The jury ..."},
        "need an interactor, and the row has none",
    ),
    (
        "codeforces",
        {
            "official_tests": [{"input": "", "output": ""}],
            "interaction_format": "The jury ...",
            "interactor": "import pickle, sys\npickle.load(sys.stdin.buffer)",
        },
        "the interactor runs what it is given (pickle, in line 1)",
    ),
    (
        "taco",
        {
            "source": "geeksforgeeks",
            "time_limit": None,
            "input_output": json.dumps(
                {"inputs": ["n = 5\nk = 3\narr[] = {5,10}"], "outputs": ["15"]}
            ),
        },
        "as a web page shows it",
    ),
    ("apps", {"problem_id": 2, "input_output": ""}, "the row has no tests"),
    ("mbpp", {"test_list": None, "task_id": 1}, "the row has no tests"),
    (
        "synthetic-1",
        {"verification_info": {"language": "rust", "test_cases": LISTED}},
        "the language is rust",
    ),
]
"""Shape, row, and a word of why it can't be judged."""
