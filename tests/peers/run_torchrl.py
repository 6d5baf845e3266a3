"""Runs TorchRL's own tests against ours: the same files, with nothing but what they import mapped.

    python tests/peers/run_torchrl.py CHECKOUT [pytest's options]      (make peers TORCHRL_SRC=CHECKOUT)

The mapped files are in a temporary folder, and gone afterwards. They want more CPUs than a small
machine has: they run beside a Ray that offers 16, whatever this machine has. The tokenizer that some
of them would download is made here: only its name matters, which chooses TorchRL's template.
"""

import os
import re
import subprocess
import sys
import tempfile
from typing import NamedTuple

import ray

from interpreter_pool.registry import loopback

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CPUS = 16

SERVICES = (
    (r"^from torchrl\.services import ", "from interpreter_pool.registry import "),
    (r"^from torchrl\._utils import logger$", "import logging; logger = logging.getLogger('peer')"),
)

INTERPRETER = (
    (
        r"^from torchrl\.envs\.llm\.transforms import PythonExecutorService, PythonInterpreter$",
        "from interpreter_pool import PythonExecutorService; from interpreter_pool.transforms import PythonInterpreter",
    ),
)

WITHOUT_VLLM = (
    (r"^_has_vllm = .*$", "_has_vllm = True  # of the tests that are run, none needs it"),
)

ENVIRONMENTS = (
    (
        r"^    PythonInterpreter,\n\)",
        ")\nfrom interpreter_pool.transforms import PythonInterpreter",
    ),
    *WITHOUT_VLLM,
)


class Peer(NamedTuple):
    """A file of theirs; what is mapped in it: patterns, and what stands there instead; and which of
    its tests are run (pytest's -k). foreign: it is about more than what is ours, and compares texts
    that depend on versions of others: what fails here must fail with TorchRL's own, too.
    """

    path: str
    mapped: tuple[tuple[str, str], ...]
    which: str = ""
    foreign: bool = False


PEERS = (
    Peer("test/services/test_services.py", SERVICES),
    Peer("test/services/test_python_executor_service.py", SERVICES + INTERPRETER),
    Peer("test/llm/test_llm_envs.py", ENVIRONMENTS, "python_interpreter", foreign=True),
)

BESIDE = (Peer("test/services/test_services_fixtures.py", SERVICES),)
"""What the tests import, as they find it: in the same folder."""

CONFTEST = """
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast


@pytest.fixture(autouse=True)
def _tokenizers_are_made_here(monkeypatch):
    def make(name, *args, **kwargs):
        tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
        made.name_or_path = name
        return made

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", make)
"""


def source_of(checkout: str, peer: Peer) -> str:
    with open(os.path.join(checkout, peer.path), encoding="utf-8") as file:
        source = file.read()
    for pattern, ours in peer.mapped:
        source = re.sub(pattern, ours, source, flags=re.MULTILINE)
    left = re.findall(r"^\s*(?:from|import) torchrl\S* .*", source, flags=re.MULTILINE)
    if left and not peer.foreign:
        sys.exit(f"{peer.path}: imports of TorchRL that are not mapped: {left}")
    return source


def main() -> int:
    if len(sys.argv) < 2 or not os.path.isfile(os.path.join(sys.argv[1], PEERS[0].path)):
        print(f"{PEERS[0].path}: not in the checkout; name one: make peers TORCHRL_SRC=PATH")
        return 2
    checkout, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for peer in (*PEERS, *BESIDE):
            with open(_place(folder, peer), "w", encoding="utf-8") as file:
                file.write(source_of(checkout, peer))
        with open(os.path.join(folder, "conftest.py"), "w", encoding="utf-8") as file:
            file.write(CONFTEST)
        loopback.init(ray, {"address": "local", "num_cpus": CPUS, "log_to_driver": False})
        try:
            # One after the other: a failure of one is no reason to leave out the rest.
            return max(_try(checkout, folder, peer, options) for peer in PEERS)
        finally:
            ray.shutdown()


def _place(folder: str, peer: Peer) -> str:
    return os.path.join(folder, os.path.basename(peer.path))


def _try(checkout: str, folder: str, peer: Peer, options: list[str]) -> int:
    code, failed = _run(folder, peer, options)
    if not failed or not peer.foreign:
        return code
    print(f"{peer.path}: the same with TorchRL's own, to compare")
    with open(_place(folder, peer), "w", encoding="utf-8") as file:
        file.write(source_of(checkout, peer._replace(mapped=WITHOUT_VLLM)))
    _, theirs = _run(folder, peer, options)
    worse = failed - theirs
    print(f"{peer.path}: failed with ours alone: {', '.join(sorted(worse)) or 'nothing'}")
    return 1 if worse else 0


def _run(folder: str, peer: Peer, options: list[str]) -> tuple[int, set[str]]:
    """Return pytest's exit code, and the tests that failed."""
    command = [sys.executable, "-m", "pytest", "-rfE", "-p", "no:cacheprovider"]
    command += ["--rootdir", folder, *(["-k", peer.which] if peer.which else [])]
    environment = (
        os.environ
        | loopback.ENVIRONMENT
        | {
            "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            "PYTHONPATH": os.pathsep.join([HOME, os.environ.get("PYTHONPATH", "")]),
        }
    )
    done = subprocess.run(
        [*command, *options, _place(folder, peer)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout, end="", flush=True)
    found = re.findall(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, flags=re.MULTILINE)
    return done.returncode, set(found)


if __name__ == "__main__":
    sys.exit(main())
