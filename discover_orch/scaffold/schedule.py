"""The texts of `orch export`: a crontab line, a systemd service and timer, a GitHub workflow. Pure.

Each runs `orch run --changed`: what is stale, by a change or by its `"max_age"`, is run, and nothing else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from discover_orch.model.errors import Location, Problem, UsageError
from discover_orch.model.tool import Tool

Kind = Literal["cron", "systemd", "github"]
#: A comment of the workflow, where only running `get_connection()` would tell the file.
_OWN_DATABASE = """\
      # No database file is among them: get_connection() in orchconf.py opens the database. If that is a file, add its
      # path below, or each run begins with an empty database."""
_UNITS = {"m": 1, "h": 60, "d": 24 * 60}  # in minutes
#: With more runs within a `max_age`, waiting for one more makes little difference.
_FEW_RUNS = 6


class Schedule(Struct, frozen=True, kw_only=True):
    """What to run, where and how often. `command` are the words that start orch; `targets` those of `orch run`;
    `minutes` is the time between two runs. `database` is the path of a SQLite file below the root, or "".
    `has_own_connection`: `get_connection()` opens the database, so that its file is not known.
    """

    root: str
    name: str
    command: tuple[str, ...]
    folders: tuple[str, ...]
    targets: tuple[str, ...] = ()
    minutes: int = 60
    database: str = ""
    has_own_connection: bool = False
    requirements: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        return (
            *self.command,
            "run",
            *self.targets,
            "--changed",
            "--if-busy",
            "skip",
            "--color",
            "never",
        )


def read_minutes(text: str) -> int:
    """`15m`, `6h` or `1d` in minutes. Raises UsageError for a time that does not divide the hour or the day."""
    found = re.fullmatch(r"(\d{1,4})([mhd])", text.strip())
    minutes = int(found[1]) * _UNITS[found[2]] if found else 0
    is_even = (minutes <= 60 and minutes and 60 % minutes == 0) or (
        minutes in (60, 120, 180, 240, 360, 480, 720, 1440)
    )
    if not is_even:
        reason = "the runs would not be evenly spaced" if found else "not a time such as 15m or 6h"
        raise UsageError(
            Problem(
                code="every",
                message=f"--every {text}: {reason}",
                hint="use a time that divides the hour or the day: 5m, 15m, 30m, 1h, 6h, 12h, 1d",
            )
        )
    return minutes


def check_ages(tools: Iterable[Tool], minutes: int) -> tuple[Problem, ...]:
    """A warning for each tool that would be a little too young when the run comes that should renew it: the age counts
    from the end of its last success, so a run exactly one `max_age` after the start of the last one skips it."""
    every = minutes * 60
    return tuple(
        Problem(
            code="max-age",
            message=f'"max_age" of {tool.name} is {_span(tool.max_age)}, a multiple of the time between two runs: the '
            f"run after {_span(tool.max_age)} finds a result that is some seconds younger, and leaves it to the next",
            hint=f'write a little less: "max_age": "{_span(_little_less(tool.max_age))}"',
            location=Location(path=tool.path, line=tool.line),
            severity="warning",
        )
        for tool in tools
        if tool.max_age and tool.max_age % every == 0 and tool.max_age <= _FEW_RUNS * every
    )


def _little_less(seconds: float) -> float:
    """An hour less of a day, and a twelfth less of anything shorter, in whole minutes."""
    return seconds - max(60, min(3600, seconds // 12 // 60 * 60))


def _span(seconds: float | None) -> str:
    """As `max_age` is written: `23h`, `55m`."""
    whole = int(seconds or 0)
    sizes = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    return next(f"{whole // size}{unit}" for unit, size in sizes if whole % size == 0)


def build_files(kind: Kind, schedule: Schedule) -> dict[str, str]:
    """The files of a schedule: name → text."""
    match kind:
        case "cron":
            return {"crontab": _crontab(schedule)}
        case "systemd":
            name = f"orch-{_unit_name(schedule.name)}"
            return {
                f"{name}.service": _service(schedule),
                f"{name}.timer": _timer(schedule),
            }
        case "github":
            return {"orch.yml": _workflow(schedule)}


def cron_times(minutes: int) -> str:
    """The five fields of cron for a run every so many minutes."""
    if minutes < 60:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    hours = minutes // 60
    return {1: "0 * * * *", 24: "0 3 * * *"}.get(hours, f"0 */{hours} * * *")


def _crontab(schedule: Schedule) -> str:
    path = ":".join((*schedule.folders, "/usr/local/bin", "/usr/bin", "/bin"))
    line = f"cd {shlex.quote(schedule.root)} && {shlex.join(schedule.words)} >>orch.log 2>&1"
    escaped = line.replace("%", r"\%")  # in a crontab, % begins the standard input
    _refuse_newlines(schedule)
    return f"""\
# orch: {schedule.name}, {_often(schedule.minutes)}.
# cron sets few variables: add those that your tools read as lines NAME=VALUE here.
PATH={path}
{cron_times(schedule.minutes)} {escaped}
"""


def _service(schedule: Schedule) -> str:
    path = ":".join((*schedule.folders, "/usr/local/bin", "/usr/bin", "/bin"))
    _refuse_newlines(schedule)
    return f"""\
[Unit]
Description=orch run --changed in {_specifiers(schedule.root)}

[Service]
Type=oneshot
WorkingDirectory={_specifiers(schedule.root)}
Environment={_unit_word("PATH=" + path)}
# Variables that your tools read, one NAME=VALUE a line; the - means that the file may be missing.
EnvironmentFile=-{_specifiers(schedule.root)}/.env
ExecStart={" ".join(_unit_word(word, is_command=True) for word in schedule.words)}
"""


def _timer(schedule: Schedule) -> str:
    minutes = schedule.minutes
    if minutes < 60:
        times = f"*:0/{minutes}"
    else:
        times = {60: "hourly", 24 * 60: "*-*-* 03:00:00"}.get(
            minutes, f"*-*-* 0/{minutes // 60}:00:00"
        )
    return f"""\
[Unit]
Description=orch run --changed in {_specifiers(schedule.root)}, {_often(minutes)}

[Timer]
OnCalendar={times}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _workflow(schedule: Schedule) -> str:
    words = ("orch", "run", *schedule.targets, "--changed")
    install = schedule.requirements or "pip install discover-orch"
    own = f"\n{_OWN_DATABASE}" if schedule.has_own_connection else ""
    cached = "\n".join(f"            {path}" for path in (".orch", schedule.database) if path)
    return f"""\
name: orch
on:
  schedule:
    - cron: "{cron_times(schedule.minutes)}"
  workflow_dispatch:
concurrency:
  group: orch
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
      - run: {_yaml(install)}
      # What orch remembers, so that only stale tools run. The newest copy is restored, and a new one is saved.{own}
      - uses: actions/cache@v4
        with:
          path: |
{cached}
          key: orch-${{{{ github.run_id }}}}
          restore-keys: orch-
      - run: {_yaml(shlex.join(words))}
"""


def _often(minutes: int) -> str:
    if minutes % (24 * 60) == 0:
        return "every day"
    if minutes % 60 == 0:
        return "every hour" if minutes == 60 else f"every {minutes // 60} hours"
    return "every minute" if minutes == 1 else f"every {minutes} minutes"


def _refuse_newlines(schedule: Schedule) -> None:
    words: Sequence[str] = (schedule.root, *schedule.folders, *schedule.words)
    if any("\n" in word or "\r" in word for word in words):
        raise UsageError(
            Problem(
                code="newline",
                message="a path or a target contains a line break, which such a file cannot express",
                hint="rename the folder",
            )
        )


def _unit_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "project"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _unit_word(word: str, *, is_command: bool = False) -> str:
    """A word of `ExecStart` or `Environment`: quoted, with `%` and, in a command, `$` escaped."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if is_command:
        text = text.replace("$", "$$")
    return f'"{text}"' if re.search(r"[^A-Za-z0-9_./=:+@%$-]", word) else text


def _yaml(text: str) -> str:
    """A text as YAML: in single quotes, where only the quote itself is special."""
    return "'" + text.replace("'", "''") + "'"
