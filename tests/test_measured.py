"""docs/measured.md says what the results say."""

import json

from bench import summary


def test_the_page_is_not_stale():
    """It is what `python -m bench.summary` writes from bench/results."""
    assert summary.FILE.read_text(encoding="utf-8") == summary.text()


def test_every_aim_of_a_result_is_on_the_page():
    """With its median, and whether it was met; none is left out for being missed."""
    page = summary.text()
    count = 0
    for file in summary.RESULTS.glob("*.json"):
        for aim in json.loads(file.read_text(encoding="utf-8"))["aims"]:
            met = "met" if aim["met"] else "**missed**"
            row = f"| {aim['what']} | {aim['wanted']} | {aim['measured']['median']:.3g} ("
            lines = [line for line in page.splitlines() if line.startswith(row)]
            assert lines and all(line.endswith(f"| {met} |") for line in lines)
            count += 1
    assert count > 10
