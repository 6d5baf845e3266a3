"""Python as a tool that a model calls: for TRL, for TorchRL, or as a plain function."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from ..pool import Executor, PoolClosed, PoolError, PoolFull, PoolTimeout, SessionLost
from ..pool.executor import require_executor
from ..sandbox import SetupError
from ..sandbox.result import Result
from .extract import extract_code
from .render import MOST_CHARACTERS, UNAVAILABLE, excerpt, render_result

_GONE = "the session was ended, by a limit or for what it held. The next call begins anew."

_OURS = (PoolFull, PoolTimeout, SessionLost)
"""What keeps a tool from answering without anybody's mistake."""


def PythonTool(
    pool: Executor,
    *,
    name: str = "python",
    description: str = "Run a Python program and return what it prints. Nothing is kept between "
    "programs.",
    timeout: float | None = None,
    queue_timeout: float | None = 60.0,
    max_chars: int | None = MOST_CHARACTERS,
    structured: bool | None = None,
) -> Callable[..., Any]:
    """Return Python as a tool: a function of the code, which is run afresh, confined, in each call,
    and of which it returns what a model is to be told. Thread-safe.

    For TRL, `tools=[PythonTool(pool)]`: with type hints and a docstring, and a function, since
    transformers takes nothing else for a tool. For TorchRL, `ToolRegistry([PythonTool(pool)])`: it
    has a service's name and schemas, and called as `ExecuteToolsInOrder` does, with a `_state`, it
    returns a dict.

    pool: who closes it is who made it.
    name, description: how the model knows it. timeout: seconds for each call; None: the pool's.
    queue_timeout: seconds to wait for a free worker; after that the tool was unavailable.
    max_chars: the longest reply; None: any.
    structured: whether it returns a dict; None: only where there is a `_state`.

    >>> with Pool(1) as pool:
    ...     PythonTool(pool)("print(6 * 7)")
    'Code block 1 executed successfully:\\n42\\n'
    """
    require_executor("pool", pool)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name={name!r}: must be an identifier, as models call tools by it")

    def tool(code: str | None = None, **state: Any) -> str | dict[str, Any]:
        as_dict = "_state" in state if structured is None else structured
        if code is None:
            code = state.pop("raw", None)  # TorchRL's parser, of arguments that are no JSON
        state.pop("_state", None)
        if state:
            raise TypeError(f"{name} takes no argument {next(iter(state))!r}; only code")
        try:
            result = pool.run(plain_code(code), timeout=timeout, queue_timeout=queue_timeout)
        except _OURS:
            result = None
        return _fields(result, max_chars) if as_dict else _reply(result, max_chars)

    tool.__name__ = tool.__qualname__ = name
    tool.__doc__ = _docstring(description)
    tool.__annotations__ = {"code": str, "return": str}
    parameter = inspect.Parameter("code", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str)
    signature = inspect.Signature([parameter], return_annotation=str)
    schemas = {
        "schema_in": {"code": str},
        "schema_out": {"success": bool, "reason": str, "stdout": str, "stderr": str},
    }
    # The attributes are there for others to read, who take the function for a service.
    vars(tool).update(name=name, __signature__=signature, **schemas)
    return tool


class PythonEnvironment:
    """Python whose state persists from call to call, as an environment of TRL's:
    `environment_factory=lambda: PythonEnvironment(pool)`.

    TRL makes one for each rollout and resets it before the next; the model sees `python` as a
    tool. The session is made when it is first needed, and ended by `reset`, with the pool, or when
    nobody holds the environment any more.

    pool, timeout, queue_timeout, max_chars: as for `PythonTool`.
    infra_error: since the last reset a call was lost for our fault, so that the rollout should not
        be scored. `CodeRewardFunction` leaves it out. A session that was lost by its program's own
        doing (a limit, more than its share of memory) is no such loss.
    """

    def __init__(
        self,
        pool: Executor,
        *,
        timeout: float | None = None,
        queue_timeout: float | None = 60.0,
        max_chars: int | None = MOST_CHARACTERS,
    ) -> None:
        require_executor("pool", pool)
        self.infra_error = False
        self._pool = pool
        self._timeout = timeout
        self._queue_timeout = queue_timeout
        self._max_chars = max_chars
        self._session: Any = None  # a `Session`, here or elsewhere
        self._end: weakref.finalize[..., PythonEnvironment] | None = None

    def reset(self, **row: Any) -> None:
        """Forget everything. `row`, the columns of the next sample, changes nothing."""
        if self._end is not None:
            self._end()
        self._session = self._end = None
        self.infra_error = False

    def python(self, code: str) -> str:
        """Run Python code where the last call left off and return what it prints, and the value of
        a trailing expression. Variables, functions and imports persist.

        Args:
            code: The Python code to run.

        Returns:
            What the code printed, or the traceback of what ended it.
        """
        try:
            result = self._run(plain_code(code))
        except (PoolFull, PoolTimeout, SetupError):
            result = None
        except SessionLost as lost:
            spoilt = self.infra_error
            self.reset()  # what was there is gone; the next call begins anew
            if lost.by_program:
                self.infra_error = spoilt
                return f"Code block 1 was not run: {_GONE}"
            result = None
        if result is None or result.infra_error:
            self.infra_error = True
        return _reply(result, self._max_chars, show_value=True)

    def __repr__(self) -> str:
        return f"<PythonEnvironment {self._session!r}>"

    def _run(self, code: str) -> Result:
        session = self._session or self._begin()
        result: Result = session.run(code, timeout=self._timeout, queue_timeout=self._queue_timeout)
        return result

    def _begin(self) -> Any:
        try:
            session = self._pool.session()
        except PoolClosed:
            raise
        except (PoolError, SetupError) as error:
            raise SessionLost(str(error)) from error
        self._session = session
        self._end = weakref.finalize(self, session.close)
        return session


def plain_code(code: object) -> str:
    """Return the code that a model gave a tool; of code that it put in a fence, what is within."""
    if not isinstance(code, str):
        raise TypeError(f"code must be a string, not {code!r:.80}")
    if not code.lstrip().startswith(("```", "~~~")):  # no line of Python begins so
        return code
    blocks = extract_code(code, unlabelled=True)
    return "\n".join(block.code for block in blocks) if blocks else code


def _fields(result: Result | None, max_chars: int | None) -> dict[str, Any]:
    if result is None or result.infra_error:
        return {"error": UNAVAILABLE}
    half = None if max_chars is None else max_chars // 2
    return {
        "success": result.ok,
        "reason": str(result.reason),
        "stdout": excerpt(result.stdout, half),
        "stderr": excerpt(result.stderr, half),
    }


def _reply(result: Result | None, max_chars: int | None, show_value: bool = False) -> str:
    if result is None:
        return f"Code block 1 was not run: {UNAVAILABLE}"
    return render_result(result, max_chars=max_chars, show_value=show_value)


def _docstring(description: str) -> str:
    return f"""{description}

    Args:
        code: The Python program.

    Returns:
        What the program printed, or the traceback of what ended it.
    """
