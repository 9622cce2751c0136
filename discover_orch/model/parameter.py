"""The parameters of `run()`: their types, and how a text from outside becomes a value of a type.

No class of the user is imported: an Enum of the project is known by the names and values of its members.
A new type begins here: `SCALARS` names it, `convert_one` converts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from discover_orch.model.secret_masking import (
    MASK,
    hide_url_passwords,
    is_secret_name,
    is_secret_value,
)

ScalarKind = Literal["str", "int", "float", "bool", "path", "date", "datetime", "decimal", "uuid"]
#: The types of plain values, by the names that annotations mean.
SCALARS: Mapping[str, ScalarKind] = {
    "builtins.str": "str",
    "builtins.int": "int",
    "builtins.float": "float",
    "builtins.bool": "bool",
    "pathlib.Path": "path",
    "datetime.date": "date",
    "datetime.datetime": "datetime",
    "decimal.Decimal": "decimal",
    "uuid.UUID": "uuid",
}
TRUE_WORDS = frozenset({"1", "true", "yes", "on", "y", "t"})
FALSE_WORDS = frozenset({"0", "false", "no", "off", "n", "f"})

#: What a text of each kind is meant to be.
_MEANT: Mapping[ScalarKind, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "date": "a date like 2024-01-31",
    "datetime": "a time like 2024-01-31T12:00:00",
    "decimal": "a decimal number",
    "uuid": "a UUID",
}


class ParamValue(Struct, frozen=True, kw_only=True):
    """The value of a parameter: one text, or the texts of a list, and where it came from, as `--since`."""

    texts: tuple[str, ...] = ()
    origin: str = ""

    @property
    def shown(self) -> str:
        return ", ".join(self.texts)


class Scalar(Struct, frozen=True, kw_only=True, array_like=True, tag="scalar"):
    """One plain value."""

    kind: ScalarKind


class Choice(Struct, frozen=True, kw_only=True, array_like=True, tag="choice"):
    """One of the values of a `Literal[...]`."""

    values: tuple[str | int | bool, ...]


class EnumChoice(Struct, frozen=True, kw_only=True, array_like=True, tag="enum"):
    """A member of an Enum of the project; `members` are (name, text of its value) in source order."""

    module: str
    name: str
    members: tuple[tuple[str, str], ...]

    def find_member(self, text: str) -> str | None:
        """The name of the first member that has this value or this name."""
        return next((name for name, value in self.members if text in (value, name)), None)

    def text_of(self, member: str) -> str | None:
        """What is typed for a member: its value, else its name. None where both mean another member."""
        values = (value for name, value in self.members if name == member)
        return next((text for text in (*values, member) if self.find_member(text) == member), None)


class EnumMember(Struct, frozen=True, kw_only=True):
    """An Enum member that only the worker can turn into the real one."""

    module: str
    enum: str
    name: str


class ParamType(Struct, frozen=True, kw_only=True, array_like=True, tag="type"):
    """`base`; a list of it with `many`; None is allowed with `optional`."""

    base: Scalar | Choice | EnumChoice
    many: bool = False
    optional: bool = False

    @property
    def is_flag(self) -> bool:
        return self.base == Scalar(kind="bool") and not self.many

    def __str__(self) -> str:
        match self.base:
            case Scalar(kind=kind):
                text = str(kind)
            case Choice(values=values):
                text = "|".join(str(value) for value in values)
            case EnumChoice(members=members):
                text = "|".join(value for _, value in members)
        return f"list[{text}]" if self.many else text


class ConvertError(ValueError):
    """A text does not fit the type; the message says what is wrong with it."""


class Param(Struct, frozen=True, kw_only=True):
    """A parameter of `run()`.

    `default` is set only where the source has a literal that JSON can hold, or a `Path` of literals or a member of
    an Enum, which are texts here. `default_source` is the default as written in the source, None for a required
    parameter. `default_texts` are what one would type for a default that is made by a call, or is a member.
    """

    name: str
    type: ParamType
    default: object = None
    default_source: str | None = None
    default_texts: tuple[str, ...] = ()
    help: str = ""

    @property
    def required(self) -> bool:
        return self.default_source is None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_secret(self) -> bool:
        return is_secret_name(self.name)

    @property
    def has_secret_default(self) -> bool:
        """Whether the default is a secret, or a URL with a password."""
        source = self.default_source or "None"
        return source != "None" and is_secret_value(self.name, source)

    @property
    def masked_source(self) -> str:
        return MASK if self.is_secret else hide_url_passwords(self.default_source or "")

    @property
    def shown_default(self) -> str:
        """The default as one would type it, else its source; "" if there is none."""
        return MASK if self.is_secret else hide_url_passwords(self._default_text)

    @property
    def _default_text(self) -> str:
        if self.default_texts:
            return ", ".join(self.default_texts)
        match self.default:
            case bool():
                return str(self.default).lower()
            case str() | int() | float():
                return str(self.default)
            case list() if self.default:
                return ", ".join(map(str, self.default))
        return self.default_source or ""

    def convert(self, texts: Sequence[str]) -> object:
        """The value that `run()` gets for the typed texts; raises ConvertError."""
        if self.type.many:
            return [convert_one(self.type.base, text) for text in texts]
        return convert_one(self.type.base, texts[-1])


def convert_one(base: Scalar | Choice | EnumChoice, text: str) -> object:
    """The value of one typed text; raises ConvertError."""
    match base:
        case Scalar(kind=kind):
            return _convert_scalar(kind, text)
        case Choice(values=values):
            for value in values:
                if str(value) == text or (
                    isinstance(value, bool) and str(value).lower() == text.lower()
                ):
                    return value
            raise ConvertError(f"{text!r} is not one of {', '.join(map(str, values))}")
        case EnumChoice(module=module, name=enum, members=members):
            found = base.find_member(text)
            if found is not None:
                return EnumMember(module=module, enum=enum, name=found)
            raise ConvertError(f"{text!r} is not one of {', '.join(value for _, value in members)}")


def _convert_scalar(kind: ScalarKind, text: str) -> object:
    try:
        return _parse(kind, text)
    except (ValueError, ArithmeticError):
        raise ConvertError(f"{_short(text)} is not {_MEANT[kind]}") from None


def _parse(kind: ScalarKind, text: str) -> object:
    """Raises ValueError or ArithmeticError. A module is imported only when a value is converted."""
    match kind:
        case "str":
            return text
        case "bool":
            if (lowered := text.lower()) not in TRUE_WORDS | FALSE_WORDS:
                raise ValueError(text)
            return lowered in TRUE_WORDS
        case "int":
            if not re.fullmatch(r"\s*[+-]?\d+(_\d+)*\s*", text):
                raise ValueError(text)
            return int(text)
        case "float":
            return float(text)
        case "path":
            from pathlib import Path

            return Path(text)
        case "date":
            from datetime import date

            return date.fromisoformat(text)
        case "datetime":
            from datetime import datetime

            return datetime.fromisoformat(text)
        case "decimal":
            from decimal import Decimal

            return Decimal(text)
        case "uuid":
            from uuid import UUID

            return UUID(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
