"""What a test prints, for the fixtures `capsys` and `capfd`."""

import io
import os
import sys
from typing import Any, NamedTuple


class CaptureResult(NamedTuple):
    """What has been printed since it was last asked for."""

    out: str
    err: str


class Capture:
    """sys.stdout and sys.stderr, kept in place of written."""

    def __init__(self) -> None:
        self._kept: Any = None
        self._own = self._make(1), self._make(2)

    def _make(self, fd: int) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)

    def __enter__(self) -> "Capture":
        self._kept = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._own
        return self

    def __exit__(self, *error: object) -> None:
        rest = self.readouterr()
        self._release()
        # What nobody has asked for goes where it would have gone.
        for text, stream in zip(rest, self._kept, strict=True):
            stream.write(text)

    def _release(self) -> None:
        sys.stdout, sys.stderr = self._kept

    def readouterr(self) -> CaptureResult:
        return CaptureResult(*(_taken(stream) for stream in self._own))

    def disabled(self) -> "_Disabled":
        """A context in which nothing is kept."""
        return _Disabled(self)

    def pause(self) -> None:
        sys.stdout, sys.stderr = self._kept

    def go_on(self) -> None:
        sys.stdout, sys.stderr = self._own

    __class_getitem__ = classmethod(lambda cls, item: cls)


def _taken(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    data = buffer.getvalue()
    stream.seek(0)
    stream.truncate()
    return data.decode("utf-8", "replace")


class _Disabled:
    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def __enter__(self) -> None:
        self._capture.pause()

    def __exit__(self, *error: object) -> None:
        self._capture.go_on()


class DescriptorCapture(Capture):
    """The same, with all that is written to the descriptors 1 and 2."""

    def __init__(self) -> None:
        import tempfile

        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._saved: list[int] = []
        super().__init__()

    def _make(self, fd: int) -> io.TextIOWrapper:
        raw = io.FileIO(fd, "wb", closefd=False)
        return io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)

    def __enter__(self) -> "DescriptorCapture":
        super().__enter__()
        for stream in self._kept:
            stream.flush()
        self._saved = [os.dup(1), os.dup(2)]
        self._lead_to_files()
        return self

    def _lead_to_files(self) -> None:
        for fd, file in enumerate(self._files, 1):
            os.dup2(file.fileno(), fd)

    def _lead_back(self) -> None:
        for fd, saved in enumerate(self._saved, 1):
            os.dup2(saved, fd)

    def _release(self) -> None:
        super()._release()
        self._lead_back()
        for fd in self._saved:
            os.close(fd)
        for file in self._files:
            file.close()

    def readouterr(self) -> CaptureResult:
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
            file.seek(0)
            file.truncate()
        return CaptureResult(*texts)

    def pause(self) -> None:
        super().pause()
        self._lead_back()

    def go_on(self) -> None:
        super().go_on()
        self._lead_to_files()
