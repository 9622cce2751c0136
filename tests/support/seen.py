"""What a tool was seen to use, as a test writes and reads it: by kinds, with paths and tables by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from discover_orch.model.observation import UNCLEAR, Kind, Observation, Use, file_mark

#: A path, and the four numbers of its state; size -1 where that is not known.
Row = tuple[str, int, int, int, int]
_WRITTEN: tuple[Kind, ...] = ("written", "appended", "updated")
_MADE: tuple[Kind, ...] = ("written", "inserted", "made")


def state_row(use: Use) -> Row:
    size, mtime, inode, ctime = map(int, (use.state or "-1 0 0 0").split())
    return use.name, size, mtime, inode, ctime


class Seen:
    """The uses by their kinds."""

    def __init__(
        self, uses: Iterable[Use], observed: Observation | None = None, path: str = ""
    ) -> None:
        """`path` is the owner of a part that is shared."""
        self.uses, self.observed, self.path = tuple(uses), observed or Observation(), path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and {*self.uses} == {*other.uses}

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Seen{self.uses}"

    def _find(self, thing: str, *kinds: Kind) -> list[Use]:
        return [one for one in self.uses if one.key.startswith(f"{thing}:") and one.kind in kinds]

    def _names(self, thing: str, *kinds: Kind) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.name for one in self._find(thing, *kinds)))

    @property
    def read(self) -> tuple[Row, ...]:
        return tuple(map(state_row, self._find("file", "read", "opened")))

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((one.name, one.state) for one in self._find("folder", "listed"))

    @property
    def shared(self) -> tuple[Seen, ...]:
        found = self.observed.find_shared()
        return tuple(Seen(uses, path=owner) for owner, uses in found.items())

    @property
    def is_unclear(self) -> bool:
        return UNCLEAR in self.uses

    @property
    def gaps(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.name for one in self.uses if one.key.startswith("gap:")))

    @property
    def lists_tables(self) -> bool:
        return bool(self._names("table", "listed"))

    @property
    def began(self) -> tuple[int, int]:
        return self.observed.began

    @property
    def database(self) -> str:
        return self.observed.database

    def __getattr__(self, name: str) -> tuple[str, ...]:
        if name not in _NAMES:
            raise AttributeError(name)
        thing, kinds = _NAMES[name]
        return self._names(thing, *kinds)


_NAMES: dict[str, tuple[str, tuple[Kind, ...]]] = {
    "missed": ("file", ("missed",)),
    "written": ("file", _WRITTEN),
    "created": ("file", ("created",)),
    "appended": ("file", ("appended",)),
    "removed": ("file", ("removed",)),
    "folders_made": ("file", ("made",)),
    "asked": ("there", ("asked",)),
    "environment": ("env", ("read",)),
    "environment_asked": ("env", ("asked",)),
    "used_modules": ("module", ("read",)),
    "gaps": ("gap", ("unclear",)),
    "tables_read": ("table", ("read",)),
    "tables_written": ("table", _MADE),
    "tables_missed": ("table", ("missed",)),
    "tables_found": ("table", ("found",)),
    "tables_inserted": ("table", ("inserted",)),
    "tables_created": ("table", ("created",)),
    "tables_dropped": ("table", ("dropped",)),
    "tables_kept": ("table", ("kept", "made")),
}


def see(observed: Observation | None) -> Seen:
    assert observed is not None
    return Seen(observed.uses, observed)


def mark_numbers(found: os.stat_result) -> tuple[int, ...]:
    """The mark of a file, as `Seen.read` has it."""
    return tuple(map(int, file_mark(found).split()))


def used_tables(**names: Any) -> Seen:
    """What a log of tables tells: `used_tables(tables_read=("raw",))`."""
    return Seen(observation(**names).uses)


def observation(
    *, is_unclear: bool = False, lists_tables: bool = False, **given: Any
) -> Observation:
    """An observation of these names; the others are its fields."""
    rest = {name: one for name, one in given.items() if name in Observation.__struct_fields__}
    names = {name: one for name, one in given.items() if name not in rest}
    uses = [*rest.pop("uses", ()), *_uses(names)]
    if lists_tables:
        uses.append(Use("table:", "listed"))
    if is_unclear:
        uses.append(UNCLEAR)
    return Observation(uses=tuple(uses), **rest)


def _uses(names: dict[str, Any]) -> Iterator[Use]:
    """A table that is written and kept is made; one that is written and inserted into is inserted into alone."""
    for path, *state in names.pop("read", ()):
        text = " ".join(map(str, state)) if state[0] >= 0 else ""
        yield Use(f"file:{path}", "read", text)
    for folder, paths in names.pop("listed", ()):
        yield Use(f"folder:{folder}", "listed", paths)
    kept, inserted = names.pop("tables_kept", ()), names.pop("tables_inserted", ())
    written = names.pop("tables_written", ())
    for name in written:
        kind: Kind = "made" if name in kept else "inserted" if name in inserted else "written"
        yield Use(f"table:{name}", kind)
    yield from (Use(f"table:{name}", "kept") for name in kept if name not in written)
    appended = names.pop("appended", ())
    for name, found in names.items():
        thing, kinds = _NAMES[name]
        for one in found:
            is_appended = name == "written" and one in appended
            yield Use(f"{thing}:{one}", "appended" if is_appended else kinds[0])
