"""L2: the scratch of a run is as new, whatever the run before it did to its own."""

import json

import pytest

LOOK = """
import json, os
top = os.path.dirname(os.getcwd())
print(json.dumps([
    (os.path.relpath(path, top), oct(os.lstat(path).st_mode), sorted(os.listdir(path)))
    for path in (top, *(os.path.join(top, name) for name in sorted(os.listdir(top))))
]))
"""

SPOIL = {
    "a file in every folder": """
        for name in os.listdir(top): open(f"{top}/{name}/left", "w").write("x")""",
    "a folder beside the others": "os.mkdir(f'{top}/more')",
    "a hidden file": "open('.left', 'w').close()",
    "a folder gone": "os.rmdir(f'{top}/tmp')",
    "a folder renamed": "os.rename(f'{top}/tmp', f'{top}/elsewhere')",
    "a folder made anew, unreadable": "os.rmdir(f'{top}/tmp'); os.mkdir(f'{top}/tmp', 0)",
    "a link for a folder": "os.rmdir(f'{top}/shm'); os.symlink('/', f'{top}/shm')",
    "a pipe for a folder": "os.rmdir(f'{top}/shm'); os.mkfifo(f'{top}/shm')",
    "its own file gone": "os.unlink(__file__)",
    "a folder for its own file": "os.unlink(__file__); os.mkdir(__file__)",
    "its own folder gone": """
        os.unlink(__file__); os.chdir('/'); os.rmdir(f'{top}/home')""",
    "folders changed about": """
        os.unlink(__file__); os.rename(f'{top}/home', f'{top}/x')
        os.rename(f'{top}/tmp', f'{top}/home'); os.rename(f'{top}/x', f'{top}/tmp')""",
    "every mode 0": """
        os.chmod(top, 0)
        for name in ('home', 'tmp', 'shm'):
            try: os.chmod(f'{top}/{name}', 0)
            except OSError: pass""",
    "sticky bits": "os.chmod(top, 0o1777); os.chmod(f'{top}/tmp', 0o2777)",
}


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_scratch_is_as_new(pool, spoil):
    """L2: nothing that a run does to its scratch is there for the next one, and it can run."""
    new = json.loads(pool.run(LOOK).stdout)
    assert [name for name, _, _ in new] == [".", "home", "shm", "tmp"]
    code = SPOIL[spoil].strip().replace("\n        ", "\n")
    for _ in range(2 * pool.stats().workers):
        result = pool.run(f"import os\ntop = os.path.dirname(os.getcwd())\n{code}\nprint('done')")
        assert result.stdout == "done\n", result.stderr
        assert json.loads(pool.run(LOOK).stdout) == new
    assert pool.run("open('x', 'w').write('y'); print(open('x').read())").stdout == "y\n"


WIPE_NAMES = """
import os
for k in range(249):
    try: os.makedirs("\\x01wipe-1" + "x" * k + "/inner")
    except OSError: pass
print("done")
"""


@pytest.mark.slow
def test_names_that_our_own_could_meet_break_nothing(pool):
    """L2: whatever names a program has made, its scratch goes and its worker stays."""
    replaced = pool.stats().replaced
    for _ in range(4):
        assert pool.run(WIPE_NAMES).stdout == "done\n"
    assert json.loads(pool.run(LOOK).stdout)[0][2] == ["home", "shm", "tmp"]
    assert pool.stats().replaced == replaced


TIMES = "import os; top = os.path.dirname(os.getcwd())\n"


def test_times_carry_nothing_to_the_next_run(pool):
    """L2: a time that a run sets on what is kept of its scratch is not there for the next."""
    mark = f"{TIMES}for each in (top, top + '/tmp', top + '/shm'): os.utime(each, ns=(42, 777))"
    look = f"{TIMES}print([os.stat(p).st_mtime_ns for p in (top, top + '/tmp', top + '/shm')])"
    for _ in range(2 * pool.stats().workers):
        pool.run(mark)
        assert "777" not in pool.run(look).stdout.replace(", ", " ").split()


def test_looking_for_what_is_not_there_does_not_slow_the_next_run(pool):
    """R2: what the kernel keeps of a run's look-ups is not waited for in every run after it."""
    code = "import os\nfor i in range(60000): os.path.exists(f'{os.__file__}-{i}')\nprint('done')"
    for _ in range(2):
        assert pool.run(code).stdout == "done\n"
    for _ in range(4):
        pool.run("print(1)")
    assert min(pool.run("print(1)").wall_s for _ in range(6)) < 0.1
