"""`--help` in every place: it never needs a healthy project, and shows what the targets take."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_fits_its_terminal(width: str, project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for words in (("--help",), ("run", "--help")):
        lines = orch(*words, env={"COLUMNS": width}).out.splitlines()
        assert max(map(len, lines)) <= max(int(width), 80)
