"""The fixtures that every test can request."""

import os
from collections.abc import Iterator
from typing import Any

from .capturing import Capture, DescriptorCapture
from .fixtures import Definition, fixture, found_in
from .logs import LogCapture
from .monkeypatching import MonkeyPatch
from .raising import WarningsRecorder


class TempPathFactory:
    """`tmp_path_factory`: folders below one of the process's own, which goes at the end."""

    def __init__(self) -> None:
        self._base: Any = None

    def getbasetemp(self) -> Any:
        if self._base is None:
            import pathlib
            import tempfile

            # Numbered, not random: a test sees the same paths whenever it is run.
            parent, number = pathlib.Path(tempfile.gettempdir()), 0
            while self._base is None:
                try:
                    (parent / f"pytest-{number}").mkdir(0o700)
                    self._base = parent / f"pytest-{number}"
                except FileExistsError:
                    number += 1
        return self._base

    def mktemp(self, basename: str, numbered: bool = True) -> Any:
        base, number = self.getbasetemp(), 0
        while True:
            path = base / (f"{basename}{number}" if numbered else basename)
            try:
                path.mkdir(0o700)
                return path
            except FileExistsError:
                if not numbered:
                    raise
                number += 1

    def remove(self) -> None:
        if self._base is not None:
            import shutil

            shutil.rmtree(self._base, ignore_errors=True)


def _tmp_path_factory() -> Iterator[TempPathFactory]:
    factory = TempPathFactory()
    yield factory
    factory.remove()


def _tmp_path(request: Any, tmp_path_factory: TempPathFactory) -> Any:
    name = "".join(each if each.isalnum() else "_" for each in request.node.name)
    return tmp_path_factory.mktemp(name[:30])


def _tmpdir(tmp_path: Any) -> Any:
    return _local_path()(tmp_path)


def _local_path() -> Any:
    import pathlib

    class LocalPath(type(pathlib.Path())):  # type: ignore[misc]
        """A path with the commonest methods of `py.path.local`."""

        @property
        def strpath(self) -> str:
            return str(self)

        def join(self, *names: str) -> "LocalPath":
            return type(self)(self, *names)

        def mkdir(self, *names: str, **options: Any) -> Any:  # py.path gives the new path
            made = self.join(*names)
            super(LocalPath, made).mkdir(**options)
            return made

        def ensure(self, *names: str, dir: bool = False) -> "LocalPath":
            path = self.join(*names)
            if dir:
                os.makedirs(path, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                path.touch()
            return path

        def write(self, data: Any, mode: str = "w") -> None:
            with open(self, mode) as file:
                file.write(data)

        def read(self, mode: str = "r") -> Any:
            with open(self, mode) as file:
                return file.read()

        def check(self, **kinds: Any) -> bool:
            return bool(self.exists())

        def listdir(self) -> list[Any]:
            return [self.join(name) for name in sorted(os.listdir(self))]

    return LocalPath


def _capsys() -> Iterator[Capture]:
    with Capture() as capture:
        yield capture


def _capfd() -> Iterator[DescriptorCapture]:
    with DescriptorCapture() as capture:
        yield capture


def _monkeypatch() -> Iterator[MonkeyPatch]:
    patch = MonkeyPatch()
    try:
        yield patch
    finally:
        patch.undo()


def _recwarn() -> Iterator[WarningsRecorder]:
    with WarningsRecorder() as recorder:
        yield recorder


def _caplog() -> Iterator[LogCapture]:
    with LogCapture() as capture:
        yield capture


FIXTURES: dict[str, Definition] = found_in(
    {
        "tmp_path_factory": fixture(_tmp_path_factory, scope="session"),
        "tmp_path": fixture(_tmp_path),
        "tmpdir": fixture(_tmpdir),
        "capsys": fixture(_capsys),
        "capfd": fixture(_capfd),
        "monkeypatch": fixture(_monkeypatch),
        "recwarn": fixture(_recwarn),
        "caplog": fixture(_caplog),
    },
    None,
    {},
)
