"""The summary of a run that failed as a JSON document, for the command of `--on-failure`."""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.execution.events import Report, ToolFinished, finished_document
from discover_orch.model.errors import Problem, problem_json
from discover_orch.planning.plan import Plan


def run_summary(root: str, plan: Plan, report: Report) -> dict[str, object]:
    """`{"version", "root", "run", "targets", "status", "exit_code", "duration", "counts", "tools", "errors"}`. A tool
    has the keys of its `tool_finished`, and its `module`, `stage` and `traceback`. `errors` are problems outside any
    tool."""
    tools, names = plan.tools, plan.names
    rows = [_tool_row(end, names, tools[end.module][1]) for end in report.finished]
    return {
        "version": 1,
        "root": root,
        "run": report.run,
        "targets": list(plan.targets),
        "status": report.status,
        "exit_code": report.exit_code,
        "duration": round(report.duration, 6),
        "counts": dict(report.counts),
        "tools": rows,
        "errors": [problem_json(one) for one in report.problems if one.severity == "error"],
    }


def refused_summary(
    root: str, targets: Sequence[str], problems: Sequence[Problem], exit_code: int
) -> dict[str, object]:
    """The same of a run that was refused before it started: `run` is null and there are no tools."""
    errors = [problem_json(one) for one in problems]
    refused = {"run": None, "status": "failed", "exit_code": exit_code, "errors": errors}
    return run_summary(root, Plan(targets=tuple(targets)), Report()) | refused


def _tool_row(end: ToolFinished, names: dict[str, str], stage: str) -> dict[str, object]:
    row = finished_document(end, names)
    del row["event"]
    traceback = end.error.traceback if end.error else ""
    return row | {"module": end.module, "stage": stage, "traceback": traceback}
