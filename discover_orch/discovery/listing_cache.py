"""The warm answer to `orch list`: the remembered listing, where nothing that it depends on has changed.

In: a project's root and what stands for its configuration. Out: the listing as it was kept, or None where the
tree, the configuration or orch itself is another one. Loads no scanner and no parser: that is its whole point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from discover_orch.discovery.tree import read_tree
from discover_orch.state.store import Index

LISTING, SUMMARY = "listing", "summary"
#: `stages`: [name, is configured, rows] each; `disabled`: rows; `errors`, `warnings`, `passed_over` as in the
#: document. A row: name, first line of the docstring, path, options, and any files behind it.
ListingSummary = Mapping[str, Any]
Row = list[str]


def is_unchanged(root: str, index: Index | None, key: str) -> bool:
    """One walk over the tree; equal texts mean that each file has the same inode, size and times."""
    if index is None or index.header.get("key") != key:
        return False
    places = [index.header.get(name) for name in ("folders", "excluded", "extras")]
    folders, excluded, extras = [
        place if isinstance(place, list) and all(isinstance(one, str) for one in place) else None
        for place in places
    ]
    if folders is None or excluded is None or extras is None:
        return False
    tree = read_tree(root, folders, excluded=excluded, extras=extras)
    return tree.text == index.part("tree")


def read_summary(index: Index) -> tuple[ListingSummary, bool] | None:
    """The listing for people, and whether no text in it needs cleaning; None where it is damaged."""
    text = index.part(SUMMARY)
    try:
        brief = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if text is None or not isinstance(brief, dict):
        return None
    is_clean = text.isprintable() and "\\" not in text.replace('\\"', "")
    return brief, is_clean


def read_document(index: Index, root: str) -> str | None:
    """The listing for programs, as JSON; where the project is now, it says so."""
    text = index.part(LISTING)
    if text is None or not text.startswith("{"):
        return None
    return f'{{"version": 1, "root": {json.dumps(root)}, {text[1:]}'


def build_summary(document: Mapping[str, Any]) -> ListingSummary:
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
