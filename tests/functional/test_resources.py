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


def test_the_connection_is_closed_last(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orchconf.py": NOTES
            + """
    class Connection:
        def commit(self): note("commit")
        def rollback(self): note("rollback")
        def close(self): note("close conn")

    def get_connection():
        note("open conn")
        return Connection()

    @resource
    def cursor(conn):
        note("open cursor")
        yield 1
        note("close cursor")
""",
            "src/a.py": tool("cursor, conn"),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    found = [line for line in notes(root) if line not in ("commit", "rollback")]
    assert found == ["open conn", "open cursor", "close cursor", "close conn"]


def test_what_it_prints_belongs_to_the_tool_that_asked_first(project: Project, orch: Orch) -> None:
    project(
        {
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def thing():
                    print("opening")
                    yield 1
                    print("closing")
            """,
            "src/a.py": tool(""),
            "src/b.py": tool("thing", "print('b itself')"),
        }
    )
    answer = orch("run")
    assert "s › b\n    opening\n    b itself\n    ✓" in answer.out
    assert "\n    closing\n1" not in answer.err
    assert "    closing\n2 passed" in answer.out


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("yield 1; yield 2", "the resource thing yields more than once"),
        ("return; yield", "the resource thing did not yield a value"),
    ],
)
def test_a_generator_that_is_no_resource_is_told_in_a_sentence(
    project: Project, orch: Orch, body: str, said: str
) -> None:
    project(
        {
            "orchconf.py": "from discover_orch import resource\n"
            f"@resource\ndef thing():\n    {body}\n",
            "src/a.py": tool("thing"),
        }
    )
    answer = orch("run")
    assert answer.code == 1
    assert said in answer.out + answer.err
    assert "ResourceProblem" not in answer.out + answer.err


def test_get_connection_may_give_none(project: Project, orch: Orch) -> None:
    project(
        {
            "orchconf.py": "def get_connection(): return None\n",
            "src/a.py": tool("conn", "print('conn is', conn)"),
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "    conn is None\n" in answer.out
    assert "database get_connection() (orchconf.py)" in answer.out


def test_a_function_that_is_nearly_a_resource_or_get_connection_is_named(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orchconf.py": "def http(): ...\ndef get_conection(): ...\ndef _hidden(): ...\n",
            "src/a.py": "STAGE = 's'\ndef run(conn, http): ...\n",
        }
    )
    answer = orch("run")
    assert answer.code == 2
    assert (
        "hint: http() in orchconf.py is not a resource: mark it with @resource, from discover_orch. Otherwise"
        in (answer.err)
    )
    warning = "warning: orchconf.py:2: get_conection() does not provide conn\n"
    listed = orch("list")
    assert (listed.code, listed.err.startswith(warning)) == (0, True)
    project({"orchconf.py": "def get_connection_url(): ...\n"})
    assert orch("list").err == ""
    project({"orchconf.py": "def get_connection(): ...\ndef get_connections(): ...\n"})
    assert orch("list").err == ""
