"""Takes the lock of the project for a command, and says who has it. `orch run --changed` needs no more of a run where
nothing is stale."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from discover_orch.cli.console import Console
from discover_orch.config.project import INSIDE_VARIABLE
from discover_orch.execution.events import skipped_run_documents
from discover_orch.model.errors import Problem, UsageError
from discover_orch.planning.project_view import ProjectView
from discover_orch.state.lock import ProjectLock


class ProjectBusy(UsageError):
    """Another run of the project is in progress."""


def acquire_lock(
    view: ProjectView, *, waits: bool, console: Console, option: str = "--wait"
) -> ProjectLock:
    """The lock of the project, for one run. If another run holds it, waits, or raises ProjectBusy; `option` is the one
    that would have waited."""
    root = view.project.root
    lock = ProjectLock(root)
    is_inside = os.environ.get(INSIDE_VARIABLE) == root
    holder = lock.acquire()
    if holder is not None and waits and not is_inside:
        console.err(f"{holder.sentence}; waiting for it to end\n")
        holder = lock.acquire(waits=True)
    if holder is None:
        console.problems(lock.new_warnings())
        return lock
    hint = f"wait for it with {option}"
    if is_inside:
        hint = "a tool of that run started this command: name all tools in one orch run instead"
    raise ProjectBusy(Problem(code="locked", message=holder.sentence, hint=hint))


def acquire_lock_or_skip(
    view: ProjectView,
    targets: Sequence[str],
    when_busy: str,
    console: Console,
    *,
    as_json: bool,
) -> ProjectLock | None:
    """The lock, or None with `when_busy` "skip" if another run holds it. "wait" waits; else raises
    ProjectBusy."""
    try:
        return acquire_lock(
            view, waits=when_busy == "wait", console=console, option="--if-busy wait"
        )
    except ProjectBusy as busy:
        if when_busy != "skip":
            raise
        said = busy.problems[0].message
        for document in skipped_run_documents(targets, said) if as_json else ():
            console.out(json.dumps(document) + "\n")
        console.err(f"{said}; this one is skipped\n")
        return None
