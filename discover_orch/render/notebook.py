"""How a project looks in a notebook: its stages and tools as an HTML table. Text of users is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping

from discover_orch.discovery.registry import Registry
from discover_orch.render.style import clean, count


def project_html(root: str, registry: Registry, states: Mapping[str, str]) -> str:
    """`states` has, by module, `fresh`, `stale` or another state."""
    rows = [
        (stage.name, registry.tools[module], states.get(module, ""))
        for stage in registry.stages
        for module in stage.tools
    ]
    body = "".join(
        "<tr>" + "".join(f"<td>{_escape(one)}</td>" for one in row) + "</tr>"
        for row in (
            (stage, tool.name, state, ", ".join(map(registry.display, tool.after)), tool.doc)
            for stage, tool, state in rows
        )
    )
    titles = "".join(f"<th>{title}</th>" for title in ("stage", "tool", "state", "after", ""))
    total = f"{count(len(registry.tools), 'tool')}"
    return (
        f"<table><caption>{_escape(root)}: {total}</caption>"
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    )


def _escape(text: str) -> str:
    return html.escape(clean(text))
