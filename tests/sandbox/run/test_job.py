"""`job`: what a program is handed."""

import os

import pytest

from interpreter_pool.sandbox.run.job import in_memory


def test_what_a_program_reads_it_cannot_change():
    """Opened anew through /proc, its input can be neither written to, nor grown, nor cut."""
    fd = in_memory("stdin", [b"first ", b"second"])
    try:
        assert os.read(fd, 100) == b"first second"
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        try:
            for change in (
                lambda: os.write(again, b"x"),
                lambda: os.ftruncate(again, 1 << 30),
                lambda: os.ftruncate(again, 0),
            ):
                with pytest.raises(PermissionError):
                    change()
        finally:
            os.close(again)
    finally:
        os.close(fd)
