"""Text of a language model in, results and rewards out.

>>> from interpreter_pool.transforms import extract_code
>>> extract_code("```python\\nprint(1)\\n```")[0].code
'print(1)\\n'
"""

from typing import TYPE_CHECKING, Any

from .._lazy import by_name, exports

if TYPE_CHECKING:
    from .answers import answer_code
    from .code_reward import CodeReward
    from .extract import CodeBlock, extract_code
    from .interpreter import PythonInterpreter
    from .render import render_result
    from .rewards import AsyncCodeRewardFunction, CodeRewardFunction
    from .tool import PythonEnvironment, PythonTool

__all__ = [
    "AsyncCodeRewardFunction",
    "CodeBlock",
    "CodeReward",
    "CodeRewardFunction",
    "PythonEnvironment",
    "PythonInterpreter",
    "PythonTool",
    "answer_code",
    "extract_code",
    "render_result",
]

_get = exports(
    __name__,
    by_name(
        {
            ".answers": "answer_code",
            ".code_reward": "CodeReward",
            ".extract": "CodeBlock extract_code",
            ".interpreter": "PythonInterpreter",
            ".render": "render_result",
            ".rewards": "AsyncCodeRewardFunction CodeRewardFunction",
            ".tool": "PythonEnvironment PythonTool",
        }
    ),
)


def __getattr__(name: str) -> Any:
    try:
        return _get(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "tensordict", "torchrl"):
            raise
        raise ImportError(
            f"transforms.{name} needs {error.name}: pip install 'interpreter-pool[torchrl]'"
        ) from error
