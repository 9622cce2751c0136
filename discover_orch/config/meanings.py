"""What each setting means, for `orch help configuration` and the reference. `project` has their rules and defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping

from discover_orch.config.project import Project

#: Of each key of `[tool.orch]`.
MEANINGS: Mapping[str, str] = {
    "packages": "folders to scan, or dotted packages under `pythonpath`",
    "pythonpath": 'folders to put on `sys.path` when tools run; for a src layout, `["src"]`',
    "stages": "the order of the stages",
    "groups": 'named lists of targets: `nightly = ["ingest", "render"]`. A group cannot contain itself',
    "exclude": "gitignore patterns of files that are not scanned",
    "database": "the URL for `conn`, where `orchconf.py` has no `get_connection()`",
    "transaction": '`"tool"`, `"none"`, or `"run"`: one transaction for the whole run',
    "env_file": "a file with environment variables, one `NAME=value` a line, such as `.env`. What is set already wins",
    "ledger": "`true`: each tool's transaction records itself in the table `orch_ledger`. A text is the name of "
    "the project there",
    "table_version_rows": "tables with up to so many rows are compared by what they contain; 0: none",
    "external_writes": "what it means that another program wrote to the SQLite or DuckDB file: "
    '`"stale"` makes the tools that read it stale, `"ignore"` does not',
    "jobs": "the number of worker processes",
    "tokens": "how many tokens of each kind there are: `{gpu = 1}`",
    "executor": 'where tools run: `"local"`, `"dask=ADDRESS"` (a scheduler) or `"command"`',
    "command": 'for `executor = "command"`: `prefix`, such as `"srun --mem=4G"`, `python`, the interpreter there '
    "(default: the one that runs `orch`), and `local = true` if the prefix runs tools on this machine",
    "params": "values of parameters; `[tool.orch.params.parse]` for one tool",
    "report": "write the report page after each `orch run`, and print its path",
    "strict": "treat warnings as errors",
    "keep_runs": "how many runs the history keeps",
    "watch": "settings of `orch watch`, below",
}
#: Of each key of `[tool.orch.watch]`: its default, as in TOML, and what it means.
WATCH_MEANINGS: Mapping[str, tuple[str, str]] = {
    "scope": (
        '"affected"',
        "what a change runs: the stale tools of the affected stages, or with "
        '`"stage"` all tools of these stages, or with `"tool"` only the tools whose own code or inputs changed',
    ),
    "debounce": ("0", "the least number of seconds to wait after a save"),
    "ignore": ("[]", "gitignore patterns of files whose changes never count"),
    "poll": ("false", "compare the files regularly instead of waiting for file events"),
    "on_busy": (
        '"restart"',
        'a change during a run cancels what it affects; `"queue"` lets the run finish',
    ),
    "preload": (
        "true",
        "import ahead of the next run what tools import from outside the project; a list names the modules",
    ),
}


def default_of(key: str) -> str:
    """The default of a key of `[tool.orch]`, as it is written in TOML."""
    value = getattr(Project(root="/"), key)
    if key == "ledger":  # the name of the project, or "" for none
        value = bool(value)
    is_plain = isinstance(value, str | int | float | tuple)
    return json.dumps(value if is_plain else {})  # all others are tables


def configuration_rows() -> list[tuple[str, str, str]]:
    """(key, default, meaning) of all settings; those of `orch watch` have keys like `watch.scope`."""
    rows = [(key, default_of(key), meaning) for key, meaning in MEANINGS.items()]
    return rows + [(f"watch.{key}", *row) for key, row in WATCH_MEANINGS.items()]
