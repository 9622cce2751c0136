"""Project modules run as they are on disk now, whatever a bytecode file or a time stamp says."""

from __future__ import annotations

import importlib
import importlib.util
import json
import marshal
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.digest import content_hash
from discover_orch.worker.loader import ImportProblem, Loader
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.project_imports import ProjectLoader, write_bytecode
from tests.support.project_builder import clean_environment

Project = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture(autouse=True)
def _fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a loader changes of this process, put back."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "path_hooks", sys.path_hooks[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]
    sys.path_importer_cache.clear()


def install(root: Path, *pythonpath: str) -> Loader:
    folders = [str(root / one) if one else str(root) for one in pythonpath or ("",)]
    loader = Loader(ProjectCode(str(root), folders), nullcontext)
    loader.install()
    return loader


def forget(*modules: str) -> None:
    for module in modules:
        sys.modules.pop(module, None)


def test_200_equal_size_rewrites_are_each_seen(project: Project) -> None:
    root = project({"tool.py": "N = 1000\n"})
    path = root / "tool.py"
    loader = install(root)
    for number in range(1000, 1200):
        path.write_text(f"N = {number}\n")
        os.utime(path, (1, 1))
        tool = loader.load_tool("tool", "tool.py")
        assert number == tool.N
        forget("tool")
    hashes = [one for _, _, one in loader.drain_loaded()]
    assert hashes == [content_hash(b"N = %d\n" % number) for number in range(1000, 1200)]


def test_bytecode_is_used_where_its_hash_fits_and_only_there(project: Project) -> None:
    root = project({"tool.py": "N = 1\n"})
    path = root / "tool.py"
    loader = install(root)
    loader.load_tool("tool", "tool.py")
    write_bytecode()
    cached = Path(importlib.util.cache_from_source(str(path)))
    assert cached.read_bytes()[4:8] == b"\x03\0\0\0"  # judged by a hash, always checked (PEP 552)
    # Proof that it is used: put other code behind the same hash.
    header = cached.read_bytes()[:16]
    cached.write_bytes(header + marshal.dumps(compile("N = 'cached'", str(path), "exec")))
    forget("tool")
    assert loader.load_tool("tool", "tool.py").N == "cached"
    path.write_text("N = 2\n")
    forget("tool")
    assert loader.load_tool("tool", "tool.py").N == 2
    write_bytecode()
    assert importlib.util.source_hash(path.read_bytes()) == cached.read_bytes()[8:16]


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 15, b"x" * 16, None, b"stamp"],
    ids=["empty", "short", "foreign", "cut", "stamp"],
)
def test_damaged_and_foreign_bytecode_is_passed_over(project: Project, data: bytes | None) -> None:
    root = project({"tool.py": "N = 1\n"})
    loader = install(root)
    loader.load_tool("tool", "tool.py")
    write_bytecode()
    cached = Path(importlib.util.cache_from_source(str(root / "tool.py")))
    if data == b"stamp":
        py_compile.compile(str(root / "tool.py"), str(cached), doraise=True)
    else:
        cached.write_bytes(cached.read_bytes()[:-5] if data is None else data)
    forget("tool")
    assert loader.load_tool("tool", "tool.py").N == 1


def test_a_moved_project_has_its_new_paths(project: Project, tmp_path: Path) -> None:
    root = project({"tool.py": "def run(): pass\n"})
    install(root).load_tool("tool", "tool.py")
    moved = root.rename(tmp_path / "moved")
    forget("tool")
    run = install(moved).load_tool("tool", "tool.py").run
    assert run.__code__.co_filename == str(moved / "tool.py")


def test_no_bytecode_is_written_where_that_is_not_wanted_or_not_possible(project: Project) -> None:
    root = project({"one.py": "", "two.py": "", "__pycache__": "a file in the way"})
    loader = install(root)
    loader.load_tool("one", "one.py")
    write_bytecode()
    (root / "__pycache__").unlink()
    sys.dont_write_bytecode = True
    loader.load_tool("two", "two.py")
    write_bytecode()
    assert sorted(path.name for path in root.iterdir()) == ["one.py", "two.py"]


def test_packages_namespace_packages_and_relative_imports(project: Project) -> None:
    root = project(
        {
            "src/pack/__init__.py": "",
            "src/pack/tool.py": "from . import helper\nfrom ..lib.deep import thing\n",
            "src/pack/helper.py": "",
            "src/lib/deep/thing.py": "N = 7",  # no __init__ above it
        }
    )
    loader = install(root)
    assert loader.load_tool("src.pack.tool", "src/pack/tool.py").thing.N == 7
    assert [(module, path) for module, path, _ in loader.drain_loaded()] == [
        ("src.pack", "src/pack/__init__.py"),
        ("src.pack.tool", "src/pack/tool.py"),
        ("src.pack.helper", "src/pack/helper.py"),
        ("src.lib.deep.thing", "src/lib/deep/thing.py"),
    ]
    assert loader.drain_loaded() == ()


def test_installed_packages_inside_the_root_are_no_project_modules(project: Project) -> None:
    root = project(
        {
            "vendor/site-packages/installed.py": "",
            "env/pyvenv.cfg": "",
            "env/lib/inside.py": "",
            "own.py": "",
        }
    )
    loader = install(root, "", "vendor/site-packages", "env/lib")
    for name in ("installed", "inside", "own"):
        __import__(name)
    assert [module for module, _, _ in loader.drain_loaded()] == ["own"]
    assert not isinstance(sys.modules["installed"].__loader__, ProjectLoader)


def test_a_pythonpath_entry_outside_the_root_counts(project: Project, tmp_path: Path) -> None:
    root = project({"tool.py": "import beside"})
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/beside.py").write_text("")
    loader = Loader(
        ProjectCode(str(root), [str(root), str(tmp_path / "lib")]),
        nullcontext,
    )
    loader.install()
    loader.load_tool("tool", "tool.py")
    assert [path for _, path, _ in loader.drain_loaded()] == ["tool.py", "../lib/beside.py"]


def test_a_module_made_a_moment_ago_is_found(project: Project) -> None:
    root = project({"first.py": ""})
    loader = install(root)
    loader.load_tool("first", "first.py")
    for number in range(40):
        with pytest.raises(ModuleNotFoundError):
            __import__(f"made{number}")
        (root / f"made{number}.py").write_text("")
        loader.load_tool(f"made{number}", f"made{number}.py")


def test_a_module_of_another_place_is_not_taken_for_the_tool(project: Project) -> None:
    root = project({"json.py": "def run(): pass\n"})
    import json  # noqa: F401 - so that the name is taken

    with pytest.raises(
        ImportProblem, match=r"Python finds the module json in .*, not in json\.py"
    ) as told:
        install(root).load_tool("json", "json.py")
    assert "rename json.py" in told.value.hint


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("import helpers", 'helpers is in src/: write src.helpers, or add "src" to pythonpath'),
        (
            "import helpers.deep",
            'helpers is in src/: write src.helpers, or add "src" to pythonpath',
        ),
        ("from lone import x", 'lone is in src/: write src.lone, or add "src" to pythonpath'),
        ("import nowhere_to_be_found", "if nowhere_to_be_found is a library, install"),
        ("import json.nothing", ""),
        ("from json import nothing", ""),
    ],
)
def test_a_missing_module_has_a_hint(project: Project, source: str, hint: str) -> None:
    root = project({"tool.py": source, "src/helpers/__init__.py": "", "src/lone.py": ""})
    loader = install(root)
    with pytest.raises(ImportError) as told:
        loader.load_tool("tool", "tool.py")
    assert loader.find_import_hint(told.value).startswith(hint)
    assert bool(loader.find_import_hint(told.value)) == bool(hint)


def test_orchconf_is_one_module_for_orch_and_for_tools(project: Project) -> None:
    root = project({"orchconf.py": "SEEN = []\n", "tool.py": "import orchconf\n"})
    loader = install(root)
    conf: Any = loader.load_conf(str(root / "orchconf.py"))
    assert loader.load_tool("tool", "tool.py").orchconf is conf
    assert loader.load_conf(str(root / "orchconf.py")) is conf
    assert [path for _, path, _ in loader.drain_loaded()] == ["orchconf.py", "tool.py"]


def test_an_orchconf_that_raises_is_not_left_half_done(project: Project) -> None:
    root = project({"orchconf.py": "1 / 0\n"})
    with pytest.raises(ZeroDivisionError):
        install(root).load_conf(str(root / "orchconf.py"))
    assert "orchconf" not in sys.modules


def test_source_in_another_encoding(project: Project) -> None:
    root = project({"tool.py": "# coding: latin-1\nWORD = 'caf\xe9'\n".encode("latin-1")})
    assert install(root).load_tool("tool", "tool.py").WORD == "café"


# What is installed.


def test_installed_modules_are_told_when_they_have_come_and_only_once(project: Project) -> None:
    root = project(
        {
            "tool.py": "import helper, whole.part\n",
            "helper.py": "",
            "whole/part.py": "",
            "env/site-packages/placed/__init__.py": "",
            "env/site-packages/single.py": "",
        }
    )
    loader = install(root, "", "env/site-packages")
    loader.drain_third_party()
    loader.load_tool("tool", "tool.py")
    assert loader.drain_third_party() == ()
    importlib.import_module("single")
    importlib.import_module("placed")
    assert loader.drain_third_party() == ("placed", "single")
    forget("single")
    importlib.import_module("single")
    assert loader.drain_third_party() == ()


def test_modules_of_any_kind_do_no_harm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError

    loader = install(project({}))
    loader.drain_third_party()
    for name, one in (("odd", Odd()), ("none", None), ("made", type(sys)("made"))):
        monkeypatch.setitem(sys.modules, name, one)
    assert loader.drain_third_party() == ()


def test_what_is_loaded_already_is_told_the_first_time(project: Project) -> None:
    """In a spare the imports are done before anything is asked."""
    arrived = install(project({})).drain_third_party()
    assert {"pytest", "_pytest"} <= {*arrived}
    assert not {"json", "os", "discover_orch", "sys", "__main__"} & {*arrived}


# Imports ahead of a run, in a process of their own, as a warm worker does them.

PROGRAM = """
import json, os, sys
from discover_orch.worker.loader import preload
from discover_orch.worker.protocol import Preload

class Capture:
    def __init__(self):
        self.out, self.err, self.calls = os.dup(1), os.dup(2), 0
    def restore(self):  # flushes first, as the worker's does
        sys.stdout.flush()
        os.dup2(self.out, 1)
        os.dup2(self.err, 2)
        self.calls += 1

root, pythonpath, modules, out = json.loads(sys.argv[1])
capture = Capture()
order = Preload(
    root=root,
    pythonpath=tuple(pythonpath),
    modules=tuple((name, tuple(names)) for name, names in modules),
)
told = preload(order, capture.restore)
print("captured again")
answer = {
    "rows": [[name, problem] for name, _, problem in told.modules],
    "times": [seconds for _, seconds, _ in told.modules],
    "shadowed": told.shadowed,
    "calls": capture.calls,
    "cwd": os.getcwd(),
    "modules": sorted(sys.modules),
    "path": sys.path,
}
with open(out, "w") as file:
    json.dump(answer, file)
"""


class Preloaded:
    """What came of importing these modules, all of them installed in `site-packages`."""

    def __init__(
        self,
        project: Path,
        *modules: str | tuple[str, Sequence[str]],
        pythonpath: Collection[str] = (),
        root: str = "",
        editable: str = "",
    ) -> None:
        wanted = [(one, ()) if isinstance(one, str) else one for one in modules]
        out = project / "answer.json"
        entries = [str(project / entry) for entry in pythonpath]
        told = json.dumps([root or str(project), entries, wanted, str(out)])
        package = str(Path(__file__).parents[3])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, told],
            cwd="/",
            env=clean_environment(
                PYTHONPATH=os.pathsep.join(
                    [
                        package,
                        str(project / "site-packages"),
                        *([str(project / editable)] if editable else []),
                    ]
                )
            ),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(out.read_text())
        self.rows = dict(answer["rows"])
        self.order = [name for name, _ in answer["rows"]]
        self.times: list[float] = answer["times"]
        self.shadowed = tuple(answer["shadowed"])
        self.calls: int = answer["calls"]
        self.cwd: str = answer["cwd"]
        self.modules = set(answer["modules"])
        self.path: list[str] = answer["path"]
        self.out, self.err = done.stdout, done.stderr


def test_modules_are_imported_in_order_each_with_its_time(project: Project) -> None:
    root = project(
        {
            "site-packages/one.py": "",
            "site-packages/two/__init__.py": "",
            "site-packages/two/sub.py": "",
        }
    )
    told = Preloaded(root, "two.sub", "one", "json")
    assert told.rows == {"two.sub": "", "one": "", "json": ""}
    assert told.order == ["two.sub", "one", "json"]
    assert all(seconds >= 0 for seconds in told.times)
    assert {"two", "two.sub", "one"} <= told.modules


def test_names_of_a_from_import_that_are_modules_are_imported_too(project: Project) -> None:
    root = project(
        {
            "site-packages/pack/__init__.py": "X = 1\n",
            "site-packages/pack/sub.py": "",
            "site-packages/pack/no.py": "",
        }
    )
    told = Preloaded(root, ("pack", ["sub", "X", "absent"]))
    assert told.rows == {"pack": ""}
    assert "pack.sub" in told.modules
    assert "pack.no" not in told.modules


def test_output_of_imports_ahead_is_dropped(project: Project) -> None:
    loud = """
        import os, sys
        print("hello")
        print("hello", file=sys.stderr)
        os.write(1, b"hello")
        os.write(2, b"hello")
        os.system("echo hello")
    """
    told = Preloaded(project({"site-packages/loud.py": loud}), "loud")
    assert told.rows == {"loud": ""}
    assert "hello" not in told.out + told.err


def test_afterwards_the_output_is_captured_again_even_where_an_import_failed(
    project: Project,
) -> None:
    told = Preloaded(project({"site-packages/bad.py": "1 / 0\n"}), "bad")
    assert told.calls == 1
    assert told.out.endswith("captured again\n")


def test_an_import_that_raises_or_exits_is_a_row_with_its_problem(project: Project) -> None:
    root = project(
        {
            "site-packages/raises.py": "raise ValueError('no')\n",
            "site-packages/exits.py": "import sys\nsys.exit('usage')\n",
            "site-packages/stops.py": "raise KeyboardInterrupt\n",
            "site-packages/broken.py": "x = (\n",
            "site-packages/long.py": "raise ValueError('x' * 999)\n",
            "site-packages/good.py": "",
        }
    )
    told = Preloaded(root, "raises", "exits", "stops", "broken", "absent", "long", "good")
    assert told.rows["raises"] == "ValueError: no"
    assert told.rows["exits"] == "SystemExit: usage"
    assert told.rows["stops"] == "KeyboardInterrupt: "
    assert told.rows["broken"].startswith("SyntaxError: ")
    assert told.rows["absent"] == "ModuleNotFoundError: No module named 'absent'"
    assert len(told.rows["long"]) == 200
    assert told.rows["good"] == ""


def test_imports_happen_in_the_root_and_it_stays_the_working_directory(project: Project) -> None:
    root = project({"site-packages/where.py": "import os\nopen('here', 'w').close()\n"})
    told = Preloaded(root, "where")
    assert (root / "here").exists()
    assert told.cwd == str(root)


def test_a_root_that_is_gone_imports_nothing(project: Project) -> None:
    root = project({"site-packages/one.py": ""})
    told = Preloaded(root, "one", root=str(root / "gone"))
    assert told.rows == {}
    assert "one" not in told.modules


def test_pythonpath_is_not_put_on_the_path_of_imports(project: Project) -> None:
    root = project({"src/mine.py": ""})
    told = Preloaded(root, "mine", pythonpath=["src"])
    assert told.rows["mine"].startswith("ModuleNotFoundError")
    assert str(root / "src") not in told.path


# Modules of the project that bear the name of one that was imported.


def test_a_module_that_the_project_would_have_given_is_told(project: Project) -> None:
    root = project(
        {
            "site-packages/one.py": "import two\n",
            "site-packages/two.py": "",
            "src/two.py": "",
            "src/three.py": "",
        }
    )
    assert Preloaded(root, "one", pythonpath=["src", "nowhere"]).shadowed == ("two",)


def test_so_is_a_package_and_a_folder_without_init(project: Project) -> None:
    root = project(
        {
            "site-packages/one.py": "",
            "site-packages/two.py": "",
            "src/one/__init__.py": "",
            "two/x.txt": "",
        }
    )
    assert Preloaded(root, "one", "two", pythonpath=["src", "."]).shadowed == ("one", "two")


def test_modules_imported_before_are_not_shadowed(project: Project) -> None:
    root = project({"src/os.py": "", "src/json.py": "", "site-packages/one.py": ""})
    assert Preloaded(root, "one", "json", pythonpath=["src"]).shadowed == ()


def test_an_editable_package_is_not_imported_ahead(project: Project) -> None:
    root = project(
        {"src/mine.py": "", "site-packages/one.py": "", "site-packages/two.py": "import mine\n"}
    )
    told = Preloaded(root, "one", "mine", "two", editable="src")
    assert told.rows == {"one": "", "two": ""}
    assert told.shadowed == ("mine",)
