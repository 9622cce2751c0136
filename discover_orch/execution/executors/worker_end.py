"""What the end of a worker process says: how the running tool ended, and what to report besides."""

from __future__ import annotations

from msgspec.structs import replace

from discover_orch.execution.events import RunNote, ToolFinished, ToolStatus
from discover_orch.execution.worker_shutdown import WorkerDied
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.model.tool import Tool
from discover_orch.worker.protocol import Closed


def end_of_tool(
    tool: Tool,
    died: WorkerDied,
    sentence: str,
    hint: str,
    *,
    is_interrupted: bool,
    is_timed_out: bool,
    is_committing: bool,
) -> ToolFinished:
    """How a tool ended whose worker died. `sentence` says how the process ended."""
    failure = Failure(
        kind="crash",
        type=died.signal or "crash",
        message=sentence,
        path=died.path or tool.path,
        line=died.line,
        traceback=died.traceback,
        hint=hint,
    )
    if is_timed_out:
        failure = as_timeout(failure, tool.timeout, f", {sentence}")
    status: ToolStatus = "interrupted" if is_interrupted else "failed"
    if died.is_lost:
        status = "unknown"
        message = f"{failure.message}: what the tool wrote may be in the database"
        failure = replace(failure, message=message, type="lost")
    elif is_committing:
        status = "unknown"
        message = f"{failure.message} during its commit: what it wrote may be in the database"
        failure = replace(failure, message=message)
    if failure.traceback and not is_timed_out:  # else it ends with the message
        failure = replace(failure, traceback=f"{failure.traceback}{failure.message}\n")
    return ToolFinished(module=tool.module, status=status, error=failure)


def as_timeout(error: Failure, timeout: float | None, more: str = "") -> Failure:
    """The traceback shows where the tool was, and ends with the timeout: the interrupt was that of orch."""
    message = f"timed out after {timeout:g} s{more}"
    where = error.traceback.removesuffix("KeyboardInterrupt\n")
    traceback = f"{where}{message}\n" if where else ""
    return replace(error, kind="timeout", type="timeout", message=message, traceback=traceback)


def closing_notes(closed: Closed) -> list[RunNote]:
    """What went wrong when resources were closed."""
    return [closing_note(error) for error in closed.errors]


def closing_note(error: Failure) -> RunNote:
    """A failure without a line in the user's code has a message of orch."""
    if error.path is None:
        problem = Problem(code="closing", message=error.message, hint=error.hint)
        return RunNote(problem=problem)
    problem = Problem(
        code="closing",
        message=f"{error.message} ({error.type})",
        hint=error.hint,
        location=Location(path=error.path, line=error.line),
    )
    return RunNote(problem=problem, traceback=error.traceback)


def ending_note(sentence: str, threads: tuple[str, ...]) -> RunNote:
    """The process did not end as usual, or only because its threads were ended."""
    names = ", ".join(f'"{name}"' for name in threads)
    problem = Problem(
        code="threads-left" if threads else "ending",
        message=f"the worker process {sentence}" + (f"; still running: {names}" if names else ""),
        hint="make such threads daemons, or join them before run() returns" if threads else "",
        severity="warning",
    )
    return RunNote(problem=problem)
