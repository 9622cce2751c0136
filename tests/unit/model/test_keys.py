"""The names of tables, and what follows from them for the data flow."""

from __future__ import annotations

import pytest

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.flow_edges import Written, edges, shared
from discover_orch.model.keys import is_counted, named_table, shown_table


def test_names_are_parts_of_sentences() -> None:
    assert [shown_table(one) for one in ("t", "*")] == ["table t", "the database"]
    assert [named_table(one) for one in ("t", "*")] == ["the table t", "the database"]


@pytest.mark.parametrize("name", ["orch_memory", "main.orch_memory", "sqlite_sequence"])
def test_tables_of_orch_and_of_databases_do_not_count(name: str) -> None:
    assert not is_counted(name)
    assert is_counted(f"{name}.t")


@pytest.mark.parametrize(
    ("written", "read", "is_edge"),
    [
        ("t", "t", True),
        ("t", "u", False),
        ("t", "*", True),
        ("*", "t", True),
    ],
)
def test_who_reads_all_tables_of_a_database_reads_what_is_written_there(
    written: str, read: str, is_edge: bool
) -> None:
    writer, reader = Dataflow(tables_written=(written,)), Dataflow(tables_read=(read,))
    assert edges({"w": writer, "r": reader}) == ({"r": ("w",)} if is_edge else {})
    assert bool(shared(reader, writer)) == is_edge
    second = Dataflow(tables_written=(read,))
    assert bool(Written([writer]).other_writers(second)) == is_edge
