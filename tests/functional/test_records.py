"""What `.orch/` holds: its size, its files as others may have left them, and what is read from there."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Orch, Project

READER = """
    from pathlib import Path
    STAGE = "s"
    ORCH = {"always": True}
    def run():
        print("reading")
        return {"total": sum(len(one.read_text()) for one in sorted(Path("data").iterdir()))}
    """


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_remembered_of_a_tool_with_many_files_does_not_grow_with_each_run(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/reader.py": READER})
    (root / "data").mkdir()
    for number in range(7000):
        (root / f"data/a_file_with_a_rather_long_name_{number}.txt").write_text("x")
    assert orch("run").code == 0
    assert orch("run").code == 0
    size = folder_size(root / ".orch/tools")
    assert size > 1_000_000
    for _ in range(3):
        assert orch("run").code == 0
    assert folder_size(root / ".orch/tools") < 1.1 * size
    (root / "data/a_file_with_a_rather_long_name_77.txt").write_text("xx")
    assert "a_file_with_a_rather_long_name_77.txt changed" in orch("status", "reader").out


def test_another_server_named_by_the_environment_makes_stale_after_all_was_fresh(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": 'database = "postgresql:///shop"',
            "src/load.py": "STAGE = 's'\ndef run(conn): ...\n",
        }
    )
    here = {"PGHOST": "here"}
    assert orch("accept", "load", env=here).code == 0
    for _ in range(3):
        assert orch("status", "--exit-code", env=here).code == 0
        assert "nothing to run" in orch("run", "--changed", env=here).out
    assert orch("status", "--exit-code", env={"PGHOST": "there"}).code == 1
