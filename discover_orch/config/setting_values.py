"""Checks a value that the user set, in a file or the environment: the typed value, or a `Problem`.

The settings themselves are in `settings`; nothing here knows one by name. No message shows a nested value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem, Severity, did_you_mean

Texts = tuple[str, ...]
KeyPath = tuple[str, ...]  # ("params", "parse", "since")
ReadLines = Callable[[], "Mapping[KeyPath, int]"]

_LARGEST = 10**18  # Python may refuse to print larger numbers


class Kind(Struct, frozen=True):
    """What a value may be: its type for msgspec, the same in words, as the end of a sentence, and an example, in TOML
    and as the text of a variable where that is not the same without quotes.

    `build` makes the value of what has this type, or raises ValueError. `entries` is what each entry of a table may
    be, or what those of these names may be. `hint` stands in place of the example.
    """

    type: Any
    words: str
    example: str
    variable: str = ""
    build: Callable[[Any], Any] | None = None
    entries: Kind | Mapping[str, Kind] | None = None
    hint: str = ""


TEXTS = Kind(Texts, "a list of strings", '["...", "..."]', "one,two")
FOLDERS = Kind(
    tuple[Annotated[str, Meta(pattern=r"\A[^\0]*[^\0\s][^\0]*\Z")], ...],
    "a list of folders, none of them empty",
    '["src"]',
    "src",
    build=lambda folders: tuple(dict.fromkeys(folders)),
)
TEXT = Kind(str, "a string", '"..."')
FLAG = Kind(bool, "true or false", "true")
COUNT = Kind(Annotated[int, Meta(ge=0, le=_LARGEST)], "a whole number, 0 or more", "1")
KEPT = Kind(
    Annotated[int, Meta(ge=0, le=_LARGEST)]
    | Annotated[
        str, Meta(pattern=r"\A([1-9][0-9]{0,8}[dh]|[0-9]{1,18})\Z")
    ],  # a variable is a text
    "a whole number, 0 or more, or an age",
    '"90d"',
    "90d",
)
POSITIVE = Kind(Annotated[int, Meta(ge=1, le=_LARGEST)], "a whole number, 1 or more", "1")
SECONDS = Kind(Annotated[float, Meta(ge=0, le=_LARGEST)], "a number, 0 or more", "0.5")


def one_of(*words: str) -> Kind:
    """One of these words; the first is the default."""
    quoted = [f'"{word}"' for word in words]
    listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return Kind(Literal[words], listed, quoted[0])


def table_of(entries: Kind | Mapping[str, Kind]) -> Kind:
    """A table with such entries."""
    variable = """'{"name": "value"}'"""
    return Kind(dict[str, Any], "a table", '{name = "value"}', variable, entries=entries)


class RawSetting(Struct, frozen=True):
    """A value that was set, with its path in the file; `variable` is the name of the variable that set it instead."""

    value: object
    path: KeyPath
    variable: str = ""

    @property
    def name(self) -> str:
        """Its name in messages, "" for the table of all settings."""
        names = (self.variable, *self.path[1:]) if self.variable else self.path
        return printable(".".join(names))


class SettingReader:
    """Reads given values, and gathers what is wrong.

    `read_lines` gives the line of each path in `file`; it is called where there is something to report.
    """

    def __init__(self, file: str | None = None, read_lines: ReadLines = dict) -> None:
        self.file = file
        self.read_lines = read_lines
        self.problems: list[Problem] = []

    def read(self, given: RawSetting, kind: Kind) -> Any:
        """The value, and of a table the entries that are right; None for a wrong value, which is a problem."""
        try:
            value = msgspec.convert(_decode(given, kind), kind.type, strict=not given.variable)
            value = value if kind.build is None else kind.build(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            is_json = given.variable and kind.entries is not None
            message = f"{given.name} must be {kind.words}{', as JSON' if is_json else ''}"
            self.add("bad-value", message, kind.hint or _example(given, kind), given)
            return None
        if kind.entries is None or not isinstance(value, Mapping):
            return value
        entries = {}
        for key, entry in value.items():
            inside = replace(given, value=entry, path=(*given.path, key))
            found = self.read_entry(inside, kind.entries)
            if found is not None:
                entries[key] = found
        return entries

    def read_entry(self, given: RawSetting, known: Kind | Mapping[str, Kind]) -> Any:
        """As `read`, of a value in a table."""
        key = given.path[-1]
        if isinstance(known, Kind):
            return self.read(given, known)
        if key in known:
            return self.read(given, known[key])
        table = replace(given, path=given.path[:-1]).name
        hint = did_you_mean(key, known, f"the settings are {', '.join(known)}")
        message = f"unknown setting {shown(key)}{table and f' in {table}'}"
        self.add("unknown-key", message, hint, given)
        return None

    def add(
        self,
        code: str,
        message: str,
        hint: str,
        given: RawSetting | None = None,
        severity: Severity = "error",
    ) -> None:
        location = None
        if given is not None and not given.variable and self.file is not None:
            lines, path = self.read_lines(), given.path
            while path and path not in lines:  # a key has no line in an inline table
                path = path[:-1]
            location = Location(path=self.file, line=lines.get(path))
        self.problems.append(
            Problem(code=code, message=message, hint=hint, severity=severity).at(location)
        )


def _decode(given: RawSetting, kind: Kind) -> object:
    """The text of a variable, split where TOML would give a list or a table."""
    if not given.variable or len(given.path) > 1:
        return given.value
    text = str(given.value)
    if kind.entries is not None:
        return msgspec.json.decode(text)
    if get_origin(kind.type) is tuple:
        return [word.strip() for word in text.split(",") if word.strip()]
    return text


def _example(given: RawSetting, kind: Kind) -> str:
    if given.variable:
        variable = kind.variable or kind.example.strip('"')
        return f"write {given.name}={variable}"
    return f"write {printable(given.path[-1])} = {kind.example}"


def shown(text: str) -> str:
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """The text on one line of printable characters; a long text is cut."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
