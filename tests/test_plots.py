"""The pictures of the benches: every panel has a title in words, and none is zoomed in on."""

import doctest
import importlib.util
import json
import subprocess
import sys

import pytest

from bench import plots

RESULTS = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted(plots.RESULTS.glob("*.json"))
}

PANELS = """
import json, sys
from pathlib import Path
from bench import plots
from matplotlib import pyplot
pyplot.close = lambda figure: None
for name in sys.argv[2:]:
    result = json.loads((plots.RESULTS / f"{name}.json").read_text())
    assert plots.draw(result, Path(sys.argv[1], f"{name}.png"))
    for panel in pyplot.gcf().axes:
        ticks = [tick.get_text() for tick in panel.get_xticklabels()]
        notes = [text.get_text() for text in panel.texts]
        print(json.dumps([name, panel.get_xscale(), panel.get_xlim(), ticks, notes]))
"""


def test_its_examples_hold():
    """Those in the docstrings."""
    assert doctest.testmod(plots).failed == 0


@pytest.mark.parametrize("name", RESULTS)
def test_every_measurement_has_a_title_and_a_unit_in_words(name):
    """A picture has no names that only its bench knows."""
    assert name.partition("-")[0] in plots.SUBJECTS
    for measurement, found in RESULTS[name]["measurements"].items():
        assert plots.title(measurement) != measurement
        assert found["unit"] in plots.UNITS


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="matplotlib is missing")
def test_every_axis_begins_at_zero_or_has_whole_decades(tmp_path):
    """684 and 732 never look far apart; ticks are plain numbers; each panel says what is better."""
    # In a process of its own: numpy starts threads.
    command = [sys.executable, "-c", PANELS, str(tmp_path), *RESULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    panels = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = [name for name in RESULTS for _ in RESULTS[name]["measurements"]]
    assert [name for name, *_ in panels] == wanted
    for _, scale, (left, right), ticks, notes in panels:
        if scale == "log":
            assert right >= 10 * left
            assert float(ticks[0].replace(",", "")) == pytest.approx(left)
        else:
            assert left <= 0 < right
        assert all(
            tick.lstrip("-").replace(",", "").replace(".", "").isdigit() for tick in ticks if tick
        )
        assert any("is better" in note for note in notes)
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(RESULTS)
