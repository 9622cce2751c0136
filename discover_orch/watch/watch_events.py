"""What a watch has to tell between its runs: values, made by the parts of a watch, shown by `render`.

Pure. The events of the runs themselves are those of `run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from discover_orch.model.errors import Problem
from discover_orch.planning.plan import Plan

Scope = Literal["stage", "tool", "downstream"]
SCOPES: tuple[Scope, ...] = ("stage", "tool", "downstream")
#: What becomes of a change. `run`: its tools run now. `none`: the run that is going on takes it in. `restart`:
#: that run is cancelled, and what it did not finish runs with the change. `after`: it comes behind that run.
#: `hold`: the running tool may finish, then as `restart`. `wait`: nothing runs before a file is mended.
Action = Literal["run", "none", "restart", "after", "hold", "wait"]


class WatchWaiting(Struct, frozen=True, kw_only=True):
    """It waits: whatever is saved from now on is seen. `files` are looked at, for `tools` tools.

    `failing` are the names of those that failed when they last ran.
    """

    tools: int
    files: int
    folders: int
    mode: str
    scope: Scope
    is_paused: bool = False
    failing: tuple[str, ...] = ()


class ChangesFound(Struct, frozen=True, kw_only=True):
    """Files of another meaning, or new or gone. `tools` are identities of those to run, with `reasons`.

    `gone` are the names of tools that are no more; `not_affected` is a number of watched tools.
    """

    paths: tuple[str, ...]
    tools: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    not_affected: int = 0
    gone: tuple[str, ...] = ()
    during_run: bool = False
    action: Action = "run"
    is_switch: bool = False


class NoMeaningfulChange(Struct, frozen=True, kw_only=True):
    """Files that were saved and mean what they meant when their tools last ran."""

    paths: tuple[str, ...]


class CannotRun(Struct, frozen=True, kw_only=True):
    """What cannot be read or run as it stands; `waiting` are the names of tools that wait for the mend."""

    problems: tuple[Problem, ...]
    waiting: tuple[str, ...] = ()


class RunStarting(Struct, frozen=True, kw_only=True):
    """A run is about to begin: its plan, and why, in a few words.

    `imported` was ahead of it: (module, seconds, what went wrong); `cold` says why something was not, once.
    """

    plan: Plan
    names: Mapping[str, str]
    is_first: bool
    reason: str = ""
    imported: tuple[tuple[str, float, str], ...] = ()
    cold: str = ""


class WatchNote(Struct, frozen=True, kw_only=True):
    """A sentence for the user, that is no failure of a tool."""

    problem: Problem


class KeyAnswered(Struct, frozen=True, kw_only=True):
    """A key was pressed: what it did, in a sentence, or the keys there are."""

    key: str
    sentence: str = ""


WatchEvent = (
    WatchWaiting
    | ChangesFound
    | NoMeaningfulChange
    | CannotRun
    | RunStarting
    | WatchNote
    | KeyAnswered
)
