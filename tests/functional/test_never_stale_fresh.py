"""Stale work is never called fresh, and fresh work not stale: what transcripts cannot show.

The other cases are in `tests/scenes/stale_work.scene` and `fresh_work.scene`.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.staleness.database_file import read_database
from tests.conftest import Orch, Project
from tests.support.environments import make_environment_with
from tests.support.remembered import reasons, run_all, run_changed

needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="files of native readers are seen on Linux only"
)


def test_an_editable_package_outside_the_root_counts(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    tool = "from shared.utils import X\nSTAGE = 's'\ndef run(): print(X)\n"
    project({"orch.toml": "", "src/one.py": tool, "src/two.py": tool})
    python = make_environment_with(tmp_path / "shared_project", tmp_path / "venv")
    how = {"prefix": (python,), "env": {"PYTHONPATH": ""}}
    run_all(orch, **how)
    (tmp_path / "shared_project/shared/utils.py").write_text("X = 2\n")
    assert run_changed(orch, **how) == ["one", "two"]


def test_a_database_that_was_removed_and_made_anew_is_another_one(
    project: Project, orch: Orch
) -> None:
    """The new file may have the inode of the old one, and then only its time of creation differs."""
    config = 'external_writes = "ignore"\n'
    read = """
        STAGE = "s"
        def run(conn):
            conn.execute("CREATE TABLE IF NOT EXISTS copied (x)")
            conn.execute("DELETE FROM copied")
            conn.execute("INSERT INTO copied SELECT x FROM raw")
        """
    root = project(
        {"orch.toml": config, "src/a.py": read, "src/b.py": "STAGE = 's'\ndef run(conn): ...\n"}
    )
    migrate(root, 1)
    run_all(orch)
    before = read_database(str(root), "data.db")
    (root / "data.db").unlink()
    migrate(root)
    after = read_database(str(root), "data.db")
    assert before is not None
    assert after is not None
    assert after.counter > before.counter
    if after.birth:  # some file systems have none
        replaced = "the database sqlite:///data.db was replaced"
        assert reasons(orch) == {"a": [replaced], "b": [replaced]}
        assert run_changed(orch) == ["a", "b"]
    (root / "orch.toml").write_text("")
    assert orch("run").code == 0
    (root / "data.db").unlink()
    migrate(root)
    assert "a" in run_changed(orch)


def migrate(root: Path, commits: int = 30) -> None:
    """As a migration does it: many commits, so that the counter of the file is not lower than before."""
    with closing(sqlite3.connect(root / "data.db", isolation_level=None)) as conn:
        for number in range(commits):
            conn.execute(f"CREATE TABLE migration{number} (x)")
        conn.execute("CREATE TABLE raw (x)")


#: Reads its own file, and then runs on until orch has hashed the file of the tool before it.
FOLLOWED = """
    import os, subprocess, time
    STAGE = "s"
    ORCH = {{"inputs": [], "outputs": []}}
    def run():
        subprocess.run(["true"], check=True)
        end = time.monotonic() + 60
        while "src.{before}" not in os.listdir(".orch/tools") and time.monotonic() < end:
            time.sleep(0.01)
        open("{name}.bin", "rb").close()
    """


@needs_kernel_events
def test_a_file_that_orch_hashes_is_no_input_of_the_tool_that_runs_meanwhile(
    project: Project, orch: Orch
) -> None:
    """The kernel tells of all files that are opened while a tool with a child process runs."""
    root = project(
        {
            "one.bin": b"1" * 20_000_000,
            "two.bin": b"2",
            "three.bin": b"3",
            "src/one.py": "STAGE = 's'\ndef run():\n    open('one.bin').close()\n",
            "src/three.py": FOLLOWED.format(before="two", name="three"),
            "src/two.py": FOLLOWED.format(before="one", name="two"),
        }
    )
    answer = orch("run", "one", "two", "three", "--json")
    assert answer.code == 0, answer.text
    for name in ("one", "two", "three"):
        assert reasons(orch) == {}
        before = (root / f"{name}.bin").read_bytes()
        (root / f"{name}.bin").write_bytes(b"other")
        assert [*reasons(orch)] == [name]
        (root / f"{name}.bin").write_bytes(before)
