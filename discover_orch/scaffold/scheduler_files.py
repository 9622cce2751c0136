"""The texts of `orch export`: a crontab line, a systemd service and timer, a GitHub workflow.

Each runs `orch run --changed`: what is stale, by a change or by its `"max_age"`, is run, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial

from discover_orch.discovery.registry import uses_get_connection
from discover_orch.model.database_url import find_database_file
from discover_orch.model.errors import UsageError
from discover_orch.model.items import as_glob, tool_of
from discover_orch.planning.project_view import ProjectView, select_targets
from discover_orch.scaffold.file_changes import read_file, read_text
from discover_orch.state.flow_lock import OUTSIDE, kind_of
from discover_orch.state.git_files import find_repository

#: How often: as cron says it, and as systemd does.
EVERY = {
    "5m": ("*/5 * * * *", "*:0/5"),
    "15m": ("*/15 * * * *", "*:0/15"),
    "30m": ("*/30 * * * *", "*:0/30"),
    "1h": ("0 * * * *", "hourly"),
    "6h": ("0 */6 * * *", "*-*-* 0/6:00:00"),
    "12h": ("0 */12 * * *", "*-*-* 0/12:00:00"),
    "1d": ("0 3 * * *", "*-*-* 03:00:00"),
}
#: The files of each kind, and their texts in the folder `schedules`.
_FILES = {
    "cron": {"crontab": "crontab"},
    "systemd": {"orch-{label}.service": "service", "orch-{label}.timer": "timer"},
    "github": {".github/workflows/{name}.yml": "workflow"},
}


def build_files(
    kind: str, view: ProjectView, targets: Sequence[str], every: str
) -> tuple[str, dict[str, str]]:
    """The folder of a schedule, and its files: name → text. `every` is a key of `EVERY`. Raises UsageError for an
    unknown target, and for a name that such a file cannot express."""
    root, env_file = view.project.root, view.project.env_file
    if any(one in f"{root}{sys.executable}{''.join(targets)}{env_file}" for one in "\n\r"):
        hint = "rename it: such a file cannot express it"
        raise UsageError.of("usage", "a path has a line break", hint)
    made = _find_made(view, targets)  # finds a mistake in a target now, not at night
    words = ("run", *targets, "--changed")
    python = os.path.dirname(sys.executable)
    script = os.path.join(python, "orch")
    start = (script,) if os.access(script, os.X_OK) else (sys.executable, "-m", "discover_orch")
    command = (*start, *words, "--if-busy", "skip", "--color", "never")
    path = f"PATH={python}:/usr/local/bin:/usr/bin:/bin"
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(root)).strip("-.") or "project"
    repository = find_repository(root) or root
    folder = os.path.relpath(root, repository)
    line = f"cd {shlex.quote(root)} && {shlex.join(command)} >>orch.log 2>&1"
    env_word = shlex.quote(env_file)
    yaml = partial(json.dumps, ensure_ascii=False)  # a text in JSON is one in YAML
    values = {
        "every": every,
        "cron": EVERY[every][0],
        "times": EVERY[every][1],
        "path": path,
        "line": line.replace("%", r"\%"),  # in a crontab, % begins the standard input
        "label": label,
        "unit": root.replace("%", "%%"),
        "unit_path": _unit_word(path),
        "start": " ".join(_unit_word(word.replace("$", "$$")) for word in command),
        "name": "orch" if folder == "." else f"orch-{label}",
        "folder": yaml(folder),
        "install": yaml(_find_install(root)),
        "env_file": env_file,
        "make": yaml(f"test -e {env_word} || printf '%s\\n' \"$ENV_FILE\" > {env_word}"),
        "cached": "\n".join(f"            {os.path.normpath(f'{folder}/{one}')}" for one in made),
        "run": yaml(shlex.join(("orch", *words))),
    }
    # orch reads the variables in `env_file` itself, which a workflow has to make first.
    own = {"unit_variables": not env_file, "env_step": bool(env_file)}
    for name, is_used in own.items():
        values[name] = read_text(f"schedules/{name}").format_map(values) if is_used else ""
    files = {
        name.format_map(values): read_text(f"schedules/{text}").format_map(values)
        for name, text in _FILES[kind].items()
    }
    return (repository if kind == "github" else root), files


def _find_install(root: str) -> str:
    """The command that installs what the project needs."""
    if read_file(root, "requirements.txt") is not None:
        return "pip install discover-orch -r requirements.txt"
    is_package = b"\n[project]" in b"\n" + (read_file(root, "pyproject.toml") or b"")
    return "pip install discover-orch ." if is_package else "pip install discover-orch"


def _find_made(view: ProjectView, targets: Sequence[str]) -> list[str]:
    """`.orch`, the database, and what the tools declare or were seen to write, below the root. A glob for more files
    could bring back an old version of one that is in the repository."""
    chosen = select_targets(view, targets).tools if targets else view.registry.order
    registry = view.registry
    made: set[str] = set()
    for one in chosen:
        tool, written = registry.tools[one], {*registry.flows[one].writes} - {OUTSIDE}
        if not tool.item.values:
            made |= {*written, *tool.outputs}
            continue
        # Of items also the files of those to come, which no repository has.
        outputs = registry.by_tool.tools[tool_of(one)].outputs
        made.update(map(as_glob, outputs))
        made |= {
            kind_of(path) if "/" in path else path for path in written.difference(tool.outputs)
        }
    if not uses_get_connection(registry, view.project):
        made.add(find_database_file(view.project.database))
    named = [one for one in sorted(made) if one and one.isprintable() and not os.path.isabs(one)]
    return [".orch", *named]


def _unit_word(word: str) -> str:
    """A word of a systemd unit: quoted, with `%` escaped."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[^A-Za-z0-9_./=:+@%$-]", word) else text
