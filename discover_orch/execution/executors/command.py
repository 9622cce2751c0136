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

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.config.settings import Command
from discover_orch.execution.executors.far_side import FromFar, decode_from_far
from discover_orch.execution.supervisor import Word, WorkerDied
from discover_orch.model.errors import UsageError
from discover_orch.worker.spawn import open_pid

READ_SIZE = 1 << 16
#: Seconds from the end of the messages until the command is asked to end, and until it is killed.
TIME_TO_END, TIME_TO_DIE = 5.0, 7.0
POLL_INTERVAL = 0.05  # seconds, if the system has no descriptor for the end of a process


class CommandSide:
    """One process of the command for each attempt."""

    def __init__(self, command: Command, python: Sequence[str], root: str, jobs: int) -> None:
        prefix = command.prefix
        self.is_remote, self.jobs = command.is_remote, jobs
        self.name = prefix[0] if prefix else "the command"
        self.shown = f"command: {shlex.join(prefix)}" if prefix else "command, without a prefix"
        self._words = [*prefix, *python, "-P", "-m", "discover_orch.execution.executors.far_side"]
        self._root = root
        self._open: list[_Process] = []

    def open(self, title: str) -> _Process:
        made = _Process(self._words, self.name, self._root)
        self._open = [*(one for one in self._open if not one.is_over), made]
        return made

    def close(self) -> None:
        for one in self._open:
            one.close()


class _Process:
    """The command, from its start to its end."""

    def __init__(self, words: Sequence[str], name: str, root: str) -> None:
        self.is_over = False
        self._words, self._name = words, name
        self._mark = f"\x1eorch:{os.urandom(12).hex()}:".encode()
        self._noise = self._unread = self._unsent = b""
        self._has_greeted = self._is_garbled = False
        self._ended_at: float | None = None  # the end of its messages
        self._signals = [(TIME_TO_END, signal.SIGTERM), (TIME_TO_DIE, signal.SIGKILL)]
        self._process = subprocess.Popen(
            [*words, self._mark.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            start_new_session=True,  # Ctrl-C is for orch, which passes it on
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
        self._pidfd = open_pid(self._process.pid)

    def send(self, line: bytes) -> None:
        """Writes what the pipe takes; the rest later."""
        self._unsent += line
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._in, self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # it has ended: its exit says how
            self._unsent = b""

    def stop(self, word: Word) -> None:
        self._signal(signal.SIGTERM if word == "interrupt" else signal.SIGKILL)

    def filenos(self) -> tuple[int, ...]:
        messages = () if self._ended_at is not None else (self._out,)
        return (*messages, *((self._pidfd,) if self._pidfd >= 0 else ()))

    def next_deadline(self, now: float) -> float:
        due = math.inf
        if self._ended_at is not None and self._signals:
            due = self._ended_at + self._signals[0][0]
        if self._unsent or self._pidfd < 0:
            due = min(due, now + POLL_INTERVAL)
        return due

    def drain(self) -> list[FromFar]:
        found: list[FromFar] = []
        self.send(b"")
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
                found += self._read_line(line)
        if code is None:
            self._hurry()
        else:
            found.append(self._tell_end(code))
            self.close()
        return found

    def _read_line(self, line: bytes) -> list[FromFar]:
        noise, mark, text = line.partition(self._mark)
        if noise and not self._has_greeted:
            self._noise = noise
        if not mark or not text.startswith(b"{"):  # the command may print its own arguments
            return []
        try:
            message = decode_from_far(text)
        except ValueError:
            self._is_garbled = True
            self._signal(signal.SIGKILL)
            return []
        self._has_greeted = True
        return [message]

    def _tell_end(self, code: int) -> WorkerDied:
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if self._is_garbled:
            ended = "garbled the output of the tool's worker"
        if self._has_greeted or self._is_garbled:
            return WorkerDied(sentence=f"{self._name} {ended}", cause="lost")
        noise = (self._noise or self._unread).decode("utf-8", "replace").strip()[-200:]
        printed = f", and printed: {noise}" if noise else ""
        return WorkerDied(
            sentence=f"{self._name} {ended} before the tool started{printed}",
            cause="refused",
            hint=f"try it with: {shlex.join(self._words)}",
        )

    def _hurry(self) -> None:
        waited = 0.0 if self._ended_at is None else time.monotonic() - self._ended_at
        while self._signals and waited >= self._signals[0][0]:
            self._signal(self._signals.pop(0)[1])

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Kills what is left of it, and closes its pipes."""
        if self.is_over:
            return
        self.is_over = True
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)


def open_command(project: Project, jobs: int) -> CommandSide:
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
    return CommandSide(project.command, python, root, jobs)
