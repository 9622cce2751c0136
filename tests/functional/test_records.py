"""What `.orch/` holds: its size, its files as others may have left them, and what is read from there."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import reasons

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


@pytest.mark.slow
def test_what_is_remembered_of_a_tool_with_many_files_does_not_grow_with_each_run(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/reader.py": READER})
    (root / "data").mkdir()
    name = "a_file_with_a_rather_long_name_" * 7
    for number in range(3000):
        (root / f"data/{name}{number}.txt").write_text("x")
    assert orch("run").code == 0
    assert orch("run").code == 0
    size = folder_size(root / ".orch/tools")
    assert size > 1_000_000
    for _ in range(3):
        assert orch("run").code == 0
    assert folder_size(root / ".orch/tools") < 1.1 * size
    (root / f"data/{name}77.txt").write_text("xx")
    assert f"data/{name}77.txt changed" in reasons(orch)["reader"]


@pytest.mark.slow
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


@pytest.mark.parametrize("name", [".orch", ".orch/runs", ".orch/tools"])
def test_a_link_in_place_of_a_folder_is_not_followed(
    project: Project, orch: Orch, tmp_path: Path, name: str
) -> None:
    """The run goes on, and says what it cannot keep."""
    root = project(
        {"orch.toml": "keep_runs = 1\nreport = true", "src/a.py": "STAGE = 's'\ndef run(): ...\n"}
    )
    elsewhere = tmp_path / "elsewhere"
    for run in ("1", "2"):
        (elsewhere / "runs" / run).mkdir(parents=True)
        (elsewhere / "runs" / run / "events.jsonl").write_text("mine")
    before = sorted(elsewhere.rglob("*"))
    if name == ".orch":
        (root / name).symlink_to(elsewhere)
    else:
        (root / ".orch").mkdir()
        (root / name).symlink_to(elsewhere / "runs" if name == ".orch/runs" else elsewhere)
    for words in (
        ("run",),
        ("run", "--changed"),
        ("status",),
        ("history",),
        ("list",),
        ("accept", "a"),
    ):
        answer = orch(*words)
        assert "Traceback" not in answer.text
        if words[0] in ("run", "status", "list"):
            assert answer.code == 0, answer.text
        if words == ("run",):
            assert "is a link" in answer.err or "cannot be saved" in answer.err
    assert sorted(elsewhere.rglob("*")) == before
    assert (elsewhere / "runs/1/events.jsonl").read_text() == "mine"


def test_the_page_takes_the_place_of_a_link(project: Project, orch: Orch, tmp_path: Path) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): ...\n"})
    assert orch("run").code == 0
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    page = root / ".orch/runs/1/report.html"
    page.symlink_to(mine)
    assert orch("report").code == 0
    assert mine.read_text() == "mine"
    assert not page.is_symlink()
    own = root / "own.html"
    own.symlink_to(mine)
    assert orch("report", "-o", "own.html").code == 0
    assert mine.read_text().startswith("<!DOCTYPE html>")


def test_a_folder_with_a_huge_number_is_no_run(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): ...\n"})
    assert orch("run").code == 0
    for digits in (30, 250):
        (root / ".orch/runs" / ("9" * digits)).mkdir()
    assert orch("run").code == 0
    assert [one["run"] for one in orch("history", "--json").json["runs"]] == ["2", "1"]
    assert orch("status", "--exit-code").code == 0


LOUD = """
    import sys
    STAGE = "s"
    def run():
        for number in range(300_000):
            print(f"{number:07} öäü a line of some length that nobody needs to see")
        raise ValueError("no")
    """


@pytest.mark.parametrize(
    "shows", [("-q",), pytest.param(("--output", "fail"), marks=pytest.mark.slow)]
)
def test_output_that_is_shown_late_takes_no_memory(
    project: Project, shows: tuple[str, ...]
) -> None:
    loud = "import sys\nSTAGE = 's'\ndef run():\n    for _ in range({}): sys.stdout.write(('x' * 99 + '\\n') * 10_000)\n"
    root = project({"orch.toml": "", "src/loud.py": loud.format(0)})

    # A process of its own, since the figure of a child begins with that of its parent.
    ask = "import os, subprocess, sys; child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
    ask += "_, status, usage = os.wait4(child.pid, 0); print(status, usage.ru_maxrss)"

    def peak() -> int:
        """The most memory of one process of the run, in kilobytes."""
        words = [sys.executable, "-c", ask, sys.executable, "-m", "discover_orch", "run", *shows]
        said = subprocess.run(words, cwd=root, stdout=subprocess.PIPE, check=True, text=True).stdout
        status, size = map(int, said.split())
        assert status == 0
        return size

    quiet = peak()
    (root / "src/loud.py").write_text(loud.format(60))  # 60 MB
    assert peak() < quiet + 25_000


@pytest.mark.parametrize(
    "shows",
    [pytest.param(("-q",), marks=pytest.mark.slow), ("--output", "fail"), ("--jobs", "2")],
)
def test_of_long_output_that_is_shown_late_each_attempt_shows_its_end(
    project: Project, orch: Orch, shows: tuple[str, ...]
) -> None:
    """Also where another tool has printed little."""
    root = project(
        {
            "orch.toml": "",
            "src/loud.py": LOUD.replace("300_000", "30_000")
            + "\n    ORCH = {'retries': 1, 'retry_delay': 0.01}\n    AFTER = ()",
            "src/short.py": "STAGE = 's'\nAFTER = ()\ndef run():\n    print('brief')\n    raise ValueError\n",
        }
    )
    answer = orch("run", *shows)
    assert answer.code == 1
    shown = [line.strip() for line in answer.out.splitlines()]
    numbers = [line[:7] for line in shown if line.endswith("nobody needs to see")]
    attempts = 2 if "--jobs" in shows else 1
    ends = [place + 1 for place, number in enumerate(numbers) if number == "0029999"]
    assert len(ends) == attempts
    assert ends[-1] == len(numbers)
    for start, end in pairwise((0, *ends)):  # a million characters of 1.6
        assert 15_000 < end - start < 25_000
        assert numbers[start:end] == [f"{30_000 - end + one:07}" for one in range(start, end)]
    assert shown.count("brief") == 1
    assert (root / ".orch/runs/1/logs/src.loud.log").stat().st_size > 2 * 1_500_000
