"""The names of tables, and what follows from them for the data flow."""

from __future__ import annotations

import pytest

from discover_orch.model.dataflow import Dataflow, Written, edges, shared
from discover_orch.model.table_name import (
    attached_name,
    file_of,
    is_counted,
    main_name,
    named_table,
    shown_table,
)


@pytest.mark.parametrize(
    ("path", "table"),
    [("o.db", "t"), ("a:b/o.db", "t"), ("o.db", "x:y"), ("/data/o.db", "s.t"), ("o.db", "*")],
)
def test_the_name_of_a_table_tells_its_file(path: str, table: str) -> None:
    assert file_of(attached_name(path, table)) == path
    assert file_of(main_name(table)) == ""


def test_names_are_parts_of_sentences() -> None:
    assert [shown_table(one) for one in ("t", "o.db:t", "*", "o.db:*")] == [
        "table t",
        "table o.db:t",
        "the database",
        "the database o.db",
    ]
    assert [named_table(one) for one in ("t", "*")] == ["the table t", "the database"]


@pytest.mark.parametrize("name", ["orch_ledger", "main.orch_ledger", "o.db:orch_ledger", "o.db:sqlite_sequence"])  # fmt: skip
def test_tables_of_orch_and_of_databases_do_not_count(name: str) -> None:
    assert not is_counted(name)
    assert is_counted(f"{name}:t")


@pytest.mark.parametrize(
    ("written", "read", "is_edge"),
    [
        ("o.db:t", "o.db:t", True),
        ("o.db:t", "o.db:u", False),
        ("o.db:t", "t", False),
        ("o.db:t", "o.db:*", True),
        ("o.db:*", "o.db:t", True),
        ("o.db:t", "*", False),
        ("t", "*", True),
        ("*", "t", True),
        ("t", "o.db:*", False),
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


def test_a_file_that_one_tool_attaches_and_another_one_opens_is_the_same() -> None:
    attached, opened = Dataflow(tables_written=("o.db:t",)), Dataflow(reads=("o.db",))
    assert edges({"w": attached, "r": opened}) == {"r": ("w",)}
    attached, opened = Dataflow(tables_read=("o.db:t",)), Dataflow(writes=("o.db",))
    assert edges({"r": attached, "w": opened}) == {"r": ("w",)}
