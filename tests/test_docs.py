"""The pages say what is so: every block of code in them is run, and what it shows is compared.

In a Python block, a comment after a `print`, or on the lines below it, is what it prints; behind that,
": " may begin an explanation. In a console block, the lines below a command are its output, in which
`...` stands for anything; a command ends with status 0, unless `echo $?` follows and shows another.
"""

import ast
import dataclasses
import doctest
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt

from interpreter_pool import Limits
from interpreter_pool.pool.command.app import app

ROOT = Path(__file__).parents[1]
FOLDERS = ("", "docs", "bench")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

HEAVY = ("torch", "torchrl", "tensordict", "trl", "ray")
"""What takes seconds to import: pages that do, or start a Ray, are slow."""

LONG = ("docs/command-line.md",)
"""Pages whose commands take more than ten seconds, all together."""

NOT_RUN = {
    "make": "it would install this checkout's environment anew; its targets are asked for instead",
    "pip": "it asks the package index; the extras are asked for instead",
    "pool bench": "it takes 20 seconds; tests/pool/test_fuzz_command.py runs it",
}
"""Commands that are shown and not run, and why."""

RUNNER = """
import ast, builtins, json, sys, traceback

page, blocks = sys.argv[1], json.loads(sys.stdin.read())
printed = {}
show = builtins.print

def note(*values, sep=" ", end="\\n", **rest):
    line = sys._getframe(1).f_lineno
    printed.setdefault(line, []).append((" " if sep is None else sep).join(map(str, values)) + end)

for first, code in blocks:
    module = type(sys)("__main__")
    module.__dict__["print"] = note
    sys.modules["__main__"] = module
    try:
        exec(compile("\\n" * (first - 1) + code, page, "exec"), module.__dict__)
    except BaseException:
        traceback.print_exc()
        sys.exit(f"the block at line {first} of {page} failed")
show(json.dumps(printed))
"""
"""Runs blocks one after the other, each as a `__main__` of its own: a process for a page. Its output is
what was printed, by line."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The blocks of a language: the line that each begins at, from 1, and its text."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    return [
        (token.map[0] + 2, token.content)
        for token in tokens
        if token.type == "fence" and token.info.strip() == language and token.map
    ]


def is_slow(page: Path, language: str) -> bool:
    if language == "console":
        return name_of(page) in LONG
    text = "\n".join(code for _, code in blocks(page, "python"))
    return any(re.search(rf"^(import|from) {name}\b", text, re.M) for name in HEAVY) or (
        'get_services("ray"' in text
    )


def cases(language: str) -> list:
    return [
        pytest.param(
            page, id=name_of(page), marks=[pytest.mark.slow] if is_slow(page, language) else []
        )
        for page in RUN
        if blocks(page, language)
    ]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder to run in, with the examples; commands are those of this environment, and names of
    local services this test's own.
    """
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("COLUMNS", "200")
    with tempfile.TemporaryDirectory(prefix="docs-") as runtime:  # sockets have short paths only
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield folder


# ---- Python


def shown(first: int, code: str) -> dict[tuple[int, int], str]:
    """What the comments of a block say that its prints print, by the lines of the print."""
    lines = code.splitlines()
    found = {}
    for node in ast.walk(ast.parse(code)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "print"):
            continue
        rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().strip()
        below = []
        for line in lines[node.end_lineno :]:
            if not line.strip().startswith("# "):
                break
            below.append(line.strip()[2:])
        said = [rest[2:]] if rest.startswith("# ") else below
        if said:
            at = (node.lineno + first - 1, node.end_lineno + first - 1)
            found[at] = "\n".join(said)
    return found


def agrees(said: str, printed: str) -> bool:
    printed = printed.rstrip("\n").replace("\n\n", "\n")
    return said == printed or (bool(printed) and said.startswith(f"{printed}: "))


@pytest.mark.parametrize("page", cases("python"))
def test_python_runs_and_prints_what_its_comments_say(page, here):
    """Every block of a page, in an interpreter of its own for the page."""
    found = blocks(page, "python")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, name_of(page)],
        input=json.dumps(found),
        cwd=here,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    printed = {int(at): "".join(texts) for at, texts in json.loads(done.stdout).items()}
    for first, code in found:
        for (begin, end), said in shown(first, code).items():
            got = "".join(text for at, text in printed.items() if begin <= at <= end)
            assert agrees(said, got), f"{name_of(page)}:{begin} says {said!r}, prints {got!r}"


# ---- consoles


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a block, with the output that is shown for each."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            assert found, f"no command before {line!r}"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def left_out(command: str) -> bool:
    """Whether a command is one of those that are not run: then what it names must be there."""
    words = command.partition("#")[0].split()
    first = next((each for each in NOT_RUN if words[: len(each.split())] == each.split()), None)
    if first == "make":
        assert_targets(words[1:])
    elif first == "pip":
        assert words[:2] == ["pip", "install"]
        for word in words[2:]:
            assert_extras(word)
    return first is not None


def assert_targets(words: list[str]) -> None:
    """Assert that the targets and variables of a `make` command are in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"\b{re.escape(name)}\b" if is_variable else rf"^{re.escape(name)}:"
        assert re.search(pattern, makefile, re.M), f"the Makefile has no {name}"


def assert_extras(text: str) -> None:
    """Assert that the extras that a requirement asks of this distribution are there."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        known = tomllib.load(file)["project"]["optional-dependencies"]
    for extras in re.findall(r"interpreter-pool\[([^\]]*)\]", text):
        assert set(extras.split(",")) <= set(known), f"there is no [{extras}]"


@pytest.mark.parametrize("page", cases("console"))
def test_commands_run_and_show_what_is_shown(page, here):
    """Every block of a page, in one shell for the page, whose working folder is an empty one."""
    asked = [
        (first, command, output)
        for first, text in blocks(page, "console")
        for command, output in commands(text)
        if not left_out(command)
    ]
    outputs = here.parent / "outputs"
    outputs.mkdir()
    script = ["status=0"]
    for number, (_, command, _) in enumerate(asked):
        file = f"{outputs}/{number}"
        script += [f"exec >{file} 2>&1", "(exit $status)", command, "status=$?"]
        script += [f"echo $status >{file}.status"]
    shell = ["bash", "-c", "\n".join(script)]
    subprocess.run(shell, cwd=here, stdin=subprocess.DEVNULL, timeout=110, check=True)
    for number, (first, command, output) in enumerate(asked):
        where = f"{name_of(page)}:{first}: $ {command}"
        got = (outputs / str(number)).read_text(encoding="utf-8")
        if output:
            want, trimmed = (
                "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())
                for text in (output, got)
            )
            same = doctest.OutputChecker().check_output(want, trimmed, doctest.ELLIPSIS)
            assert same, f"{where}\nshown:\n{output}\nis:\n{got}"
        follows = asked[number + 1][1] if number + 1 < len(asked) else ""
        if follows != "echo $?":
            status = (outputs / f"{number}.status").read_text().strip()
            assert status == "0", f"{where}: status {status}\n{got}"


# ---- what pages say of the code


def test_the_options_of_every_command_are_in_its_table():
    """All that there are, and no others."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (pool \w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    context = click.Context(app)
    names = app.list_commands(context)
    assert sections.keys() == {f"pool {name}" for name in names}
    for name in names:
        command = app.get_command(context, name)
        options = {each for param in command.params for each in param.opts if each[:2] == "--"}
        cells = re.findall(r"^\| (`--.*?) \|", sections[f"pool {name}"], re.M)
        told = {word for cell in cells for word in re.findall(r"`(--[\w-]+)", cell)}
        assert told == options, name


def test_limits_are_the_defaults():
    """Those of the table in the README, and of docs/library.md."""
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    page = " ".join((ROOT / "docs" / "library.md").read_text(encoding="utf-8").split())
    for field in dataclasses.fields(Limits):
        value = field.default
        if isinstance(value, int) and value >= 1 << 20:
            value = f"{value >> 20} MiB"
        elif isinstance(value, float):
            value = f"{value:g}"
        assert re.search(rf"\| `{field.name}`[^|]* \| {value} \|", table), field.name
        assert re.search(rf"[(\s]{field.name}={value}[,)]", page), field.name


def test_messages_are_those_of_the_sources():
    """Each that troubleshooting.md quotes is there, with what varies in its place."""
    texts = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for folder in ("pool", "sandbox", "registry", "transforms"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [getattr(each, "value", None) for each in node.values]
                    texts.append("…".join(each for each in parts if isinstance(each, str)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
                elif isinstance(node, ast.ClassDef):
                    texts.append(node.name)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.*?)`(?: \([^|]*?\))? \|", page, re.M)
    assert len(rows) > 50
    theirs = (
        "can't start new thread",
        "maximum recursion depth exceeded",
        "EOFError: EOF when reading a line",
    )  # CPython's
    for message in rows:
        for part in message.split("…"):
            part = part.strip(" `")
            known = any(part in text for text in texts) or part in theirs
            assert known, f"no message holds {part!r} ({message})"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            text = "".join(each.content for each in token.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return {
        slug if not n else f"{slug}-{n}" for slug, most in found.items() for n in range(most + 1)
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """To a file that is there, and to a heading that it has."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    links = [
        target
        for token in tokens
        for child in token.children or ()
        if isinstance(target := child.attrs.get("href") or child.attrs.get("src"), str)
    ]
    for target in links:
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)}: there is no {target}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)}: {target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_extras_and_targets_are_there(page):
    """Wherever a page, in text or code, names one of this distribution or of the Makefile."""
    text = page.read_text(encoding="utf-8")
    assert_extras(text)
    for command in re.findall(r"`make ([^`\n]+)`", text):
        assert_targets(command.split())


def test_every_page_is_in_the_index():
    """docs/README.md names all others."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index


def test_the_readme_is_ten_minutes():
    """170 lines at most; everything else has a page of its own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_what_is_not_run_has_a_reason():
    """And is shown somewhere: a rule that nothing needs goes."""
    text = "\n".join(code for page in RUN for _, code in blocks(page, "console"))
    for command, reason in NOT_RUN.items():
        assert reason and f"$ {command}" in text
