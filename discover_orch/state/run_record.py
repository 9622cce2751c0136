"""What a run was: where it ran, its plan, its tools, when they ran, what they used, and how they ended.

The lines of the journal have the same fields: `read_run` reads them into these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field

from discover_orch.model.errors import Failure
from discover_orch.model.parameter import MASK
from discover_orch.model.run_events import ToolEnd


class RecordedParam(Struct, frozen=True, kw_only=True):
    """The value of a parameter: its texts, and where it came from, as `--since`."""

    texts: tuple[str, ...] = ()
    origin: str = ""

    @property
    def shown(self) -> str:
        return ", ".join(self.texts)


class RecordedStep(Struct, frozen=True, kw_only=True):
    """A step of the plan: `reason` is why it was to run, `after` the modules before it. `secrets` are parameters whose
    value was not written; `code` is a hash of the tool's code, "" where that is not known. `is_in_ledger`: its
    transaction adds a row to the ledger."""

    module: str
    name: str
    stage: str = ""
    path: str = ""
    after: tuple[str, ...] = ()
    reason: str = ""
    params: Mapping[str, RecordedParam] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    code: str = ""
    is_in_ledger: bool = False

    @property
    def arguments(self) -> dict[str, RecordedParam]:
        """All arguments, secrets masked."""
        extra = {
            name: RecordedParam(texts=(text,), origin="-p") for name, text in self.extra.items()
        }
        secrets = {name: RecordedParam(texts=(MASK,)) for name in self.secrets}
        return {**extra, **secrets, **self.params}


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a tool. `start` and `end` are seconds since the start of the run; `status` is empty where no end
    is recorded."""

    start: float
    end: float
    worker: int = 1
    status: str = ""
    error: Failure | None = None


class ToolRecord(ToolEnd, frozen=True, kw_only=True):
    """How a tool ended in a run. `status` is `running`, `unknown` or `not_run` where no end is recorded. `step` is
    empty for a tool that was not to run."""

    stage: str = ""
    step: RecordedStep = RecordedStep(module="", name="")
    attempts: tuple[Attempt, ...] = ()
    has_started: bool = False

    @property
    def traceback(self) -> str:
        return self.error.traceback if self.error else ""


class RunStart(Struct, frozen=True, kw_only=True):
    """What is known of a run when it starts. `exclude` are the words of `--exclude`, and a run that `is_changed` was
    of what was stale. `started` is local time, ISO 8601 with its offset; `kind` is `run` or `watch`; `passed_before`
    are the modules of the tools that had passed in the run that this one `resumes`; `ledger` is the key of the run in
    the ledger, "" where it keeps none. `sources` has a hash for each project file of the tools' code, `order` has all
    modules in the order of the pipeline, empty where that is the order of the run. Older journals have less."""

    run: str
    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    is_changed: bool = False
    started: str = ""
    kind: str = "run"
    plan: tuple[RecordedStep, ...] = ()
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    passed_before: tuple[str, ...] = ()
    ledger: str = ""
    orch: str = ""
    python: str = ""
    system: str = ""
    commit: str = ""
    workers: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()


class RunBegan(RunStart, frozen=True, kw_only=True, tag_field="event", tag="run_started"):
    """The first line of the journal. `tools` are the names of the `modules`, of which the last, as many as there are
    `fresh_stages`, do not run. `pid`, `process` and `boot` say which process writes the run."""

    tools: tuple[str, ...]
    modules: tuple[str, ...]
    fresh_stages: tuple[str, ...] = ()
    pid: int = 0
    process: int | None = None
    boot: str | None = None
    transaction: str = "tool"
    time: datetime | None = None


class RunRecord(RunStart, frozen=True, kw_only=True):
    """One run. `duration` and `exit_code` are None until it has ended."""

    status: str
    tools: tuple[ToolRecord, ...] = ()
    duration: float | None = None
    exit_code: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, RecordedParam]:
        """By name where all tools got the same argument, else by `tool.name`."""
        by_name: dict[str, dict[str, RecordedParam]] = {}
        for step in self.plan:
            for name, argument in step.arguments.items():
                by_name.setdefault(name, {})[step.name] = argument
        params: dict[str, RecordedParam] = {}
        for name, by_tool in by_name.items():
            first = next(iter(by_tool.values()))
            if all(argument == first for argument in by_tool.values()):
                params[name] = first
            else:
                params.update({f"{tool}.{name}": one for tool, one in by_tool.items()})
        return params
