"""The result of a run, as Python code gets it. All other values are those of `--json`: `model/documents.py`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.documents import Outcome
from discover_orch.model.errors import Problem
from discover_orch.render.problems import failure_line


class Result(Struct, frozen=True, kw_only=True):
    """The result of a run. `run` is its id in the history, "" if there was nothing to run; `outcomes` are by name of
    the tool, in the order in which they ended, and so is `output`, the end of what each tool printed in its last
    attempt; `problems` are those outside any tool, warnings included."""

    run: str
    status: str
    duration: float
    outcomes: Mapping[str, Outcome]
    output: Mapping[str, str] = field(default_factory=dict)
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
    """A run did not pass; `result` says why. Its text names the tools that failed, where and why."""

    def __init__(self, result: Result) -> None:
        lines = [f"run {result.run} {result.status}"]
        for one in result.failures:
            why = f": {failure_line(one.error)}" if one.error else ""
            lines.append(f"{one.name} {one.status}{why}")
        errors = (one for one in result.problems if one.severity == "error")
        lines += [one.message for one in errors]
        super().__init__("\n".join(lines))
        self.result = result

    def __reduce__(self) -> tuple[type[RunFailed], tuple[Result]]:
        return RunFailed, (self.result,)
