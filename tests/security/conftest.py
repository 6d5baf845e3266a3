"""What every attack is held to, and how its control runs outside a jail.

A test of this folder is of rows of the attack corpus (`corpus.py`): its docstring begins with their
ids and says which promise holds. `attack` runs a program in the pool and checks what must hold after any
program whatever; `outside` runs the same program with the host's Python, where it must get
through, so that a test that can't fail is noticed.
"""

import dataclasses
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from interpreter_pool import Limits, Pool, Result

GRACE_S = 2.0
"""A result is there by its wall limit and this much, whatever the program does."""


@dataclasses.dataclass(frozen=True)
class Canaries:
    """Files outside every jail that no program may read, change or remove."""

    token: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def file(self) -> Path:
        return self.files[0]

    def untouched(self) -> bool:
        return self._listed() == ["canary"] and all(
            file.read_text() == self.token and file.stat().st_mode & 0o777 == 0o644
            for file in self.files
        )

    def _listed(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture(scope="session")
def canaries(tmp_path_factory) -> Iterator[Canaries]:
    """Readable by anyone who gets there: in a folder of the tests', and where programs share."""
    token = secrets.token_hex(8)
    folder = tmp_path_factory.mktemp("canaries")
    files = [folder / "canary"]
    shared = [Path(each) / f"canary-{token}" for each in ("/tmp", "/var/tmp", "/dev/shm")]
    files += [file for file in shared if os.access(file.parent, os.W_OK)]
    for file in files:
        file.write_text(token)
        file.chmod(0o644)
    yield Canaries(token, folder, tuple(files))
    for file in files:
        file.unlink(missing_ok=True)


class Attack:
    """Runs programs in the pool and checks what must hold after each of them."""

    def __init__(self, pool: Pool, canaries: Canaries) -> None:
        self.pool = pool
        self.canaries = canaries

    def __call__(
        self, code: str | bytes, *, limits: Limits | None = None, timeout: float = 2, **options: Any
    ) -> Result:
        """Run `code`; return its result once everything around it has been found intact."""
        began = time.monotonic()
        result = self.pool.run(code, limits=limits, timeout=timeout, **options)
        took_s = time.monotonic() - began
        assert took_s < timeout + GRACE_S, f"the result came after {took_s:.1f} s"
        assert not result.infra_error, result
        assert self.canaries.untouched()
        # As many at once as there are workers, so that the one attacked is among them.
        after = [self.pool.submit("print(1)", timeout=10) for _ in range(2)]
        assert [future.result().stdout for future in after] == ["1\n", "1\n"]
        return result

    def report(self, code: str, **options: Any) -> Any:
        """Run a program that prints one line of JSON; return what it says."""
        result = self(code, **options)
        assert result.ok, result
        return json.loads(result.stdout)


@pytest.fixture
def attack(pool, canaries) -> Attack:
    return Attack(pool, canaries)


class Outside:
    """Runs programs as this Python runs them, unconfined, in a folder of the test's."""

    def __init__(self, folder: Path, control: Callable[[], None]) -> None:
        self.folder = folder
        self._control = control

    def __call__(
        self, code: str | bytes, *, args: tuple[str, ...] = (), timeout: float = 30, **options: Any
    ) -> "subprocess.CompletedProcess[bytes]":
        file = self.folder / "main.py"
        file.write_bytes(code.encode("utf-8", "surrogatepass") if isinstance(code, str) else code)
        self._control()
        return subprocess.run(
            [sys.executable, "main.py", *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            **options,
        )

    def report(self, code: str, **options: Any) -> Any:
        """Run a program that prints one line of JSON; return what it says."""
        done = self(code, **options)
        assert done.returncode == 0, done
        return json.loads(done.stdout)


@pytest.fixture
def control(request) -> Callable[[], None]:
    """Called by a test that has seen its program get through where nothing confines it."""
    return lambda: request.node.user_properties.append(("control", True))


@pytest.fixture
def outside(tmp_path, control) -> Outside:
    return Outside(tmp_path, control)


@pytest.fixture(autouse=True)
def _canaries_untouched(canaries) -> Iterator[None]:
    """Whatever a test of this folder runs, by whichever way."""
    yield
    assert canaries.untouched()


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of ours for controls to attack."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def jail_pids(pool) -> list[int]:
    """Every process of the pool, as the host counts them: launchers, zygotes, prewarmed processes."""
    return sorted(each.pid for each in psutil.Process().children(recursive=True))
