"""The commands and examples of the pages that tell no story: testing, schedules, CI, events, reports, and
others. Each is run in a small project, with stand-ins only for the programs of other people that need a network."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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
    first, fixture = blocks("testing.md", "python")
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
        }
    )
    words = [sys.executable, "-m", "pytest", "-q", "--orch-check", *PLUGIN]
    done = subprocess.run(
        words, cwd=root, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


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
    github, affected, gitlab, hook = map(yaml.safe_load, blocks("ci.md", "yaml"))
    run_shell("orch run && orch lock && rm -r .orch data.db", root)  # as whoever pushes has done
    commit = "git -c user.name=a -c user.email=a@b.c commit -qm one"
    run_shell(f"git init -q && git add -A && {commit} && git branch origin/main", root)
    for step in (*github["steps"], *affected["steps"]):
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


def test_the_lock_of_the_page_on_teams_is_that_of_a_first_project(project: Project) -> None:
    root = project({})
    run_shell("orch init && orch run", root)
    [text] = [one for one in blocks("teams.md", "") if "orch lock" in one]
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        assert run_shell(line, root) == shown


def test_the_pipe_of_the_page_on_lineage_sends_each_event(project: Project, tmp_path: Path) -> None:
    root = project(TOOLS)
    sent = root / "sent"
    script = f'for one; do last=$one; done; echo "$last $*" >>{sent}'
    programs = stand_in(tmp_path / "programs", "curl", script)
    [lineage] = blocks("events.md", "sh")
    run_shell(f"{lineage.strip()}; wait $!", root, programs=programs)  # of the shell's own pipe
    assert sent.read_text(encoding="utf-8").count("http://localhost:5000/api/v1/lineage ") >= 4


#: The names of OpenTelemetry that the recipe uses: a span is a line of a file.
OPENTELEMETRY = {
    "opentelemetry/trace.py": "def set_span_in_context(span): return span\n",
    "opentelemetry/exporter/otlp/proto/http/trace_exporter.py": "class OTLPSpanExporter: ...\n",
    "opentelemetry/sdk/trace/export.py": "class BatchSpanProcessor:\n    def __init__(self, exporter): ...\n",
    "opentelemetry/sdk/trace/__init__.py": """
        import json

        class TracerProvider:
            def add_span_processor(self, processor): ...
            def get_tracer(self, name): return self
            def start_span(self, name, parent=None, *, start_time): return Span(name, parent, start_time)

        class Span:
            def __init__(self, name, parent, start):
                self.name, self.parent, self.start, self.attributes = name, parent, start, {}
            def set_attribute(self, name, value): self.attributes[name] = value
            def end(self, at):
                inside = self.parent and self.parent.name
                line = json.dumps([self.name, inside, self.attributes, self.start < at])
                open("spans.jsonl", "a").write(line + "\\n")
        """,
}


def test_the_observers_of_their_page_send_and_keep_what_it_says(project: Project) -> None:
    recipes = "\n\n".join(blocks("observers.md", "python"))
    root = project({**FAILING, "orchconf.py": recipes, **OPENTELEMETRY})
    posted: list[object] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        run_shell(f"CHAT_URL={url} orch run 2> notes || test $? = 1", root)
        server.shutdown()
    assert "warning" not in (root / "notes").read_text("utf-8")
    assert posted == [{"text": "total failed: no"}]
    with sqlite3.connect(root / "ended.db") as db:
        rows = db.execute("SELECT run, tool, status FROM ended").fetchall()
    db.close()
    assert rows == [("1", "fetch", "passed"), ("1", "total", "failed")]
    assert [
        json.loads(line) for line in (root / "spans.jsonl").read_text("utf-8").splitlines()
    ] == [
        ["fetch", "run", {"status": "passed"}, True],
        ["total", "run", {"status": "failed"}, True],
        ["run", None, {}, True],
    ]


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
