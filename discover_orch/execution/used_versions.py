"""The versions of what a tool used in a run, as the journal keeps them for `orch history RUN RUN`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from discover_orch.model.digest import short_hash
from discover_orch.staleness.fingerprint import (
    UNKNOWN_VERSIONS,
    Key,
    Success,
    Writer,
    find_writer,
    run_of,
)
from discover_orch.staleness.table_keys import is_table_list, table_name

#: Of what a tool used, the journal keeps the versions of so many things by themselves, and one hash of all others.
MOST_VERSIONS = 1000
_KINDS = frozenset({"file", "folder", "glob", "env", "package", "python"})
#: Longer versions are hashed: those of folders have all names.
_LONGEST = 40


def find_used_versions(success: Success, writers: Mapping[Key, Writer]) -> dict[str, str]:
    """By kind and name: `file:data/in.csv`, `table:raw`, `env:REGION`; "" where it was missing, and nothing where the
    version is unknown. That of a table is the run and the module that wrote it last; `writers` are as they were when
    the tool began. The key `others` stands for all that are too many."""
    found: dict[str, str] = {}
    for key, version in success.inputs.other.items():
        if key.partition(":")[0] in _KINDS and version not in UNKNOWN_VERSIONS:
            found[key] = version if len(version) <= _LONGEST else _hash(version)
    for key in success.tables:
        writer = None if is_table_list(key) else find_writer(key, writers)
        if writer is not None:
            found[f"table:{table_name(key)}"] = f"{run_of(writer.write.seq)} {writer.module}"
    if len(found) <= MOST_VERSIONS:
        return found
    names = sorted(found)
    rest = "\n".join(f"{name} {found[name]}" for name in names[MOST_VERSIONS:])
    kept = {name: found[name] for name in names[:MOST_VERSIONS]}
    return {**kept, "others": _hash(rest)}


def _hash(text: str) -> str:
    return short_hash(text.encode("utf-8", "surrogateescape"))
