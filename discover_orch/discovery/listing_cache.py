"""The warm answer to `orch list`, where nothing that it depends on has changed.

It must stay light: neither the scanner nor the parser is loaded. What is kept is the document of `orch list --json`,
and a summary with what `orch list` shows, which has a tenth of the values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from discover_orch import __version__
from discover_orch.config.file import config_key, find_root, load_env_file, read_config_bytes
from discover_orch.discovery.tree import read_tree
from discover_orch.model.conventions import OWN_OPTIONS
from discover_orch.state.sealed_files import (
    FOLDER,
    flows_stamp,
    read_sealed,
    write_sealed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.model.documents import Listing

#: `stages`: a list of [name, is configured, rows]; `disabled`: rows; the rest as in the document. A row: name, first
#: line of the docstring, path, options, then any source files.
ListingSummary = Mapping[str, Any]
Row = list[str]
_KIND = f"index 14 {__version__}"


class Snapshot(Struct, frozen=True, kw_only=True):
    """What a listing depends on: a key for the configuration, the places that were searched, and the stamp of the tree
    that was found there."""

    key: str
    folders: tuple[str, ...]
    excluded: tuple[str, ...]
    extras: tuple[str, ...]
    tree: str

    def is_valid(self, root: str) -> bool:
        """Walks the tree once: each file must have its inode, size and times."""
        tree = read_tree(root, self.folders, excluded=self.excluded, extras=self.extras)
        return tree.stamp == self.tree


class KeptListing(Struct, frozen=True, kw_only=True):
    """The file `index`. The document has no `version` and no `root`."""

    snapshot: Snapshot
    summary: dict[str, Any]
    document: msgspec.Raw

    def json(self, root: str) -> str:
        """The document of `orch list --json`, of the project that is at `root` now."""
        import json  # a warm listing as text needs none

        return f'{{"version": 1, "root": {json.dumps(root)}, {bytes(self.document).decode()[1:]}'


def open_listing(
    start: str, explicit: str | None, environ: MutableMapping[str, str]
) -> tuple[KeptListing, str] | None:
    """The listing of the project around `start`, or at `explicit`, with its root; None where it has to be made anew.
    Raises ProjectError."""
    found = find_root(start, explicit)
    root, config, _ = found
    data = read_config_bytes(root, config)
    load_env_file(found, data, environ)
    kept = read_index(root)
    if kept is None or kept.snapshot.key != config_key(found, data, environ) + flows_stamp(root):
        return None
    return (kept, root) if kept.snapshot.is_valid(root) else None


def read_index(root: str) -> KeptListing | None:
    return read_sealed(os.path.join(root, FOLDER, "index"), _KIND, KeptListing)


def write_listing(root: str, snapshot: Snapshot, listing: Listing) -> None:
    import json

    document: dict[str, object] = msgspec.to_builtins(listing)
    summary = dict(build_summary(document))
    del document["root"]
    text = msgspec.Raw(json.dumps(document).encode())
    kept = KeptListing(snapshot=snapshot, summary=summary, document=text)
    write_sealed(os.path.join(root, FOLDER, "index"), _KIND, kept)


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
        "passed_over": document["passed_over"] or [],
        "checks": [[tool["name"], tool["checks"]] for tool in document["tools"] if tool["checks"]],
        "observers": document["observers"] or [],
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
    return [tool["name"], tool["doc"], tool["path"], options, *(tool["sources"] or ())]


def _placeholder(kind: str) -> str:
    """`DATE`; the words of a choice as they are typed."""
    return kind if "|" in kind else kind.upper()
