"""Carries out random histories of pipelines with items, and compares with the oracle of `item_worlds.py`.

After each step, whatever `status` calls fresh is as a clean run makes it. A check runs `orch run --changed`: then all is
fresh that can be made. What withdrawn items left needs `orch clean --yes`, and in tables `--rebuild`; then all data are as
from a clean run.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fork_server import ForkServer
from tests.support.item_worlds import (
    ALL,
    History,
    State,
    Step,
    expected,
    find_shaken,
    smaller,
    user_files,
    value_of,
)
from tests.support.project_builder import Answer
from tests.support.promises import Wrong, describe, shrink

#: A tool with such a reason may be blocked by one that fails.
UNKNOWN = (
    "never ran",
    "failed (",
    ".py changed",
    "upstream ",
    "a stale tool needs",
    "may be upstream",
)
#: A run was asked for an item, or for a range, that is not there.
NO_SUCH_ITEM = (2, 5)


@dataclass
class Play:
    history: History
    server: ForkServer
    folder: Path
    state: State = field(default_factory=State)
    ran: int = 0  # steps that a check ran
    unneeded: int = (
        0  # of these, with what they had in the last check, and their results as they were
    )
    why: list[str] = field(default_factory=list)
    #: What each step had made at the last check at which all was fresh.
    last: dict[str, object] = field(default_factory=dict)
    #: What was edited by hand. `orch clean` keeps it where its item is withdrawn: then the user deletes it.
    edited: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.root = self.folder / "project"
        self.state.raw = dict.fromkeys(self.history.days, "0")
        self.is_tampered = False
        self.finds_all = not any(
            one.each == "made" and not one.is_declared for one in self.history.tools
        )

    def go(self) -> None:
        self._write()
        for number, step in enumerate(self.history.steps):
            try:
                self._do(step)
                self._compare_fresh(is_settled=step.kind == "check" or self.finds_all)
            except Wrong as error:
                error.add_note(f"after step {number + 1} ({step.kind})")
                raise

    def _do(self, step: Step) -> None:
        match step.kind:
            case "run":
                self._run("run", *step.words)
            case "changed":
                self._run("run", "--changed", *step.words)
            case "resume":
                self._run("run", "--resume")
            case "clean":
                self._orch("clean", "--yes", codes=(0,))
            case "check":
                self._check()
            case _:
                self._change(step)

    def _change(self, step: Step) -> None:
        """What the user, or another program, does."""
        state = self.state
        match step.kind:
            case "put":
                state.raw[step.name] = step.text
            case "bad" | "poor":
                state.raw[step.name] = step.kind
            case "remove":  # without any file, a tool that reads all finds no table
                if {*state.raw} != {step.name}:
                    state.raw.pop(step.name, None)
            case "same":
                if step.name in state.raw:
                    self._replace(f"raw/{step.name}.txt", state.raw[step.name])
            case "edit":
                state.versions[step.name] = state.versions.get(step.name, 0) + 1
            case "comment":
                state.comments[step.name] = state.comments.get(step.name, 0) + 1
            case "list":
                state.lists[step.name] = int(step.text)
            case _:
                self._tamper(step)
        self._write()

    def _tamper(self, step: Step) -> None:
        tool = self.history.tool(step.name)
        self.is_tampered = True
        if tool.is_file:
            path = self.root / tool.name / f"{step.text if tool.each else ALL}.txt"
            if path.exists() and step.kind == "hand":
                path.write_text(path.read_text() + "!")
                self.edited.add(path)
            elif path.exists() and step.kind == "delete":
                path.unlink()
            return
        statement = {
            "drop": f"DROP TABLE IF EXISTS {tool.writes}",
            "row": f"UPDATE {tool.writes} SET x = x || '!' WHERE day IN ('{step.text}', '{ALL}')",
            "delete row": f"DELETE FROM {tool.writes} WHERE day IN ('{step.text}', '{ALL}')",
        }.get(step.kind, "")
        if statement and self._has_table(tool.writes):
            with closing(sqlite3.connect(self.root / "data.db", isolation_level=None)) as conn:
                conn.execute(statement)

    def _has_table(self, name: str) -> bool:
        return bool(self._rows(f"SELECT 1 FROM sqlite_master WHERE name = '{name}'"))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if not (self.root / "data.db").exists():
            return []
        with closing(sqlite3.connect(self.root / "data.db")) as conn:
            return conn.execute(query).fetchall()

    def _write(self) -> None:
        """Write the user's files, if they differ."""
        files = user_files(self.history, self.state)
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                self._replace(name, text)
        for path in self.root.glob("raw/*.txt"):
            if f"raw/{path.name}" not in files:
                path.unlink()

    def _replace(self, name: str, text: str) -> None:
        path = self.root / name
        new = self.root / f".{path.name}.new"
        new.write_text(text)
        os.replace(new, path)

    def _orch(self, *words: str, codes: tuple[int, ...]) -> Answer:
        answer = self.server.run(self.root, *words, env={})
        if answer.code not in codes:
            raise Wrong(f"exit {answer.code} of {words[0]}", answer.text)
        if "Traceback" in answer.err or "internal" in answer.err:
            raise Wrong(f"internal error of {words[0]}", answer.text)
        return answer

    def _run(self, *words: str) -> Answer:
        answer = self._orch(*words, codes=(0, 1, *NO_SUCH_ITEM))
        if answer.code == 2 and not any(
            one in answer.text
            for one in (
                "has no item",
                "no selected tool has the parameter",
                "there is no",
                "no run to resume",
                "of its",
            )
        ):
            raise Wrong("exit 2 of run", f"{words} {answer.text}")
        return answer

    # What must be true.

    def _status(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Each step by its key, and each tool."""
        tools = self._orch("status", "--json", codes=(0,)).json["tools"]
        steps = {
            one["module"].removeprefix("src."): one
            for tool in tools
            for one in (tool["items"] if tool.get("items") is not None else [tool])
        }
        return steps, {tool["name"]: tool for tool in tools}

    def _key(self, name: str, day: str) -> str:
        tool = self.history.tool(name)
        return f"{name} {value_of(self.history, tool, day)}" if tool.each else name

    def _compare_fresh(self, *, is_settled: bool = False) -> None:
        """Whatever is called fresh is as a clean run makes it. Before a check the items are not known that are found by
        files of another tool, which it does not promise."""
        steps, _ = self._status()
        made = expected(self.history, self.state, is_blocked=False)
        is_settled = is_settled and (self.finds_all or None not in made.values())
        known = {self._key(*of): text for of, text in made.items()}
        if not is_settled:
            made = {of: text for of, text in made.items() if self._key(*of) in steps}
        elif {*steps} != {*known}:
            raise Wrong("other items", f"status {sorted(steps)}, there are {sorted(known)}")
        wrong = {}
        for (name, day), text in made.items():
            key = self._key(name, day)
            if steps[key]["state"] == "fresh" and (found := self._found(name, day)) != text:
                wrong[key] = (found, text)
        if wrong:
            told = {key: one["reasons"] for key, one in steps.items() if one["state"] != "fresh"}
            raise Wrong("fresh and wrong", f"(found, expected) {wrong}; stale are {told}")

    def _found(self, name: str, day: str) -> object:
        tool = self.history.tool(name)
        if tool.is_file:
            path = self.root / name / f"{day}.txt"
            return path.read_text() if path.exists() else None
        if not self._has_table(tool.writes):
            return None
        where = f"maker = '{name}' AND day = '{day}'"
        rows = [x for (x,) in self._rows(f"SELECT x FROM {tool.writes} WHERE {where}")]
        return rows[0] if len(rows) == 1 else rows or None

    def _stale(self) -> dict[str, Any]:
        return {
            key: one["reasons"] for key, one in self._status()[0].items() if one["state"] != "fresh"
        }

    def _check(self) -> None:
        before = self._stale()
        self._agree(before)
        oracle = expected(self.history, self.state)
        made = {self._key(*of): text for of, text in oracle.items()}
        broken = {key for key, text in made.items() if text is None}
        shaken = find_shaken(self.history, oracle)
        code = (0,) if not broken else (1,) if self.finds_all else (0, 1)
        if self._withdrawn():  # a tool may fail because of rows that it has left
            code = (0, 1)
        passed = self._passed(self._orch("run", "--changed", "--json", codes=code))
        self._count(passed, made, before)
        changed, clean = ("run", "--changed"), ("clean", "--yes")
        # Again where the order became another. What is withdrawn once files are gone is so only then.
        tidied = (clean, changed)
        told = [before]
        for words in (changed, *tidied, *tidied, ("run", "--rebuild"), *tidied, ()):
            found = self._stale()
            # What never ran because something upstream fails may write anything.
            is_held = bool(broken) and ["never ran"] in found.values()
            stale = {
                key: why
                for key, why in found.items()
                if not is_held
                and key not in broken
                and key.partition(" ")[0] not in shaken
                and not (broken and any(one in str(why) for one in UNKNOWN))
                and not self._is_unknown(broken, made)  # it may write anything
                and not (broken and not self.history.tool(key.partition(" ")[0]).each)
            }
            told.append(stale)
            withdrawn = self._withdrawn()
            if not stale and not (withdrawn and words):
                break
            if not words or (words[0] == "clean" and stale and not withdrawn):
                raise Wrong("stale after run --changed", told)
            self._orch(
                *words, codes=(0,) if words[0] == "clean" else code if self.finds_all else (0, 1)
            )
            if words[0] == "clean":
                self._delete_edited(made)
            self._compare_fresh()
        self.last = {key: made[key] for key in made if key not in broken}
        self.is_tampered = False
        if not (
            broken or self._withdrawn()
        ):  # of a tool without any item nothing makes the table anew
            self._compare_all()

    def _is_unknown(self, broken: Collection[str], made: Collection[str]) -> bool:
        """Whether all items of some tool fail that are there."""
        tools = {key.partition(" ")[0] for key in broken}
        return any(
            all(key in broken for key in made if key.partition(" ")[0] == tool) for tool in tools
        )

    def _delete_edited(self, made: Collection[str]) -> None:
        for path in self.edited:
            if f"{path.parent.name} {path.stem}" not in made and path.parent.name not in made:
                path.unlink(missing_ok=True)

    def _agree(self, stale: dict[str, Any]) -> None:
        answer = self._orch("run", "--changed", "-n", "--json", codes=(0,))
        planned = {one["module"].removeprefix("src.") for one in answer.json["tools"]}
        if planned != {*stale}:
            raise Wrong("status and run --changed -n differ", f"{sorted(planned)} {stale}")

    def _withdrawn(self) -> list[Any]:
        return [one for tool in self._status()[1].values() for one in tool.get("withdrawn") or ()]

    def _passed(self, answer: Answer) -> set[str]:
        events = [json.loads(line) for line in answer.out.splitlines() if line.startswith("{")]
        return {
            one["module"].removeprefix("src.")
            for one in events
            if one["event"] == "tool_finished" and one["status"] == "passed"
        }

    def _count(self, passed: set[str], made: dict[str, str | None], why: dict[str, Any]) -> None:
        """A step that makes the same as in the last check need not run, if nobody else changed anything."""
        if self.is_tampered or not self.last:
            return
        self.ran += len(passed)
        # Until it is cleaned, a file that is left over may be an item that is not in a clean run.
        in_vain = {key for key in passed if key in made and self.last.get(key) == made[key]}
        self.unneeded += len(in_vain)
        self.why += [f"{key}: {why.get(key)}" for key in sorted(in_vain)]

    def _compare_all(self) -> None:
        """All data of the project."""
        found: dict[str, object] = {}
        wanted = {}
        for (name, day), text in expected(self.history, self.state).items():
            wanted[f"{name}/{day}"] = text
        for tool in self.history.tools:
            if tool.is_file:
                for path in (self.root / tool.name).glob("*.txt"):
                    found[f"{tool.name}/{path.stem}"] = path.read_text()
        for table in sorted({one.writes for one in self.history.tools if not one.is_file}):
            if self._has_table(table):
                for maker, day, x in self._rows(f"SELECT maker, day, x FROM {table}"):
                    found[f"{maker}/{day}"] = x if f"{maker}/{day}" not in found else "twice"
        if found != wanted:
            keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
            told = {key: (found.get(key), wanted.get(key)) for key in keys}
            raise Wrong("not as from scratch", f"(found, expected) {told}")


def play(history: History, server: ForkServer) -> tuple[Wrong | None, Play]:
    """What orch did wrong in this history. Raises IllFormed."""
    with tempfile.TemporaryDirectory(prefix="orch-items-") as folder:
        one = Play(history, server, Path(folder).resolve())
        try:
            one.go()
        except Wrong as error:
            return error, one
    return None, one


def first_failure(histories: Iterable[tuple[int, History]], server: ForkServer) -> str:
    """What went wrong in the first history that fails, with the smallest one that was found; "" for nothing."""
    for seed, history in histories:
        told, _ = play(history, server)
        if told is not None:
            small, told = shrink(history, told, smaller, lambda one: play(one, server)[0])
            state = State(raw=dict.fromkeys(small.days, "0"))
            return f"seed {seed}: {describe(told, user_files(small, state), small.steps)}"
    return ""
