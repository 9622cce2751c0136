"""Looking, with real files: what is found, what is shown of it, and what is remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch import __version__
from discover_orch.discovery.listing_cache import is_unchanged, read_document, read_summary
from discover_orch.model.errors import EmptyError, ProjectError, UsageError
from discover_orch.model.parameter import MASK
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.project_reader import read_project
from discover_orch.planning.project_view import ProjectView
from discover_orch.state.store import open_index, write_index
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files
from tests.support.values import said

FILES: dict[str, str] = {
    "orch.toml": "stages = ['ingest', 'render']\ngroups = {nightly = ['fetch', 'render']}",
    "src/fetch.py": '"""Gets it."""\nSTAGE = "ingest"\ndef run(conn, *, since: int = 3): ...',
    "src/parse.py": 'STAGE = "ingest"\nAFTER = "fetch"\ndef run(): ...',
    "src/render.py": 'STAGE = "render"\ndef run(*, api_token="hunter22-hunter22"): ...',
    "src/off.py": "STAGE = None\ndef run(): ...",
    "src/near.py": "def run(): ...",
}
BROKEN = {"src/broken.py": 'STAGE = "ingest"\ndef ('}


def at(
    root: Path, files: Mapping[str, str] = FILES, folder: str = "", *, is_wide: bool = False
) -> ProjectView:
    write_files(root, files)
    return read_project(str(root / folder), None, {}, is_wide=is_wide)


def tools(document: Mapping[str, Any]) -> list[str]:
    return [row["name"] for row in document["tools"]]


def test_the_project_around_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    here = at(tmp_path)
    deeper = at(tmp_path, folder="src")
    assert {*here.registry.tools} == {"src.fetch", "src.parse", "src.render"}
    assert deeper.registry == here.registry
    assert (here.place.folder, deeper.place.folder) == ("", "src")
    assert (deeper.place.root, deeper.folder) == (str(tmp_path), str(tmp_path / "src"))


def test_a_given_folder_is_the_project(tmp_path: Path) -> None:
    write_files(tmp_path, {f"p/{name}": text for name, text in FILES.items()})
    view = read_project(str(tmp_path), "p", {})
    assert view.project.root == str(tmp_path / "p")
    assert view.place.folder == ".."
    with pytest.raises(ProjectError):
        read_project(str(tmp_path), "q", {})


def test_settings_come_from_the_environment_that_is_given(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    view = read_project(str(tmp_path), None, {"ORCH_STAGES": "render,ingest"})
    assert [stage.name for stage in view.registry.stages] == ["render", "ingest"]


def test_a_group_that_bears_the_name_of_a_stage_is_refused(tmp_path: Path) -> None:
    files = {**FILES, "orch.toml": "groups = {render = ['fetch']}"}
    with pytest.raises(ProjectError) as caught:
        at(tmp_path, files)
    assert said(caught.value.problems) == [
        'src/render.py:2: group "render" has the same name as a stage (rename the group in orch.toml)'
    ]


# The document.


def test_the_listing_holds_every_tool_by_stage_and_the_disabled_last(tmp_path: Path) -> None:
    document = project_view.listing_document(at(tmp_path))
    assert document["stages"] == [
        {"name": "ingest", "tools": ["fetch", "parse"], "configured": True},
        {"name": "render", "tools": ["render"], "configured": True},
    ]
    assert tools(document) == ["fetch", "parse", "render", "off"]
    assert (document["version"], document["root"]) == (1, str(tmp_path))
    assert "passed_over" not in document
    json.dumps(document)


def test_a_tool_is_shown_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    document: Any = project_view.listing_document(at(tmp_path))
    fetch, parse = document["tools"][:2]
    assert fetch == {
        "name": "fetch",
        "module": "src.fetch",
        "path": "src/fetch.py",
        "line": 3,
        "stages": ["ingest"],
        "doc": "Gets it.",
        "after": [],
        "disabled": False,
        "params": [
            {
                "name": "since",
                "type": "int",
                "default": 3,
                "default_source": "3",
                "required": False,
                "help": "",
            }
        ],
        "resources": ["conn"],
        "readable": True,
    }
    assert parse["after"] == ["fetch"]


def test_the_default_of_a_secret_is_never_shown_or_kept(tmp_path: Path) -> None:
    document: Any = project_view.listing_document(at(tmp_path))
    (param,) = document["tools"][2]["params"]
    assert (param["default"], param["default_source"]) == (None, MASK)
    assert b"hunter22" not in (tmp_path / ".orch/index").read_bytes()


def test_words_limit_what_is_listed(tmp_path: Path) -> None:
    view = at(tmp_path)
    document = project_view.listing_document(view, ["ingest"], exclude=["parse"])
    assert tools(document) == ["fetch"]
    assert document["stages"] == [
        {"name": "ingest", "tools": ["fetch"], "configured": True},
        {"name": "render", "tools": [], "configured": True},
    ]
    with pytest.raises(UsageError):
        project_view.listing_document(view, ["nothing"])
    with pytest.raises(EmptyError):
        project_view.listing_document(view, ["fetch"], exclude=["fetch"])


def test_sources_and_what_was_passed_over_are_told_where_asked_for(tmp_path: Path) -> None:
    view = at(
        tmp_path,
        {**FILES, "src/parse.py": FILES["src/parse.py"] + "\nimport src.near"},
        is_wide=True,
    )
    document: Any = project_view.listing_document(view, with_sources=True, with_passed_over=True)
    assert document["tools"][1]["sources"] == ["src/near.py", "src/parse.py"]
    assert [one["path"] for one in document["passed_over"]] == ["src/near.py"]


def test_errors_stand_beside_the_healthy_rest(tmp_path: Path) -> None:
    view = at(tmp_path, FILES | BROKEN)
    document: Any = project_view.listing_document(view)
    assert tools(document) == ["fetch", "parse", "render", "off"]
    (error,) = document["errors"]
    assert (error["path"], error["line"], error["code"]) == ("src/broken.py", 2, "syntax")
    assert len(view.errors) == 1


@pytest.mark.parametrize("words", [["ingest"], ["fetch", "parse"], ["full"]])
def test_a_file_that_cannot_be_read_hides_no_tool(tmp_path: Path, words: list[str]) -> None:
    view = at(tmp_path, FILES | BROKEN)
    assert {"src.fetch", "src.parse"} <= project_view.select_readable(view, words)
    assert "src.parse" not in project_view.select_readable(view, words, ["parse"])
    assert project_view.select_readable(view, ["broken"]) == frozenset()


def test_nothing_left_to_list_is_an_empty_document(tmp_path: Path) -> None:
    document = project_view.empty_listing_document(at(tmp_path, FILES | BROKEN))
    assert (document["stages"], document["tools"]) == ([], [])
    assert document["errors"]


def test_check_adds_warnings_about_several_tools(tmp_path: Path) -> None:
    files = {
        "orch.toml": "stages = ['ingest', 'render']",
        "src/a.py": "STAGE = 'ingset'\nORCH = {'outputs': 'x'}\ndef run(): ...",
        "src/b.py": "STAGE = 'ingest'\nORCH = {'outputs': 'x'}\ndef run(): ...",
    }
    view = at(tmp_path, files)
    warnings = view.warnings
    assert [problem.severity for problem in warnings] == ["warning"]
    assert len(project_view.check_project(view)) > len(warnings)
    assert project_view.check_project(view)[: len(warnings)] == warnings


# Plans.


def test_a_plan_is_what_a_run_would_do(tmp_path: Path) -> None:
    view = at(tmp_path)
    steps = project_view.plan_targets(view, ["nightly"], exclude=["fetch"]).steps
    assert [step.tool.name for step in steps] == ["render"]
    with pytest.raises(UsageError, match="since"):
        project_view.plan_targets(view, ["fetch"], values=GivenParams(options={"since": ("x",)}))


def test_another_database_wins_and_says_where_it_came_from(tmp_path: Path) -> None:
    view = project_reader.with_database(at(tmp_path), "sqlite://")
    assert (view.project.database, view.project.database_origin) == ("sqlite://", "--database")
    assert view.project.origins["database"] == "--database"


# The memory.


def is_known(root: Path, view: ProjectView) -> bool:
    index = open_index(str(root), __version__)
    assert index is not None
    key = index.header["key"]
    assert isinstance(key, str)
    return is_unchanged(view.project.root, index, key)


def test_what_was_listed_is_remembered_as_it_was(tmp_path: Path) -> None:
    document = project_view.listing_document(at(tmp_path))
    index = open_index(str(tmp_path), __version__)
    assert index is not None
    kept = read_document(index, str(tmp_path))
    assert kept is not None
    assert json.loads(kept) == document
    assert read_summary(index) is not None


def test_the_index_is_written_where_something_has_changed_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def noted(root: str, *rest: Any) -> bool:
        written.append(root)
        return write_index(root, *rest)

    monkeypatch.setattr(project_reader, "write_index", noted)
    monkeypatch.setattr("discover_orch.discovery.scanner.is_racy", lambda *_: False)
    view = at(tmp_path)
    assert len(written) == 1
    assert is_known(tmp_path, view)
    read_project(str(tmp_path), None, {})
    read_project(str(tmp_path), None, {}, is_wide=True)
    assert len(written) == 1
    read_project(str(tmp_path), None, {"ORCH_STRICT": "1"})
    assert len(written) == 2
    (tmp_path / "src/off.py").unlink()
    read_project(str(tmp_path), None, {"ORCH_STRICT": "1"})
    assert len(written) == 3


def test_a_folder_without_project_or_tool_is_left_alone(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/x.py": "x = 1"})
    assert not read_project(str(tmp_path), None, {}).registry.tools
    assert os.listdir(tmp_path) == ["src"]


def test_a_project_that_cannot_be_written_is_seen_all_the_same(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    tmp_path.chmod(0o500)
    try:
        answer = run_bound(lambda: str(len(read_project(str(tmp_path), None, {}).registry.tools)))
    finally:
        tmp_path.chmod(0o700)
    assert answer == "3"
    assert not (tmp_path / ".orch").exists()
