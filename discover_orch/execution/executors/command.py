"""Runs each step behind a command prefix, such as `srun --mem=4G`, `ssh host` or `docker run -i image`.

The command runs `far_side` and is connected by its stdin and stdout. Its stderr is orch's. What it prints before
`far_side` greets, and lines without the mark, are noise; the last of it is shown if no greeting comes.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.execution.executors import Word
from discover_orch.execution.executors.far_side import (
    Control,
    Ended,
    FarEvent,
    Installation,
    Lost,
    Refused,
    Said,
    Start,
    decode_far,
    find_difference,
    is_last,
)
from discover_orch.model.errors import UsageError
from discover_orch.model.run_events import ToolDeclined, ToolStarted
from discover_orch.worker.protocol import encode_line
from discover_orch.worker.spawn import open_pid

READ_SIZE = 1 << 16
#: Seconds from the end of the messages until the command is asked to end, and until it is killed.
TIME_TO_END, TIME_TO_DIE = 5.0, 7.0
POLL_INTERVAL = 0.05  # seconds, if the system has no descriptor for the end of a process


class CommandSide:
    """One process of the command for each attempt."""

    def __init__(self, prefix: Sequence[str], python: Sequence[str], root: str) -> None:
        self.name = prefix[0] if prefix else "the command"
        self.shown = f"command: {shlex.join(prefix)}" if prefix else "command, without a prefix"
        self._words = [*prefix, *python, "-P", "-m", "discover_orch.execution.executors.far_side"]
        self._root = root
        self._attempts: list[_Attempt] = []

    def start(self, start: Start) -> _Attempt:
        made = _Attempt(start, self._words, self.name, self._root)
        self._attempts = [*(one for one in self._attempts if not one.is_over), made]
        return made

    def close(self) -> None:
        for one in self._attempts:
            one.forget()


class _Attempt:
    """One process, from its start to its end."""

    def __init__(self, start: Start, words: Sequence[str], name: str, root: str) -> None:
        self.is_over = False
        self._start, self._name = start, name
        self._mark = f"\x1eorch:{os.urandom(12).hex()}:".encode()
        self._noise = self._unread = b""
        self._has_greeted = self._has_started = self._has_said_all = self._is_stopped = False
        self._unsent = b""
        self._ended_at: float | None = None  # the end of its messages
        self._signals = [(TIME_TO_END, signal.SIGTERM), (TIME_TO_DIE, signal.SIGKILL)]
        self._error = ""
        self._pidfd = -1
        try:
            self._process = subprocess.Popen(
                [*words, self._mark.decode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=root,
                start_new_session=True,  # Ctrl-C is for orch, which passes it on
                bufsize=0,
            )
        except OSError as error:
            self._error = f"{name} cannot be started: {error.strerror or error}"
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
        self._pidfd = open_pid(self._process.pid)

    def control(self, word: Word) -> None:
        if self._error or self.is_over:
            return
        if self._has_greeted:
            self._write(encode_line(Control(attempt=self._start.attempt, word=word)))
        elif word in ("interrupt", "kill"):  # it may still be waiting in a queue
            self._is_stopped = True
            self._signal(signal.SIGTERM if word == "interrupt" else signal.SIGKILL)

    def filenos(self) -> tuple[int, ...]:
        if self._error or self.is_over:
            return ()
        messages = () if self._ended_at is not None else (self._out,)
        return (*messages, *((self._pidfd,) if self._pidfd >= 0 else ()))

    def next_deadline(self, now: float) -> float:
        due = math.inf
        if self.is_over:
            return due
        if self._error:
            return now
        if self._ended_at is not None and self._signals:
            due = self._ended_at + self._signals[0][0]
        if self._unsent or self._pidfd < 0:
            due = min(due, now + POLL_INTERVAL)
        return due

    def drain(self) -> list[FarEvent]:
        if self._error:
            self.is_over = True
            hint = 'check the prefix of the executor "command"'
            return [Refused(message=self._error, hint=hint)]
        found: list[FarEvent] = []
        if self._unsent:
            self._write(b"")
        code = self._process.poll()  # before the last of its words is read
        while self._ended_at is None:
            try:
                data = os.read(self._out, READ_SIZE)
            except BlockingIOError:
                break
            if not data:
                self._ended_at = time.monotonic()
                break
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._read_line(line, found)
        self._has_started |= any(isinstance(one, ToolStarted) for one in found)
        self._has_said_all |= any(map(is_last, found))
        if code is None and self._ended_at is not None:
            self._hurry()
        if code is not None:
            found += self._last_events(code)
            self.forget()
        return found

    def _read_line(self, line: bytes, found: list[FarEvent]) -> None:
        noise, mark, text = line.partition(self._mark)
        if noise and not self._has_greeted:
            self._noise = noise
        if not mark or not text.startswith(b"{"):  # the command may print its own arguments
            return
        try:
            if not self._has_greeted:
                far = msgspec.json.decode(text, type=Installation)
                if difference := find_difference(self._start.near, far):
                    hint = "install the same versions on both"
                    found.append(Refused(message=difference, hint=hint))
                    self._is_stopped = True
                    self._signal(signal.SIGTERM)
                elif not self._is_stopped:
                    self._write(encode_line(self._start))
                self._has_greeted = True
            else:
                found.extend(decode_far(text, Said).events)
        except (ValueError, msgspec.DecodeError):
            garbled = f"{self._name} garbled the output of the tool's worker"
            found.append(Lost(sentence=garbled) if self._has_greeted else Refused(message=garbled))
            self._signal(signal.SIGKILL)

    def _last_events(self, code: int) -> list[FarEvent]:
        """If the process has not said all, what its end means."""
        if self._has_said_all:
            return []
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if self._has_greeted and not self._is_stopped:
            when = "while the tool ran"
            if not self._has_started:
                when = "before it said whether the tool had started"
            return [Lost(sentence=f"{self._name} {ended} {when}")]
        if self._is_stopped:
            return [ToolDeclined(module=self._start.order.module), Ended()]
        noise = (self._noise or self._unread).decode("utf-8", "replace").strip()[-200:]
        said = f", and printed: {noise}" if noise else ""
        words = [str(one) for one in self._process.args]  # type: ignore[union-attr]
        hint = f"try it with: {shlex.join(words[:-1])}"
        return [Refused(message=f"{self._name} {ended} before the tool started{said}", hint=hint)]

    def _hurry(self) -> None:
        waited = time.monotonic() - (self._ended_at or 0.0)
        while self._signals and waited >= self._signals[0][0]:
            self._signal(self._signals.pop(0)[1])

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _write(self, data: bytes) -> None:
        """Writes what the pipe takes; the rest later."""
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._in, self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # it has ended: its exit says how
            self._unsent = b""

    def forget(self) -> None:
        """Kills what is left of it, and closes its pipes."""
        if self.is_over or self._error:
            self.is_over = True
            return
        self.is_over = True
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)


def open_command(project: Project) -> CommandSide:
    """That of `[tool.orch.command]`, run at the root. Raises UsageError if its program does not exist."""
    prefix, root = project.command.prefix, project.root
    python = project.command.python or (sys.executable,)
    program = (*prefix, *python)[0]
    place = os.path.join(root, program) if os.path.dirname(program) else program
    if shutil.which(place) is None:
        setting = "prefix" if prefix else "python"
        message = f"the command {program} does not exist or cannot be executed"
        hint = f"correct {setting} in {name_table(project, 'command')}, or install {program}"
        raise UsageError.of("executor", message, hint)
    return CommandSide(prefix, python, root)
