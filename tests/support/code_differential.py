"""Carries out random histories of code, and compares.

After `orch run --changed` the results are as a run from scratch makes them, and nothing is stale. A tool that ran and did
not have to is counted: its result is the same, and neither loaded code, headers of functions among it, nor a function that
ran in it means something else. What ran is found out by a profiler in a process of its own for each tool.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.code_worlds import History, State, Step, smaller, user_files
from tests.support.fork_server import ForkServer
from tests.support.project_builder import Answer, write_files
from tests.support.promises import IllFormed, Wrong, describe, shrink

#: Runs the tools of a project, each in a process of its own, and prints of each its result, and what ran in it.
ORACLE = """
import ast, importlib, json, os, sys
root, tools = sys.argv[1], sys.argv[2:]
os.chdir(root)
sys.path.insert(0, root)
sys.dont_write_bytecode = True
def functions(tree, prefix=""):
    for one in getattr(tree, "body", []) + getattr(tree, "orelse", []):
        if isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            if isinstance(one, ast.FunctionDef):
                yield prefix + one.name, one
            else:
                yield from functions(one, f"{prefix}{one.name}.")
        elif hasattr(one, "body"):
            yield from functions(one, prefix)
def strip(node):
    for one in ast.walk(node):
        body = getattr(one, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            one.body = body[1:]
    return node
def read(path):
    tree = strip(ast.parse(open(path).read()))
    found = {}
    for name, one in functions(tree):
        found[name] = found.get(name, "") + ast.dump(one)
    headers = {}
    for name, one in functions(tree):
        one.body = []
        headers[name] = headers.get(name, "") + ast.dump(one)
    tree.body = [one for one in tree.body if not isinstance(one, ast.FunctionDef) or one.decorator_list]
    return ast.dump(tree), found, headers
for tool in tools:
    if os.fork():
        os.wait()
        continue
    ran = set()
    def profile(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root):
            ran.add((code.co_filename[len(root) + 1:], code.co_qualname.partition(".<")[0]))
    sys.setprofile(profile)
    try:
        importlib.import_module(f"src.{tool}").run()
        result = open(f"out/{tool}.txt").read()
    except BaseException as error:
        result = repr(error)
    sys.setprofile(None)
    code, all_headers = {}, {}
    for path in sorted({path for path, _ in ran}):
        loaded, found, headers = read(path)
        all_headers[path] = headers
        code[path] = loaded
        for name in [name for of, name in ran if of == path and name in found]:
            code[f"{path} {name}"] = found[name]
    print(json.dumps([tool, result, code, all_headers]), flush=True)
    os._exit(0)
"""


@dataclass
class Play:
    history: History
    server: ForkServer
    folder: Path
    state: State = field(default_factory=State)
    ran: int = 0  # of the tools that only use ordinary modules
    unneeded: int = 0
    why: list[str] = field(default_factory=list)  # each of these ran
    #: Of each tool what it would have done at its last run.
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.folder / "project"

    def go(self) -> None:
        self._write()
        if self._orch("run").code:
            raise IllFormed
        self.last = self._from_scratch()
        self.last_steps: list[str] = []
        for number, step in enumerate(self.history.steps):
            try:
                self._do(step)
            except Wrong as error:
                error.add_note(f"after step {number + 1} ({step.kind})")
                raise

    def _do(self, step: Step) -> None:
        if step.kind not in ("check", "run"):
            self.state.add(step)
            return
        self._write()
        expected = self._from_scratch()
        if step.kind == "run":
            self._orch("run", step.name)
            self.last[step.name] = expected[step.name]
            return
        reasons = self._stale()
        answer = self._orch("run", "--changed", "--json", *filter(None, [step.name]))
        if answer.code:
            raise Wrong("run --changed failed", answer.text)
        passed = {
            event["name"]
            for line in answer.text.splitlines()
            if line.startswith("{")
            and (event := json.loads(line)).get("event") == "tool_finished"
            and event.get("status") == "passed"
        }
        found = {tool: (self.root / f"out/{tool}.txt").read_text() for tool in expected}
        wrong = {
            tool: (found[tool], one[0]) for tool, one in expected.items() if found[tool] != one[0]
        }
        if wrong:
            raise Wrong("not as from scratch", f"(found, expected) {wrong}; {sorted(passed)} ran")
        ordinary = {one.name for one in self.history.tools if self.history.is_ordinary(one)}
        self.ran += len(passed & ordinary)
        in_vain = {tool for tool in passed & ordinary if is_same(self.last[tool], expected[tool])}
        self.unneeded += len(in_vain)
        self.why += [f"{tool}: {reasons.get(tool)}" for tool in in_vain]
        for tool in passed:
            self.last[tool] = expected[tool]
        if stale := self._stale():
            raise Wrong("stale after run --changed", stale)

    def _write(self) -> None:
        write_project(self.root, self.history, self.state)

    def _orch(self, *words: str) -> Answer:
        return self.server.run(self.root, *words, env={})

    def _stale(self) -> dict[str, Any]:
        answer = self._orch("status", "--json")
        tools = answer.json["tools"]
        return {one["name"]: one["reasons"] for one in tools if one["state"] != "fresh"}

    def _from_scratch(self) -> dict[str, Any]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        write_project(folder, self.history, self.state)
        tools = [tool.name for tool in self.history.tools]
        done = subprocess.run(
            [sys.executable, "-c", ORACLE, str(folder), *tools],
            capture_output=True,
            text=True,
            check=True,
        )
        shutil.rmtree(folder)
        rows = map(json.loads, done.stdout.splitlines())
        numbers = {tool: self.state.of("data", tool) for tool in tools}
        found = {
            tool: [result, code, numbers[tool], headers] for tool, result, code, headers in rows
        }
        for tool in tools:
            if not found[tool][0].lstrip("-").isdigit():
                raise IllFormed(found[tool][0])
        return found


def is_same(then: Any, now: Any) -> bool:
    """Whether nothing that ran means something else. A header runs where its module is loaded, for its defaults and
    annotations; that of a function that was not there before has an effect only where the function is used."""
    *then, old = then
    *now, new = now
    changed = (
        old[path][name] != new.get(path, {}).get(name, old[path][name])
        for path in old
        for name in old[path]
    )
    return bool(then == now) and not any(changed)


def write_project(root: Path, history: History, state: State) -> None:
    """Writes what differs from what is there."""
    changed = {
        name: text
        for name, text in user_files(history, state).items()
        if not (root / name).exists() or (root / name).read_text() != text
    }
    root.mkdir(parents=True, exist_ok=True)
    write_files(root, changed)


def play(history: History, server: ForkServer) -> tuple[Wrong | None, int, int]:
    """What orch did wrong in this history, how many tools with ordinary modules ran after edits, and how many of them in
    vain. Raises IllFormed."""
    with tempfile.TemporaryDirectory(prefix="orch-code-") as folder:
        one = Play(history, server, Path(folder).resolve())
        try:
            one.go()
        except Wrong as error:
            return error, one.ran, one.unneeded
    return None, one.ran, one.unneeded


def play_all(histories: Iterable[tuple[int, History]], server: ForkServer) -> tuple[str, int, int]:
    """What went wrong in the first history that fails, with the smallest one that was found; "" for nothing. And how
    many tools ran, and how many in vain."""
    ran = unneeded = 0
    for seed, history in histories:
        try:
            told, more, vain = play(history, server)
        except IllFormed:
            continue
        ran, unneeded = ran + more, unneeded + vain
        if told is not None:
            small, told = shrink(history, told, smaller, lambda one: play(one, server)[0])
            shown = describe(told, user_files(small, State()), small.steps)
            return f"seed {seed}: {shown}", ran, unneeded
    return "", ran, unneeded
