"""The graph as values that every format draws: tools, tables and files in stages, and the lines between them. Pure."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.documents import GraphTool, Used
from discover_orch.model.keys import WHOLE
from discover_orch.render.graph import Graph
from discover_orch.render.style import MOST_ALIKE, count, pattern_of

#: So many of the files of one node are named in its tip.
MOST_NAMED = 20
#: Declared globs are matched with written files if there are at most so many pairs.
MOST_MATCHED = 200_000

Kind = Literal["tool", "table", "file", "stage"]


class Node(Struct, frozen=True, kw_only=True):
    """A tool, a table, one or several files, or a whole stage. `key` is a word that every format accepts; `state` is
    a word such as `stale` or `failed`, or empty; `layer` is its column; `module` is that of a tool. `tip` is what is
    said about it beside its label. What is not selected `is_dim`."""

    key: str
    kind: Kind
    label: str
    stage: int
    layer: int = 0
    module: str = ""
    state: str = ""
    tip: str = ""
    is_dim: bool = False


class Picture(Struct, frozen=True, kw_only=True):
    """Nodes in order, and edges from key to key: from a writer to what it writes, from there to its readers, and from
    a tool to one that must wait for it where no data says so."""

    stages: tuple[str, ...]
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


class Data(Struct, frozen=True):
    """A table, or one or several files, and the names of the tools that use it. `tip` has the names of several."""

    kind: Kind
    label: str
    readers: tuple[str, ...]
    writers: tuple[str, ...]
    tip: str = ""


def build_picture(graph: Graph, selected: Collection[str] | None = None) -> Picture:
    """The `selected` are modules: the other tools that they exchange data with are dimmed, and the rest is left out.
    The tip of a tool is its first reason."""
    stages = tuple(stage.name for stage in graph)
    tools = _tools_of(graph)
    chosen = {
        name for name, (_, tool) in tools.items() if selected is None or tool.module in selected
    }
    data = _find_data(tools, chosen)
    shown = {name for one in data for name in (*one.writers, *one.readers)}
    kept = [name for name in tools if name in chosen or name in shown]
    keys = {name: f"t{number}" for number, name in enumerate(kept)}
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for name in kept:
        place, tool = tools[name]
        nodes[keys[name]] = Node(
            key=keys[name],
            kind="tool",
            label=name,
            stage=place,
            module=tool.module,
            state=tool.state,
            tip="".join(tool.reasons[:1]),
            is_dim=name not in chosen,
        )
    joined: set[tuple[str, str]] = set()
    for number, one in enumerate(data):
        key = f"d{number}"
        users = (*one.writers, *one.readers)
        first = min(nodes[keys[name]].stage for name in one.writers or one.readers)
        nodes[key] = Node(
            key=key,
            kind=one.kind,
            label=one.label,
            stage=first,
            tip=one.tip,
            is_dim=all(name not in chosen for name in users),
        )
        edges.update({(keys[name], key): None for name in one.writers})
        # The first writer makes it: what it reads of it is its own, or from an earlier run.
        edges.update(
            {(key, keys[name]): None for name in one.readers if name not in one.writers[:1]}
        )
        joined.update((a, b) for a in one.writers for b in one.readers)
        if len(one.writers) > 1:  # an update in place: the later waits for the earlier
            joined.update((a, b) for a in one.writers for b in one.writers)
    for name in kept:
        for before in tools[name][1].after:
            if before in keys and (before, name) not in joined:
                edges[keys[before], keys[name]] = None
    return Picture(
        stages=stages,
        nodes=_with_layers(stages, nodes, [*edges]),
        edges=tuple(edges),
    )


def _tools_of(graph: Graph) -> dict[str, tuple[int, GraphTool]]:
    """The tools by name, each with the place of its first stage."""
    tools: dict[str, tuple[int, GraphTool]] = {}
    for place, stage in enumerate(graph):
        for tool in stage.tools:
            tools.setdefault(tool.name, (place, tool))
    return tools


def _find_data(tools: Mapping[str, tuple[int, GraphTool]], chosen: set[str]) -> list[Data]:
    """What the chosen tools use."""
    readers: dict[Used, list[str]] = {}
    writers: dict[Used, list[str]] = {}
    for name, (_, tool) in tools.items():
        for used in tool.reads:
            readers.setdefault(used, []).append(name)
        for used in tool.writes:
            writers.setdefault(used, []).append(name)
    _replace_globs(readers, writers)
    found = []
    for key in dict.fromkeys((*writers, *readers)):
        reading, writing = (tuple(dict.fromkeys(one.get(key, ()))) for one in (readers, writers))
        if not chosen.isdisjoint((*reading, *writing)):
            kind: Kind = "table" if key.table else "file"
            label = key.table or key.file
            if kind == "table" and (label == WHOLE or label.endswith(f":{WHOLE}")):
                label = f"{label[:-1]}all tables"
            found.append(Data(kind, label, reading, writing))
    return _fold_files(found)


def _replace_globs(readers: dict[Used, list[str]], writers: Mapping[Used, Sequence[str]]) -> None:
    """A declared glob that matches files which tools write stands for these files."""
    globs = [
        key for key in readers if key not in writers and not GLOB_CHARACTERS.isdisjoint(key.file)
    ]
    files = [one.file for one in writers if one.file]
    for key in globs if len(globs) * len(files) <= MOST_MATCHED else ():
        is_match = re.compile(fnmatch.translate(key.file.replace("**/", "*"))).match
        matches = [path for path in files if is_match(path)]
        for path in matches:
            readers.setdefault(Used(file=path), []).extend(readers[key])
        if matches:
            del readers[key]


def build_stage_picture(graph: Graph) -> Picture:
    """One node for each stage, for a project with many tools. An edge stands for any data or any `after`."""
    tools = _tools_of(graph)
    stage_of: dict[str, int] = {}
    edges: dict[tuple[int, int], None] = {}
    nodes = []
    for place, stage in enumerate(graph):
        words = [tool.state for tool in stage.tools]
        worst = next((one for one in ("failed", "unknown", "blocked", "stale") if one in words), "")
        tip = ", ".join(f"{words.count(one):,} {one}" for one in dict.fromkeys(words) if one)
        nodes.append(
            Node(
                key=f"s{place}",
                kind="stage",
                label=f"{stage.name} ({count(len(words), 'tool')})",
                stage=place,
                layer=place,
                state=worst or (words[0] if words else ""),
                tip=tip,
            )
        )
        for tool in stage.tools:
            stage_of.setdefault(tool.name, place)
            for before in tool.after:
                edges[stage_of.get(before, place), place] = None
    for one in _find_data(tools, set(tools)):
        writing, reading = (
            {stage_of[name] for name in names} for names in (one.writers, one.readers)
        )
        edges.update(dict.fromkeys(itertools.product(writing, reading)))
    stages = tuple(stage.name for stage in graph)
    forward = tuple((f"s{a}", f"s{b}") for a, b in edges if a < b)
    return Picture(stages=stages, nodes=tuple(nodes), edges=forward)


def _fold_files(data: Iterable[Data]) -> list[Data]:
    """Many files of one kind with the same readers and writers become one."""
    groups: dict[object, list[Data]] = {}
    for one in data:
        is_file = one.kind == "file"  # a table is alone
        key = (pattern_of(one.label), one.readers, one.writers) if is_file else one.label
        groups.setdefault(key, []).append(one)
    found = []
    for group in groups.values():
        if len(group) > MOST_ALIKE:
            label = f"{pattern_of(group[0].label)} ({count(len(group), 'file')})"
            tip = "\n".join(one.label for one in group[:MOST_NAMED])
            found.append(replace(group[0], label=label, tip=tip))
        else:
            found += group
    return found


def _with_layers(
    stages: Sequence[str], nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]]
) -> tuple[Node, ...]:
    """Longest paths. The columns of a stage begin right of those of the stage before it; what is only read stands left
    of its first reader. Edges against the order of the tools do not count."""
    into: dict[str, list[str]] = {}
    out: dict[str, list[str]] = {}
    for source, target in edges:
        into.setdefault(target, []).append(source)
        out.setdefault(source, []).append(target)
    layers: dict[str, int] = {}
    start = 0
    for place in range(len(stages)):
        tools = [one.key for one in nodes.values() if one.stage == place and one.kind == "tool"]
        inputs = [
            source
            for tool in tools
            for source in into.get(tool, ())
            if not (nodes[source].kind == "tool" or into.get(source) or source in layers)
        ]
        layers.update(dict.fromkeys(inputs, start))
        end = first = start + bool(inputs)
        for tool in tools:
            before = (layers[one] + 1 for one in into.get(tool, ()) if one in layers)
            layer = layers[tool] = max([first, *before])
            end = max(end, layer + 1)
            for target in out.get(tool, ()):
                is_used = any(one in layers for one in out.get(target, ()))
                if nodes[target].kind != "tool" and not (is_used and target in layers):
                    layers[target] = max(layer + 1, layers.get(target, 0))
                    end = max(end, layer + 2)
        start = end
    used = sorted({layers.get(key, 0) for key in nodes})
    column = {layer: number for number, layer in enumerate(used)}
    return tuple(replace(one, layer=column[layers.get(key, 0)]) for key, one in nodes.items())
