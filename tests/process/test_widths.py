"""What orch says fits the terminal: columns shrink, sentences wrap at spaces, and long names are cut."""

from __future__ import annotations

import itertools
import re

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
