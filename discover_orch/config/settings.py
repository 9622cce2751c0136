"""Each setting: what it means, what its value may be, and how its environment variable is read. Its default is that of
`Project`.

The values of parameters stay texts, since only the tools know their types.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from discover_orch.config.setting_values import (
    COUNT,
    FLAG,
    FOLDERS,
    KEPT,
    POSITIVE,
    SECONDS,
    TEXT,
    TEXTS,
    Kind,
    Texts,
    one_of,
    table_of,
)
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.database_url import URL_PATTERN


class Setting(Struct, frozen=True):
    """A key: the kind of its value, by which its environment variable is read too, and what it means, for the
    reference; `default` is that of a key of `orch watch`, as in TOML."""

    kind: Kind
    meaning: str
    default: str = ""


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


def is_executor(word: str) -> bool:
    """Whether it has the form of one."""
    return word in ("local", "command") or bool(dask_address(word))


def dask_address(executor: str) -> str:
    """The address of the Dask scheduler; "" for another executor."""
    return executor.removeprefix(DASK) if executor.startswith(DASK) else ""


def _split(words: str | Texts) -> Texts:
    """As a shell does."""
    if not isinstance(words, str):
        return words
    import shlex  # few projects have a command

    return tuple(shlex.split(words))


def _build_stages(names: Texts) -> Texts:
    if len({*names}) < len(names) or ALL_STAGES in names:
        raise ValueError
    return names


def _build_texts(value: object) -> Texts:
    """The value of a parameter as it is typed on the command line."""
    return tuple(map(_param_text, value if isinstance(value, list) else [value]))


def _param_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)  # ValueError: more digits than Python converts
    # The scalars that are left in TOML are dates and times; this way `datetime` need not be imported.
    isoformat = getattr(value, "isoformat", None)
    if not callable(isoformat):
        raise ValueError
    return str(isoformat())


_DATABASE = Kind(Annotated[str, Meta(pattern=rf"\A{URL_PATTERN}")], "a URL", '"sqlite:///data.db"')
_NAME = Kind(Annotated[str, Meta(pattern=r"\S")], "a name", '"penguins"')
_STAGES = Kind(
    tuple[Annotated[str, Meta(pattern=r"\S")], ...],
    f'a list of different names, none of them empty or "{ALL_STAGES}"',
    '["...", "..."]',
    "one,two",
    _build_stages,
)
_EXECUTOR = Kind(
    Annotated[str, Meta(pattern=rf"\A(?:local|command|{DASK}.+)\Z")],
    f'"local", "command" or "{DASK}ADDRESS"',
    '"local"',
)
_WORDS = Kind(
    str | Texts, "a string with closed quotes, or a list of strings", '"..."', build=_split
)
_VALUE = Kind(
    Any,
    "a string, a number, true, false, a date, or a list of those",
    "",
    build=_build_texts,
    hint='write the name of a tool with a dot in quotes, as in [tool.orch.params."src.parse"]; put nested data into a '
    "file that the tool reads",
)
#: The value of a parameter, or a table of them for one tool.
_PARAM = replace(
    _VALUE,
    build=lambda value: value if isinstance(value, Mapping) else _build_texts(value),
    entries=_VALUE,
)
_COMMAND = table_of({"prefix": _WORDS, "python": _WORDS, "local": FLAG})

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
KEYS: Mapping[str, Setting] = {
    "packages": Setting(FOLDERS, "folders to scan, or dotted packages under `pythonpath`"),
    "pythonpath": Setting(
        FOLDERS,
        'folders to put on `sys.path` when tools run; for a src layout, `["src"]`',
    ),
    "stages": Setting(_STAGES, "the order of the stages"),
    "groups": Setting(
        table_of(TEXTS),
        'named lists of targets: `nightly = ["ingest", "render"]`. A group cannot contain itself',
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
        table_of(COUNT),
        "how many tokens of each kind there are: `{gpu = 1}`",
    ),
    "executor": Setting(
        _EXECUTOR,
        'where tools run: `"local"`, `"dask=ADDRESS"` (a scheduler) or `"command"`',
    ),
    "command": Setting(
        _COMMAND,
        'for `executor = "command"`: `prefix`, such as `"srun --mem=4G"`, `python`, the interpreter there (default: '
        "the one that runs `orch`), and `local = true` if the prefix runs tools on this machine",
    ),
    "params": Setting(
        table_of(_PARAM), "values of parameters; `[tool.orch.params.parse]` for one tool"
    ),
    "report": Setting(FLAG, "write the report page after each `orch run`, and print its path"),
    "strict": Setting(FLAG, "treat warnings as errors"),
    "keep_runs": Setting(
        KEPT, 'how many runs the history keeps, or for how long: `"90d"`, `"12h"`'
    ),
    "watch": Setting(
        table_of({key: one.kind for key, one in WATCH.items()}), "settings of `orch watch`, below"
    ),
}
