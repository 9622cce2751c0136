"""What a tool was seen to use, as a test writes and reads it: by kinds, with paths and tables by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from discover_orch.model.observation import UNCLEAR, Kind, Observation, Use, Via

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

    def _find(self, thing: str, *kinds: Kind, is_native: bool = False) -> list[Use]:
        via = ("kernel", "command") if is_native else ("seen",)
        return [
            one
            for one in self.uses
            if one.key.startswith(f"{thing}:") and one.kind in kinds and one.via in via
        ]

    def _names(self, thing: str, *kinds: Kind, is_native: bool = False) -> tuple[str, ...]:
        found = self._find(thing, *kinds, is_native=is_native)
        return tuple(dict.fromkeys(one.name for one in found))

    @property
    def read(self) -> tuple[Row, ...]:
        return tuple(map(state_row, self._find("file", "read", "opened")))

    @property
    def native_read(self) -> tuple[Row, ...]:
        return tuple(map(state_row, self._find("file", "read", is_native=True)))

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((one.name, one.state) for one in self._find("folder", "listed"))

    @property
    def shared(self) -> tuple[Seen, ...]:
        return tuple(Seen(one.uses, path=one.owner) for one in self.observed.shared)

    @property
    def is_unclear(self) -> bool:
        return UNCLEAR in self.uses

    @property
    def gaps(self) -> tuple[str, ...]:
        """However they are known."""
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
        thing, kinds, is_native = _NAMES[name]
        return self._names(thing, *kinds, is_native=is_native)


_NAMES: dict[str, tuple[str, tuple[Kind, ...], bool]] = {
    "missed": ("file", ("missed",), False),
    "written": ("file", _WRITTEN, False),
    "created": ("file", ("created",), False),
    "appended": ("file", ("appended",), False),
    "removed": ("file", ("removed",), False),
    "folders_made": ("file", ("made",), False),
    "asked": ("there", ("asked",), False),
    "native_written": ("file", _WRITTEN, True),
    "native_before": ("file", ("updated",), True),
    "native_missed": ("file", ("missed",), True),
    "native_globs": ("glob", ("listed",), True),
    "environment": ("env", ("read",), False),
    "environment_asked": ("env", ("asked",), False),
    "used_modules": ("module", ("read",), False),
    "gaps": ("gap", ("unclear",), False),
    "tables_read": ("table", ("read",), False),
    "tables_written": ("table", _MADE, False),
    "tables_missed": ("table", ("missed",), False),
    "tables_found": ("table", ("found",), False),
    "tables_inserted": ("table", ("inserted",), False),
    "tables_created": ("table", ("created",), False),
    "tables_dropped": ("table", ("dropped",), False),
    "tables_kept": ("table", ("kept", "made"), False),
}


def see(observed: Observation | None) -> Seen:
    """Whose native code was at work depends on what the worker has loaded, so it is left out."""
    assert observed is not None
    return Seen(observed.uses, replace(observed, may_be_native=False))


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
    for start in ("native_", ""):
        via: Via = "kernel" if start else "seen"
        for path, *state in names.pop(f"{start}read", ()):
            text = " ".join(map(str, state)) if state[0] >= 0 else ""
            yield Use(f"file:{path}", "read", via, text)
        for folder, paths in names.pop(f"{start}listed", ()):
            yield Use(f"folder:{folder}", "listed", via, paths)
    kept, inserted = names.pop("tables_kept", ()), names.pop("tables_inserted", ())
    written = names.pop("tables_written", ())
    for name in written:
        kind: Kind = "made" if name in kept else "inserted" if name in inserted else "written"
        yield Use(f"table:{name}", kind)
    yield from (Use(f"table:{name}", "kept") for name in kept if name not in written)
    appended, before = names.pop("appended", ()), names.pop("native_before", ())
    for name, found in names.items():
        thing, kinds, is_native = _NAMES[name]
        for one in found:
            kind = "appended" if one in appended else "updated" if one in before else kinds[0]
            is_written = name in ("written", "native_written")
            via = "kernel" if is_native else "seen"
            yield Use(f"{thing}:{one}", kind if is_written else kinds[0], via)
