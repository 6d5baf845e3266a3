"""Copying a folder that a hostile program has filled."""

import os

import pytest

from interpreter_pool.sandbox.guest.jail import tree
from interpreter_pool.sandbox.guest.jail.scratch import wipe


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("kind", ["a folder too deep", "a file that is there already"])
def test_a_copy_that_fails_keeps_no_descriptor(tmp_path, kind):
    """A family init copies for every branch that its program asks for: it must not run out of them."""
    source, target = tmp_path / "source", tmp_path / "target"
    if kind == "a folder too deep":
        source.mkdir()
        folder = os.open(source, os.O_RDONLY)
        for _ in range(tree._MOST_DEPTH + 2):
            os.mkdir("d", dir_fd=folder)
            inner = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(folder)
        target.mkdir()
    else:
        for each in (source, target):
            (each / "folder").mkdir(parents=True)
            (each / "folder" / "file").write_text("x")
    old, new = (os.open(each, os.O_RDONLY | os.O_DIRECTORY) for each in (source, target))
    before = descriptors()
    with pytest.raises(OSError):
        tree.copy_tree(old, new)
    assert descriptors() <= before
    for fd in (old, new):
        os.close(fd)
    for each in (source, target):
        wipe(str(each))
