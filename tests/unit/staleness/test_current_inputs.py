"""What tools depend on, as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.keys import Key
from discover_orch.staleness.current_inputs import (
    CurrentState,
    takes_connection,
    takes_orchconf,
)
from discover_orch.staleness.database_file import read_database
from discover_orch.staleness.database_identity import MISSING, UNKNOWN
from discover_orch.staleness.input_versions import Versions
from discover_orch.staleness.memory import KnownDatabase, Memory
from discover_orch.staleness.tool_result import (
    ABSENT,
    Inputs,
    LastOutcome,
    Success,
    ToolResult,
    Write,
)
from tests.conftest import Project
from tests.support.recorded import database, view_of
from tests.support.values import make_argument, make_conf, make_facts, make_project, make_registry

TOOL = "STAGE = 's'\nfrom src import helper\ndef run(conn): pass\n"


@pytest.fixture
def root(project: Project) -> Path:
    return project({"orch.toml": "", "src/a.py": TOOL, "src/helper.py": "X = 1\n"})


def look(root: Path, *results: ToolResult) -> CurrentState:
    view = view_of(root)
    known = {one.module: one for one in results}
    return CurrentState(view.project, view.registry, Memory(str(root)), known)


def succeeded(inputs: Mapping[Key, str] = {}, **more: Any) -> Success:
    return Success(asof=1, ended=2, inputs=Inputs(other=inputs), **more)


def inputs(
    root: Path, success: Success | None = None, writes: Mapping[Key, Write] = {}, **params: str
) -> Inputs:
    result = ToolResult(
        module="src.a",
        last=LastOutcome(run="1", status="passed"),
        success=success,
        writes=writes,
    )
    present = look(root, result)
    tool = present.registry.tools["src.a"]
    return present.inputs(tool, present.read_code(["src.a"]), params, result)


# Code.


def resources_of(*arguments: str, **needs: tuple[str, ...]) -> tuple[Any, Any]:
    registry = make_registry(
        make_facts("a", arguments=[make_argument(one) for one in arguments]),
        conf=make_conf({name: list(one) for name, one in needs.items()}),
    )
    return registry.tools["a"], registry


def test_a_tool_takes_the_connection_itself_or_through_a_resource() -> None:
    project = make_project()
    for arguments, needs, has_connection, has_conf in (
        ((), {}, False, False),
        (("conn",), {}, True, False),
        (("http",), {"http": ()}, False, True),
        (("http",), {"http": ("conn",)}, True, True),
        (("http",), {"http": ("other",), "other": ("conn",)}, True, True),
        (("http",), {"http": ("other",), "other": ("http",)}, False, True),
        (("http",), {"http": ("retries",)}, False, True),
    ):
        tool, registry = resources_of(*arguments, **needs)
        assert takes_connection(tool, registry) == has_connection
        assert takes_orchconf(tool, registry, project) == has_conf


# The database.


def know(root: Path, name: str = "sqlite:///data.db", **how: Any) -> None:
    Memory(str(root)).write_databases(
        {name: KnownDatabase(**{"path": "", "number": 4, "stat": None, **how})}
    )


def number(root: Path) -> int:
    return look(root).database.number


def test_a_database_has_its_number_until_it_is_another_one(root: Path) -> None:
    path = root / "data.db"
    path.write_bytes(database(5))
    know(root, path="data.db", stat=read_database(str(root), "data.db"))
    assert number(root) == 4
    path.unlink()
    assert number(root) == MISSING
    path.write_bytes(database(1))
    assert number(root) == 5


def test_a_database_that_is_no_file_is_always_the_same(root: Path) -> None:
    know(root)
    assert number(root) == 4
    (root / "data.db").write_bytes(database(1))
    know(root, name="postgresql://h/d")
    assert number(root) == UNKNOWN


def test_a_database_in_memory_is_always_another(root: Path) -> None:
    (root / "orch.toml").write_text('database = "sqlite://"\n')
    know(root, name="sqlite://")
    assert number(root) == MISSING


# Files, folders, packages.


def test_it_is_asked_for_what_the_last_success_rested_on(root: Path) -> None:
    for name in ("in.csv", "data/x", "there"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    then = {
        "file:in.csv": "1",
        "file:gone.csv": "2",
        "folder:data": "data/a",
        "folder:absent": "absent/b",
        "file:there": ABSENT,
        "file:still missing": ABSENT,
        "package:no-such-distribution": "1",
        "package:pytest": "0",
        "env:NO_SUCH_VARIABLE": "1",
        "param:other": "y",
    }
    content = Versions(str(root)).file("in.csv")[0]
    found = dict(inputs(root, succeeded(then), since="x").other)
    assert found.pop("python").startswith("3.")
    assert found.pop("database") == "0 sqlite:///data.db"
    assert found == {
        "file:in.csv": content,
        "file:gone.csv": ABSENT,
        "folder:data": "data/x",
        "folder:absent": ABSENT,
        "file:there": content,
        "file:still missing": ABSENT,
        "package:no-such-distribution": ABSENT,
        "package:pytest": pytest.__version__,
        "env:NO_SUCH_VARIABLE": ABSENT,
        "param:since": "x",
    }
