"""A small canvas for pictures in SVG: the same text for the same picture, on every machine.

It has a background of its own, so that a picture reads in a light and in a dark page.
"""

from xml.sax.saxutils import escape

SANS = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

BACKGROUND, INK, FAINT, LINE = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
BLUE, GREEN, AMBER, RED, GREY = "#2f6fde", "#1a7f4b", "#b35900", "#cf222e", "#a3acb8"

_ARROW_HEADS = (INK, BLUE, GREEN, AMBER, RED)


class Canvas:
    """Collects shapes; `text` is the whole file. Units are pixels, from the top left corner."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="{SANS}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            "<defs>",
            *(
                f'<marker id="head-{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" '
                f'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" '
                f'orient="auto-start-reverse"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{colour}"/>'
                "</marker>"
                for colour in _ARROW_HEADS
            ),
            "</defs>",
        ]
        self.box(0.5, 0.5, width - 1, height - 1, fill=BACKGROUND, stroke=LINE, radius=10)

    @property
    def text(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        stroke: str = "none",
        radius: float = 6,
        dashed: bool = False,
        thick: float = 1,
    ) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="{thick:g}"{dash}/>'
        )

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 13,
        colour: str = INK,
        bold: bool = False,
        mono: bool = False,
        anchor: str = "start",
    ) -> None:
        """Write one line; `y` is its base line. anchor: start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        family = f' font-family="{MONO}"' if mono else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}{family}>{escape(words)}</text>'
        )

    def line(
        self,
        *points: tuple[float, float],
        colour: str = INK,
        thick: float = 1,
        dashed: bool = False,
    ) -> None:
        self._path(points, colour, thick, dashed, heads="")

    def arrow(
        self,
        *points: tuple[float, float],
        colour: str = INK,
        thick: float = 1.6,
        dashed: bool = False,
        both: bool = False,
    ) -> None:
        """Draw an arrow through `points`; both: with a head at its beginning as well."""
        head = f"url(#head-{colour[1:]})"
        heads = f' marker-end="{head}"' + (f' marker-start="{head}"' if both else "")
        self._path(points, colour, thick, dashed, heads)

    def _path(
        self,
        points: tuple[tuple[float, float], ...],
        colour: str,
        thick: float,
        dashed: bool,
        heads: str,
    ) -> None:
        path = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{thick:g}"'
            f"{dash}{heads}/>"
        )

    def number(self, x: float, y: float, value: int, colour: str = INK) -> None:
        """Draw a numbered disc, centred at (x, y)."""
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="10" fill="{colour}"/>')
        self.write(x, y + 4.3, str(value), size=12, colour="#ffffff", bold=True, anchor="middle")
