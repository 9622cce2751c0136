"""Each setting: what it means, what its value may be, and how its environment variable is read. Its default is that of
`Project`.

A rule gives the value or raises `InvalidSetting`. Where several things can be wrong at once, it adds the problems
itself and leaves out what is wrong. The values of parameters stay texts, since only the tools know their types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial

import msgspec
from msgspec import Struct

from discover_orch.config.setting_values import (
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
from discover_orch.model.errors import nearest

#: The hint for a name that a stage or a group cannot have.
_OTHER_NAME = (
    'choose another one: "full" means all stages, and a group cannot have the name of a stage'
)
NAMED_BY_ROOT = "\0"  # `ledger = true`, until the name of the project is known


class Setting(Struct, frozen=True):
    """A key: the kind of its value, by which its environment variable is read, and what it means, for the
    reference. `rule` is None where any value of that kind will do; `default` is that of a key of `orch watch`, as in
    TOML."""

    kind: Kind
    meaning: str
    rule: Callable[[SettingReader, RawSetting], object] | None = None
    default: str = ""

    def read(self, reader: SettingReader, given: RawSetting) -> object:
        """The value. Raises `InvalidSetting`."""
        return typed(given, self.kind) if self.rule is None else self.rule(reader, given)


class ParamDefault(Struct, frozen=True, kw_only=True):
    """A configured value of a parameter: one text, or the texts of a list, and where it was set."""

    texts: Texts
    origin: str


DASK = "dask="  # the address of the scheduler follows
WORDS = ("local", DASK, "command")
#: Programs that run a command on the machine on which they are started.
LOCAL_PROGRAMS = frozenset(
    {
        *("chrt", "env", "ionice", "nice", "nohup", "numactl", "perf", "prlimit", "setsid"),
        *("stdbuf", "strace", "taskset", "time", "timeout"),
    }
)


class Command(Struct, frozen=True, kw_only=True):
    """`[tool.orch.command]`: the words of `prefix` and of `python`. `local` says whether the prefix runs tools on this
    machine; None if the user does not say."""

    prefix: Texts = ()
    python: Texts = ()
    local: bool | None = None

    @property
    def is_remote(self) -> bool:
        """Whether tools may run on another machine."""
        if not self.prefix or self.local is not None:
            return bool(self.prefix) and not self.local
        return os.path.basename(self.prefix[0]) not in LOCAL_PROGRAMS


def read_executor(given: RawSetting) -> str:
    executor = str(typed(given, "text")).strip()
    if not is_executor(executor):
        message = f'{given.name} = "{printable(executor)}" is not an executor'
        raise InvalidSetting(given, message, executor_hint(executor))
    return executor


def is_executor(word: str) -> bool:
    """Whether it has the form of one."""
    return word in ("local", "command") or bool(dask_address(word))


def dask_address(executor: str) -> str:
    """The address of the Dask scheduler; "" for another executor."""
    return executor.removeprefix(DASK) if executor.startswith(DASK) else ""


def executor_hint(word: str) -> str:
    if word in ("dask", DASK):
        return f'add the address of the scheduler: "{DASK}tcp://HOST:8786"'
    if guess := nearest(word.partition("=")[0], ("local", "dask", "command")):
        return f'did you mean "{DASK}ADDRESS"?' if guess == "dask" else f'did you mean "{guess}"?'
    return f'use "local", "{DASK}ADDRESS" or "command"'


def read_command(reader: SettingReader, given: RawSetting) -> Command:
    rules = {
        "prefix": _read_words,
        "python": _read_words,
        "local": lambda entry: typed(entry, "flag"),
    }
    return msgspec.convert(reader.read_known(given, rules), Command)


def _read_words(given: RawSetting) -> Texts:
    """Split as a shell does, or given as a list."""
    if isinstance(given.value, list):
        return tuple(typed(given, "texts"))
    import shlex  # few projects have a command

    try:
        return tuple(shlex.split(typed(given, "text")))
    except ValueError as error:
        message = f"{given.name} cannot be split into words: {str(error).lower()}"
        hint = "quote it as in a shell, or write a list of words"
        raise InvalidSetting(given, message, hint) from None


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


def _groups(reader: SettingReader, given: RawSetting) -> dict[str, Texts]:
    """That no stage has the name of one is checked where all stages are known."""

    def members(entry: RawSetting) -> Texts:
        if not entry.key.strip() or entry.key == ALL_STAGES:
            message = f"{shown(entry.key)} cannot be the name of a group"
            raise InvalidSetting(entry, message, _OTHER_NAME)
        found: Texts = typed(entry, "texts")
        return found

    return reader.read_entries(given, members)


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


def _watch(reader: SettingReader, given: RawSetting) -> dict[str, object]:
    return reader.read_known(given, {key: partial(one.read, reader) for key, one in WATCH.items()})


def _params(
    reader: SettingReader, given: RawSetting
) -> tuple[dict[str, ParamDefault], dict[str, dict[str, ParamDefault]]]:
    """(for all tools, for each tool by the word that names it)."""
    params: dict[str, ParamDefault] = {}
    tools: dict[str, dict[str, ParamDefault]] = {}
    for entry in given.entries():
        inside = entry.entries() if isinstance(entry.value, Mapping) else [entry]
        into = tools.setdefault(entry.key, {}) if isinstance(entry.value, Mapping) else params
        for one in inside:
            reader.read(one, partial(_add_param, params=into))
    return params, tools


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
        if isinstance(given.value, Mapping):
            hint = 'write the name of a tool with a dot in quotes: [tool.orch.params."src.parse"]'
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


KEYS: Mapping[str, Setting] = {
    "packages": Setting(
        "texts", "folders to scan, or dotted packages under `pythonpath`", _folders
    ),
    "pythonpath": Setting(
        "texts",
        'folders to put on `sys.path` when tools run; for a src layout, `["src"]`',
        _folders,
    ),
    "stages": Setting("texts", "the order of the stages", _stages),
    "groups": Setting(
        "table",
        'named lists of targets: `nightly = ["ingest", "render"]`. A group cannot contain itself',
        _groups,
    ),
    "exclude": Setting("texts", "gitignore patterns of files that are not scanned"),
    "database": Setting(
        "text", "the URL for `conn`, where `orchconf.py` has no `get_connection()`", _database
    ),
    "transaction": Setting(
        "text",
        '`"tool"`, `"none"`, or `"run"`: one transaction for the whole run',
        lambda _, given: word(given, ("tool", "none", "run")),
    ),
    "env_file": Setting(
        "text",
        "a file with environment variables, one `NAME=value` a line, such as `.env`. "
        "Variables that are set already take precedence",
    ),
    "ledger": Setting(
        "text",
        "`true`: each tool's transaction records itself in the table `orch_ledger`. A text is the name of the "
        "project there",
        _ledger,
    ),
    "table_version_rows": Setting(
        "count",
        "tables with up to this many rows are compared by content; 0: none, and a report shows no rows",
    ),
    "external_writes": Setting(
        "text",
        'what another program writes to the SQLite or DuckDB file makes its readers `"stale"`, or not: `"ignore"`',
        lambda _, given: word(given, ("stale", "ignore")),
    ),
    "jobs": Setting(
        "count", "the number of worker processes", lambda _, given: typed(given, "count", least=1)
    ),
    "tokens": Setting(
        "table",
        "how many tokens of each kind there are: `{gpu = 1}`",
        lambda reader, given: reader.read_entries(given, partial(typed, kind="count")),
    ),
    "executor": Setting(
        "text",
        'where tools run: `"local"`, `"dask=ADDRESS"` (a scheduler) or `"command"`',
        lambda _, given: read_executor(given),
    ),
    "command": Setting(
        "table",
        'for `executor = "command"`: `prefix`, such as `"srun --mem=4G"`, `python`, the interpreter there (default: '
        "the one that runs `orch`), and `local = true` if the prefix runs tools on this machine",
        read_command,
    ),
    "params": Setting(
        "table", "values of parameters; `[tool.orch.params.parse]` for one tool", _params
    ),
    "report": Setting("flag", "write the report page after each `orch run`, and print its path"),
    "strict": Setting("flag", "treat warnings as errors"),
    "keep_runs": Setting("count", "how many runs the history keeps"),
    "watch": Setting("table", "settings of `orch watch`, below", _watch),
}
#: Those of `[tool.orch.watch]`.
WATCH: Mapping[str, Setting] = {
    "scope": Setting(
        "text",
        'what runs in the affected stages: the stale tools; with `"stage"` all tools; with `"tool"` only those whose '
        "own code or inputs changed",
        lambda _, given: word(given, ("affected", "stage", "tool")),
        default='"affected"',
    ),
    "debounce": Setting("seconds", "the least number of seconds to wait after a save", default="0"),
    "ignore": Setting(
        "texts", "gitignore patterns of files whose changes never count", default="[]"
    ),
    "poll": Setting(
        "flag", "compare the files regularly instead of waiting for file events", default="false"
    ),
    "on_busy": Setting(
        "text",
        'a change during a run cancels what it affects; `"queue"` lets the run finish',
        lambda _, given: word(given, ("restart", "queue")),
        default='"restart"',
    ),
    "preload": Setting(
        "texts",
        "import ahead of the next run what tools import from outside the project; a list names the modules",
        lambda _, given: typed(given, "flag" if isinstance(given.value, bool) else "texts"),
        default="true",
    ),
}
