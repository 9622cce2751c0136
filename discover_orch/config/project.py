"""The settings of a project as a `Project`, from a table of the file and from the environment.

The values of parameters stay texts, since only the tools know their types. No message shows a password or the
value of a parameter. Reads no file: `file` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import Struct, field

from discover_orch.config.setting_values import (
    RawSetting,
    ReadLines,
    SettingReader,
    Texts,
    printable,
)
from discover_orch.config.settings import KEYS, Command
from discover_orch.model.conventions import DATABASE_VARIABLE, PARAM_PREFIX, VARIABLE_PREFIX
from discover_orch.model.errors import Problem, nearest
from discover_orch.model.parameter import ParamValue
from discover_orch.model.search_path import find_editable_packages, find_project_folders

INSIDE_VARIABLE = "ORCH_INSIDE"  # set by orch in the environment of tools, not a setting


class Project(Struct, frozen=True, kw_only=True):
    """The configuration, with defaults.

    `root` is absolute. `config` is the path of the file relative to the root, or None. `origins` says where each key
    was set (`pyproject.toml`, `ORCH_STAGES`); a key that is not in it has its default, and `database_origin` is
    `DATABASE_URL` or `default` then.

    `external_writes` says whether the tools that read the SQLite or DuckDB file are stale when another program wrote
    to it: "stale", or "ignore". Tables with up to `table_version_rows` rows are compared by content. `jobs` is the
    number of workers, and `worker` is "own" where each tool has one by itself. `project` is the name under which the
    database keeps the memory of the tools, if `memory` is "database", and not "local".

    `executor` is "local", "dask=ADDRESS" or "command"; `command` is for "command".

    `params` is for every tool that has the parameter, `tool_params` for the tool that its key names; `env_params`,
    from `ORCH_PARAM_*`, goes before both. Names of parameters have underscores; in `env_params` they are lower case.
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
    env_file: str = ""
    project: str = ""
    memory: str = "database"
    external_writes: str = "stale"
    table_version_rows: int = 20_000
    secrets: tuple[str, ...] = ()
    jobs: int = 1
    worker: str = "shared"
    tokens: Mapping[str, int] = field(default_factory=dict)
    executor: str = "local"
    command: Command = Command()
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    tool_params: Mapping[str, Mapping[str, ParamValue]] = field(default_factory=dict)
    env_params: Mapping[str, ParamValue] = field(default_factory=dict)
    report: bool = False
    strict: bool = False
    keep_runs: int | str = 100
    watch: Mapping[str, object] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def absolute_pythonpath(self) -> tuple[str, ...]:
        return tuple(os.path.normpath(os.path.join(self.root, one)) for one in self.pythonpath)

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, object],
        *,
        root: str,
        config: str | None = None,
        environ: Mapping[str, str] | None = None,
        name: str = "",
        read_lines: ReadLines = dict,
    ) -> tuple[Project, tuple[Problem, ...]]:
        """The project, and its problems; a key with a wrong value keeps its default.

        `name` is what the project is called elsewhere in the file, "" for the name of its folder. `read_lines` gives
        the lines of the keys in the file, by their path below the table. Never raises.
        """
        environ = environ or {}
        reader = SettingReader(config, read_lines)
        given = {key: RawSetting(one, (key,)) for key, one in table.items()}
        given |= _from_environment(reader, environ)
        known = {key: one.kind for key, one in KEYS.items()}
        read = {key: reader.read_entry(one, known) for key, one in given.items()}
        values: dict[str, Any] = {key: read[key] for key in KEYS if read.get(key) is not None}
        origins = {key: given[key].variable or config or "configuration" for key in values}
        if "database" in values:
            values["database_origin"] = origins["database"]
        elif "database" not in given and (url := environ.get(DATABASE_VARIABLE, "").strip()):
            # Not checked: it may be meant for orchconf.py only.
            values |= {"database": url, "database_origin": DATABASE_VARIABLE}
        if "pythonpath" in values:
            values["pythonpath"] = tuple(
                os.path.relpath(one, root).replace(os.sep, "/") if os.path.isabs(one) else one
                for one in values["pythonpath"]
            )
        values.setdefault("project", name or os.path.basename(root) or "root")
        if "command" in values:
            values["command"] = Command(**values["command"])
        params = values.pop("params", {})
        tools = {tool: one for tool, one in params.items() if isinstance(one, Mapping)}
        for_all = {name: one for name, one in params.items() if name not in tools}
        build = partial(_build_params, origin=origins.get("params", ""))
        values |= {
            "params": build(for_all),
            "tool_params": {tool: build(one) for tool, one in tools.items()},
        }
        values |= {"env_params": _env_params(environ), "origins": origins}
        return cls(root=root, config=config, **values), tuple(reader.problems)


def _build_params(texts: Mapping[str, Texts], origin: str) -> dict[str, ParamValue]:
    return {
        name.replace("-", "_"): ParamValue(texts=one, origin=origin) for name, one in texts.items()
    }


def _from_environment(reader: SettingReader, environ: Mapping[str, str]) -> dict[str, RawSetting]:
    """What goes before the file. An empty variable counts as not set; a single comma is the empty list.

    Other programs may use variables that start with ORCH_, so only one that looks like a typo gives a warning.
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
                message = f"unknown variable {printable(variable)}"
                hint = f"did you mean {guess}?"
                reader.add("unknown-variable", message, hint, severity="warning")
        elif value := environ[variable].strip():
            given[key] = RawSetting(value, (key,), variable)
    return given


def _env_params(environ: Mapping[str, str]) -> dict[str, ParamValue]:
    found: dict[str, ParamValue] = {}
    for variable in sorted(environ):  # upper case sorts first, and goes before lower case
        name = variable.removeprefix(PARAM_PREFIX).lower().replace("-", "_")
        if variable.startswith(PARAM_PREFIX) and name:
            found.setdefault(name, ParamValue(texts=(environ[variable],), origin=variable))
    return found


def module_folders(project: Project) -> tuple[str, ...]:
    """The folders in which a worker finds modules of the project, in this order, relative to the root: `pythonpath`,
    and what this interpreter and its environment add."""
    packages = find_editable_packages(sys.modules, os.path.isdir)
    others = (*find_project_folders(project.root, sys.path), *map(os.path.dirname, packages))
    command = os.path.dirname(os.path.abspath(sys.argv[0]))  # the worker does not have it
    shown = (
        os.path.relpath(one, project.root).replace(os.sep, "/")
        for one in others
        if one.rstrip(os.sep) != command
    )
    return tuple(dict.fromkeys((*map(os.path.normpath, project.pythonpath), *shown)))
