"""The warm answer to `orch list`: the remembered listing, where nothing that it depends on has changed.

In: a project's root and its configuration as bytes. Out: the document of the listing, or None where the
tree, the configuration or orch itself is another one. Loads no scanner and no parser: that is its whole point.
"""

from __future__ import annotations

import json

from discover_orch.store import Index
from discover_orch.tree import read_tree


def read_listing(root: str, index: Index | None, fingerprint: str) -> dict[str, object] | None:
    """One walk over the tree; equal texts mean that each file has the same inode, size and times."""
    if index is None or index.header.get("fingerprint") != fingerprint:
        return None
    places = [index.header.get(name) for name in ("folders", "excluded", "extras")]
    folders, excluded, extras = [
        place if isinstance(place, list) and all(isinstance(one, str) for one in place) else None
        for place in places
    ]
    if folders is None or excluded is None or extras is None:
        return None
    tree = read_tree(root, folders, excluded=excluded, extras=extras)
    if tree.text != index.part("tree"):
        return None
    text = index.part("listing")
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    return {**document, "root": root}
