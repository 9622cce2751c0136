"""Checks a value that the user set, in a file or the environment: the typed value, or a `Problem`.

The settings themselves are in `settings`; nothing here knows one by name. No message shows a nested value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem, Severity, did_you_mean

Kind = Literal["texts", "text", "flag", "count", "seconds", "table"]
Texts = tuple[str, ...]
KeyPath = tuple[str, ...]  # ("params", "parse", "since")
ReadLines = Callable[[], "Mapping[KeyPath, int]"]
T = TypeVar("T")

_TOO_LARGE = 10**18  # Python may refuse to print larger numbers

#: Of each kind: its type, what it is called, an example in TOML, and one for a variable.
_KINDS: Mapping[Kind, tuple[Any, str, str, str]] = {
    "texts": (Texts, "a list of strings", '["...", "..."]', "one,two"),
    "text": (str, "a string", '"..."', "..."),
    "flag": (bool, "true or false", "true", "true"),
    "count": (int, "a whole number", "1", "1"),
    "seconds": (float, "a number, 0 or more", "0.5", "0.5"),
    "table": (dict[str, Any], "a table", '{name = "value"}', """'{"name": "value"}'"""),
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
            for key, value in typed(self, "table").items()
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


def typed(given: RawSetting, kind: Kind, least: int = 0) -> Any:
    """The value, if it is of this kind, and a number is at least this."""
    try:
        value = msgspec.convert(given.value, _KINDS[kind][0])
    except (msgspec.ValidationError, ValueError):
        raise _wrong_type(given, kind) from None
    if kind == "seconds" and not 0 <= value < _TOO_LARGE:  # not NaN either
        raise _wrong_type(given, kind, shown(given.value))
    if kind == "count" and value < least:
        message = f"{given.name} must be {least} or more, not {shown(value)}"
        raise InvalidSetting(given, message, _example(given, kind))
    if kind == "count" and value >= _TOO_LARGE:
        raise InvalidSetting(given, f"{given.name} is too large", _example(given, kind))
    return value


def word(given: RawSetting, words: Sequence[str]) -> str:
    """One of these words; the first is the default."""
    value = given.value
    if isinstance(value, str) and value in words:
        return value
    choices = " or ".join(f'"{word}"' for word in words)
    typed_word = value if isinstance(value, str) else ""
    hint = did_you_mean(typed_word, words, f'the default is "{words[0]}"')
    raise InvalidSetting(given, f"{given.name} must be {choices}, not {shown(value)}", hint)


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
    if isinstance(value, str):
        return f'"{printable(value)}"'
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < _TOO_LARGE)
    return str(value) if is_number and not isinstance(value, bool) else described(value)


def described(value: object) -> str:
    """The kind of a value, in the words of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = ((str, "a string"), (int | float, "a number"), (Mapping, "a table"), (list, "a list"))
    found = (name for kind, name in kinds if isinstance(value, kind))
    return next(found, "null" if value is None else "a date or time")


def printable(text: str) -> str:
    """The text on one line of printable characters; a long text is cut."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)


def _wrong_type(given: RawSetting, kind: Kind, instead: str = "") -> InvalidSetting:
    value, hint = given.value, _example(given, kind)
    wrong = f"not {instead or described(value)}"
    if kind == "texts" and isinstance(value, list):
        wrong = f"but contains {described(next(one for one in value if not isinstance(one, str)))}"
    elif kind == "texts" and isinstance(value, str) and given.path:
        hint = f"write {printable(given.key)} = [{shown(value)}]"
    message = f"{given.name} must be {_KINDS[kind][1]}, {wrong}"
    return InvalidSetting(given, message, hint, "wrong-type")


def _example(given: RawSetting, kind: Kind) -> str:
    _, _, example, variable = _KINDS[kind]
    if given.path is None:
        return f"write {given.name}={variable}"
    return f"write {printable(given.key)} = {example}"
