"""`pool doctor`: what this host holds."""

import dataclasses
import json
from collections.abc import Sequence

import click

from ...sandbox.host.ahead import try_imports
from ...sandbox.host.doctor import examine
from . import render
from .ends import Ended, printing
from .options import names
from .selftest import Outcome, self_test

HELP = """Print, layer by layer, what this host holds, and what to do about what is missing.

Exit code 0 if programs can be confined here (and nothing got through), 1 if not."""


@click.command(help=HELP, short_help="Show what this host can enforce, and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--self-test", "test", is_flag=True, help="Also try to break out, in every tier that works."
)
@click.option("-v", "--verbose", is_flag=True, help="Print all that was found.")
@click.option("--tier", metavar="T", help="Self-test this tier only (none: a control).")
@click.option(
    "--with",
    "with_",
    metavar="NAME",
    multiple=True,
    help="Also try to import this package ahead of programs; repeatable.",
)
@click.option(
    "--python", metavar="PATH", help="Of --with: another interpreter, or a virtual environment."
)
def doctor(
    as_json: bool,
    test: bool,
    verbose: bool,
    tier: str | None,
    with_: Sequence[str],
    python: str | None,
) -> None:
    if tier is not None and not test:
        raise ValueError("--tier is for --self-test")
    diagnosis = examine()
    tiers = [tier] if tier is not None else diagnosis.tiers if test else []
    trials = [trial for each in tiers for trial in self_test(each)]
    imports = list(try_imports(names(with_), python)) if with_ else []
    with printing():
        if as_json:
            told = dataclasses.asdict(diagnosis)
            if test:
                told["self_test"] = [dataclasses.asdict(trial) for trial in trials]
            if with_:
                told["imports"] = [dataclasses.asdict(each) for each in imports]
            print(json.dumps(told))
        else:
            render.diagnosis(diagnosis, verbose=verbose)
            if test:
                render.trials(trials)
            if with_:
                render.imports(imports)
    broken = any(trial.outcome is Outcome.NOT_HELD for trial in trials)
    raise Ended(1 if broken or not diagnosis.tier else 0)
