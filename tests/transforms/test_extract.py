"""Code is found in the text of a language model, where people would see it."""

import re
import time

import pytest
from growth import steps
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from interpreter_pool.transforms import extract_code

THEIRS = re.compile(r"```python\n(.*?)\n```", re.DOTALL)
"""What TorchRL's PythonInterpreter looks for."""

TICKS = "```"


def codes(text: str, **options) -> list[str]:
    return [block.code for block in extract_code(text, **options)]


@pytest.mark.parametrize(
    "info",
    [
        *("python", "py", "Python", "PYTHON", "python3", "py3", "Python3", "python3.12", "ipython"),
        *(" python", "python title='x'", 'python title="a b.py"', "python {.line-numbers}"),
        *("{.python}", "{.python .numberLines}", "{#id .python}", "{python}", "{ .py }"),
        *("python:main.py", "python,ignore", "python=", "python\t"),
    ],
)
@pytest.mark.parametrize("fence", ["```", "~~~", "``````"])
def test_python_is_known_by_many_names(info, fence):
    """However a fence spells Python, and with whatever attributes, its code is found."""
    assert codes(f"Text\n\n{fence}{info}\nx = 1\n{fence}\n") == ["x = 1\n"]


@pytest.mark.parametrize(
    "info", ["", "pyt", "pycon", "bash", "text", "pythonic", "{.bash}", "c++", "title=python"]
)
def test_other_languages_are_left_alone(info):
    """What is labelled otherwise, or not at all, is no Python."""
    assert codes(f"{TICKS}{info}\nx = 1\n{TICKS}\n") == []


def test_unlabelled_blocks_count_on_request():
    """`unlabelled` adds fences without a language, and no others."""
    text = "```\na\n```\n```python\nb\n```\n```bash\nc\n```\n"
    assert codes(text) == ["b\n"]
    assert codes(text, unlabelled=True) == ["a\n", "b\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("   ```python\n   x\n     y\n   ```", ["x\n  y\n"]),
        ("Text:\n      ```python\n      x\n      ```", ["x\n"]),
        ("\t```python\n\tx\n\t```", ["x\n"]),
        ("- one\n\n  ```python\n  x\n  ```\n- two\n  ```python\n  y\n  ```", ["x\n", "y\n"]),
        ("10. one\n    ```python\n    if x:\n        y\n    ```", ["if x:\n    y\n"]),
        ("1. one\n   ```python\nif x:\n    y\n   ```\nrest", ["if x:\n    y\n"]),
        ("> said\n> ```python\n> x\n>\n> y\n> ```\nrest", ["x\n\ny\n"]),
        ("> ```python\nx\n```", ["x\n"]),
        ("> ```python\n\nx\n```", ["\nx\n"]),
        ("- ```python\n  x\n- two\n", ["x\n"]),
        ("1. one\n   ```python\n   x\n\nText\n\n```python\ny\n```", ["x\n\n", "y\n"]),
        ("> - a\n>   ```python\n>   x\n>   ```", ["x\n"]),
        ("<think>\n```python\nx\n```\n</think>", ["x\n"]),
        ("<div>\n\n```python\nx\n```", ["x\n"]),
        ("Here you are: ```python\nx\n```\n```python\ny\n```", ["x\n", "y\n"]),
    ],
)
def test_blocks_are_found_wherever_they_stand(text, expected):
    """Indented, in lists, in quotes, in HTML, behind text: code comes without what is around it."""
    assert codes(text) == expected


def test_a_longer_fence_holds_shorter_ones():
    """Four backticks end at four: the three in a docstring are part of the code."""
    code = '"""\n```\nexample\n```\n"""\nx = 1\n'
    assert codes(f"````python\n{code}````\n") == [code]
    assert codes(f"~~~python\n{code}~~~\n") == [code]


@pytest.mark.parametrize("outer", ["```", "````", "~~~"])
@pytest.mark.parametrize("label", ["markdown", "", "text"])
def test_python_within_another_block_is_found(outer, label):
    """A fence of Python within one that is not Python is code, and does not end it early."""
    text = f"{outer}{label}\n# Title\n```python\nx\n```\nmore\n{outer}\n\n```python\ny\n```\n"
    assert codes(text) == ["x\n", "y\n"]
    assert codes(text, unlabelled=True) == ["x\n", "y\n"]


def test_a_fence_that_nobody_closes_ends_with_the_text():
    """A generation that was cut off gives what there is of it, and says so."""
    (block,) = extract_code("```python\nx = 1\ny = (")
    assert (block.code, block.closed) == ("x = 1\ny = (", False)


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "</s>",
        "<eos>",
        "<end_of_turn>",
        "<｜end▁of▁sentence｜>",
        " <|im_end|>",
    ],
)
def test_special_tokens_end_the_code(token):
    """Special tokens behind the closing fence, or where one is missing, are no code."""
    assert codes(f"{TICKS}python\nx\n{TICKS}{token}") == ["x\n"]
    assert codes(f"{TICKS}python\nx\n{TICKS}{token}\n<|im_start|>user\nhi") == ["x\n"]
    assert codes(f"{TICKS}python\nx\n{token}{token}\n") == ["x\n"]
    text = f"{TICKS}\nx\n{TICKS}{token}\n{TICKS}\ny\n{TICKS}"
    assert codes(text, unlabelled=True) == ["x\n", "y\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nx\n```</answer>\n```python\ny\n```", ["x\n", "y\n"]),
        ("```python\nx\n``` and then\n```python\ny\n```", ["x\n", "y\n"]),
        ("```python\nx\n```output\n1\n```\n```python\ny\n```", ["x\n", "y\n"]),
        ("```python\nx\n```python\ny\n```", ["x\n", "y\n"]),
        ("```python\nx\n``` or ```python\ny\n```", ["x\n", "y\n"]),
        ("```python\nprint(1)```", ["print(1)"]),
        ("```python\nprint(1)\n", ["print(1)\n"]),
        ("```python", [""]),
        ("```python\n```", [""]),
    ],
)
def test_what_models_do_to_closing_fences(text, expected):
    """Text behind a closing fence, a forgotten one, one behind the last line: code stays code."""
    assert codes(text) == expected


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_are_normalised(end):
    """Code ends its lines in "\\n" alone, whatever the text did; its place is that in the text."""
    text = end.join(["Text", "```python", "a", "b", "```", "```py", "c", "```"])
    first, second = extract_code(text)
    assert (first.code, first.line, second.code, second.line) == ("a\nb\n", 3, "c\n", 7)
    assert text[first.start : first.end] == f"a{end}b{end}"
    assert text[second.start : second.end] == f"c{end}"


def test_which_picks_blocks():
    """All, the first, the last; none of none."""
    text = "```python\n1\n```\n```python\n2\n```\n```python\n3\n```\n"
    assert codes(text) == ["1\n", "2\n", "3\n"]
    assert codes(text, which="first") == ["1\n"]
    assert codes(text, which="last") == ["3\n"]
    assert codes("none", which="last") == []


def test_nonsense_is_refused():
    """Errors name the argument and its value."""
    with pytest.raises(TypeError, match="text must be a str, not None"):
        extract_code(None)
    with pytest.raises(ValueError, match="which='some': must be one of 'all', 'first', 'last'"):
        extract_code("", which="some")


PIECES = st.sampled_from(
    [
        *("```python\n", "```python", "```", "````", "~~~", "```py\n", "``` ", "```text\n", "`"),
        *("\n", "\n\n", "\r\n", "\n```\n", "\n```", "> ", "- ", "1. ", "    ", "  ", "\t", "#"),
        *("x = 1", "print('a')", '"""', "<think>", "<|im_end|>", "</s>", " word ", "{.python}"),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_what_torchrl_finds_is_found(text):
    """Wherever TorchRL's pattern sees code, a block of ours is, and says where it is."""
    blocks = extract_code(text)
    for found in THEIRS.finditer(text):
        begin, end = found.span()
        assert any(block.start <= end and begin <= block.end for block in blocks)


@settings(deadline=None)
@given(TEXTS)
def test_places_are_true(text):
    """Blocks follow one another; each is in the text where it says, but for what is around code."""
    place = 0
    for block in extract_code(text, unlabelled=True):
        assert place <= block.start <= block.end <= len(text)
        place = block.end
        there = re.split(r"\r\n|\r|\n", text[block.start : block.end])
        lines = block.code.split("\n")
        assert len(there) == len(lines)
        assert all(
            raw.rstrip().endswith(line.strip()) for raw, line in zip(there, lines, strict=True)
        )
        before = re.split(r"\r\n|\r|\n", text[: block.start])
        assert block.line in (len(before), len(before) + 1)


LINES = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="`~\u2028\u2029"),
        max_size=30,
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=4), st.sampled_from(["```", "````", "~~~"]))
def test_plain_documents_are_read_as_commonmark_and_torchrl_do(blocks, fence):
    """Of well-formed fences, the code is that of a plain CommonMark parser, and TorchRL's."""
    codes_in = ["".join(f"{line}\n" for line in lines) for lines in blocks]
    text = "".join(f"Some text.\n\n{fence}python\n{code}{fence}\n\n" for code in codes_in)
    plain = [token.content for token in MarkdownIt().parse(text) if token.type == "fence"]
    assert codes(text) == codes_in == plain
    if fence == "```":
        assert [f"{code}\n" for code in THEIRS.findall(text)] == codes_in


HOSTILE = {
    "backticks": "`",
    "tildes and backticks": "~`",
    "fences": "```\n",
    "openings": "```python\n",
    "late openings": "x ```python\n",
    "openings of others": "```a\n",
    "openings in lists": "- ```python\n",
    "openings in quotes": "> ```python\n\n",
    "lazy code in lists": "- ```python\nx\n\n",
    "lists": "- ",
    "deep lists": "- " * 40 + "a\n",
    "quotes": "> ",
    "deep quotes": "> " * 40 + "a\n",
    "both": "> - " * 20 + "a\n",
    "lines": "a\n",
    "brackets": "[a\n",
    "tokens": "<|a|>",
    "spaces": " ",
}


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_no_longer_than_its_length(piece):
    """Twice the text takes about twice the time: 100 kB and 400 kB are within a few times four."""

    def seconds(size):
        text = piece * (size // len(piece))
        begun = time.process_time()
        extract_code(text, unlabelled=True)
        return time.process_time() - begun

    # The best of three: a neighbour, or a collection of all that this process holds, counts once.
    assert any(seconds(400_000) < 10 * seconds(100_000) + 0.1 for _ in range(3))


LINES = ("```python", "```", "~~~", "```a", "x ```python", "a", "", "    a", "``` <a", "```    ")
LINES += ("````python", "  ", "1. a", "2) b", "---", "~~~python", "-", "1.", ">")
BEFORE = ("", "> ", "- ", "  ", "    ", "1. ", "> > ", "> - ", "- > ", "- - ", "* ", "\t", "   - ")
lines = st.builds(lambda before, line: f"{before}{line}\n", *map(st.sampled_from, (BEFORE, LINES)))


@settings(max_examples=60)
@given(
    *(st.lists(lines, min_size=least, max_size=most) for least, most in ((0, 2), (1, 4), (0, 1)))
)
@example(["> ```python\n"], ["a\n"], [])
@example([], ["> ```python\n", *["a\n"] * 5], [])
@example([], ["- > ~~~python\n", "> > ~~~python\n", "+ ~~~python\n"], ["1. a\n"])
@example(["- ```python\n", "    1.\n"], ["    a\n", "> x ```python\n"], ["> -   \n"])
def test_steps_grow_as_the_text_does(head, unit, tail):
    """C1: whatever is repeated, twice as often takes about twice the steps, and not four times."""
    once, twice = (
        steps(extract_code, "".join([*head, *unit * times, *tail]), unlabelled=True)
        for times in (100, 200)
    )
    assert twice < 2.5 * once + 200 * 200


def test_when_the_budget_is_spent_fences_are_found_all_the_same():
    """C1: as text without quotes and lists; what comes before is as ever."""
    hostile = "- ```python\nx\n\n" * 3000
    blocks = extract_code("```python\nfirst\n```\n" + hostile + "```python\nlast\n```\n")
    assert (blocks[0].code, blocks[-1].code) == ("first\n", "last\n")


@pytest.mark.parametrize("blanks", [" ", "\t", "\u00a0"])
def test_blanks_behind_a_fence_are_looked_at_once(blanks):
    """C1: the pattern for what follows a fence does not try all ways to divide them."""
    text = "```python\nx\n```" + blanks * 200_000 + "<\n```"
    assert extract_code(text)[0].code == "x\n"
