"""Doubts about data: each way in which it goes against the order, and the ordinary ways that are no doubt."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from discover_orch.discovery.registry import build_registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.planning import dataflow_checks
from discover_orch.planning.dataflow_checks import check_dataflow
from discover_orch.source.facts import ModuleFacts, Scan
from tests.support.values import make_facts, make_project, said


def seen(*facts: ModuleFacts, **flows: Dataflow) -> list[str]:
    """The doubts about tools that were seen to do this; each with its hint. Stages have a fixed order."""
    scan = Scan(modules=facts)
    project = make_project({"stages": ["one", "two"]})
    return said(tuple(check_dataflow(build_registry(scan, project, flows))))


def test_a_file_that_is_read_before_it_is_written_is_reported() -> None:
    facts = [
        make_facts("a", "one", orch={"inputs": "x.csv"}),
        make_facts("b", "two", orch={"outputs": "*.csv"}),
    ]
    (line,) = seen(*facts)
    assert line.startswith("a.py:3: a reads x.csv before b writes it")


def test_files_that_two_update_in_place_are_reported_once() -> None:
    both = {"inputs": "x", "outputs": "x"}
    (line,) = seen(make_facts("a", orch=both), make_facts("b", orch=both))
    assert line.startswith("b.py:3: a and b both update x, but their order is not declared")


def test_a_file_that_one_tool_updates_in_place_is_no_warning() -> None:
    assert seen(make_facts("a", orch={"inputs": "x", "outputs": "x"})) == []


def test_a_table_that_is_read_before_it_is_written_is_told_once_of_two_tools() -> None:
    assert seen(
        make_facts("a", "one", orch={"inputs": "raw.csv"}),
        make_facts("b", "two", orch={"outputs": "raw.csv"}),
        a=Dataflow(tables_read=("raw", "more"), reads=("raw.csv",), writes=("out.csv",)),
        b=Dataflow(tables_written=("raw", "more"), writes=("raw.csv",)),
    ) == [
        "a.py:3: a reads raw.csv before b writes it (move a to a later stage or b to an earlier one; "
        "fine if a is meant to read what the previous run left)"
    ]


def test_what_a_tool_only_looked_for_or_listed_is_no_warning() -> None:
    assert (
        seen(
            make_facts("a", "one"),
            make_facts("b", "two"),
            a=Dataflow(missed=("model.json",), folders=(".",), writes=("data/out.csv",)),
            b=Dataflow(writes=("model.json",)),
        )
        == []
    )


def test_an_after_that_the_data_contradicts_is_told_where_it_stands() -> None:
    assert seen(
        make_facts("a", after="b"),
        make_facts("b"),
        a=Dataflow(tables_written=("t",)),
        b=Dataflow(tables_read=("t",)),
    ) == [
        "a.py:3: a runs after b because of its AFTER, but b reads the table t, which a writes "
        "(fine if b is meant to read what the previous run left; otherwise swap the AFTER)"
    ]


def test_an_after_that_contradicts_the_data_over_a_third_tool_is_told_of_the_reader() -> None:
    assert seen(
        make_facts("a", after="m"),
        make_facts("b"),
        make_facts("m", after="b"),
        a=Dataflow(tables_written=("t",)),
        b=Dataflow(tables_read=("t",)),
    ) == [
        "b.py:3: b reads the table t before a writes it (the AFTER of other tools puts b first: "
        "remove one of them; fine if b is meant to read what the previous run left)"
    ]


def test_a_data_cycle_over_several_tools_is_one_warning() -> None:
    assert seen(
        make_facts("a"),
        make_facts("b"),
        make_facts("c"),
        a=Dataflow(tables_read=("z",), tables_written=("x",)),
        b=Dataflow(tables_read=("x",), tables_written=("y",)),
        c=Dataflow(tables_read=("y",), tables_written=("z",)),
    ) == [
        'a.py:3: a reads the table z before c writes it (add AFTER = "c" to a; '
        "fine if a is meant to read what the previous run left)"
    ]


def test_a_tool_that_says_it_is_independent_and_is_not_is_reported() -> None:
    flows = {"a": Dataflow(tables_read=("t",)), "b": Dataflow(tables_written=("t",))}
    assert seen(make_facts("a", after=()), make_facts("b"), **flows) == [
        "a.py:3: a has AFTER = (), but reads the table t, which b writes "
        '(use AFTER = "b" or remove AFTER: it runs after b anyway)'
    ]
    assert seen(make_facts("a"), make_facts("b"), **flows) == []
    assert (
        seen(
            make_facts("a", after=(), orch={"inputs": "x"}),
            make_facts("b", orch={"outputs": "x"}),
            **flows,
        )
        == []
    )


UPDATE = Dataflow(tables_read=("records",), tables_written=("records",))


def test_updates_of_one_table_in_undeclared_order_are_one_warning() -> None:
    facts = [make_facts(module) for module in "abc"]
    assert seen(*facts, a=UPDATE, b=UPDATE, c=UPDATE) == [
        "c.py:3: a, b and c all update the table records, but their order is not declared "
        '(declare which runs first, for example with AFTER = "a")'
    ]


def test_updates_of_one_table_are_no_warning_if_their_order_is_declared() -> None:
    assert seen(make_facts("a", after="b"), make_facts("b"), a=UPDATE, b=UPDATE) == []
    facts = (make_facts("a", "one"), make_facts("b", "two"))
    assert seen(*facts, a=UPDATE, b=UPDATE) == []
    reads = replace(UPDATE, tables_read=(*UPDATE.tables_read, "raw"))
    writes = replace(UPDATE, tables_written=(*UPDATE.tables_written, "raw"))
    flows = {"a": reads, "b": writes}
    assert seen(make_facts("a"), make_facts("b"), **flows) == []


def test_a_table_with_several_writers_is_one_warning_that_names_them() -> None:
    facts = [make_facts(module) for module in "abcdefg"]
    write = Dataflow(tables_written=("log", "more"))
    assert seen(*facts[:2], a=write, b=write) == [
        "b.py:3: a and b both write the table log and the table more "
        "(fine if each adds to it; otherwise let each write its own)"
    ]
    (line,) = seen(*facts, **dict.fromkeys("abcdefg", write))
    assert line.startswith("b.py:3: a, b, c, d and 3 others all write the table log and the table")


def test_a_second_writer_that_reads_the_table_first_is_no_warning() -> None:
    facts = [make_facts(module) for module in "ab"]
    assert seen(*facts, a=Dataflow(tables_written=("records",)), b=UPDATE) == []
    assert seen(*facts, a=UPDATE, b=Dataflow(tables_written=("records",))) == []  # b goes first


def test_a_table_that_is_overwritten_after_an_update_is_reported_once() -> None:
    (line,) = seen(
        make_facts("a", "one"),
        make_facts("b", "two"),
        a=UPDATE,
        b=Dataflow(tables_written=("records",)),
    )
    assert line.startswith("a.py:3: a reads the table records before b writes it")


def test_writers_of_a_folder_and_of_a_file_in_it_are_reported() -> None:
    facts = [make_facts("a", orch={"outputs": "out"}), make_facts("b", orch={"outputs": "out/*"})]
    assert [line.partition(" (")[0] for line in seen(*facts)] == [
        "b.py:3: a and b both write out/*"
    ]
    reads = make_facts("b", orch={"outputs": "out/x", "inputs": "out/x"})
    assert seen(facts[0], reads) == []


# What orch cannot see.


def test_a_tool_that_was_not_observed_completely_is_named_with_the_reasons() -> None:
    gaps = ("started a child process", "opened a network connection")
    flow = Dataflow(reads=("x",), writes=("y",), gaps=gaps)
    assert seen(make_facts("a"), a=flow) == [
        "a.py:3: a was not observed completely: it started a child process and opened a network connection"
        ' (name in "inputs" and "outputs" what orch cannot see, or declare [] if there is nothing)'
    ]
    assert len(seen(make_facts("a", orch={"inputs": "z"}), a=flow)) == 1
    assert seen(make_facts("a", orch={"inputs": "z", "outputs": []}), a=flow) == []


def test_statements_that_cannot_be_seen_are_no_matter_of_declared_files() -> None:
    facts = make_facts("a", orch={"inputs": [], "outputs": []})
    (line,) = seen(facts, a=Dataflow(is_unclear=True, gaps=("opened a network connection",)))
    assert line.startswith(
        "a.py:3: a was not observed completely: it used the database in a way that orch cannot see"
    )


def test_where_sqlglot_is_missing_the_hint_is_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = Dataflow(is_unclear=True)
    for installed, hint in (
        ({"duckdb"}, "install sqlglot: with it, orch sees the statements"),
        ({"duckdb", "sqlglot"}, "orch sees only statements on conn"),
        (set[str](), "orch sees only statements on conn"),
    ):
        monkeypatch.setattr(
            dataflow_checks, "find_spec", lambda name, has=installed: name in has or None
        )
        (line,) = seen(make_facts("a"), a=flow)
        assert f" ({hint}" in line


def test_a_tool_that_is_not_known_to_write_is_told_where_later_stages_depend_on_it() -> None:
    facts = make_facts("a", "one"), make_facts("b", "two")
    reads = Dataflow(reads=("x",))
    assert seen(*facts, a=reads, b=reads) == [
        "a.py:3: a is not known to write anything, so all later stages depend on it"
        ' (declare "outputs": [] if it writes nothing)'
    ]
    assert seen(*facts, b=reads) == []  # a has not run
    assert seen(make_facts("a", "one", orch={"outputs": []}), facts[1], a=reads) == []
