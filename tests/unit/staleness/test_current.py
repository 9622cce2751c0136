"""What tools depend on, as it is now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from discover_orch.staleness.current import CurrentState, takes_connection, takes_orchconf
from discover_orch.staleness.file_hashes import FileHashes, read_database
from discover_orch.staleness.fingerprint import GONE, DatabaseIdentity, Fingerprint
from discover_orch.staleness.memory import KnownDatabase, LastOutcome, Memory, Success, ToolResult
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


def remembered(success: Success, module: str = "src.a") -> ToolResult:
    return ToolResult(module=module, last=LastOutcome(run="1", status="passed"), success=success)


def fingerprint(
    root: Path, success: Success | None = None, **params: tuple[str, ...]
) -> Fingerprint:
    present = look(root, *([remembered(success)] if success else []))
    tool = present.registry.tools["src.a"]
    found, file_stats = present.fingerprint(tool, present.read_code(["src.a"]), params, success)
    assert file_stats.keys() <= found.files.keys()
    return found


# Code.


def test_what_it_loaded_besides_is_its_code_as_long_as_it_is_there(root: Path) -> None:
    (root / "src/plugin.py").write_text("Y = 1\n")
    success = Success(run=1, modules=("src.plugin",))
    assert "src/plugin.py" in fingerprint(root, success).code
    assert "src/plugin.py" not in fingerprint(root).code
    (root / "src/plugin.py").unlink()
    assert "src/plugin.py" not in {k for k, v in fingerprint(root, success).code.items() if v}


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
        {name: KnownDatabase(**{"path": "", "epoch": 4, "stat": None, **how})}
    )


def epoch(root: Path) -> int:
    return look(root).epoch


def test_a_database_that_nobody_knows_has_no_number(root: Path) -> None:
    assert epoch(root) == 0
    assert fingerprint(root).database == DatabaseIdentity(name="sqlite:///data.db", epoch=0)


def test_a_database_has_its_number_until_it_is_another_one(root: Path) -> None:
    path = root / "data.db"
    path.write_bytes(database(5))
    know(root, path="data.db", stat=read_database(str(root), "data.db"))
    assert epoch(root) == 4
    path.unlink()
    assert epoch(root) == 0
    path.write_bytes(database(1))
    assert epoch(root) == 5


def test_a_database_that_is_no_file_is_always_the_same(root: Path) -> None:
    know(root)
    assert epoch(root) == 4
    know(root, name="postgresql://h/d")
    assert epoch(root) == 0


def test_a_database_in_memory_is_always_another(root: Path) -> None:
    (root / "orch.toml").write_text('database = "sqlite://"\n')
    know(root, name="sqlite://")
    assert epoch(root) == 0


def test_the_password_of_a_database_is_no_part_of_its_name(root: Path) -> None:
    (root / "orch.toml").write_text('database = "postgresql://me:hunter22@h/d"\n')
    assert "hunter22" not in look(root).database_name
    assert look(root).database_name.startswith("postgresql://me")


def test_a_connection_of_orchconf_is_named_after_its_function(root: Path) -> None:
    (root / "orchconf.py").write_text("def get_connection(): ...\n")
    assert look(root).database_name == "get_connection()"


def test_a_tool_without_connection_has_no_database(root: Path) -> None:
    (root / "src/a.py").write_text(TOOL.replace("conn", ""))
    assert fingerprint(root).database is None


def test_a_damaged_memory_of_databases_is_none(root: Path) -> None:
    know(root)
    (root / ".orch/databases").write_bytes(b"x")
    assert epoch(root) == 0


# Files, folders, names.


def test_it_is_asked_for_what_the_last_success_rested_on(root: Path) -> None:
    for name in ("in.csv", "data/x", "out.csv", "there"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    file_hashes = FileHashes(str(root))
    then = Fingerprint(
        files={"in.csv": "1", "gone.csv": "2"},
        folders={"data": "1", "absent": "2"},
        missed=("there", "still missing"),
        written=("out.csv", "removed.csv"),
        distributions={"no-such-distribution": "1"},
    )
    found = fingerprint(root, Success(run=1, fingerprint=then), since=("x",))
    assert found.files == {"in.csv": file_hashes.file("in.csv")[0], "gone.csv": GONE}
    assert found.folders == {"data": file_hashes.folder("data", ()), "absent": GONE}
    assert found.missed == ("still missing",)
    assert found.written == ("out.csv",)
    assert found.distributions == {}
    assert found.params == {"since": ("x",)}


def test_a_file_with_the_mark_that_is_known_is_not_read(root: Path) -> None:
    path = root / "in.csv"
    path.write_text("x")
    os.utime(path, ns=(1, 1))
    _, stat = FileHashes(str(root)).file("in.csv")
    assert stat is not None
    then = Fingerprint(files={"in.csv": "as it was"})
    known = Success(run=1, fingerprint=then, file_stats={"in.csv": stat})
    assert fingerprint(root, known).files == {"in.csv": "as it was"}
    assert fingerprint(root, Success(run=1, fingerprint=then)).files["in.csv"] != "as it was"


def test_what_is_installed_has_its_version(root: Path) -> None:
    then = Fingerprint(distributions={"pytest": "0", "no-such-distribution": "1"})
    found = fingerprint(root, Success(run=1, fingerprint=then)).distributions
    assert found == {"pytest": pytest.__version__}


def test_declared_inputs_and_outputs_count_without_any_success(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data/x.csv").write_text("x")
    (root / "data/out.csv").write_text("x")
    tags = "ORCH = {'inputs': ['data/*.csv', 'absent.csv'], 'outputs': ['data/out.csv', 'no/*']}\n"
    (root / "src/a.py").write_text(tags + TOOL)
    found = fingerprint(root)
    assert found.files == {
        "data/x.csv": FileHashes(str(root)).file("data/x.csv")[0],
        "absent.csv": GONE,
    }
    assert found.patterns.keys() == {"data/*.csv"}
    assert found.written == ("data/out.csv",)
