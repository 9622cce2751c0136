"""What the Python API returns and `--json` prints: one set of immutable values for both.

The fields of a value are the keys of its object, in order. The commands print them in a document with a `version`.
What happens in a run is in `execution/event_documents.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType, field

from discover_orch.model.checks import CheckResult
from discover_orch.model.errors import Failure, Problem

T = TypeVar("T", bound=Struct)


def copied(kind: type[T], source: object, **others: object) -> T:
    """A value of this kind: the fields that `source` has too are as there, unless they are among the `others`."""
    names = (one for one in kind.__struct_fields__ if one not in others)
    return kind(**{one: getattr(source, one) for one in names if hasattr(source, one)}, **others)


class Used(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table or a file: `{"table": "raw"}` or `{"file": "data/x.csv"}`."""

    table: str = ""
    file: str = ""


def list_used(files: Iterable[str], tables: Iterable[str]) -> tuple[Used, ...]:
    """Tables first."""
    return (*(Used(table=name) for name in tables), *(Used(file=path) for path in files))


class UsedLeftOver(Used, frozen=True, kw_only=True):
    """A file or table that is left over, and the names of the tools that read it."""

    read_by: tuple[str, ...]


class MadeThing(UsedLeftOver, frozen=True, kw_only=True):
    """A file or table that a tool made, for `orch clean`. `tool_exists` is false for a tool that is gone. `stays` is
    why it is not deleted, None where it can be."""

    tool: str
    tool_exists: bool
    left_over: bool
    stays: str | None
    deleted: bool


class Param(Struct, frozen=True, kw_only=True):
    """A parameter of a tool. `default_source` is the text of its default in the source. Both defaults are None where
    there is none, and `default` also where the source does not show its value."""

    name: str
    type: str
    default: object = None
    default_source: str | None = None
    required: bool = False
    help: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    """A tool. `path` is relative to the root of the project. `after` has the names of the tools that its `AFTER`
    means. `readable` is false where its signature cannot be read: then it has no `params`. `sources` are the files of
    the project that it depends on, None unless they were asked for."""

    name: str
    module: str
    path: str
    line: int
    stages: tuple[str, ...]
    doc: str = ""
    after: tuple[str, ...] = ()
    disabled: bool = False
    params: tuple[Param, ...] = ()
    resources: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    readable: bool = True
    sources: tuple[str, ...] | None = None


class ToolWithItems(Tool, frozen=True, kw_only=True):
    """A tool with `"each"`, as the literal says it, how many `items` there are, and which parameters they give."""

    each: object
    items: int
    item_params: tuple[str, ...]


class Stage(Struct, frozen=True, kw_only=True):
    """A stage and the names of its tools, in order. `configured`: it is among `stages = [...]`."""

    name: str
    tools: tuple[str, ...]
    configured: bool = False


class PassedOver(Struct, frozen=True, kw_only=True):
    """A file or folder that was not scanned or is not a tool, or a function of a tool that `is_check` by its name and
    is none, and why, in a few words."""

    path: str
    line: int | None
    reason: str
    is_check: bool = False


class Observer(Struct, frozen=True, kw_only=True):
    """A function of `orchconf.py` that reads the events of runs."""

    name: str
    path: str
    line: int


class Listing(Struct, frozen=True, kw_only=True):
    """The tools of a project, its stages, and what is wrong with it. `passed_over` are modules that look like tools
    and are not; these and the `observers` are None unless they were asked for."""

    root: str
    stages: tuple[Stage, ...]
    tools: tuple[Tool, ...]
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    passed_over: tuple[PassedOver, ...] | None = None
    observers: tuple[Observer, ...] | None = None


class GraphTool(Struct, frozen=True, kw_only=True):
    """A tool in the graph. `after` has the names of the tools before it, by `AFTER` and by data. `inputs` and
    `outputs` are declared; `reads` and `writes` are what it declares or was seen to use. `state` and `reasons` are
    those of its status."""

    name: str
    module: str
    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reads: tuple[Used, ...] = ()
    writes: tuple[Used, ...] = ()
    state: str = ""
    reasons: tuple[str, ...] = ()


class GraphStage(Struct, frozen=True, kw_only=True):
    """A stage and its tools."""

    name: str
    tools: tuple[GraphTool, ...]


class ToolStatus(Struct, frozen=True, kw_only=True):
    """Whether a tool is fresh. `state` is `fresh`, `stale`, `never`, `failed` or `unknown`; `reasons` are sentences,
    none for a fresh tool; `never`, `failed` and `unknown` say how its last run ended, where that is why it is stale.
    `reads` and `writes` are what it declares or was seen to use; `also_reads` and `also_writes` are files that a
    shared module used for it; `lists` are folders, and `looks_for` are files that were not there. `is_unclear`: it
    also used the database in a way that cannot be observed. `gaps`: why `orch` may not see all that it uses, as ends
    of a sentence that begins with "it". `duration` is that of its last success, in seconds."""

    name: str
    module: str
    stage: str
    state: str
    never: bool = False
    failed: bool = False
    unknown: bool = False
    reasons: tuple[str, ...] = ()
    reads: tuple[Used, ...] = ()
    writes: tuple[Used, ...] = ()
    also_reads: tuple[str, ...] = ()
    also_writes: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    looks_for: tuple[str, ...] = ()
    left_over: tuple[UsedLeftOver, ...] = ()
    is_unclear: bool = False
    gaps: tuple[str, ...] = ()
    last_run: str | None = None
    last_status: str | None = None
    duration: float | None = None

    @property
    def is_fresh(self) -> bool:
        return self.state == "fresh"


class ItemStatus(ToolStatus, frozen=True, kw_only=True):
    """Whether one item of a tool is fresh; the values of the `item` by parameter."""

    item: Mapping[str, str]


class Withdrawn(Struct, frozen=True, kw_only=True):
    """An item that is no more, and what of it is left over. `cause` is the file that is gone, or ""."""

    item: Mapping[str, str]
    name: str
    cause: str = ""
    left_over: tuple[Used, ...] = ()


class StatusOfItems(ToolStatus, frozen=True, kw_only=True):
    """A tool with `items`: its `state` is the worst of theirs. `counted` is how many there are, as `60 days`."""

    items: tuple[ItemStatus, ...]
    counted: str
    withdrawn: tuple[Withdrawn, ...] = ()


class Value(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value of a parameter, and where it came from: `--since`, `default`, a file. Secrets are masked. A default
    whose value the source does not show is None, and has the text in the `source`."""

    value: object
    origin: str
    source: str = ""

    @property
    def shown(self) -> str:
        """As one would type it."""
        if self.source:
            return self.source
        many = self.value if isinstance(self.value, list | tuple) else [self.value]
        return ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in many)


class Step(Struct, frozen=True, kw_only=True):
    """A tool in a plan. `reason` is why it would run; `params` has all its parameters. `may_run`: a step before it may
    make it fresh. `state` and `reasons` are those of its status, where they were asked for. With several jobs, it
    `waits_for` these tools of its stage, or `runs_alone`. `removes`: tables and files, with `--rebuild`."""

    name: str
    module: str
    stage: str
    after: tuple[str, ...] = ()
    reason: str = ""
    params: Mapping[str, Value] = field(default_factory=dict)
    may_run: bool = False
    state: str | None = None
    reasons: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    runs_alone: bool = False
    removes: tuple[str, ...] = ()


class Plan(Struct, frozen=True, kw_only=True):
    """What would run, in order. `fresh` are the selected tools that need not run; `warnings` stop nothing; `errors`
    are why nothing would run."""

    steps: tuple[Step, ...] = field(default=(), name="tools")
    fresh: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """How a tool ended. `duration` is in seconds; `metrics` is what `run()` returned; `attempt` counts from 1;
    `blocked_by` is the tool whose failure blocked it."""

    name: str
    module: str
    status: str
    duration: float | None = None
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    attempt: int = 1
    notes: tuple[str, ...] = ()
    blocked_by: str = ""
    checks: tuple[CheckResult, ...] = ()

    @property
    def is_passed(self) -> bool:
        return self.status == "passed"


class RecordedOutcome(Outcome, frozen=True, kw_only=True):
    """How a tool ended in a recorded run. `params` are those that were given."""

    stage: str = ""
    params: Mapping[str, Value] = field(default_factory=dict)


class ToolRun(Struct, frozen=True, kw_only=True):
    """A recorded run of one tool."""

    run: str
    started: str
    status: str
    duration: float | None
    params: Mapping[str, Value]
    metrics: Mapping[str, object]


class Run(Struct, frozen=True, kw_only=True):
    """A recorded run. `run` is null where it was refused. `passed_before` are the tools that were fresh where it
    `resumes` another run. `is_unchecked`: the checks of its tools did not run. `errors` are problems outside any
    tool. `items` are the values that selected items, by parameter."""

    run: str | None
    started: str
    status: str
    duration: float | None
    kind: str = "run"
    targets: tuple[str, ...] = ()
    params: Mapping[str, Value] = field(default_factory=dict)
    exit_code: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    is_unchecked: bool = False
    passed_before: tuple[str, ...] = ()
    tools: tuple[RecordedOutcome, ...] = ()
    errors: tuple[Problem, ...] = ()
    items: Mapping[str, tuple[str, ...]] | UnsetType = UNSET


class LockedTool(Struct, frozen=True, kw_only=True):
    """What `orch.lock` says of a tool: a line for each thing that it uses."""

    name: str
    module: str
    lines: tuple[str, ...]


class Lock(Struct, frozen=True, kw_only=True):
    """What `orch lock` has found. `is_current`: the file `path` said so already. `diff` are the lines that differ, as
    those of `diff -u`. The `unknown` tools have no lines, since they have never run here."""

    path: str
    is_current: bool
    diff: tuple[str, ...] = ()
    tools: tuple[LockedTool, ...] = ()
    unknown: tuple[str, ...] = ()
