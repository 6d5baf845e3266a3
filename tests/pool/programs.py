"""Programs that must end, here, as they end under `python -u main.py`: name and source."""

SOURCES: dict[str, str | bytes] = {
    "nothing": "",
    "comment without newline": "# only this",
    "latin-1 cookie": "# -*- coding: latin-1 -*-\nprint(ascii('é'))".encode("latin-1"),
    "cookie on the second line": b"#!python\n# vim: fileencoding=cp1252 :\nprint('\x80')",
    "unknown cookie": "# coding: no-such-encoding\nprint(1)",
    "undecodable": b"print('\xff')",
    "utf-16": "print(1)".encode("utf-16"),
    "BOM": "print(ascii('é'))".encode("utf-8-sig"),
    "BOM against its cookie": b"\xef\xbb\xbf# coding: latin-1\nprint(1)",
    "CRLF": b"if True:\r\n    x = '''a\r\nb'''\r\n    print(repr(x))\r\n",
    "lone CR": b"x = 1\rprint(x)\r",
    "tabs": "if True:\n\tif True:\n\t\tprint('tabs')\n",
    "tabs and spaces": "if True:\n\tx = 1\n        y = 2\n",
    "form feed": "x = 1\n\x0c\nprint(x)\n",
    "continued": "print('a', \\\n  'b')",
    "NUL": b"print(1)\nprint('\0')\n",
    "NUL first": b"\0",
    "surrogate": "print('\udc80')",
    "syntax error": "def f(:\n    pass\n",
    "indentation error": "if 1:\nprint(1)\n",
    "unterminated": "print('''abc\n",
    "unbalanced": "print((1)\n",
    "return outside": "return 1",
    "too deep to parse": "(" * 300 + ")" * 300,
    "future": "from __future__ import annotations\ndef f(x: Nope): pass\nprint(f.__annotations__)",
    "names": (
        "print(__name__, __doc__, __package__, __spec__, __annotations__, __cached__)\n"
        "print(__builtins__.__name__, type(__loader__).__name__, sorted(globals()))"
    ),
    "docstring": '"""What it is."""\nprint(__doc__)',
    "argv": "import sys; print(sys.argv, len(sys.orig_argv) > 1)",
    "file": (
        "import os, sys\n"
        "print(os.path.basename(__file__), os.path.isabs(__file__))\n"
        "print(open(__file__).read()[:9], sys.path[0] == os.getcwd() == os.path.dirname(__file__))"
    ),
    "own module": (
        "open('helper.py', 'w').write('VALUE = 7\\n')\n"
        "import helper\nprint(helper.VALUE, helper.__name__)"
    ),
    "importing itself": "import main as other\nprint(__name__, other.__name__)",
    "recursion": "def f(n): return 1 if n < 2 else n * f(n - 1)\nprint(f(50))",
    "mutual recursion": (
        "def even(n): return n == 0 or odd(n - 1)\n"
        "def odd(n): return n != 0 and even(n - 1)\n"
        "print(even(100), odd(7))"
    ),
    "runaway recursion": (
        "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)\n"
        "import sys; print(sys.getrecursionlimit())"
    ),
    "uncaught recursion": "def f(): f()\nf()",
    "comprehensions over globals": (
        "n = 3\nprint([n * i for i in range(n)], {i: n for i in range(n)}, list(n for _ in 'ab'))\n"
        "class C:\n    k = 2\n    values = [i for i in range(k)]\nprint(C.values)\n"
        "print(sum(1 for i in range(n) if all(n > j for j in range(i))))"
    ),
    "exec and eval": (
        "x = 1\nexec('x += 1; y = 5')\nprint(x, y, eval('x + y'), locals() is globals())"
    ),
    "imports inside functions": (
        "def f():\n    import math\n    from collections import Counter\n"
        "    return math.sqrt(4), Counter('aab')\nprint(f())"
    ),
    "a missing module": "import no_such_module_here",
    "a missing name": "from math import no_such_name",
    "a near name": "import math\nmath.sqr(4)",
    "dataclasses": (
        "from dataclasses import dataclass, field\n@dataclass(order=True, slots=True)\n"
        "class P:\n    x: int\n    y: 'list[int]' = field(default_factory=list)\n"
        "print(P(1) < P(2), P(1, [2]))"
    ),
    "pickle": (
        "import pickle, copy\nclass A:\n    def __init__(self): self.x = [1]\n"
        "a = pickle.loads(pickle.dumps(A()))\nprint(type(a) is A, a.x, copy.deepcopy(a).x, A)"
    ),
    "enum and namedtuple": (
        "import enum, collections, typing\nclass E(enum.Enum): A = 1\n"
        "P = collections.namedtuple('P', 'x y')\nclass N(typing.NamedTuple): z: int = 1\n"
        "print(E.A, repr(E.A), P(1, 2), N(), P.__module__, E.__module__)"
    ),
    "typing.get_type_hints": (
        "import typing\nclass Node:\n    next: 'Node | None' = None\n"
        "print(typing.get_type_hints(Node))"
    ),
    "inspect.getsource": (
        "import inspect\ndef f():\n    return 1  # a comment\nprint(inspect.getsource(f))\n"
        "print(inspect.getsourcelines(f)[1], inspect.getmodule(f).__name__)"
    ),
    "doctest": (
        "import doctest\ndef f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\n"
        "print(doctest.testmod())"
    ),
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 1)\n"
        "unittest.main(verbosity=0, exit=False, argv=['x'])\nprint('after')"
    ),
    "asyncio": (
        "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    return n\n"
        "async def main():\n    print(await asyncio.gather(*(f(n) for n in range(3))))\n"
        "    print(await asyncio.to_thread(sum, [1, 2]))\nasyncio.run(main())"
    ),
    "threads are joined": (
        "import threading, time\ndef f():\n    time.sleep(0.05)\n    print('thread')\n"
        "threading.Thread(target=f).start()\nprint('main')"
    ),
    "daemon threads are not joined": (
        "import threading, time\n"
        "threading.Thread(target=lambda: time.sleep(60), daemon=True).start()\nprint('main')"
    ),
    "an exception in a thread": (
        "import threading\ndef f(): 1/0\nt = threading.Thread(target=f, name='T')\n"
        "t.start(); t.join()\nprint('main goes on')"
    ),
    "thread pools": (
        "from concurrent.futures import ThreadPoolExecutor as E\n"
        "with E(3) as e: print(list(e.map(lambda x: x * x, range(5))))"
    ),
    "atexit in reverse": (
        "import atexit\nfor n in range(3): atexit.register(print, 'exit', n)\nprint('main')"
    ),
    "atexit after threads": (
        "import atexit, threading, time\natexit.register(print, 'atexit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
    ),
    "atexit after an exception": "import atexit\natexit.register(print, 'atexit')\n1/0",
    "atexit after sys.exit": "import atexit, sys\natexit.register(print, 'atexit')\nsys.exit(4)",
    "atexit that raises": (
        "import atexit\ndef f(): raise ValueError('in atexit')\n"
        "atexit.register(print, 'still')\natexit.register(f)\nprint('main')"
    ),
    "atexit that exits": (
        "import atexit, sys\natexit.register(print, 'still')\natexit.register(sys.exit, 7)"
    ),
    "exit 0": "import sys; sys.exit(0)",
    "exit 1": "import sys; sys.exit(1)",
    "exit 256": "import sys; sys.exit(256)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit 2**31": "import sys; sys.exit(2**31)",
    "exit 2**70": "import sys; sys.exit(2**70)",
    "exit True": "import sys; sys.exit(True)",
    "exit text": "import sys; sys.exit('went wrong')",
    "exit None": "import sys; sys.exit(None)",
    "exit float": "import sys; sys.exit(1.5)",
    "exit tuple": "import sys; sys.exit((1, 2))",
    "exit object": ("import sys\nclass A:\n    def __str__(self): return 'an A'\nsys.exit(A())"),
    "exit of an unprintable": ("import sys\nclass A:\n    def __str__(self): 1/0\nsys.exit(A())"),
    "a subclass of SystemExit": ("class E(SystemExit):\n    pass\nraise E(5)"),
    "SystemExit without arguments": "raise SystemExit",
    "exit inside finally": "import sys\ntry:\n    1/0\nfinally:\n    sys.exit(6)",
    "exit in a thread": (
        "import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,))\n"
        "t.start(); t.join(); print('main')"
    ),
    "exit()": "exit(3)",
    "quit()": "quit()",
    "exit shown": "print(exit, copyright is not None)",
    "os._exit": "import os\nprint('before')\nos._exit(9)",
    "an exception": "def f():\n    return {}['key']\n\nf()\n",
    "a chain": ("try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e"),
    "a context": "try:\n    1/0\nexcept ZeroDivisionError:\n    undefined",
    "from None": "try:\n    1/0\nexcept ZeroDivisionError:\n    raise ValueError from None",
    "notes": "e = ValueError('x')\ne.add_note('a note')\ne.add_note('another')\nraise e",
    "a group": "raise ExceptionGroup('many', [ValueError(1), TypeError('two')])",
    "a base exception": "class E(BaseException): pass\nraise E('base')",
    "GeneratorExit": "raise GeneratorExit",
    "an exception that can't be printed": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E"
    ),
    "an exception of several lines": "raise ValueError('a\\nb')",
    "an exception with a surrogate": "raise ValueError('\\ud800')",
    "an error in a nested module": (
        "open('helper.py', 'w').write('def f():\\n    raise OSError(2, \"no\")\\n')\n"
        "import helper\nhelper.f()"
    ),
    "an error in the library": "import json\njson.loads('{')",
    "carets": "x = {'a': {}}\ny = x['a']['b']['c']",
    "a long traceback": ("def f(n):\n    if n: return f(n - 1)\n    raise ValueError\nf(20)"),
    "an assertion": "assert 1 == 2, 'no'",
    "a stop iteration": "next(iter([]))",
    "an own excepthook": (
        "import sys\ndef hook(kind, error, traceback): print('hook', kind.__name__, error)\n"
        "sys.excepthook = hook\n1/0"
    ),
    "an excepthook that raises": (
        "import sys\ndef hook(*a): raise ValueError('in the hook')\nsys.excepthook = hook\n1/0"
    ),
    "an excepthook that exits": ("import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1/0"),
    "no excepthook": "import sys\nsys.excepthook = None\n1/0",
    "traceback.print_exc": (
        "import traceback\ntry: 1/0\nexcept ZeroDivisionError: traceback.print_exc()"
    ),
    "traceback of frames": "import traceback\ndef f(): traceback.print_stack()\nf()",
    "a warning": "import warnings\nwarnings.warn('careful')\nprint('on')",
    "a warning as error": (
        "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('careful')"
    ),
    "a syntax warning": "x = 1\nprint(x is 1)",
    "a deprecation": "import warnings\nwarnings.warn('old', DeprecationWarning)\nprint('on')",
    "logging": (
        "import logging\nlogging.warning('w %s', 1)\nlogging.info('no')\n"
        "logging.getLogger('a').error('e')"
    ),
    "stderr and stdout": "import sys\nprint('out')\nprint('err', file=sys.stderr)",
    "print without newline": "print('a', end='')",
    "stdout.buffer": "import sys\nsys.stdout.buffer.write(b'\\xff\\x00')\nprint('x')",
    "stdout attributes": (
        "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n"
        "    print(s.name, s.mode, s.encoding, s.errors, s.fileno(), s.isatty(), s.closed)\n"
        "print(sys.stdout.seekable() if hasattr(sys.stdout, 'x') else 'pipe')"
    ),
    "os.write and print": (
        "import os\nfor n in range(5):\n    print('p', n)\n    os.write(1, b'w\\n')"
    ),
    "surrogates to stdout": "print('\\ud800')",
    "surrogates to stderr": "import sys\nprint('\\ud800', file=sys.stderr)",
    "closed stdout": "import sys\nprint('x')\nsys.stdout.close()",
    "replaced stdout": (
        "import sys, io\nold = sys.stdout\nsys.stdout = io.StringIO()\nprint('hidden')\n"
        "text = sys.stdout.getvalue()\nsys.stdout = old\nprint(repr(text))"
    ),
    "unflushed open file": (
        "import atexit, os\nf = open('out.txt', 'w')\nf.write('kept')\n"
        "atexit.register(lambda: print(os.path.getsize('out.txt')))"
    ),
    "__del__ at exit": (
        "class A:\n    def __init__(self, n): self.n = n\n"
        "    def __del__(self): print('del', self.n)\na = A(1)\nb = A(2)\nprint('main')"
    ),
    "files of one's own, which are flushed": (
        "import os\nfrom io import BytesIO, IOBase\nclass Fast(IOBase):\n"
        "    def __init__(self): self.buffer = BytesIO(); self.write = self.buffer.write\n"
        "    def flush(self): os.write(1, self.buffer.getvalue()); self.buffer.truncate(0)\n"
        "print(20)\nout = Fast()\nout.write(b'4 3\\n')"
    ),
    "standard output by a class of one's own, with its globals": (
        "import os, sys\nfrom io import BytesIO, IOBase\nclass Fast(IOBase):\n"
        "    def __init__(self, file):\n"
        "        self.fd, self.buffer = file.fileno(), BytesIO()\n"
        "    def write(self, text): self.buffer.write(text.encode())\n"
        "    def flush(self):\n"
        "        os.write(self.fd, self.buffer.getvalue()); self.buffer.truncate(0)\n"
        "        self.buffer.seek(0)\n"
        "class Wrapper(IOBase):\n    def __init__(self, file):\n"
        "        self.buffer = Fast(file)\n        self.flush = self.buffer.flush\n"
        "        self.write = lambda text: self.buffer.write(text)\n"
        "sys.stdin, sys.stdout = Wrapper(sys.stdin), Wrapper(sys.stdout)\nprint(1)"
    ),
    "standard output by an object that is flushed": (
        "import os, sys\nclass Out:\n    def write(self, text): pass\n"
        "    def flush(self): os.write(1, b'flushed\\n')\n"
        "class A:\n    def __del__(self): print('del')\na = A()\nsys.stdout = Out()\nprint(2)"
    ),
    "__del__ that calls a module": (
        "import logging\nclass A:\n    def __del__(self): logging.warning('closing')\na = A()"
    ),
    "__del__ that counts": (
        "n = 0\ndef bump():\n    global n\n    n += 1\n    return n\n"
        "class A:\n    def __del__(self): print(bump())\na = A()\nb = A()"
    ),
    "__del__ in the collector's order": (
        "class A:\n    def __init__(self, n): self.n = n\n"
        "    def __del__(self): print('del', self.n, A is None)\n"
        "a = A('a')\n_c = A('c')\nb = A('b')"
    ),
    "__del__ with the module imported": (
        "import __main__\nclass A:\n    def __del__(self): print(__main__.A is A)\na = A()"
    ),
    "__del__ after sys.exit": "class A:\n    def __del__(self): print('del', A)\na = A()\nexit(3)",
    "__del__ kept by a daemon thread": (
        "import threading, time\nclass A:\n    def __del__(self): print('del')\na = A()\n"
        "def f():\n    while True: time.sleep(0.01)\n"
        "threading.Thread(target=f, daemon=True).start()"
    ),
    "__del__ kept by a hook": (
        "import sys\nclass A:\n    def __del__(self): print('del')\na = A()\n"
        "sys.excepthook = lambda *_: print('hook')\n1/0"
    ),
    "a generator that is suspended": (
        "def g():\n    try: yield\n    finally: print('closed')\nx = g()\nnext(x)"
    ),
    "a context that was not left": (
        "import contextlib\n@contextlib.contextmanager\ndef c():\n"
        "    try: yield\n    finally: print('left')\nx = c()\nx.__enter__()"
    ),
    "subclass of KeyboardInterrupt": "class K(KeyboardInterrupt): pass\nraise K('k')",
    "the locale of the environment": (
        "import locale\nprint(locale.setlocale(locale.LC_ALL, ''), locale.getpreferredencoding())"
    ),
    "__del__ of a cycle": (
        "class A:\n    def __del__(self): print('del')\na = A()\na.me = a\nprint('main')"
    ),
    "__del__ that raises": (
        "class A:\n    def __del__(self): raise ValueError('in del')\na = A()\ndel a\nprint('on')"
    ),
    "__del__ after an exception": ("class A:\n    def __del__(self): print('del')\na = A()\n1/0"),
    "weakref.finalize": (
        "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalised')"
    ),
    "generators": (
        "def g():\n    try:\n        x = yield 1\n        print('got', x)\n        yield 2\n"
        "    finally:\n        print('closed')\ni = g()\nprint(next(i), i.send('x'))\ndel i\n"
        "print(list(x * 2 for x in range(3)))"
    ),
    "async generators": (
        "import asyncio\nasync def g():\n    for n in range(3): yield n\n"
        "async def main(): print([n async for n in g()])\nasyncio.run(main())"
    ),
    "context managers": (
        "import contextlib\n@contextlib.contextmanager\ndef c():\n    print('in')\n    yield\n"
        "    print('out')\nwith c(), contextlib.suppress(ZeroDivisionError):\n    1/0"
    ),
    "match": "match [1, 2]:\n    case [a, *b]: print(a, b)",
    "global and nonlocal": (
        "n = 0\ndef f():\n    global n\n    n += 1\n    m = 0\n    def g():\n        nonlocal m\n"
        "        m += 1\n        return m\n    return g()\nprint(f(), n)"
    ),
    "metaclasses": (
        "class M(type):\n    def __new__(m, name, bases, ns): print(name); "
        "return super().__new__(m, name, bases, ns)\nclass A(metaclass=M): pass\n"
        "class B(A): pass"
    ),
    "a signal handler": (
        "import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('handled', a[0]))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nprint('on')"
    ),
    "raise_signal": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print('ring'))\n"
        "signal.raise_signal(signal.SIGALRM)"
    ),
    "an alarm": ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()"),
    "signal dispositions": (
        "import signal\nfor n in (2, 10, 13, 14, 15, 17, 25): print(n, signal.getsignal(n))"
    ),
    "death by SIGTERM": "import os, signal\nprint('x')\nos.kill(os.getpid(), signal.SIGTERM)",
    "death by abort": "import os\nprint('x')\nos.abort()",
    "KeyboardInterrupt": "print('x')\nraise KeyboardInterrupt",
    "KeyboardInterrupt caught": (
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    print('caught')"
    ),
    "stdin is empty": (
        "import sys\nprint(repr(sys.stdin.read()))\n"
        "try: input()\nexcept EOFError as e: print('EOF', e)"
    ),
    "temporary files": (
        "import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n"
        "    p = os.path.join(d, 'x')\n    open(p, 'w').write('1')\n    print(open(p).read())\n"
        "print(os.path.exists(d))"
    ),
    "sqlite": (
        "import sqlite3\nc = sqlite3.connect('a.db')\nc.execute('create table t(x)')\n"
        "c.execute('insert into t values (7)')\nc.commit()\n"
        "print(c.execute('select * from t').fetchall())"
    ),
    "zoneinfo": (
        "from zoneinfo import ZoneInfo\nfrom datetime import datetime\n"
        "print(datetime(2024, 7, 1, tzinfo=ZoneInfo('Europe/Berlin')).utcoffset())"
    ),
    "hash randomisation off numbers": "print(hash(12345), hash(1.5), hash((1, 2)))",
    "big integers": "print(len(str(2 ** 10000)))\nint('9' * 5000)",
    "mutable builtins": "import builtins\nbuiltins.answer = 42\nprint(answer)",
    "stack": (
        "import inspect, sys, traceback, warnings\n"
        "def f():\n    traceback.print_stack()\n"
        "    print([each.function for each in inspect.stack()])\n"
        "    try: sys._getframe(2)\n    except ValueError as e: print(e)\n"
        "    for level in range(1, 5): warnings.warn('deep', stacklevel=level)\n"
        "f()\nprint(sys._getframe().f_back)\nexec('f()')\n"
        "print([each.f_code.co_name for each in sys._current_frames().values()])"
    ),
    "stack at the end": (
        "import atexit, sys, traceback\natexit.register(traceback.print_stack)\n"
        "def hook(*a): traceback.print_stack(); sys.__excepthook__(*a)\n"
        "sys.excepthook = hook\n1 / 0"
    ),
    "stack of a finaliser": (
        "import sys\nclass A:\n    def __del__(self, f=sys._getframe, p=print): p(f().f_back)\n"
        "a = A()"
    ),
    "traceback of a string": "exec('def f(): 1 / 0')\nf()",
    "profiled stack": (
        "import sys\nseen = []\nsys.setprofile(lambda f, e, a: seen.append((e, f.f_code.co_name)))\n"
        "(lambda: 1)()\nsys.setprofile(None)\nprint(seen)"
    ),
    "profile left on": (
        "import sys\nclass C:\n    def __call__(self, f, e, a): pass\nsys.setprofile(C())\n"
        "sys.settrace(lambda f, e, a: None)\nprint(1)"
    ),
    "cProfile": (
        "import cProfile\np = cProfile.Profile()\np.enable()\nsum(range(3))\np.disable()\n"
        "print(sorted(e.code if isinstance(e.code, str) else e.code.co_name for e in p.getstats()))"
    ),
    "frames in tracemalloc": (
        "import tracemalloc\ntracemalloc.start(9)\nx = [object() for _ in range(9)]\n"
        "print(max(len(s.traceback) for s in tracemalloc.take_snapshot().traces))"
    ),
    "logging finds its caller": (
        "import logging\nlogging.basicConfig(format='%(filename)s %(lineno)d %(message)s')\n"
        "logging.warning('here', stack_info=True, stacklevel=3)"
    ),
    "sys.modules": "import sys\nprint(sys.modules['__main__'].__dict__ is globals())",
}
