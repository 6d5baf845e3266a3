"""Files on the host's side: what `--file` names, and what `--collect` brings back."""

import errno
import os
from collections.abc import Mapping, Sequence


def read_all(specifications: Sequence[str]) -> dict[str, bytes]:
    """Read the files that `--file SRC[:NAME]` names; return contents by name in the jail."""
    files: dict[str, bytes] = {}
    for each in specifications:
        source, name = _split(each)
        if name in files:
            raise ValueError(f"--file {each!r}: the name {name!r} is taken; give SRC:NAME")
        with open(source, "rb") as file:
            files[name] = file.read()
    return files


def _split(specification: str) -> tuple[str, str]:
    source, colon, name = specification.rpartition(":")
    if colon and source and name and not os.path.exists(specification):
        return source, name
    return specification, os.path.basename(specification)


_OF_THE_NAME = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
"""What is wrong with a name where it is to be written: something else stands there."""


def write_all(folder: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Write collected files below `folder`; return why some were not, by name. Their names are a
    program's choice: none is followed through a link, whoever put that there. OSError where it is
    not a matter of a name: the disk is full, the folder not ours.
    """
    skipped = {}
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, content in files.items():
            *folders, last = name.split("/")
            try:
                _write(top, folders, last, content)
            except OSError as error:
                there = os.path.join(folder, name)
                if error.errno not in _OF_THE_NAME:
                    raise OSError(error.errno, error.strerror, there) from None
                skipped[name] = f"can't be written as {there}: {error.strerror}"
    finally:
        os.close(top)
    return skipped


def _write(top: int, folders: list[str], name: str, content: bytes) -> None:
    folder = os.dup(top)
    try:
        for each in folders:
            try:
                os.mkdir(each, dir_fd=folder)
            except FileExistsError:
                pass
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(each, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=folder), "wb") as file:
            file.write(content)
    finally:
        os.close(folder)
