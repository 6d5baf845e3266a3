"""Runs TorchRL's own tests against ours: the same files, with nothing but their imports mapped.

    python tests/peers/torchrl.py CHECKOUT [pytest's options]      (make peers TORCHRL_SRC=CHECKOUT)

The mapped files are in a temporary folder, and gone afterwards. They want more CPUs than a small
machine has: they run beside a Ray that offers 16, whatever this machine has.
"""

import os
import re
import subprocess
import sys
import tempfile

import ray

from registry import loopback

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CPUS = 16

TESTS = ("test/services/test_services.py",)
"""What is run."""

BESIDE = ("test/services/test_services_fixtures.py",)
"""What the tests import, as they find it: in the same folder."""

IMPORTS = (
    (r"^from torchrl\.services import ", "from registry import "),
    (r"^from torchrl\._utils import logger$", "import logging; logger = logging.getLogger('peer')"),
)
"""What is mapped: patterns of lines, and what stands there instead."""


def mapped(source: str) -> str:
    for pattern, ours in IMPORTS:
        source = re.sub(pattern, ours, source, flags=re.MULTILINE)
    left = re.findall(r"^\s*(?:from|import) torchrl\S* .*", source, flags=re.MULTILINE)
    if left:
        sys.exit(f"imports of TorchRL that are not mapped: {left}")
    return source


def main() -> int:
    if len(sys.argv) < 2 or not os.path.isfile(os.path.join(sys.argv[1], TESTS[0])):
        print(f"{TESTS[0]}: not in the checkout; name one: make peers TORCHRL_SRC=PATH")
        return 2
    checkout, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for path in (*TESTS, *BESIDE):
            with open(os.path.join(checkout, path), encoding="utf-8") as file:
                source = file.read()
            name = os.path.join(folder, os.path.basename(path))
            with open(name, "w", encoding="utf-8") as file:
                file.write(mapped(source))
        loopback.init(ray, {"num_cpus": CPUS, "log_to_driver": False})
        address = ray.get_runtime_context().gcs_address
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder]
        names = [os.path.join(folder, os.path.basename(path)) for path in TESTS]
        environment = (
            os.environ
            | loopback.ENVIRONMENT
            | {
                "RAY_ADDRESS": address,
                "PYTHONPATH": os.pathsep.join([HOME, os.environ.get("PYTHONPATH", "")]),
            }
        )
        try:
            return subprocess.run([*command, *options, *names], env=environment).returncode
        finally:
            ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
