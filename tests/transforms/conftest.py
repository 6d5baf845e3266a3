"""What libraries start once, and never end, is started before anything is counted."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _libraries_are_warm():
    from chat import environment
    from torchrl.envs.llm.transforms import PythonInterpreter as Theirs

    environment(Theirs())
