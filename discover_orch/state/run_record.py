"""What a run was: its plan, its tools, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.errors import Failure
from discover_orch.model.parameter import MASK


class RecordedParam(Struct, frozen=True, kw_only=True):
    """The value of a parameter: its texts, and where it came from, as `--since`."""

    texts: tuple[str, ...] = ()
    origin: str = ""

    @property
    def shown(self) -> str:
        return ", ".join(self.texts)


class RecordedStep(Struct, frozen=True, kw_only=True):
    """A step of the plan. `secrets` are parameters whose value was not written; `code` is a hash of the tool's code,
    "" where that is not known. `is_in_ledger`: its transaction adds a row to the ledger."""

    module: str
    name: str
    stage: str = ""
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


class ToolRecord(Struct, frozen=True, kw_only=True):
    """How a tool ended in a run. `status` is `running`, `unknown` or `not_run` where no end is recorded. `is_settled`:
    no end is recorded, and the ledger in the database says how it ended."""

    name: str
    module: str
    status: str
    duration: float | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    error: Failure | None = None
    notes: tuple[str, ...] = ()
    attempt: int = 1
    has_started: bool = False
    is_settled: bool = False


class Settled(Struct, frozen=True, kw_only=True):
    """What the ledger in the database says of tools without a recorded end, by module: whether they were committed."""

    committed: Mapping[str, bool] = field(default_factory=dict)


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run. `started` is local time, ISO 8601 with its offset; `kind` is `run` or `watch`; `duration` and
    `exit_code` are None until the run has ended; `passed_before` are the modules of the tools that had passed in the
    run that this one `resumes`; `ledger` is the key of the run in the ledger, "" where it keeps none."""

    run: str
    status: str
    started: str = ""
    kind: str = "run"
    targets: tuple[str, ...] = ()
    tools: tuple[ToolRecord, ...] = ()
    plan: tuple[RecordedStep, ...] = ()
    duration: float | None = None
    exit_code: int | None = None
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    passed_before: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    ledger: str = ""

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
