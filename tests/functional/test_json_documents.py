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


def test_list(project: Project, orch: Orch) -> None:
    root = project(PIPELINE)
    cold, warm = orch("list", "--json"), orch("list", "--json")
    assert cold.out == warm.out
    assert (cold.code, warm.code) == (4, 4)
    document = warm.json
    assert list(document)[:5] == ["version", "root", "stages", "tools", "errors"]
    assert (document["version"], document["root"]) == (1, str(root))
    assert [(one["name"], one["tools"]) for one in document["stages"]] == [
        ("ingest", ["fetch", "parse"]),
        ("render", []),
    ]
    parse = next(one for one in document["tools"] if one["name"] == "parse")
    assert {key: parse[key] for key in ("module", "path", "line", "stages", "doc", "after")} == {
        "module": "src.parse",
        "path": "src/parse.py",
        "line": 8,
        "stages": ["ingest"],
        "doc": "Turn raw rows into records.",
        "after": ["fetch"],
    }
    assert parse["disabled"] is False
    assert [one["name"] for one in document["tools"] if one["disabled"]] == ["old"]
    params = {one.pop("name"): one for one in parse["params"]}
    base = {"default": None, "required": False, "help": ""}
    assert params == {
        "day": {**base, "type": "str", "default_source": None, "required": True},
        "since": {**base, "type": "date", "default_source": "None", "help": "the first day"},
        "limit": {**base, "type": "int", "default": 3, "default_source": "3"},
        "p": {**base, "type": "path", "default_source": "Path('x')"},
    }
    (error,) = document["errors"]
    assert (error["path"], error["line"]) == ("src/broken.py", 2)
    assert error["message"].startswith("not valid Python")
    assert error["hint"]
    assert [one["path"] for one in document["warnings"]] == ["src/settings.py"]


def test_dry_run(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    answer = orch("run", "-n", "--json", "parse", "--day", "x", "--limit", "4")
    assert answer.code == 0
    document = answer.json
    assert document["tools"] == [
        {
            "name": "parse",
            "module": "src.parse",
            "stage": "ingest",
            "after": ["fetch"],
            "reason": "named",
            "params": {
                "day": {"value": "x", "origin": "--day"},
                "limit": {"value": 4, "origin": "--limit"},
                "since": {"value": None, "origin": "default"},
                "p": {"value": None, "origin": "default"},
            },
            "state": "never",
            "reasons": ["never ran"],
        }
    ]
    assert document["version"] == 1
    assert [one["path"] for one in document["warnings"]] == ["src/broken.py"]


@pytest.mark.parametrize("flags", [("-n",), ()])
def test_a_refused_run_still_writes_complete_json(
    flags: tuple[str, ...], project: Project, orch: Orch
) -> None:
    project(PIPELINE)
    for words, code in ((("render",), 4), (("fetch", "--exclude", "fetch"), 5), (("nope",), 2)):
        answer = orch("run", "--json", *flags, *words)
        assert answer.code == code
        (line,) = answer.out.splitlines()
        document = json.loads(line)
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
