"""The warm answer: what was remembered, only where nothing that it depends on has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from discover_orch.discovery.listing_cache import (
    build_summary,
    is_unchanged,
    options_text,
    read_document,
    read_summary,
)
from discover_orch.discovery.tree import read_tree
from discover_orch.state.store import Index, open_index, write_index
from tests.support.project_builder import write_files

SUMMARY = '{"stages": []}'


def remember(root: Path, **changes: object) -> Index:
    """An index as a cold look writes it."""
    header: dict[str, object] = {
        "key": "key",
        "folders": ["src"],
        "excluded": [],
        "extras": ["orchconf.py"],
    }
    tree = read_tree(str(root), ["src"], extras=["orchconf.py"]).text
    parts = {"tree": tree, "listing": '{"tools": []}', "summary": SUMMARY}
    parts |= {name: str(text) for name, text in changes.items() if name in parts}
    header |= {name: value for name, value in changes.items() if name not in parts}
    assert write_index(str(root), "1.0", header, parts)
    index = open_index(str(root), "1.0")
    assert index is not None
    return index


def is_warm(root: Path, key: str = "key") -> bool:
    return is_unchanged(str(root), open_index(str(root), "1.0"), key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_files(tmp_path, {"src/a.py": "1"})
    remember(tmp_path)
    return tmp_path


def test_where_nothing_changed_the_memory_holds(root: Path) -> None:
    assert is_warm(root)
    write_files(root, {"src/data.csv": "", "src/test_a.py": ""})
    assert is_warm(root)


def test_without_an_index_there_is_no_memory(tmp_path: Path) -> None:
    assert not is_warm(tmp_path)


def test_another_configuration_is_another_project(root: Path) -> None:
    assert not is_warm(root, "other")


@pytest.mark.parametrize("name", ["src/a.py", "src/new.py", "src/p/new.py", "orchconf.py"])
def test_a_changed_file_is_seen(root: Path, name: str) -> None:
    write_files(root, {name: "22"})
    assert not is_warm(root)


def test_a_removed_file_or_folder_is_seen(root: Path) -> None:
    (root / "src/a.py").unlink()
    assert not is_warm(root)
    (root / "src").rmdir()
    assert not is_warm(root)


@pytest.mark.parametrize(
    "changes",
    [{"folders": "src"}, {"folders": [1]}, {"excluded": None}, {"extras": {}}, {"tree": ""}],
)
def test_a_memory_of_another_shape_is_none(root: Path, changes: dict[str, object]) -> None:
    remember(root, **changes)
    assert not is_warm(root)


def test_the_document_says_where_the_project_is_now(root: Path) -> None:
    text = read_document(remember(root), '/moved "here"')
    assert text is not None
    assert json.loads(text) == {"version": 1, "root": '/moved "here"', "tools": []}
    assert read_document(remember(root, listing=""), "/") is None


def test_the_summary_is_given_as_it_was_kept(root: Path) -> None:
    assert read_summary(remember(root)) == {"stages": []}


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_summary_of_another_shape_is_none(root: Path, text: str) -> None:
    assert read_summary(remember(root, summary=text)) is None


def param(name: str, kind: str = "str", *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "required": required}


def tool(name: str, *params: dict[str, Any], **changes: object) -> dict[str, Any]:
    row = {"name": name, "doc": f"Do {name}.", "path": f"src/{name}.py", "disabled": False}
    return {**row, "params": list(params), "readable": True, **changes}


def test_each_tool_is_a_row_in_each_of_its_stages() -> None:
    stages = [
        {"name": "one", "tools": ["a", "b"], "configured": True},
        {"name": "two", "tools": ["a"], "configured": False},
        {"name": "none", "tools": [], "configured": True},
    ]
    document = {
        "tools": [
            tool("a", param("x")),
            tool("b", sources=["src/lib.py"]),
            tool("c", disabled=True),
        ],
        "stages": stages,
        "errors": [],
        "warnings": [{"message": "odd"}],
    }
    summary = build_summary(document)
    first = ["a", "Do a.", "src/a.py", "--x STR"]
    assert summary["stages"] == [
        ["one", True, [first, ["b", "Do b.", "src/b.py", "", "src/lib.py"]]],
        ["two", False, [first]],
    ]
    assert summary["disabled"] == [["c", "Do c.", "src/c.py", ""]]
    assert (summary["errors"], summary["warnings"]) == ([], [{"message": "odd"}])
    assert json.loads(json.dumps(summary)) == summary


def test_a_disabled_tool_of_the_same_name_takes_no_place() -> None:
    stages = [{"name": "one", "tools": ["a"], "configured": True}]
    tools = [tool("a"), tool("a", doc="Old.", disabled=True)]
    summary = build_summary({"tools": tools, "stages": stages, "errors": [], "warnings": []})
    assert summary["stages"][0][2][0][1] == "Do a."


def test_options_are_as_they_must_be_typed() -> None:
    params = [
        param("start_date", "date", required=True),
        param("dry", "bool"),
        param("mode", "fast|slow"),
        param("tags", "list[str]"),
    ]
    assert options_text([{**params[0], "name": "json"}]) == "-p json=VALUE*"
    assert options_text(params) == "--start-date DATE*  --dry  --mode fast|slow  --tags STR ..."
