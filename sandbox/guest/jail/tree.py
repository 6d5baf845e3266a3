"""Copying a folder as a hostile program has filled it."""

import os
import stat

_MOST_DEPTH = 200
"""Every folder takes two descriptors while it is copied."""


def copy_tree(source: int, target: int, depth: int = 0) -> None:
    """Copy what is in the folder `source` into the folder `target` (descriptors): files, folders,
    links, fifos, modes and times. Nothing runs that could change it; no link is followed.
    """
    if depth > _MOST_DEPTH:
        raise OSError(f"its folders are nested deeper than {_MOST_DEPTH}")
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            try:
                os.mkdir(name, 0o700, dir_fd=target)
            except FileExistsError:
                pass  # one of those that every scratch has
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner = os.open(name, flags, dir_fd=source)
            try:
                made = os.open(name, flags, dir_fd=target)
                try:
                    copy_tree(inner, made, depth + 1)
                finally:
                    os.close(made)
            finally:
                os.close(inner)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            continue
        else:
            os.mkfifo(name, dir_fd=target)
        os.chmod(name, mode, dir_fd=target)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
    try:
        new = os.open(name, flags, 0o600, dir_fd=target)
        try:
            _copy_content(old, new)
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_content(old: int, new: int) -> None:
    size = os.fstat(old).st_size
    os.truncate(new, size)
    offset = 0
    while offset < size:  # holes stay holes
        try:
            offset = os.lseek(old, offset, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(old, offset, os.SEEK_HOLE)
        os.lseek(new, offset, os.SEEK_SET)
        while offset < end:
            offset += os.sendfile(new, old, offset, end - offset)
