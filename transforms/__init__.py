"""Text of a language model in, results and rewards out.

>>> from transforms import extract_code
>>> extract_code("```python\\nprint(1)\\n```")[0].code
'print(1)\\n'
"""

import importlib
from typing import TYPE_CHECKING, Any

from .extract import CodeBlock, extract_code
from .render import render_result
from .rewards import AsyncCodeRewardFunction, CodeRewardFunction
from .tool import PythonEnvironment, PythonTool

if TYPE_CHECKING:
    from .code_reward import CodeReward
    from .interpreter import PythonInterpreter

__all__ = [
    "AsyncCodeRewardFunction",
    "CodeBlock",
    "CodeReward",
    "CodeRewardFunction",
    "PythonEnvironment",
    "PythonInterpreter",
    "PythonTool",
    "extract_code",
    "render_result",
]

_OF_TORCHRL = {"CodeReward": "code_reward", "PythonInterpreter": "interpreter"}
"""What needs torchrl, and its module: imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    module = _OF_TORCHRL.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "tensordict", "torchrl"):
            raise
        raise ImportError(
            f"transforms.{name} needs {error.name}: pip install 'interpreter-pool[torchrl]'"
        ) from error
