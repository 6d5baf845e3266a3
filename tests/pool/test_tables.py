"""What `pool doctor` and its self-test show: short lines, in any terminal and in a pipe."""

import ast
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interpreter_pool.pool.command import render
from interpreter_pool.pool.command.selftest import Outcome, Trial
from interpreter_pool.sandbox.host.doctor import Diagnosis, Finding

HELD = Finding("tier landlock", True, "files: x; " * 40, brief="files by rules; no cgroup")
FAILED = Finding(
    "tier namespaces",
    False,
    "hello: no jail starts here. " + "for many reasons, " * 20,
    "allow user namespaces, which this long sentence about containers says in many words:\n"
    "  sysctl kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000",
    "a reason that is longer than the room that a line of a terminal leaves for it",
)
CGROUP = Finding("cgroup", False, "none is writable", "run as root")
DIAGNOSIS = Diagnosis("landlock", (Finding("kernel", True, "Linux 6.18"), CGROUP, FAILED, HELD))
TRIALS = [
    Trial("landlock", "keeps to its limits", "print without end", Outcome.HELD),
    Trial(
        "landlock", "no network", "connect to a server", Outcome.NOT_HELD, "through: " + "x, " * 50
    ),
]


def shown(monkeypatch, width: int | None, colour: bool, show) -> list[str]:
    """The lines that `show` prints on a terminal of so many columns (None: into a pipe)."""
    file = io.StringIO()
    if width is None:
        console = Console(file=file, highlight=False, width=10_000)
    else:
        system = "standard" if colour else None
        console = Console(
            file=file, highlight=False, width=width, force_terminal=True, color_system=system
        )
    monkeypatch.setattr(render, "whole_lines", lambda: console)
    show()
    return file.getvalue().splitlines()


def plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("width", [None, 40, 80, 200])
def test_no_line_is_too_long_or_ends_in_blanks(monkeypatch, width, colour):
    """Only a command to be copied may be longer than the terminal is wide."""
    for show in (
        lambda: render.diagnosis(DIAGNOSIS),
        lambda: render.diagnosis(DIAGNOSIS, verbose=True),
        lambda: render.trials(TRIALS),
    ):
        lines = shown(monkeypatch, width, colour, show)
        assert any("\x1b[" in line for line in lines) == (colour and width is not None)
        for line in map(plain, lines):
            assert line == line.rstrip()
            assert len(line) <= max(width or 80, 60) or "sysctl" in line


@pytest.mark.parametrize("width", [None, 80, 200])
def test_a_layer_is_one_line(monkeypatch, width):
    """At 80 columns and more, and in a pipe, where others look for them."""
    lines = [
        plain(line) for line in shown(monkeypatch, width, True, lambda: render.diagnosis(DIAGNOSIS))
    ]
    assert [line.split("  ")[0] for line in lines[:4]] == [
        finding.name for finding in DIAGNOSIS.findings
    ]
    assert lines[4] == ""
    assert all(len(line) <= 80 for line in lines[:4])
    assert lines[2].endswith("...")


def test_what_gains_most_is_advised_first(monkeypatch):
    """Commands stand on lines of their own, whole; everything that was found is there if asked."""
    text = "\n".join(
        shown(monkeypatch, 80, False, lambda: render.diagnosis(DIAGNOSIS, verbose=True))
    )
    assert text.index("1. tier namespaces: allow") < text.index("2. cgroup: run as root")
    assert FAILED.advice.splitlines()[1] in text
    assert "for many reasons, for many reasons" in text


def test_a_table_has_no_blanks_at_the_end_of_its_lines():
    """With and without colour."""
    for colour in (True, False):
        file = io.StringIO()
        console = Console(
            file=file, width=60, force_terminal=True, color_system="standard" if colour else None
        )
        table = Table("case", "detail", box=None, pad_edge=False)
        table.add_row("[green]1[/]", "a long text")
        table.add_row("2", "[red]x[/]")
        render.print_table(console, table)
        lines = file.getvalue().splitlines()
        assert len(lines) == 3
        assert all(plain(line) == plain(line).rstrip() for line in lines)


def test_tables_and_consoles_are_given_texts_only():
    """O9: rich takes marks in strings, so that none is handed to it, whoever has written it."""
    handed = []
    for path in (Path(render.__file__).parent).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "add_row" or (
                node.func.attr == "print" and "onsole" in ast.unparse(node.func.value)
            ):
                texts = (ast.Constant, ast.JoinedStr)
                handed += [
                    f"{path.name}:{node.lineno}" for each in node.args if isinstance(each, texts)
                ]
        assert "TextColumn(" not in path.read_text() or all(
            "markup=False" in line
            for line in path.read_text().splitlines()
            if "TextColumn(" in line
        ), path
    assert handed == []


def test_what_others_have_written_is_one_harmless_line():
    """O9: marks are text, control characters are escaped."""
    line = render.one_line("[/x]\n[link=x]\x1b[2J\ttext\\")
    assert isinstance(line, Text) and line.plain == r"[/x] [link=x]\x1b[2J text" + "\\"
    assert not line.spans
