"""The texts of `orch export`: a crontab line, a systemd service and timer, a GitHub workflow.

Each runs `orch run --changed`: what is stale, by a change or by its `"max_age"`, is run, and nothing else.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

from discover_orch.config.project import Project
from discover_orch.model.errors import UsageError
from discover_orch.scaffold.files import read_file, read_text

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
_ENV_FILE = """\
      # Keep the text of {env_file}, which is not in the repository, as the secret ENV_FILE.
      - run: {command}
        env:
          ENV_FILE: ${{{{ secrets.ENV_FILE }}}}
"""
#: What is said of the variables of the tools, where no file has them.
_VARIABLES = {
    "cron": "cron sets few variables: add those that your tools read as lines NAME=VALUE here.",
    "systemd": "Variables that your tools read, one NAME=VALUE a line; the - means that the file may be missing.",
    "github": "",
}
#: Files of one kind in a folder that the workflow names one by one.
_FEW = 10


def build_files(
    kind: str,
    project: Project,
    *,
    every: str,
    targets: Sequence[str],
    made: Sequence[str],
    repository: str,
) -> dict[str, str]:
    """The files of a schedule: name → text. `every` is a key of `EVERY`; `made` are the files to keep; `repository` is
    the root of the repository that has the project. Raises UsageError for a name that such a file cannot express."""
    root, env_file = project.root, project.env_file
    if any(one in f"{root}{sys.executable}{''.join(targets)}{env_file}" for one in "\n\r"):
        hint = "rename it: such a file cannot express it"
        raise UsageError.of("usage", "a path has a line break", hint)
    python = os.path.dirname(sys.executable)
    script = os.path.join(python, "orch")
    start = (script,) if os.access(script, os.X_OK) else (sys.executable, "-m", "discover_orch")
    words = ("run", *targets, "--changed")
    command = (*start, *words, "--if-busy", "skip", "--color", "never")
    path = f"PATH={python}:/usr/local/bin:/usr/bin:/bin"
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(root)).strip("-.") or "project"
    folder = os.path.relpath(root, repository)
    line = f"cd {shlex.quote(root)} && {shlex.join(command)} >>orch.log 2>&1"
    values = {
        "every": every,
        "cron": EVERY[every][0],
        "times": EVERY[every][1],
        "variables": f"orch reads the variables in {env_file}." if env_file else _VARIABLES[kind],
        "path": path,
        "line": line.replace("%", r"\%"),  # in a crontab, % begins the standard input
        "label": label,
        "unit": root.replace("%", "%%"),
        "unit_path": _unit_word(path),
        "start": " ".join(_unit_word(word.replace("$", "$$")) for word in command),
        "environment": "" if env_file else f"\nEnvironmentFile=-{root.replace('%', '%%')}/.env",
        "name": "orch" if folder == "." else f"orch-{label}",
        "folder": _yaml(folder),
        "install": _yaml(_find_install(root)),
        "env_step": _make_env_file(env_file),
        "cached": "\n".join(f"            {folder}/{one}" for one in _fold(made)).replace(
            " ./", " "
        ),
        "run": _yaml(shlex.join(("orch", *words))),
    }
    return {
        name.format_map(values): read_text(f"schedules/{text}").format_map(values)
        for name, text in _FILES[kind].items()
    }


def _find_install(root: str) -> str:
    """The command that installs what the project needs."""
    if read_file(root, "requirements.txt") is not None:
        return "pip install discover-orch -r requirements.txt"
    is_package = b"\n[project]" in b"\n" + (read_file(root, "pyproject.toml") or b"")
    return "pip install discover-orch ." if is_package else "pip install discover-orch"


def _fold(paths: Sequence[str]) -> list[str]:
    """`.orch` and the paths; many files of one kind in a folder as a glob."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        folder, _, name = path.rpartition("/")
        kinds.setdefault(f"{folder}/*{name[name.rfind('.') :]}".lstrip("/"), []).append(path)
    folded = [found if len(found) <= _FEW else [glob] for glob, found in kinds.items()]
    return [".orch", *(one for found in folded for one in found)]


def _make_env_file(path: str) -> str:
    """The step of a workflow that makes the file, unless it is in the repository."""
    if not path:
        return ""
    name = shlex.quote(path)
    command = f"test -e {name} || printf '%s\\n' \"$ENV_FILE\" > {name}"
    return _ENV_FILE.format(env_file=path, command=_yaml(command))


def _unit_word(word: str) -> str:
    """A word of a systemd unit: quoted, with `%` escaped."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[^A-Za-z0-9_./=:+@%$-]", word) else text


def _yaml(text: str) -> str:
    """A text as YAML: in single quotes, where only the quote itself is special."""
    return "'" + text.replace("'", "''") + "'"
