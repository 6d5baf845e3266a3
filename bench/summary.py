"""docs/measured.md: what the benches came to, from bench/results/*.json.

python -m bench.summary
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .results import RESULTS

FILE = Path(__file__).parents[1] / "docs" / "measured.md"

HEAD = """# Measured

Written by `python -m bench.summary` from the last results of each bench (`bench/results/`, which
have every sample); what each measures is in [bench/README.md](../bench/README.md). Medians, with
p10 and p90 of n samples; ratios are taken within rounds, and are what to compare: the machine is
a noisy one, and absolute times are worth ±40 %.
"""


def text(folder: Path = RESULTS) -> str:
    """The page, as it must be for the results in `folder`."""
    lines = [HEAD]
    for file in sorted(folder.glob("*.json")):
        lines += section(json.loads(file.read_text(encoding="utf-8")), file.stem)
    return "\n".join(lines)


def section(result: dict[str, Any], name: str) -> Iterator[str]:
    machine = result["machine"]
    load = machine["load_before"][0]
    yield f"## {name}\n"
    yield (
        f"{machine['cores']} cores, {machine['cpu']}, Linux {machine['kernel'].split('-')[0]}, "
        f"Python {machine['python']}, load {load:g} before, {machine['date'][:10]}.\n"
    )
    if result["aims"]:
        yield "| aim | wanted | measured | |\n|---|---|---|---|"
        for aim in result["aims"]:
            met = "met" if aim["met"] else "**missed**"
            yield f"| {aim['what']} | {aim['wanted']} | {spread(aim['measured'])} | {met} |"
        yield ""
    for title, measurement in result["measurements"].items():
        yield f"| {title} | {measurement['unit']} | ratio to {measurement['ratios_against']} |"
        yield "|---|---|---|"
        for each, values in measurement["alternatives"].items():
            ratio = values["ratio"]
            ratios = f"{ratio['median']:.3g} ({ratio['p10']:.3g}..{ratio['p90']:.3g})"
            yield f"| {each} | {spread(values)} | {ratios} |"
        yield ""
    if (RESULTS / f"{name}.png").exists():
        yield f"![{name}](../bench/results/{name}.png)\n"


def spread(values: dict[str, float]) -> str:
    return f"{values['median']:.3g} ({values['p10']:.3g}..{values['p90']:.3g}, n={values['n']})"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
