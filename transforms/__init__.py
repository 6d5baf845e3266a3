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

if TYPE_CHECKING:
    from .code_reward import CodeReward
    from .interpreter import PythonInterpreter

_NEED_TORCHRL = {"CodeReward": "code_reward", "PythonInterpreter": "interpreter"}


def __getattr__(name: str) -> Any:
    """Load what needs TorchRL when it is first touched."""
    if name not in _NEED_TORCHRL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_NEED_TORCHRL[name]}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "torchrl", "tensordict"):
            raise
        raise ImportError(
            f"{name} needs TorchRL; install the extra: pip install 'interpreter-pool[torchrl]'"
        ) from error
    return getattr(module, name)
