"""Every command of the pages on data frames, SQL, checks, databases and secrets is run, in order, and prints what the page shows.

The figures of the page on lines around the work are those that its script counts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.test_documentation import ROOT
from tests.functional.test_tutorial import plain
from tests.support.project_builder import clean_environment

#: A block of code, with the file that the text above says to write, or to add lines to.
BLOCK = re.compile(
    r"(?:(Write|Put\s+this\s+below\s+`STAGE`\s+in)\s+`([\w/.]+)`:\n\n)?^```(\w*)\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def run_page(name: str, root: Path, **environment: str) -> int:
    """The number of commands that the page has, each of them run. One without output must succeed."""
    commands = 0
    for how, file, language, text in BLOCK.findall((ROOT / "docs" / name).read_text("utf-8")):
        if file:
            write(root / file, text, is_addition=how != "Write")
            continue
        assert language in ("", "sh"), f"no file is named for:\n{text}"
        parts = text.splitlines() if language else re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
        assert parts, text
        for part in parts:
            line, _, shown = part.partition("\n")
            done = run(line, root, environment)
            if language:
                assert done.returncode == 0, f"$ {line}\n{done.stdout}"
            else:
                assert plain(done.stdout) == plain(shown), line
            commands += 1
    return commands


def write(path: Path, text: str, *, is_addition: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    if is_addition:
        before = path.read_text(encoding="utf-8")
        text = re.sub(r"^STAGE = .*\n", lambda found: found[0] + text, before, flags=re.MULTILINE)
        assert text != before
    path.write_text(text, encoding="utf-8")


def run(line: str, root: Path, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line in a shell that finds this environment's `orch`; standard error goes where output goes."""
    environment = clean_environment(COLUMNS="100", **more)
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environment["PATH"]))
    return subprocess.run(
        ["/bin/sh", "-c", f"exec 2>&1; {line}"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_command_of_the_page_on_data_frames_prints_what_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    assert run_page("dataframes.md", tmp_path) >= 7


@pytest.mark.slow
def test_every_command_of_the_page_on_databases_prints_what_it_shows(
    tmp_path: Path, postgres: str
) -> None:
    assert run_page("databases.md", tmp_path, SHOP_DATABASE=postgres) >= 5


@pytest.mark.slow
def test_every_command_of_the_page_on_sql_prints_what_it_shows(tmp_path: Path) -> None:
    assert run_page("sql.md", tmp_path) >= 2


@pytest.mark.slow
def test_every_command_of_the_page_on_checks_prints_what_it_shows(tmp_path: Path) -> None:
    assert run_page("checks.md", tmp_path) >= 4


@pytest.mark.slow
def test_every_command_of_the_page_on_secrets_prints_what_it_shows(tmp_path: Path) -> None:
    assert run_page("secrets.md", tmp_path) >= 3


@pytest.mark.slow
def test_the_page_on_lines_around_the_work_has_the_figures_that_its_script_counts(
    tmp_path: Path,
) -> None:
    """The script runs the version for orch, and those for other systems that are installed."""
    done = run(f"python {ROOT}/benchmarks/boilerplate/count.py --run", tmp_path, {})
    assert done.returncode == 0, done.stdout
    assert "orch: score 0.994\n" in done.stdout
    page = (ROOT / "docs" / "boilerplate.md").read_text(encoding="utf-8").lower()
    counted = re.findall(r"^\| (\w+) (\|[ \d|]+)$", done.stdout, re.MULTILINE)
    assert [system for system, _ in counted] == ["orch", "pytask", "dagster"]
    for system, figures in counted:
        assert re.search(rf"^\| {system} [^|]*{re.escape(figures)}$", page, re.MULTILINE), figures
