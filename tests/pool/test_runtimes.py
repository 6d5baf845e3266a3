"""Runtimes: one pool runs programs with several interpreters and packages; each asks for its own."""

import pytest
from conftest import TIERS, wait_until
from installed import make_environment

from interpreter_pool import (
    Asserts,
    Call,
    CheckerProgram,
    Interactive,
    PolicyError,
    Pool,
    Program,
    Runtime,
    Stdio,
    TestModule,
)

HAS = """
def has():
    try:
        import tiny
    except ImportError:
        return "none"
    return tiny.word
"""
PRINTS = HAS + "print(has())"


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory):
    one = make_environment(tmp_path_factory.mktemp("one"), {"tiny": "word = 'one'"})
    two = make_environment(tmp_path_factory.mktemp("two"), {"tiny": "word = 'two'"})
    return {
        "one": Runtime(packages=("tiny",), python=one),
        "two": Runtime(packages=["tiny"], preload=["tiny"], python=str(two)),
    }


@pytest.fixture(params=TIERS)
def several(request, runtimes):
    with Pool(2, tier=request.param, runtimes=runtimes) as pool:
        yield pool


WORDS = {None: "none", "one": "one", "two": "two"}


@pytest.mark.parametrize("name", WORDS)
def test_a_run_has_the_runtime_that_it_asks_for(several, name):
    """As an option, and as a program's own, which wins."""
    assert several.run(PRINTS, runtime=name).stdout.strip() == WORDS[name]
    assert several.run(Program(PRINTS, runtime=name)).stdout.strip() == WORDS[name]
    assert several.run(Program(PRINTS, runtime="one"), runtime=name).stdout.strip() == WORDS[name]
    (result,) = several.map([PRINTS], runtime=name)
    assert result.stdout.strip() == WORDS[name]


@pytest.mark.parametrize("shared_load", [False, True])
@pytest.mark.parametrize("name", WORDS)
def test_so_have_functions(several, name, shared_load):
    function = several.function(HAS, "has", runtime=name, shared_load=shared_load)
    assert function() == WORDS[name]
    function.close()


@pytest.mark.parametrize("name", WORDS)
def test_so_have_sessions_and_snapshots(several, name):
    """Also when they are reset, and their branches; a hint goes by what that runtime offers."""
    with several.session(runtime=name) as session:
        session.run(HAS)
        assert session.run("has()").value == repr(WORDS[name])
        with session.fork() as branch:
            assert branch.run("has()").value == repr(WORDS[name])
        session.reset()
        assert session.run(PRINTS).stdout.strip() == WORDS[name]
    with several.snapshot(HAS, runtime=name) as snapshot:
        assert snapshot.run("print(has())").stdout.strip() == WORDS[name]
        assert snapshot.call("has") == WORDS[name]
        assert snapshot.run(Program("print(has())", runtime=name)).stdout.strip() == WORDS[name]
        with pytest.raises(PolicyError, match=r"runtime='two'|runtime='one'"):
            snapshot.run("pass", runtime="one" if name == "two" else "two")


CASES = {
    "stdio": lambda word, **runtime: Stdio("", word, **runtime),
    "call": lambda word, **runtime: Call("has", expected=word, **runtime),
    "asserts": lambda word, **runtime: Asserts(
        f"assert has() == {word!r}\n"
        f"try:\n    import tiny\nexcept ImportError: mine = 'none'\nelse: mine = tiny.word\n"
        f"assert mine == {word!r}",
        "has",
        **runtime,
    ),
    "module": lambda word, **runtime: TestModule(
        f"from solution import has\ndef test(): assert has() == {word!r}", **runtime
    ),
    "checker": lambda word, **runtime: Stdio(
        "",
        word,
        checker=CheckerProgram(
            HAS + "import sys\nsys.exit(open(sys.argv[2]).read().strip() != has())",
            protocol="testlib",
        ),
        **runtime,
    ),
    "interactive": lambda word, **runtime: Interactive(
        HAS + "import sys\nsys.exit(input() != has())", **runtime
    ),
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("kind", CASES)
def test_so_have_judged_programs_and_what_judges_them(several, kind, name):
    """By the option, by the program, by the case, which wins."""
    case, word = CASES[kind], WORDS[name]
    assert several.judge(PRINTS, [case(word)], runtime=name).passed
    assert several.judge(Program(PRINTS, runtime=name), [case(word)]).passed
    if name is not None:
        program = Program(PRINTS, runtime=name)
        assert several.judge(program, [case(word)], runtime="one").passed
        program = Program(PRINTS, runtime="one")
        assert several.judge(program, [case(word, runtime=name)], runtime="two").passed


def test_each_case_may_have_another(several):
    """Asserts that share a process where they have the same."""
    cases = [
        Asserts(f"assert has() == {word!r}", "has", runtime=name)
        for name, word in [("one", "one"), ("one", "one"), ("two", "two"), ("one", "one")]
    ]
    assert several.judge(HAS, cases).passed


def test_hints_go_by_the_runtime(several):
    """What it does not offer, though it is installed where its Python is."""
    result = several.run("import numpy", runtime="one")
    assert result.not_offered is None  # it is not installed there
    assert several.run("import numpy").not_offered == "numpy"


@pytest.mark.parametrize(
    "ask",
    [
        lambda pool: pool.run("pass", runtime="three"),
        lambda pool: pool.submit("pass", runtime="three"),
        lambda pool: list(pool.map(["pass"], runtime="three")),
        lambda pool: pool.check("pass", runtime="three"),
        lambda pool: pool.function("def f(): pass", "f", runtime="three")(),
        lambda pool: pool.function("def f(): pass", "f", runtime="three", shared_load=True)(),
        lambda pool: pool.session(runtime="three"),
        lambda pool: pool.snapshot("pass", runtime="three"),
        lambda pool: pool.judge("pass", [Stdio("", "")], runtime="three"),
        lambda pool: pool.judge(Program("pass", runtime="three"), [Stdio("", "")]),
        lambda pool: pool.judge("pass", [Stdio("", "", runtime="three")]),
    ],
)
def test_one_that_is_not_there_is_refused_by_name(several, ask):
    with pytest.raises(PolicyError, match="'three': this pool has 'one', 'two'"):
        ask(several)


def test_a_pool_without_says_how_to_have_some():
    with (
        Pool(1) as pool,
        pytest.raises(PolicyError, match=r"has none; give it some: Pool\(runtimes="),
    ):
        pool.run("pass", runtime="one")


@pytest.mark.parametrize(
    "runtimes, error, words",
    [
        ([Runtime()], TypeError, "must map names"),
        ({"one": ("numpy",)}, TypeError, r"runtimes\['one'\] must be a Runtime"),
        ({"": Runtime()}, ValueError, "is no name"),
        ({"a\nb": Runtime()}, ValueError, "is no name"),
        ({3: Runtime()}, ValueError, "is no name"),
        (
            {"one": Runtime(packages=("surely-none",))},
            PolicyError,
            r"runtimes\['one'\]: .*not inst",
        ),
        ({"one": Runtime(python="/nowhere/python")}, PolicyError, r"runtimes\['one'\]: .*no such"),
        ({"one": Runtime(preload=("numpy",))}, PolicyError, "'numpy' is in none of its packages"),
    ],
)
def test_runtimes_that_make_no_sense_are_refused(runtimes, error, words):
    """When the pool is made, and nothing is left of it."""
    with pytest.raises(error, match=words):
        Pool(1, runtimes=runtimes)


@pytest.mark.parametrize("options", [{"packages": "numpy"}, {"preload": "numpy"}, {"python": 3}])
def test_a_runtime_checks_its_arguments(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        Runtime(**options)


def test_one_that_cant_start_is_no_programs_fault(tmp_path):
    """Its runs are infra errors that say why; the others go on."""
    python = make_environment(tmp_path, {"broken": "raise RuntimeError('no way')"})
    broken = Runtime(packages=("broken",), preload=("broken",), python=python)
    with Pool(1, runtimes={"broken": broken}) as pool:
        result = pool.run("print(1)", runtime="broken")
        assert result.reason == "internal" and "no way" in result.detail
        assert pool.run("print(1)").stdout == "1\n"


def test_nothing_of_a_runtime_is_made_before_it_is_wanted(runtimes):
    """And the idle jails of all others together are bounded."""
    with Pool(1, runtimes={f"{n}": runtimes["two"] for n in range(5)}) as pool:
        jails, grounds = pool.engine.jails, [pool.engine.ground(str(n)) for n in range(5)]
        assert not any(jails.count(each.zygotes) for each in grounds)
        for n in range(5):
            assert pool.run(PRINTS, runtime=str(n)).stdout == "two\n"
        wait_until(pool.engine.is_settled)
        assert [jails.count(each.zygotes) for each in grounds] == [0, 0, 0, 0, 1]


def test_programs_as_json_name_theirs():
    assert Program.from_dict({"code": "pass", "runtime": "one"}).runtime == "one"
    with pytest.raises(TypeError, match="runtime must be the name"):
        Program.from_dict({"code": "pass", "runtime": 1})
    assert Stdio.from_dict({"input": "", "expected": "", "runtime": "one"}).runtime == "one"
