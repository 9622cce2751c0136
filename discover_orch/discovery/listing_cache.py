"""The warm answer to `orch list`: the remembered listing, where nothing that it depends on has changed.

In: a project's root and what stands for its configuration. Out: the listing as it was kept, or None where the
tree, the configuration or orch itself is another one. Loads no scanner and no parser: that is its whole point.
"""

from __future__ import annotations

import json

from discover_orch.discovery.brief import Brief
from discover_orch.discovery.tree import read_tree
from discover_orch.state.store import Index

LISTING, BRIEF = "listing", "brief"


def is_unchanged(root: str, index: Index | None, fingerprint: str) -> bool:
    """One walk over the tree; equal texts mean that each file has the same inode, size and times."""
    if index is None or index.header.get("fingerprint") != fingerprint:
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


def kept_brief(index: Index) -> tuple[Brief, bool] | None:
    """The listing for people, and whether no text in it needs cleaning; None where it is damaged."""
    text = index.part(BRIEF)
    try:
        brief = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if text is None or not isinstance(brief, dict):
        return None
    is_clean = text.isprintable() and "\\" not in text.replace('\\"', "")
    return brief, is_clean


def kept_document(index: Index, root: str) -> str | None:
    """The listing for programs, as JSON; where the project is now, it says so."""
    text = index.part(LISTING)
    if text is None or not text.startswith("{"):
        return None
    return f'{{"version": 1, "root": {json.dumps(root)}, {text[1:]}'
