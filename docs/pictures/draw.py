"""Writes the pictures of this folder.

    python docs/pictures/draw.py [FOLDER]

run.svg is what `run.py` lays out, speed.svg what `speed.py` finds in bench/results. A test holds
that the files are what this writes.
"""

import sys
from pathlib import Path

import run
import speed

PICTURES = {"run.svg": run.draw, "speed.svg": speed.draw}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, draw in PICTURES.items():
        (folder / name).write_text(draw(), encoding="utf-8")
        print(f"drew {name}")


if __name__ == "__main__":
    main()
