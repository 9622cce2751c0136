"""The rule of each setting: what its value may be, and how its environment variable is read.

A rule gives the value or raises `InvalidSetting`. Where several things can be wrong at once, it adds the problems
itself and leaves out what is wrong. The values of parameters stay texts, since only the tools know their types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct

from discover_orch.config.executor import read_command, read_executor
from discover_orch.config.validation import (
    InvalidSetting,
    Kind,
    RawSetting,
    SettingReader,
    Texts,
    printable,
    shown,
    typed,
    word,
)
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.database_url import URL_PATTERN, masked_url

#: The hint for a name that a stage or a group cannot have.
_OTHER_NAME = (
    'choose another one: "full" means all stages, and a group cannot have the name of a stage'
)
NAMED_BY_ROOT = "\0"  # `ledger = true`, until the name of the project is known


class ParamDefault(Struct, frozen=True, kw_only=True):
    """A configured value of a parameter: one text, or the texts of a list, and where it was set."""

    texts: Texts
    origin: str


def _folders(_: SettingReader, given: RawSetting) -> Texts:
    names: Texts = typed(given, "texts")
    for name in names:
        if not name.strip() or "\0" in name:
            message = f"{shown(name)} in {given.name} is not the name of a folder"
            raise InvalidSetting(given, message, 'write "." for the root itself')
    return tuple(dict.fromkeys(names))


def _stages(reader: SettingReader, given: RawSetting) -> Texts:
    stages: list[str] = []
    for stage in typed(given, "texts"):
        if not stage.strip() or stage == ALL_STAGES:
            message = f"{shown(stage)} in {given.name} cannot be the name of a stage"
            reader.add("bad-value", message, _OTHER_NAME, given.path)
        elif stage in stages:
            message = f"stage {shown(stage)} is listed twice in {given.name}"
            reader.add("bad-value", message, "remove one of them", given.path)
        else:
            stages.append(stage)
    return tuple(stages)


def check_groups(
    reader: SettingReader, given: RawSetting, groups: dict[str, Texts], stages: Texts
) -> None:
    """Leaves out groups with the name of a stage or `full`."""
    for entry in given.entries():
        if not entry.key.strip() or entry.key in (ALL_STAGES, *stages):
            groups.pop(entry.key, None)
            message = f"{shown(entry.key)} cannot be the name of a group"
            reader.add("bad-value", message, _OTHER_NAME, entry.path)


def _database(_: SettingReader, given: RawSetting) -> str:
    url: str = typed(given, "text")
    if re.match(URL_PATTERN, url):
        return url
    is_path = url.strip() and not re.search(r"[:@?=\s]", url)
    example = f"sqlite:///{url}" if is_path else "sqlite:///data.db"
    message = f"{given.name} must be a URL, not {shown(masked_url(url))}"
    raise InvalidSetting(given, message, f'for a SQLite file, write "{printable(example)}"')


#: Texts that mean true or false, or nothing, and would be odd names of a project.
_NO_NAMES = frozenset({"", "true", "yes", "on", "false", "no", "off"})


def _ledger(_: SettingReader, given: RawSetting) -> str:
    value = given.value
    if given.path is None and str(value).strip().lower() in ("true", "1", "false", "0"):
        value = str(value).strip().lower() in ("true", "1")  # of a variable
    if isinstance(value, bool):
        return NAMED_BY_ROOT if value else ""
    name = value.strip() if isinstance(value, str) else ""
    if name.lower() in _NO_NAMES:
        message = f"{given.name} must be true, false or a name, not {shown(value)}"
        hint = "write true or false without quotes, or the name of the project"
        raise InvalidSetting(given, message, hint, "wrong-type")
    return name


def _plain(kind: Kind) -> Callable[[RawSetting], object]:
    return partial(typed, kind=kind)


def _watch(reader: SettingReader, given: RawSetting) -> dict[str, object]:
    rules: Mapping[str, Callable[[RawSetting], object]] = {
        "scope": partial(word, words=("affected", "stage", "tool")),
        "debounce": _plain("seconds"),
        "ignore": _plain("texts"),
        "poll": _plain("flag"),
        "on_busy": partial(word, words=("restart", "queue")),
        "preload": lambda one: typed(one, "flag" if isinstance(one.value, bool) else "texts"),
    }
    return reader.read_known(given, rules)


def _params(
    reader: SettingReader, given: RawSetting
) -> tuple[dict[str, ParamDefault], dict[str, dict[str, ParamDefault]]]:
    """(for all tools, for each tool by the word that names it).

    In TOML `[tool.orch.params.src.parse]` is a table in a table; here it means the tool `src.parse`.
    """
    found: dict[str, dict[str, ParamDefault]] = {"": {}}
    waiting = [("", given)]
    while waiting:
        tool, table = waiting.pop()
        inside = table.entries()
        tables = [entry for entry in inside if isinstance(entry.value, Mapping)]
        if len(tables) < len(inside) or not tables:
            found.setdefault(tool, {})  # else the table is only a part of a dotted name
        for entry in inside:
            if not isinstance(entry.value, Mapping):
                reader.read(entry, partial(_add_param, params=found[tool]))
            elif entry.key.strip("."):
                waiting.append((f"{tool}.{entry.key}" if tool else entry.key, entry))
            else:
                message = f"{table.name} contains a table with an empty name"
                reader.add("bad-value", message, "write the name of a tool", entry.path)
    params = found.pop("")
    return params, found


def _add_param(given: RawSetting, params: dict[str, ParamDefault]) -> None:
    name = given.key.replace("-", "_")
    written = _param_texts(given.value)
    if not name.isidentifier():
        message = f"{shown(given.key)} cannot be the name of a parameter"
        raise InvalidSetting(given, message, "write the name as in the signature of run()")
    if name in params:
        message = f"parameter {shown(name)} is set twice"
        raise InvalidSetting(
            given, message, "dashes and underscores count as equal: remove one of them"
        )
    if written is None:
        message = (
            f"{given.name} must be a string, a number, true, false, a date, or a list of those"
        )
        hint = "put nested data into a file that the tool reads"
        raise InvalidSetting(given, message, hint, "wrong-type")
    params[name] = ParamDefault(texts=written, origin=given.origin)


def _param_texts(value: object) -> Texts | None:
    texts = [_param_text(item) for item in (value if isinstance(value, list) else [value])]
    return None if None in texts else tuple(text for text in texts if text is not None)


def _param_text(value: object) -> str | None:
    """A scalar as it is typed on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        try:
            return str(value)
        except ValueError:  # more digits than Python converts
            return None
    # The scalars that are left in TOML are dates and times; this way `datetime` need not be imported.
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if callable(isoformat) else None


# Of each setting: how its environment variable is read, and its rule, if not any value of that kind will do.
KEYS: Mapping[str, tuple[Kind, Callable[[SettingReader, RawSetting], object] | None]] = {
    "packages": ("texts", _folders),
    "pythonpath": ("texts", _folders),
    "stages": ("texts", _stages),
    "groups": ("table", lambda reader, given: reader.read_entries(given, _plain("texts"))),
    "exclude": ("texts", None),
    "database": ("text", _database),
    "transaction": ("text", lambda _, given: word(given, ("tool", "none", "run"))),
    "env_file": ("text", None),
    "ledger": ("text", _ledger),
    "table_version_rows": ("count", None),
    "external_writes": ("text", lambda _, given: word(given, ("stale", "ignore"))),
    "jobs": ("count", lambda _, given: typed(given, "count", least=1)),
    "tokens": ("table", lambda reader, given: reader.read_entries(given, _plain("count"))),
    "executor": ("text", lambda _, given: read_executor(given)),
    "command": ("table", read_command),
    "params": ("table", _params),
    "report": ("flag", None),
    "strict": ("flag", None),
    "keep_runs": ("count", None),
    "watch": ("table", _watch),
}
