"""How a zygote's memory lies: each test in an interpreter of its own, whose memory it is."""

import subprocess
import sys

import pytest

REGION = """
import ctypes, mmap, zlib
from interpreter_pool.sandbox.guest.jail import kernel, pages

HUGE = pages._HUGE_PAGE

def region(size):
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return memory, -address % HUGE

def in_huge_pages(memory, offset):
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + offset
    found = wanted = 0
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if not first.endswith(":"):
            start, end = (int(each, 16) for each in first.split("-"))
            wanted = start <= address < end
        elif first == "AnonHugePages:" and wanted:
            found += int(line.split()[1]) << 10
    return found // HUGE
"""

GATHERED = """
memory, offset = region(4 * HUGE)
full, half, little = offset, offset + HUGE, offset + 2 * HUGE  # the last is not touched at all
memory[full:full + HUGE] = bytes(range(256)) * (HUGE // 256)
memory[half:half + HUGE // 2] = b"x" * (HUGE // 2)
memory[little:little + HUGE // 4] = b"y" * (HUGE // 4)
def content():
    parts = ((full, HUGE), (half, HUGE // 2), (little, HUGE // 4))
    return [zlib.crc32(memory[start:start + size]) for start, size in parts]
before = content()
pages.HugePages().gather()
print(in_huge_pages(memory, offset))
assert content() == before
"""

REFUSED = """
import os, errno
memory, offset = region(2 * HUGE)
memory[:] = b"x" * len(memory)
asked = []
def refuse(name, *arguments):
    if name == "madvise":
        asked.append(arguments)
        raise OSError(errno.ENOMEM, "none")
    return original(name, *arguments)
original, kernel.syscall = kernel.syscall, refuse
before = os.listdir("/proc/self/fd")
pages.HugePages().gather()
assert os.listdir("/proc/self/fd") == before
print(len(asked))
"""

OCCUPIED = """
held = [bytes(100) for _ in range(3000)]
holes = {id(each) for each in held[::2]}
del held[::2]
taken = pages.occupy_free_blocks()
fresh = [bytes(100) for _ in range(200)]
print(len(holes.intersection(map(id, fresh))), len(holes.intersection(map(id, taken))) > 1000)
"""


def says(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", REGION + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def can_be_huge() -> bool:
    code = """
memory, offset = region(HUGE)
memory[:] = b"x" * len(memory)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + offset
try:
    kernel.syscall("madvise", address, HUGE, pages._MADV_COLLAPSE)
except OSError as error:
    print(error.errno)
"""
    return says(code) == ""


def test_what_is_half_in_use_becomes_huge():
    """A full and a half-full range do; a quarter and an untouched one would only cost memory."""
    if not can_be_huge():
        pytest.skip("this kernel makes no huge pages (MADV_COLLAPSE, Linux 6.1)")
    assert says(GATHERED) == "2"


def test_a_kernel_that_makes_none_is_asked_once():
    assert says(REFUSED) == "1"


def test_what_is_allocated_later_lies_in_no_hole():
    assert says(OCCUPIED) == "0 True"
