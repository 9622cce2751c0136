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
from discover_orch.model.parameter import MASK
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.project_reader import read_project
from discover_orch.planning.project_view import ProjectView
from discover_orch.state.store import open_index, write_index
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files

FILES: dict[str, str] = {
    "orch.toml": "stages = ['ingest', 'render']\ngroups = {nightly = ['fetch', 'render']}",
    "src/fetch.py": '"""Gets it."""\nSTAGE = "ingest"\ndef run(conn, *, since: int = 3): ...',
    "src/parse.py": 'STAGE = "ingest"\nAFTER = "fetch"\ndef run(): ...',
    "src/render.py": 'STAGE = "render"\ndef run(*, api_token="hunter22-hunter22"): ...',
    "src/off.py": "STAGE = None\ndef run(): ...",
    "src/near.py": "def run(): ...",
}


def at(
    root: Path, files: Mapping[str, str] = FILES, folder: str = "", *, is_wide: bool = False
) -> ProjectView:
    write_files(root, files)
    return read_project(str(root / folder), None, {}, is_wide=is_wide)


def tools(document: Mapping[str, Any]) -> list[str]:
    return [row["name"] for row in document["tools"]]


def test_the_default_of_a_secret_is_never_shown_or_kept(tmp_path: Path) -> None:
    document: Any = project_view.listing_document(at(tmp_path))
    (param,) = document["tools"][2]["params"]
    assert (param["default"], param["default_source"]) == (None, MASK)
    assert b"hunter22" not in (tmp_path / ".orch/index").read_bytes()


def test_another_database_wins_and_says_where_it_came_from(tmp_path: Path) -> None:
    view = project_reader.with_database(at(tmp_path), "sqlite://")
    assert (view.project.database, view.project.database_origin) == ("sqlite://", "--database")
    assert view.project.origins["database"] == "--database"


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
