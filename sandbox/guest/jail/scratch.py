"""Emptying a directory that a hostile program has filled."""

import os


def wipe(path: str) -> None:
    """Remove everything below the directory `path`, however deep, wide or unreadable it is.

    Nothing may be running that could change the tree meanwhile. Depth costs neither recursion
    nor descriptors, and no path grows long: what stands in a folder is moved up to the top
    before the folder goes. Links are removed, never followed.
    """
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while True:
            names = os.listdir(top)
            if not names:
                return
            for name in names:
                if _unlink(name, top):
                    continue
                os.chmod(name, 0o700, dir_fd=top)  # a folder made with mode 0 opens for its owner
                folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    for inner in os.listdir(folder):
                        if _unlink(inner, folder):
                            continue
                        # Moving a folder elsewhere writes its "..": without root, it must be open.
                        os.chmod(inner, 0o700, dir_fd=folder)
                        os.rename(inner, _free_name(), src_dir_fd=folder, dst_dir_fd=top)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _unlink(name: str, folder: int) -> bool:
    """Remove `name` unless it is a directory; tell whether it is gone."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):
        return False
    return True


def _free_name() -> str:
    """A name that no program can have foreseen."""
    return f"\x01{os.urandom(12).hex()}"
