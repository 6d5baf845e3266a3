"""run.svg: host, jail, zygote and fork, and what goes between them during one run."""

from svg import AMBER, BLUE, FAINT, GREEN, INK, RED, Canvas

WIDTH, HEIGHT = 900, 690
PALE_BLUE, PALE_GREEN, PALE_AMBER, PALE_RED = "#f2f6fd", "#f1f9f4", "#fff7ec", "#fdf0ef"
WHITE = "#ffffff"

LAYERS = ("Landlock", "seccomp", "rlimits", "no capabilities")
STEPS = (
    "Ahead of need, the zygote forks a child. The child gives up its powers and waits.",
    "pool.run() puts the program into a queue. The next free worker takes it.",
    "The worker hands the program to the waiting child, which runs it as __main__.",
    "The worker reads the output through pipes, watches limits and clocks, and kills if it must.",
    "When the child ends, the zygote kills and reaps what it left, and reports how it ended.",
    "The worker decides the reason and returns the Result. The zygote forks the next child.",
)


def draw() -> str:
    """Return the picture."""
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        "How one program runs",
        "A worker of the host process hands a program to a confined child, which was forked ahead "
        "of need from a warm zygote in a jail. " + " ".join(STEPS),
    )
    canvas.write(28, 40, "How one program runs", size=19, bold=True)
    canvas.write(
        28,
        64,
        "Each program gets a fresh process, forked from a warm interpreter that waits in a jail.",
        size=14,
        colour=FAINT,
    )
    _host(canvas)
    _jail(canvas)
    _between(canvas)
    for row, words in enumerate(STEPS):
        y = 520 + row * 25
        canvas.number(40, y, row + 1)
        canvas.write(60, y + 4.5, words, size=13)
    note = "Namespaces tier. In the landlock tier the jail has no namespaces; the rest is the same."
    canvas.write(28, HEIGHT - 14, note, size=12, colour=FAINT)
    return canvas.text


def _host(canvas: Canvas) -> None:
    """The host process, from (24, 84) to (326, 488)."""
    canvas.box(24, 84, 302, 404, fill=PALE_BLUE, stroke=BLUE, radius=8)
    canvas.write(40, 108, "Host process", size=15, bold=True, colour=BLUE)
    canvas.write(40, 127, "your trainer, service or shell", size=12.5, colour=FAINT)

    canvas.box(40, 150, 120, 44, fill=WHITE, stroke=BLUE)
    canvas.write(100, 176, "pool.run()", size=13, mono=True, anchor="middle")
    canvas.box(40, 246, 120, 52, fill=WHITE, stroke=BLUE)
    canvas.write(100, 268, "Queue", bold=True, anchor="middle")
    canvas.write(100, 286, "who is next", size=12, colour=FAINT, anchor="middle")
    canvas.box(40, 398, 120, 66, fill=WHITE, stroke=BLUE)
    canvas.write(100, 420, "Result", bold=True, anchor="middle")
    canvas.write(100, 438, "reason, output,", size=12, colour=FAINT, anchor="middle")
    canvas.write(100, 454, "times, layers", size=12, colour=FAINT, anchor="middle")

    for offset in (10, 5):  # there are several workers
        canvas.box(200 + offset, 150 + offset, 100, 304, fill=WHITE, stroke=BLUE)
    canvas.box(200, 150, 100, 304, fill=WHITE, stroke=BLUE)
    canvas.write(250, 174, "Worker", bold=True, anchor="middle")
    for row, words in enumerate(("takes one", "program", "at a time")):
        canvas.write(250, 194 + row * 16, words, size=12, colour=FAINT, anchor="middle")
    canvas.write(250, 320, "decides", bold=True, anchor="middle")
    for row, words in enumerate(("limits, clocks,", "why it ended")):
        canvas.write(250, 340 + row * 16, words, size=12, colour=FAINT, anchor="middle")

    canvas.arrow((100, 194), (100, 245), colour=BLUE)
    canvas.number(100, 219, 2)
    canvas.arrow((160, 272), (199, 272), colour=BLUE)
    canvas.arrow((199, 431), (161, 431), colour=BLUE)
    canvas.number(179, 431, 6)


def _jail(canvas: Canvas) -> None:
    """The jail of one worker, from (426, 84) to (876, 488)."""
    canvas.box(426, 84, 450, 404, fill=PALE_GREEN, stroke=GREEN, radius=8, thick=2)
    canvas.write(442, 108, "Jail, one for each worker", size=15, bold=True, colour=GREEN)
    canvas.write(
        442, 127, "namespaces: own root and processes, no network", size=12.5, colour=FAINT
    )
    canvas.box(442, 140, 418, 334, stroke=GREEN, radius=6, dashed=True)
    canvas.write(848, 158, "cgroup: memory, processes", size=12, colour=GREEN, anchor="end")

    canvas.box(458, 168, 386, 62, fill=PALE_AMBER, stroke=AMBER)
    canvas.write(474, 192, "Zygote, process 1: a warm interpreter", bold=True)
    canvas.write(
        474, 213, "has loaded the modules; runs no program itself", size=12.5, colour=FAINT
    )

    canvas.box(458, 284, 386, 176, fill=WHITE, stroke=GREEN, thick=2)
    canvas.write(516, 305, "Child, confined before it sees the program", size=13, bold=True)
    x = 516.0
    for words, width in zip(LAYERS, (70, 68, 58, 108), strict=True):
        canvas.box(x, 314, width, 22, fill=PALE_GREEN, stroke=GREEN, radius=11)
        canvas.write(x + width / 2, 329, words, size=12, colour=GREEN, anchor="middle")
        x += width + 5
    canvas.box(474, 352, 136, 62, fill=PALE_AMBER, stroke=AMBER)
    canvas.write(542, 378, "Prewarmed", bold=True, anchor="middle")
    canvas.write(542, 396, "waits for its job", size=12.5, colour=FAINT, anchor="middle")
    canvas.box(680, 352, 148, 62, fill=PALE_RED, stroke=RED)
    canvas.write(754, 378, "The run", bold=True, anchor="middle")
    canvas.write(754, 396, "untrusted program", size=12.5, colour=RED, anchor="middle")

    canvas.arrow((488, 230), (488, 351), colour=AMBER)
    canvas.number(488, 256, 1)
    canvas.write(505, 261, "fork, in about a millisecond", size=12.5)
    canvas.arrow((610, 383), (679, 383), colour=INK)
    canvas.write(644, 376, "same", size=12, colour=FAINT, anchor="middle")
    canvas.write(644, 399, "process", size=12, colour=FAINT, anchor="middle")


def _between(canvas: Canvas) -> None:
    """What crosses the wall of the jail: one row each, between x = 300 and x = 458."""
    canvas.arrow((300, 199), (457, 199), colour=INK, both=True)
    canvas.write(374, 182, "control socket", size=12, anchor="middle")
    canvas.number(374, 199, 5)
    canvas.arrow((300, 383), (473, 383), colour=INK)
    canvas.write(374, 366, "program", size=12, anchor="middle")
    canvas.number(374, 383, 3)
    canvas.arrow((754, 414), (754, 440), (301, 440), colour=RED)
    canvas.write(374, 424, "output (pipes)", size=12, anchor="middle")
    canvas.number(374, 440, 4)
