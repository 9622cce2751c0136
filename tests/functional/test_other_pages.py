"""The commands and examples of the pages that tell no story: testing, schedules, CI, events, reports, and
others. Each is run in a small project, with stand-ins only for the programs of other people that need a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from discover_orch.planning.project_view import read_project
from tests.conftest import Orch, Project
from tests.functional.test_documentation import ROOT
from tests.support.plugin import PLUGIN
from tests.support.project_builder import clean_environment

pytestmark = pytest.mark.slow
TOOLS = {
    "orch.toml": 'stages = ["ingest", "analyze"]\n',
    "src/fetch.py": "STAGE = 'ingest'\ndef run(conn): conn.execute('CREATE TABLE IF NOT EXISTS raw (id)')\n",
    "src/total.py": "STAGE = 'analyze'\ndef run(conn): conn.execute('SELECT * FROM raw')\n",
}
FAILING = {**TOOLS, "src/total.py": "STAGE = 'analyze'\ndef run(conn): raise ValueError('no')\n"}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


def run_shell(line: str, root: Path, *, programs: Path | None = None) -> str:
    """What bash prints for a line that succeeds. `programs` is a folder with stand-ins."""
    environment = clean_environment()
    folders = [str(programs)] if programs else []
    environment["PATH"] = os.pathsep.join(
        (*folders, str(Path(sys.executable).parent), environment["PATH"])
    )
    done = subprocess.run(
        ["bash", "-c", line], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    return done.stdout


def stand_in(folder: Path, name: str, script: str) -> Path:
    """A program that notes what it gets, in place of one that sends it somewhere."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return folder


def test_the_examples_of_the_page_on_testing_pass(project: Project) -> None:
    first, fixture, typed = blocks("testing.md", "python")
    [ini] = blocks("testing.md", "toml")
    root = project(
        {
            "pyproject.toml": f'[tool.orch]\nstages = ["ingest"]\n{ini}',
            "orchconf.py": "from discover_orch import resource\n@resource\ndef http(): return None\n",
            "src/parse.py": """
                from datetime import date
                STAGE = "ingest"

                def run(conn, http, *, since: date = date(2020, 1, 1)):
                    assert http.prices == {"/prices": "[]"} and since == date(2024, 1, 31)
                    conn.execute("CREATE TABLE parsed AS SELECT name FROM raw WHERE id IS NOT NULL")
                    return {"rows": conn.execute("SELECT count(*) FROM parsed").fetchone()[0]}
                """,
            "tests/conftest.py": "class FakeClient:\n    def __init__(self, prices): self.prices = prices\n\n\n"
            + fixture,
            "tests/test_parse.py": first,
            "tests/test_types.py": typed,
        }
    )
    words = [sys.executable, "-m", "pytest", "-q", "--orch-check", *PLUGIN]
    done = subprocess.run(
        words, cwd=root, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_commands_of_the_page_on_schedules_write_their_files(project: Project) -> None:
    root = project(TOOLS)
    [lines] = blocks("schedules.md", "sh")
    for line in lines.splitlines():
        shown = run_shell(line, root)
        assert "--write" in line or "orch' run" in shown or "/orch run --changed" in shown
    assert list(root.glob("orch-*.service"))
    assert list(root.glob("orch-*.timer"))
    assert (root / ".github/workflows/orch.yml").is_file()


def test_the_commands_of_the_page_on_ci(project: Project, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    root = project(TOOLS)
    github, gitlab, hook = map(yaml.safe_load, blocks("ci.md", "yaml"))
    for step in github["steps"]:
        if step.get("run", "").startswith("orch"):
            run_shell(step["run"], root)
    run_shell(gitlab["pipeline"]["script"][0], root)
    assert (root / gitlab["pipeline"]["artifacts"]["reports"]["junit"]).is_file()
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [one["id"] for one in hooks] == [one["id"] for one in hook["repos"][0]["hooks"]]
    # What is called when a run fails: the line for cron, and the one for jq.
    project(FAILING)
    [crontab] = [one for one in blocks("ci.md", "") if "on-failure" in one]
    times, command = crontab.split("  ", 1)
    assert len(times.split()) == 5
    mail = stand_in(tmp_path / "programs", "mail", f'echo "$@" >{root}/mailed; cat >>{root}/mailed')
    command = command.strip().replace("/srv/shop", str(root))
    run_shell(f"({command}) || test $? = 1", root, programs=mail)
    subject, _, summary = (root / "mailed").read_text(encoding="utf-8").partition("\n")
    assert subject == "-s orch failed ops@example.org"
    assert json.loads(summary)["status"] == "failed"
    if shutil.which("jq"):
        [line] = [one for one in blocks("ci.md", "sh") if "jq" in one]
        run_shell(f"{line.strip()} || test $? = 1", root)
        assert (root / "failed.txt").read_text(encoding="utf-8") == "total\n"


def test_the_pipes_of_the_page_on_events_send_each_event(project: Project, tmp_path: Path) -> None:
    root = project(TOOLS)
    sent = root / "sent"
    script = f'for one; do last=$one; done; case "$*" in *--data-binary*) cat;; *) echo "$last $*";; esac >>{sent}'
    programs = stand_in(tmp_path / "programs", "curl", script)
    lines, lineage = blocks("events.md", "sh")
    run_shell(lines, root, programs=programs)
    events = [json.loads(line)["event"] for line in sent.read_text("utf-8").splitlines()]
    assert (events[0], events[-1]) == ("run_started", "run_finished")
    sent.unlink()
    run_shell(f"{lineage.strip()}; wait $!", root, programs=programs)  # of the shell's own pipe
    assert sent.read_text(encoding="utf-8").count("http://localhost:5000/api/v1/lineage ") >= 4


def test_the_commands_of_the_report_page(project: Project, orch: Orch) -> None:
    root = project(TOOLS)
    for _ in range(2):
        assert orch("run").code == 0
    [text] = [one for one in blocks("report.md", "") if "orch report" in one]
    for line in text.splitlines():
        words = re.split(r"  +", line.removeprefix("$ "))[0]
        command = words.replace(" 12", " 2").replace(" 7", " 1").replace(" --open", "")
        assert "report" in run_shell(command, root)
    assert (root / "report.html").is_file()


@pytest.mark.parametrize("page", ["scaling.md", "transactions.md"])
def test_the_settings_of_the_page_are_valid(page: str, project: Project) -> None:
    for settings in blocks(page, "toml"):
        root = project({"pyproject.toml": settings})
        view = read_project(str(root), str(root), {})  # raises for what is no setting
        assert view.project.config == "pyproject.toml"


def test_the_module_of_the_first_page_is_a_tool(project: Project, orch: Orch) -> None:
    [code] = blocks("index.md", "python")
    create = "conn.execute('CREATE TABLE raw AS SELECT 1 AS id UNION SELECT 2')"
    project({"src/parse.py": code, "src/fetch.py": f"STAGE = 'ingest'\ndef run(conn): {create}\n"})
    answer = orch("run", "--limit", "1")
    assert answer.code == 0, answer.text
