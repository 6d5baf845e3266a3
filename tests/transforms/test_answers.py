"""A program is found in an answer however models write it, and text costs the host its length."""

import threading
import warnings

import pytest
from growth import steps
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interpreter_pool.transforms import CodeRewardFunction, answer_code
from interpreter_pool.transforms.rewards import last_block
from interpreter_pool.transforms.syntax import MOST_PARSED, Parser, open_string
from interpreter_pool.transforms.verl import Scorer

TICKS = "```"
CODE = "def double(x):\n    return 2 * x\n"
DOCUMENTED = f'"""Doubles.\n\n{TICKS}python\ndouble(2)\n{TICKS}\n"""\n{CODE}'
NOTED = (
    f'def double(x):\n    r"""\n  {TICKS}\n  f(1)\n  {TICKS}\n    It\'s so."""\n    return 2 * x\n'
)
PROSE = "It doubles (see above), so that's all."


@pytest.mark.parametrize("code", [CODE, DOCUMENTED, NOTED], ids=["plain", "documented", "noted"])
@pytest.mark.parametrize(
    "written",
    [
        f"So:\n{TICKS}python\nCODE{TICKS}\n{PROSE}",
        f"{TICKS}python\nprint(0)\n{TICKS}\nNo, rather:\n{TICKS}python\nCODE{TICKS}",
        f"{TICKS}python\nCODE",
        "CODE",
        "CODE<|im_end|>",
        f"CODE{TICKS}",
        f"CODE{TICKS}\n{PROSE}",
        f"CODE{TICKS}\nOutput:\n{TICKS}\n4\n{TICKS}\n",
        f"Here it is:\n<answer>\nCODE</answer>\n{PROSE}",
        f"Here it is: <Answer>{TICKS}python\nCODE{TICKS}</Answer>",
        f"<answer>\n{TICKS}python\nCODE</answer>",
        f"<answer>{TICKS}python\nCODE",
        "<answer>CODE",
        "CODE</answer>",
        f"<answer>x = 1; print(x)</answer>{PROSE}<solution>CODE</solution>",
        f"{TICKS}python\nprint(0)\n{TICKS}\n<answer>CODE</answer>",
        f"<think>\n{TICKS}python\nprint(0)\n{TICKS}\n</think>\nCODE",
        f"<think>\n{TICKS}python\nprint(\n</think>\n<answer>CODE</answer>",
        f"Not <answer>this one.\n</think>\n{TICKS}python\nCODE{TICKS}",
    ],
)
def test_a_program_is_found_however_it_is_written(written, code):
    """Fences, half of them, none; tags, half of them; thoughts before; fences in its strings."""
    assert answer_code(written.replace("CODE", code)) == code
    assert answer_code(written.replace("CODE", code).replace("\n", "\r\n")) == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Here it is:\n\nimport math \n\n{CODE}\n{PROSE}", f"import math \n\n{CODE}"),
        (f"print(0)\n\nThat fails, since it\nis short:\n\n{CODE}\n{PROSE}", CODE),
        (f"print(0)\n\nNo, it's this:\n\nprint(1)\n\n{PROSE}", "print(1)\n"),
        (f"<code>\n{CODE}</code>\n{PROSE}", CODE),
        ("    print(0)\n    print(1)", "print(0)\nprint(1)\n"),
        (f"Text:\n{TICKS}\n{CODE}{TICKS}\nOutput:\n{TICKS}\n4\n{TICKS}", CODE),
    ],
)
def test_bare_programs_are_told_from_prose(text, expected):
    """The longest run of lines that is a program; of unlabelled blocks, the last that is one."""
    assert answer_code(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n", "yes", "42", "x", "x, y", "x = 5", "not sure", "None", '"text"', "# Title"),
        *("I don't know.", "<answer>42</answer>", "<answer></answer>", f"`x`, <code>{PROSE}"),
        "It is known that a = b\nfor all x:\nyes",
        f"<think>Perhaps\n{CODE}",
        f"<think>Perhaps\n\n{CODE}</think>\nI give up.",
        "print(1",
    ],
)
def test_prose_is_no_program(text):
    """Prose that happens to be Python is none, nor is bare code within thoughts, or cut off."""
    assert answer_code(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TICKS}python\nprint('<answer>print(0)</answer>')\n{TICKS}", None),
        (f"{TICKS}python\nprint('</think>print(0)')\n{TICKS}", None),
        (f"{TICKS}python\n{CODE}{TICKS}\n<answer>42</answer>", CODE),
        (f"{TICKS}python\n{CODE}{TICKS}\nIt has <code>print(0)</code> in it.", CODE),
        (f"<think>\n{TICKS}python\n{CODE}{TICKS}\n</think>\nThat is it.", CODE),
        (f"{TICKS}python\nx = (\n{TICKS}", "x = (\n"),
        (f"{CODE}{TICKS}\n{TICKS}python\nx = (", "x = ("),
        (f"{TICKS}\n4\n{TICKS}", "4\n"),
        (f"{TICKS}python\n'''\n{TICKS}\n{TICKS}python\n{CODE}{TICKS}", CODE),
        (f"{TICKS}python\n'''\n{TICKS}\n{PROSE}\n{TICKS}python\nx''' y\n{TICKS}", None),
        (f"- {TICKS}python\n  '''\n  {TICKS}\ntext\n\n{TICKS}python\n{CODE}{TICKS}", CODE),
    ],
)
def test_blocks_of_python_stay_what_they_are(text, expected):
    """Tags in code, or without code in them, change nothing; nor do strings that are never closed."""
    last = last_block(text)
    assert answer_code(text) == (last if expected is None else expected)


def test_thoughts_that_were_cut_off_count_by_their_blocks():
    """Behind a <think> that is never closed, fenced blocks are all that counts."""
    assert answer_code(f"<think>\n{TICKS}python\n{CODE}{TICKS}\nprint(0)") == CODE


def test_what_is_no_text_is_refused():
    """The error names the argument and its value."""
    with pytest.raises(TypeError, match="text must be a str, not None"):
        answer_code(None)


def test_rewards_read_answers_so(pool):
    """TRL's and verl's; what is judged is the program that is found."""
    answers = [CODE, f"{CODE}{TICKS}\n{PROSE}", f"<answer>{DOCUMENTED}</answer>", PROSE]
    cases = [{"kind": "call", "function": "double", "args": [2], "expected": 4}]
    assert CodeRewardFunction(pool)(None, answers, cases=[cases] * 4) == [1.0, 1.0, 1.0, 0.0]
    truth = {"inputs": ["2"], "outputs": ["4"], "fn_name": "double"}
    with Scorer(pool) as scorer:
        scores = scorer.batch(None, answers, [truth] * 4)
    assert [each["score"] for each in scores] == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        *(("x = '''", "", "'''"), ("'''", "'''", ""), ('"""a""" + """', "", '"""'), ("'", "", "")),
        *(("# it's '''", "", ""), ('"#" + """', "", '"""'), ("it's \"", "'''", "'''")),
        *((r"\''''", "'''", ""), (r"\'''", "'''", "'''"), (r"'\''" + "'''", "", "'''")),
        *(('""', "", ""), ("'''" + '"""', "", "'''"), ("", '"""', '"""'), ("'a\\", "", "")),
    ],
)
def test_open_strings_are_known(line, before, after):
    """Comments, escapes and the other quotes open and close no string."""
    assert open_string(line, before) == after


UNITS = (
    "(",
    "[",
    "{",
    "f(",
    "{a:",
    "lambda:",
    "not ",
    "-",
    "a.",
    "a+",
    "a if b else ",
    "(a,",
    "f'{",
)
UNITS += (
    "if a:\n ",
    "elif a:\n",
    "try:\n",
    "@a\n",
    "'''",
    "\\",
    "\x00",
    "\ud800",
    "9",
    "a\n",
    "a,",
)
UNITS += ("[a for b in ", "with (", "print (", "await ", "x: ", "(yield ", "1if 1else ", "\\\n")


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_no_text_breaks_the_parser(unit):
    """What is deep, long or no Python is answered, in a thread of ordinary stack, too."""
    answers = []

    def ask():
        for times in (30, 150):
            for tail in ("", "1", ")" * times):
                answers.append(Parser().parses(unit * times + tail))
        answers.append(Parser().parses(unit * (MOST_PARSED // len(unit))))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert len(answers) == 7


def test_a_text_is_parsed_up_to_a_size():
    """What is longer than the budget, or what is left of it, does not parse."""
    parser = Parser(20)
    assert parser.parses("x = 1") and not parser.parses("x" * 16) and parser.parses("x" * 15)
    assert not parser.parses("x")
    assert not Parser(2 * MOST_PARSED).parses("x" * (MOST_PARSED + 1))


def test_warnings_of_answers_are_silent_and_change_no_reading():
    """Nor does a filter that makes errors of warnings; those of others stay."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert answer_code("print('\\d', 1if 1 else 2)") is not None
        assert not seen
        warnings.simplefilter("error")
        assert answer_code("print('\\d', 1if 1 else 2)") is not None
        with pytest.raises(UserWarning):
            warnings.warn("theirs", stacklevel=1)


PIECES = (
    f"{TICKS}python\n",
    f"{TICKS}\n",
    "'''\n",
    '"""',
    "<answer>",
    "</answer>",
    "<code>",
    "# '",
)
PIECES += ("</think>\n", "<think>", "print(1)\n", "x = (\n", "text\n", "\n", "> ", "- ", "    ")
pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


@settings(max_examples=30, deadline=None)
@given(pieces, pieces)
@example("", f"{TICKS}python\n'''\n{TICKS}\n")
@example(f"{TICKS}python\n'''\n", f'{TICKS}\n"""\n')
@example("", "print(1)\nno code\n")
@example("'''\n", "'''\n")
@example("", "<answer>print(1)</answer>\n")
@example("", f"{TICKS}\nprint(1\n{TICKS}\n")
def test_steps_grow_as_answers_do(head, unit):
    """Whatever is repeated, four times as often takes about four times the steps, not sixteen, but
    for those of the parser's budget, which are spent once.
    """
    once, more = (steps(answer_code, head + unit * times) for times in (200, 800))
    assert more < 5 * once + 1_000_000


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_an_answer_is_a_part_of_the_text(text):
    """Each line of a program is one of the answer's: no reading makes code of its own."""
    code = answer_code(text) or ""
    assert all(line.strip() in text for line in code.split("\n"))
