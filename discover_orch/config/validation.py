"""Checks a value that the user set, in a file or the environment: the typed value, or a `Problem`.

The settings themselves are in `project`; nothing here knows one by name. No message shows a nested value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem, Severity, did_you_mean

Kind = Literal["texts", "text", "flag", "count", "table"]
Texts = tuple[str, ...]
KeyPath = tuple[str, ...]  # ("params", "parse", "since")
ReadLines = Callable[[], "Mapping[KeyPath, int]"]
T = TypeVar("T")

_TOO_LARGE = 10**18  # Python may refuse to print larger numbers

#: Of each kind: what it is called, an example in TOML, and one for a variable.
_KINDS: Mapping[Kind, tuple[str, str, str]] = {
    "texts": ("a list of strings", '["...", "..."]', "one,two"),
    "text": ("a string", '"..."', "..."),
    "flag": ("true or false", "true", "true"),
    "count": ("a whole number", "1", "1"),
    "table": ("a table", '{name = "value"}', """'{"name": "value"}'"""),
}


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

    def entry(self, key: str, value: object) -> RawSetting:
        path = None if self.path is None else (*self.path, key)
        name = f"{self.name}.{printable(key)}"
        return RawSetting(key=key, name=name, value=value, origin=self.origin, path=path)


class InvalidSetting(Exception):
    """A value is wrong. Caught in `SettingReader.read`, so that the other values are still read."""

    def __init__(self, given: RawSetting, message: str, hint: str, code: str = "bad-value") -> None:
        super().__init__(message)
        self.given = given
        self.message = message
        self.hint = hint
        self.code = code


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
        read = {entry.key: self.read(entry, rule) for entry in entries(given)}
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
            while path and path not in lines:  # a key has no line in an array of tables
                path = path[:-1]
            location = Location(path=self.file, line=lines.get(path))
        self.problems.append(
            Problem(code=code, message=message, hint=hint, location=location, severity=severity)
        )


# Rules for each kind of value. All raise `InvalidSetting`.


def texts(given: RawSetting) -> Texts:
    value = given.value
    if isinstance(value, str) and given.path:
        message = f"{given.name} must be a list of strings, not a string"
        raise InvalidSetting(
            given, message, f"write {printable(given.key)} = [{shown(value)}]", "wrong-type"
        )
    if not isinstance(value, list | tuple):
        raise _wrong_type(given, "texts")
    for item in value:
        if not isinstance(item, str):
            message = f"{given.name} must be a list of strings, but contains {described(item)}"
            raise InvalidSetting(given, message, _example(given, "texts"), "wrong-type")
    return tuple(value)


def text(given: RawSetting) -> str:
    if not isinstance(given.value, str):
        raise _wrong_type(given, "text")
    return given.value


def word(given: RawSetting, words: Sequence[str]) -> str:
    """One of these words; the first is the default."""
    value = given.value
    if isinstance(value, str) and value in words:
        return value
    choices = " or ".join(f'"{word}"' for word in words)
    hint = did_you_mean(
        value if isinstance(value, str) else "", words, f'the default is "{words[0]}"'
    )
    raise InvalidSetting(given, f"{given.name} must be {choices}, not {shown(value)}", hint)


def flag(given: RawSetting) -> bool:
    if not isinstance(given.value, bool):
        raise _wrong_type(given, "flag")
    return given.value


def count(given: RawSetting, least: int = 0) -> int:
    value = given.value
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(given, "count")
    if value < least:
        message = f"{given.name} must be {least} or more, not {shown(value)}"
        raise InvalidSetting(given, message, _example(given, "count"))
    if value >= _TOO_LARGE:
        raise InvalidSetting(given, f"{given.name} is too large", _example(given, "count"))
    return value


def seconds(given: RawSetting) -> float:
    value = given.value
    # Not true, not negative, not infinite, not NaN.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _TOO_LARGE:
        return value
    message = f"{given.name} must be a number, 0 or more, not {shown(value)}"
    raise InvalidSetting(given, message, f"write {printable(given.key)} = 0.5", "wrong-type")


def entries(given: RawSetting) -> tuple[RawSetting, ...]:
    """The entries of a table."""
    if not isinstance(given.value, Mapping):
        raise _wrong_type(given, "table")
    return tuple(given.entry(key, value) for key, value in given.value.items())


def decode_variable(given: RawSetting, kind: Kind) -> RawSetting:
    """The text of an environment variable as the value that TOML would give."""
    text = str(given.value)
    value: object = text
    if kind == "texts":
        value = [word.strip() for word in text.split(",") if word.strip()]
    elif kind == "flag":
        if text.lower() not in ("true", "1", "false", "0"):
            raise _wrong_type(given, kind, shown(text))
        value = text.lower() in ("true", "1")
    elif kind == "count":
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise _wrong_type(given, kind, shown(text))
        value = int(text)
    elif kind == "table":
        import json  # rarely needed, and slow to import

        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:  # or too many digits, or nested too deeply
            is_json = not isinstance(error, json.JSONDecodeError)
            message = f"{given.name} is {'too large' if is_json else f'not valid JSON: {error}'}"
            raise InvalidSetting(given, message, _example(given, kind), "wrong-type") from None
    return replace(given, value=value)


# Texts for messages.


def shown(value: object) -> str:
    """A short value as TOML writes it; for a long or nested one its kind."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{printable(value)}"'
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _TOO_LARGE):
        return str(value)
    return described(value)


def described(value: object) -> str:
    """The kind of a value, in the words of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return "null" if value is None else "a date or time"


def printable(text: str) -> str:
    """The text on one line of printable characters; a long text is cut."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)


def _wrong_type(given: RawSetting, kind: Kind, instead: str = "") -> InvalidSetting:
    message = f"{given.name} must be {_KINDS[kind][0]}, not {instead or described(given.value)}"
    return InvalidSetting(given, message, _example(given, kind), "wrong-type")


def _example(given: RawSetting, kind: Kind) -> str:
    _, example, variable = _KINDS[kind]
    if given.path is None and given.name == given.origin:
        return f"write {given.name}={variable}"
    typed = given.value.strip() if isinstance(given.value, str) else ""
    if kind == "count" and re.fullmatch(r"[1-9][0-9]{0,17}", typed):
        example = typed
    if given.path is None:  # an entry of a variable's JSON
        return f'write "{printable(given.key)}": {example.replace(" =", ":")}'
    return f"write {printable(given.key)} = {example}"
