"""The pytest plugin of orch: fixtures that run tools in the process of a test, and `--orch-check`.

Every pytest run in an environment with orch imports this file, so it imports nothing more until it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from discover_orch.model.errors import Problem
    from discover_orch.testing import OrchRun, OrchTables
    from discover_orch.testing.resources import DatabaseOfTest
    from discover_orch.testing.tested_project import OrchProject

_DATABASES = ("memory", "configured")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("orch")
    group.addoption(
        "--orch-check",
        action="store_true",
        help="also fail if the tools of the project have errors, as orch check does",
    )
    parser.addini(
        "orch_database",
        "the database of orch_conn: memory (an empty SQLite database), or configured (that of the project, in a "
        "transaction that is rolled back at the end of the test)",
        default="memory",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    if config.getoption("--orch-check"):
        items.append(CheckItem.from_parent(session, name="orch check"))


class CheckItem(pytest.Item):
    """A test that fails where `orch check` exits with 4."""

    def runtest(self) -> None:
        from discover_orch.testing.tested_project import OrchProject

        problems = OrchProject(self.config.rootpath).find_problems()
        if problems:
            raise CheckFailed(_text(problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.rootpath, None, self.name


class CheckFailed(Exception):
    """The problems of the project, as text."""


@pytest.fixture
def orch_project(request: pytest.FixtureRequest) -> OrchProject:
    """The project around the test's file: `root`, `tools`, `stages`, and `select("ingest")` for names in order."""
    from discover_orch.testing.tested_project import find_project

    with _Failing():
        return find_project(request.path.parent, request.config.rootpath)


@pytest.fixture
def orch_conn(request: pytest.FixtureRequest, orch_database: DatabaseOfTest) -> Any:
    """The database connection that the tools of this test get as `conn`."""
    return orch_database.conn


@pytest.fixture
def orch_database(
    request: pytest.FixtureRequest, orch_project: OrchProject
) -> Iterator[DatabaseOfTest]:
    """The database of this test; tests use `orch_conn`."""
    from discover_orch.testing.resources import open_configured, open_in_memory

    choice = request.config.getini("orch_database")
    if choice not in _DATABASES:
        raise pytest.UsageError(f"orch_database = {choice}: use {' or '.join(_DATABASES)}")
    root = os.fspath(orch_project.root)
    is_configured = choice == "configured"
    with _Failing():
        opened = open_configured(*orch_project.database) if is_configured else open_in_memory(root)
        database = opened.__enter__()
    try:
        yield database
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture
def orch_run(request: pytest.FixtureRequest, orch_project: OrchProject) -> Iterator[OrchRun]:
    """Runs tools in this process: `orch_run("parse", since="2024-01-31")` gives what `run()` returned, and
    `orch_run("ingest")` a dict of that by tool. A fixture with the name of a resource is passed in its place."""
    from discover_orch.testing.resources import OpenResources

    def find_override(name: str) -> tuple[Any] | None:
        return (request.getfixturevalue(name),) if _has_fixture(request, name) else None

    with _Failing():
        resources = OpenResources(
            orch_project.root,
            orch_project.view.registry.conf,
            find_override,
            lambda: request.getfixturevalue("orch_database"),
        )

    def run(*targets: str, **arguments: Any) -> Any:
        __tracebackhide__ = True
        here = os.getcwd()
        if here == os.fspath(request.config.invocation_params.dir):
            os.chdir(orch_project.root)
        try:
            with _Failing():
                return orch_project.run_targets(targets, arguments, resources)
        finally:
            os.chdir(here)

    yield run
    resources.close()


@pytest.fixture
def orch_tables(request: pytest.FixtureRequest) -> OrchTables:
    """Makes tables on the connection of the tools: `orch_tables(raw=[{"id": 1}, {"id": 2}])`, or with a data frame."""
    from discover_orch.testing.tables import fill_table

    conn = request.getfixturevalue("conn" if _has_fixture(request, "conn") else "orch_conn")

    def fill(**tables: Any) -> None:
        with _Failing():
            for name, rows in tables.items():
                fill_table(conn, name, rows)

    return fill


def _has_fixture(request: pytest.FixtureRequest, name: str) -> bool:
    """Whether the user or a plugin has a fixture of this name. pytest's own, such as `cache`, are not meant."""
    found = request._fixturemanager.getfixturedefs(name, request.node) or ()
    return bool(found) and not found[-1].func.__module__.startswith("_pytest.")


class _Failing:
    """An error of orch fails the test with its message, without a traceback. A check of a tool that fails is an
    AssertionError with what it found, in the line of the test."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        __tracebackhide__ = True
        problems: tuple[Problem, ...] = getattr(error, "problems", ())
        if problems and _is_orch_error(error):
            raise pytest.fail.Exception(_text(problems), pytrace=False) from None
        if type(error).__name__ == "ChecksFailed" and (failed := getattr(error, "failed", ())):
            from discover_orch.model.checks import checks_text

            raise AssertionError(checks_text(failed)) from None


def _is_orch_error(error: BaseException | None) -> bool:
    from discover_orch.model.errors import OrchError

    return isinstance(error, OrchError)


def _text(problems: tuple[Problem, ...]) -> str:
    from discover_orch.render.problems import problems_text
    from discover_orch.render.style import Style

    return problems_text(problems, Style())
