"""The graph of a project as a tree: stages, their tools, and what each tool runs after, reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow, merge_flows
from discover_orch.model.documents import GraphStage, GraphTool, Used, list_used
from discover_orch.model.items import FilePattern, as_glob, tool_of
from discover_orch.model.keys import shown_table
from discover_orch.render.style import MOST_ALIKE, Style, count, pattern_of, shown, wrap
from discover_orch.staleness.reason_sentences import Freshness

#: Lines for files that a tool reads, and as many for those that it writes.
MOST_FILES = 12

#: The states of tools, the worst first.
STATES = ("failed", "unknown", "stale", "never", "fresh")

Graph = tuple[GraphStage, ...]


#: Whether a file is there now.
IsThere = Callable[[str], bool]


def build_graph(
    registry: Registry,
    chosen: Collection[str],
    freshness: Mapping[str, Freshness],
    is_there: IsThere = lambda _: True,
) -> Graph:
    """The stages that have some of the chosen tools, with these. A tool with items is one, as its worst item is."""
    stages, wanted = [], {*map(tool_of, chosen)}
    for stage in registry.by_tool.stages:
        modules = [module for module in stage.tools if module in wanted]
        if modules:
            tools = tuple(_tool(registry, module, freshness, is_there) for module in modules)
            stages.append(GraphStage(name=stage.name, tools=tools))
    return tuple(stages)


def graph_text(graph: Graph, style: Style, *, verbose: bool = False) -> str:
    """The tree, with a mark for what has run and is stale now; `verbose` names every file."""
    out: list[str] = []
    down, last, bar = (
        style.mark(*pair) for pair in (("├─ ", "|- "), ("└─ ", "`- "), ("│  ", "|  "))
    )
    for stage in shown(graph):
        out.append(style.paint(stage.name, "stage"))
        for tool in stage.tools:
            is_last = tool is stage.tools[-1]
            after = "  after " + ", ".join(tool.after) if tool.after else ""
            is_shown = tool.state not in ("", "fresh", "never")
            stale = "  " + style.paint(tool.state, "yellow") if is_shown else ""
            line = style.paint(tool.name, "bold") + stale + style.paint(after, "dim")
            lead = "   " if is_last else bar
            out.append(wrap((last if is_last else down) + line, style, lead + "      "))
            rows = [
                f"{verb} {what}"
                for verb, used in (("reads", tool.reads), ("writes", tool.writes))
                for what in used_texts(used, None if verbose else MOST_FILES)
            ]
            for row in rows:
                mark = last if row is rows[-1] else down
                out.append(wrap(lead + mark + row, style, lead + "      "))
    return "\n".join(out) + "\n" if out else ""


def used_texts(used: Sequence[Used], most: int | None) -> list[str]:
    """The tables and files as texts; of each at most so many."""
    tables = [shown_table(one.table) for one in used if one.table]
    files = [one.file for one in used if one.file]
    return [*tables, *files] if most is None else [*few(tables, most), *folded_files(files, most)]


def few(items: Sequence[str], most: int) -> list[str]:
    """The first ones, and `and 3 more`."""
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return [*items[:most], *more]


def folded_files(files: Sequence[str], most: int) -> list[str]:
    """The paths, with `data/*.csv (120 files)` for many files of one kind in one folder; of more than `most` such
    texts the first ones, and `and 12 more files`."""
    if len(files) <= min(MOST_ALIKE, most):
        return [*files]
    kinds: dict[str, list[str]] = {}
    for path in files:
        kinds.setdefault(pattern_of(path), []).append(path)
    shown: list[tuple[str, int]] = []
    for pattern, paths in kinds.items():
        if len(paths) > MOST_ALIKE:
            shown.append((f"{pattern} ({count(len(paths), 'file')})", len(paths)))
        else:
            shown += [(path, 1) for path in paths]
    rest = sum(number for _, number in shown[most:])
    more = [f"and {count(rest, 'more file')}"] if rest else []
    return [*(text for text, _ in shown[:most]), *more]


def _flow_of(registry: Registry, module: str) -> Dataflow:
    """Of a tool with items what these use, less what withdrawn ones have used."""
    steps = {key: registry.flows[key] for key in registry.steps.get(module, ())}
    return merge_flows(steps, tool_of)[module] if steps else registry.by_tool.flows[module]


def present_files(files: Sequence[str], is_there: IsThere) -> Sequence[str]:
    """Of many files of one kind those that are there now, if any is: earlier runs used others, which are gone."""
    if len(files) <= MOST_ALIKE:
        return files
    kinds: dict[str, list[str]] = {}
    for path in files:
        kinds.setdefault(pattern_of(path), []).append(path)
    gone: set[str] = set()
    for paths in kinds.values():
        absent = [path for path in paths if not is_there(path)] if len(paths) > MOST_ALIKE else []
        gone.update(absent if len(absent) < len(paths) else ())
    return [path for path in files if path not in gone]


def _tool(
    registry: Registry, module: str, freshness: Mapping[str, Freshness], is_there: IsThere
) -> GraphTool:
    whole = registry.by_tool
    tool, flow = whole.tools[module], _flow_of(registry, module)
    before = dict.fromkeys((*whole.before.get(module, ()), *whole.flow.get(module, ())))
    own = as_glob(tool.each.pattern) if isinstance(tool.each, FilePattern) else ""
    files = [path for path in flow.files_read if path != own] or flow.files_read
    items, steps = registry.count_items(module), registry.steps_of([module])
    now = min(
        (freshness[one] for one in steps),
        key=lambda one: STATES.index(one.state),
        default=Freshness(module=module),
    )
    return GraphTool(
        name=f"{tool.name} ({items})" if items else tool.name,
        module=module,
        after=tuple(registry.display(other) for other in before),
        inputs=tool.inputs,
        outputs=tool.outputs,
        reads=list_used(present_files(files, is_there), flow.tables_read),
        writes=list_used(present_files(flow.files_written, is_there), flow.tables_written),
        state=now.state,
        reasons=now.sentences,
    )
