"""Memory that the host has not, or a group further up: whose doing is it that the kernel kills?"""

import os

import pytest

from interpreter_pool.sandbox.jail.cgroups import has_room
from interpreter_pool.sandbox.reasons import End, ExitReason, decide
from interpreter_pool.sandbox.session.group import Group


def end(**told):
    known = {
        "host": None,
        "wait_status": 9,
        "out_of_memory": False,
        "memory_limited": True,
        "exception": False,
        "memory_error": False,
    }
    return decide(End(**{**known, **told})).reason


def test_what_is_killed_for_others_is_a_failure_of_ours():
    """A run is then tried again, and an idle session is set back; neither is scored."""
    assert end(starved=True) is ExitReason.INTERNAL
    assert end(out_of_memory=True) is ExitReason.MEMORY
    assert end() is ExitReason.SIGNAL
    assert end(starved=True, host=ExitReason.WALL_TIMEOUT) is ExitReason.WALL_TIMEOUT


@pytest.mark.parametrize(
    "most, limit, room",
    [
        (0, 100 << 20, True),
        (90 << 20, 100 << 20, True),
        (98 << 20, 100 << 20, False),  # it is charged in batches
        (100 << 20, 100 << 20, False),
        (6 << 20, 8 << 20, True),
        (15 << 19, 8 << 20, False),
        (1 << 40, (1 << 63) - 4096, True),
    ],
)
def test_a_group_has_met_its_limit_where_it_came_near_it(most, limit, room):
    assert has_room(most, limit) is room


@pytest.mark.parametrize("version", [1, 2])
def test_a_session_group_tells_whether_it_was_full(tmp_path, version):
    """By its own files, as they stand."""
    folder = tmp_path / "group"
    group = Group(version, str(folder))
    for full in (False, True):
        if version == 2:
            (folder / "memory.events").write_text(f"oom {int(full)}\noom_kill 1\n")
        else:
            held = (100 if full else 10) << 20
            (folder / "memory.max_usage_in_bytes").write_text(f"{held}\n")
            (folder / "memory.limit_in_bytes").write_text(f"{100 << 20}\n")
        assert group.has_met_its_limit() is full
    assert os.path.isdir(folder)
