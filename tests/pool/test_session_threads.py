"""Sessions whose programs have threads: a call never fails because an earlier one started some."""

import pytest

from interpreter_pool import ExitReason, Limits, PolicyError, Pool, ProgramError, SessionLost

EXECUTOR = (
    "from concurrent.futures import ThreadPoolExecutor\n"
    "executor = ThreadPoolExecutor(1, 'reader')\n"
    "executor.submit(pow, 2, 3).result()"
)
"""Leaves an idle thread."""

PACKAGES = (
    "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "torch", "sympy", "tqdm", "requests",
    "networkx",
)  # fmt: skip

DAYS = {
    # what people do with a library, call by call; none of these may lose its checkpoint
    "numpy": (
        "import numpy as np; a = np.random.rand(300, 300)",
        "(a @ a).shape",
        "np.linalg.svd(a)[1].shape",
    ),
    "pandas": (
        "import pandas as pd; df = pd.DataFrame({'a': range(1000), 'b': range(1000)})",
        "df.groupby('a').sum().shape",
        "df.corr().shape",
    ),
    "scipy": (
        "import numpy as np, scipy.linalg; a = np.eye(300) * 2",
        "float(scipy.linalg.inv(a)[0, 0])",
        "scipy.linalg.eigvals(a).shape",
    ),
    "scikit-learn": (
        "from sklearn.datasets import make_classification\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier\n"
        "x, y = make_classification(300, random_state=1)",
        "model = HistGradientBoostingClassifier(max_iter=3).fit(x, y)",
        "model.score(x, y) > 0.5",
    ),
    "matplotlib": (
        "import matplotlib.pyplot as plt",
        "plt.plot([1, 2]); plt.savefig('plot.png')",
        "import os; os.path.getsize('plot.png') > 0",
    ),
    "torch": (
        "import torch; w = torch.rand(300, 300, requires_grad=True)",
        "(w @ w).sum().backward(); w.grad.shape",
        "layer = torch.nn.Linear(300, 3); layer(w).sum().backward()",
    ),
    "sympy": ("import sympy; x = sympy.symbols('x')", "sympy.integrate(sympy.sin(x) ** 2, x)"),
    "tqdm": (
        "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass",
        "for _ in tqdm(range(3)): pass",
    ),
    "requests": ("import requests", "requests.Request('GET', 'http://example.com').url"),
    "networkx": ("import networkx as nx", "nx.shortest_path(nx.path_graph(4), 0, 3)"),
    "asyncio": (
        "import asyncio; loop = asyncio.new_event_loop()",
        "loop.run_until_complete(asyncio.sleep(0, 5))",
    ),
    "sqlite": (
        "import sqlite3; db = sqlite3.connect('x.db'); _ = db.execute('create table t (a)')",
        "db.execute('insert into t values (1)'); db.commit()",
        "db.execute('select * from t').fetchall()",
    ),
    "open files": ("file = open('x.txt', 'w+')", "file.write('abc')", "file.seek(0); file.read()"),
}


@pytest.fixture
def session(pool):
    with pool.session() as session:
        yield session


@pytest.fixture(scope="module", params=("namespaces", "landlock"))
def libraries(request):
    limits = Limits(memory_bytes=3 << 30, wall_s=60)
    with Pool(1, packages=PACKAGES, tier=request.param, limits=limits) as pool:
        pool.session().close()  # the jail of sessions stays
        yield pool


def value(session, code, **options):
    result = session.run(code, **options)
    assert result.ok, result
    return result.value


@pytest.mark.slow
@pytest.mark.parametrize("numeric_threads", [1, 4])
@pytest.mark.parametrize("library", DAYS)
def test_a_session_goes_on_whatever_library_it_uses(libraries, library, numeric_threads):
    """Each call has a checkpoint; a time-out, a rollback and a branch work, and it goes on there."""
    with libraries.session(numeric_threads=numeric_threads) as session:
        for code in DAYS[library]:
            result = session.run(code)
            assert (result.reason, result.checkpointed, result.detail) == ("ok", True, "")
        ended = session.run("while True: pass", timeout=0.2)
        assert (ended.reason, ended.rolled_back) == ("wall_timeout", 1)
        assert session.run(DAYS[library][-1]).ok
        session.rollback()
        assert session.run(DAYS[library][-1]).ok
        if library not in ("sqlite", "open files", "asyncio"):  # have files of their own open
            with session.fork() as branch:
                assert branch.run(DAYS[library][-1]).ok


@pytest.mark.slow
def test_a_session_whose_program_asks_for_more_threads_goes_on(libraries):
    """In its own environment, before it imports the library."""
    with libraries.session() as session:
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        value(session, f"import os; os.environ.update(dict.fromkeys({variables}, '8'))")
        for code in (*DAYS["numpy"], *DAYS["torch"]):
            assert session.run(code).checkpointed
        assert value(session, "torch.get_num_threads()") > "1"


@pytest.mark.parametrize("numeric_threads", [1, 2])
def test_numeric_threads_of_sessions(libraries, numeric_threads):
    """One, or as many as were asked for: of libraries that read it when they are loaded."""
    with libraries.session(numeric_threads=numeric_threads, rollback=False) as session:
        assert value(session, "import os; os.environ['OMP_NUM_THREADS']") == f"'{numeric_threads}'"
        assert value(session, "import torch; torch.get_num_threads()") == str(numeric_threads)


@pytest.mark.parametrize("numeric_threads", [0, True, "2", 10_000])
def test_numeric_threads_must_be_a_count_for_sessions(pool, numeric_threads):
    with pytest.raises((TypeError, ValueError), match="numeric_threads"):
        pool.session(numeric_threads=numeric_threads)


def test_a_session_with_threads_makes_calls_without_checkpoints(session):
    """The result says so, and why; when the threads are gone, there are checkpoints again."""
    assert session.run("x = 1").checkpointed
    assert session.run(EXECUTOR).checkpointed
    result = session.run("x = 2\nexecutor.submit(pow, 2, 4).result()")
    assert (result.value, result.checkpointed) == ("16", False)
    assert "no checkpoint was made: 1 other thread of it is alive ('reader_0')" in result.detail
    assert not session.run("executor.shutdown()").checkpointed
    result = session.run("x = 3")
    assert (result.checkpointed, result.detail) == (True, "")


def test_a_session_with_threads_goes_back_to_the_last_checkpoint(session):
    """When a call is ended; as many calls as that undoes are reported."""
    value(session, "x = 1")
    value(session, EXECUTOR)
    value(session, "x = 2")
    value(session, "x = 3")
    ended = session.run("x = 4\nwhile True: pass", timeout=0.3)
    assert (ended.reason, ended.rolled_back, ended.checkpointed) == ("wall_timeout", 4, False)
    assert "its last 4 calls are undone" in ended.detail
    assert value(session, "x, 'executor' in globals()") == "(1, False)"


def test_a_session_that_is_rolled_back_says_which_states_there_are(session):
    """A state that was not kept is refused by name; those that were are counted in calls."""
    value(session, "x = 1")
    value(session, EXECUTOR)
    value(session, "x = 2")
    with pytest.raises(PolicyError, match=r"steps=1: .* are 2, 3 calls back"):
        session.rollback()
    with pytest.raises(ValueError, match="steps=4: 2 earlier states"):
        session.rollback(4)
    session.rollback(2)
    assert value(session, "x") == "1"
    session.rollback(2)
    with pytest.raises(ValueError, match="steps=1: 0 earlier"):
        session.rollback()


def test_a_fork_of_a_session_with_threads_is_refused_by_name(session):
    """It says which threads, and what to do; the session goes on."""
    value(session, "x = 1")
    value(session, EXECUTOR)
    with pytest.raises(PolicyError, match=r"'reader_0'.*shut executors down") as refused:
        session.fork()
    assert "1 other thread of it is alive" in str(refused.value)
    assert value(session, "executor.submit(pow, 2, 5).result()") == "32"
    value(session, "executor.shutdown()")
    with session.fork() as branch:
        assert value(branch, "x") == "1"


def test_a_session_without_history_keeps_what_a_thread_makes_it_need(pool):
    """With history=0 the last state before the thread is kept, for a call that is ended."""
    with pool.session(history=0) as session:
        value(session, "x = 1")
        assert len(session.states()) == 1
        value(session, EXECUTOR)
        value(session, "x = 2")
        assert len(session.states()) == 2
        assert session.run("while True: pass", timeout=0.3).rolled_back == 3
        assert value(session, "x") == "1"
        assert len(session.states()) == 1
        with pytest.raises(ValueError, match="history=0"):
            session.rollback()


def test_a_session_that_keeps_nothing_is_lost_with_its_threads(pool):
    """With rollback=False there is no checkpoint, threads or not."""
    with pool.session(rollback=False) as session:
        value(session, EXECUTOR)
        result = session.run("1")
        assert (result.value, result.checkpointed, result.detail) == ("1", False, "")
        assert session.run("while True: pass", timeout=0.3).rolled_back == 0
        with pytest.raises(SessionLost):
            session.run("1")


def test_a_session_that_lies_about_its_threads_is_set_back(session):
    """What its own process says instead of them is its doing: the call is undone, and reported."""
    value(session, "x = 1")
    value(session, EXECUTOR)
    lie = "import threading\nthreading.enumerate = lambda: 1 / 0"
    value(session, lie)
    result = session.run("x")
    assert result.reason is ExitReason.DENIED
    assert result.rolled_back
    assert value(session, "x") == "1"


def test_a_session_whose_threads_have_strange_names_goes_on(session):
    """Names are the program's word: any length, any character, any type."""
    value(session, "import threading; stop = threading.Event()")
    value(
        session,
        "for name in ('a' * 100_000, '\\ud800\\0', 'x', *map(str, range(30))):\n"
        "    threading.Thread(target=stop.wait, name=name, daemon=True).start()\n"
        "threading.Thread.name = 7",
    )
    result = session.run("threading.active_count()")
    assert (result.value, result.checkpointed) == ("34", False)
    assert len(result.detail) < 500


def test_a_function_that_is_loaded_once_may_use_numeric_libraries(libraries):
    """With shared_load=True each call is made in a branch of the state that has loaded it."""
    source = (
        "import numpy as np\na = np.random.rand(200, 200)\na @ a\n"
        "def f(n): return float((np.eye(n) @ np.eye(n)).sum())"
    )
    with libraries.function(source, "f", shared_load=True) as f:
        assert [f(3), f(300)] == [3.0, 300.0]


def test_a_snapshot_may_use_numeric_libraries(libraries):
    """Threads that its set-up code's libraries keep idle are ended; others are refused by name."""
    setup = "import os\nos.environ['OPENBLAS_NUM_THREADS'] = '4'\nimport numpy as np\n"
    with libraries.snapshot(setup + "a = np.ones((300, 300)); b = a @ a") as snapshot:
        assert snapshot.run("print((b @ b).shape)").stdout == "(300, 300)\n"
    with pytest.raises((ProgramError, PolicyError), match="reader_0"):
        libraries.snapshot(EXECUTOR)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("preload", [(), ("numpy",)])
def test_numeric_threads_of_a_run_keep_to_its_limit(tier, threads, preload):
    """OpenBLAS interrupts a program for which it can't start a thread."""
    program = (
        "import numpy as np, os\na = np.random.rand(300, 300)\nprint((a @ a).shape)\n"
        "try: print(len(os.listdir('/proc/self/task')))\n"
        "except OSError: print(1)  # Landlock"
    )
    with Pool(1, packages=("numpy",), preload=preload, tier=tier) as pool:
        result = pool.run(program, limits=Limits(threads=threads))
        assert result.ok, result
        shape, count = result.stdout.splitlines()
        assert shape == "(300, 300)"
        assert int(count) <= threads
