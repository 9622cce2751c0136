"""Each setting: what it means, what its value may be, and how its environment variable is read. Its default is that of
`Project`.

A rule gives the value or raises `InvalidSetting`. Where several things can be wrong at once, it adds the problems
itself and leaves out what is wrong. The values of parameters stay texts, since only the tools know their types.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from discover_orch.config.setting_values import (
    COUNT,
    FLAG,
    FOLDERS,
    POSITIVE,
    SECONDS,
    TABLE,
    TEXT,
    TEXTS,
    InvalidSetting,
    Kind,
    RawSetting,
    SettingReader,
    Texts,
    one_of,
    printable,
    shown,
    typed,
)
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.database_url import URL_PATTERN
from discover_orch.model.parameter import ParamValue

#: The hint for a name that a stage or a group cannot have.
_OTHER_NAME = (
    'choose another one: "full" means all stages, and a group cannot have the name of a stage'
)


class Setting(Struct, frozen=True):
    """A key: the kind of its value, by which its environment variable is read too, and what it means, for the
    reference. `rule` is None where any value of that kind will do; `default` is that of a key of `orch watch`, as in
    TOML."""

    kind: Kind
    meaning: str
    rule: Callable[[SettingReader, RawSetting], object] | None = None
    default: str = ""

    def read(self, reader: SettingReader, given: RawSetting) -> object:
        """The value. Raises `InvalidSetting`."""
        return typed(given, self.kind) if self.rule is None else self.rule(reader, given)


DASK = "dask="  # the address of the scheduler follows
WORDS = ("local", DASK, "command")
EXECUTOR_HINT = f'use "local", "command" or "{DASK}ADDRESS", such as {DASK}tcp://HOST:8786'
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
    executor = str(typed(given, TEXT)).strip()
    if not is_executor(executor):
        message = f'{given.name} = "{printable(executor)}" is not an executor'
        raise InvalidSetting(given, message, EXECUTOR_HINT)
    return executor


def is_executor(word: str) -> bool:
    """Whether it has the form of one."""
    return word in ("local", "command") or bool(dask_address(word))


def dask_address(executor: str) -> str:
    """The address of the Dask scheduler; "" for another executor."""
    return executor.removeprefix(DASK) if executor.startswith(DASK) else ""


def read_command(reader: SettingReader, given: RawSetting) -> Command:
    rules = {
        "prefix": _read_words,
        "python": _read_words,
        "local": lambda entry: typed(entry, FLAG),
    }
    return msgspec.convert(reader.read_known(given, rules), Command)


def _read_words(given: RawSetting) -> Texts:
    """Split as a shell does, or given as a list."""
    if isinstance(given.value, list):
        return tuple(typed(given, TEXTS))
    import shlex  # few projects have a command

    try:
        return tuple(shlex.split(typed(given, TEXT)))
    except ValueError as error:
        message = f"{given.name} cannot be split into words: {str(error).lower()}"
        hint = "quote it as in a shell, or write a list of words"
        raise InvalidSetting(given, message, hint) from None


def _folders(_: SettingReader, given: RawSetting) -> Texts:
    return tuple(dict.fromkeys(typed(given, FOLDERS)))


def _stages(reader: SettingReader, given: RawSetting) -> Texts:
    stages: list[str] = []
    for stage in typed(given, TEXTS):
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
        found: Texts = typed(entry, TEXTS)
        return found

    return reader.read_entries(given, members)


_DATABASE = Kind(Annotated[str, Meta(pattern=rf"\A{URL_PATTERN}")], "a URL", '"sqlite:///data.db"')
_NAME = Kind(Annotated[str, Meta(pattern=r"\S")], "a name", '"penguins"')


def _watch(reader: SettingReader, given: RawSetting) -> dict[str, object]:
    return reader.read_known(given, {key: partial(one.read, reader) for key, one in WATCH.items()})


def _params(
    reader: SettingReader, given: RawSetting
) -> tuple[dict[str, ParamValue], dict[str, dict[str, ParamValue]]]:
    """(for all tools, for each tool by the word that names it)."""
    params: dict[str, ParamValue] = {}
    tools: dict[str, dict[str, ParamValue]] = {}
    for entry in given.entries():
        inside = entry.entries() if isinstance(entry.value, Mapping) else [entry]
        into = tools.setdefault(entry.key, {}) if isinstance(entry.value, Mapping) else params
        for one in inside:
            reader.read(one, partial(_add_param, params=into))
    return params, tools


def _add_param(given: RawSetting, params: dict[str, ParamValue]) -> None:
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
        raise InvalidSetting(given, message, hint)
    params[name] = ParamValue(texts=written, origin=given.origin)


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
        FOLDERS, "folders to scan, or dotted packages under `pythonpath`", _folders
    ),
    "pythonpath": Setting(
        FOLDERS,
        'folders to put on `sys.path` when tools run; for a src layout, `["src"]`',
        _folders,
    ),
    "stages": Setting(TEXTS, "the order of the stages", _stages),
    "groups": Setting(
        TABLE,
        'named lists of targets: `nightly = ["ingest", "render"]`. A group cannot contain itself',
        _groups,
    ),
    "exclude": Setting(TEXTS, "gitignore patterns of files that are not scanned"),
    "database": Setting(
        _DATABASE, "the URL for `conn`, where `orchconf.py` has no `get_connection()`"
    ),
    "transaction": Setting(
        one_of("tool", "none", "run"),
        '`"tool"`, `"none"`, or `"run"`: one transaction for the whole run',
    ),
    "env_file": Setting(
        TEXT,
        "a file with environment variables, one `NAME=value` a line, such as `.env`. "
        "Variables that are set already take precedence",
    ),
    "project": Setting(
        _NAME, "the name under which the database keeps what orch remembers of this project"
    ),
    "memory": Setting(
        one_of("database", "local"),
        'where orch remembers the tools that write to the database: there, in the table `orch_memory`, or `"local"`: '
        "in `.orch` alone",
    ),
    "secrets": Setting(
        TEXTS,
        'names of more parameters and environment variables that are secret, in any case: `["region", "smtp_*"]`',
    ),
    "table_version_rows": Setting(
        COUNT,
        "tables with up to this many rows are compared by content; 0: none, and a report shows no rows",
    ),
    "external_writes": Setting(
        one_of("stale", "ignore"),
        'what another program changes in a table makes its maker and its readers `"stale"`, or not: `"ignore"`',
    ),
    "jobs": Setting(POSITIVE, "the number of worker processes"),
    "worker": Setting(
        one_of("shared", "own"),
        'the process in which a tool runs: one that it shares with others, or its `"own"`',
    ),
    "tokens": Setting(
        TABLE,
        "how many tokens of each kind there are: `{gpu = 1}`",
        lambda reader, given: reader.read_entries(given, partial(typed, kind=COUNT)),
    ),
    "executor": Setting(
        TEXT,
        'where tools run: `"local"`, `"dask=ADDRESS"` (a scheduler) or `"command"`',
        lambda _, given: read_executor(given),
    ),
    "command": Setting(
        TABLE,
        'for `executor = "command"`: `prefix`, such as `"srun --mem=4G"`, `python`, the interpreter there (default: '
        "the one that runs `orch`), and `local = true` if the prefix runs tools on this machine",
        read_command,
    ),
    "params": Setting(
        TABLE, "values of parameters; `[tool.orch.params.parse]` for one tool", _params
    ),
    "report": Setting(FLAG, "write the report page after each `orch run`, and print its path"),
    "strict": Setting(FLAG, "treat warnings as errors"),
    "keep_runs": Setting(COUNT, "how many runs the history keeps"),
    "watch": Setting(TABLE, "settings of `orch watch`, below", _watch),
}
#: Those of `[tool.orch.watch]`.
WATCH: Mapping[str, Setting] = {
    "scope": Setting(
        one_of("affected", "stage", "tool"),
        'what runs in the affected stages: the stale tools; with `"stage"` all tools; with `"tool"` only those whose '
        "own code or inputs changed",
        default='"affected"',
    ),
    "debounce": Setting(SECONDS, "the least number of seconds to wait after a save", default="0"),
    "ignore": Setting(TEXTS, "gitignore patterns of files whose changes never count", default="[]"),
    "poll": Setting(
        FLAG, "compare the files regularly instead of waiting for file events", default="false"
    ),
    "on_busy": Setting(
        one_of("restart", "queue"),
        'a change during a run cancels what it affects; `"queue"` lets the run finish',
        default='"restart"',
    ),
    "preload": Setting(
        Kind(bool | Texts, "true, false or a list of strings", "true"),
        "import ahead of the next run what tools import from outside the project; a list names the modules",
        default="true",
    ),
}
