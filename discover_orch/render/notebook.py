"""How a project looks in a notebook: its graph below one line. Text of users is escaped."""

from __future__ import annotations

from collections.abc import Mapping

from discover_orch.discovery.registry import Registry
from discover_orch.render.graph import graph_document
from discover_orch.render.graph_svg import graph_svg
from discover_orch.render.markup import escape
from discover_orch.render.style import count
from discover_orch.staleness.reasons import Freshness


def project_html(root: str, registry: Registry, freshness: Mapping[str, Freshness]) -> str:
    """`freshness` is that of the tools, by module."""
    document = graph_document(registry, registry.order, freshness)
    total = count(len(registry.tools), "tool")
    return f"<div>{escape(root)}: {total}</div>{graph_svg(document)}"
