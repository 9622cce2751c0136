"""The JSON that other programs read: its keys are a promise."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]',
    "src/fetch.py": "STAGE = 'ingest'\ndef run(): ...\n",
    "src/parse.py": '''
        """Turn raw rows into records."""
        from datetime import date
        from pathlib import Path
        STAGE = "ingest"
        AFTER = "fetch"

        def run(conn, *, day: str, since: date | None = None, limit: int = 3, p: Path = Path("x")):
            """Args:
                since: the first day
            """
        ''',
    "src/old.py": "STAGE = None\ndef run(): ...\n",
    "src/broken.py": "STAGE = 'render'\ndef run(:\n",
    "src/settings.py": "STAGE = 'x'\n",
}


@pytest.mark.parametrize("flags", [("-n",), ()])
def test_a_refused_run_still_writes_complete_json(
    flags: tuple[str, ...], project: Project, orch: Orch
) -> None:
    project(PIPELINE)
    for words, code in ((("render",), 4), (("fetch", "--exclude", "fetch"), 5), (("nope",), 2)):
        answer = orch("run", "--json", *flags, *words)
        assert answer.code == code
        *before, document = map(json.loads, answer.out.splitlines())
        assert [one["event"] for one in before] == ([] if flags else ["run_started"])
        assert document["errors"][0]["message"]
        assert document.get("exit_code", code) == code


def test_nothing_left_is_complete_json_too(project: Project, orch: Orch) -> None:
    project({**PIPELINE, "src/broken.py": ""})
    for command in ("list", "graph"):
        answer = orch(command, "--json", "--exclude", "full")
        assert (answer.code, answer.json["stages"]) == (5, [])


def test_no_tool_is_complete_json_too(project: Project, orch: Orch) -> None:
    project({})
    for words in (("list",), ("run", "-n"), ("graph",), ("check",)):
        answer = orch(*words, "--json")
        assert answer.code == 5
        assert answer.json["version"] == 1
