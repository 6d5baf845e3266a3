"""Files: a program reads what it was given and writes to its own scratch."""

import json
import os
import sys
from pathlib import Path

import pytest

from interpreter_pool import sandbox
from interpreter_pool.sandbox.jail.folder import base_folder

OPEN = """
import glob, json, os, sys
opened = []
for pattern in sys.argv[1:]:
    for path in glob.glob(pattern) or [pattern]:
        try:
            os.close(os.open(path, os.O_RDONLY))
            opened.append(path)
        except OSError:
            pass
print(json.dumps(opened))
"""


def test_f1_secrets_of_the_host_cannot_be_read(attack, outside, canaries):
    """F1: a host's passwords, keys and files are not there, or are refused."""
    secret = [str(canaries.file), "/etc/passwd", "/etc/shadow", "/home/*/.ssh", "/root/.ssh"]
    secret += ["/etc/hostname", "/etc/hosts", "/root", "/home", os.path.expanduser("~")]
    read = "import json, pathlib; print(json.dumps(pathlib.Path('/etc/passwd').read_text()))"
    if attack.report(OPEN, args=secret) == ["/etc/passwd"]:  # a root of its own has its own
        assert "sandbox:x:1000:1000:" in attack.report(read) != Path("/etc/passwd").read_text()
        secret.remove("/etc/passwd")
    assert attack.report(OPEN, args=secret) == []
    assert str(canaries.file) in outside.report(OPEN, args=secret)


PROCESSES = """
import json, os, sys
try:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
except OSError:
    pids = [str(pid) for pid in range(1, 100)]
read = []
for pid in {*pids, *sys.argv[1:]} - {str(os.getpid())}:
    for name in ("environ", "mem", "maps", "fd", "root", "cwd"):
        path = f"/proc/{pid}/{name}"
        try:
            os.listdir(path) if name in ("fd", "root", "cwd") else open(path, "rb").read(1)
            read.append(name)
        except OSError:
            pass
print(json.dumps(sorted(set(read))))
"""


def test_f2_other_processes_cannot_be_looked_into(attack, outside, jail_pids, victim):
    """F2: no environment, memory, descriptor or root of another process can be read."""
    others = [str(pid) for pid in (1, os.getpid(), *jail_pids)]
    assert attack.report(PROCESSES, args=others) == []
    assert "environ" in outside.report(PROCESSES, args=[str(victim.pid)])


SHARED = """
import json, os, sys, tempfile
folders = ["/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir(), os.path.expanduser("~"), "."]
seen = []
for folder in folders:
    try:
        seen += os.listdir(folder)
    except OSError:
        pass
for folder in folders:
    try:
        open(os.path.join(folder, "canary-" + sys.argv[1]), "x").close()
    except OSError:
        pass
print(json.dumps(seen))
"""


def test_f3_shared_folders_show_nothing_of_others(attack, outside, canaries, pool):
    """F3: what the host or an earlier run put into /tmp, /var/tmp and /dev/shm is not seen."""
    for _ in range(3):
        seen = attack.report(SHARED, args=["left"])
        assert not [name for name in seen if name.startswith("canary")]
    try:
        shared = outside.report(SHARED, args=[canaries.token])
    finally:
        Path("~", f"canary-{canaries.token}").expanduser().unlink(missing_ok=True)
    assert f"canary-{canaries.token}" in shared


def test_f4_the_library_and_its_tests_cannot_be_read(attack, outside, pool):
    """F4: host-side source, runtime folders, tests and expected answers are out of reach."""
    library = os.path.dirname(os.path.abspath(sandbox.__file__))
    top = os.path.dirname(library)
    private = [
        *(f"{library}/{name}.py" for name in ("jail/jail", "run/run", "jail/syscalls", "reasons")),
        *(f"{top}/{name}" for name in ("pool", "tests", "pyproject.toml", ".git")),
        __file__,
        base_folder(),
        f"{base_folder()}/*",
        f"{base_folder()}/*/lock",
        sys.prefix if sys.prefix != sys.base_prefix else __file__,
    ]
    assert attack.report(OPEN, args=private) == []
    assert f"{library}/jail/jail.py" in outside.report(OPEN, args=private)


CREATE = """
import json, os, sys, sysconfig
folders = sys.argv[1:]
if folders[0] != "only":
    folders += [sys.prefix, sysconfig.get_path("purelib"), os.path.dirname(os.__file__)]
made = []
for folder in folders:
    for make in (lambda path: open(path, "x").close(), os.mkdir, lambda path: os.symlink("x", path)):
        try:
            make(os.path.join(folder, "made-by-an-attack"))
            made.append(folder)
            break
        except OSError:
            pass
print(json.dumps(made))
"""


def test_f5_nothing_outside_the_scratch_can_be_created(attack, outside, canaries, tmp_path):
    """F5: system folders, the interpreter's own and the host's take no new file."""
    system = ["/", "/usr", "/etc", "/sys", "/proc/sys", "/dev", "/opt", "/var", "/root"]
    assert attack.report(CREATE, args=[*system, str(canaries.folder), str(tmp_path)]) == []
    assert outside.report(CREATE, args=["only", str(tmp_path)]) == [str(tmp_path)]


LINKS = """
import json, os, sys
file, folder = sys.argv[1], os.path.dirname(sys.argv[1])
done = []
os.symlink(file, "soft")
os.symlink(folder, "folder")
for name in ("soft", "folder/canary"):
    try:
        open(name).read()
        done.append("read")
    except OSError:
        pass
for source in (file, "folder/canary", "/etc/passwd"):
    try:
        os.link(source, "hard")
        os.unlink("hard")
        done.append("link")
    except OSError:
        pass
for escape in (f"{folder}/moved", "folder/moved"):
    try:
        open("own", "w").close()
        os.rename("own", escape)
        done.append("moved")
        os.unlink(escape)
    except OSError:
        pass
print(json.dumps(sorted(set(done))))
"""


def test_f6_links_lead_nowhere(attack, outside, canaries):
    """F6: a symlink out of the scratch is not followed, nothing is linked in or moved out."""
    assert attack.report(LINKS, args=[str(canaries.file)]) == []
    assert outside.report(LINKS, args=[str(canaries.file)]) == ["link", "moved", "read"]


TRAPS = """
import json, os, sys
path = sys.argv[1]
folder = os.path.dirname(path)
made = []
for name, step in {
    "file.x": lambda: os.symlink(path, "file.x"),
    "folder": lambda: os.symlink(folder, "folder"),
    "hard.x": lambda: os.link(path, "hard.x"),
    "out": lambda: (os.mkdir("out"), os.symlink(folder, "out/in")),
    "away": lambda: (os.rename("../home", "../away"), os.symlink(folder, "../home")),
}.items():
    try:
        step()
        made.append(name)
    except OSError:
        pass
print(json.dumps(made))
"""


def test_f6_the_host_collects_nothing_by_way_of_a_link(attack, outside, canaries):
    """F6: links to files and folders, hard links, and a directory swapped for a link are tried."""
    result = attack(TRAPS, args=[str(canaries.file)], collect=("**", "folder/*", "out/in/*"))
    assert result.ok
    assert {"file.x", "folder", "out"} <= set(json.loads(result.stdout))
    assert result.files == {}, result.files
    made = outside.report(TRAPS, args=[str(canaries.file)])
    assert {"file.x", "folder", "out"} <= set(made)
    found = [outside.folder / "file.x", outside.folder / "folder" / "canary"]
    assert [file.read_text() for file in found] == [canaries.token] * 2


ROOTS = """
import json, os, sys
path = sys.argv[1]
opened = []
climbs = ["/proc/self/root", "/proc/thread-self/root", "/proc/self/cwd" + "/.." * 20, "/.." * 5]
climbs += ["/dev/fd/../root", "/proc/1/root", "/proc/1/cwd" + "/.." * 20]
for climb in climbs:
    try:
        os.close(os.open(climb + path, os.O_RDONLY))
        opened.append(climb)
    except OSError:
        pass
try:
    here = os.open("/", os.O_RDONLY)
    os.mkdir("inner")
    os.chroot("inner")
    os.fchdir(here)
    for _ in range(20):
        os.chdir("..")
    os.chroot(".")
    os.close(os.open(path, os.O_RDONLY))
    opened.append("chroot")
except OSError:
    pass
print(json.dumps(opened))
"""


def test_f7_no_climb_leaves_the_view_of_the_jail(attack, outside, canaries):
    """F7: /proc/self/root, /proc/self/cwd/../.. and chroot do not lead to the host's files."""
    assert attack.report(ROOTS, args=[str(canaries.file)]) == []
    assert "/proc/self/root" in outside.report(ROOTS, args=[str(canaries.file)])


READ_ONLY = """
import ctypes, json, os, stat, sys
target = sys.argv[1] if len(sys.argv) > 1 else json.__file__
done = []
before = os.stat(target)
for flags in (os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC, os.O_RDWR):
    try:
        os.close(os.open(target, flags))
    except OSError:
        pass
for change in (
    lambda: os.truncate(target, 0),
    lambda: os.chmod(target, 0o666),
    lambda: os.utime(target, (1, 1)),
    lambda: os.setxattr(target, "user.attack", b"1"),
    lambda: os.rename(target, target + ".moved"),
    lambda: os.unlink(target + ".moved"),
):
    try:
        change()
    except OSError:
        pass
try:
    after = os.stat(target)
    same = [getattr(before, n) == getattr(after, n) for n in ("st_size", "st_mode", "st_mtime_ns")]
    changed = not all(same)
except OSError:
    changed = True
for kind in (stat.S_IFCHR, stat.S_IFBLK):
    try:
        os.mknod(f"device-{kind}", kind | 0o666, os.makedev(1, 3))
        done.append("device")
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
handle = (ctypes.c_uint * 32)(8, 1)
if libc.open_by_handle_at(os.open(".", os.O_RDONLY), ctypes.byref(handle), 0) >= 0:
    done.append("handle")
print(json.dumps([changed, done]))
"""


def test_f8_read_only_files_stay_as_they_are(attack, outside, tmp_path):
    """F8: no way of opening changes a read-only file or its metadata; devices are not made."""
    assert attack.report(READ_ONLY) == [False, []]
    target = tmp_path / "target"
    target.write_text("x")
    assert outside.report(READ_ONLY, args=[str(target)])[0] is True


def test_f9_devices_are_absent(attack, outside):
    """F9: no device but the harmless ones can be opened."""
    devices = ["mem", "kmsg", "kvm", "fuse", "ptmx", "tty", "vda", "sda", "loop0", "net/tun"]
    devices += ["nvidia*", "dri/*", "snd/*", "input/*", "mapper/*", "vhost*", "hwrng", "port"]
    assert attack.report(OPEN, args=[f"/dev/{name}" for name in devices]) == []
    assert "/dev/ptmx" in outside.report(OPEN, args=["/dev/ptmx"])


DROP = """
import os, sys, tempfile
names = ["sitecustomize.py", "usercustomize.py", "dropped.py", "dropped.pth", "abc.py", "json.py"]
folders = {*sys.path, os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~"), sys.prefix}
for folder in folders if sys.argv[1:] != ["here"] else ["."]:
    for name in [*names, "__pycache__/json.cpython-311.pyc"]:
        path = os.path.join(folder, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write("import sys; sys.dropped = True; dropped = True")
        except OSError:
            pass
"""

PICK_UP = """
import sys
from pathlib import Path
import abc
try:
    import dropped
except ImportError:
    pass
import json as found
import os
print(int(hasattr(sys, "dropped") or hasattr(found, "dropped")), len(os.listdir()))
"""


def test_f10_nothing_dropped_is_picked_up_by_the_next_run(attack, outside):
    """F10: modules, .pth files and byte code left by a run are gone when the next one starts."""
    for _ in range(3):
        attack(DROP)
        for _ in range(2):
            assert attack(PICK_UP).stdout == "0 1\n"
    outside(DROP, args=["here"])
    assert outside(PICK_UP).stdout.startswith(b"1 ")


def test_f11_names_that_lead_elsewhere_are_refused(attack, canaries):
    """F11: an error names what the caller has asked for; nothing is run, read or written outside."""
    bad = ["../x", str(canaries.file), "a/../../x", "a\0b", ".", "", "a//b", "x" * 256, "\ud800"]
    for name in bad:
        with pytest.raises(ValueError, match="files"):
            attack.pool.run("print('ran')", files={name: "x"})
    for pattern in ("../..", "../*", str(canaries.folder), "a/../b", "a\0"):
        with pytest.raises(ValueError, match="collect"):
            attack.pool.run("print('ran')", collect=(pattern,))
    with pytest.raises(ValueError, match="files"):
        attack.pool.run("print('ran')", files={str(number): "" for number in range(10_000)})
    listed = attack("import os; print(sorted(os.listdir()))", files={"a/b": "x"}, collect=("**",))
    assert (listed.stdout, set(listed.files)) == ("['a', 'main.py']\n", {"a/b"})
