"""Fixtures that speak our language: `project({"src/parse.py": "STAGE = 'ingest' …"})`, `orch("run")`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from discover_orch.worker.spawn import PipeEnds
from tests.support.fork_server import ORCH, ORCH_AND_WORKERS, WORKERS_FORKER, ForkServer
from tests.support.forked_workers import spawn_by
from tests.support.forker import can_fork, find_forker
from tests.support.project_builder import Answer, run_orch, write_files

# What is started in this process's own environment finds the same as what a test starts with `clean_environment`;
# and it keeps its bytecode, as compiling takes longer than most tests.
os.environ.update(COLUMNS="80", NO_COLOR="1")
for _name in ("FORCE_COLOR", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"):
    os.environ.pop(_name, None)

# No deadline, as the machine may be busy with other tests. `.ci/run` takes the thorough profile on its second Python.
settings.register_profile("tests", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("tests")

Project = Callable[[Mapping[str, str | bytes]], Path]
Orch = Callable[..., Answer]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """The workers of pytest-xdist share the work of compiling the tests, which a fresh checkout needs.

    Each collects all of them, in one order, so all would compile the same file at the same time. Each begins with
    another part here, and finds the bytecode of the others for the rest.
    """
    folder = Path(__file__).parent
    number, count = (
        os.environ.get(f"PYTEST_XDIST_WORKER{name}", "").removeprefix("gw")
        for name in ("", "_COUNT")
    )
    if not number or [Path(one).resolve() for one in session.config.args] != [folder]:
        return
    paths = sorted(folder.rglob("test_*.py"))
    start = len(paths) * int(number) // int(count)
    for path in (*paths[start:], *paths[:start]):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        with contextlib.suppress(Exception, pytest.skip.Exception):  # the collection reports it
            importlib.import_module(name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """What needs a PostgreSQL server runs with the slow tests, which install one."""
    for one in items:
        is_marked = one.get_closest_marker("slow") or one.get_closest_marker("full")
        if "new_postgres" in getattr(one, "fixturenames", ()) and not is_marked:
            one.add_marker("slow")
            one.add_marker("postgres")


def pytest_collection_finish() -> None:
    """The thousands of collected tests are no garbage: looking through them again and again takes a tenth of the time
    of the tests in this process."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes files into a fresh folder and gives its path; can be called again to change them."""
    root = tmp_path / "project"
    root.mkdir()

    def build(files: Mapping[str, str | bytes]) -> Path:
        write_files(root, files)
        return root

    return build


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer(ORCH_AND_WORKERS) as server:
        yield server


@pytest.fixture(scope="session")
def drivers_server() -> Iterator[ForkServer]:
    """For the tests of PostgreSQL: their commands need its driver, and workers are no forks."""
    with ForkServer(ORCH) as server:
        yield server


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that the process of the tests starts are forks of one interpreter."""
    if can_fork():
        monkeypatch.setattr(
            PipeEnds,
            "spawn",
            spawn_by(lambda: find_forker(WORKERS_FORKER, os.environ), PipeEnds.spawn),
        )


@pytest.fixture
def orch(tmp_path: Path, request: pytest.FixtureRequest) -> Orch:
    """Runs `orch` in the project of this test, in a clean environment of 80 columns without colour.

    Each command is a process of its own, and so is its worker: forks of one that has the modules loaded, which cost a
    third of an interpreter's start. Interpreters of their own are started where the command needs one: for standard
    input, for a prefix, and for settings of the interpreter itself.
    """
    name = "drivers_server" if "new_postgres" in request.fixturenames else "fork_server"
    server: ForkServer = request.getfixturevalue(name)

    def run(
        *words: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        prefix: Sequence[str] = (),
    ) -> Answer:
        root = tmp_path / "project"
        if (
            stdin is None
            and not prefix
            and not any(one.startswith(("PYTHON", "TZ")) for one in env or ())
        ):
            return server.run(root, *words, cwd=cwd, env=env)
        return run_orch(root, *words, cwd=cwd, env=env, stdin=stdin, prefix=prefix)

    return run


@pytest.fixture(scope="session", autouse=True)
def postgres_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of one server for the whole run, "" where no test needs one.

    It is started before the first test: some tests end all child processes of their own process, and would end a
    server that was started after them.
    """
    if not any("new_postgres" in getattr(one, "fixturenames", ()) for one in request.session.items):
        yield ""
        return
    from tests.support.postgres import join_server  # few runs need one

    own = tmp_path_factory.getbasetemp()
    url, connection = join_server(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
    with connection:
        yield url


@pytest.fixture(scope="session")
def new_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and returns its URL."""
    from tests.support.postgres import make_database

    numbers = itertools.count(1)
    return lambda: make_database(postgres_server, f"test_{os.getpid()}_{next(numbers)}")


@pytest.fixture
def postgres(new_postgres: Callable[[], str]) -> str:
    """The URL of an empty PostgreSQL database, for this test alone."""
    return new_postgres()
