"""`orch report`: one page about a run, written from what `.orch` has of them."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from html import unescape
from pathlib import Path

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]',
    "src/fetch.py": """
        from pathlib import Path
        STAGE = "ingest"
        AFTER = ()
        ORCH = {"retries": 1, "retry_delay": 0.01, "outputs": ["raw.csv"]}
        def run(*, since: str = "2020", api_key: str = ""):
            print(f"fetching since {since} with {api_key}")
            if not Path("tried").exists():
                Path("tried").touch()
                raise OSError("the first attempt fails")
            Path("raw.csv").write_text("x")
            return {"rows": 344}
        """,
    "src/parse.py": "STAGE = 'ingest'\nAFTER = 'fetch'\ndef run(): raise ValueError('no rows')\n",
    "src/draw.py": "STAGE = 'render'\nAFTER = 'parse'\ndef run(): ...\n",
    "src/canary.py": "STAGE = None\nopen('woken', 'w').close()\ndef run(): ...\n",
}


def logs_of(page: str) -> str:
    blocks = re.findall(r'<template class="log">(.*?)</template>', page)
    return "".join(gzip.decompress(b64decode(block)).decode() for block in blocks)


def text_of(page: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", page))


def test_the_page_has_what_happened_and_the_command_prints_its_path(
    project: Project, orch: Orch
) -> None:
    root = project(PIPELINE)
    assert orch("run", "--jobs", "2", "--since", "2024", "--api-key", "kept-to-oneself").code == 1
    answer = orch("report")
    assert (answer.code, answer.out, answer.err) == (0, ".orch/runs/1/report.html\n", "")
    page = (root / ".orch/runs/1/report.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "2 failed" not in text
    assert "1 passed" in text
    assert "Failed: parse." in text
    assert "src/parse.py:3: ValueError: no rows" in text
    assert "raise ValueError('no rows')" in text
    assert "failed after" in text  # the first attempt
    assert "the first attempt fails" in text
    assert "since = 2024 " in text
    assert "rows 344" in text
    assert "Blocked by" in text
    assert "raw.csv" in text
    assert logs_of(page).startswith("fetching since 2024 with ")
    for written in (page, logs_of(page), (root / ".orch/runs/1/events.jsonl").read_text()):
        assert "kept-to-oneself" not in written
    assert not (root / "woken").exists()
    assert len(page) - len(logs_of(page)) < 60_000
    assert not re.findall(r'(?:src|href)="(?!#)', page)  # nothing from elsewhere


def test_a_page_of_any_run_can_be_written_anywhere_and_opened(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project(PIPELINE)
    nothing = orch("report")
    assert (nothing.code, nothing.err) == (
        2,
        "error: no run has been recorded yet\n  hint: start one with: orch run\n",
    )
    orch("run", "fetch")
    orch("run", "fetch", "--since", "2025")
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho \"$1\" > '{tmp_path}/opened'\n")
    browser.chmod(0o755)
    opened = orch("report", "1", "-o", "page one.html", "--open", env={"BROWSER": str(browser)})
    assert (opened.code, opened.out) == (0, "page one.html\n")
    assert (tmp_path / "opened").read_text() == (root / "page one.html").as_uri() + "\n"
    assert "<title>Run 1 of project</title>" in (root / "page one.html").read_text()
    answer = orch("report", "--json")
    assert answer.json == {"version": 1, "run": "2", "path": ".orch/runs/2/report.html"}
    assert orch("report", "-o", "new/folder/page.html").code == 0
    assert (root / "new/folder/page.html").exists()
    assert orch("report", "7").code == 2
    assert orch("report", "-o", "-").out == (root / ".orch/runs/2/report.html").read_text()
    assert orch("report", "-o", "-", "--json").code == 2
    assert not (root / "-").exists()


def test_with_the_setting_each_run_writes_its_page_and_says_where(
    project: Project, orch: Orch
) -> None:
    root = project({**PIPELINE, "orch.toml": "report = true"})
    answer = orch("run", "fetch")
    assert answer.code == 0
    assert answer.out.endswith("\nreport: .orch/runs/1/report.html\n")
    assert "<title>Run 1 of project</title>" in (root / ".orch/runs/1/report.html").read_text()
    again = orch("run", "parse", "--json")
    assert again.code == 1
    assert again.err == "report: .orch/runs/2/report.html\n"
    assert [json.loads(line)["event"] for line in again.out.splitlines()][-1] == "run_finished"
    assert (root / ".orch/runs/2/report.html").exists()


def test_tools_stand_in_the_order_of_the_pipeline_also_if_some_were_fresh_or_others_came_first(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]',
            "src/a.py": "STAGE = 'one'\ndef run(): open('a', 'w').close()\n",
            "src/b.py": "STAGE = 'one'\ndef run():\n    open('a').close()\n    open('b', 'w').close()\n",
            "src/c.py": "STAGE = 'two'\ndef run(): open('b').close()\n",
        }
    )
    for change in ((), ("run", "--changed"), ("run", "c", "b", "a")):
        orch(*(change or ("run",)))
        project({"src/b.py": (root / "src/b.py").read_text() + "    print()\n"})
        page = (root / orch("report").out.strip()).read_text()
        assert re.findall(r"<summary><b>(\w)", page) == ["a", "b", "c"], change
        assert re.findall(r'class="heading"[^>]*>(\w+)<', page) == ["one", "two"]


def test_the_journal_says_which_worker_ran_a_tool(project: Project, orch: Orch) -> None:
    """Each of the two waits until the other has started, so that they need two workers."""
    meet = """
        import time
        from pathlib import Path
        STAGE = "s"
        AFTER = ()
        def run():
            Path("{0}").touch()
            for _ in range(600):
                if Path("{1}").exists():
                    return
                time.sleep(0.1)
            raise TimeoutError
        """
    project({"orch.toml": "", "src/a.py": meet.format("a", "b"), "src/b.py": meet.format("b", "a")})
    answer = orch("run", "--jobs", "2", "--json")
    events = [json.loads(line) for line in answer.out.splitlines()]
    workers = {one["worker"] for one in events if one["event"] == "tool_started"}
    assert (answer.code, workers) == (0, {1, 2})


def test_a_run_of_an_older_journal_has_a_page_too(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    orch("run", "fetch")
    journal = root / ".orch/runs/1/events.jsonl"
    new = {"worker", "workers", "traceback", "data", "orch", "python", "commit", "sources", "time"}
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for key in new & line.keys():
            del line[key]
        for row in line.get("plan", []):
            for key in ("path", "after", "reason"):
                del row[key]
    journal.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert orch("report").code == 0
    assert "fetch" in text_of((root / ".orch/runs/1/report.html").read_text())
    journal.write_text("{}\n")
    assert orch("report").code == 2


def test_the_page_says_of_times_and_marks_only_what_holds(project: Project, orch: Orch) -> None:
    slow = "STAGE = 's'\nAFTER = ()\ndef run():\n    import time; time.sleep({})\n    {}\n"
    write = "open('a.txt', 'w').close()"
    root = project(
        {
            "src/a.py": slow.format(0.5, "raise ValueError"),
            "src/b.py": "STAGE = 's'\nAFTER = ()\ndef run(): open('b.txt', 'w').close()\n",
        }
    )

    def page() -> str:
        assert orch("report").code == 0
        latest = max((root / ".orch/runs").iterdir(), key=lambda one: int(one.name))
        return (latest / "report.html").read_text(encoding="utf-8")

    assert orch("run", "a").code == 1
    assert "cannot be shorter" not in page()  # a run that failed says nothing of its least time
    (root / "src/a.py").write_text(slow.format(0.5, write))
    assert orch("run").code == 0
    (root / "src/a.py").write_text(slow.format(0, write))
    assert orch("run", "--changed").code == 0
    html = page()
    assert "median of earlier runs" not in html  # one run is no measure
    assert "✓ passed · ≡ fresh" in text_of(html)


def test_a_run_of_the_past_is_drawn_as_it_was(project: Project, orch: Orch) -> None:
    """Its tools that were fresh, passed, failed and were blocked have read other files since."""
    reader = "from pathlib import Path\nSTAGE = 's'\nAFTER = {}\ndef run():\n    Path('{}').read_text()\n"
    after = {"src/a.py": "()", "src/b.py": "'a'", "src/c.py": "'b'", "src/d.py": "'c'"}
    texts = {path: reader.format(one, f"{path[4]}1.csv") for path, one in after.items()}
    root = project({**texts, **{f"{one}{n}.csv": "" for one in "abcd" for n in (1, 2)}})
    assert orch("run").code == 0
    project({"src/b.py": texts["src/b.py"] + "# edited\nnew = 1\n"})
    project({"src/c.py": reader.format("'b'", "c2.csv") + "    raise ValueError('no')\n"})
    assert orch("run", "--changed").code == 1
    page = orch("report", "2", "-o", "-").out
    graph = page[page.index("<svg") : page.index("</svg>")]
    assert {*re.findall(r"[abcd][12]\.csv", graph)} == {"a1.csv", "b1.csv", "c2.csv", "d1.csv"}
    project({path: text.replace("1.csv", "2.csv") for path, text in texts.items()})
    assert orch("run").code == 0
    assert orch("report", "2", "-o", "-").out == page
    assert (root / ".orch/runs/3").is_dir()
