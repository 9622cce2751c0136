"""The listing, short: of each tool only what a person sees in `orch list`.

In: the document of `orch list --json`. Out: a table that JSON can hold. The index keeps it beside the document,
which is ten times as many values: reading that was most of a warm listing of a large project. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: `stages`: [name, is configured, rows] each; `disabled`: rows; `errors`, `warnings`, `passed_over` as in the
#: document. A row: name, first line of the docstring, path, options, and any files behind it.
Brief = Mapping[str, Any]
Row = list[str]


def read_brief(document: Mapping[str, Any]) -> Brief:
    rows = {tool["name"]: _row(tool) for tool in document["tools"] if not tool["disabled"]}
    return {
        "stages": [
            [stage["name"], stage["configured"], [rows[name] for name in stage["tools"]]]
            for stage in document["stages"]
            if stage["tools"]
        ],
        "disabled": [_row(tool) for tool in document["tools"] if tool["disabled"]],
        "errors": document["errors"],
        "warnings": document["warnings"],
        "passed_over": document.get("passed_over", []),
    }


def options_text(params: Sequence[Mapping[str, Any]]) -> str:
    """`--since DATE  --limit INT`; those that must be given come with a star."""
    parts = []
    for param in params:
        flag = "--" + param["name"].replace("_", "-")
        value = "" if param["type"] == "bool" else f" {_shout(param['type'])}"
        parts.append(flag + value + ("*" if param["required"] else ""))
    return "  ".join(parts)


def _row(tool: Mapping[str, Any]) -> Row:
    options = (
        options_text(tool["params"])
        if tool["readable"]
        else "(signature not readable: parameters through -p)"
    )
    return [tool["name"], tool["doc"], tool["path"], options, *tool.get("sources", ())]


def _shout(kind: str) -> str:
    """`DATE`, `LIST[STR]`; the words of a choice as they must be typed."""
    return kind if "|" in kind else kind.upper()
