"""Text of a language model in, results and rewards out.

>>> from transforms import extract_code
>>> extract_code("```python\\nprint(1)\\n```")[0].code
'print(1)\\n'
"""

from .extract import CodeBlock, extract_code
from .render import render_result
from .rewards import AsyncCodeRewardFunction, CodeRewardFunction
from .tool import PythonEnvironment, PythonTool

__all__ = [
    "AsyncCodeRewardFunction",
    "CodeBlock",
    "CodeRewardFunction",
    "PythonEnvironment",
    "PythonTool",
    "extract_code",
    "render_result",
]
