"""Items under a watch: files that come, change and go."""

from __future__ import annotations

from tests.conftest import Project
from tests.support.editors import save
from tests.support.watching import watching

CLEAN = """
from pathlib import Path
STAGE = "clean"
ORCH = {"each": "raw/{day}.csv"}
def run(*, day):
    Path("clean").mkdir(exist_ok=True)
    Path(f"clean/{day}.txt").write_text(Path(f"raw/{day}.csv").read_text().upper())
"""
FEATURES = """
from pathlib import Path
STAGE = "features"
ORCH = {"each": "clean"}
def run(*, day):
    Path("features").mkdir(exist_ok=True)
    Path(f"features/{day}.txt").write_text(Path(f"clean/{day}.txt").read_text() * 2)
"""
TOTAL = """
from pathlib import Path
STAGE = "report"
def run():
    print(",".join(one.read_text() for one in sorted(Path("features").iterdir())))
"""


def without_sentinel(tools: tuple[str, ...]) -> list[str]:
    """The tools of the project: `watching` adds one in a later stage."""
    return [one for one in tools if one != "sentinel"]


def test_a_file_runs_its_item_the_same_item_downstream_and_the_sum(project: Project) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["clean", "features", "report"]\n',
            "src/clean.py": CLEAN,
            "src/features.py": FEATURES,
            "src/total.py": TOTAL,
            "raw/1.csv": "a",
            "raw/2.csv": "b",
        }
    )
    with watching(root) as watch:
        save(root / "raw/3.csv", "c")
        run = watch.next_run()
        assert (run.status, without_sentinel(run.tools)) == (
            "passed",
            ["clean 3", "features 3", "total"],
        )
        assert run.output["total"] == "AA,BB,CC\n"
        save(root / "raw/1.csv", "z")
        run = watch.next_run()
        assert without_sentinel(run.tools) == ["clean 1", "features 1", "total"]
        assert run.output["total"] == "ZZ,BB,CC\n"
        (root / "raw/2.csv").unlink()
        gone = watch.wait_for_one(
            lambda one: one["event"] == "changed" and "raw/2.csv" in one["paths"], "a file is gone"
        )
        assert without_sentinel(gone["tools"]) == []
        assert gone["gone"] == ["clean 2", "features 2"]
        assert watch.settle() == [], watch.story()


def test_items_whose_files_a_tool_makes_and_takes_away_run_and_are_withdrawn(
    project: Project,
) -> None:
    split = """
from pathlib import Path
STAGE = "split"
ORCH = {"replaces": "raw/*.csv"}
def run():
    Path("raw").mkdir(exist_ok=True)
    for name in Path("names.txt").read_text().split():
        Path(f"raw/{name}.csv").write_text(name)
"""
    root = project(
        {
            "orch.toml": 'stages = ["split", "clean", "features"]\n',
            "src/split.py": split,
            "src/clean.py": CLEAN,
            "src/features.py": FEATURES,
            "names.txt": "a b",
        }
    )
    with watching(root) as watch:
        run = watch.next_run()
        assert without_sentinel(run.tools) == ["clean a", "clean b", "features a", "features b"]
        save(root / "names.txt", "b c")
        run = watch.next_run()
        assert run.ended["split"] == "passed"
        assert run.ended["clean a"] == run.ended["features a"] == "not_run"
        run = watch.next_run()
        assert without_sentinel(run.tools) == ["clean c", "features c"]
        assert run.status == "passed"
        assert watch.settle() == [], watch.story()
    assert {one.name for one in (root / "features").iterdir()} >= {"b.txt", "c.txt"}
