"""What changed from one run to another: parameters, code, statuses and durations."""

from __future__ import annotations

from msgspec import Struct

from discover_orch.state.run_record import RecordedStep, RunRecord, ToolRecord


class ParamChange(Struct, frozen=True, kw_only=True):
    """A parameter that differs; None where it was not given."""

    name: str
    old: str | None
    new: str | None


class ToolChange(Struct, frozen=True, kw_only=True):
    """A tool that is in both runs; `is_code_changed` is None where the code of one of them is not known."""

    module: str
    name: str
    statuses: tuple[str, str]
    durations: tuple[float | None, float | None]
    params: tuple[ParamChange, ...] = ()
    is_code_changed: bool | None = None

    @property
    def is_changed(self) -> bool:
        """Whether more than its duration differs."""
        return self.statuses[0] != self.statuses[1] or bool(self.params or self.is_code_changed)


class RunDiff(Struct, frozen=True, kw_only=True):
    """What changed from one run to another; `added` and `removed` are the tools that only one of them has."""

    old: RunRecord
    new: RunRecord
    added: tuple[ToolRecord, ...] = ()
    removed: tuple[ToolRecord, ...] = ()
    tools: tuple[ToolChange, ...] = ()


def compare_runs(old: RunRecord, new: RunRecord) -> RunDiff:
    """Tools in the order of the new run."""
    before = {tool.module: tool for tool in old.tools}
    now = {tool.module for tool in new.tools}
    plans = [{one.module: one for one in run.plan} for run in (old, new)]
    changes = []
    for tool in new.tools:
        if tool.module not in before:
            continue
        then = before[tool.module]
        was, is_now = (plan.get(tool.module) for plan in plans)
        changes.append(
            ToolChange(
                module=tool.module,
                name=tool.name,
                statuses=(then.status, tool.status),
                durations=(then.duration, tool.duration),
                params=_param_changes(was, is_now) if was and is_now else (),
                is_code_changed=was.code != is_now.code
                if was and is_now and was.code and is_now.code
                else None,
            )
        )
    return RunDiff(
        old=old,
        new=new,
        added=tuple(tool for tool in new.tools if tool.module not in before),
        removed=tuple(tool for tool in old.tools if tool.module not in now),
        tools=tuple(changes),
    )


def _param_changes(old: RecordedStep, new: RecordedStep) -> tuple[ParamChange, ...]:
    was, is_now = old.arguments, new.arguments
    pairs = (
        (
            name,
            was[name].shown if name in was else None,
            is_now[name].shown if name in is_now else None,
        )
        for name in dict.fromkeys((*was, *is_now))
    )
    return tuple(ParamChange(name=name, old=a, new=b) for name, a, b in pairs if a != b)
