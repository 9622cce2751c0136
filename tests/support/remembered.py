"""What orch remembers, seen from outside: where tools stand, and the files below `.orch`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.project_builder import Answer


def tables_of(used: Sequence[Mapping[str, str]]) -> list[str]:
    """The tables of `reads` or `writes` in JSON."""
    return [one["table"] for one in used if "table" in one]


def reasons(orch: Callable[..., Answer], *words: str, **how: Any) -> dict[str, list[str]]:
    """Why each tool that is stale is so, by name; a fresh tool has no entry."""
    answer = orch("status", "--json", *words, **how)
    assert answer.code == 0, answer.text
    assert answer.err == "", answer.text
    tools = answer.json["tools"]
    for tool in tools:
        assert (tool["state"] != "fresh") == bool(tool["reasons"]), tool
    return {tool["name"]: tool["reasons"] for tool in tools if tool["state"] != "fresh"}


def files_used(tool: Mapping[str, Any], how: str) -> list[str]:
    """The files that a tool `reads` or `writes`, by itself and by libraries and child processes, sorted."""
    by_itself = {one["file"] for one in tool[how] if "file" in one}
    return sorted(by_itself | {*tool[f"also_{how}"]})


def statuses(answer: Answer) -> dict[str, str]:
    """How each tool ended, from the lines of `orch run --json`."""
    found = {
        event["name"]: event["status"]
        for event in answer.events
        if event["event"] == "tool_finished"
    }
    assert answer.events[-1]["event"] == "run_finished", answer.text
    return found


def ran(answer: Answer) -> list[str]:
    """The tools that were started, in their order."""
    return [event["name"] for event in answer.events if event["event"] == "tool_started"]


def run_all(orch: Callable[..., Answer], **how: Any) -> None:
    answer = orch("run", **how)
    assert answer.code == 0, answer.text
    assert reasons(orch, **how) == {}


def run_changed(orch: Callable[..., Answer], **how: Any) -> list[str]:
    """The tools that `run --changed` ran, after which nothing is stale."""
    answer = orch("run", "--changed", "--json", **how)
    assert answer.code == 0, answer.text
    assert reasons(orch, **how) == {}
    return ran(answer)


def rows(root: Path, sql: str, database: str = "data.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(root / database)) as conn:
        return conn.execute(sql).fetchall()


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit(root: Path, tool: str) -> None:
    """Change what its code means, and nothing that it does."""
    with (root / "src" / f"{tool}.py").open("a") as file:
        file.write("X = 1\n")


def memory_files(root: Path) -> list[Path]:
    """Every file that orch keeps in this project, the logs of tools included."""
    return sorted(path for path in (root / ".orch").rglob("*") if path.is_file())
