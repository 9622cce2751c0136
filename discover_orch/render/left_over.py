"""What is left over from tools, or made by them, as values for users and as text: `orch clean`, and the end of
`orch status`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from discover_orch.model.documents import (
    MadeThing,
)
from discover_orch.planning.cleaning import Found
from discover_orch.render.graph import used_texts
from discover_orch.render.style import (
    Style,
    fold_items,
    names_text,
    shown,
    wrap,
)

#: Things of one kind that are named.
MOST = 8
_NOTHING: Mapping[str, str] = {}


def build_made(
    found: Iterable[Found], name_of: Callable[[str], str], done: Mapping[str, str] = _NOTHING
) -> tuple[MadeThing, ...]:
    """`done` has the keys of what was to be deleted, each with why it has stayed, or ""."""
    return tuple(
        MadeThing(
            **one.thing.used,
            tool=name_of(one.thing.module),
            tool_exists=not one.is_gone,
            read_by=tuple(map(name_of, one.thing.readers)),
            left_over=one.is_left_over,
            stays=one.reason or done.get(one.thing.key) or None,
            deleted=done.get(one.thing.key) == "",
        )
        for one in found
    )


def left_over_text(things: Sequence[MadeThing], style: Style) -> str:
    """A line for all that is left over from one tool and has the same readers."""
    if not things:
        return ""
    out = []
    for (tool, readers), group in groupby(shown(things), key=lambda one: (one.tool, one.read_by)):
        names = ", ".join(used_texts([*group], MOST))
        out.append(wrap(f"left over from {tool}{_readers_text(readers)}: {names}", style, "  "))
    out.append(style.paint("(orch clean shows what can be deleted)", "dim"))
    return "\n".join(out) + "\n"


def clean_text(found: Sequence[MadeThing], style: Style) -> str:
    """By tool and readers, one line for each file, or for many of one kind."""

    def of_tool(one: MadeThing) -> tuple[bool, bool, str, tuple[str, ...]]:
        return not one.left_over, not one.tool_exists, one.tool, one.read_by

    out = []
    for (is_made, is_gone, tool, readers), group in groupby(
        sorted(shown(found), key=of_tool), key=of_tool
    ):
        how = "made by" if is_made else "left over from"
        gone = ", which is withdrawn" if " " in tool else ", which is no longer a tool"
        gone = gone if is_gone else ""
        title = f"{how} {style.paint(tool, 'bold')}{gone}{_readers_text(readers)}"
        out.append(wrap(title, style, "  "))
        rows = sorted(group, key=lambda one: one.stays or "")
        for reason, alike in groupby(rows, key=lambda one: one.stays):
            why = f"  stays: {reason}" if reason else ""
            names = used_texts([*alike], MOST)
            out += [wrap(f"  {name}{why}", style, " " * 6) for name in names]
    return "".join(f"{line}\n" for line in out)


def _readers_text(names: Sequence[str]) -> str:
    return f", read by {names_text(fold_items(names), MOST)}" if names else ""
