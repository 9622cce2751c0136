"""What a `Project` gives out: tools, stages, their status, plans and results. All are immutable."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.errors import Failure, Problem


class Tool(Struct, frozen=True, kw_only=True):
    """A tool. `path` is relative to the root of the project. `after` has the names of the tools that its `AFTER`
    means, and `params` the type of each parameter as text, by name."""

    name: str
    module: str
    path: str
    line: int
    stages: tuple[str, ...]
    doc: str = ""
    after: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    disabled: bool = False


class Stage(Struct, frozen=True, kw_only=True):
    """A stage and the names of its tools, in order."""

    name: str
    tools: tuple[str, ...]


class ToolStatus(Struct, frozen=True, kw_only=True):
    """Whether a tool is fresh. `state` is `fresh`, `stale`, `never`, `failed` or `unknown`; `reasons` are sentences,
    none for a fresh tool. Tables and files are those that it declares or was seen to use."""

    name: str
    module: str
    stage: str
    state: str
    reasons: tuple[str, ...] = ()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()

    @property
    def is_fresh(self) -> bool:
        return self.state == "fresh"


class Step(Struct, frozen=True, kw_only=True):
    """A tool in a plan. `params` are the values that are given, as text, secrets masked."""

    name: str
    module: str
    stage: str
    reason: str
    after: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)


class Plan(Struct, frozen=True, kw_only=True):
    """What would run, in order. `fresh` are the selected tools that need not run; `warnings` stop nothing."""

    steps: tuple[Step, ...]
    fresh: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """How a tool ended. `status` is as in JSON; `duration` is in seconds; `metrics` is what `run()` returned; `output`
    is the end of what it printed in its last attempt; `blocked_by` is the tool whose failure blocked it."""

    name: str
    module: str
    status: str
    duration: float = 0.0
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attempt: int = 1
    blocked_by: str = ""
    output: str = ""

    @property
    def is_passed(self) -> bool:
        return self.status == "passed"


class Result(Struct, frozen=True, kw_only=True):
    """The result of a run. `run` is its id in the history, "" if there was nothing to run; `outcomes` are by name of
    the tool, in the order in which they ended; `problems` are those outside any tool, warnings included."""

    run: str
    status: str
    duration: float
    outcomes: Mapping[str, Outcome]
    problems: tuple[Problem, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether `orch run` would have exited with 0."""
        return self.status == "passed"

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes.values() if one.status in ("failed", "unknown"))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, object]]:
        """The metrics of the tools that returned some."""
        return {name: one.metrics for name, one in self.outcomes.items() if one.metrics}

    def raise_if_failed(self) -> Result:
        """Raises RunFailed unless the run passed. Returns this result."""
        if not self.is_passed:
            raise RunFailed(self)
        return self


class RunFailed(Exception):
    """A run did not pass; `result` says why. Its text names the tools that failed, with the end of each traceback."""

    def __init__(self, result: Result) -> None:
        lines = [f"run {result.run} {result.status}"]
        for one in result.failures:
            error = one.error
            place = f" at {error.path}:{error.line}" if error and error.path else ""
            why = f": {error.type}: {error.message}" if error else ""
            lines.append(f"{one.name} {one.status}{place}{why}")
        errors = (one for one in result.problems if one.severity == "error")
        lines += [one.message for one in errors]
        super().__init__("\n".join(lines))
        self.result = result

    def __reduce__(self) -> tuple[type[RunFailed], tuple[Result]]:
        return RunFailed, (self.result,)
