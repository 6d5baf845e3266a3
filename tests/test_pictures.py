"""docs/pictures: the files are what their script draws."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"


def test_no_picture_is_stale(tmp_path):
    """Each is what `python docs/pictures/draw.py` writes from bench/results, and well-formed."""
    command = [sys.executable, str(FOLDER / "draw.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    drawn = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.svg")}
    assert kept == drawn
    assert {"run.svg", "speed.svg"} <= kept.keys()
    for text in kept.values():
        ElementTree.fromstring(text)
