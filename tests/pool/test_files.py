"""Files into a run's directory and out of it: complete, capped, and never by way of a link."""

import base64
import os

import pytest

from interpreter_pool import Limits, Pool, Program
from interpreter_pool.sandbox.run.files import Pattern

ALL_BYTES = bytes(range(256)) * 1000


def test_files_go_in_and_come_out(pool):
    """Contents are the same on both ways, folders included; the program's own file stays."""
    result = pool.run(
        "import os, shutil\n"
        "print(sorted(os.listdir('.')), sorted(os.listdir('a/b')))\n"
        "print(open('text.txt', newline='').read() == 'é\\r\\n')\n"
        "shutil.copy('a/b/data.bin', 'copy.bin')\n"
        "os.makedirs('out/deep'); open('out/deep/x.bin', 'wb').write(b'x')\n",
        files={"a/b/data.bin": ALL_BYTES, "text.txt": "é\r\n", "empty": b""},
        collect=("*.bin", "out/**", "empty", "main.py"),
    )
    assert result.ok, result.stderr
    assert result.stdout == "['a', 'empty', 'main.py', 'text.txt'] ['data.bin']\nTrue\n"
    assert result.files == {"copy.bin": ALL_BYTES, "out/deep/x.bin": b"x", "empty": b""}
    assert result.files_skipped == {}
    assert base64.b64decode(result.to_dict()["files"]["copy.bin"]) == ALL_BYTES


@pytest.mark.parametrize(
    "end, reason",
    [
        ("1/0", "exception"),
        ("while True: pass", "wall_timeout"),
        ("import os; os._exit(0)", "ok"),
        ("x = bytearray(1 << 40)", "memory"),
        ("while True: print('x' * 9999)", "output"),
    ],
)
def test_files_come_out_whatever_ends_the_run(pool, end, reason):
    """What was written before a crash or a limit is there."""
    result = pool.run(f"open('half', 'w').write('x')\n{end}", timeout=1, collect=("half",))
    assert (result.reason, result.files) == (reason, {"half": b"x"})


def test_what_is_no_plain_file_is_passed_over_by_name(pool):
    """Links, fifos and what is too large are named, and nothing of them is read."""
    result = pool.run(
        "import os\n"
        "os.symlink('/etc/passwd', 'link.x'); os.symlink('main.py', 'inner.x')\n"
        "os.symlink('.', 'loop')\n"
        "os.mkfifo('fifo.x')\n"
        "open('sparse.x', 'wb').truncate(60 << 20)\n"
        "open('second.x', 'wb').truncate(60 << 20)\n"
        "open('z.x', 'w').write('taken')\n",
        collect=("**/*.x",),
    )
    assert result.ok, result.stderr
    assert set(result.files) == {"second.x", "z.x"}  # in order, as far as there is room
    assert result.files_skipped.keys() == {"link.x", "inner.x", "fifo.x", "sparse.x"}
    assert result.files_skipped["link.x"] == "a link"
    assert "more than is left" in result.files_skipped["sparse.x"]


def test_depth_and_number_are_bounded(pool):
    """A maze of folders neither hangs the host nor costs it its descriptors."""
    result = pool.run(
        "import os\n"
        "for depth in range(150):\n"
        "    os.mkdir('d'); os.chdir('d')\n"
        "open('bottom', 'w').close()\n",
        collect=("**/bottom",),
        limits=Limits(disk_bytes=None, files=None),
    )
    assert result.files == {}
    assert any("nested deeper" in why for why in result.files_skipped.values())


def test_the_next_run_finds_nothing_of_it(pool):
    """Neither files given nor files made are there for the next run, collected or not."""
    for _ in range(4):
        assert pool.run("open('b', 'w')", files={"a": "x"}, collect=("*",)).ok
        result = pool.run("import os; print(os.listdir('.'))", collect=("*",))
        assert (result.stdout, result.files) == ("['main.py']\n", {})


def test_files_count_against_the_disk_limit(pool):
    """What is given takes its share of disk_bytes, and what fits exactly fits."""
    limits = Limits(disk_bytes=1 << 20)
    files = {"a": bytes(1 << 20)}
    assert pool.run("pass", files=files, limits=limits).ok
    with pytest.raises(ValueError, match=r"limits\.disk_bytes=1048576"):
        pool.run("pass", files={**files, "b": b"x"}, limits=limits)


def test_a_large_file_is_not_the_programs_memory(pool):
    """Contents are copied from file to file: with 40 MiB given and little memory, all is well."""
    result = pool.run(
        "import os; print(os.path.getsize('a'))",
        files={"a": bytes(40 << 20)},
        limits=Limits(memory_bytes=60 << 20),
    )
    assert result.stdout == f"{40 << 20}\n", result


def test_a_program_has_the_file_name_that_it_was_given(pool):
    """In tracebacks, `__file__`, sys.argv and its directory; the next program has the usual one."""
    code = "import os, sys\nprint(__file__, sys.argv, os.listdir())\n1 / 0\n"
    for name in ("snippet.py", "a b", "-", "é.py", None):
        file = name or "main.py"
        result = pool.run(code, filename=name, args=("x",), files={"main.txt": ""}, collect=("*",))
        path, _, rest = result.stdout.partition(" [")
        assert os.path.basename(path) == file
        assert rest.startswith(f"{file!r}, 'x']") and repr(file) in rest.rpartition(" [")[2]
        assert f'  File "{path}", line 3, in <module>\n    1 / 0\n' in result.stderr
        assert result.files == {"main.txt": b""}, "the program's own file is no output"
    program = Program(code, filename="main.txt", files={"main.py": "left = 1"})
    found = pool.run(program, args=("x",)).stdout
    assert "main.py" in found and found.count("main.txt") == 3


def test_a_scratch_is_kept_whatever_the_programs_file_is_called(pool):
    """A program that leaves nothing but its own file, by any name, leaves a folder to be kept."""
    code = "import os; print(os.stat('../tmp').st_ctime_ns)"
    with Pool(1, tier=pool.tier) as one:
        one.run("")
        found = {one.run(code, filename=name).stdout for name in ("a.py", None, "b.py", "a.py")}
        assert len(found) == 1
        left = "import os; os.unlink('a.py'); os.mkdir('a.py')"
        assert one.run(left, filename="a.py").ok
        assert one.run("import os; print(os.listdir())").stdout == "['main.py']\n"


def test_runs_of_a_snapshot_know_their_own_file(pool):
    """`__file__` leads to it, by the name that it was given, wherever the set-up code's was."""
    code = "print(open(__file__).read() == open(NAME).read())"
    with pool.snapshot("NAME = 'main.py'") as snapshot:
        assert snapshot.run(code).stdout == "True\n"
        result = snapshot.run("NAME = 'b.py'\n" + code, filename="b.py")
        assert result.stdout == "True\n", result


@pytest.mark.parametrize(
    "filename", ["", ".", "..", "a/b", "/a", "a\0", "x" * 256, "\ud800", 1, b"a"]
)
def test_a_file_name_is_a_plain_one(pool, filename):
    """Anything else is refused by name."""
    with pytest.raises(
        TypeError if not isinstance(filename, str) else ValueError, match="filename"
    ):
        pool.run("pass", filename=filename)


def test_a_programs_file_and_the_files_it_is_given_have_different_names(pool):
    """The name may be either's, or a folder's of those."""
    for name in ("a.py", "a.py/b"):
        with pytest.raises(ValueError, match=r"files: 'a\.py'"):
            pool.run("pass", filename="a.py", files={name: ""})


BAD_NAMES = [
    "../x",
    "/etc/x",
    "a/../../x",
    "a\0b",
    "",
    ".",
    "a//b",
    "./a",
    "a/",
    "main.py",
    "x" * 256,
]


@pytest.mark.parametrize("name", [*BAD_NAMES, "\ud800", "main.py/x"])
def test_bad_names_are_refused(pool, name):
    """An error names the name; nothing is run."""
    with pytest.raises(ValueError, match="files"):
        pool.run("pass", files={name: "x"})


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "a/../b", "a\0", "", "a//b"])
def test_bad_patterns_are_refused(pool, pattern):
    """No pattern leads out of the working directory."""
    with pytest.raises(ValueError, match="collect"):
        pool.run("pass", collect=(pattern,))


@pytest.mark.parametrize(
    "options, error",
    [
        ({"files": ["a"]}, TypeError),
        ({"files": {"a": 1}}, TypeError),
        ({"files": {1: "a"}}, TypeError),
        ({"files": {"a": "", "a/b": ""}}, ValueError),
        ({"files": {str(n): "" for n in range(10_000)}}, ValueError),
        ({"collect": "*.png"}, TypeError),
        ({"collect": (1,)}, TypeError),
        ({"env": {"A=B": "x"}}, ValueError),
        ({"env": {"": "x"}}, ValueError),
        ({"env": {"A": "\0"}}, ValueError),
        ({"env": {"A": 1}}, TypeError),
        ({"env": "A=B"}, TypeError),
        ({"seed": 1.5}, TypeError),
        ({"seed": True}, TypeError),
        ({"id": 3}, TypeError),
        ({"on_output": 3}, TypeError),
        ({"flies": {}}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(pool, options, error):
    """The error names the argument."""
    with pytest.raises(error, match=next(iter(options))):
        pool.run("pass", **options)


MATCHES = [
    # pattern, what it matches, what it does not
    ("*.png", ["a.png", "b c.png"], ["a.PNG", "d/a.png", ".png", "a.png.txt"]),
    ("**/*.png", ["a.png", "d/a.png", "d/e/a.png"], ["d/.a.png", ".d/a.png"]),
    ("out/**", ["out/a", "out/b/c"], ["outer/a", "a"]),
    ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
    ("[ab]?.*", ["a1.x", "b2.yz"], ["c1.x", "a1"]),
    (".*", [".hidden"], ["shown"]),
    ("**", ["a", "b/c"], [".a", "b/.c"]),
]


@pytest.mark.parametrize("pattern, yes, no", MATCHES)
def test_patterns_match_as_in_a_shell(pattern, yes, no):
    """Wildcards stay within a folder, but for `**`; hidden files need their dot."""
    compiled = Pattern.parse(pattern)
    assert [name for name in [*yes, *no] if compiled.matches(name)] == yes


def test_a_costly_pattern_is_matched_quickly():
    """Matching takes no more than the pattern's length times the name's."""
    pattern = Pattern.parse("/".join(["**", "a*a*a*a*a*b"] * 20))
    assert not pattern.matches("/".join(["a" * 200] * 60))


def test_a_program_is_checked_when_it_is_made():
    """Batches find their mistakes before anything is run."""
    with pytest.raises(ValueError, match="files"):
        Program("pass", files={"../x": ""})
    with pytest.raises(TypeError, match="code"):
        Program(1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_descriptors_stay_flat_over_many_collections(tier):
    """Every kept scratch is given back, also of runs that are killed."""
    with Pool(1, tier=tier) as pool:
        pool.run("pass")
        before = len(os.listdir("/proc/self/fd"))
        for number in range(40):
            code = "open('a', 'w')" if number % 2 else "while True: pass"
            pool.run(code, files={"b": "x"}, collect=("*",), timeout=0.05)
        pool.run("pass")
        assert len(os.listdir("/proc/self/fd")) <= before + 3
