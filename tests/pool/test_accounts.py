"""Who a program is: the accounts that libraries look up are there, and no other of the host's."""

import pytest

from interpreter_pool import Limits, Pool

CODE = """
import getpass, grp, os, pathlib, pwd
own = pwd.getpwuid(os.getuid())
assert own == pwd.getpwnam(own.pw_name) and own.pw_gid == os.getgid()
assert grp.getgrgid(os.getgid()) == grp.getgrnam(own.pw_name)
here = os.getcwd()
assert own.pw_dir == here == os.path.expanduser("~") == str(pathlib.Path.home())
assert os.path.expanduser(f"~{own.pw_name}/x") == f"{here}/x"
assert (pathlib.Path(".").owner(), pathlib.Path(".").group()) == (own.pw_name,) * 2
print(getpass.getuser())
"""


@pytest.mark.parametrize("env", [None, {}])
def test_a_program_has_an_account(pool, env):
    """getpwuid, getuser, expanduser and home work, also without the variables that lead there."""
    result = pool.run(CODE, env=env)
    assert (result.stdout, result.stderr) == ("sandbox\n", "")


def test_runs_of_a_snapshot_and_sessions_have_an_account(pool):
    """Each in its own working directory."""
    with pool.snapshot("import pwd") as snapshot:
        assert snapshot.run(CODE).stdout == "sandbox\n"
    with pool.session() as session:
        assert session.run(CODE).stdout == "sandbox\n"
        with session.fork() as branch:
            assert branch.run(CODE).stdout == "sandbox\n"


def test_a_program_knows_no_account_of_the_hosts(pool):
    """What stands in the jail are its own, root and nobody; there is no password."""
    code = (
        "import pwd\nfound = pwd.getpwall()\n"
        "print({a.pw_name for a in found} <= {'sandbox', 'root', 'nobody'}, "
        "{a.pw_passwd for a in found} <= {'x'})\n"
        "pwd.getpwuid(4242)"
    )
    result = pool.run(code)
    assert result.stdout == "True True\n"
    assert result.stderr.endswith("KeyError: 'getpwuid(): uid not found: 4242'\n")
    assert result.stderr.count("File") == 1


def test_processes_of_a_program_have_an_account():
    """What it executes looks it up in the same file."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {CODE!r}], env={{}})"
    with Pool(1, tier="namespaces", limits=Limits(processes=3)) as pool:
        result = pool.run(code)
        assert (result.stdout, result.stderr) == ("sandbox\n", "")
