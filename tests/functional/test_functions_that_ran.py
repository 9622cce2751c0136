"""Promise: a tool's code are the functions that ran, and none of it is missed (Python 3.12 and newer).

Each situation is a project of two tools that share `src/lib/x.py`, with one edit. Afterwards `run --changed` must leave what
a run from scratch gives; where the edit concerns no tool, nothing runs.
"""

from __future__ import annotations

import py_compile
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="Python says which functions ran since 3.12"
)

TOOL = """\
from pathlib import Path
from src.lib import x

STAGE = "{stage}"


def run():
    Path("out/{name}.txt").write_text(repr({value}))
"""
TWO = "def used():\n    return 1\n\n\ndef unused():\n    return 2\n"

WRAPS = (
    "import functools\n\nR = []\n\n\ndef note(f):\n    R.append(f.__name__)\n    return f\n\n\ndef wrap(f):\n"
    "    @functools.wraps(f)\n    def inner():\n        return f()\n\n    return inner\n\n\n"
)
WRAPPED = TWO.replace("def", "@wrap\ndef")

DISPATCH = (
    "import functools\n\n\n@functools.singledispatch\ndef used(n):\n    return 0\n\n\n@used.register(int)\ndef _(n):\n"
    "    return 1\n"
)

#: The shared module, what the first tool writes, and one edit of the module that changes that.
CHANGED: dict[str, tuple[str, str, str, str]] = {
    "the function that ran": (TWO, "x.used()", "return 1", "return 3"),
    "a function that another one calls": (
        "def used():\n    return inner()\n\n\ndef inner():\n    return 1\n", "x.used()", "return 1", "return 3",
    ),
    "a nested function": (
        "def used():\n    def inner():\n        return 1\n\n    return inner()\n", "x.used()", "return 1", "return 3",
    ),
    "a method": ("class A:\n    def m(self):\n        return 1\n", "x.A().m()", "return 1", "return 3"),
    "a property": (
        "class A:\n    @property\n    def p(self):\n        return 1\n", "x.A().p", "return 1", "return 3",
    ),
    "a method of a base class comes to the class": (
        "class A:\n    def m(self):\n        return 1\n\n\nclass B(A):\n    def n(self):\n        return 2\n",
        "x.B().m()", "    def n", "    def m",
    ),
    "a function that ran while the module was loaded": (
        "def made():\n    return 1\n\n\nX = made()\n", "x.X", "return 1", "return 3",
    ),
    "a default": ("def used(n=1):\n    return n\n", "x.used()", "n=1", "n=3"),
    "a constant": ("N = 1\n\n\ndef used():\n    return N\n", "x.used()", "N = 1", "N = 3"),
    "the docstring of a function that is handed on": (
        'def used():\n    """One."""\n', "x.used.__doc__", "One.", "Two."),
    "a function of a module that is handed on": (
        'def used():\n    """One."""\n', "'{0.used.__doc__}'.format(x)", "One.", "Two."),
    "a function of a module of a package that is handed on": (
        "import src.lib.x\n\n\ndef used():\n    return '{0.inner.__doc__}'.format(src.lib.x)\n\n\n"
        'def inner():\n    """One."""\n', "x.used()", "One.", "Two.",
    ),
    "a function that a module that is handed on has imported": (
        "import src.a\n\n\ndef used():\n    return '{0.x.inner.__doc__}'.format(src.a)\n\n\n"
        'def inner():\n    """One."""\n', "x.used()", "One.", "Two.",
    ),
    "a function in a table": (
        'def used():\n    return 1\n\n\nT = {"a": used}\n', "x.T['a']()", "return 1", "return 3",
    ),
    "a decorated function": (
        "R = []\n\n\ndef add(f):\n    R.append(f.__name__)\n    return f\n\n\n@add\ndef a():\n    pass\n",
        "x.R", "@add\ndef a", "@add\ndef b():\n    pass\n\n\n@add\ndef a",
    ),
    "a function that a decorator of the module wraps": (WRAPS + WRAPPED, "x.used()", "return 1", "return 3"),
    "a wrapping decorator that gets another meaning": (
        f"{WRAPS}wrap = note\n\n\n{WRAPPED}", "x.R", "def unused", "def new():\n    pass\n\n\n@wrap\ndef unused",
    ),
    "a wrapping decorator with an argument": (
        f"{WRAPS}def named(name):\n    def inner(f):\n        return note(f)\n\n    return inner\n\n\n{TWO}", "x.R",
        "def unused", "@named(1)\ndef unused",
    ),
    "a default that code asks for": ("def used(n=1):\n    return n\n", "x.used.__defaults__", "n=1", "n=3"),
    "a type that code asks for": ("def used(n: 1):\n    return n\n", "x.used.__annotations__", "n: 1", "n: 3"),
    "the default of a function in a list of all": (
        "def unused(n=1):\n    return n\n", "vars(x)['un' + 'used'].__defaults__", "n=1", "n=3",
    ),
    "partial as a decorator": (
        "from functools import partial\n\nR = []\n\n\ndef add(n, f):\n    R.append(n)\n\n\n@partial(add, 1)\ndef a():\n    pass\n",
        "x.R", "@partial(add, 1)", "@partial(add, 3)",
    ),
    "a function that is found by a computed name": (
        "def used_1():\n    return 1\n", "getattr(x, f'used_{1}')()", "return 1", "return 3",
    ),
    "a function that comes and is asked for": (
        TWO, "hasattr(x, 'new')", "def unused", "def new():\n    pass\n\n\ndef unused",
    ),
    "a function that comes and shadows a builtin": (
        "def used():\n    return abs(-1)\n", "x.used()", "def used", "def abs(n):\n    return 3\n\n\ndef used",
    ),
    "a function that comes and shadows a builtin that another function hands on": (
        "def used():\n    return inner()[0]\n\n\ndef inner():\n    return [*map(abs, [-1])]\n", "x.used()", "def used",
        "def abs(n):\n    return 3\n\n\ndef used",
    ),
    "an implementation for another type that is registered": (
        f"{DISPATCH}\n\nX = used('')\n", "x.used('')", "\n\nX", "\n\n@used.register(str)\ndef _(n):\n    return 3\n\n\nX",
    ),
    "the implementation for a type": (DISPATCH, "x.used(1)", "return 1", "return 3"),
    "a function that comes and was missing": (
        "def used():\n    try:\n        return new()\n    except NameError:\n        return 1\n",
        "x.used()", "def used", "def new():\n    return 3\n\n\ndef used",
    ),
    "a list of the names": (
        TWO, "[n for n in dir(x) if n[0] != '_']", "def unused", "def new():\n    pass\n\n\ndef unused",
    ),
    "a function that is found by the list of exports": (
        "__all__ = ['used']\n\n\n" + TWO, "[n for n in x.__all__]", "['used']", "['used', 'unused']",
    ),
    "the order of definitions": (
        "def a():\n    pass\n\n\ndef b():\n    pass\n", "[n for n in vars(x) if n in 'ab']",
        "def a():\n    pass\n\n\ndef b():\n    pass\n", "def b():\n    pass\n\n\ndef a():\n    pass\n",
    ),
    "where a function is defined": (
        "def f():\n    return 1\n\n\nif not f:\n    N = 1\n\n    def f():\n        return 2\n", "x.f()",
        "\n    def f():\n        return 2\n", "\n\ndef f():\n    return 2\n",
    ),
    "a generator that was not started": (
        "def used():\n    yield 1\n", "hasattr(x.used(), 'send')", "yield 1", "return 1",
    ),
    "a method that becomes abstract": (
        "from abc import ABC, abstractmethod\n\n\nclass A(ABC):\n    def m(self):\n        pass\n\n\ndef used():\n    try:\n"
        "        return bool(A())\n    except TypeError:\n        return None\n",
        "x.used()", "    def m", "    @abstractmethod\n    def m",
    ),
    "source text": (
        "import inspect\n\n\ndef used():\n    return 1\n", "len(x.inspect.getsource(x.used))", "return 1", "return 1 + 1",
    ),
    "a docstring that inspect finds": (
        'import inspect\n\n\ndef used():\n    """One."""\n', "x.inspect.getdoc(x.used)", "One.", "Two."),
    "a docstring beside a forked process": (
        'import os\n\n\ndef used():\n    """One."""\n    os.fork() or os._exit(0)\n    return used.__doc__\n',
        "x.used()", "One.", "Two.",
    ),
    "a module's __getattr__": (
        "def __getattr__(name):\n    return lambda: 1\n", "x.used()", "def __get", "def used():\n    return 3\n\n\ndef __get",
    ),
    "what a tracer calls": (
        "import sys\n\nN = []\n\n\ndef note():\n    N.append(1)\n\n\ndef used():\n    sys.setprofile(lambda *a: note())\n"
        "    len('')\n    sys.setprofile(None)\n    return N[0]\n",
        "x.used()", "append(1)", "append(3)",
    ),
    "what a forked process runs": (
        "import os\n\n\ndef used():\n    ends, starts = os.pipe()\n    if not os.fork():\n        os.write(starts, text())\n"
        "        os._exit(0)\n    os.wait()\n    return os.read(ends, 9)\n\n\ndef text():\n    return b'1'\n",
        "x.used()", "b'1'", "b'3'",
    ),
    "what an earlier tool has put into a cache": (
        "K = {}\n\n\ndef used():\n    if 0 not in K:\n        K[0] = slow()\n    return K[0]\n\n\ndef slow():\n    return 1\n",
        "x.used()", "return 1", "return 3",
    ),
    "what an earlier tool has kept in an object": (
        "class A:\n    kept = None\n\n    def get(self):\n        self.kept = self.kept or slow()\n        return self.kept\n\n\n"
        "a = A()\n\n\ndef slow():\n    return 1\n",
        "x.a.get()", "return 1", "return 3",
    ),
    "what runs in the processes of a pool that an earlier tool has left": (
        "from concurrent.futures import ProcessPoolExecutor\n\nP = None\n\n\nclass A:\n    def __call__(self, n):\n"
        "        return n + 1\n\n\ndef used():\n    global P\n    P = P or ProcessPoolExecutor(1)\n"
        "    return P.submit(A(), 0).result()\n",
        "x.used()", "n + 1", "n + 3",
    ),
    "what an earlier tool has kept under a private name": (
        "__kept = {}\n\n\ndef used():\n    if 0 not in __kept:\n        __kept[0] = slow()\n    return __kept[0]\n\n\n"
        "def slow():\n    return 1\n",
        "x.used()", "return 1", "return 3",
    ),
    "what an earlier tool has kept in an array": (
        "import array\n\nKEPT = array.array('b', [0])\n\n\ndef used():\n    KEPT[0] = KEPT[0] or slow()\n    return KEPT[0]\n"
        "\n\ndef slow():\n    return 1\n",
        "x.used()", "return 1", "return 3",
    ),
    "what an earlier tool has kept in an object of the standard library": (
        "import argparse\n\nKEPT = argparse.Namespace(n=0)\n\n\ndef used():\n    KEPT.n = KEPT.n or slow()\n    return KEPT.n\n"
        "\n\ndef slow():\n    return 1\n",
        "x.used()", "return 1", "return 3",
    ),
}  # fmt: skip
#: The same, with an edit that changes nothing for a tool.
UNCHANGED: dict[str, tuple[str, str, str, str]] = {
    "another function": (TWO, "x.used()", "return 2", "return 3"),
    "a new function": (TWO, "x.used()", "def unused", "def new(n: int = 1) -> int:\n    return n\n\n\ndef unused"),
    "a new function with the name of a builtin that is not used there": (
        TWO, "x.used()", "def unused", "def abs(n):\n    return n\n\n\ndef unused",
    ),
    "the implementation for another type": (DISPATCH, "x.used('')", "return 1", "return 3"),
    "the docstring of a method of an enum": (
        "import enum\n\n\nclass A(enum.Enum):\n    one = 1\n\n    def m(self):\n        return 1\n", "x.A.one.m()", "return 1",
        "'text'\n        return 1",
    ),
    "a function that goes": (TWO, "x.used()", "\n\ndef unused():\n    return 2\n", ""),
    "a function that is exported": ("__all__ = ['used', 'unused']\n\n\n" + TWO, "x.used()", "return 2", "return 3"),
    "another method": (
        "class A:\n    def m(self):\n        return 1\n\n    def other(self):\n        return 2\n", "x.A().m()", "return 2",
        "return 3",
    ),
    "a branch that was not taken calls it": (
        "def used():\n    return inner() if 1 > 2 else 1\n\n\ndef inner():\n    return 2\n", "x.used()", "return 2",
        "return 3",
    ),
    "a docstring": ('def used():\n    """One."""\n    return 1\n', "x.used()", "One.", "Two."),
    "a comment": (TWO, "x.used()", "def used", "# why\ndef used"),
    "types of a new function": (
        "from collections.abc import Iterator\n\n\n" + TWO, "x.used()", "def unused",
        "def new(n: Iterator[str] | None = None, m: dict[str, int] = {}) -> list[int]:\n    return []\n\n\ndef unused",
    ),
    "another function that a decorator of the module wraps": (WRAPS + WRAPPED, "x.used()", "return 2", "return 3"),
    "a new function that a decorator of the module wraps": (
        WRAPS + WRAPPED, "x.used()", "@wrap\ndef unused", "@wrap\ndef new():\n    return 3\n\n\n@wrap\ndef unused",
    ),
    "the default of a function that a branch that was not taken calls": (
        "def used():\n    return inner() if 1 > 2 else 1\n\n\ndef inner(n: int = 2):\n    return n\n", "x.used()",
        "n: int = 2", "n: float = 3",
    ),
    "the parameters of another function": (TWO, "x.used()", "def unused()", "def unused(n: str = '')"),
}  # fmt: skip

#: The same, with an edit after which the module cannot be loaded.
BROKEN: dict[str, tuple[str, str, str, str]] = {
    "a default of another function that cannot be evaluated": (
        "import json\n\n\n" + TWO, "x.used()", "def unused()", "def unused(n: json.Wrong = None)",
    ),
    "a default of another function that is not there yet": (
        TWO + "\n\nN = 1\n", "x.used()", "def unused()", "def unused(n=N)",
    ),
}  # fmt: skip


def make(project: Project, text: str, value: str) -> Path:
    return project({
        "src/lib/__init__.py": "",
        "src/lib/x.py": text,
        "src/a.py": TOOL.format(stage="a", name="a", value=value),
        "src/b.py": TOOL.format(stage="b", name="b", value=value),
        "out/.keep": "",
    })  # fmt: skip


def edit(root: Path, old: str, new: str) -> None:
    path = root / "src/lib/x.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("situation", CHANGED)
def test_an_edit_of_what_ran_is_seen(project: Project, orch: Orch, situation: str) -> None:
    text, value, old, new = CHANGED[situation]
    root = make(project, text, value)
    assert orch("run").code == 0
    edit(root, old, new)
    assert orch("run", "--changed").code == 0
    found = [(root / f"out/{name}.txt").read_text() for name in "ab"]
    assert orch("run").code == 0
    assert found == [(root / f"out/{name}.txt").read_text() for name in "ab"]


def test_functions_that_are_equal_and_of_two_files_are_two(project: Project, orch: Orch) -> None:
    root = make(project, "def other():\n    return 1\n", "(x.other(), y.used(), z.used())")
    for path in (root / "src/a.py", root / "src/b.py"):
        path.write_text(path.read_text().replace("import x", "import x, y, z"))
    for name in "yz":
        (root / f"src/lib/{name}.py").write_text(TWO)
    assert orch("run").code == 0
    for name, result in {"z": "(1, 1, 3)", "y": "(1, 3, 3)"}.items():
        (root / f"src/lib/{name}.py").write_text(TWO.replace("return 1", "return 3"))
        assert orch("run", "--changed").code == 0
        assert (root / "out/b.txt").read_text() == result


@pytest.mark.parametrize("situation", UNCHANGED)
def test_an_edit_of_what_did_not_run_concerns_no_tool(
    project: Project, orch: Orch, situation: str
) -> None:
    text, value, old, new = UNCHANGED[situation]
    root = make(project, text, value)
    assert orch("run").code == 0
    edit(root, old, new)
    assert "nothing to run" in orch("run", "--changed").text


def test_the_parameters_of_a_function_that_is_only_imported_do_not_count(
    project: Project, orch: Orch
) -> None:
    root = make(
        project, "from src.lib.y import unused\n\n\ndef used():\n    return 1\n", "x.used()"
    )
    (root / "src/lib/y.py").write_text(TWO)
    assert orch("run").code == 0
    (root / "src/lib/y.py").write_text(TWO.replace("unused()", "unused(n=1)"))
    assert "nothing to run" in orch("run", "--changed").text
    (root / "src/lib/y.py").write_text("def used():\n    return 1\n")
    assert orch("run", "--changed").code == 1


@pytest.mark.parametrize("situation", BROKEN)
def test_an_edit_that_breaks_the_module_is_seen(
    project: Project, orch: Orch, situation: str
) -> None:
    text, value, old, new = BROKEN[situation]
    root = make(project, text, value)
    assert orch("run").code == 0
    edit(root, old, new)
    assert orch("run", "--changed").code == 1


def test_the_reason_names_the_function(project: Project, orch: Orch) -> None:
    root = make(project, TWO, "x.used()")
    assert orch("run").code == 0
    edit(root, "return 1", "return 3")
    assert "used() in src/lib/x.py changed" in orch("status").text


def test_a_tool_that_keeps_its_earlier_work_counts_on_what_did_it(
    project: Project, orch: Orch
) -> None:
    value = "x.used() if not Path('out/made').exists() else Path('out/made').read_text()"
    text = "from pathlib import Path\n\n\ndef used():\n    Path('out/made').write_text('1')\n    return '1'\n"
    root = make(project, text, value)
    (root / "src/b.py").unlink()
    for _ in range(2):
        assert orch("run").code == 0
    edit(root, "return '1'", "return '3'")
    assert "used() in src/lib/x.py changed" in orch("status").text


def test_a_path_that_is_used_keeps_nothing(project: Project, orch: Orch) -> None:
    """It remembers its text and its hash."""
    text = "from pathlib import Path\n\nP = Path('x')\n\n\ndef used():\n    return str(P / 'y'), hash(P) and 1\n"
    root = make(project, text, "x.P.name")
    (root / "src/a.py").write_text(TOOL.format(stage="a", name="a", value="x.used()"))
    assert orch("run").code == 0
    edit(root, "and 1", "and 3")
    assert orch("status").text.count("used() in src/lib/x.py changed") == 1


#: What a module falls back to where a function is missing in another one, `y`.
FALLBACKS = {
    "import": "try:\n    from src.lib.y import new\nexcept ImportError:\n    from src.lib.z import new\n\n\ndef used():\n    return new()\n",
    "attribute": (
        "from src.lib import y\n\n\ndef used():\n    try:\n        return get()\n    except AttributeError:\n        return 1\n"
        "\n\ndef get():\n    return y.new()\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", FALLBACKS)
def test_a_function_that_comes_to_a_module_where_it_was_missing_is_seen(
    project: Project, orch: Orch, way: str
) -> None:
    root = make(project, FALLBACKS[way], "x.used()")
    (root / "src/lib/y.py").write_text(TWO)
    (root / "src/lib/z.py").write_text("def new():\n    return 1\n")
    assert orch("run").code == 0
    (root / "src/lib/y.py").write_text(f"{TWO}\n\ndef new():\n    return 3\n")
    assert orch("run", "--changed").code == 0
    assert (root / "out/b.txt").read_text() == "3"


@pytest.mark.parametrize("kind", ["bytecode", "archive"])
def test_a_module_without_source_counts_as_a_file(project: Project, orch: Orch, kind: str) -> None:
    root = make(project, "import sys\n\nsys.path.append('lib.zip')\nimport y\n", "x.y.f()")

    def build(number: int) -> None:
        source = root / "y.py"
        source.write_text(f"def f():\n    return {number}\n")
        if kind == "bytecode":
            py_compile.compile(str(source), cfile=str(root / "y.pyc"), doraise=True)
        else:
            with zipfile.ZipFile(root / "lib.zip", "w") as archive:
                archive.write(source, "y.py")
        source.unlink()

    build(1)
    assert orch("run").code == 0
    build(3)
    assert orch("run", "--changed").code == 0
    assert [(root / f"out/{name}.txt").read_text() for name in "ab"] == ["3", "3"]
