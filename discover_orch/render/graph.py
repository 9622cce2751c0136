"""The graph of a project as a tree: stages, their tools, and what each tool runs after, reads and writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from discover_orch.discovery.registry import Registry
from discover_orch.model.table_name import shown_table
from discover_orch.render.style import MOST_ALIKE, Style, count, indent, one_line, pattern_of, wrap
from discover_orch.staleness.reason_sentences import Freshness

#: Lines for files that a tool reads, and as many for those that it writes.
MOST_FILES = 12

NO_FRESHNESS: Mapping[str, Freshness] = {}


def graph_document(
    registry: Registry,
    chosen: Collection[str],
    freshness: Mapping[str, Freshness] = NO_FRESHNESS,
) -> dict[str, Any]:
    """`{"version": 1, "stages": [{"name", "tools": [{"name", "module", "after", "inputs", "outputs", "reads",
    "writes", "tables_read", "tables_written", "state", "reasons"}]}]}`; `after` from `AFTER` and from data. `inputs`
    and `outputs` are declared; `reads` and `writes` are all tables and files that a tool declares or was seen to use,
    as of `used_documents`. `state` is that of `Freshness`, where that is given."""
    stages = []
    for stage in registry.stages:
        tools = [_tool(registry, module) for module in stage.tools if module in chosen]
        for tool in tools:
            found = freshness.get(tool["module"])
            if found is not None:
                tool["state"] = found.state
                tool["reasons"] = list(found.sentences)
        if tools:
            stages.append({"name": stage.name, "tools": tools})
    return {"version": 1, "stages": stages}


def graph_with_selection(
    registry: Registry, chosen: Collection[str], freshness: Mapping[str, Freshness]
) -> dict[str, Any]:
    """The document for a picture: of all tools, with the chosen ones `selected` if that is not all of them, and the
    first reason of each as its `tip`."""
    document = graph_document(registry, registry.tools, freshness)
    is_part = len(chosen) < len(registry.order)
    for stage in document["stages"]:
        for tool in stage["tools"]:
            tool["tip"] = "\n".join(tool.get("reasons", [])[:1])
            if is_part:
                tool["selected"] = tool["module"] in chosen
    return document


def graph_text(document: Mapping[str, Any], style: Style, *, verbose: bool = False) -> str:
    """The tree, with a mark for what has run and is stale now; `verbose` names every file."""
    out: list[str] = []
    down, last, bar = (
        style.mark(*pair) for pair in (("├─ ", "|- "), ("└─ ", "`- "), ("│  ", "|  "))
    )
    for stage in document["stages"]:
        out.append(style.paint(stage["name"], "stage"))
        tools = stage["tools"]
        for index, tool in enumerate(tools):
            is_last = index == len(tools) - 1
            name = one_line(tool["name"])
            after = "  after " + ", ".join(tool["after"]) if tool["after"] else ""
            state = tool.get("state", "")
            stale = "" if state in ("", "fresh", "never") else "  " + style.paint(state, "yellow")
            line = style.paint(name, "bold") + stale + style.paint(after, "dim")
            pad = ("   " if is_last else bar) + indent(len(name) + 2, style)
            out.append(wrap((last if is_last else down) + line, style, pad))
            rows = [
                f"{verb} {one_line(what)}"
                for verb in ("reads", "writes")
                for what in _used_texts(tool[verb], verbose=verbose)
            ]
            for number, row in enumerate(rows):
                lead = "   " if is_last else bar
                mark = last if number == len(rows) - 1 else down
                out.append(wrap(lead + mark + row, style, lead + "      "))
    return "\n".join(out) + "\n" if out else ""


def _used_texts(used: Sequence[Mapping[str, str]], *, verbose: bool) -> list[str]:
    tables = [shown_table(one["table"]) for one in used if "table" in one]
    files = [one["file"] for one in used if "file" in one]
    return [*tables, *(files if verbose else folded_files(files, MOST_FILES))]


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


def used_documents(files: Iterable[str], tables: Iterable[str]) -> list[dict[str, str]]:
    """`[{"table": "raw"}, {"file": "data/x.csv"}]`: tables first."""
    return [*({"table": name} for name in tables), *({"file": path} for path in files)]


def _tool(registry: Registry, module: str) -> dict[str, Any]:
    tool = registry.tools[module]
    flow = registry.flows[module]
    before = dict.fromkeys((*tool.after, *registry.flow.get(module, ())))
    return {
        "name": tool.name,
        "module": module,
        "after": [registry.display(other) for other in before],
        "inputs": list(tool.inputs),
        "outputs": list(tool.outputs),
        "reads": used_documents(flow.files_read, flow.tables_read),
        "writes": used_documents(flow.files_written, flow.tables_written),
        "tables_read": list(flow.tables_read),
        "tables_written": list(flow.tables_written),
    }
