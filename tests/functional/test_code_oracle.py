"""Promise C13: the code of a tool never counts as unchanged when it is not.

Hypothesis makes small projects full of the traps of imports, and edits of them. The oracle is Python itself:
one long-lived process forks for each version, really imports each tool there and says what it saw: all values
that it can reach through modules and functions, or the exception. The code of a tool that sees something else after
the edit has to be another one. And what an `ImportGraph` knows step by step must be what a new one finds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.discovery.source_files import PythonPath
from discover_orch.model.tool import Tool
from discover_orch.staleness.import_graph import CodeState, ImportGraph
from tests.support.project_builder import clean_environment

ORACLE = r"""
import importlib, json, os, sys, types
sys.dont_write_bytecode = True
ours = set(sys.modules)

def observe(module, root):
    known = {}
    def show(value, depth):
        if isinstance(value, types.ModuleType):
            name = value.__name__
            if name in ours:
                return name
            if name not in known:
                known[name] = len(known)
                file = getattr(value, "__file__", None) or ""
                if file and not file.startswith(root):
                    return name + " of others"
                names = sorted(one for one in vars(value) if not one.startswith("__"))
                return [name, file, [[one, show(vars(value).get(one), depth)] for one in names]]
            return name
        if isinstance(value, types.FunctionType):
            if depth > 3 or value.__code__.co_argcount:
                return "function"
            try:
                return show(value(), depth + 1)
            except Exception as error:
                return repr(error)
        return repr(value) if isinstance(value, (int, str, tuple, list)) else type(value).__name__
    try:
        return show(importlib.import_module(module), 0)
    except RecursionError:
        return "RecursionError"
    except BaseException as error:
        return repr(error)

for line in sys.stdin:
    root, entries, tools = json.loads(line)
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        sys.path[:0] = [os.path.normpath(os.path.join(root, one)) for one in entries]
        said = {}
        for tool in tools:
            said[tool] = observe(tool, root)
            for name in set(sys.modules) - ours:
                del sys.modules[name]
        with os.fdopen(send, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    print(text, flush=True)
"""

NAMES = ["a", "b", "p", "q", "p.a", "p.b", "p.s", "p.s.a", "q.a", "a.b", "src.a", "src.p.a"]
STRANGERS = ["zz", "zz.y", "colorsys"]
PATHS = [
    prefix + path
    for prefix in ("", "src/")
    for path in (
        *("a.py", "b.py", "p.py", "p/__init__.py", "p/a.py", "p/b.py", "p/s/__init__.py"),
        *("p/s/a.py", "p/s.py", "q/a.py", "q/__init__.py", "q.py", "a/__init__.py", "a/b.py"),
    )
]
RARE_PATHS = ["colorsys.py", "zz.py", "zz/y.py", "zz/note.txt", "src/zz/y.py", "src/__init__.py"]
#: The name of a module that cannot be read from the source.
UNREAD = "'a' + ''"
TOOLS = ["t1.py", "src/t2.py", "p/t.py", "src/p/t.py", "p/s/t.py"]


def _statements() -> list[str]:
    found = ["V = 1", "V = 2", "V = 3", "a = 4", "b = 5", "__all__ = ['a', 'V']", "__all__ = ['s']"]
    for name in NAMES + STRANGERS:
        function = f"def f():\n    import {name}\n    return {name}.V"
        dynamic = f"import importlib\nM = importlib.import_module('{name}')"
        plain = [f"import {name}", f"from {name} import V", f"from {name} import *"]
        found += [*plain, f"from {name} import f as g", function, dynamic]
        found += [f"try:\n    {one}\nexcept ImportError:\n    X = 0" for one in plain]
        found += [
            f"def f():\n    from {name} import a, b\n    return a",
            f"m = __import__('{name}')",
        ]
    froms = ["from p import a", "from p import s", "from p.s import a", "from a import b"]
    froms += ["from q import a", "from . import a", "from .a import V", "from .s import V"]
    froms += ["from .. import a", "from ..a import V", "from .s import a", "from . import *"]
    froms += [
        "from src import a",
        "from src.p import a, b",
        "from p import zz",
        "from .zz import y",
    ]
    found += froms + [f"try:\n    {one}\nexcept ImportError:\n    X = 0" for one in froms]
    found += [f"def g():\n    {one.replace('*', 'b')}\n    return 1" for one in froms]
    found.append("import importlib\nM = importlib.import_module('.a', __package__)")
    found.append("def __getattr__(name):\n    import a\n    return a.V")
    found.append(f"import importlib\nM = importlib.import_module({UNREAD})")
    return found


def _soft(statements: list[str]) -> str:
    """Each by itself, so that one that fails does not hide the others; none overwrites what another made."""
    text = ""
    for number, statement in enumerate(statements):
        own = statement.replace("def f()", f"def f{number}()").replace(
            "def g()", f"def g{number}()"
        )
        own = own.replace("M = ", f"M{number} = ").replace("m = ", f"m{number} = ")
        indented = "\n    ".join(own.split("\n"))
        text += f"try:\n    {indented}\nexcept Exception as e:\n    E{number} = repr(e)\n"
        text += f"S{number} = globals().get('V')\n"
    return text


statements = st.lists(st.sampled_from(_statements()), max_size=4)
texts = st.one_of(statements.map("\n".join), statements.map(_soft))
tool_texts = st.lists(st.sampled_from(_statements()), min_size=2, max_size=6).map(_soft)
paths = st.one_of(
    st.sampled_from(PATHS), st.sampled_from(PATHS), st.sampled_from(RARE_PATHS + TOOLS)
)
trees = st.dictionaries(st.sampled_from(PATHS), texts, min_size=3, max_size=12)
edits = st.one_of(
    st.tuples(st.just("write"), paths, texts),
    st.tuples(st.just("rewrite"), st.integers(0, 99), texts),
    st.tuples(st.just("delete"), st.integers(0, 99), st.booleans()),
    st.tuples(st.just("shadow"), st.integers(0, 99), texts),
    st.tuples(st.just("shadow"), st.integers(0, 99), texts),
    st.tuples(st.just("missing"), st.integers(0, 99), texts),
    st.tuples(st.just("missing"), st.integers(0, 99), texts),
    st.tuples(st.just("move"), st.integers(0, 99), paths),
    st.tuples(st.just("package"), st.integers(0, 99), st.none()),
    st.tuples(st.just("break"), st.integers(0, 99), st.none()),
    st.tuples(st.just("comment"), st.integers(0, 99), st.none()),
    st.tuples(st.just("append"), st.integers(0, 99), texts),
)
worlds = st.tuples(
    st.sampled_from([[".", "src"], ["src", "."], ["."], ["src"]]),
    trees,
    st.dictionaries(st.sampled_from(TOOLS), tool_texts, min_size=1, max_size=3),
    st.lists(st.lists(edits, min_size=1, max_size=3), min_size=1, max_size=3),
)


class Oracle:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = count()
        self.different = 0
        self.compared = 0
        self.too_many = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", ORACLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def ask(self, root: Path, entries: list[str], tools: list[str]) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([os.fspath(root), entries, tools]) + "\n")
        self.process.stdin.flush()
        said: dict[str, object] = json.loads(self.process.stdout.readline())
        return said

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    made = Oracle(tmp_path_factory.mktemp("oracle"))
    yield made
    made.close()


World = tuple[list[str], dict[str, str], dict[str, str], list[list[tuple[str, object, object]]]]


def check(oracle: Oracle, world: World) -> None:
    entries, tree, tools, rounds = world
    root = oracle.folder / f"n{next(oracle.numbers)}"
    root.mkdir()
    try:
        files: dict[str, str] = {}
        for path, text in {**tree, **tools}.items():
            _write(root, files, path, text)
        project, problems = Project.from_table(
            {"pythonpath": entries}, root=os.fspath(root), config="orch.toml", environ={}
        )
        assert problems == ()
        space = PythonPath(project)
        live = ImportGraph(project)
        found = _tools(files, space)
        codes = live.read_code(found)
        said = oracle.ask(root, entries, [*found])
        for batch in rounds:
            old = dict(files)
            old_folders = _folders(root)
            missing = live.missing
            for kind, where, what in batch:
                _edit(root, files, missing, kind, where, what)
            touched = {path for path in {*old, *files} if old.get(path) != files.get(path)}
            live.refresh({*touched, *(old_folders ^ _folders(root))})
            found_now = _tools(files, space)
            codes_now = live.read_code(found_now)
            said_now = oracle.ask(root, entries, [*found_now])
            for name in found_now:
                oracle.compared += 1
                # A folder that becomes a package without any module in it has no code.
                is_other = (
                    name not in found
                    or live.missing != missing
                    or _differ(codes[name], codes_now[name], files)
                )
                if all(str(one.get(name)).startswith("SyntaxError(") for one in (said, said_now)):
                    continue  # it runs neither before nor after, so there is no success to keep
                if name not in found or said[name] != said_now[name]:
                    oracle.different += 1
                    assert is_other, (
                        f"{name} has the same code after changes of {sorted(touched)}:\n{said.get(name)}\n"
                        f"{said_now[name]}\nbefore {codes.get(name)}\nafter {codes_now[name]}"
                    )
                elif is_other:
                    oracle.too_many += 1
            if not any(_is_broken(live, path) for path in files):
                anew = ImportGraph(project)
                assert anew.read_code(found_now) == codes_now
                assert anew.missing <= live.missing
            found, codes, said = found_now, codes_now, said_now
    finally:
        shutil.rmtree(root)


def _write(root: Path, files: dict[str, str], path: str, text: str) -> None:
    """Nothing where a file stands in the place of the folder, or the other way round."""
    full = root / path
    try:
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        files[path] = text
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        pass


def _delete(root: Path, files: dict[str, str], path: str, is_tidy: bool) -> None:
    (root / path).unlink()
    del files[path]
    folder = (root / path).parent
    while is_tidy and folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _edit(
    root: Path,
    files: dict[str, str],
    missing: frozenset[str],
    kind: str,
    where: object,
    what: object,
) -> None:
    if kind == "write":
        _write(root, files, str(where), str(what))
        return
    assert isinstance(where, int)
    if not files:
        return
    if kind == "missing":
        names = sorted(missing)
        name = names[where % len(names)] if names else "zz/"
        _write(root, files, name + "y.py" if name.endswith("/") else name, str(what))
        return
    path = sorted(files)[where % len(files)]
    text = files[path]
    match kind:
        case "rewrite":
            _write(root, files, path, str(what))
        case "delete":
            _delete(root, files, path, bool(what))
        case "move":
            _delete(root, files, path, True)
            _write(root, files, str(what), text)
        case "package":
            if path.endswith(".py") and not path.endswith("__init__.py"):
                _delete(root, files, path, True)
                _write(root, files, path[:-3] + "/__init__.py", text)
        case "shadow":  # a package beside the module, or the same in the other folder
            if where % 2 and path.endswith(".py") and not path.endswith("__init__.py"):
                _write(root, files, path[:-3] + "/__init__.py", str(what))
            else:
                _write(root, files, path[4:] if path[:4] == "src/" else f"src/{path}", str(what))
        case "break":
            _write(root, files, path, text + "\n(")
        case "comment":
            _write(root, files, path, f"# a comment\n{text}\n\n")
        case "append":
            _write(root, files, path, f"{text}\n{what}")


def _differ(one: CodeState, other: CodeState, files: dict[str, str]) -> bool:
    """A module that is imported by a name that cannot be read counts once it was seen to be loaded."""
    texts = [files.get(path, "") for path in other.meanings]
    has_unread = any(UNREAD in text for text in texts)
    return has_unread or one.meanings != other.meanings


def _folders(root: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(above, one), root) + "/"
        for above, folders, _ in os.walk(root)
        for one in folders
    }


def _is_broken(graph: ImportGraph, path: str) -> bool:
    source = graph.files.read(path)
    return source is not None and source.problem is not None


def _tools(files: dict[str, str], space: PythonPath) -> dict[str, Tool]:
    found = {}
    for path in sorted(files):
        if path in TOOLS and (name := space.name(path)):
            found[name] = Tool(module=name, path=path, line=1, name=name, stages=("s",))
    return found


def _run(oracle: Oracle, examples: int, number: int) -> None:
    print(f"seed {number}")
    options = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )

    @seed(number)
    @options
    @given(worlds)
    def run(world: World) -> None:
        check(oracle, world)

    run()
    print(f"{oracle.compared} compared, {oracle.different} different, {oracle.too_many} too many")
    assert oracle.different > oracle.compared // 10  # else it proves nothing


def test_another_syntax_error_in_a_module_that_is_imported_softly_is_other_code(
    oracle: Oracle,
) -> None:
    tree = {"a.py": "import p.s", "p/s/__init__.py": "V = ("}
    tools = {"p/t.py": _soft(["import a"])}
    check(oracle, (["."], tree, tools, [[("rewrite", 1, "\n\nV = ]")]]))
    assert oracle.different == 1


def test_the_code_never_counts_as_unchanged_when_it_is_not(oracle: Oracle) -> None:
    _run(oracle, 25, 20240131)


@pytest.mark.slow
def test_the_code_never_counts_as_unchanged_when_it_is_not_in_250_worlds(oracle: Oracle) -> None:
    _run(oracle, 250, 20240131)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_code_never_counts_as_unchanged_when_it_is_not_full(oracle: Oracle) -> None:
    _run(oracle, 5000, int(os.environ.get("SEED", random.randrange(2**32))))
