"""The files whose change makes a tool stale: its module and all of the project that it imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.project import Project
from discover_orch.sources import project_sources
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files


def sources(root: Path, *modules: str, **table: object) -> dict[str, list[str]]:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return project_sources(project, modules)


def test_all_that_is_imported_on_the_way_counts(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "src/__init__.py": "",
            "src/a.py": "import json, os\nfrom . import b\ndef run():\n    import lib.deep.c",
            "src/b.py": "from .d import x",
            "src/d.py": "import src.b",
            "lib/__init__.py": "",
            "lib/deep/__init__.py": "",
            "lib/deep/c.py": "",
            "src/other.py": "",
        },
    )
    assert sources(tmp_path, "src.a", "src.other") == {
        "src.a": [
            *("lib/__init__.py", "lib/deep/__init__.py", "lib/deep/c.py"),
            *("src/__init__.py", "src/a.py", "src/b.py", "src/d.py"),
        ],
        "src.other": ["src/__init__.py", "src/other.py"],
    }


def test_a_package_imports_relative_to_itself(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"src/p/__init__.py": "from . import q", "src/p/q.py": "", "src/q.py": ""}
    )
    assert sources(tmp_path, "src.p") == {"src.p": ["src/p/__init__.py", "src/p/q.py"]}


def test_names_are_looked_up_in_the_order_of_pythonpath(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "import b", "src/b.py": "", "b.py": ""})
    assert sources(tmp_path, "a", pythonpath=["src", "."]) == {"a": ["src/a.py", "src/b.py"]}
    assert sources(tmp_path, "a", pythonpath=[".", "src"]) == {"a": ["b.py", "src/a.py"]}


@pytest.mark.parametrize("text", ["import c\n)", "\0", "# coding: nosuch\nimport c"])
def test_a_file_that_cannot_be_parsed_ends_its_branch_and_is_named(
    tmp_path: Path, text: str
) -> None:
    write_files(tmp_path, {"src/a.py": "from src import b", "src/b.py": text, "c.py": ""})
    assert sources(tmp_path, "src.a") == {"src.a": ["src/a.py", "src/b.py"]}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "from src import b", "src/b.py": "import c", "c.py": ""})
    (tmp_path / "src/b.py").chmod(0)
    assert run_bound(lambda: repr(sources(tmp_path, "src.a"))) == repr(
        {"src.a": ["src/a.py", "src/b.py"]}
    )


def test_what_the_project_does_not_have_has_no_path(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "import nowhere.at.all, json, src.gone"})
    (tmp_path / "json.py").mkdir()
    assert sources(tmp_path, "src.a", "src.gone") == {"src.a": ["src/a.py"], "src.gone": []}
