"""The freshness of tools, as values for users and as text: `orch status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.documents import (
    ItemStatus,
    StatusOfItems,
    ToolRun,
    ToolStatus,
    Used,
    UsedLeftOver,
    Withdrawn,
    list_used,
)
from discover_orch.model.items import FilePattern, Item, item_text, noun_of, tool_of, values_in
from discover_orch.model.keys import file_key, is_file_key, path_of, read_rows
from discover_orch.model.tool import Tool
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.graph import STATES, few, folded_files, present_files, used_texts
from discover_orch.render.plan import more_reasons, state_word
from discover_orch.render.style import (
    Style,
    arrow,
    counts_text,
    duration,
    shown,
    status_word,
    table,
    time_text,
    wrap,
)
from discover_orch.staleness.code_versions import functions_of, tokens_of
from discover_orch.staleness.reason_sentences import param_text
from discover_orch.staleness.tool_result import Success, ToolResult, run_of, used_files

#: Runs that are shown for a single tool.
LATEST = 5
#: Items of one tool that have a line each.
MOST_LISTED = 10
#: Things of one kind that are named, such as the tables that a tool reads.
MOST = 8


def build_statuses(left: RemainingWork, chosen: Collection[str]) -> tuple[ToolStatus, ...]:
    """Of the chosen tools, in order."""
    registry, freshness = left.view.registry, left.freshness()
    left_over: dict[str, list[UsedLeftOver]] = {}
    for one in left.find_left_over():
        readers = tuple(map(registry.display, one.readers))
        left_over.setdefault(one.module, []).append(UsedLeftOver(**one.used, read_by=readers))
    found = []

    def is_there(path: str) -> bool:
        return left.is_there(file_key(path))

    for module in registry.order:
        if module not in chosen:
            continue
        now, result, flow = freshness[module], left.results.get(module), registry.flows[module]
        success = result.success if result else None
        also_reads, also_writes = _files_of_others(flow, result)
        item = registry.tools[module].item
        of_item = {"item": item.values} if item.values else {}
        found.append(
            (ItemStatus if of_item else ToolStatus)(
                **of_item,
                name=registry.display(module),
                module=module,
                stage=registry.stages[registry.rank[module]].name,
                state=now.state,
                never=now.last_ending == "never",
                failed=now.last_ending == "failed",
                unknown=now.last_ending == "unknown",
                reasons=now.sentences,
                reads=list_used(present_files(flow.files_read, is_there), flow.tables_read),
                writes=list_used(present_files(flow.files_written, is_there), flow.tables_written),
                also_reads=also_reads,
                also_writes=also_writes,
                lists=flow.folders,
                looks_for=flow.missed,
                left_over=tuple(left_over.get(module, ())),
                is_unclear=flow.is_unclear,
                gaps=flow.gaps,
                last_run=(result.last.run or None) if result else None,
                last_status=result.last.status if result else None,
                duration=success.duration if success else None,
            )
        )
    if not registry.steps:
        return tuple(found)
    return tuple(_by_tool(found, left, is_whole=len(found) == len(registry.order)))


def _by_tool(
    steps: Sequence[ToolStatus], left: RemainingWork, *, is_whole: bool
) -> Iterator[ToolStatus]:
    """With one status for all items of a tool; with that of tools that have no items now if it `is_whole`."""
    registry = left.view.registry
    withdrawn = find_withdrawn(left)
    by_tool: dict[str, list[ToolStatus]] = {}
    for step in steps:
        by_tool.setdefault(tool_of(step.module), []).append(step)
    for module in registry.by_tool.order:
        of_tool = by_tool.get(module, [])
        if registry.steps.get(module) is None:
            yield from of_tool
            continue
        if not (of_tool or (is_whole and not registry.steps[module])):
            continue
        items = tuple(one for one in of_tool if isinstance(one, ItemStatus))
        state = min((one.state for one in items), key=STATES.index, default="fresh")
        late = [one for one in items if not one.is_fresh]
        noun = noun_of(registry.item_params(module), len(items))
        verb = "is" if len(late) == 1 else "are"
        yield StatusOfItems(
            name=registry.display(module),
            module=module,
            stage=registry.by_tool.stages[registry.by_tool.rank[module]].name,
            state=state,
            never=state == "never",
            failed=state == "failed",
            unknown=state == "unknown",
            reasons=(f"{len(late):,} of {len(items):,} {noun} {verb} {worded(state)}",)
            if late
            else (),
            items=items,
            counted=f"{len(items):,} {noun}",
            withdrawn=tuple(withdrawn.get(module, ())),
        )


def find_withdrawn(left: RemainingWork) -> dict[str, list[Withdrawn]]:
    """By tool, the items that are no more and of which something is left over."""
    registry = left.view.registry
    gone = {one.module: one for one in left.current.gone}
    found: dict[str, list[Withdrawn]] = {}
    things: dict[str, list[Used]] = {}
    for one in left.find_made_by_gone():
        things.setdefault(one.module, []).append(Used(**one.used))
    for key, used in things.items():
        module = tool_of(key)
        if module not in registry.steps:
            continue
        values = dict(zip(registry.item_params(module), values_in(item_text(key)), strict=False))
        each = registry.by_tool.tools[module].each
        cause = ""
        if isinstance(each, FilePattern):
            path = each.file_of(Item(values=values))
            success = gone[key].success
            cause = path if success and file_key(path) in used_files(success.inputs) else ""
        found.setdefault(module, []).append(
            Withdrawn(item=values, name=registry.display(key), cause=cause, left_over=tuple(used))
        )
    return found


def _files_of_others(
    flow: Dataflow, result: ToolResult | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that the tool was not seen to read and write by itself, so that they are not in the data flow."""
    if result is None or result.success is None:
        return (), ()
    other = result.success.inputs.other
    matched = {path for paths in _of_kind("glob", other).values() for path in paths.split("\0")}
    known = matched.union(
        flow.files_read, flow.files_written, flow.missed, flow.removed, flow.folders_made
    )
    read = {path for path, version in _of_kind("file", other).items() if version}
    made = [key for key, one in result.writes.items() if not (one.is_left_over or one.is_unread)]
    written = {path_of(key) for key in made if is_file_key(key)}
    return tuple(sorted(read - known)), tuple(sorted(written - known))


def status_text(
    tools: Sequence[ToolStatus],
    style: Style,
    *,
    verbose: bool = False,
    has_errors: bool = False,
    most_items: int = MOST_LISTED,
) -> str:
    """The tools by stage, one line each; `verbose` adds all reasons and the data flow. `has_errors`: some tool of the
    project cannot run. Of one tool so many items are named at most."""
    rows: list[Sequence[str]] = []
    for stage, members in groupby(shown(tools), key=lambda tool: tool.stage):
        rows.append(style.paint(stage, "cyan"))
        for tool in members:
            if isinstance(tool, StatusOfItems):
                rows += _rows_of_items(tool, style, verbose=verbose, most=most_items)
                continue
            first, *more = tool.reasons or ("",)
            others = more_reasons(more, " (-v)")
            rows.append((tool.name, state_word(tool.state, style), first + others * (not verbose)))
            if verbose:
                rows += [("", "", reason) for reason in more]
                flow = [style.paint(line, "dim") for line in _lines(_flow(tool))]
                rows += [("", "", line) for line in flow]
    out = table(rows, style, kinds=("bold",))
    out += [wrap(line, style, "  ") for line in withdrawn_lines(tools)]
    steps = [one for tool in tools for one in steps_of(tool)]
    fresh = sum(one.is_fresh for one in steps)
    counts = counts_text({"fresh": fresh, "stale": len(steps) - fresh}, Style())
    runs = "orch run --changed runs the stale tools"
    what = "fix the errors, then run: orch run --changed" if has_errors else runs
    out.append(counts + ("" if fresh == len(steps) else style.paint(f"  ({what})", "dim")))
    return "\n".join(out) + "\n"


def steps_of(tool: ToolStatus) -> Sequence[ToolStatus]:
    """The items of the tool, or itself."""
    return tool.items if isinstance(tool, StatusOfItems) else (tool,)


def worded(state: str) -> str:
    """`never ran` for `never`."""
    return "never ran" if state == "never" else state


def _rows_of_items(
    tool: StatusOfItems, style: Style, *, verbose: bool, most: int
) -> Iterator[Sequence[str] | str]:
    """The tool with the numbers of its items by state, then those that are not fresh for a reason of their own. What
    all have in common, or have from upstream, stands behind the numbers."""
    numbers = Counter(one.state for one in tool.items)
    counts = ", ".join(
        f"{numbers[one]:,} {worded(one)}" for one in reversed(STATES) if numbers[one]
    )
    late = [one for one in tool.items if not one.is_fresh]
    firsts = dict.fromkeys(one.reasons[0] for one in late)
    named = [one for one in late if not one.reasons[0].startswith("upstream ")]
    if len(firsts) == 1 and len(late) == len(tool.items) > 1:
        named = []
    shared = [one for one in firsts if one.startswith("upstream ") or not named]
    why = next((one for one in shared if one != "never ran"), "")
    line = (f"{tool.counted}: {counts}" if counts else tool.counted) + (f"  {why}" if why else "")
    yield tool.name, state_word(tool.state, style), line
    named, most = (late, len(late)) if verbose else (named, most)
    for one in named[:most]:
        name = one.name.removeprefix(f"{tool.name} ")
        reasons = one.reasons if verbose else one.reasons[:1]
        yield f"  {name}", style.paint(one.state, "yellow"), "; ".join(reasons)
    if len(named) > most:
        yield f"  … and {len(named) - most:,} more (orch status {tool.name})"


def withdrawn_lines(tools: Iterable[ToolStatus]) -> list[str]:
    """A line for each item that is no more and of which something is left over."""
    lines = []
    for tool in tools:
        for one in shown(tool.withdrawn) if isinstance(tool, StatusOfItems) else ():
            left = [used for used in one.left_over if used.file or read_rows(used.table)]
            files = used_texts(left, MOST)
            tables = used_texts([used for used in one.left_over if used not in left], MOST)
            said = [
                f"withdrawn: {one.name}" + (f", since {one.cause} is gone" if one.cause else "")
            ]
            said += (
                [f"{', '.join(files)} {'are' if len(files) > 1 else 'is'} left over"]
                if files
                else []
            )
            said += [f"{', '.join(tables)} may still have its rows"] if tables else []
            lines.append("; ".join(said))
    return lines


def as_of_text(run: int, style: Style) -> str:
    """That the database is as of this run; "" for 0."""
    text = f"as of run {run}: status does not call get_connection() to look at the database"
    return style.paint(text, "dim") + "\n" if run else ""


def all_fresh_text(tools: Sequence[Tool]) -> str:
    """What `orch run --changed` shows if it has nothing to do."""
    noun = "steps" if any(tool.item.values for tool in tools) else "tools"
    said = "the tool is" if len(tools) == 1 else f"all {len(tools):,} {noun} are"
    return f"nothing to run: {said} fresh\n"


def tool_text(
    tool: Tool,
    status: ToolStatus,
    success: Success | None,
    params: Mapping[str, str],
    defaults: Mapping[str, str],
    runs: Sequence[ToolRun],
    code: Sequence[str],
    style: Style,
) -> str:
    """Everything about one tool: reasons, parameters old and new, data flow, code and the last `runs`. `code` are
    the rows of `code_rows`."""
    status = shown(status)
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
            change = new if old == new else f"{old} {arrow(style)} {new}"
            rows.append((f"--{name.replace('_', '-')}", [change]))
        installed = sorted(_of_kind("package", other).items())
        used = [
            ("environment", few(sorted(_of_kind("env", other)), MOST)),
            ("code", list(code)),
            ("packages", few([f"{name} {version}" for name, version in installed], MOST)),
        ]
    latest = [
        f"{one.run}  {time_text(one.started)}  {status_word(one.status)}  {duration(one.duration)}"
        for one in runs
    ]
    facts = shown([*rows, *_flow(status), *used, ("last runs", latest)])
    out = [
        f"{style.paint(status.name, 'bold')}  {state_word(status.state, style)}",
        *(f"  {reason}" for reason in status.reasons),
        "",
        *(wrap(line, style, " " * 12) for line in _lines(facts)),
    ]
    return "\n".join(out) + "\n"


def code_rows(code: Mapping[str, str], functions: Mapping[str, int], *, verbose: bool) -> list[str]:
    """The files, with how many of their functions ran where not all did, and which. `functions` are the numbers of
    functions that they have."""
    rows = []
    for path, version in sorted(code.items()):
        ran = functions_of(version)
        is_split = bool(tokens_of(version)) and len(ran) < functions.get(path, 0)
        rows.append(f"{path}  {len(ran):,} of {functions[path]:,} functions" if is_split else path)
        rows += [f"  {name}()" for name in ran] if verbose and is_split else []
    return rows if verbose else few(rows, MOST)


def _flow(tool: ToolStatus) -> list[tuple[str, list[str]]]:
    """What the tool reads and writes."""
    how = "(by a shared module)"
    others = [
        [f"{text} {how}" for text in folded_files(files, MOST)]
        for files in (tool.also_reads, tool.also_writes)
    ]
    unclear = "also used in a way that cannot be observed"
    return [
        ("reads", [*used_texts(tool.reads, MOST), *others[0]]),
        ("lists", few([f"{one}/" for one in tool.lists], MOST)),
        ("looks for", folded_files(tool.looks_for, MOST)),
        ("writes", [*used_texts(tool.writes, MOST), *others[1]]),
        ("database", [unclear] if tool.is_unclear else []),
        ("not seen", [f"it {gap}" for gap in tool.gaps]),
    ]


def _lines(rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """The items, one per line, the first one behind its label."""
    return [
        f"{'' if number else label:<11} {item}".rstrip()
        for label, items in rows
        for number, item in enumerate(items)
    ]


def _of_kind(kind: str, versions: Mapping[str, str]) -> dict[str, str]:
    """The versions of the keys of one kind, by name."""
    start = kind + ":"
    return {key.removeprefix(start): one for key, one in versions.items() if key.startswith(start)}
