"""`orch export`: each file is accepted by the program that reads it, also with odd names, and runs what is stale."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import clean_environment, run_orch

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]\ngroups = {"night ly" = ["ingest"]}\n',
    "src/fetch.py": "STAGE = 'ingest'\ndef run(conn): print('fetched')\n",
}
#: A folder whose name means something to each of the programs.
ODD = "50% of 'my' $HOME \"data\""


@pytest.fixture
def odd_root(tmp_path: Path, project: Project) -> Path:
    root = project(PIPELINE)
    target = tmp_path / ODD
    shutil.copytree(root, target)
    return target


def find_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def accepted(*words: str, cwd: Path | None = None, **variables: str) -> str:
    env = clean_environment(**variables)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_cron_accepts_the_crontab_of_any_folder(odd_root: Path) -> None:
    assert run_orch(odd_root, "export", "cron", "night ly", "--every", "15m", "--write").code == 0
    accepted(find_program("crontab"), "-n", "crontab", cwd=odd_root)  # it cuts longer paths


@pytest.mark.slow
def test_systemd_accepts_the_units_of_any_folder(odd_root: Path) -> None:
    program = find_program("systemd-analyze")
    answer = run_orch(odd_root, "export", "systemd", "night ly", "--every", "6h", "--write")
    assert answer.code == 0, answer.text
    units = sorted(odd_root.glob("orch-*"))
    assert [unit.suffix for unit in units] == [".service", ".timer"]
    files = map(str, units)
    said = accepted(program, "verify", "--user", "--man=no", *files, XDG_RUNTIME_DIR=str(odd_root))
    assert "orch-" not in said, said
    times = next(
        line for line in units[1].read_text().splitlines() if line.startswith("OnCalendar=")
    )
    accepted(program, "calendar", times.partition("=")[2])


def test_the_line_of_the_crontab_is_what_a_shell_runs(odd_root: Path) -> None:
    text = run_orch(odd_root, "export", "cron", "night ly").out
    line = text.splitlines()[-1]
    assert "%" not in line.replace(r"\%", ""), "it would begin the standard input"
    line = line.replace(r"\%", "%")
    fields, command = line.split(" ", 5)[:5], line.split(" ", 5)[5]
    assert fields == ["0", "*", "*", "*", "*"]
    where, _, rest = command.partition(" && ")
    assert shlex.split(where) == ["cd", str(odd_root)]
    assert shlex.split(rest)[1:8] == [
        *("run", "night ly", "--changed", "--if-busy", "skip", "--color", "never"),
    ]
    path = next(one for one in text.splitlines() if one.startswith("PATH="))
    subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": path.partition("=")[2], "HOME": "/"}, check=True
    )
    assert "fetched" in (odd_root / "orch.log").read_text()


def test_the_workflow_is_yaml_with_the_steps(project: Project, orch: Orch) -> None:
    yaml = pytest.importorskip("yaml")
    root = project({**PIPELINE, "requirements.txt": "pandas\n"})
    assert orch("export", "github", "night ly", "--every", "1d", "--write").code == 0
    path = root / ".github/workflows/orch.yml"
    read = yaml.safe_load(path.read_text())
    assert read[True]["schedule"] == [{"cron": "0 3 * * *"}]  # YAML reads the word on as true
    assert read["defaults"]["run"] == {"working-directory": "."}
    steps = read["jobs"]["run"]["steps"]
    assert steps[2]["run"] == "pip install discover-orch -r requirements.txt"
    assert steps[-1]["run"] == "orch run 'night ly' --changed"
    assert steps[3]["with"]["path"].split() == [".orch", "data.db"]
    again = orch("export", "github", "night ly", "--every", "1d", "--write")
    assert again.out.startswith("kept .github/workflows/orch.yml\n")
    refused = orch("export", "github", "--write")
    assert refused.code == 2
    assert ".github/workflows/orch.yml already exists" in refused.err
    project({"orchconf.py": "def get_connection(): ..."})
    assert "data.db" not in orch("export", "github").out


def test_a_workflow_stands_at_the_root_of_the_repository_and_keeps_what_the_tools_made(
    project: Project, orch: Orch
) -> None:
    yaml = pytest.importorskip("yaml")
    root = project(
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            "jobs/shop/orch.toml": "",
            "jobs/shop/src/fetch.py": """
                import os
                STAGE = "ingest"
                ORCH = {"outputs": "late/*.csv"}

                def run():
                    os.makedirs("late"); open("late/a.csv", "w").close()
                    os.makedirs("parts"); open("report.html", "w").close()
                    for number in range(3):
                        open(f"parts/{number}.json", "w").close()
                """,
            "jobs/shop/src/other.py": "STAGE = 'render'\ndef run(): open('other.txt', 'w')\n",
        }
    )
    shop = root / "jobs/shop"
    assert run_orch(shop, "run").code == 0
    assert run_orch(shop, "export", "github", "fetch", "--write").code == 0
    assert not (shop / ".github").exists()
    read = yaml.safe_load((root / ".github/workflows/orch-shop.yml").read_text())
    assert read["defaults"]["run"] == {"working-directory": "jobs/shop"}
    assert read["jobs"]["run"]["steps"][3]["with"]["path"].split() == [
        f"jobs/shop/{one}"
        for one in (
            *(".orch", "data.db", "late/*.csv", "late/a.csv"),
            *("parts/0.json", "parts/1.json", "parts/2.json", "report.html"),
        )
    ]


def test_a_mistake_is_found_before_anything_is_written(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    before = sorted(os.listdir(root))
    for words, said in {
        "cron --every 7m": "'7m' is not one of",
        "systemd nope": 'unknown target "nope"',
        "launchd": "'launchd' is not one of",
    }.items():
        answer = orch("export", *words.split(), "--write")
        assert answer.code == 2, answer.text
        assert said in answer.err
    assert sorted(set(os.listdir(root)) - {".orch"}) == before
