"""Fixtures that speak our language: `project({"src/parse.py": "STAGE = 'ingest' …"})`, `orch("run")`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.project_builder import Answer, run_orch, write_files

Project = Callable[[Mapping[str, str | bytes]], Path]
Orch = Callable[..., Answer]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes files into a fresh folder and gives its path; can be called again to change them."""
    root = tmp_path / "project"
    root.mkdir()

    def build(files: Mapping[str, str | bytes]) -> Path:
        write_files(root, files)
        return root

    return build


@pytest.fixture
def orch(tmp_path: Path) -> Orch:
    """Runs `orch` in the project of this test, in a clean environment of 80 columns without colour."""

    def run(
        *words: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        prefix: Sequence[str] = (),
    ) -> Answer:
        root = tmp_path / "project"
        return run_orch(root, *words, cwd=cwd, env=env, stdin=stdin, prefix=prefix)

    return run


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    """One for each module: tests of other modules end whatever this process has for children."""
    from tests.support.postgres import open_server  # few tests need one

    with open_server() as url:
        yield url


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of a real PostgreSQL database, empty, for this test alone."""
    from tests.support.postgres import make_database

    return make_database(postgres_server, f"test{next(_NUMBERS)}")
