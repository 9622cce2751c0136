"""What is known of a value in a module's source: a text and its place, something imported, or that it is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


class Text(str):
    """A string and the line where it is written, in the file `path`, "" for the one that is read."""

    line: int
    path: str

    def __new__(cls, value: str, line: int, path: str = "") -> Text:
        made = super().__new__(cls, value)
        made.line, made.path = line, path
        return made


class Unknown(Struct, frozen=True, kw_only=True):
    """Something that cannot be worked out: its line, and how it is written. `path` as in `Text`."""

    line: int
    text: str
    path: str = ""


class Ref(Struct, frozen=True, kw_only=True):
    """Something of an imported module, absolute and dotted; or the module. `path` as in `Text`."""

    name: str
    line: int
    path: str = ""


class CannotTell(Exception):
    """An expression that this module does not know."""


class Imports(Protocol):
    """What other modules of the project define."""

    def value(self, name: str) -> Any:
        """The value of `package.module.NAME`; None where it is not known, or no text, list or dict."""

    def names(self, module: str) -> Mapping[str, Any]:
        """What `from module import *` gives."""


class NoImports:
    """No other module is read."""

    def value(self, _: str) -> Any:
        return None

    def names(self, _: str) -> Mapping[str, Any]:
        return {}


def line_of(value: object, default: int | None) -> int | None:
    """Of a value that knows where it is written."""
    line: int | None = getattr(value, "line", default)
    return line


def path_of(value: object, default: str) -> str:
    """The file of a value that is written in another one than `default`."""
    return getattr(value, "path", "") or default


def known_text(value: Any) -> Any:
    """Raises where a text would be made of something that is not known."""
    if isinstance(value, Unknown | Ref):
        raise CannotTell
    return value
