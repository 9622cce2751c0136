"""The way of a newcomer: the four commands of the README, typed at a terminal, to a tool of one's own under `orch watch`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.functional.test_documentation import README
from tests.process.test_shells import find_shell, interactive

pytestmark = pytest.mark.slow
#: What a newcomer writes in place of the body that `orch new` has made.
PUBLISH = '''"""Say what was sold."""

STAGE = "report"


def run(conn):
    [total] = conn.execute("SELECT sum(amount) FROM orders").fetchone()
    print("sold for", total)
'''


def test_the_four_commands_of_the_readme_lead_to_a_tool_of_ones_own(tmp_path: Path) -> None:
    section = README.split("\n## Your first tool\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(orch [^#\n]+?) +#", section, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["init", "run", "new", "watch"]
    with interactive([find_shell("bash"), "--norc", "-i"], tmp_path) as typed:
        for line, expected in zip(
            lines,
            ("created src/load.py", "2 passed", "created src/publish.py", "watching "),
            strict=True,
        ):
            typed.type(f"{line}\n", expected)
        publish = tmp_path / "src" / "publish.py"
        assert publish.is_file()
        publish.write_text(PUBLISH, encoding="utf-8")
        typed.type("", "sold for 130.75")
        typed.type("q\n", "$ ")
