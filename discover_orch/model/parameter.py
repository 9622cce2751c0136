"""The parameters of `run()`: their types, and how a text from outside becomes a value of a type.

No class of the user is imported: an Enum of the project is known by the names and values of its members.
A new type begins here: `SCALARS` names it, `convert_one` converts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from discover_orch.model.conventions import PARAM_PREFIX

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
SECRET_LAST_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "credentials", "apikey", "pass", "pgpassword"}
    | {"jwt", "pat", "webhook"}
)  # fmt: skip
#: `PWD` alone is the working directory.
SECRET_ENDS = ("api_key", "secret_key", "access_key", "private_key", "webhook_url", "_pwd")
#: What the setting `secrets` names. A process works on one project at a time, and each name is compared with the words
#: above in many places, none of which may forget these.
_named_secrets: re.Pattern[str] | None = None
#: Shown in place of a secret.
MASK = "***"
#: What stands before the password of a URL, and the password. It is looked for in any text: `/` and quotes end it.
_URL_PASSWORD = r"""(://[^\s/?#:@"'<>]*:)([^\s/?#"'<>]+)(?=@)"""
#: A user without a password is a token where the web and version control take one there, as in
#: `git+https://TOKEN@host`. GitHub also takes the password `x-oauth-basic`, and Stripe an empty one.
_URL_TOKEN = (
    r"""(?<![\w+.-])((?i:(?:(?:git|hg|svn|bzr)\+)?https?)://)([^\s/?#:@"'<>]+)"""
    r"""(?=@|:@|:x-oauth-basic@)"""
)
#: A connection string of libpq has a password beside other keywords, as in `host=db password=…`
#: (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
_IS_CONNECTION_STRING = r"(?:^|\s)(?:host|hostaddr|dbname|user|port|service)\s*=\s*\S"
_STRING_PASSWORD = r"((?:^|(?<=\s))password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s']\S*)"
#: Characters. A shorter user may be a name, which is masked in its URL alone.
_MIN_TOKEN_LENGTH = 16


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


def is_secret_name(name: str) -> bool:
    """Whether a parameter or an environment variable of this name, in any case, holds a secret."""
    lowered = name.lower().replace("-", "_")
    words = lowered.split("_")
    if words[-1] in SECRET_LAST_WORDS or "token" in words or lowered.endswith(SECRET_ENDS):
        return True
    named = _named_secrets
    return named is not None and named.match(lowered.removeprefix(PARAM_PREFIX.lower())) is not None


def name_secrets(patterns: Sequence[str]) -> None:
    """From now on names that match these, in any case, are those of secrets, too; they replace those of before."""
    global _named_secrets
    _named_secrets = None
    if patterns:
        from fnmatch import translate  # few projects name some

        lowered = (one.strip().lower().replace("-", "_") for one in patterns)
        _named_secrets = re.compile("|".join(translate(one) for one in lowered if one) or r"(?!)")


def is_secret_value(name: str, text: str) -> bool:
    """Whether the value of this parameter is a secret, or a URL with a password."""
    return is_secret_name(name) or hide_url_passwords(text) != text


def hide_url_passwords(text: str) -> str:
    """`text` with `***` in place of the password of each URL and connection string in it, and of the token."""
    if "password" in text and re.search(_IS_CONNECTION_STRING, text):
        text = re.sub(_STRING_PASSWORD, rf"\1{MASK}", text)
    if "://" not in text or "@" not in text:
        return text
    return re.sub(_URL_PASSWORD, rf"\1{MASK}", re.sub(_URL_TOKEN, rf"\1{MASK}", text))


def find_url_passwords(text: str) -> list[str]:
    """The passwords and tokens of the URLs and connection strings in `text`, as they stand there and decoded. One that
    is the name of its user, as in `postgres:postgres@localhost`, is none: masked everywhere, it would hide an ordinary
    word."""
    in_string = []
    if "password" in text and re.search(_IS_CONNECTION_STRING, text):
        in_string = [password.strip("'") for _, password in re.findall(_STRING_PASSWORD, text)]
    if "://" not in text or "@" not in text:
        return in_string
    from urllib.parse import unquote

    pairs = re.findall(_URL_PASSWORD, text)
    found = [password for before, password in pairs if before != f"://{password}:"]
    tokens = [token for _, token in re.findall(_URL_TOKEN, text)]
    found += [token for token in tokens if len(token) >= _MIN_TOKEN_LENGTH]
    return [*in_string, *found, *(unquote(one) for one in found if "%" in one)]


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
