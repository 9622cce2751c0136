"""What names a tool: suffixes of its module path, its file, its own name; what wins; what is ambiguous."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def chosen(orch: Orch, *words: str) -> list[str]:
    answer = orch("run", "-n", "--json", *words)
    assert answer.code == 0, answer.text
    return [tool["module"] for tool in answer.json["tools"]]


def test_any_unambiguous_suffix_and_the_file_name_a_tool(project: Project, orch: Orch) -> None:
    root = project({"src/one/parse.py": TOOL, "src/two/fetch.py": TOOL})
    words = ("parse", "one.parse", "src.one.parse", "src/one/parse.py", "./src/one/parse.py")
    for word in (*words, str(root / "src/one/parse.py"), "tool:parse", "tool:src/one/parse.py"):
        assert chosen(orch, word) == ["src.one.parse"], word


def test_an_ambiguous_name_lists_the_candidates_as_the_listing_shows_them(
    project: Project, orch: Orch
) -> None:
    project({"src/one/parse.py": TOOL, "src/two/parse.py": TOOL, "src/two/fetch.py": TOOL})
    answer = orch("run", "-n", "parse")
    assert answer.code == 2
    assert 'error: "parse" could be several tools\n' in answer.err
    assert "hint: write one of one.parse, two.parse\n" in answer.err
    listed = orch("list", "--json").json
    assert listed["stages"][0]["tools"] == ["one.parse", "fetch", "two.parse"]
    assert chosen(orch, "two.parse") == ["src.two.parse"]


def test_a_stage_goes_before_a_group_before_a_tool_of_the_same_name(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/render.py": "STAGE = 'last'\ndef run(): ...\n",
            "src/chart.py": "STAGE = 'render'\ndef run(): ...\n",
            "src/nightly.py": "STAGE = 'last'\ndef run(): ...\n",
            "orch.toml": 'groups = {nightly = ["chart"]}',
        }
    )
    assert chosen(orch, "render") == ["src.chart"]
    assert chosen(orch, "stage:render") == ["src.chart"]
    assert chosen(orch, "tool:render") == ["src.render"]
    assert chosen(orch, "nightly") == ["src.chart"]
    assert chosen(orch, "tool:nightly") == ["src.nightly"]
    listed = orch("list", "--json").json
    assert {tool["name"] for tool in listed["tools"]} == {"render", "chart", "nightly"}


def test_orch_name_is_the_name_on_the_command_line(project: Project, orch: Orch) -> None:
    project({"src/fetch.py": "STAGE = 'a'\nORCH = {'name': 'get-raw'}\ndef run(): ...\n"})
    assert "  get-raw" in orch("list").out
    for word in ("get-raw", "fetch", "src/fetch.py"):
        assert chosen(orch, word) == ["src.fetch"]


def test_a_module_is_named_from_the_deepest_entry_of_pythonpath(
    project: Project, orch: Orch
) -> None:
    """The names follow the configuration, also where the files were looked at before."""
    project({"src/one/parse.py": TOOL})
    assert chosen(orch, "parse") == ["src.one.parse"]
    project({"orch.toml": 'pythonpath = [".", "src"]'})
    assert chosen(orch, "parse") == ["one.parse"]
    project({"orch.toml": 'packages = ["one"]\npythonpath = ["src"]'})
    assert chosen(orch, "parse") == ["one.parse"]
    project({"orch.toml": ""})
    assert chosen(orch, "parse") == ["src.one.parse"]


def test_two_files_of_one_module_are_an_error(project: Project, orch: Orch) -> None:
    project({"src/parse.py": TOOL, "src/parse/__init__.py": TOOL})
    answer = orch("list")
    assert answer.code == 4
    assert 'src/parse.py: "src.parse" is the module of src/parse/__init__.py, too' in answer.err


@pytest.mark.parametrize("name", ["full", "+x", "x+", "a*", "-x"])
def test_a_stage_name_that_means_something_else_is_an_error(
    name: str, project: Project, orch: Orch
) -> None:
    project({"src/x.py": f"STAGE = {name!r}\ndef run(): ...\n"})
    answer = orch("list")
    assert answer.code == 4
    assert f'error: src/x.py:1: "{name}" cannot be the name of a stage' in answer.err


def test_a_group_may_not_bear_the_name_of_a_stage(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "orch.toml": 'groups = {ingest = ["x"]}'})
    answer = orch("list")
    assert answer.code == 2
    assert 'group "ingest" bears the name of a stage' in answer.err
