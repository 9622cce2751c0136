"""What orch says fits the terminal: columns shrink, sentences wrap at spaces, and long names are cut."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.conftest import Orch, Project
from tests.support.running import on_terminal

LONG = "a_very_long_name_of_a_tool_that_nobody_types_year_2023"
TOOLS = (f"tool:{LONG}", f"tool:{LONG.replace('2023', '2024')}", "wrong")
METRICS = {f"rows_that_were_read_from_source_{number}": 344 for number in range(5)}
FILES = {
    "orch.toml": 'stages = ["ingest"]',
    f"src/{LONG}.py": f"""
        \"\"\"Turn the raw rows of the survey into something that the readers of the report can use each month.\"\"\"
        STAGE = "ingest"
        def run(*, since: str = "2024-01-01", source_of_the_rows: str = "data/rows.csv", limit: int = 10):
            return {METRICS}
        """,
    f"src/{LONG.replace('2023', '2024')}.py": f"STAGE = 'ingest'\nAFTER = '{LONG}'\ndef run(): ...\n",
    "src/wrong.py": """
        STAGE = "a_stage_that_is_not_configured_and_has_a_name_that_is_much_too_long"
        def run():
            raise ValueError("the row is wrong, " * 20)
        """,
    "src/b.py": "STAGE = 'ingest'\nprint('\ndef run(): ...\n",
    "src/no_run.py": "STAGE = 'ingest'\n",
}


def test_no_line_is_wider_than_the_terminal(project: Project, orch: Orch) -> None:
    root = project(FILES)
    orch("run", *TOOLS)
    looks = ("list", "list -v", "status", "history", "history 1", "run -n -v TOOLS", "check")
    for words, columns in itertools.product(looks, (80, 200)):
        line = words.replace("TOOLS", " ".join(TOOLS)).split()
        with on_terminal(root, *line, columns=columns, NO_COLOR="") as shown:
            shown.wait()
        lines = re.sub(r"\x1b\[[\d;]*m", "", shown.text).splitlines()
        assert len(lines) >= 2, words
        assert [line for line in lines if len(line) > columns] == [], words


@pytest.mark.parametrize("columns", [80, 200])
def test_the_lines_of_a_run_fit_and_break_no_word(
    project: Project, orch: Orch, columns: int
) -> None:
    root = project(FILES)
    with on_terminal(root, "run", *TOOLS, columns=columns) as shown:
        assert shown.wait() == 1
    own = shown.text.partition("Traceback")[0] + shown.text.partition("\nFAILED ")[2]
    own = own.replace(str(root), "")
    assert [line for line in own.splitlines() if len(line) > columns] == []
    words = shown.text.split()
    assert {f"{name}={value}" for name, value in METRICS.items()} <= set(words)
    assert f"{LONG}," in words
    assert "\n\n" not in own


def test_of_a_failure_only_the_users_code_is_wider_than_the_terminal(project: Project) -> None:
    code = (
        'conn.execute("vacuum")'
        + " " * 20
        + "# this comment makes the line wider than the terminal"
    )
    text = f"""
        STAGE = "s"
        def run(conn, *, api_token: str):
            conn.execute("create table t (x)")
            {code}
        """
    root = project(
        {"src/a.py": text, "src/b.py": "STAGE = 's'\nAFTER = ()\ndef run():\n    input()\n"}
    )
    words = ("run", "--api-token", "open-sesame")
    with on_terminal(root, *words, columns=60) as shown:
        assert shown.wait() == 1
    lines = shown.text.replace(str(root), "").splitlines()
    assert [line.strip() for line in lines if len(line) > 60] == [code], shown.text
    assert "\nhint: " in shown.text


def test_in_a_pipe_a_problem_is_one_line_and_names_keep_their_ends(
    project: Project, orch: Orch
) -> None:
    project(FILES)
    listed = orch("list")
    assert "\n  hint: fix the syntax error, or remove STAGE if this is not a tool\n" in listed.err
    assert listed.err.count("\n") == 7
    assert re.search(r"\n  a_very_long_\w+…\w+_year_2023  Turn the raw", listed.out)
    assert f"\n  {LONG.replace('2023', '2024')}\n" in listed.out
