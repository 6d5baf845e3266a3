"""A program with all that it is given: what every door of a pool takes."""

import base64
import binascii
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

from ..sandbox.guest.jail.confine import PROGRAM_FILE
from ..sandbox.limits import Limits, require_limit
from ..sandbox.run.files import Pattern, check_filename, check_files
from ..sandbox.run.job import Job
from .checks import require_runtime_name
from .runner import Runner

if TYPE_CHECKING:
    from ..sandbox.run.feed import Feed, Stream

_MOST_ENVIRONMENT_BYTES = 1 << 20

RECURSION_LIMIT = 50_000
"""How deep judged programs, and tests, may recurse: the graders of LiveCodeBench and others call
sys.setrecursionlimit(50000)."""

_LEAST_RECURSION = 100
"""With much less, a program can't even import what it needs."""

_MOST_RECURSION = (1 << 31) - 1
"""All that sys.setrecursionlimit takes."""


class Options(TypedDict, total=False):
    """What a program may be given besides its code; see `Program`. `timeout` is short for
    `limits.wall_s`, and wins over it.
    """

    stdin: "str | bytes | Stream"
    args: Sequence[str]
    files: Mapping[str, str | bytes] | None
    collect: Sequence[str]
    limits: Limits | None
    timeout: float | None
    env: Mapping[str, str] | None
    seed: int | None
    recursion_limit: int | None
    filename: str | None
    id: str | None
    runtime: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """An untrusted program with all that it is given. Checked when it is made, but for what depends
    on limits that only the pool knows: TypeError and ValueError name what makes no sense.

    code: its source, as text or as the bytes of a file (encoding cookies count).
    stdin: what it can read: text, bytes, or (`Pool.run`, `arun` and `submit`) an open file, pipe,
        socket or terminal, from which it reads what comes while it runs. Such a stream must have a
        descriptor; bytes that Python has read ahead are not seen.
    args: its `sys.argv[1:]`.
    files: contents by name, relative to its working directory (`/` separates folders).
    collect: which files of its working directory come back in `Result.files`, whatever ended it:
        names with wildcards as in a shell, `**` for any folders.
    limits: instead of the pool's.
    env: its whole environment; None: a small usual one. Nothing is inherited from the host.
    seed: a whole number with which the global generators of `random` and numpy begin. Hashing is
        repeatable in any case; `os.urandom`, `secrets` and `uuid4` never are.
    recursion_limit: how deep calls may go before RecursionError, as sys.setrecursionlimit, which it
        may still call; None: 1000, Python's own. With one, its main stack may take as much memory
        as it has. Calls through C go no deeper on Python 3.12 and 3.13, whatever is asked for.
    filename: what its file is called, in tracebacks, `__file__` and `sys.argv[0]`; None: main.py.
    id: passed on to the result.
    runtime: the name of one of the pool's runtimes, with what it offers; None: what the pool itself
        offers.
    """

    code: str | bytes
    _: dataclasses.KW_ONLY
    stdin: "str | bytes | Stream" = b""
    args: Sequence[str] = ()
    files: Mapping[str, str | bytes] | None = None
    collect: Sequence[str] = ()
    limits: Limits | None = None
    env: Mapping[str, str] | None = None
    seed: int | None = None
    recursion_limit: int | None = None
    filename: str | None = None
    id: str | None = None
    runtime: str | None = None
    _job: Job = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise TypeError(f"limits must be a sandbox.Limits, not {self.limits!r}")
        object.__setattr__(self, "_job", self._checked(self.limits or _UNLIMITED))

    @classmethod
    def of(cls, code: "str | bytes | Program", options: Options) -> "Program":
        """Return a program from `code`; from a program, the same with `options` in place."""
        changes: dict[str, Any] = dict(options)
        changes.pop("timeout", None)
        unknown = changes.keys() - {
            field.name for field in dataclasses.fields(cls) if field.init
        } | (changes.keys() & {"code"})
        if unknown:
            raise TypeError(f"unexpected argument {sorted(unknown)[0]!r}; there are {_NAMES}")
        if isinstance(code, Program):
            return dataclasses.replace(code, **changes) if changes else code
        return cls(code, **changes)

    @classmethod
    def from_dict(cls, data: object) -> "Program":
        """Return a program from JSON data: the fields by name, limits as an object of theirs,
        bytes (code, stdin, contents of files) as text or as {"base64": "..."}.

        >>> Program.from_dict({"code": "pass", "stdin": "x", "limits": {"wall_s": 1}}).stdin
        'x'
        """
        if not isinstance(data, dict):
            raise TypeError(f"a program must be a JSON object, not {data!r:.80}")
        fields = dict(data)
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        unknown = sorted(fields.keys() - set(known))
        if unknown:
            hint = ' (a time limit is "limits": {"wall_s": ...})' if "timeout" in unknown else ""
            raise ValueError(f"unknown field {unknown[0]!r}; there are {', '.join(known)}{hint}")
        if isinstance(fields.get("id"), int):
            fields["id"] = str(fields["id"])
        if "code" not in fields:
            raise ValueError("a program must have the field 'code'")
        for name in ("code", "stdin"):
            if name in fields:
                fields[name] = bytes_from_json(name, fields[name])
        if isinstance(fields.get("files"), dict):
            fields["files"] = {
                name: bytes_from_json(f"files[{name!r}]", content)
                for name, content in fields["files"].items()
            }
        if fields.get("limits") is not None:
            fields["limits"] = limits_from_dict(fields["limits"])
        return cls(fields.pop("code"), **fields)

    def job(self, limits: Limits, *, fed: bool = False) -> Job:
        """Return it as the sandbox takes it, under `limits`; raise ValueError where it does not
        fit into them. fed: whoever calls gives it the input that `feed` returns, if any; else
        TypeError is raised for a stream.
        """
        job = self._job
        if not fed and is_stream(self.stdin):
            raise TypeError(
                "stdin: Pool.run, arun and submit alone take a stream; give its contents here"
            )
        if limits.source_bytes is not None and len(job.source) > limits.source_bytes:
            raise ValueError(
                f"code has {len(job.source)} bytes, more than "
                f"limits.source_bytes={limits.source_bytes}"
            )
        if job.files:
            check_files(job.files, limits, job.filename)
        return dataclasses.replace(job, limits=limits)

    def feed(self) -> "Feed | None":
        """Return the input of one run, where `stdin` is a stream: the caller's to close. Raises
        TypeError or ValueError for one that can't be read.
        """
        if not is_stream(self.stdin):
            return None
        from ..sandbox.run.feed import Feed  # for few

        return Feed(self.stdin)

    def _checked(self, limits: Limits) -> Job:
        source = _to_bytes("code", self.code)
        if self.id is not None and not isinstance(self.id, str):
            raise TypeError(f"id must be a string or None, not {self.id!r}")
        if self.seed is not None and (isinstance(self.seed, bool) or type(self.seed) is not int):
            raise TypeError(f"seed must be a whole number or None, not {self.seed!r}")
        require_recursion_limit(self.recursion_limit)
        require_runtime_name(self.runtime)
        filename = PROGRAM_FILE if self.filename is None else check_filename(self.filename)
        return Job(
            source,
            _arguments(self.args),
            b"" if is_stream(self.stdin) else _to_bytes("stdin", self.stdin),
            limits,
            files={} if self.files is None else check_files(self.files, limits, filename),
            collect=patterns_of(self.collect),
            env=None if self.env is None else _environment(self.env),
            seed=self.seed,
            filename=filename,
            id=self.id,
            runtime=self.runtime,
            recursion_limit=self.recursion_limit,
        )


_UNLIMITED = Limits(source_bytes=None, disk_bytes=None, files=None)
_NAMES = ", ".join(Options.__annotations__)


def patterns_of(collect: object) -> tuple[Pattern, ...]:
    """Return the patterns of what is to be collected; raise TypeError or ValueError."""
    return tuple(map(Pattern.parse, _sequence("collect", collect)))


def is_stream(stdin: object) -> TypeGuard["Stream"]:
    """Whether an argument `stdin` is no content, but where that comes from."""
    return hasattr(stdin, "fileno")


def _to_bytes(name: str, value: object) -> bytes:
    if isinstance(value, str):
        # Lone surrogates become what Python then calls a syntax error, as it should be.
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name} must be str or bytes, not {type(value).__name__}")


def _sequence(name: str, value: object) -> Sequence[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a sequence of strings, not {value!r}")
    return value


def _arguments(args: object) -> tuple[str, ...]:
    checked = []
    for each in _sequence("args", args):
        if not isinstance(each, str):
            raise TypeError(f"args must hold strings only, not {each!r}")
        if "\0" in each:
            raise ValueError(f"args: {each!r} holds a NUL, which no command line can")
        checked.append(each)
    return tuple(checked)


def _environment(env: object) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise TypeError(f"env must map names to strings, not {env!r:.200}")
    size = 0
    for name, value in env.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"env must hold strings only, not {name!r}: {value!r:.200}")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(
                f"env: {name!r}={value!r:.200}: names must not be empty or hold '=', "
                "and nothing can hold a NUL"
            )
        try:
            size += len(os.fsencode(name)) + len(os.fsencode(value)) + 2
        except UnicodeEncodeError:
            raise ValueError(f"env: {name!r}={value!r:.200} can't be encoded") from None
    if size > _MOST_ENVIRONMENT_BYTES:
        raise ValueError(f"env: {size} bytes, more than {_MOST_ENVIRONMENT_BYTES}")
    return dict(env)


def require_recursion_limit(value: object) -> None:
    """Refuse what is no recursion limit, by that name."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"recursion_limit must be a whole number or None, not {value!r:.80}")
    if not _LEAST_RECURSION <= value <= _MOST_RECURSION:
        raise ValueError(
            f"recursion_limit={value!r:.80}: must be {_LEAST_RECURSION} to {_MOST_RECURSION}; "
            "None is Python's own"
        )


def limits_for(program: Program, runner: Runner, timeout: float | None) -> Limits:
    """Return the limits of a run: the program's own or the runner's, with `timeout` for the wall.
    Raises `PolicyError` where its tier can't hold a program to them, and for a runtime that it does
    not have.
    """
    limits = runner.limits if program.limits is None else program.limits
    limits.require_fit(runner.tier)
    runner.require_runtime(program.runtime)
    if timeout is None:
        return limits
    require_limit("timeout", timeout)  # by the name that the caller knows
    return limits.replace(wall_s=timeout)


def bytes_from_json(name: str, value: object) -> object:
    """Return bytes from {"base64": "..."}, anything else as it is; `name` is for the error."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"{name}: no base64 ({error})") from None
    if isinstance(value, dict):
        raise TypeError(f'{name} must be text or {{"base64": "..."}}, not {value!r:.80}')
    return value


def limits_from_dict(value: object) -> Limits:
    """Return limits from a mapping of their names."""
    if not isinstance(value, Mapping):
        raise TypeError(f"limits must be a JSON object, not {value!r:.80}")
    known = [field.name for field in dataclasses.fields(Limits)]
    unknown = value.keys() - set(known)
    if unknown:
        first = min(map(repr, unknown))
        raise ValueError(f"limits: unknown {first:.80}; there are {', '.join(known)}")
    return Limits(**value)
