"""The warm answer to `orch list`, where nothing that it depends on has changed.

It must stay light: neither the scanner nor the parser is loaded. The index has the listing twice: as the document of
`orch list --json`, and as a summary with what `orch list` shows. Reading the document, which has ten times as many
values, would take most of the time of a warm listing of a large project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from discover_orch import __version__
from discover_orch.config.env_file import load_env_file
from discover_orch.config.file import config_key, find_root, read_config_bytes
from discover_orch.discovery.tree import read_tree
from discover_orch.model.conventions import OWN_OPTIONS
from discover_orch.state.store import Index, flows_stamp, open_index

LISTING, SUMMARY = "listing", "summary"
#: `stages`: a list of [name, is configured, rows]; `disabled`: rows; `errors`, `warnings`, `passed_over` as in the
#: document. A row: name, first line of the docstring, path, options, then any source files.
ListingSummary = Mapping[str, Any]
Row = list[str]


def open_listing(
    start: str, explicit: str | None, environ: MutableMapping[str, str]
) -> tuple[Index, str] | None:
    """The index of the project around `start`, or at `explicit`, with its root; None where it has to be made anew.
    Raises ProjectError."""
    found = find_root(start, explicit)
    root, config, _ = found
    data = read_config_bytes(root, config)
    load_env_file(found, data, environ)
    key = config_key(found, data, environ) + flows_stamp(root)
    index = open_index(root, __version__)
    return (index, root) if index is not None and is_unchanged(root, index, key) else None


def is_unchanged(root: str, index: Index | None, key: str) -> bool:
    """Walks the tree once. `key` stands for the configuration; each file must have its inode, size and times."""
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


def read_summary(index: Index) -> ListingSummary | None:
    """None where it is damaged."""
    text = index.part(SUMMARY)
    try:
        brief = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return brief if isinstance(brief, dict) else None


def read_document(index: Index, root: str) -> str | None:
    """The document as JSON, with the current root; None where it is damaged."""
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
    """`--since DATE  --limit INT*  --tags STR ...`; a star marks those that are required. One with the name of an
    option of orch is set with `-p json=VALUE`."""
    parts = []
    for param in params:
        flag = "--" + param["name"].replace("_", "-")
        kind: str = param["type"]
        is_many = kind.startswith("list[")
        kind = kind[5:-1] if is_many else kind
        if param["name"] in OWN_OPTIONS:
            flag, kind, is_many = f"-p {param['name']}=VALUE", "bool", False
        value = "" if kind == "bool" and not is_many else f" {_placeholder(kind)}"
        parts.append(flag + value + "*" * param["required"] + " ..." * is_many)
    return "  ".join(parts)


def _row(tool: Mapping[str, Any]) -> Row:
    options = (
        options_text(tool["params"])
        if tool["readable"]
        else "(signature cannot be read: set parameters with -p)"
    )
    return [tool["name"], tool["doc"], tool["path"], options, *tool.get("sources", ())]


def _placeholder(kind: str) -> str:
    """`DATE`; the words of a choice as they are typed."""
    return kind if "|" in kind else kind.upper()
