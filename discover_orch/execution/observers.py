"""The processes of the `@observer` functions during one run. Imported only if there are any.

The run does not wait for them: documents go through a pipe that does not block, and what it does not take is kept,
within a limit. What an observer prints, and how it fails, are notes that are shown and not recorded.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.execution.event_documents import Note, ToolOutput, build_event
from discover_orch.execution.run_events import Event, StepsAdded
from discover_orch.execution.runner import RunRequests
from discover_orch.execution.supervisor import OWN_CHILDREN
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.encoding import decode
from discover_orch.model.errors import Failure, Location, Problem, Severity
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import RunNote
from discover_orch.source.facts import ObserverFacts
from discover_orch.worker.child_processes import kill_group
from discover_orch.worker.protocol import OBSERVER_FAILED, TIME_TO_END
from discover_orch.worker.spawn import PIPE_SIZE, find_start_code

#: Bytes that wait for an observer that reads slowly. Of the output of tools, fewer.
MOST_UNSENT, MOST_OUTPUT = 8 << 20, 1 << 20
#: Seconds after the end of a run until it is said what is waited for, and between two looks at what is.
QUIET_TIME, POLL_INTERVAL = 3.0, 0.01


class Observers:
    """The observers of one run. Each gets all documents of `--json` that follow from `note`, and then `end`s."""

    def __init__(
        self, found: Sequence[ObserverFacts], project: Project, tools: Mapping[str, Tool]
    ) -> None:
        """Starts them. `tools` are those of the run, by module."""
        self._tools = {**tools}
        self._processes: list[_Process] = []
        self._unsaid: list[RunNote] = []
        for one in found:
            try:
                self._processes.append(_Process(one, project))
            except OSError as error:
                self._unsaid.append(_note(f"observer {one.name} could not be started: {error}"))

    def note(self, event: Event) -> list[RunNote]:
        """Gives them an event, whose secrets are masked. Returns what they have said since the last one."""
        if isinstance(event, StepsAdded):
            self._tools.update(event.plan.tools)
        shown = build_event(event, self._tools)
        if shown is None or isinstance(shown, Note):
            return self._update()
        line = json.dumps(msgspec.to_builtins(shown)).encode() + b"\n"
        is_output = isinstance(shown, ToolOutput)
        return self._update(line, MOST_OUTPUT if is_output else MOST_UNSENT)

    def end(self, requests: RunRequests) -> Iterator[RunNote]:
        """Waits until they have ended, at most their time. An interrupt kills them."""
        for one in self._processes:
            one.end()
        yield from self._update()
        says_at = time.monotonic() + QUIET_TIME
        poll = select.poll()
        poll.register(requests.wake, select.POLLIN)
        while self._processes:
            poll.poll(POLL_INTERVAL * 1000)
            if {"interrupt", "kill"}.intersection(requests.drain()):
                for one in self._processes:
                    one.kill("was interrupted")
            yield from self._update()
            if self._processes and time.monotonic() > says_at:
                says_at = math.inf
                names = ", ".join(one.name for one in self._processes)
                message = f"waiting up to {TIME_TO_END:g} s for {names} to end; Ctrl-C stops this"
                yield _note(message, severity="note")

    def _update(self, line: bytes = b"", most: int = 0) -> list[RunNote]:
        notes, self._unsaid = self._unsaid, []
        for one in self._processes:
            notes += one.update(line, most)
        self._processes = [one for one in self._processes if not one.is_over]
        return notes


class _Process:
    """The process of one observer. `update` does all that is due, and never blocks."""

    def __init__(self, facts: ObserverFacts, project: Project) -> None:
        """Starts it. Raises OSError."""
        code = find_start_code("observer_process")
        words = [facts.name, str(os.getpid()), project.root, *project.absolute_pythonpath]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *words],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=project.root,
            process_group=0,
        )
        OWN_CHILDREN.add(self._process.pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._documents, self._output = self._process.stdin, self._process.stdout
        for pipe in (self._documents, self._output):
            os.set_blocking(pipe.fileno(), False)
        self.name, self.is_over = facts.name, False
        self._place = Location(path=CONF_FILE, line=facts.line)
        self._unsent, self._printed, self._failure = bytearray(), b"", b""
        self._is_slow = False
        self._kill_at, self._kill_reason = math.inf, ""

    def end(self) -> None:
        """No more documents come."""
        self._kill_at = min(self._kill_at, time.monotonic() + TIME_TO_END)

    def kill(self, reason: str) -> None:
        self._kill_reason = self._kill_reason or reason
        kill_group(self._process.pid)

    def update(self, line: bytes, most: int) -> Iterator[RunNote]:
        """Sends the line, unless `most` bytes wait already."""
        if len(self._unsent) + len(line) <= most:
            self._unsent += line
        elif line and not self._is_slow:
            self._is_slow = True
            yield self._warn("reads slowly and does not get all events")
        self._write()
        yield from self._read()
        if time.monotonic() >= self._kill_at:
            self.kill(f"did not end within {TIME_TO_END:g} s of the run and was killed")
        if self._process.poll() is not None:
            yield from self._finish()

    def _write(self) -> None:
        """What the pipe takes. It is closed when all is written and the run has ended, or if it is not read."""
        if self._documents.closed:
            return
        try:
            while self._unsent and (size := self._documents.write(self._unsent)):
                del self._unsent[:size]
        except BrokenPipeError:
            self._unsent.clear()
            self._documents.close()
        if not self._unsent and self._kill_at < math.inf:
            self._documents.close()

    def _read(self, end: bytes = b"") -> Iterator[RunNote]:
        """What it has printed, line by line, and how the function failed."""
        data = self._printed + (self._output.read(PIPE_SIZE) or b"") + end
        *lines, self._printed = data.split(b"\n")
        for line in lines:
            if line.startswith(OBSERVER_FAILED):
                self._failure = line.removeprefix(OBSERVER_FAILED)
            elif line.strip():
                text = line.decode("utf-8", "backslashreplace").rstrip()
                yield _note(f"{self.name}: {text}", severity="note")

    def _finish(self) -> Iterator[RunNote]:
        self.is_over = True
        kill_group(self._process.pid)  # what it has started
        OWN_CHILDREN.discard(self._process.pid)
        yield from self._read(end=b"\n")
        self._documents.close()
        self._output.close()
        code = self._process.returncode
        if self._failure:
            yield self._describe_failure()
        elif self._kill_reason:
            yield self._warn(self._kill_reason)
        elif code:
            yield self._warn(f"exited with {code}" if code > 0 else f"was ended by signal {-code}")

    def _describe_failure(self) -> RunNote:
        """The exception that the function raised."""
        try:
            failure: Failure = decode(self._failure, Failure)
        except (ValueError, RecursionError):  # the function has printed that itself
            return self._warn("failed")
        is_exception = failure.kind == "exception"
        said = f"failed: {failure.type}: {failure.message}" if is_exception else failure.message
        note = self._warn(said)
        if failure.path is None:
            return note
        place = Location(path=failure.path, line=failure.line)
        problem = replace(note.problem.at(place), hint=failure.hint)
        return RunNote(problem=problem, traceback=failure.traceback)

    def _warn(self, what: str) -> RunNote:
        return _note(f"observer {self.name} {what}", self._place)


def _note(
    message: str, place: Location | None = None, *, severity: Severity = "warning"
) -> RunNote:
    problem = Problem(code="observer", message=message, severity=severity)
    return RunNote(problem=problem.at(place))
