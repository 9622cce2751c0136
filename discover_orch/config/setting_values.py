"""Checks a value that the user set, in a file or the environment: the typed value, or a `Problem`.

The settings themselves are in `settings`; nothing here knows one by name. No message shows a nested value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem, Severity, did_you_mean

Texts = tuple[str, ...]
KeyPath = tuple[str, ...]  # ("params", "parse", "since")
ReadLines = Callable[[], "Mapping[KeyPath, int]"]
T = TypeVar("T")

_LARGEST = 10**18  # Python may refuse to print larger numbers


class Kind(Struct, frozen=True):
    """What a value may be: its type for msgspec, the same in words, as the end of a sentence, and an example, in TOML
    and as the text of a variable where that is not the same without quotes."""

    type: Any
    words: str
    example: str
    variable: str = ""


TEXTS = Kind(Texts, "a list of strings", '["...", "..."]', "one,two")
FOLDERS = Kind(
    tuple[Annotated[str, Meta(pattern=r"\A[^\0]*[^\0\s][^\0]*\Z")], ...],
    "a list of folders, none of them empty",
    '["src"]',
    "src",
)
TEXT = Kind(str, "a string", '"..."')
FLAG = Kind(bool, "true or false", "true")
COUNT = Kind(Annotated[int, Meta(ge=0, le=_LARGEST)], "a whole number, 0 or more", "1")
POSITIVE = Kind(Annotated[int, Meta(ge=1, le=_LARGEST)], "a whole number, 1 or more", "1")
SECONDS = Kind(Annotated[float, Meta(ge=0, le=_LARGEST)], "a number, 0 or more", "0.5")
TABLE = Kind(dict[str, Any], "a table", '{name = "value"}', """'{"name": "value"}'""")


def one_of(*words: str) -> Kind:
    """One of these words; the first is the default."""
    quoted = [f'"{word}"' for word in words]
    listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return Kind(Literal[words], listed, quoted[0])


class RawSetting(Struct, frozen=True, kw_only=True):
    """A value that was set.

    `name` is its name in messages, `key` the last part of that; `path` is its path in the file, None for a variable;
    `origin` is the name of the file or of the variable.
    """

    key: str
    name: str
    value: object
    origin: str
    path: KeyPath | None = None

    def entries(self) -> list[RawSetting]:
        """Those of a table. Raises `InvalidSetting`."""
        return [
            RawSetting(
                key=key,
                name=f"{self.name}.{printable(key)}",
                value=value,
                origin=self.origin,
                path=None if self.path is None else (*self.path, key),
            )
            for key, value in typed(self, TABLE).items()
        ]


class InvalidSetting(Exception):
    """A value is wrong. Caught in `SettingReader.read`, so that the other values are still read."""

    def __init__(self, given: RawSetting, message: str, hint: str, code: str = "bad-value") -> None:
        super().__init__(message)
        self.given, self.message, self.hint, self.code = given, message, hint, code


class SettingReader:
    """Reads given values by rules, and gathers what is wrong.

    `read_lines` gives the line of each path in `file`; it is called where there is something to report.
    """

    def __init__(self, file: str | None = None, read_lines: ReadLines = dict) -> None:
        self.file = file
        self.read_lines = read_lines
        self.problems: list[Problem] = []

    def read(self, given: RawSetting, rule: Callable[[RawSetting], T]) -> T | None:
        """The value by its rule; None where that raises `InvalidSetting`, which adds a problem."""
        try:
            return rule(given)
        except InvalidSetting as wrong:
            self.add(wrong.code, wrong.message, wrong.hint, wrong.given.path)
            return None

    def read_entries(self, given: RawSetting, rule: Callable[[RawSetting], T]) -> dict[str, T]:
        """The entries of a table that the rule accepts. Raises `InvalidSetting` where it is not a table."""
        read = {entry.key: self.read(entry, rule) for entry in given.entries()}
        return {key: value for key, value in read.items() if value is not None}

    def read_known(
        self, given: RawSetting, rules: Mapping[str, Callable[[RawSetting], object]]
    ) -> dict[str, object]:
        """The same of a table whose entries have these names, each with its rule."""

        def rule(entry: RawSetting) -> object:
            if entry.key in rules:
                return rules[entry.key](entry)
            hint = did_you_mean(entry.key, rules, f"the settings are {', '.join(rules)}")
            message = f"unknown setting {shown(entry.key)} in {given.name}"
            raise InvalidSetting(entry, message, hint, "unknown-key")

        return self.read_entries(given, rule)

    def add(
        self,
        code: str,
        message: str,
        hint: str,
        path: KeyPath | None = None,
        severity: Severity = "error",
    ) -> None:
        location = None
        if path and self.file is not None:
            lines = self.read_lines()
            while path and path not in lines:  # a key has no line in an inline table
                path = path[:-1]
            location = Location(path=self.file, line=lines.get(path))
        self.problems.append(
            Problem(code=code, message=message, hint=hint, severity=severity).at(location)
        )


# Rules. All raise `InvalidSetting`.


def typed(given: RawSetting, kind: Kind) -> Any:
    """The value, if it is of this kind. That of a variable may be a text: `1`, `true`."""
    try:
        return msgspec.convert(given.value, kind.type, strict=given.path is not None)
    except (msgspec.ValidationError, ValueError):
        message = f"{given.name} must be {kind.words}"
        raise InvalidSetting(given, message, _example(given, kind)) from None


def decode_variable(given: RawSetting, kind: Kind) -> RawSetting:
    """The text of an environment variable, split where TOML would give a list or a table."""
    text = str(given.value)
    if kind in (TEXTS, FOLDERS):
        return replace(given, value=[word.strip() for word in text.split(",") if word.strip()])
    if kind is not TABLE:
        return given
    import json  # rarely needed, and slow to import

    try:
        return replace(given, value=json.loads(text))
    except (ValueError, RecursionError) as error:  # or too many digits, or nested too deeply
        is_json = not isinstance(error, json.JSONDecodeError)
        message = f"{given.name} is {'too large' if is_json else f'not valid JSON: {error}'}"
        raise InvalidSetting(given, message, _example(given, kind)) from None


# Texts for messages.


def shown(text: str) -> str:
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """The text on one line of printable characters; a long text is cut."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)


def _example(given: RawSetting, kind: Kind) -> str:
    if given.path is None:
        variable = kind.variable or kind.example.strip('"')
        return f"write {given.name}={variable}"
    return f"write {printable(given.key)} = {kind.example}"
