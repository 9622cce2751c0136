"""Carries out random histories of traced pipelines beside a program that reads everything, and compares.

After `orch run --changed` all outputs must be, byte for byte, what a copy of the project without memory and outputs makes
of it; then nothing is stale and nothing runs. No tool is ever said to use a file that its code does not name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import foreign_program
from tests.support.fork_server import ForkServer
from tests.support.project_builder import Answer, clean_environment, write_files
from tests.support.promises import Wrong, shrink
from tests.support.remembered import files_used
from tests.support.traced_histories import History, Step, change, random_history, smaller, story
from tests.support.traced_worlds import READS, WRITES, State, Tool, tool_text, user_files


class Foreign:
    """The other program, which reads everything in the project from the beginning to the end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def begin_to_write(self, path: Path, text: str, at: int) -> None:
        assert self._process.stdin is not None
        order = [str(path), text, at, at % 2 == 0]
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def wait_until_written(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == b"written\n", line


@contextmanager
def foreign_readers(root: Path, seed: int) -> Iterator[Foreign]:
    with subprocess.Popen(
        [sys.executable, "-IS", foreign_program.__file__, str(root), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
    ) as process:
        try:
            yield Foreign(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@dataclass
class Play:
    """One history, carried out in a folder of its own. `program` is what the tools of C start."""

    history: History
    server: ForkServer
    folder: Path
    program: Path
    seed: int = 0
    state: State = field(default_factory=State)
    scratch: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "project"

    def go(self) -> None:
        (self.root / "bin").mkdir(parents=True)
        shutil.copy(self.program, self.root / "bin/step")
        self._write()
        with foreign_readers(self.root, self.seed) as foreign:
            self._run("run", "--jobs", str(self.history.first_jobs))
            for number, step in enumerate(self.history.steps):
                try:
                    self._do(step, foreign)
                except Wrong as error:
                    error.add_note(f"after step {number + 1} ({step.kind} {step.name})")
                    raise

    def _do(self, step: Step, foreign: Foreign) -> None:
        jobs = str(step.jobs)
        if step.kind == "run":  # it may fail, where what it reads was removed
            self._run("run", step.name, "--jobs", jobs, codes=(0, 1))
        elif step.kind == "check":
            self._run("run", "--changed", "--jobs", jobs)
            self._check(jobs)
        elif step.kind == "foreign":
            change(self.state, step)
            text = user_files(self.history.world, self.state)[step.name]
            self._run(  # it may fail, where it reads what is half written
                "run", "--changed", "--jobs", jobs, codes=(0, 1),
                meanwhile=lambda _: foreign.begin_to_write(self.root / step.name, text, step.at),
            )  # fmt: skip
            foreign.wait_until_written()
            self._run("run", "--changed", "--jobs", jobs)
            self._check(jobs)
        elif step.kind in ("edit", "comment", "toggle"):
            change(self.state, step)
            self._write()
        else:
            self._spoil(step)

    def _write(self) -> None:
        """Write the user's files, if they differ."""
        files = user_files(self.history.world, self.state)
        differ = {
            name: text
            for name, text in files.items()
            if name.endswith("/") or _read(self.root / name) != text.encode()
        }
        write_files(self.root, differ)
        for name in self.state.absent:
            (self.root / name).unlink(missing_ok=True)

    def _spoil(self, step: Step) -> None:
        """What a user does to a file by hand."""
        path = self.root / step.name
        if not path.exists():
            return
        if step.kind == "append":
            with path.open("ab") as file:
                file.write(b"by hand\n")
        elif step.kind == "same size":
            before = path.stat()
            content = path.read_bytes()
            path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif step.kind == "remove":
            path.unlink()
        elif step.kind == "touch":
            os.utime(path)
        elif step.kind == "rewrite":
            content = path.read_bytes()
            path.with_suffix(".new").write_bytes(content)
            os.replace(path.with_suffix(".new"), path)

    def _run(
        self,
        *words: str,
        codes: tuple[int, ...] = (0,),
        meanwhile: Callable[[int], None] | None = None,
    ) -> list[str]:
        """The tools that ran."""
        answer = self.server.run(self.root, *words, "--json", meanwhile=meanwhile)
        if answer.code not in codes:
            errors = [event["error"] for event in answer.events if event.get("error")]
            told = [one["text"] for one in answer.events if one["event"] == "tool_output"]
            raise Wrong(
                f"orch {' '.join(words[:2])}: exit {answer.code}", f"{errors} {told} {answer.err}"
            )
        return [event["name"] for event in answer.events if event["event"] == "tool_started"]

    # What must be true.

    def _check(self, jobs: str) -> None:
        found, expected = _outputs(self.root), self._from_scratch()
        if found != expected:
            names = [
                name for name in {**found, **expected} if found.get(name) != expected.get(name)
            ]
            told = {name: (found.get(name), expected.get(name)) for name in names}
            raise Wrong("not as from scratch", f"(found, expected) {told}")
        tools = self._status()
        stale = {one["name"]: one["reasons"] for one in tools if one["state"] != "fresh"}
        if stale:
            raise Wrong("stale after run --changed", stale)
        ran = self._run("run", "--changed", "--jobs", jobs)
        if ran:
            raise Wrong("a second run --changed ran", ran)
        code = self.server.run(self.root, "status", "--exit-code").code
        if code:
            raise Wrong("status --exit-code", code)
        for tool in self.history.world.tools:
            (told,) = (one for one in tools if one["name"] == tool.name)
            _expect_own_uses(tool, told)

    def _status(self) -> list[dict[str, Any]]:
        answer: Answer = self.server.run(self.root, "status", "--json")
        if answer.code:
            raise Wrong("status failed", answer.text)
        tools: list[dict[str, Any]] = answer.json["tools"]
        return tools

    def _from_scratch(self) -> dict[str, bytes]:
        key = self.state.key()
        if key not in self.scratch:
            root = Path(tempfile.mkdtemp(dir=self.folder), "project")
            (root / "bin").mkdir(parents=True)
            shutil.copy(self.program, root / "bin/step")
            write_files(root, user_files(self.history.world, self.state))
            answer = self.server.run(root, "run")
            assert answer.code == 0, f"the world is ill-formed: {answer.text}"
            self.scratch[key] = _outputs(root)
            shutil.rmtree(root.parent)
        return self.scratch[key]


def _expect_own_uses(tool: Tool, told: dict[str, Any]) -> None:
    writes = {*tool.paths(WRITES)}
    reads = {*tool.paths(READS)} | writes
    for how, own in (("reads", reads), ("writes", writes)):
        folders = tuple(f"{path}/" for path in own)
        for path in files_used(told, how):
            is_data = path.startswith(("raw/", "out/", "notes/", "tmp"))
            if is_data and path not in own and not path.startswith(folders):
                raise Wrong("a use of another's file", f"{tool.name} {how} {path}")
    folders = tuple(f"{path}/" for path in tool.paths(("list",)))
    for path in (*told["lists"], *told["looks_for"]):
        is_own = path in reads or path.startswith(folders)
        if path.startswith(("notes", "raw")) and not is_own:
            raise Wrong("a use of another's file", f"{tool.name} lists or looks for {path}")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _outputs(root: Path) -> dict[str, bytes]:
    """All that is in the project but logs and what belongs to the user or to orch."""
    own = ("raw", "src", "notes", "bin", ".orch")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.relative_to(root).parts[0] not in own
        and path.suffix not in (".log", ".toml", ".db")
    }


def compile_program(folder: Path, source: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "step.c").write_text(source)
    subprocess.run(["gcc", "-O1", "-w", folder / "step.c", "-o", folder / "step"], check=True)
    return folder / "step"


# ---- running many, and shrinking what fails ----


def failure(history: History, server: ForkServer, program: Path, seed: int) -> Wrong | None:
    """What orch did wrong in this history."""
    with tempfile.TemporaryDirectory(prefix="orch-traced-") as folder:
        try:
            Play(history, server, Path(folder), program, seed).go()
        except Wrong as error:
            return error
    return None


def first_failure(
    seeds: Iterable[int],
    server: ForkServer,
    program: Path,
    make: Callable[[int], History] = random_history,
) -> str:
    """What went wrong with the first seed that fails, with the smallest history found; "" for nothing."""
    for seed in seeds:
        history = make(seed)
        told = failure(history, server, program, seed)
        if told is not None:
            history, told = shrink(
                history, told, smaller, partial(failure, server=server, program=program, seed=seed)
            )
            tools = "\n".join(
                f"--- src/{tool.name}.py\n{tool_text(tool, 0, 0)}" for tool in history.world.tools
            )
            return f"seed {seed}: {told.describe()}\n\n{story(history)}\n\n{tools}\n{history}"
    return ""
