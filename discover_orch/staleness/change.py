"""What a watch gets from the status: what it has to watch, and what a change means."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.staleness.fingerprint import Key

#: What the keys of files begin with.
FILES = ("file:", "folder:", "glob:", "there:", "stat:")


class Paths(Struct, frozen=True, kw_only=True):
    """Modules, there or not (a folder ends in `/`); files, there or not; folders whose names count; globs."""

    code: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    globs: tuple[str, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """What a refresh found.

    `touched` are the stale tools that a change from outside the pipeline concerns, each with a sentence; `causes` are
    the keys of what changed for each of them. `paths` changed in meaning, came or went; `saved` did not. `gone` are
    the names of tools that no longer exist. `is_structural`: there may be other tools, in another order or with
    other arguments.
    """

    touched: Mapping[str, str] = field(default_factory=dict)
    causes: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    is_structural: bool = False
