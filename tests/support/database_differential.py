"""Carries out random histories of two checkouts on one database, and compares.

After `orch run --changed` the database and the files are as a run from scratch makes them in a new database, and nothing is
stale.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from tests.support.database_worlds import DROP, History, State, Step, smaller, user_files
from tests.support.fork_server import ForkServer
from tests.support.project_builder import Answer, write_files
from tests.support.promises import IllFormed, Wrong, describe, shrink

#: Everything in a database but orch's own table: the queries give a kind, a name, and a definition that must be the same.
OBJECTS = {
    "sqlite": "SELECT type, name, CASE WHEN type IN ('index', 'trigger') THEN sql END FROM sqlite_master "
    "WHERE name NOT LIKE '%orch%'",
    "duckdb": "SELECT 'table', table_name, NULL FROM duckdb_tables() WHERE table_name <> 'orch_memory' "
    "UNION ALL SELECT 'view', view_name, NULL FROM duckdb_views() WHERE NOT internal "
    "UNION ALL SELECT 'index', index_name, sql FROM duckdb_indexes() "
    "UNION ALL SELECT 'function', function_name, macro_definition FROM duckdb_functions() WHERE NOT internal",
    "postgresql": "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'r' THEN 'table' ELSE 'index' END, relname, "
    "CASE relkind WHEN 'i' THEN pg_get_indexdef(oid) END FROM pg_class WHERE relkind IN ('r', 'v', 'i') "
    "AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'orch%' "
    "UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
    "UNION ALL SELECT 'trigger', tgname, NULL FROM pg_trigger WHERE NOT tgisinternal",
}
CHANGES = {
    "insert": "INSERT INTO {n} VALUES (99, 99, 0)",
    "delete": "DELETE FROM {n} WHERE x < 2",
    "change": "UPDATE {n} SET y = y + 1",
}


class Database:
    """One database, and its backup."""

    def __init__(self, dialect: str, folder: Path, new_postgres: Callable[[], str]) -> None:
        self._dialect = dialect
        self._file = folder / f"data.{dialect}"
        self._backup = folder / "backup"
        self.url = new_postgres() if dialect == "postgresql" else f"{dialect}:///{self._file}"

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last one. Raises the driver's errors."""
        rows: list[tuple[Any, ...]] = []
        connect: dict[str, Callable[[], Any]] = {
            "sqlite": lambda: sqlite3.connect(self._file, isolation_level=None),
            "duckdb": lambda: duckdb.connect(str(self._file)),
            "postgresql": lambda: psycopg.connect(self.url, autocommit=True),
        }
        with closing(connect[self._dialect]()) as conn:
            for one in statements:
                cursor = conn.execute(one)
                rows = cursor.fetchall() if one.startswith("SELECT") else []
        return rows

    def save(self) -> None:
        if self._dialect == "postgresql":
            self._copy("", "_backup")
        elif self._file.exists():
            shutil.copy(self._file, self._backup)

    def restore(self) -> None:
        if self._dialect == "postgresql":
            with suppress(psycopg.errors.InvalidCatalogName):
                self._copy("_backup", "")
        elif self._backup.exists():
            shutil.copy(self._backup, f"{self._file}.new")
            os.replace(f"{self._file}.new", self._file)

    def _copy(self, source: str, target: str) -> None:
        address, _, options = self.url.partition("?")
        server, _, name = address.rpartition("/")
        with closing(psycopg.connect(f"{server}/postgres?{options}", autocommit=True)) as conn:
            known = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name + source])
            if known.fetchone():
                conn.execute(f'DROP DATABASE IF EXISTS "{name}{target}" WITH (FORCE)'.encode())
                conn.execute(f'CREATE DATABASE "{name}{target}" TEMPLATE "{name}{source}"'.encode())

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._dialect != "postgresql" and not self._file.exists():
            return found
        for kind, name, text in self.run(OBJECTS[self._dialect]):
            found[f"{kind} {name}"] = text
            if kind in ("table", "view"):
                found[f"{kind} {name}"] = self._rows(name)
        return found

    def _rows(self, name: str) -> object:
        try:
            return sorted(self.run(f"SELECT x, y, t FROM {name}"))
        except Exception as error:  # of a view, when what it reads is not there
            return type(error).__name__


@dataclass
class Play:
    """One history, carried out in a folder of its own."""

    history: History
    server: ForkServer
    folder: Path
    new_postgres: Callable[[], str]
    states: tuple[State, State] = field(default_factory=lambda: (State(), State()))
    scratch: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = Database(self.history.dialect, self.folder, self.new_postgres)
        self.roots = (self.folder / "one" / "project", self.folder / "two" / "project")

    def go(self) -> None:
        self._from_scratch(self.states[0])  # so that an ill-formed one is found at once
        self._write(0)
        if self._orch(0, "run").code:
            raise IllFormed
        for number, step in enumerate(self.history.steps):
            try:
                self._do(step)
            except Wrong as error:
                error.add_note(f"after step {number + 1} ({step.kind})")
                raise

    def _do(self, step: Step) -> None:
        here = int(step.other)
        if step.kind == "check":
            self._check(here)
        elif step.kind == "run":
            self._write(here)
            self._orch(here, "run", step.name)  # it may fail: what it needs may be missing
        elif step.kind == "save":
            self.database.save()
        elif step.kind == "restore":
            self.database.restore()
        elif step.kind in ("edit", "comment"):
            state = self.states[here]
            numbers = state.versions if step.kind == "edit" else state.comments
            numbers[step.name] = numbers.get(step.name, 0) + 1
        else:
            self._change(step)

    def _change(self, step: Step) -> None:
        """What another program does, where the table is there."""
        found = self.database.data()
        kind = "view" if f"view {step.name}" in found else "table"
        if f"{kind} {step.name}" not in found:
            return
        drop = f"DROP {kind} {{n}}{DROP.get(self.history.dialect, '')}"
        self.database.run(CHANGES.get(step.kind, drop).format(n=step.name))

    def _write(self, here: int) -> Path:
        root = self.roots[here]
        write_project(root, self.history, self.states[here], self.database.url)
        return root

    def _orch(self, here: int, *words: str) -> Answer:
        return self.server.run(self.roots[here], *words, env={})

    def _check(self, here: int) -> None:
        self._write(here)
        before = self._stale(here)
        self._run_changed(here, before)
        after = self._stale(here)
        if after:  # where the order became another
            self._run_changed(here, after)
            after = self._stale(here)
        if after:
            raise Wrong("stale after run --changed", f"{after}, before it {before}")
        found = self._data(self.database, self.roots[here])
        expected = self._from_scratch(self.states[here])
        if found != expected:
            keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
            told = {key: (found.get(key), expected.get(key)) for key in keys}
            raise Wrong("not as from scratch", f"(found, expected) {told}; stale were {before}")

    def _stale(self, here: int) -> dict[str, Any]:
        answer = self._orch(here, "status", "--json")
        if answer.code:
            raise Wrong(f"exit {answer.code}", answer.text)
        return {
            one["name"]: one["reasons"] for one in answer.json["tools"] if one["state"] != "fresh"
        }

    def _run_changed(self, here: int, reasons: dict[str, Any]) -> None:
        answer = self._orch(here, "run", "--changed", "-q")
        if answer.code:
            raise Wrong("run --changed failed", f"{answer.text} {reasons}")

    def _data(self, database: Database, root: Path) -> dict[str, Any]:
        return database.data() | {path.name: path.read_text() for path in root.glob("out/*")}

    def _from_scratch(self, state: State) -> dict[str, Any]:
        key = state.key()
        if key not in self.scratch:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            database = Database(self.history.dialect, folder, self.new_postgres)
            write_project(folder / "project", self.history, state, database.url)
            answer = self.server.run(folder / "project", "run", env={})
            if answer.code:
                raise IllFormed(answer.text)
            self.scratch[key] = self._data(database, folder / "project")
            shutil.rmtree(folder)
        return self.scratch[key]


def write_project(root: Path, history: History, state: State, url: str) -> None:
    """Writes what differs from what is there."""
    settings = f'stages = ["load", "work", "show"]\nproject = "world"\ndatabase = "{url}"\n'
    files = {"orch.toml": settings, **user_files(history, state)}
    changed = {
        name: text
        for name, text in files.items()
        if not (root / name).exists() or (root / name).read_text() != text
    }
    root.mkdir(parents=True, exist_ok=True)
    write_files(root, changed)


def failure(history: History, server: ForkServer, new_postgres: Callable[[], str]) -> Wrong | None:
    """What orch did wrong in this history. Raises IllFormed."""
    with tempfile.TemporaryDirectory(prefix="orch-world-") as folder:
        try:
            Play(history, server, Path(folder), new_postgres).go()
        except Wrong as error:
            return error
    return None


def first_failure(
    histories: Iterable[tuple[int, History]], server: ForkServer, new_postgres: Callable[[], str]
) -> str:
    """What went wrong in the first history that fails, with the smallest one that was found; "" for nothing."""
    for seed, history in histories:
        try:
            told = failure(history, server, new_postgres)
        except IllFormed:
            continue
        if told is not None:
            small, told = shrink(
                history, told, smaller, lambda one: failure(one, server, new_postgres)
            )
            return f"seed {seed}: {describe(told, user_files(small, State()), small.steps)}"
    return ""
