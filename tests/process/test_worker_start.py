"""A worker that dies before its first tool begins: a failed tool and an end, not a wait for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project

#: Python runs this first in every process; only a worker is started with `-c`.
DYING = "import os, sys\nif '-c' in sys.orig_argv: os._exit(7)\n"


@pytest.mark.parametrize("output", ["live", "raw"])
def test_a_worker_that_cannot_start_is_a_failed_tool(
    project: Project, orch: Orch, output: str
) -> None:
    tool = 'STAGE = "ingest"\ndef run(): ...'
    root = project(
        {"src/a.py": tool, "src/b.py": tool, "src/c.py": tool, "site/sitecustomize.py": DYING}
    )
    package = str(Path(__file__).parents[2])
    answer = orch("run", "--output", output, env={"PYTHONPATH": f"{root}/site:{package}"})
    assert answer.code == 1, answer.text
    assert "the worker process exited with code 7" in answer.out
    assert "before the tool started" in answer.out
    assert "1 failed, 2 blocked" in answer.out
