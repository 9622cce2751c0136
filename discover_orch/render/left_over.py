"""What is left over, as text and as JSON, for `orch clean` and `orch status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from discover_orch.planning.cleaning import Found
from discover_orch.render.graph import folded_files
from discover_orch.render.style import Style, indent, names_text, one_line, wrap
from discover_orch.staleness.left_over import LeftOver

#: Names that are shown of what is alike, and tools.
MOST = 8
NameOf = Callable[[str], str]


def left_over_text(things: Sequence[LeftOver], name_of: NameOf, style: Style) -> str:
    """A line for all that is left over from one tool and has the same readers."""
    if not things:
        return ""
    out = []
    for (module, readers), group in groupby(things, key=lambda one: (one.module, one.readers)):
        names = _folded([one.name for one in group])
        readers_text = _readers_text(readers, name_of)
        line = f"left over from {one_line(name_of(module))}{readers_text}: {names}"
        out.append(wrap(line, style, "  "))
    out.append(style.paint("(orch clean shows what can be deleted)", "dim"))
    return "\n".join(out) + "\n"


def clean_text(found: Sequence[Found], name_of: NameOf, style: Style) -> str:
    """By tool and readers, one line for each file, or for many of one kind."""
    out = []

    def of_tool(one: Found) -> tuple[bool, bool, str, tuple[str, ...]]:
        return not one.is_left_over, one.is_gone, one.thing.module, one.thing.readers

    for (is_made, is_gone, module, readers), group in groupby(
        sorted(found, key=of_tool), key=of_tool
    ):
        how = "made by" if is_made else "left over from"
        name = style.paint(name_of(module), "bold")
        gone = ", which is no longer a tool" if is_gone else ""
        out.append(wrap(f"{how} {name}{gone}{_readers_text(readers, name_of)}", style, "  "))
        rows = sorted(group, key=lambda one: one.reason)
        for reason, alike in groupby(rows, key=lambda one: one.reason):
            why = f"  stays: {one_line(reason)}" if reason else ""
            names = folded_files([one.thing.name for one in alike], MOST)
            out += [wrap(f"  {one_line(name)}{why}", style, indent(6, style)) for name in names]
    return "".join(f"{line}\n" for line in out)


def clean_document(
    found: Sequence[Found], name_of: NameOf, done: Mapping[str, str]
) -> dict[str, object]:
    """`done` has the keys of what was to be deleted, each with why it has stayed, or ""."""
    return {
        "found": [
            {
                **one.thing.used,
                "tool": name_of(one.thing.module),
                "read_by": [*map(name_of, one.thing.readers)],
                "left_over": one.is_left_over,
                "stays": one.reason or done.get(one.thing.key) or None,
                "deleted": done.get(one.thing.key) == "",
            }
            for one in found
        ],
    }


def _readers_text(readers: Sequence[str], name_of: NameOf) -> str:
    names = [*map(name_of, readers)]
    return f", read by {names_text(names, MOST)}" if names else ""


def _folded(names: Sequence[str]) -> str:
    return ", ".join(map(one_line, folded_files(names, MOST)))
