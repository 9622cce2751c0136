"""The Python API: projects, runs and their events for notebooks, schedulers and tests.

A path goes in; a `Project` comes out, which gives values, events and results. All names are stable, and all that
users need is here or, for `Project`, in `discover_orch`. It installs no signal handlers, prints nothing, and knows
nothing of the command line. No package imports it; `discover_orch` does so when `Project` is first used.

Doors: `project`. The other, `runs`, runs a plan in a thread of its own and has the result. What is given out is what
`--json` prints: `model/documents.py`, `execution/event_documents.py`.
"""

from discover_orch.api.project import Project
from discover_orch.api.runs import Result, RunFailed
from discover_orch.execution.event_documents import (
    Event,
    ItemsFound,
    Note,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolRetried,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.model.checks import CheckResult
from discover_orch.model.documents import (
    Outcome,
    Param,
    Plan,
    Stage,
    Step,
    Tool,
    ToolStatus,
    Used,
    Value,
)
from discover_orch.model.errors import Failure, OrchError, Problem

__all__ = [
    "CheckResult",
    "Event",
    "Failure",
    "ItemsFound",
    "Note",
    "OrchError",
    "Outcome",
    "Param",
    "Plan",
    "Problem",
    "Project",
    "Result",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "Stage",
    "Step",
    "Tool",
    "ToolFinished",
    "ToolOutput",
    "ToolRetried",
    "ToolStarted",
    "ToolStatus",
    "TransactionEnded",
    "Used",
    "Value",
]
