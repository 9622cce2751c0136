"""Runs kept by a `Recorder` without any process: a test says what each tool was seen to do, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from discover_orch.execution.recorder import Recorder
from discover_orch.execution.run_events import RunStarted
from discover_orch.model.errors import Problem
from discover_orch.model.observation import Observation, list_paths
from discover_orch.model.tool_events import RunFinished, ToolFinished, ToolStarted
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.tool_result import Success, ToolResult
from tests.support.seen import mark_numbers, observation

NOTHING: Mapping[str, Any] = {}
#: Long before any file of a test: what is older than that did not change while the tool ran.
LONG_AGO = (1, 1)
#: Of a file that was last changed long before any test: its mark stands for it.
OLD = (1_700_000_000_123_456_789,) * 2


def tool(stage: str = "one", run: str = "def run(): pass", **tags: object) -> str:
    """The text of a tool's module; `tags` are those beside `STAGE`."""
    lines = [f"STAGE = {stage!r}", *(f"{name} = {value!r}" for name, value in tags.items()), run]
    return "\n".join(lines) + "\n"


def write(root: Path, name: str, text: str = "x") -> Path:
    """A file that is old, but for what the system itself says of its change."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=OLD)
    return path


def database(changes: int, text: bytes = b"") -> bytes:
    """The beginning of an SQLite file that was changed so often."""
    return b"SQLite format 3\0" + bytes(8) + changes.to_bytes(4, "big") + text.ljust(72, b"\0")


def view_of(root: Path) -> ProjectView:
    return project_view.read_project(str(root), None, {})


def seen(
    root: Path, *, read: tuple[str, ...] = (), listed: tuple[str, ...] = (), **more: Any
) -> Observation:
    """As a worker tells it of the files that are there now."""
    states = []
    for path in read:
        found = (root / path).stat()
        states.append((path, *mark_numbers(found)))
    database = more.get("database", "")
    folders = [(one, list_paths(one, os.listdir(root / one), {database})) for one in listed]
    return observation(read=tuple(states), listed=tuple(folders), **more)


def record(root: Path, sights: Mapping[str, Observation] = NOTHING, *targets: str) -> list[Problem]:
    """A run of the targets, all of which pass; `sights` are by their names. What there was to tell."""
    view = view_of(root)
    made = project_view.plan_targets(view, targets)
    recorder = Recorder(made, view.registry, view.project)
    modules = tuple(step.tool.module for step in made.steps)
    told = [*recorder.record(RunStarted(run=recorder.run, targets=made.targets, tools=modules))]
    try:
        for step in made.steps:
            module = step.tool.module
            seen = sights.get(step.tool.name, Observation())
            told += recorder.record(ToolStarted(module=module))
            told += recorder.record(
                ToolFinished(module=module, status="passed", duration=0.5, seen=seen)
            )
        told += recorder.record(RunFinished(status="passed", duration=1.0))
    finally:
        recorder.close()
    return told


def remaining(root: Path) -> RemainingWork:
    return RemainingWork(view_of(root), GivenParams())


def stale(root: Path) -> dict[str, tuple[str, ...]]:
    """Why each tool that is stale is so, by name."""
    found = remaining(root).freshness()
    return {
        module.rpartition(".")[2]: one.sentences
        for module, one in found.items()
        if not one.is_fresh
    }


def result(root: Path, module: str) -> ToolResult:
    return Memory(str(root)).results([module])[module]


def success(root: Path, module: str = "src.a") -> Success:
    found = result(root, module).success
    assert found is not None
    return found
