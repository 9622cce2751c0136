"""The files whose change makes a tool stale: its module and all of the project that it imports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discover_orch.config.project import Project
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.discovery.tree import read_file_mark
from discover_orch.model.encoding import content_hash
from discover_orch.source.facts import ImportFact
from discover_orch.staleness.import_graph import ImportGraph, project_sources
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files


def sources(root: Path, *modules: str, **table: object) -> dict[str, list[str]]:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return project_sources(project, {one: [one] for one in modules}, SourceFiles(project))


def test_the_code_of_a_tool_is_all_that_its_imports_reach(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            **{f"src/t{n}.py": f"import a{n % 3}\nimport json\nX = {n}" for n in range(7)},
            **{f"src/a{n}.py": "import b, broken" for n in range(3)},
            "src/b.py": "import a1, pandas",
            "src/broken.py": "import b\n)",
        },
    )
    table = {"pythonpath": ["src"]}
    project, _ = Project.from_table(table, root=str(tmp_path), config="orch.toml", environ={})
    graph = ImportGraph(project)
    codes = graph.read_code([f"t{n}" for n in range(7)])
    assert codes["t4"].meanings.keys() == {*("src/t4.py", "src/a1.py", "src/b.py", "src/broken.py")}
    assert [*graph.files.problems] == ["src/broken.py"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "from src import b", "src/b.py": "import c", "c.py": ""})
    (tmp_path / "src/b.py").chmod(0)
    assert run_bound(lambda: repr(sources(tmp_path, "src.a"))) == repr(
        {"src.a": ["src/a.py", "src/b.py"]}
    )


def test_what_a_scan_has_found_changes_no_answer(tmp_path: Path) -> None:
    """It spares a look at the disk, where a package still comes before a module, and an absent file is none."""
    write_files(
        tmp_path,
        {
            "src/a.py": "import gone, both, single",
            "src/both.py": "",
            "src/both/__init__.py": "",
            "src/single.py": "",
        },
    )
    paths = ("src/a.py", "src/both.py", "src/single.py", "src/gone.py")
    marks = {path: read_file_mark(str(tmp_path / path)) for path in paths}
    table = {"pythonpath": ["src"]}
    project, _ = Project.from_table(table, root=str(tmp_path), config="orch.toml", environ={})
    files = SourceFiles(project)
    files.marks = marks
    plain, spared = ImportGraph(project), ImportGraph(project, files)
    assert spared.read_code(["a"]) == plain.read_code(["a"])
    assert plain.reach("a") == {"src/a.py", "src/both/__init__.py", "src/single.py"}
    assert {*spared.missing} <= {*plain.missing}
    assert "src/gone.py" in spared.missing
    write_files(tmp_path, {"src/gone.py": ""})
    spared.refresh(["src/gone.py"])
    assert "src/gone.py" in spared.reach("a")


# Step by step, as watch asks.


def open_sources(root: Path, **table: object) -> ImportGraph:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return ImportGraph(project)


def test_a_source_says_what_the_file_holds(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "import b  # why\n", "src/c.py": "import b\n"})
    found = open_sources(tmp_path)
    source, other = found.files.read("src/a.py"), found.files.read("src/c.py")
    assert source is not None
    assert other is not None
    assert source.problem is None
    assert source.hash == content_hash(b"import b  # why\n")
    assert source.imports == (ImportFact("b"),)
    assert found.files.names("src/a.py") == ("b",)
    assert source.meaning == other.meaning
    assert source.hash != other.hash
    assert found.files.read("src/a.py") is source


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py/": "", "b.txt": ""})
    os.mkfifo(tmp_path / "c.py")
    found = open_sources(tmp_path)
    for path in ("a.py", "b.txt", "c.py", "d.py", "b.txt/e.py", "\0.py"):
        assert found.files.read(path) is None
        assert found.files.look_at(path) is None
        assert found.files.refresh(path) is None


@pytest.mark.parametrize("text", ["import c\n)", "\0", "<<<<<<< ours\n"])
def test_a_broken_file_keeps_its_last_edges_and_says_what_is_wrong(
    tmp_path: Path, text: str
) -> None:
    write_files(tmp_path, {"a.py": "import b", "b.py": "import c", "c.py": "", "d.py": ""})
    found = open_sources(tmp_path)
    before = found.read_code(["a"])["a"].meanings
    good = found.files.read("b.py")
    (tmp_path / "b.py").write_text(text)
    found.refresh(["b.py"])
    broken = found.files.read("b.py")
    assert broken is not None
    assert good is not None
    assert broken.problem is not None
    assert str(broken.problem.location).startswith("b.py:")
    assert (broken.meaning, broken.imports) == (good.meaning, good.imports)
    assert broken.hash == content_hash(text.encode())
    assert [*found.files.problems] == ["b.py"]
    assert found.read_code(["a"], is_tolerant=True)["a"].meanings == before
    assert found.read_code(["a"])["a"].meanings == {**before, "b.py": broken.hash}
    write_files(tmp_path, {"b.py": "import d"})
    found.refresh(["b.py"])
    assert not found.files.problems
    assert found.reach("a") == {"a.py", "b.py", "d.py"}


MISSING = [
    # (files, text of tool.py, pythonpath, what is missing besides tool/__init__.py)
    ({}, "import zz", ["."], {"zz.py", "zz/__init__.py", "zz/"}),
    ({}, "import zz.y.x\nfrom zz import w", ["."], {"zz.py", "zz/__init__.py", "zz/"}),
    ({}, "import sys, builtins", ["."], set()),
    ({}, "from re import sub", ["."], {"re.py", "re/__init__.py", "re/"}),
    ({"a.py": ""}, "import a", ["."], {"a/__init__.py"}),
    ({"a.py": ""}, "from a import x", ["."], {"a/__init__.py"}),
    ({"a/__init__.py": ""}, "import a", ["."], set()),
    (
        {"a/__init__.py": ""},
        "from a import x",
        ["."],
        {"a/x.py", "a/x/__init__.py", "a/x/"},
    ),
    ({"a/b.py": ""}, "import a.b", ["."], {"a.py", "a/__init__.py", "a/b/__init__.py"}),
    (
        {"lib/a.py": ""},
        "import a",
        [".", "lib"],
        {"a.py", "a/__init__.py", "lib/a/__init__.py", "lib/tool.py", "lib/tool/"},
    ),
    (
        {"lib/a/b.py": "", "a/c.txt": ""},
        "import a.c",
        [".", "lib"],
        {
            *("a.py", "a/__init__.py", "lib/a.py", "lib/a/__init__.py"),
            *("a/c.py", "a/c/", "a/c/__init__.py", "lib/a/c.py", "lib/a/c/", "lib/a/c/__init__.py"),
        },
    ),
]


@pytest.mark.parametrize(("files", "text", "entries", "missing"), MISSING)
def test_missing_is_what_would_change_what_is_imported(
    tmp_path: Path, files: dict[str, str], text: str, entries: list[str], missing: set[str]
) -> None:
    write_files(tmp_path, {**files, "tool.py": text})
    found = open_sources(tmp_path, pythonpath=entries)
    found.reach("tool")
    assert found.missing - {"lib/tool.py", "lib/tool/", "lib/tool/__init__.py"} == (
        {"tool/__init__.py", *missing} - {"lib/tool.py", "lib/tool/", "lib/tool/__init__.py"}
    )


def test_a_file_that_somebody_read_before_is_still_noticed(tmp_path: Path) -> None:
    write_files(tmp_path, {"tool.py": "import zz"})
    found = open_sources(tmp_path)
    found.reach("tool")
    write_files(tmp_path, {"zz.py": ""})
    found.files.read("zz.py")
    found.refresh(["zz.py"])
    assert found.reach("tool") == {"tool.py", "zz.py"}


def test_a_file_imported_under_two_names_has_two_neighbours(tmp_path: Path) -> None:
    files = {"src/tool.py": "import src.p.a\nimport p.a", "src/p/a.py": "from . import b"}
    write_files(tmp_path, {**files, "src/p/b.py": "", "p/b.py": "", "p/__init__.py": ""})
    found = open_sources(tmp_path, pythonpath=["src", "."])
    assert found.reach("src.tool") >= {"src/p/a.py", "src/p/b.py"}


def test_orchconf_is_found_at_the_root(tmp_path: Path) -> None:
    write_files(tmp_path, {"orchconf.py": "import a", "src/a.py": "", "src/orchconf.py": ""})
    found = open_sources(tmp_path, pythonpath=["src"])
    assert found.reach("orchconf") == {"orchconf.py", "src/a.py"}


@pytest.mark.parametrize("name", ["a/b", "", "..", "a..b", "\0", "\ud800", "a" * 300])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"tool.py": f"__import__({name!a})", "a/b.py": ""})
    found = open_sources(tmp_path)
    assert found.reach("tool") == {"tool.py"}
    assert found.reach(name) == frozenset()


def test_third_party_is_what_a_spare_can_import_before(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "a.py": """
                from __future__ import annotations
                import tkinter.ttk, discover_orch, lib.c
                from pandas import DataFrame, Series
                from pandas import Index, DataFrame
                from numpy import *
                import pandas.io as io
                try:
                    import fast
                except ImportError:
                    from b import slow
                def run():
                    import lazy
                    import lib.late
                import __main__
            """,
            "b.py": "import json",
            "lib/c.py": "import os.path",
            "lib/late.py": "import later",
        },
    )
    found = open_sources(tmp_path)
    assert found.third_party(["a"]) == (
        ("pandas", ("DataFrame", "Series", "Index")),
        ("numpy", ()),
        ("pandas.io", ()),
        ("fast", ()),
        ("os.path", ()),
        ("json", ()),
        ("later", ()),
    )
    assert found.third_party(["nowhere"]) == ()


def test_third_party_names_are_those_that_the_project_does_not_have(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "src/a.py": "import json, own.x, plain\nfrom src import b\ndef f():\n    import click.core",
            "src/b.py": "",
            "own/x.py": "import numpy.linalg as n",
            "plain/": "",
        },
    )
    code = open_sources(tmp_path).read_code(["src.a"])["src.a"]
    assert code.third_party == {"click", "numpy", "plain"}  # an installed `plain` would come first
