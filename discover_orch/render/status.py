"""The freshness of tools as text and as JSON, for `orch status`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.documents import ToolStatus, UsedLeftOver, list_used
from discover_orch.model.table_keys import shown_table
from discover_orch.model.tool import Tool
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.graph import folded_files
from discover_orch.render.plan import freshness_word, more_reasons
from discover_orch.render.style import (
    Style,
    arrow,
    column,
    column_width,
    counts_text,
    duration,
    indent,
    one_line,
    status_word,
    time_text,
    wrap,
)
from discover_orch.staleness.left_over import LeftOver
from discover_orch.staleness.reason_sentences import Freshness, param_text
from discover_orch.staleness.tool_result import ToolResult, run_of

#: Runs that are shown for a single tool.
LATEST = 5
#: Things of one kind that are named, such as the tables that a tool reads.
MOST = 8


class Row(Struct, frozen=True, kw_only=True):
    """What is shown of one tool. `flow` is what it declares and has been seen to read and write; `left_over` is what
    is left over from it."""

    tool: Tool
    stage: str
    freshness: Freshness
    result: ToolResult | None
    flow: Dataflow
    left_over: tuple[LeftOver, ...] = ()


def read_rows(left: RemainingWork, chosen: Collection[str]) -> list[Row]:
    """Of the chosen tools, in order."""
    registry, freshness = left.view.registry, left.freshness()
    left_over: dict[str, list[LeftOver]] = {}
    for one in left.find_left_over():
        left_over.setdefault(one.module, []).append(one)
    return [
        Row(
            tool=registry.tools[module],
            stage=registry.stages[registry.rank[module]].name,
            freshness=freshness[module],
            result=left.results.get(module),
            flow=registry.flows[module],
            left_over=tuple(left_over.get(module, ())),
        )
        for module in registry.order
        if module in chosen
    ]


def status_text(
    rows: Sequence[Row], style: Style, *, verbose: bool = False, has_errors: bool = False
) -> str:
    """The tools by stage, one line each; `verbose` adds all reasons and the data flow. `has_errors`: some tool of the
    project cannot run."""
    out = []
    width = column_width((row.tool.name for row in rows), style)
    pad = indent(width + 11, style)
    for stage, members in groupby(rows, key=lambda row: row.stage):
        out.append(style.paint(stage, "cyan"))
        for row in members:
            first, *more = row.freshness.sentences or ("",)
            others = "" if verbose or not more else f"{more_reasons(more)} (-v)"
            name, state = (
                column(row.tool.name, width, style, "bold"),
                freshness_word(row.freshness, style),
            )
            line = f"  {name}  {state}  {one_line(first)}{others}".rstrip()
            out.append(wrap(line, style, pad))
            if verbose:
                out += [wrap(pad + one_line(reason), style, pad) for reason in more]
                flow = [style.paint(line, "dim") for line in _lines(_flow(row.flow, row.result))]
                out += [wrap(pad + line, style, pad + " " * 12) for line in flow]
    fresh = sum(row.freshness.is_fresh for row in rows)
    counts = counts_text({"fresh": fresh, "stale": len(rows) - fresh}, Style())
    runs = "orch run --changed runs the stale tools"
    what = "fix the errors, then run: orch run --changed" if has_errors else runs
    out.append(counts + ("" if fresh == len(rows) else style.paint(f"  ({what})", "dim")))
    return "\n".join(out) + "\n"


def all_fresh_text(count: int) -> str:
    """What `orch run --changed` shows if it has nothing to do."""
    tools = "the tool is" if count == 1 else f"all {count:,} tools are"
    return f"nothing to run: {tools} fresh\n"


def tool_text(
    row: Row,
    params: Mapping[str, str],
    defaults: Mapping[str, str],
    runs: Sequence[tuple[str, str, str, float | None]],
    style: Style,
) -> str:
    """Everything about one tool: reasons, parameters old and new, data flow, code and the last runs."""
    tool, result = row.tool, row.result
    success = result.success if result else None
    out = [f"{style.paint(tool.name, 'bold')}  {freshness_word(row.freshness, style)}"]
    out += [*(f"  {one_line(reason)}" for reason in row.freshness.sentences), ""]
    rows = [
        ("module", [tool.module]),
        ("file", [f"{tool.path}:{tool.line}"]),
        ("stage", [", ".join(tool.stages)]),
    ]
    used: list[tuple[str, list[str]]] = []
    if success is not None:
        other, when, took = success.inputs.other, time_text(success.at), duration(success.duration)
        passed = ("passed", [f"run {run_of(success.ended)}, {when}, {took}"])
        rows.append(("accepted", [when]) if success.is_accepted else passed)
        before = _of_kind("param", other)
        for name in dict.fromkeys((*before, *params)):
            old, new = (param_text(one.get(name), defaults.get(name)) for one in (before, params))
            shown = new if old == new else f"{old} {arrow(style)} {new}"
            rows.append((f"--{name.replace('_', '-')}", [shown]))
        installed = sorted(_of_kind("package", other).items())
        used = [
            ("environment", _few(sorted(_of_kind("env", other)))),
            ("code", _few(sorted(success.inputs.code))),
            ("packages", _few([f"{name} {version}" for name, version in installed])),
        ]
    latest = []
    for run, started, status, seconds in runs:
        took = "" if seconds is None else f"  {duration(seconds)}"
        latest.append(f"{run}  {time_text(started)}  {status_word(status)}{took}")
    out += _lines([*rows, *_flow(row.flow, result), *used, ("last runs", latest)])
    return "\n".join(wrap(line, style, " " * 12) for line in out) + "\n"


def build_status(row: Row, name_of: Callable[[str], str]) -> ToolStatus:
    """The status of a tool as users get it."""
    freshness, result, flow = row.freshness, row.result, row.flow
    success = result.success if result else None
    return ToolStatus(
        name=row.tool.name,
        module=row.tool.module,
        stage=row.stage,
        state=freshness.state,
        never=freshness.last_ending == "never",
        failed=freshness.last_ending == "failed",
        unknown=freshness.last_ending == "unknown",
        reasons=freshness.sentences,
        reads=list_used(flow.files_read, flow.tables_read),
        writes=list_used(flow.files_written, flow.tables_written),
        left_over=tuple(
            UsedLeftOver(**one.used, read_by=tuple(map(name_of, one.readers)))
            for one in row.left_over
        ),
        is_unclear=flow.is_unclear,
        last_run=(result.last.run or None) if result else None,
        last_status=result.last.status if result else None,
        duration=success.duration if success else None,
    )


def _flow(flow: Dataflow, result: ToolResult | None) -> list[tuple[str, list[str]]]:
    """What the tool reads and writes."""
    read, written = _files_of_others(flow, result)
    tables_read, tables_written = (
        _few([*map(shown_table, names)]) for names in (flow.tables_read, flow.tables_written)
    )
    unclear = "also used in a way that cannot be observed"
    return [
        ("reads", [*tables_read, *folded_files(flow.files_read, MOST), *read]),
        ("lists", _few([f"{one}/" for one in flow.folders])),
        ("looks for", folded_files(flow.missed, MOST)),
        ("writes", [*tables_written, *folded_files(flow.files_written, MOST), *written]),
        ("database", [unclear] if flow.is_unclear else []),
    ]


def _files_of_others(flow: Dataflow, result: ToolResult | None) -> tuple[list[str], list[str]]:
    """The files that the tool was not seen to read and write by itself, so that they are not in the data flow."""
    if result is None or result.success is None:
        return [], []
    other = result.success.inputs.other
    matched = {path for paths in _of_kind("glob", other).values() for path in paths.split("\0")}
    known = matched.union(
        flow.files_read, flow.files_written, flow.missed, flow.removed, flow.folders_made
    )
    read = {path for path, version in _of_kind("file", other).items() if version}
    written = {key.removeprefix("file:") for key in result.writes if key.startswith("file:")}
    how = "(by a library, a child process or a shared module)"
    first, second = (folded_files(sorted(paths - known), MOST) for paths in (read, written))
    return [f"{text} {how}" for text in first], [f"{text} {how}" for text in second]


def _few(items: Sequence[str]) -> list[str]:
    more = [f"and {len(items) - MOST:,} more"] if len(items) > MOST else []
    return [*items[:MOST], *more]


def _lines(rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """The items, one per line, the first one behind its label."""
    return [
        one_line(f"{'' if number else label:<11} {item}")
        for label, items in rows
        for number, item in enumerate(items)
    ]


def _of_kind(kind: str, versions: Mapping[str, str]) -> dict[str, str]:
    """The versions of the keys of one kind, by name."""
    start = kind + ":"
    return {key.removeprefix(start): one for key, one in versions.items() if key.startswith(start)}
