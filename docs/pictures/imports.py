"""Which module of pool/ imports which: on levels where nothing goes in a circle, red where it does.

    python docs/pictures/imports.py CHECKOUT > picture.svg

Modules that import each other in a circle are one box. Every import counts, wherever it stands in
the module, those for type checkers included.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from svg import AMBER, BLUE, FAINT, INK, LINE, RED, Canvas

_LEFT, _TOP, _WIDE, _LINE, _GAP, _ROW = 20, 78, 132, 15, 12, 26
_MOST_IN_A_ROW = 7

Graph = dict[str, set[str]]


def graph_of(checkout: Path) -> Graph:
    """Return, by the name of each module below pool/, those that it imports of them."""
    folder = checkout / "pool"
    found: Graph = {}
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":
            found[".".join(path.relative_to(folder).with_suffix("").parts)] = set()
    for name, imported in found.items():
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        for target in _imports(path, name):
            while target and target not in found:
                target = target.rpartition(".")[0]
            if target and target != name:
                imported.add(target)
    return found


def _imports(path: Path, name: str) -> Iterator[str]:
    package = ["pool", *name.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                if full.startswith("pool."):
                    yield full.removeprefix("pool.")


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that can reach each other, those without company included,
    what is imported before what imports it (Tarjan's algorithm).
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            place = stack.index(name)
            groups.append(sorted(stack[place:]))
            del stack[place:]

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return groups


def draw(graph: Graph, title: str) -> str:
    """Return the picture: each box stands above all that it imports."""
    groups = circles(graph)
    of = {name: number for number, group in enumerate(groups) for name in group}
    below = [
        {of[other] for name in group for other in graph[name]} - {number}
        for number, group in enumerate(groups)
    ]
    level: list[int] = []
    for number in range(len(groups)):
        level.append(1 + max((level[other] for other in below[number]), default=-1))
    rows: list[list[int]] = []
    for height in range(max(level), -1, -1):
        here = [number for number in range(len(groups)) if level[number] == height]
        rows += [here[n : n + _MOST_IN_A_ROW] for n in range(0, len(here), _MOST_IN_A_ROW)]
    tall = [max(len(groups[number]) for number in row) * _LINE + 10 for row in rows]
    width = 2 * _LEFT + _MOST_IN_A_ROW * (_WIDE + _GAP) - _GAP
    canvas = Canvas(
        width, _TOP + sum(tall) + _ROW * len(rows), title, "Modules, and what they import."
    )
    inside = sum(len(group) for group in groups if len(group) > 1)
    what = f"{inside} modules import each other in circles" if inside else "no circle"
    canvas.write(_LEFT, 34, title, size=18, bold=True)
    canvas.write(
        _LEFT, 56, f"{len(graph)} modules, {what}; each box imports only below it", colour=FAINT
    )
    y = _TOP
    for row, height in zip(rows, tall, strict=True):
        for place, number in enumerate(row):
            group = groups[number]
            x = _LEFT + place * (_WIDE + _GAP)
            circle = len(group) > 1
            engine = group[0].startswith("engine.")
            colour = RED if circle else BLUE if engine else AMBER if "." in group[0] else LINE
            canvas.box(x, y, _WIDE, len(group) * _LINE + 10, stroke=colour, thick=1.5)
            for line, name in enumerate(group):
                canvas.write(x + 7, y + 18 + line * _LINE - 2, name, size=10.5, colour=INK)
        y += height + _ROW
    return canvas.text


if __name__ == "__main__":
    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    print(draw(graph_of(checkout), "pool/: what stands on what"), end="")
