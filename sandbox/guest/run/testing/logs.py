"""What a test logs, for the fixture `caplog`."""

import sys
from typing import Any


class LogCapture:
    """All records that reach the root logger."""

    def __init__(self) -> None:
        import logging

        records: list[logging.LogRecord] = []

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                record.message = record.getMessage()
                records.append(record)

        self.records = records
        self.handler = Handler(0)
        self._levels: list[tuple[Any, int]] = []
        self._format = logging.Formatter(
            "%(levelname)-8s %(name)s:%(filename)s:%(lineno)d %(message)s"
        )

    def __enter__(self) -> "LogCapture":
        _logger(None).addHandler(self.handler)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore(0)
        _logger(None).removeHandler(self.handler)

    def _restore(self, kept: int) -> None:
        while len(self._levels) > kept:
            target, level = self._levels.pop()
            target.setLevel(level)

    @property
    def text(self) -> str:
        return "".join(self._format.format(each) + "\n" for each in self.records)

    @property
    def messages(self) -> list[str]:
        return [each.getMessage() for each in self.records]

    @property
    def record_tuples(self) -> list[tuple[str, int, str]]:
        return [(each.name, each.levelno, each.getMessage()) for each in self.records]

    def get_records(self, when: str) -> list[Any]:
        return list(self.records)

    def clear(self) -> None:
        self.records.clear()

    def set_level(self, level: int | str, logger: str | None = None) -> None:
        """Have a logger (None: the root) keep what is of this level or above, until the end."""
        for target in (_logger(logger), self.handler):
            self._levels.append((target, target.level))
            target.setLevel(level)

    def at_level(self, level: int | str, logger: str | None = None) -> "_AtLevel":
        """A context in which `set_level` holds."""
        return _AtLevel(self, level, logger)


class _AtLevel:
    def __init__(self, capture: LogCapture, level: int | str, logger: str | None) -> None:
        self._capture, self._wish = capture, (level, logger)
        self._kept = 0

    def __enter__(self) -> None:
        self._kept = len(self._capture._levels)
        self._capture.set_level(*self._wish)

    def __exit__(self, *error: object) -> None:
        self._capture._restore(self._kept)


def _logger(name: str | None) -> Any:
    return sys.modules["logging"].getLogger(name)
