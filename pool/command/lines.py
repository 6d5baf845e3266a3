"""Lines of files and pipes: as they come, or all at once."""

import contextlib
import os
import select
import stat
import sys
from collections.abc import Iterator

from .options import MOST_BYTES, read

_CHUNK = 1 << 20


@contextlib.contextmanager
def open_source(path: str, out: str) -> Iterator[int]:
    """Yield a descriptor of the lines to read; raise ValueError where they would be written to."""
    with contextlib.ExitStack() as opened:
        if path == "-":
            source = sys.stdin.fileno()
        else:
            source = opened.enter_context(open(path, "rb", buffering=0)).fileno()
        here = os.fstat(source)  # also what standard streams were redirected to
        target = os.fstat(sys.stdout.fileno()) if out == "-" else _status(out)
        if target is not None and stat.S_ISREG(here.st_mode) and os.path.samestat(here, target):
            raise ValueError(f"--out {out!r} is the file of the programs itself; name another")
        yield source


def _status(path: str) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path)
    return None


def count_lines(source: int) -> int | None:
    """Return how many lines a regular file has from its position on; None for anything else, which
    has no end that is known.
    """
    if not stat.S_ISREG(os.fstat(source).st_mode):
        return None
    at = os.lseek(source, 0, os.SEEK_CUR)
    count, end = 0, b"\n"
    while chunk := os.pread(source, _CHUNK, at):
        count += chunk.count(b"\n")
        at, end = at + len(chunk), chunk[-1:]
    return count + (end != b"\n")


def lines(source: int, wait_s: float) -> Iterator[bytes | None]:
    """Yield the lines of a file or pipe; None where it had none for `wait_s` seconds."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    line: list[bytes] = []
    held = 0
    while True:
        if not poll.poll(wait_s * 1e3):
            yield None
            continue
        chunk = os.read(source, _CHUNK)
        if not chunk:
            break
        first, *more = chunk.split(b"\n")
        line.append(first)
        held += len(first)
        if held > MOST_BYTES:
            raise ValueError(f"a line of more than {MOST_BYTES >> 20} MiB")
        for each in more:
            yield b"".join(line)
            line, held = [each], len(each)
    yield b"".join(line)


def numbered_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file of JSON objects, or, for "-", of standard input; not those
    that are empty.
    """
    try:
        text = read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8: {error}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line
