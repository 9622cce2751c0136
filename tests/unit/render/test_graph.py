"""The graph as a tree: stages, tools, what they wait for, read and write."""

from __future__ import annotations

from discover_orch.discovery.registry import Registry
from discover_orch.render.graph import graph_document, graph_text
from discover_orch.render.style import Style
from tests.support.values import make_facts, make_registry


def sample() -> Registry:
    return make_registry(
        make_facts("fetch", "ingest", orch={"outputs": ["a.csv", "b.csv"]}),
        make_facts("parse", "ingest", orch={"inputs": "a.csv", "outputs": "c"}),
        make_facts("draw", "render", after="parse"),
        stages=("ingest", "render"),
    )


def test_the_tree_shows_order_and_data() -> None:
    registry = sample()
    assert graph_text(graph_document(registry, registry.tools), Style()) == (
        "ingest\n"
        "├─ fetch\n"
        "│  ├─ writes a.csv\n"
        "│  └─ writes b.csv\n"
        "└─ parse  after fetch\n"
        "   ├─ reads a.csv\n"
        "   └─ writes c\n"
        "render\n"
        "└─ draw  after parse\n"
    )


def test_only_what_is_chosen_is_shown() -> None:
    document = graph_document(sample(), ["draw"])
    assert [stage["name"] for stage in document["stages"]] == ["render"]
    assert graph_text(graph_document(sample(), []), Style()) == ""


def test_without_unicode_it_is_ascii() -> None:
    registry = sample()
    assert graph_text(graph_document(registry, registry.tools), Style(unicode=False)).isascii()
