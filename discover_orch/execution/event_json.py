"""Events of a run as objects of JSON: the lines of `--json`, and of the journal.

In: an event, the names of the tools by module, the report so far. Out: a document of JSON kinds. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from discover_orch.execution.report import Report
from discover_orch.execution.run_state import (
    Event,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.errors import Failure
from discover_orch.planning.plan import Plan


def event_document(
    event: Event, names: Mapping[str, str], report: Report
) -> dict[str, object] | None:
    """An event as the object of `--json`; None for one that only a terminal cares about."""
    match event:
        case RunStarted(run=run, targets=targets, tools=tools):
            return {
                "event": "run_started",
                "run": run,
                "targets": list(targets),
                "tools": [names[module] for module in tools],
            }
        case ToolStarted(module=module):
            return {"event": "tool_started", "name": names[module]}
        case ToolOutput(module=module, stream=stream, text=text):
            return {"event": "tool_output", "name": names[module], "stream": stream, "text": text}
        case ToolFinished():
            return {
                "event": "tool_finished",
                "name": names[event.module],
                "status": event.status,
                "duration": round(event.duration, 6),
                "error": _error(event.error),
                "metrics": {name: _number(one) for name, one in event.metrics.items()},
                "attempt": event.attempt,
                "notes": list(event.notes),
            }
        case RunFinished(status=status, duration=seconds):
            return {
                "event": "run_finished",
                "status": status,
                "exit_code": report.exit_code,
                "counts": dict(report.counts),
                "duration": round(seconds, 6),
            }
        case _:
            return None


def _number(one: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(one, float) and not math.isfinite(one) else one


def _error(error: Failure | None) -> dict[str, object] | None:
    if error is None:
        return None
    return {
        "kind": error.kind,
        "type": error.type,
        "message": error.message,
        "path": error.path,
        "line": error.line,
    }


def nothing_left(plan: Plan) -> list[dict[str, object]]:
    """The lines of a run that had nothing to do."""
    names = [tool.name for tool in plan.fresh]
    counts = {"fresh": len(names)} if names else {}
    end = {"status": "passed", "exit_code": 0, "counts": counts, "duration": 0.0}
    fared = {"status": "fresh", "duration": 0.0, "error": None, "metrics": {}, "attempt": 1}
    return [
        {"event": "run_started", "run": None, "targets": list(plan.words), "tools": names},
        *({"event": "tool_finished", "name": name, **fared, "notes": []} for name in names),
        {"event": "run_finished", **end},
    ]
