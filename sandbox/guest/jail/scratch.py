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
                folder = open_up(name, top)
                try:
                    for inner in os.listdir(folder):
                        if _unlink(inner, folder):
                            continue
                        # Moving a folder elsewhere writes its "..": without root, it must be open.
                        os.close(open_up(inner, folder))
                        os.rename(inner, _free_name(), src_dir_fd=folder, dst_dir_fd=top)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def open_up(name: str, above: int) -> int:
    """Open the folder `name` in the folder `above` (a descriptor), whatever mode it was made with:
    its owner may do all with it from then on. Raises OSError for a link, and changes nothing then.

    By descriptor: between two looks at it, a name may come to stand for something else.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(name, flags, dir_fd=above)
    except PermissionError:  # made with a mode that keeps its owner out
        return _open_shut(name, above, flags)
    try:
        os.fchmod(folder, 0o700)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open_shut(name: str, above: int, flags: int) -> int:
    found = os.open(name, flags | os.O_PATH, dir_fd=above)
    try:
        # fchmod(2) takes no such descriptor; this does, and needs no right under Landlock.
        os.chmod(f"/proc/self/fd/{found}", 0o700)
        return os.open(".", flags, dir_fd=found)
    finally:
        os.close(found)


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
