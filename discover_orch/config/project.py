"""What the user configured, as a value.

In: the table `[tool.orch]` or the whole of `orch.toml`, as the TOML parser gives it, and the
environment. Out: a `Project`, its defaults filled in, and every problem at once, each with its
place and the nearest key. Pure: `config` reads the file. Values of parameters stay texts, since
only the tools that take them know their types. No message shows a password or such a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct, field

from discover_orch.config.validation import (
    InvalidSetting,
    Kind,
    RawSetting,
    ReadLines,
    SettingReader,
    Texts,
    count,
    decode_variable,
    entries,
    flag,
    printable,
    seconds,
    shown,
    text,
    texts,
    word,
)
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.errors import Problem, nearest
from discover_orch.model.tool import MASK

VARIABLE_PREFIX = "ORCH_"
PARAM_PREFIX = "ORCH_PARAM_"
INSIDE_VARIABLE = "ORCH_INSIDE"  # orch's own, in the environment of tools: see `protocol`
DATABASE_VARIABLE = "DATABASE_URL"

# Texts, since to look needs neither and compiling takes a millisecond.
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"
_SECRET_IN_QUERY = (
    r"(?i)(?:^|[?&;\s])[\w.-]*(?:pass|pwd|secret|token|api_?key|odbc_connect)[\w.-]*=([^&]*)"
)


class ParamDefault(Struct, frozen=True, kw_only=True):
    """A configured value of a parameter: its texts and where they stand.

    One text, or those of a list, which may be none.
    """

    texts: Texts
    origin: str


class Project(Struct, frozen=True, kw_only=True):
    """The configuration, its defaults filled in.

    `root` is absolute. `config` is the path of the file relative to the root, or None. `origins`
    says for each key that was set where it came from (`pyproject.toml`, `ORCH_STAGES`); a key that
    is not in it has its default. `database_origin` is `DATABASE_URL` or `default` then.

    `params` is for every tool that takes the name; `tool_params` by the word that names the tool;
    `env_params`, from `ORCH_PARAM_*`, goes before both. Names of parameters have underscores, those
    of `env_params` are in lower case.
    """

    root: str
    config: str | None = None
    packages: tuple[str, ...] = ("src",)
    pythonpath: tuple[str, ...] = (".",)
    stages: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    database: str = "sqlite:///data.db"
    database_origin: str = "default"
    transaction: str = "tool"
    jobs: int = 1
    tokens: Mapping[str, int] = field(default_factory=dict)
    executor: str = "local"
    params: Mapping[str, ParamDefault] = field(default_factory=dict)
    tool_params: Mapping[str, Mapping[str, ParamDefault]] = field(default_factory=dict)
    env_params: Mapping[str, ParamDefault] = field(default_factory=dict)
    strict: bool = False
    keep_runs: int = 100
    watch: Mapping[str, object] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, object],
        *,
        root: str,
        config: str | None = None,
        environ: Mapping[str, str] | None = None,
        read_lines: ReadLines = dict,
    ) -> tuple[Project, tuple[Problem, ...]]:
        """The project, and what is wrong with it; a key with a wrong value keeps its default.

        `read_lines` gives the lines of the keys in the file, by their path below the table. Never raises.
        """
        environ = environ or {}
        reader = SettingReader(config, read_lines)
        given = _from_file(reader, table, config) | _from_environment(reader, environ)
        values: dict[str, Any] = {}
        for key, (_, rule) in KEYS.items():
            if key in given:
                value = reader.read(given[key], partial(rule, reader))
                if value is not None:
                    values[key] = value
        if "groups" in values:
            _check_groups(reader, given["groups"], values["groups"], values.get("stages", ()))
        origins = {key: given[key].origin for key in values}
        if "database" in values:
            values["database_origin"] = origins["database"]
        elif "database" not in given and (url := environ.get(DATABASE_VARIABLE, "").strip()):
            # Not checked here: it may be meant for orchconf.py alone.
            values |= {"database": url, "database_origin": DATABASE_VARIABLE}
        values["params"], values["tool_params"] = values.get("params", ({}, {}))
        values |= {"env_params": _env_params(environ), "origins": origins}
        return cls(root=root, config=config, **values), tuple(reader.problems)


def masked_url(url: str) -> str:
    """The URL with `***` for its password, wherever a URL or a connection string may hold one."""
    masked, end = "", 0
    for start, stop in _secret_spans(url):
        if start > end:
            masked += url[end:start] + MASK
        end = max(end, stop)
    return masked + url[end:]


def url_secrets(url: str) -> tuple[str, ...]:
    """The passwords in a URL that are long enough to be replaced wherever they show, decoded too."""
    found: dict[str, None] = {}
    for start, stop in _secret_spans(url):
        text = url[start:stop]
        found[text] = None
        if "%" in text:
            from urllib.parse import unquote

            found[unquote(text)] = None
    return tuple(text for text in found if len(text) >= 8)


def _secret_spans(url: str) -> list[tuple[int, int]]:
    """Where passwords stand. One may itself hold `@`, `/` and `?` where somebody forgot to encode it, so
    this takes the longest reading: rather too much is hidden than one character too little."""
    spans = [match.span(1) for match in re.finditer(_SECRET_IN_QUERY, url)]
    scheme = re.match(_URL, url)
    colon = url.find(":", scheme.end() if scheme else 0)
    at = url.rfind("@")
    if 0 <= colon < at:
        spans.append((colon + 1, at))
    return sorted(span for span in spans if span[0] < span[1])


# What was given: the environment over the file.


def _from_file(
    reader: SettingReader, table: Mapping[str, object], config: str | None
) -> dict[str, RawSetting]:
    given: dict[str, RawSetting] = {}
    for key, found in table.items():
        if key in KEYS:
            origin = config or "configuration"
            given[key] = RawSetting(key=key, name=key, value=found, origin=origin, path=(key,))
            continue
        if config == "orch.toml" and key in ("tool", "orch"):
            hint = "in orch.toml the settings stand at the top, without [tool.orch] above them"
        elif guess := nearest(key, KEYS):
            hint = f'did you mean "{guess}"?'
        else:
            hint = f"the settings are {', '.join(KEYS)}"
        reader.add("unknown-key", f"{shown(key)} is not a setting of orch", hint, (key,))
    return given


def _from_environment(reader: SettingReader, environ: Mapping[str, str]) -> dict[str, RawSetting]:
    """An empty variable is as good as none; a lone comma is the empty list.

    Another program may own a variable that starts with ORCH_, so only a likely slip is told.
    """
    given: dict[str, RawSetting] = {}
    known = {VARIABLE_PREFIX + key.upper(): key for key in KEYS}
    for variable in sorted(environ):
        if not variable.startswith(VARIABLE_PREFIX) or variable.startswith(PARAM_PREFIX):
            continue
        if variable == INSIDE_VARIABLE:
            continue
        key = known.get(variable)
        if key is None:
            if guess := nearest(variable.upper(), (*known, PARAM_PREFIX + "<NAME>")):
                message = f"the variable {printable(variable)} is not a setting of orch"
                hint = f"did you mean {guess}?"
                reader.add("unknown-variable", message, hint, severity="warning")
        elif value := environ[variable].strip():
            written = RawSetting(key=key, name=variable, value=value, origin=variable)
            read = reader.read(written, partial(decode_variable, kind=KEYS[key][0]))
            if read is not None:
                given[key] = read
    return given


def _env_params(environ: Mapping[str, str]) -> dict[str, ParamDefault]:
    found: dict[str, ParamDefault] = {}
    for variable in sorted(environ):  # of two spellings the one in upper case, which comes first
        name = variable.removeprefix(PARAM_PREFIX).lower().replace("-", "_")
        if variable.startswith(PARAM_PREFIX) and name:
            found.setdefault(name, ParamDefault(texts=(environ[variable],), origin=variable))
    return found


# The rule of each key: the value, or `InvalidSetting`. Where several things can be wrong at once, a rule
# adds the problems itself and leaves out what is bad.


def _folders(_: SettingReader, given: RawSetting) -> Texts:
    for name in texts(given):
        if not name.strip() or "\0" in name:
            message = f"{given.name} holds {shown(name)}, which is no name of a folder"
            raise InvalidSetting(given, message, 'the root itself is "."')
    return tuple(dict.fromkeys(texts(given)))


def _stages(reader: SettingReader, given: RawSetting) -> Texts:
    stages: list[str] = []
    for stage in texts(given):
        if not stage.strip():
            message = f"{given.name} holds a stage with an empty name"
            hint = "give it a name, or remove it"
        elif stage == ALL_STAGES:
            message = '"full" cannot be a stage: it is the group of all stages in order'
            hint = "choose another name, here and in the tools"
        elif stage in stages:
            message = f"the stage {shown(stage)} is listed twice in {given.name}"
            hint = "remove one of the two"
        else:
            stages.append(stage)
            continue
        reader.add("bad-value", message, hint, given.path)
    return tuple(stages)


def _groups(reader: SettingReader, given: RawSetting) -> dict[str, Texts]:
    return reader.read_entries(given, texts)


def _check_groups(
    reader: SettingReader, given: RawSetting, groups: dict[str, Texts], stages: Texts
) -> None:
    """A group may be called neither like a stage nor `full`; such a one is left out."""
    for entry in entries(given):
        if not entry.key.strip():
            message = f"{given.name} holds a group with an empty name"
            hint = "give it a name, or remove it"
        elif entry.key == ALL_STAGES:
            message = '"full" cannot be a group of yours: it is all stages in order'
            hint = "choose another name"
        elif entry.key in stages:
            message = f"the group {shown(entry.key)} has the name of a stage"
            hint = "choose another name for the group"
        else:
            continue
        groups.pop(entry.key, None)
        reader.add("bad-value", message, hint, entry.path)


def _database(_: SettingReader, given: RawSetting) -> str:
    url = text(given)
    if re.match(_URL, url):
        return url
    is_path = url.strip() and not re.search(r"[:@?=\s]", url)
    example = f"sqlite:///{url}" if is_path else "sqlite:///data.db"
    message = f"{given.name} must be a URL, not {shown(masked_url(url))}"
    raise InvalidSetting(given, message, f'a SQLite file is "{printable(example)}"')


def _transaction(_: SettingReader, given: RawSetting) -> str:
    if given.value == "run":
        message = f'{given.name} = "run" is not built yet'
        raise InvalidSetting(given, message, 'write "tool" or "none"', "not-built")
    return word(given, ("tool", "none"))


def _jobs(_: SettingReader, given: RawSetting) -> int:
    jobs = count(given, least=1)
    if jobs > 1:
        message = f"{given.name} = {shown(jobs)} is not built yet: tools run one after another"
        raise InvalidSetting(given, message, "write 1, or leave it out", "not-built")
    return jobs


def _executor(_: SettingReader, given: RawSetting) -> str:
    executor = text(given)
    if executor != "local":
        message = f"{given.name} = {shown(executor)} is not built yet: tools run on this machine"
        raise InvalidSetting(given, message, 'write "local", or leave it out', "not-built")
    return executor


def _tokens(reader: SettingReader, given: RawSetting) -> dict[str, int]:
    return reader.read_entries(given, count)


def _watch(reader: SettingReader, given: RawSetting) -> dict[str, object]:
    rules: Mapping[str, Callable[[RawSetting], object]] = {
        "scope": partial(word, words=("stage", "tool", "downstream")),
        "debounce": seconds,
        "ignore": texts,
        "poll": flag,
        "on_busy": partial(word, words=("restart", "queue")),
        "preload": lambda entry: flag(entry) if isinstance(entry.value, bool) else texts(entry),
    }

    def rule(entry: RawSetting) -> object:
        if entry.key in rules:
            return rules[entry.key](entry)
        guess = nearest(entry.key, rules)
        hint = f'did you mean "{guess}"?' if guess else f"there are {', '.join(rules)}"
        message = f"{shown(entry.key)} is not a setting of {given.name}"
        raise InvalidSetting(entry, message, hint, "unknown-key")

    return reader.read_entries(given, rule)


def _params(
    reader: SettingReader, given: RawSetting
) -> tuple[dict[str, ParamDefault], dict[str, dict[str, ParamDefault]]]:
    """For all tools, and by the word that names one.

    `[tool.orch.params.src.parse]` is a table in a table to TOML, and means the tool `src.parse`.
    """
    found: dict[str, dict[str, ParamDefault]] = {"": {}}
    waiting = [("", given)]
    while waiting:
        tool, table = waiting.pop()
        inside = entries(table)
        tables = [entry for entry in inside if isinstance(entry.value, Mapping)]
        if len(tables) < len(inside) or not tables:
            found.setdefault(tool, {})  # else it is only a step on the way to a dotted name
        for entry in inside:
            if not isinstance(entry.value, Mapping):
                reader.read(entry, partial(_add_param, params=found[tool]))
            elif entry.key.strip("."):
                waiting.append((f"{tool}.{entry.key}" if tool else entry.key, entry))
            else:
                message = f"{table.name} holds a table with an empty name"
                reader.add("bad-value", message, "name the tool that it is for", entry.path)
    params = found.pop("")
    return params, found


def _add_param(given: RawSetting, params: dict[str, ParamDefault]) -> None:
    name = given.key.replace("-", "_")
    written = _param_texts(given.value)
    if not name.isidentifier():
        message = f"{shown(given.key)} cannot be a parameter"
        raise InvalidSetting(given, message, "write its name as run() has it")
    if name in params:
        message = f"the parameter {shown(name)} is given twice"
        raise InvalidSetting(
            given, message, "dashes and underscores are alike: remove one of the two"
        )
    if written is None:
        message = (
            f"{given.name} must be a string, a number, true, false, a date, or a list of those"
        )
        hint = "what is nested deeper belongs in a file that the tool reads"
        raise InvalidSetting(given, message, hint, "wrong-type")
    params[name] = ParamDefault(texts=written, origin=given.origin)


def _param_texts(value: object) -> Texts | None:
    texts = [_param_text(item) for item in (value if isinstance(value, list) else [value])]
    return None if None in texts else tuple(text for text in texts if text is not None)


def _param_text(value: object) -> str | None:
    """A scalar as somebody would type it on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        try:
            return str(value)
        except ValueError:  # more digits than Python converts
            return None
    # Of TOML's scalars dates and times are left; asking for the method spares the import.
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if callable(isoformat) else None


# Each setting: the kind of value that its variable is read as, and its rule.
KEYS: Mapping[str, tuple[Kind, Callable[[SettingReader, RawSetting], object]]] = {
    "packages": ("texts", _folders),
    "pythonpath": ("texts", _folders),
    "stages": ("texts", _stages),
    "groups": ("table", _groups),
    "exclude": ("texts", lambda _, given: texts(given)),
    "database": ("text", _database),
    "transaction": ("text", _transaction),
    "jobs": ("count", _jobs),
    "tokens": ("table", _tokens),
    "executor": ("text", _executor),
    "params": ("table", _params),
    "strict": ("flag", lambda _, given: flag(given)),
    "keep_runs": ("count", lambda _, given: count(given)),
    "watch": ("table", _watch),
}
