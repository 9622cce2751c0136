"""`--help` in every place: it never needs a healthy project, and shows what the targets take."""

from __future__ import annotations

import platform
import sys

import pytest

import discover_orch
from tests.conftest import Orch, Project

PIPELINE = {
    "src/fetch.py": '''
        STAGE = "ingest"
        def run(conn, *, source: str, limit: int = 10, verbose: bool = False, token: str = "t"):
            """Fetch.

            Args:
                source: where the rows
                    come from
                limit: how many
            """
        ''',
    "src/parse.py": "STAGE = 'ingest'\ndef run(*, kind: list[str] = [], **kwargs): ...\n",
    "src/draw.py": "STAGE = 'render'\ndef run(*, wide: bool = True): ...\n",
}


def test_version_with_v_shows_python_and_the_packages(project: Project, orch: Orch) -> None:
    project({})
    rows = dict(line.split(maxsplit=1) for line in orch("--version", "-v").out.splitlines())
    assert rows["orch"] == discover_orch.__version__
    assert rows["Python"] == f"{platform.python_version()} ({sys.executable})"
    assert {"click", "msgspec", "pathspec", "python-dotenv", "watchdog"} <= {*rows}


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_fits_its_terminal(width: str, project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for words in (("--help",), ("run", "--help")):
        lines = orch(*words, env={"COLUMNS": width}).out.splitlines()
        assert max(map(len, lines)) <= max(int(width), 80)
