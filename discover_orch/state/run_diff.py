"""What changed from one run to another: code, parameters, what the tools read, metrics, ends and times. Its values are
printed as JSON, and a text is made from them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from discover_orch.model.documents import copied
from discover_orch.state.recorded_run import RunRecord, ToolRecord

T = TypeVar("T")

#: Only these have metrics: a tool that was fresh or failed has lost none.
_SUCCEEDED = frozenset({"passed", "done"})

#: What a key of `ToolRecord.versions` begins with.
_KINDS = frozenset({"file", "folder", "glob", "table", "env", "package", "python", "others"})
#: Kinds whose versions mean something to a reader.
_READABLE = ("table", "package", "python")


class ValueChange(Struct, frozen=True, kw_only=True):
    """A parameter or a metric that differs; None where it was not given."""

    name: str
    old: object
    new: object


class InputChange(Struct, frozen=True, kw_only=True):
    """Something that the tool used and that differs. `change`: it `changed`, was `created` or `deleted`, or only one
    run used it: `added`, `removed`. `old` and `new` are versions that can be read: the run and the module that wrote a
    table last, the version of a package."""

    kind: str
    name: str
    change: str
    old: str | None = None
    new: str | None = None


class OldNew(Struct, Generic[T], frozen=True, kw_only=True):
    """A status or a duration in both runs."""

    old: T
    new: T


class ToolChange(Struct, frozen=True, kw_only=True):
    """A tool that is in both runs; `code_changed` is None where the code of one of them is not known."""

    name: str
    module: str
    status: OldNew[str]
    duration: OldNew[float | None]
    params: tuple[ValueChange, ...] = ()
    code_changed: bool | None = None
    inputs: tuple[InputChange, ...] = ()
    metrics: tuple[ValueChange, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether more than its duration differs."""
        other = self.params or self.code_changed or self.inputs or self.metrics
        return self.status.old != self.status.new or bool(other)


class ComparedRun(Struct, frozen=True, kw_only=True):
    """One of the two runs."""

    run: str
    started: str
    status: str
    duration: float | None
    targets: tuple[str, ...]


class RunDiff(Struct, frozen=True, kw_only=True):
    """What changed from one run to another; `added` and `removed` are the names of the tools that only one of them
    has; `sources` are the files of the tools' code that both have and that differ."""

    old: ComparedRun
    new: ComparedRun
    sources: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    tools: tuple[ToolChange, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether more than the durations differs."""
        tools = self.added or self.removed or any(one.is_changed for one in self.tools)
        return bool(tools or self.sources)


def compare_runs(old: RunRecord, new: RunRecord) -> RunDiff:
    """Tools in the order of the new run."""
    before = {tool.module: tool for tool in old.tools}
    now = {tool.module for tool in new.tools}
    return RunDiff(
        old=copied(ComparedRun, old),
        new=copied(ComparedRun, new),
        sources=tuple(
            path
            for path, content in new.sources.items()
            if old.sources.get(path, content) != content
        ),
        added=tuple(tool.name for tool in new.tools if tool.module not in before),
        removed=tuple(tool.name for tool in old.tools if tool.module not in now),
        tools=tuple(
            _compare_tool(before[tool.module], tool, (old.run, new.run))
            for tool in new.tools
            if tool.module in before
        ),
    )


def _compare_tool(old: ToolRecord, new: ToolRecord, runs: tuple[str, str]) -> ToolChange:
    """What was planned, and what was used, is compared where both runs say it."""
    was, now = old.step, new.step
    texts = [{name: one.shown for name, one in step.arguments.items()} for step in (was, now)]
    return ToolChange(
        name=new.name,
        module=new.module,
        status=OldNew(old=old.status, new=new.status),
        duration=OldNew(old=old.duration, new=new.duration),
        params=_value_changes(*texts) if was.module and now.module else (),
        code_changed=was.code != now.code if was.code and now.code else None,
        inputs=_input_changes(old.versions, new.versions, *runs)
        if old.versions and new.versions
        else (),
        metrics=_value_changes(old.metrics, new.metrics)
        if _SUCCEEDED.issuperset((old.status, new.status))
        else (),
    )


def _value_changes(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[ValueChange, ...]:
    pairs = ((name, old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new)))
    return tuple(ValueChange(name=name, old=a, new=b) for name, a, b in pairs if a != b)


def _input_changes(
    old: Mapping[str, str], new: Mapping[str, str], old_run: str, new_run: str
) -> tuple[InputChange, ...]:
    found = []
    for key in dict.fromkeys((*new, *old)):
        kind, _, name = key.partition(":")
        was, now = old.get(key), new.get(key)
        if kind not in _KINDS or was == now:
            continue
        if kind == "table" and was and now and _in_own(was, old_run) == _in_own(now, new_run):
            continue  # each run made it itself, by the same tool
        if kind == "env" and was and now and was.split(" ")[0] != now.split(" ")[0]:
            continue  # hashed with another salt: not known
        shows = kind in _READABLE
        found.append(
            InputChange(
                kind="variable" if kind == "env" else kind,
                name=name,
                change=_change(was, now),
                old=(was or None) if shows else None,
                new=(now or None) if shows else None,
            )
        )
    return tuple(found)


def _change(was: str | None, now: str | None) -> str:
    if was is None:
        return "added"
    if now is None:
        return "removed"
    return "created" if not was else "deleted" if not now else "changed"


def _in_own(version: str, run: str) -> str:
    """The version of a table without the number of the run that it belongs to."""
    number, _, module = version.partition(" ")
    return module if number == run else version
