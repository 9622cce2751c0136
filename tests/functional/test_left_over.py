"""What is left over of tools, and what `orch clean` deletes of it: many files at once, side by side, while a run goes on.

The cases one by one are in `tests/scenes/left_over.scene`.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.fork_server import ForkServer

MANY = 10_000
SPLIT = {
    "in.csv": "10000",
    "src/split.py": """
        from pathlib import Path
        STAGE = "s"
        def run():
            Path("out").mkdir(exist_ok=True)
            for number in range(int(Path("in.csv").read_text())):
                Path(f"out/{number}.txt").write_text(str(number))
    """,
    "src/total.py": """
        import os
        STAGE = "t"
        def run():
            print(len(os.listdir("out")))
    """,
}


@pytest.fixture
def shrunk(project: Project, orch: Orch) -> Path:
    """All files but one are left over."""
    root = project(SPLIT)
    assert orch("run", "-q").code == 0
    (root / "in.csv").write_text("1")
    answer = orch("run", "--changed", "-q")
    assert answer.code == 0, answer.text
    assert "left over from split, read by total: out/1.txt" in answer.err
    assert "and 9995 others" in answer.err
    return root


@pytest.mark.slow
def test_ten_thousand_files_are_named_in_a_few_lines_and_deleted(shrunk: Path, orch: Orch) -> None:
    answer = orch("status")
    assert "left over from split, read by total: out/*.txt (9,999 files)" in answer.out
    assert "total  stale  reads out/1.txt and 9,998 more, which split no longer makes" in answer.out
    answer = orch("clean")
    assert answer.out.splitlines() == [
        "left over from split, read by total",
        "  out/*.txt (9,999 files)",
        "9,999 files can be deleted: add --yes",
    ]
    assert len(orch("clean", "--json").json["found"]) == MANY - 1
    assert len(orch("status", "split", "--json").json["tools"][0]["left_over"]) == MANY - 1
    (shrunk / "out" / "77.txt").write_text("mine")
    began = time.monotonic()
    answer = orch("clean", "--yes")
    assert time.monotonic() - began < 20
    assert answer.out.endswith("deleted 9,998 files\n")
    assert sorted(path.name for path in (shrunk / "out").iterdir()) == ["0.txt", "77.txt"]
    states = {one["name"]: one["state"] for one in orch("status", "--json").json["tools"]}
    assert states == {"split": "fresh", "total": "stale"}
    assert "total reads out/77.txt, which split no longer makes" in orch("run", "--changed").err
    assert orch("accept", "total").code == 0
    assert orch("run", "--changed", "-q").out == "nothing to run: all 2 tools are fresh\n"


def test_what_looks_deletes_nothing_and_writes_nothing(project: Project, orch: Orch) -> None:
    root = project({**SPLIT, "in.csv": "3"})
    assert orch("run", "-q").code == 0
    (root / "in.csv").write_text("1")
    assert orch("run", "--changed", "-q").code == 0
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for words in (["clean"], ["clean", "--all"], ["clean", "--json"], ["status"]):
        assert orch(*words).code == 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_project_that_was_copied_can_be_cleaned(
    project: Project, orch: Orch, fork_server: ForkServer, tmp_path: Path
) -> None:
    root = project({**SPLIT, "in.csv": "3"})
    assert orch("run", "-q").code == 0
    (root / "in.csv").write_text("1")
    assert orch("run", "--changed", "-q").code == 0
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    answer = fork_server.run(copy, "clean", "--yes")
    assert answer.out.endswith("deleted 2 files\n"), answer.text
    assert (root / "out" / "2.txt").exists()


def test_nothing_is_deleted_while_a_run_is_in_progress(project: Project, orch: Orch) -> None:
    root = project({**SPLIT, "in.csv": "3"})
    assert orch("run", "-q").code == 0
    (root / "in.csv").write_text("1")
    assert orch("run", "--changed", "-q").code == 0
    holder = subprocess.Popen(
        ["flock", str(root / ".orch" / "lock"), "sh", "-c", "echo held; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        answer = orch("clean", "--yes")
        assert (answer.code, answer.out) == (2, "")
        assert "another run is in progress" in answer.err
        assert "wait for it with --if-busy wait" in answer.err
        assert orch("clean").code == 0
    finally:
        holder.communicate()
    assert (root / "out" / "2.txt").exists()
    assert orch("clean", "--yes").out.endswith("deleted 2 files\n")


def test_a_file_that_cannot_be_deleted_is_named_and_stays_known(
    project: Project, orch: Orch
) -> None:
    root = project({**SPLIT, "in.csv": "3"})
    assert orch("run", "-q").code == 0
    (root / "in.csv").write_text("1")
    assert orch("run", "--changed", "-q").code == 0
    subprocess.run(["chattr", "+i", "out/2.txt"], cwd=root, check=False, capture_output=True)
    (root / "out").chmod(0o555)
    try:
        answer = orch("clean", "--yes", "--json")
        deleted = {one["file"]: one["deleted"] for one in answer.json["found"]}
        for path, is_deleted in deleted.items():
            assert (root / path).exists() != is_deleted
        assert (answer.code == 0) == all(deleted.values())
    finally:
        (root / "out").chmod(0o755)
        subprocess.run(["chattr", "-i", "out/2.txt"], cwd=root, check=False, capture_output=True)
    left = {one["file"] for one in orch("clean", "--json").json["found"]}
    assert left == {path for path, is_deleted in deleted.items() if not is_deleted}


def test_the_content_says_whether_a_file_is_as_it_was_left(project: Project, orch: Orch) -> None:
    root = project({**SPLIT, "in.csv": "2"})
    assert orch("run", "-q").code == 0
    (root / "out" / "1.txt").unlink()
    (root / "out" / "1.txt").write_text("1")
    answer = orch("clean", "--all", "--json")
    assert [one["stays"] for one in answer.json["found"] if one["file"] == "out/1.txt"] == [None]
