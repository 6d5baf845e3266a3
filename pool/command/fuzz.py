"""`pool fuzz`: an input on which a program differs from a reference, or none."""

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...sandbox.host.cpus import usable_cpus
from ..fuzzing.difference import Difference
from ..fuzzing.drawing import settled
from ..fuzzing.search import OnExample
from ..fuzzing.strategies import require_hypothesis
from ..wording import escape
from . import live, options
from .ends import INTERRUPTED, Ended, printing

HELP = """Look for an input on which an untrusted program's function differs from a reference's.

Inputs are drawn from the type hints of the reference's function, which may be untrusted as well.
What differs is the value, the type of an exception, or the limit that ends a call. The simplest
input that was found is printed as a line of Python; it is tried first the next time.

Exit code: 1 if one was found, 0 if not; 125 bad usage or our own failure.

Example:

  pool fuzz candidate.py --reference ref.py --function solve --seed 1
"""

_FOLDER = ".hypothesis"
_FOLDER_VARIABLE = "HYPOTHESIS_STORAGE_DIRECTORY"
"""Hypothesis's own, so that there is one such folder to ignore, or to remove."""


@click.command(help=HELP, short_help="Find an input on which two functions differ.")
@click.argument("file", metavar="FILE|-")
@click.option("--reference", metavar="FILE", required=True, help="What it should do as.")
@click.option(
    "--function", metavar="NAME", required=True, help="Such as f, or 'Solution().method'."
)
@click.option(
    "--max-examples", metavar="N", type=int, default=500, help="How many inputs are drawn."
)
@click.option("--seed", metavar="S", type=int, help="Draw the same inputs every time.")
@click.option(
    "--timeout",
    metavar="S",
    default="1",
    help="CPU seconds of a call; 6 times as many by the wall.",
)
@options.memory
@click.option("--abs-tol", metavar="X", type=float, default=0.0, help="Floats may be so far apart.")
@click.option("--rel-tol", metavar="X", type=float, default=0.0, help="The same, relatively.")
@click.option(
    "--database", metavar="DIR", help=f"Where what differed is kept: {_FOLDER}; or 'none'."
)
@click.option("--shared-load", is_flag=True, help="Load each program once: for slow imports.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.of_executor
def fuzz(
    file: str,
    reference: str,
    function: str,
    max_examples: int,
    seed: int | None,
    timeout: str,
    memory: str,
    abs_tol: float,
    rel_tol: float,
    database: str | None,
    shared_load: bool,
    as_json: bool,
    jails: options.Jails,
) -> None:
    try:
        require_hypothesis()
    except ImportError as error:
        raise ValueError(str(error)) from None
    if file == "-" == reference:
        raise ValueError("program and reference can't both be read from standard input")
    candidate, trusted = options.read(file), options.read(reference)
    limits = options.judging_limits(None, timeout, memory, "--timeout")
    seed = settled(seed)
    tried = 0
    try:
        with _interruptible(), _storage(database) as folder, _progress(max_examples) as show:

            def on_example(count: int, last: Difference | None) -> None:
                nonlocal tried
                tried = count
                show(count, last)

            with jails.executor(limits, size=min(2, usable_cpus())) as pool:
                found = pool.differential(
                    candidate,
                    trusted,
                    function,
                    max_examples=max_examples,
                    seed=seed,
                    limits=limits,
                    database=folder,
                    shared_load=shared_load,
                    on_example=on_example,
                    abs_tol=abs_tol,
                    rel_tol=rel_tol,
                )
    except KeyboardInterrupt:
        live.notice(f"interrupted; inputs tried: {tried}, seed {seed}")
        raise Ended(INTERRUPTED) from None
    told = {"found": found is not None, "examples": tried, "seed": seed}
    if as_json:
        with printing():
            print(json.dumps(told if found is None else {**told, **found.to_dict()}))
    else:
        live.notice(_summary(found, tried, seed))
        with printing():
            _show(found)
    raise Ended(int(found is not None))


def _summary(found: Difference | None, tried: int, seed: int) -> str:
    if found is None:
        return f"no difference; inputs tried: {tried}, seed {seed}"
    flaky = "; flaky: asked again, it did not come to the same" if found.flaky else ""
    return f"a difference; inputs tried: {tried}, seed {seed}{flaky}"


def _show(found: Difference | None) -> None:
    """A line of Python, and two comments."""
    if found is not None:
        print(escape(found.as_call()))
        for name, answer in (("candidate", found.candidate), ("reference", found.reference)):
            print(f"# {name}: {' '.join(escape(str(answer)).split())}")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt within: hypothesis would take others for a finding."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _storage(database: str | None) -> Iterator[str | None]:
    """Yield the folder of examples, or None. All that hypothesis itself keeps goes beside it."""
    with contextlib.ExitStack() as opened:
        keeps = database != "none"
        if not keeps:
            database = opened.enter_context(tempfile.TemporaryDirectory())
        folder = database or os.environ.get(_FOLDER_VARIABLE) or _FOLDER
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            if database is not None:
                raise
            live.notice(f"what differs is not kept: {error}; --database DIR names a folder")
            keeps = False
            folder = opened.enter_context(tempfile.TemporaryDirectory())
        os.environ[_FOLDER_VARIABLE] = folder
        yield os.path.join(folder, "examples") if keeps else None


@contextlib.contextmanager
def _progress(total: int) -> Iterator[OnExample]:
    if not sys.stderr.isatty():
        yield lambda count, last: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, text="")

        def show(count: int, last: Difference | None) -> None:
            text = "" if last is None else f"differs; simplifying: {escape(last.as_call()):.60}"
            bar.update(task, completed=count, total=max(total, count), text=text)

        yield show
