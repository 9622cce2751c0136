"""The text of `orch list`, made from a `Listing`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from discover_orch.model.conventions import OWN_OPTIONS
from discover_orch.model.documents import (
    Listing,
    Observer,
    Param,
    PassedOver,
    Tool,
    ToolWithItems,
)
from discover_orch.model.items import noun_of
from discover_orch.render.style import Style, count, cut, cut_name, one_line, table, wrap

#: Of a tool: name, first line of the docstring, path, options, then any source files.
_Row = Sequence[str]


def listing_text(listing: Listing, style: Style, *, verbose: bool = False) -> str:
    """The tools by stage: one line per tool if all fit, else a second line for path and options."""
    known = {tool.name: _build_row(tool) for tool in listing.tools if not tool.disabled}
    off = [_build_row(tool) for tool in listing.tools if tool.disabled]
    stages = [stage for stage in listing.stages if stage.tools]
    is_ordered = any(stage.configured for stage in stages)
    groups: list[tuple[str, Sequence[_Row]]] = []
    for stage in stages:
        title = style.paint(stage.name, "stage")
        if is_ordered and not stage.configured:
            title += style.paint("  (not listed in stages = [...])", "dim")
        groups.append((wrap(title, style, "  "), [known[name] for name in stage.tools]))
    if off:
        groups.append((style.paint("disabled", "stage"), off))
    tools = [row for _, members in groups for row in members]
    widths = [max(map(len, column)) for column in zip(*(row[:4] for row in tools), strict=True)]
    is_wide = sum(widths) + 8 <= style.width
    pad = " " * (min(widths[0], 24) + 4 if widths else 0)
    rows: list[Sequence[str]] = []
    for title, members in groups:
        rows.append(title)
        for row in members:
            rows += _rows(row, style, pad, is_wide=is_wide)
    out = table(rows, style, shares=(1,))
    for title, found in _others(listing).items() if verbose else ():
        out += [style.paint(title, "stage")] if found else []
        cells = [(one_line(name), style.paint(about, "dim")) for name, about in found]
        out += table(cells, style)
    if tools:
        names = {name for stage in stages for name in stage.tools}  # a tool may be in several
        total = f"{count(len(names), 'tool')} in {count(len(stages), 'stage')}"
        out += ["", total + (f", {len(off):,} disabled" if off else "")]
    return "\n".join(out) + "\n" if out else ""


def _others(listing: Listing) -> dict[str, list[tuple[str, str]]]:
    """What is no tool, by title: its name or place, and what it is."""
    passed_over = [(one.is_check, (_place(one), one.reason)) for one in listing.passed_over or ()]
    return {
        "observers": [(one.name, _place(one)) for one in listing.observers or ()],
        "checks": [(tool.name, ", ".join(tool.checks)) for tool in listing.tools if tool.checks],
        "not tools": [one for is_check, one in passed_over if not is_check],
        "not checks": [one for is_check, one in passed_over if is_check],
    }


def _build_row(tool: Tool) -> _Row:
    items = tool.item_params if isinstance(tool, ToolWithItems) else ()
    options = _options_text(tool.params, items)
    if not tool.readable:
        options = "(signature cannot be read: set parameters with -p)"
    name = tool.name
    if isinstance(tool, ToolWithItems):
        name = f"{name} ({tool.items:,} {noun_of(tool.item_params, tool.items)})"
    cells = (name, tool.doc, tool.path, options, *(tool.sources or ()))
    return [*map(one_line, cells)]


def _options_text(params: Iterable[Param], items: Collection[str]) -> str:
    """`--since DATE  --limit INT*  --tags STR ...`; a star marks those that are required. Those of `items` take
    several values. One with the name of an
    option of orch is set with `-p json=VALUE`."""
    parts = []
    for param in params:
        flag = "--" + param.name.replace("_", "-")
        is_many = param.type.startswith("list[")
        kind = param.type[5:-1] if is_many else param.type
        if param.name in OWN_OPTIONS:
            flag, kind, is_many = f"-p {param.name}=VALUE", "bool", False
        value = "" if kind == "bool" and not is_many else f" {_placeholder(kind)}"
        is_item = param.name in items
        parts.append(
            flag + value + "*" * (param.required and not is_item) + " ..." * (is_many or is_item)
        )
    return "  ".join(parts)


def _placeholder(kind: str) -> str:
    """`DATE`; the words of a choice as they are typed."""
    return kind if "|" in kind else kind.upper()


def _rows(row: _Row, style: Style, pad: str, *, is_wide: bool) -> Iterator[Sequence[str]]:
    """Of one tool, with the files of `--sources`. `pad` stands below its name."""
    name, doc, path, options, *sources = row
    room = style.width - len(pad)
    details = style.paint(f"{cut_name(path, room, style)}  {options}".rstrip(), "dim")
    if is_wide:
        yield name, doc, details
    else:
        name = cut_name(name, style.width // 2 if doc else style.width - 2, style)
        first = f"  {name:<{len(pad) - 4}}  "
        yield (first + cut(doc, style.width - len(first), style)).rstrip()
        yield wrap(pad + details, style, pad)
    for source in sources:
        yield f"{pad}{style.mark('←', '<-')} {source}"


def _place(one: PassedOver | Observer) -> str:
    return f"{one.path}:{one.line}" if one.line else one.path
