"""The processes of `@observer` functions, from the start of a run or a watch to its end. Imported if there are any.

A run does not wait for them: documents go through a pipe that does not block, and what it does not take is kept here,
within a limit. What an observer prints, and how it fails, become notes of the run that are not recorded.
"""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import to_builtins

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.execution.event_documents import Note, ToolOutput, build_event
from discover_orch.execution.event_masking import Masking
from discover_orch.execution.run_events import Event, Report, RunStarted
from discover_orch.execution.runner import RunRequests
from discover_orch.execution.supervisor import OWN_CHILDREN, read_status
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.database_url import url_secrets
from discover_orch.model.encoding import decode
from discover_orch.model.errors import Failure, Location, Problem, Severity
from discover_orch.model.tool_events import RunNote
from discover_orch.source.facts import ObserverFacts
from discover_orch.staleness.environment import secret_variables
from discover_orch.worker.child_processes import kill_group
from discover_orch.worker.protocol import TIME_TO_END, Observe, encode_line
from discover_orch.worker.spawn import (
    MESSAGES_FD,
    ORDERS_FD,
    PIPE_SIZE,
    STOPPED,
    PipeEnds,
    find_start_code,
)
from discover_orch.worker.tracebacks import describe_exit

#: Bytes that wait for an observer that reads slowly. Of the output of tools, fewer.
MOST_UNSENT, MOST_OUTPUT = 8 << 20, 1 << 20
#: Seconds after the end of a run until it is said what is waited for, and between two looks at what is.
QUIET_TIME, POLL_INTERVAL = 1.0, 0.05


class Observers:
    """The observers of one run, or of a watch: `follow` starts them, `note_event` and `send` give each a document, and
    `close` ends them. What comes back are notes to show."""

    def __init__(self) -> None:
        self._processes: list[_ObserverProcess] = []
        self._followed: tuple[bytes, tuple[ObserverFacts, ...]] | None = None
        self._report = Report()

    def follow(self, registry: Registry, project: Project) -> Iterator[RunNote]:
        """Starts the observers of `orchconf.py`. If its text has changed since the last call, those of the old text
        end."""
        path = os.path.join(project.root, CONF_FILE)
        try:
            with open(path, "rb") as file:
                source = file.read()
        except OSError:
            source = b""
        found = registry.conf.observers if registry.conf is not None else ()
        if (source, found) == self._followed:
            return
        self._followed = source, found
        for old in self._processes:
            old.end()
        for one in found:
            if one.problem:
                continue
            try:
                self._processes.append(_ObserverProcess(one, path, project))
            except OSError as error:
                message = f"observer {one.name} could not be started: {error}"
                yield _note(message, Location(path=CONF_FILE, line=one.line))

    def note_event(self, event: Event, names: Mapping[str, str]) -> list[RunNote]:
        """Gives them an event of a run, whose secrets are masked. `names` are those of the tools, by module."""
        if isinstance(event, RunStarted):
            self._report = Report()
        self._report.add(event)
        shown = build_event(event, names, self._report)
        return self.send(None if isinstance(shown, Note) else shown)

    def send(self, shown: object) -> list[RunNote]:
        """With None, only what is left is written, and what has come is read."""
        line, most = b"", MOST_UNSENT
        if shown is not None:
            line = json.dumps(to_builtins(shown)).encode() + b"\n"
            most = MOST_OUTPUT if isinstance(shown, ToolOutput) else MOST_UNSENT
        notes = [note for one in self._processes for note in one.update(line, most)]
        self._processes = [one for one in self._processes if not one.is_over]
        return notes

    def close(self, requests: RunRequests) -> Iterator[RunNote]:
        """The documents end. Waits for the observers, at most their time; an interrupt kills them."""
        for one in self._processes:
            one.end()
        yield from self.send(None)
        says_at = time.monotonic() + QUIET_TIME
        while self._processes:
            _wait([requests.wake, *(fd for one in self._processes for fd in one.filenos())])
            for request in requests.drain():
                if request == "suspend":
                    requests.pause()
                for one in self._processes if request in ("interrupt", "kill") else ():
                    one.kill("was interrupted")
            yield from self.send(None)
            if self._processes and time.monotonic() > says_at:
                says_at = math.inf
                names = ", ".join(one.name for one in self._processes)
                message = f"waiting up to {TIME_TO_END:g} s for {names} to end; Ctrl-C stops this"
                yield _note(message, None, severity="note")


class _ObserverProcess:
    """The process of one observer. `update` does all that is due, and never blocks."""

    def __init__(self, facts: ObserverFacts, path: str, project: Project) -> None:
        """Starts it; `path` is that of `orchconf.py`. Raises OSError."""
        self.name, self.is_over = facts.name, False
        self._place = Location(path=CONF_FILE, line=facts.line)
        secrets = secret_variables(os.environ, project.root)
        self._masking = Masking([*url_secrets(project.database), *secrets])
        order = Observe(
            root=project.root,
            pythonpath=project.absolute_pythonpath,
            orchconf=path,
            name=facts.name,
            parent=os.getpid(),
        )
        self._unsent = bytearray(encode_line(order))
        self._has_dropped = False
        self._kill_at, self._kill_reason = math.inf, ""
        ends = PipeEnds()
        try:
            ends.give_null()
            self._printed = _Incoming(ends.pipe(1, reads=False, is_wide=True))
            self._failure = _Incoming(ends.pipe(MESSAGES_FD, reads=False))
            self._documents = ends.pipe(ORDERS_FD, reads=True, is_wide=True)
            self._pid = ends.spawn(find_start_code("observer_process"), default=STOPPED, mask=())
        except BaseException:
            ends.close()
            raise
        OWN_CHILDREN.add(self._pid)

    def filenos(self) -> list[int]:
        """Descriptors that are readable when `update` has something to read."""
        return [one.fd for one in (self._printed, self._failure) if one.fd >= 0]

    def end(self) -> None:
        """No more documents come."""
        self._kill_at = min(self._kill_at, time.monotonic() + TIME_TO_END)

    def kill(self, reason: str) -> None:
        self._kill_reason = self._kill_reason or reason
        kill_group(self._pid)

    def update(self, line: bytes, most: int) -> Iterator[RunNote]:
        """Sends the line, unless `most` bytes wait already."""
        is_open = self._documents >= 0 and self._kill_at == math.inf
        if is_open and len(self._unsent) + len(line) <= most:
            self._unsent += line
        elif is_open and line and not self._has_dropped:
            self._has_dropped = True
            yield self._warn("reads slowly and does not get all events")
        self._write()
        yield from self._read()
        if time.monotonic() >= self._kill_at:
            self.kill(f"did not end within {TIME_TO_END:g} s after the last event and was killed")
        status = read_status(self._pid, reap=True)
        if status is not None:
            yield from self._finish(status)

    def _write(self) -> None:
        if self._documents < 0:
            return
        try:
            while self._unsent:
                del self._unsent[: os.write(self._documents, self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._close_documents()
        if self._kill_at < math.inf:
            self._close_documents()

    def _close_documents(self) -> None:
        if self._documents >= 0:
            os.close(self._documents)
        self._documents = -1

    def _read(self, *, is_last: bool = False) -> Iterator[RunNote]:
        self._failure.read()
        self._printed.read()
        *lines, rest = self._printed.data.split(b"\n")
        self._printed.data = rest
        for line in (*lines, rest) if is_last and rest else lines:
            text = line.decode("utf-8", "backslashreplace").rstrip("\r")
            yield self._masked(_note(f"{self.name}: {text}", None, severity="note"))

    def _finish(self, status: int) -> Iterator[RunNote]:
        self.is_over = True
        kill_group(self._pid)  # what it has started
        OWN_CHILDREN.discard(self._pid)
        yield from self._read(is_last=True)
        self._close_documents()
        self._printed.close()
        self._failure.close()
        if self._failure.data:
            yield self._describe(self._failure.data)
        elif self._kill_reason or status:
            yield self._warn(self._kill_reason or describe_exit(status)[0])

    def _describe(self, data: bytes) -> RunNote:
        """The exception that the function raised."""
        try:
            failure: Failure = decode(data, msgspec.json.Decoder(Failure))
        except (ValueError, RecursionError):  # the function wrote there, or its process was killed
            return self._warn("failed")
        said = failure.message
        if failure.kind == "exception":
            said = f"failed: {failure.type}: {said}" if said else f"failed: {failure.type}"
        note = self._warn(said, hint=failure.hint)
        if failure.path is None:
            return note
        place = Location(path=failure.path, line=failure.line)
        problem = note.problem.at(place)
        return self._masked(RunNote(problem=problem, traceback=failure.traceback))

    def _warn(self, what: str, hint: str = "") -> RunNote:
        return self._masked(_note(f"observer {self.name} {what}", self._place, hint=hint))

    def _masked(self, note: RunNote) -> RunNote:
        masked = self._masking.mask(note)
        assert isinstance(masked, RunNote)
        return masked


class _Incoming:
    """A pipe, and what has come from it."""

    def __init__(self, fd: int) -> None:
        self.fd, self.data = fd, b""

    def read(self) -> None:
        """Reads once: all that a pipe holds."""
        if self.fd < 0:
            return
        try:
            found = os.read(self.fd, PIPE_SIZE)
        except BlockingIOError:
            return
        self.data += found
        if not found:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def _wait(fds: list[int]) -> None:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    poll.poll(POLL_INTERVAL * 1000)


def _note(
    message: str, place: Location | None, *, severity: Severity = "warning", hint: str = ""
) -> RunNote:
    problem = Problem(code="observer", message=message, hint=hint, severity=severity)
    return RunNote(problem=problem.at(place))
