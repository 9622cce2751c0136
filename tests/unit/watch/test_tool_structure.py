"""Which texts of a module make other tools of it: beside the index that a look at the whole project has left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from discover_orch.watch.tool_structure import ToolStructure
from tests.conftest import Project
from tests.support.looked_at import BASE, CANARY, request_for, tool
from tests.support.project_builder import write_files


class Known:
    """A project that was looked at; `looks_at` edits modules of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.structure = ToolStructure()
        self.project = request_for(root).look({}).project

    def look(self) -> None:
        """At the whole project, once more."""
        self.project = request_for(self.root).look({}).project
        self.structure.forget()

    def looks_at(self, files: Mapping[str, str]) -> bool:
        """Whether an edit may have made other tools."""
        write_files(self.root, files)
        is_another = [self.structure.is_another(path, self.project) for path in files]
        assert not (self.root / "ran").exists()
        return any(is_another)


@pytest.fixture
def known(project: Project) -> Known:
    return Known(project(BASE))


def test_the_body_of_a_function_is_not_structural(known: Known) -> None:
    text = tool(top="from src.lib import dates", body="return 1")
    assert not known.looks_at({"src/a.py": text})
    assert not known.looks_at({"src/lib/deep.py": "x = 2\n"})


@pytest.mark.parametrize(
    "files",
    [
        {"src/c.py": tool("t", takes="*, since='x'")},
        {"src/c.py": tool("s")},
        {"src/c.py": tool("t", top="AFTER = 'b'")},
        {"src/c.py": tool("t", top="ORCH = {'name': 'other'}")},
        {"src/c.py": '"""What it does."""\n' + tool("t")},
        {"src/new.py": "x = 1\n"},
        {"src/lib/other.py": tool()},
    ],
)
def test_what_the_command_line_offers_is_structural(known: Known, files: Mapping[str, str]) -> None:
    assert known.looks_at(files)


def test_a_new_module_beside_the_scanned_folders_is_not_structural(known: Known) -> None:
    assert not known.looks_at({"elsewhere/new.py": "x = 1\n"})


def test_in_a_project_without_folders_every_new_module_is(project: Project) -> None:
    known = Known(project({"orch.toml": "packages = ['.']\n", "a.py": tool()}))
    assert known.looks_at({"new.py": "x = 1\n"})


def test_a_constant_that_tools_take_their_stage_from_is_structural(project: Project) -> None:
    text = f"{CANARY}from src.names import FIRST\nSTAGE = FIRST\ndef run(): pass\n"
    known = Known(project({"orch.toml": "", "src/names.py": "FIRST = 's'\n", "src/a.py": text}))
    assert known.looks_at({"src/names.py": "FIRST = 't'\n"})


def test_after_another_look_bodies_are_still_none(known: Known) -> None:
    assert known.looks_at({"src/c.py": tool("t", takes="*, since='x'")})
    known.look()
    known.structure.warm(known.project)
    assert not known.looks_at({"src/c.py": tool("t", takes="*, since='x'", body="return")})


def test_without_an_index_every_change_is_structural(known: Known) -> None:
    for path in (known.root / ".orch").iterdir():
        path.unlink()
    text = tool(top="from src.lib import dates", body="return 1")
    assert known.looks_at({"src/a.py": text})
