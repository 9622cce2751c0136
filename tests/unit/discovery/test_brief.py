"""The listing, short: one row a tool, with its options as they must be typed."""

from __future__ import annotations

import json
from typing import Any

from discover_orch.discovery.brief import options_text, read_brief


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
    brief = read_brief(document)
    first = ["a", "Do a.", "src/a.py", "--x STR"]
    assert brief["stages"] == [
        ["one", True, [first, ["b", "Do b.", "src/b.py", "", "src/lib.py"]]],
        ["two", False, [first]],
    ]
    assert brief["disabled"] == [["c", "Do c.", "src/c.py", ""]]
    assert (brief["errors"], brief["warnings"]) == ([], [{"message": "odd"}])
    assert json.loads(json.dumps(brief)) == brief


def test_a_disabled_tool_of_the_same_name_takes_no_place() -> None:
    stages = [{"name": "one", "tools": ["a"], "configured": True}]
    tools = [tool("a"), tool("a", doc="Old.", disabled=True)]
    brief = read_brief({"tools": tools, "stages": stages, "errors": [], "warnings": []})
    assert brief["stages"][0][2][0][1] == "Do a."


def test_options_are_as_they_must_be_typed() -> None:
    params = [
        param("start_date", "date", required=True),
        param("dry", "bool"),
        param("mode", "fast|slow"),
        param("tags", "list[str]"),
    ]
    assert options_text(params) == "--start-date DATE*  --dry  --mode fast|slow  --tags LIST[STR]"
