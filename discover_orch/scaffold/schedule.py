"""The texts of `orch export`: a crontab line, a systemd service and timer, a GitHub workflow.

Each runs `orch run --changed`: what is stale, by a change or by its `"max_age"`, is run, and nothing else.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

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
_CRON = """\
# orch, every {every}. {variables}
PATH={path}
{cron} {line}
"""
_SERVICE = """\
[Unit]
Description=orch run --changed in {root}

[Service]
Type=oneshot
WorkingDirectory={root}
Environment={path}
{variables}
ExecStart={command}
"""
_TIMER = """\
[Unit]
Description=orch run --changed in {root}, every {every}

[Timer]
OnCalendar={times}
Persistent=true

[Install]
WantedBy=timers.target
"""
_WORKFLOW = """\
name: {name}
on:
  schedule:
    - cron: "{cron}"
  workflow_dispatch:
concurrency:
  group: {name}
defaults:
  run:
    working-directory: {folder}
jobs:
  run:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      # orch is not on the package index yet: replace discover-orch by where you install it from, such as
      # git+https://HOST/REPOSITORY or the path of a wheel in this repository.
      - run: {install}
{variables}      # What orch remembers and what the tools made, so that only stale tools run. Add what is not known
      # here: a database file that get_connection() opens, and files of tools that have not run here.
      - uses: actions/cache@v4
        with:
          path: |
{cached}
          key: {name}-${{{{ github.run_id }}}}
          restore-keys: {name}-
      - run: {command}
"""
_ENV_FILE = """\
      # Keep the text of {env_file}, which is not in the repository, as the secret ENV_FILE.
      - run: {command}
        env:
          ENV_FILE: ${{{{ secrets.ENV_FILE }}}}
"""
#: Files of one kind in a folder that the workflow names one by one.
_FEW = 10


def build_files(
    kind: str,
    *,
    root: str,
    every: str,
    command: Sequence[str],
    path: str,
    targets: Sequence[str],
    made: Sequence[str],
    folder: str,
    install: str,
    env_file: str,
) -> dict[str, str]:
    """The files of a schedule: name → text. `every` is a key of `EVERY`, `command` are the words that start orch,
    `path` is the value of PATH; `made` are the files to keep; `folder` is the project, below its repository's
    root; `env_file` is the setting."""
    cron, times = EVERY[every]
    words = ("run", *targets, "--changed")
    command = (*command, *words, "--if-busy", "skip", "--color", "never")
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(root)).strip("-.") or "project"
    if kind == "cron":
        line = f"cd {shlex.quote(root)} && {shlex.join(command)} >>orch.log 2>&1"
        line = line.replace("%", r"\%")  # in a crontab, % begins the standard input
        variables = (
            "cron sets few variables: add those that your tools read as lines NAME=VALUE here."
        )
        if env_file:
            variables = f"orch reads the variables in {env_file}."
        text = _CRON.format(every=every, variables=variables, path=path, cron=cron, line=line)
        return {"crontab": text}
    if kind == "systemd":
        start = " ".join(_unit_word(word.replace("$", "$$")) for word in command)
        unit, path = root.replace("%", "%%"), _unit_word("PATH=" + path)
        variables = (
            "# Variables that your tools read, one NAME=VALUE a line; the - means that the file may be missing."
            f"\nEnvironmentFile=-{unit}/.env"
        )
        if env_file:
            variables = f"# orch reads the variables in {env_file}."
        service = _SERVICE.format(root=unit, path=path, variables=variables, command=start)
        return {
            f"orch-{label}.service": service,
            f"orch-{label}.timer": _TIMER.format(root=unit, every=every, times=times),
        }
    name = "orch" if folder == "." else f"orch-{label}"
    text = _WORKFLOW.format(
        name=name,
        cron=cron,
        folder=_yaml(folder),
        install=_yaml(install),
        variables=_make_env_file(env_file),
        cached="\n".join(f"            {folder}/{one}" for one in _fold(made)).replace(" ./", " "),
        command=_yaml(shlex.join(("orch", *words))),
    )
    return {f".github/workflows/{name}.yml": text}


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
