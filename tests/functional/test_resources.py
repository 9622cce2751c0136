"""Resources of `orchconf.py`: opened when first asked for, closed in reverse, once, on every path."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

NOTES = """
    from discover_orch import resource

    def note(line):
        with open("notes", "a") as file:
            file.write(line + "\\n")
"""

TWO = (
    NOTES
    + """
    @resource
    def inner():
        note("open inner")
        yield "inner"
        note("close inner")

    @resource
    def outer(inner):
        note("open outer")
        try:
            yield f"outer of {inner}"
        finally:
            note("close outer")
"""
)


def notes(root: Path) -> list[str]:
    path = root / "notes"
    return path.read_text().splitlines() if path.exists() else []


def tool(argument: str, body: str = "pass") -> str:
    return f'import os, sys\nSTAGE = "s"\ndef run({argument}):\n    {body}\n'


OPENED_AND_CLOSED = ["open inner", "open outer", "close outer", "close inner"]


def test_each_is_opened_once_and_closed_once_in_reverse(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orchconf.py": TWO,
            "src/a.py": tool("outer", "print(outer)"),
            "src/b.py": tool("inner, outer", "print(inner)"),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "    outer of inner\n" in answer.out
    assert notes(root) == OPENED_AND_CLOSED


@pytest.mark.parametrize(
    "body", ["raise ValueError", "sys.exit(1)", "raise KeyboardInterrupt", "1 / 0"]
)
def test_a_tool_that_fails_leaves_nothing_open(project: Project, orch: Orch, body: str) -> None:
    root = project({"orchconf.py": TWO, "src/a.py": tool("outer", body)})
    assert orch("run").code == 1
    assert notes(root) == OPENED_AND_CLOSED


def test_one_that_fails_to_open_fails_its_tool_and_the_others_are_closed(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orchconf.py": TWO
            + """
    @resource
    def broken(outer):
        raise OSError("nobody answers")
""",
            "src/a.py": tool("broken", "open('ran', 'w')"),
        }
    )
    answer = orch("run")
    assert answer.code == 1
    assert "FAILED a orchconf.py:24  OSError: nobody answers" in answer.out
    assert notes(root) == OPENED_AND_CLOSED
    assert not (root / "ran").exists()


def test_a_resource_that_writes_is_committed_when_it_opens_and_when_it_closes(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def log(conn):
                    conn.execute("create table log (what)")
                    yield lambda what: conn.execute("insert into log values (?)", [what])
                    conn.execute("insert into log values ('closed')")
            """,
            "src/a.py": tool("log", "log('a')"),
            "src/b.py": tool("log", "log('b'); 1 / 0"),
        }
    )
    assert orch("run").code == 1
    with closing(sqlite3.connect(root / "data.db")) as conn:
        assert conn.execute("select what from log").fetchall() == [("a",), ("closed",)]


def test_the_connection_is_closed_last_and_what_was_made_of_a_closed_one_is_made_anew(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orchconf.py": NOTES
            + """
    class Connection:
        def commit(self): note("commit")
        def rollback(self): note("rollback")
        closed = False
        def close(self):
            note("close conn")
            self.closed = True

    def get_connection():
        note("open conn")
        return Connection()

    @resource
    def cursor(conn):
        note("open cursor")
        yield 1
        note("close cursor")
""",
            "src/a.py": tool("cursor, conn", "conn.close()"),
            "src/b.py": tool("cursor"),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    found = [line for line in notes(root) if line not in ("commit", "rollback")]
    assert found == [
        *("open conn", "open cursor", "close conn", "close cursor"),
        *("open conn", "open cursor", "close cursor", "close conn"),
    ]
