"""What the far side of a step refuses before it starts a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from discover_orch.execution.executors.far_side import (
    Start,
    build_greeting,
    folder_identity,
    prepare_here,
)
from discover_orch.model.encoding import content_hash
from discover_orch.model.errors import UsageError
from discover_orch.worker.protocol import Prepare, RunStep


def start(root: Path, *, database: str = "sqlite:///data.db", **more: Any) -> Start:
    return Start(
        host=build_greeting().host,
        prepare=Prepare(root=str(root), pythonpath=(), database=database),
        order=RunStep(module="m", name="m", path="m.py"),
        **more,
    )


def refusal(order: Start) -> str:
    try:
        prepare_here(order)
    except UsageError as error:
        return error.problems[0].message
    return ""


def test_equal_sources_and_versions_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes(b"x = 1\n")
    assert refusal(start(tmp_path, sources={"m.py": content_hash(b"x = 1\n")})) == ""


def test_a_source_that_differs_or_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes(b"x = 2\n")
    host = build_greeting().host
    for path in ("m.py", "gone.py"):
        order = start(tmp_path, sources={path: content_hash(b"x = 1\n")})
        assert refusal(order) == f"{path} is not the same on {host} as here"


@pytest.mark.parametrize("field", ["version", "python"])
def test_other_versions_differ(field: str) -> None:
    far = replace(build_greeting(), host="far", **{field: "0.0"})
    assert " is 0.0 on far and " in far.find_difference()


def test_a_project_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist on" in refusal(start(tmp_path / "gone"))


def test_a_local_database_is_refused_on_another_host_only_for_tools_that_use_it(
    tmp_path: Path,
) -> None:
    order = start(tmp_path, takes_connection=True, folder=folder_identity(str(tmp_path)))
    assert refusal(order) == ""
    order = replace(order, folder="another kernel:1:1")
    assert "and the worker has another folder at" in refusal(order)
    elsewhere = replace(order, host="elsewhere")
    assert "is a local file, and the worker is on" in refusal(elsewhere)
    assert refusal(replace(order, takes_connection=False)) == ""
    assert prepare_here(replace(order, takes_connection=False)).is_remote


def test_a_password_is_found_on_the_far_side_and_another_database_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = start(tmp_path, database="postgresql://me:***@db/x", resolves_database=True)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:its-own-secret@db/x")
    assert prepare_here(order).database == "postgresql://me:its-own-secret@db/x"
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:its-own-secret@db/other")
    assert "the database is postgresql://me:***@db/other on" in refusal(order)
    monkeypatch.delenv("DATABASE_URL")
    assert "the database is sqlite:///data.db on" in refusal(order)
