"""`nsjail`: which binary is taken, and the options of the one place that makes them."""

import os

import pytest

from interpreter_pool.sandbox import SetupError
from interpreter_pool.sandbox.host.interpreter import DEVICES, current
from interpreter_pool.sandbox.jail import nsjail
from interpreter_pool.sandbox.jail.layout import in_namespaces
from interpreter_pool.sandbox.jail.nsjail import INNER_ID, VARIABLE, locate


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other-nsjail"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_bundled_one_is_the_default(monkeypatch):
    """Without a variable, the binary that came with the installation is taken."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert os.access(locate(), os.X_OK)
    assert "site-packages" in locate()


def test_the_variable_outranks_the_bundled_one(monkeypatch, other):
    """An nsjail named in the environment is taken, by its absolute path."""
    monkeypatch.setenv(VARIABLE, other)
    assert locate() == other
    monkeypatch.chdir(os.path.dirname(other))
    monkeypatch.setenv(VARIABLE, "./other-nsjail")
    assert locate() == other


def test_an_empty_variable_names_nothing(monkeypatch):
    """Set to nothing is as good as unset."""
    monkeypatch.setenv(VARIABLE, "")
    assert "site-packages" in locate()


def test_path_is_not_looked_at(monkeypatch, tmp_path):
    """An nsjail on PATH may be any version: it is not taken."""
    (tmp_path / "nsjail").write_text("#!/bin/sh\n")
    (tmp_path / "nsjail").chmod(0o755)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not locate().startswith(str(tmp_path))


@pytest.mark.parametrize("kind", ["missing", "not executable", "folder"])
def test_a_variable_that_names_no_program_is_an_error(monkeypatch, tmp_path, kind):
    """What the caller named is never silently replaced by another one."""
    path = tmp_path / "named"
    if kind == "not executable":
        path.touch(mode=0o644)
    elif kind == "folder":
        path.mkdir()
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(SetupError, match=VARIABLE) as caught:
        locate()
    assert caught.value.step == "nsjail"
    assert str(path) in str(caught.value)


def command(**changed) -> list[str]:
    layout, mounts = in_namespaces(current(), ())
    known = {"outer_id": (70001, 70002), "control_fd": 9} | changed
    return nsjail.command(layout, mounts, **known)


def options(line: list[str], name: str) -> list[str]:
    own = line[: line.index("--")]
    return [own[place + 1] for place, each in enumerate(own) if each == name]


def test_one_id_is_mapped():
    """Inside there is one unprivileged id, which stands for the worker's own on the host."""
    line = command()
    assert options(line, "--user") == [f"{INNER_ID}:70001:1"]
    assert options(line, "--group") == [f"{INNER_ID}:70002:1"]
    assert INNER_ID != 0


def test_nothing_is_bound_writable_but_devices():
    """Every file of the host is bound read-only; only harmless devices can be written to."""
    line = command()
    assert options(line, "--bindmount") == list(DEVICES)
    targets = [bind.rpartition(":")[2] for bind in options(line, "--bindmount_ro")]
    assert "/opt/interpreter-pool/guest" in targets
    for target in targets:
        assert not target.startswith(("/home", "/root", "/etc", "/var", "/tmp", "/proc", "/sys"))


def test_no_namespace_is_left_out_and_no_variable_comes_along(monkeypatch):
    """Namespaces are nsjail's default, none is switched off; the host's environment stays out."""
    monkeypatch.setenv("SECRET_TOKEN", "precious")
    line = command()
    assert not [each for each in line if each.startswith("--disable_clone")]
    assert "--keep_env" not in line
    assert "--keep_caps" not in line
    assert "precious" not in " ".join(line)
    assert "--iface_no_lo" in line


def test_the_capabilities_are_those_for_mounting():
    """The zygote keeps what mounting takes; nothing else is asked for."""
    assert options(command(), "--cap") == ["CAP_SYS_ADMIN", "CAP_SETPCAP"]


def test_one_descriptor_is_handed_over_and_told():
    """The control socket is the only descriptor passed, and the zygote is told its number."""
    line = command(control_fd=11)
    assert options(line, "--pass_fd") == ["11"]
    assert line[-1] == "11"
    zygote = line[line.index("--") + 1 :]
    assert zygote[1:4] == ["-P", "-s", "-S"]
