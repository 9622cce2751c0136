"""Runs as they are recorded, made by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from discover_orch.state.journal import Journal, begin_run
from discover_orch.state.lock import read_boot, read_start

#: A process that cannot be.
NOBODY = 1 << 40


def started(run: str, tools: Sequence[str] = ("fetch", "parse"), **more: Any) -> dict[str, Any]:
    """The first line: of a run of this process."""
    return {
        "event": "run_started",
        "run": run,
        "targets": ["full"],
        "tools": list(tools),
        "modules": [f"src.{name}" for name in tools],
        "started": "2026-11-24T14:03:22+01:00",
        "kind": "run",
        "pid": os.getpid(),
        "process": read_start(os.getpid()),
        "boot": read_boot(),
        "plan": [{"module": f"src.{name}", "name": name, "stage": "ingest"} for name in tools],
        "database": "sqlite:///data.db",
        "database_origin": "default",
        "resumes": None,
        **more,
    }


def tool_started(name: str) -> dict[str, Any]:
    return {"event": "tool_started", "name": name, "module": f"src.{name}"}


def tool_finished(name: str, status: str = "passed", **more: Any) -> dict[str, Any]:
    return {
        "event": "tool_finished",
        "name": name,
        "module": f"src.{name}",
        "status": status,
        "duration": 0.25,
        "error": None,
        "metrics": {},
        "attempt": 1,
        "notes": [],
        **more,
    }


def finished(status: str = "passed", **more: Any) -> dict[str, Any]:
    code = {"passed": 0, "failed": 1}.get(status, 130)
    return {
        "event": "run_finished",
        "status": status,
        "exit_code": code,
        "counts": {"passed": 2},
        "duration": 0.5,
        **more,
    }


def whole_run(
    root: Path,
    tools: Sequence[str] = ("fetch", "parse"),
    *,
    logs: Mapping[str, str] | None = None,
    ends: Mapping[str, Mapping[str, Any]] | None = None,
    end: Mapping[str, Any] | None = None,
    **more: Any,
) -> str:
    """A run from its beginning to its end, in which all passes but what `ends` says; its id."""
    journal = begin_run(str(root))
    write_run(journal, tools, logs=logs or {}, ends=ends or {}, **more)
    failed = [one for one in (ends or {}).values() if one.get("status") == "failed"]
    words = [(ends or {}).get(name, {}).get("status", "passed") for name in tools]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    journal.write(finished("failed" if failed else "passed", counts=counts, **(end or {})))
    journal.close()
    assert journal.problem is None
    return journal.run


def write_run(
    journal: Journal,
    tools: Sequence[str],
    *,
    logs: Mapping[str, str],
    ends: Mapping[str, Mapping[str, Any]],
    **more: Any,
) -> None:
    journal.write(started(journal.run, tools, **more))
    for name in tools:
        how = {"status": "passed", **ends.get(name, {})}
        if how["status"] not in ("blocked", "not_run"):
            journal.write(tool_started(name))
        journal.log(f"src.{name}", "stdout", logs.get(name, ""))
        journal.write(tool_finished(name, **how))
