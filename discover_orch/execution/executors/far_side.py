"""Supervises the worker of one attempt where it really runs.

The far side says what it is (`Greeting`). orch answers with a `Start`, once for each attempt, then sends `Control`s,
and gets what the `Supervisor` gives. Each message is one JSON line. Nothing is pickled and nothing is evaluated. No
message has a password of a database.

`serve` is this talk. It does not know how its lines travel.

`python -m discover_orch.execution.executors.far_side MARK` is what a command prefix runs, on whatever machine: it
talks on its own pipes. Each of its lines begins with the mark, so that noise of the prefix is recognised. Its exit
code is 0 if the tool passed, 1 if it failed, 128 + N after signal N, and 2 if it could not start.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import select
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from types import FrameType
from typing import Generic, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.file import build_project, find_root, read_config_bytes, read_env_file
from discover_orch.execution.supervisor import Supervisor, Word, WorkerDied, WorkerEvent
from discover_orch.model.database_url import masked_url
from discover_orch.model.encoding import content_hash, decode
from discover_orch.model.errors import OrchError, UsageError
from discover_orch.model.tool_events import DebuggerOpened, ToolFinished
from discover_orch.state.lock import read_boot
from discover_orch.worker.protocol import (
    Finish,
    Prepare,
    RunStep,
    Terminal,
    encode_line,
)


class Start(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Carry out one attempt of a step.

    `host` is orch's own machine, as it calls itself. `sources` are the files of the tool's code: path relative to the
    root → hash of the bytes. With `resolves_database`, the URL in `prepare` has no password: the far side uses its
    own, from its configuration or `DATABASE_URL`. `folder` is the `folder_identity` of the root.
    """

    host: str
    prepare: Prepare
    order: RunStep
    sources: Mapping[str, str] = field(default_factory=dict)
    takes_connection: bool = False
    resolves_database: bool = False
    folder: str = ""


class Control(Struct, frozen=True, kw_only=True, tag=True):
    """What is to happen to the worker of this attempt."""

    word: Word


class Greeting(Struct, frozen=True, kw_only=True, tag=True, tag_field="event"):
    """The far side is ready for a `Start`. The versions must be those of orch's own side; `host` is for messages."""

    version: str
    python: str
    host: str

    def find_difference(self) -> str:
        """A sentence on the versions that are others than those of this process, or ""."""
        near = build_greeting()
        if self.version != near.version:
            return f"discover-orch is {self.version} on {self.host} and {near.version} here"
        if self.python != near.python:
            return f"Python is {self.python} on {self.host} and {near.python} here"
        return ""


#: The last is `WorkerDied` or `WorkerEnded`.
FromFar = Greeting | WorkerEvent


def build_greeting() -> Greeting:
    """That of this process."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Greeting(version=__version__, python=python, host=platform.node())


def folder_identity(path: str) -> str:
    """What tells a folder from another of the same path, on another machine or as a copy in a container. Two machines
    can have the same name, and their Linux kernels have chosen other ids when they started."""
    found = os.stat(path)
    return f"{read_boot() or platform.node()}:{found.st_dev}:{found.st_ino}"


def decode_from_far(line: bytes) -> FromFar:
    """A message of the far side; ValueError for any other line."""
    found: FromFar = decode(line, FromFar)
    return found


# Carrying out.

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """What one thread gets from others. `put` may be called from any thread; `wake` is readable when there is
    something new."""

    def __init__(self) -> None:
        self.wake, self._writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._writer, False)
        self._items: deque[Item] = deque()
        self._lock = Lock()
        self._is_closed = False

    def put(self, item: Item) -> None:
        with self._lock:
            if not self._is_closed:
                self._items.append(item)
                with contextlib.suppress(BlockingIOError):
                    os.write(self._writer, b"\0")

    def drain(self) -> list[Item]:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, 512):
                pass
        return [self._items.popleft() for _ in range(len(self._items))]

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self.wake)
            os.close(self._writer)


#: What is heard when orch is not there any more: the tool is ended, and nothing needs to be said.
GONE = encode_line(Control(word="kill"))


def serve(
    inbox: Mailbox[bytes],
    send: Callable[[FromFar], None],
    *,
    owns_process: bool = False,
    interval: float = math.inf,
    is_gone: Callable[[], bool] = lambda: False,
) -> None:
    """Greets and carries out the step of the `Start` that is the answer. Returns when it has ended and everything
    about it is said, or if there is no answer. `inbox` gets the lines of orch, or `GONE`, which `is_gone`, asked every
    `interval` seconds, says too. `owns_process`: this process has no other children, so it may adopt and end what a
    tool leaves behind."""

    def read() -> list[Start | Control]:
        found: list[Start | Control] = []
        for line in (*inbox.drain(), *((GONE,) if is_gone() else ())):
            # What cannot be read cannot be obeyed.
            with contextlib.suppress(ValueError):
                found.append(decode(line, Start | Control))
        return found

    send(build_greeting())
    while not (heard := read()):
        select.select([inbox.wake], [], [], None if interval == math.inf else interval)
    start, *heard = heard
    if not isinstance(start, Start):
        return
    try:
        prepare = prepare_here(start)
        worker = Supervisor.start(adopts_orphans=owns_process)
    except UsageError as error:
        (problem,) = error.problems
        send(refusal(problem.message, problem.hint))
        return
    except OSError as error:
        send(refusal(f"its worker process cannot be started: {error}"))
        return
    worker.send(prepare)
    worker.send(start.order)
    while not worker.is_over:
        for one in heard:
            if isinstance(one, Control):
                worker.control(one.word)
        for event in worker.events(interval, inbox.wake):
            if isinstance(event, DebuggerOpened):
                worker.send(Terminal(granted=False))
                continue
            if isinstance(event, ToolFinished) and not worker.is_over:
                worker.send(Finish())
            send(event)
        heard = read()


def refusal(sentence: str, hint: str = "") -> WorkerDied:
    return WorkerDied(sentence=sentence, cause="refused", hint=hint)


def prepare_here(start: Start) -> Prepare:
    """How to prepare the worker. Raises UsageError."""
    host, prepare = platform.node(), start.prepare
    root = prepare.root
    if not os.path.isdir(root):
        hint = "make it available there under the same path, for example on a shared file system"
        raise UsageError.of(
            "refused", f"the project's folder {root} does not exist on {host}", hint
        )
    for path, known in start.sources.items():
        if _hash_file(os.path.join(root, path)) != known:
            message = f"{path} is not the same on {host} as here"
            raise UsageError.of("refused", message, "bring the project there up to date")
    try:
        found = find_root(root, root)
        config = read_config_bytes(root, found[1])
        variables = {**os.environ, **read_env_file(found, config, os.environ)}
    except OrchError as error:
        (problem, *_) = error.problems
        raise UsageError.of("refused", f"{problem.message} on {host}", problem.hint) from None
    if variables != os.environ:
        prepare = replace(prepare, environment=variables)
    if start.resolves_database:
        url = ""
        with contextlib.suppress(OrchError):  # a database that is not configured there
            url = build_project(found, config, variables)[0].database
        if masked_url(url) != masked_url(prepare.database):
            raise UsageError.of(
                "refused",
                f"the database is {masked_url(url)} on {host}, and {prepare.database} here",
                "passwords are never sent: set DATABASE_URL there, or use get_connection()",
            )
        prepare = replace(prepare, database=url)
    if start.folder not in ("", folder_identity(root)):
        prepare = replace(prepare, is_remote=True)
    is_file = prepare.database.startswith(("sqlite:", "duckdb:")) and not prepare.has_connection
    if prepare.is_remote and start.takes_connection and is_file:
        where = f"has another folder at {root}" if host == start.host else f"is on {host}"
        raise UsageError.of(
            "refused",
            f"the database {prepare.database} is a local file, and the worker {where}",
            "use a database server such as PostgreSQL, or --executor local",
        )
    return prepare


def _hash_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return content_hash(file.read())
    except OSError:
        return ""


# Behind a command.

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OneTool:
    """The talk about one attempt on stdin and stdout."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._inbox = Mailbox[bytes]()
        self._code = 2
        self._has_answer = False  # orch has sent a line
        self._signal = 0
        # What else is written to stdout, as by libraries, must not come between the lines.
        self._out = os.dup(1)
        os.dup2(2, 1)

    def run(self) -> int:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        Thread(target=self._listen, daemon=True).start()
        serve(self._inbox, self._send, owns_process=True)
        if self._signal and self._code == 2:
            self._send(refusal(f"it was ended by signal {self._signal} before it started"))
        elif not self._has_answer:
            message = "its standard input is closed, so orch cannot send it anything"
            self._send(refusal(message, "docker run needs -i, and ssh must not get -n"))
        return 128 + self._signal if self._signal else self._code

    def _listen(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are for the main thread
        for line in sys.stdin.buffer:
            self._has_answer = True
            self._inbox.put(line)
        self._inbox.put(GONE)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Interrupts the tool, once: a worker that does not end then is killed soon."""
        if not self._signal:
            self._signal = number
            self._inbox.put(encode_line(Control(word="interrupt")))

    def _send(self, message: FromFar) -> None:
        if isinstance(message, ToolFinished):
            self._code = 0 if message.status == "passed" else 1
        elif isinstance(message, WorkerDied) and message.cause == "crash":
            self._code = 1
        rest = b"\n" + self._mark + encode_line(message)  # noise before may lack its newline
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except OSError:
            self._inbox.put(GONE)


if __name__ == "__main__":
    code = OneTool(sys.argv[1]).run()
    sys.stdout.flush()
    os._exit(code)  # the thread may be reading stdin
