"""The summary of a run that failed as a JSON document, for the command of `--on-failure`."""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.execution.events import Report, ToolFinished, event_document
from discover_orch.model.errors import Problem, problem_json
from discover_orch.planning.plan import Plan


def run_summary(
    root: str, run: str, plan: Plan, report: Report, problems: Sequence[Problem]
) -> dict[str, object]:
    """`{"version", "root", "run", "targets", "status", "exit_code", "duration", "counts", "tools", "errors"}`. A tool
    has the keys of its `tool_finished`, and its `module`, `stage` and `traceback`. `errors` are problems outside any
    tool."""
    tools = {step.tool.module: (step.tool.name, step.stage) for step in plan.steps}
    tools |= {tool.module: (tool.name, tool.stages[0]) for tool in plan.fresh}
    names = {module: name for module, (name, _) in tools.items()}
    rows = [_tool_row(end, names, tools[end.module][1], report) for end in report.finished]
    return {
        "version": 1,
        "root": root,
        "run": run,
        "targets": list(plan.targets),
        "status": report.status,
        "exit_code": report.exit_code,
        "duration": round(report.duration, 6),
        "counts": dict(report.counts),
        "tools": rows,
        "errors": [problem_json(one) for one in problems if one.severity == "error"],
    }


def refused_summary(
    root: str, targets: Sequence[str], problems: Sequence[Problem], exit_code: int
) -> dict[str, object]:
    """The same of a run that was refused before it started: `run` is null and there are no tools."""
    return {
        "version": 1,
        "root": root,
        "run": None,
        "targets": list(targets),
        "status": "failed",
        "exit_code": exit_code,
        "duration": 0.0,
        "counts": {},
        "tools": [],
        "errors": [problem_json(one) for one in problems],
    }


def _tool_row(
    end: ToolFinished, names: dict[str, str], stage: str, report: Report
) -> dict[str, object]:
    document = event_document(end, names, report) or {}
    row = {key: value for key, value in document.items() if key not in ("event", "time")}
    error = end.error
    return row | {
        "module": end.module,
        "stage": stage,
        "traceback": error.traceback if error else "",
    }
