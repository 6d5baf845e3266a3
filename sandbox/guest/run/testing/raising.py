"""`pytest.raises`, `pytest.warns` and their like: what a block must raise, or warn of."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from .outcomes import Fail


class ExceptionInfo:
    """What `pytest.raises` gives: the exception, once it has been raised."""

    def __init__(self) -> None:
        self._value: BaseException | None = None

    def fill(self, error: BaseException) -> None:
        self._value = error

    @property
    def value(self) -> BaseException:
        if self._value is None:
            raise AssertionError(".value is there only when the block has ended")
        return self._value

    @property
    def type(self) -> type[BaseException]:
        return type(self.value)

    @property
    def tb(self) -> TracebackType | None:
        return self.value.__traceback__

    @property
    def typename(self) -> str:
        return self.type.__name__

    def exconly(self, tryshort: bool = False) -> str:
        """The type and the text, as the last line of a traceback."""
        text = str(self.value)
        return f"{self.typename}: {text}" if text else self.typename

    def errisinstance(self, kinds: Any) -> bool:
        return isinstance(self.value, kinds)

    def match(self, pattern: Any) -> bool:
        """Whether the exception's text holds the pattern; raises AssertionError if not."""
        _require_match(pattern, self.value)
        return True

    def __repr__(self) -> str:
        return f"<ExceptionInfo {self._value!r}>"

    __class_getitem__ = classmethod(lambda cls, item: cls)


def _require_match(pattern: Any, error: BaseException) -> None:
    import re

    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    if re.search(pattern, text) is None:
        shown = getattr(pattern, "pattern", pattern)
        raise AssertionError(f"Regex pattern did not match.\n Regex: {shown!r}\n Input: {text!r}")


class _Raises:
    def __init__(self, expected: tuple[Any, ...], match: Any, check: Any) -> None:
        self._expected, self._match, self._check = expected, match, check
        self._info = ExceptionInfo()

    def __enter__(self) -> ExceptionInfo:
        return self._info

    def __exit__(self, kind: Any, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            wanted = self._expected[0] if len(self._expected) == 1 else self._expected
            raise Fail(f"DID NOT RAISE {wanted!r}")
        if not isinstance(error, self._expected):
            return False
        self._info.fill(error)
        if self._match is not None:
            _require_match(self._match, error)
        if self._check is not None and not self._check(error):
            raise AssertionError(f"the check of pytest.raises did not hold for {error!r}")
        return True


def raises(expected_exception: Any = None, *args: Any, match: Any = None, check: Any = None,
           **kwargs: Any) -> Any:  # fmt: skip
    """A context whose block must raise one of these exceptions; or call args[0], which must."""
    expected = expected_exception
    if expected is None and match is None and check is None:
        raise ValueError("pytest.raises needs an exception, a match or a check")
    several = type(expected) is tuple
    kinds = expected if several else (BaseException if expected is None else expected,)
    if not kinds:
        raise ValueError("pytest.raises needs at least one exception")
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise TypeError(f"expected exception must be a BaseException type, not {kind!r}")
    context = _Raises(tuple(kinds), match, check)
    if not args:
        if kwargs:
            raise TypeError(f"unexpected keyword arguments to pytest.raises: {sorted(kwargs)}")
        return context
    with context as info:
        args[0](*args[1:], **kwargs)
    return info


class WarningsRecorder:
    """A context that keeps the warnings of its block, in a list."""

    def __init__(self) -> None:
        self.list: list[Any] = []
        self._catcher: Any = None

    def __enter__(self) -> "WarningsRecorder":
        import warnings

        self._catcher = warnings.catch_warnings(record=True)
        self.list = self._catcher.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *error: Any) -> None:
        self._catcher.__exit__(*error)

    def __getitem__(self, number: int) -> Any:
        return self.list[number]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.list)

    def __len__(self) -> int:
        return len(self.list)

    def pop(self, kind: type[Warning] = Warning) -> Any:
        """Take out the first warning of this kind. Raises AssertionError if there is none."""
        for number, each in enumerate(self.list):
            if issubclass(each.category, kind):
                return self.list.pop(number)
        raise AssertionError(f"{kind!r} not found in warning list")

    def clear(self) -> None:
        self.list[:] = []


class _Warns(WarningsRecorder):
    def __init__(self, expected: Any, match: Any) -> None:
        super().__init__()
        self._expected = expected if type(expected) is tuple else (expected,)
        for kind in self._expected:
            if not isinstance(kind, type) or not issubclass(kind, Warning):
                raise TypeError(f"exceptions must be derived from Warning, not {kind!r}")
        self._match = match

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is not None and not issubclass(error[0], Exception):
            return
        fitting = [each for each in self.list if issubclass(each.category, self._expected)]
        if not fitting:
            shown = [each.message for each in self.list]
            raise Fail(f"DID NOT WARN. No warnings of type {self._expected} were emitted: {shown}")
        if self._match is not None:
            import re

            if not any(re.search(self._match, str(each.message)) for each in fitting):
                shown = [str(each.message) for each in fitting]
                raise Fail(f"DID NOT WARN. No warning matches {self._match!r}: {shown}")


def warns(expected_warning: Any = Warning, *args: Any, match: Any = None, **kwargs: Any) -> Any:
    """A context whose block must warn; or call args[0], which must, and return its value."""
    return _warned(_Warns(expected_warning, match), args, kwargs)


def deprecated_call(*args: Any, match: Any = None, **kwargs: Any) -> Any:
    """`warns` for what is deprecated, or will be."""
    kinds = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    return _warned(_Warns(kinds, match), args, kwargs)


def _warned(context: _Warns, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not args:
        return context
    function: Callable[..., Any] = args[0]
    with context:
        return function(*args[1:], **kwargs)
