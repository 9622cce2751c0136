"""Carries out one attempt of a step where it really runs, under the same supervision as on orch's own machine.

orch sends a `Start` and `Control`s, and gets `Said`s, whatever carries them: one JSON line each. Nothing is pickled
and nothing is evaluated. No message has a password of a database.

`carry_out` gets a `Start` and says all that happens, as the executor of this machine does. It does not know how its
words travel.

`python -m discover_orch.execution.executors.far_side MARK` is what a command prefix runs, on whatever machine. It
carries out one attempt and talks with orch on its own pipes. It first says `MARK` and its installation, then reads a
`Start`. Each of its lines begins with the mark, so that noise of the prefix is recognised. Its exit code is 0 if the
tool passed, 1 if it failed, 128 + N after signal N, and 2 if it could not start.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, Thread
from types import FrameType
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.env_file import read_env_file
from discover_orch.config.file import build_project, find_root, read_config_bytes
from discover_orch.execution.executors import Word
from discover_orch.execution.executors.local import LocalExecutor
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import masked_url
from discover_orch.model.digest import content_hash
from discover_orch.model.errors import OrchError
from discover_orch.model.json_text import decode
from discover_orch.model.run_events import Event, ToolFinished, WorkerSaid
from discover_orch.state.process import read_boot
from discover_orch.worker.protocol import (
    Prepare,
    RunStep,
    build_decoder,
    encode_line,
    has_loose_metrics,
)

Far = TypeVar("Far", "Start", "Control", "Said")


class Installation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must be equal on both sides: versions as text. `host` is as the machine calls itself, for messages."""

    version: str
    python: str
    host: str = ""
    pid: int = 0


class Start(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Carry out one attempt of a step.

    `run` and `attempt` are unique, also among runs of other projects. `near` is orch's own installation. `sources`
    are the files of the tool's code: path relative to the root → hash of the bytes. With `resolves_database`, the
    URL in `prepare` has no password: the far side uses its own, from its configuration or `DATABASE_URL`. `folder` is
    the `folder_identity` of the root.
    """

    run: str
    attempt: str
    near: Installation
    prepare: Prepare
    order: RunStep
    sources: Mapping[str, str] = field(default_factory=dict)
    takes_connection: bool = False
    resolves_database: bool = False
    folder: str = ""


class Control(Struct, frozen=True, kw_only=True, tag=True):
    """What is to happen to the worker of this attempt."""

    attempt: str
    word: Word


class Refused(Event, frozen=True, kw_only=True, tag=True):
    """The tool did not start and will not, for the reason that the sentence says."""

    message: str
    hint: str = ""


class Lost(Event, frozen=True, kw_only=True, tag=True):
    """Nothing more will be heard of the attempt, which may have started; `sentence` follows the name of the tool."""

    sentence: str


class Ended(Event, frozen=True, kw_only=True, tag=True):
    """All of this attempt has been said."""


FarEvent = Refused | Lost | Ended | WorkerSaid


class Said(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Events of an attempt, in order. `by` is the process."""

    attempt: str
    events: tuple[FarEvent, ...]
    by: str = ""


def is_last(event: FarEvent) -> bool:
    """Whether nothing of an attempt comes after it."""
    return isinstance(event, Ended | Lost | Refused)


def installation() -> Installation:
    """That of this process."""
    return Installation(
        version=__version__,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        host=platform.node(),
        pid=os.getpid(),
    )


def folder_identity(path: str) -> str:
    """What tells a folder from another of the same path, on another machine or as a copy in a container. Two machines
    can have the same name, and their Linux kernels have chosen other ids when they started."""
    found = os.stat(path)
    return f"{read_boot() or platform.node()}:{found.st_dev}:{found.st_ino}"


def find_difference(near: Installation, far: Installation) -> str:
    """A sentence on the versions that differ, or ""."""
    if near.version != far.version:
        return f"discover-orch is {far.version} on {far.host} and {near.version} here"
    if near.python != far.python:
        return f"Python is {far.python} on {far.host} and {near.python} here"
    return ""


def encode_said(said: Said) -> bytes:
    return encode_line(said, is_loose=any(map(has_loose_metrics, said.events)))


def decode_far(line: bytes, kind: type[Far]) -> Far:
    """What `encode_line` or `encode_said` wrote; ValueError for any other line."""
    found: Far = decode(line, build_decoder(kind))
    return found


# Carrying out.

GONE: Literal["gone"] = "gone"  # orch is not there any more: nothing needs to be said
Heard = Word | Literal["gone"]

Send = Callable[[Sequence[FarEvent]], None]


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


def carry_out(
    start: Start,
    controls: Mailbox[Heard],
    send: Send,
    *,
    owns_process: bool = False,
) -> None:
    """Returns when the step has ended and everything about it is said. `controls` are words of `Control`, or `GONE`.
    `owns_process`: this process has no other children, so it may adopt and end what a tool leaves behind."""
    try:
        prepare = prepare_here(start)
        worker = Supervisor.start(adopts_orphans=owns_process)
    except Refusal as error:
        send([Refused(message=error.message, hint=error.hint)])
        return
    except OSError as error:
        send([Refused(message=f"its worker process cannot be started: {error}")])
        return
    executor = LocalExecutor(prepare, worker, has_terminal=False)
    executor.submit_order(start.order)
    is_finishing = False
    while not executor.is_over:
        if executor.is_idle and not is_finishing:
            is_finishing = True
            executor.finish()
        said = [*executor.events(math.inf, controls.wake)]
        for word in controls.drain():
            executor.control("kill" if word == GONE else word)
        if said:
            send(said)


class Refusal(Exception):
    """Why a step must not start here."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def prepare_here(start: Start) -> Prepare:
    """How to prepare the worker. Raises Refusal."""
    far, near, prepare = installation(), start.near, start.prepare
    if difference := find_difference(near, far):
        raise Refusal(difference, "install the same versions on both")
    root = prepare.root
    if not os.path.isdir(root):
        hint = "make it available there under the same path, for example on a shared file system"
        raise Refusal(f"the project's folder {root} does not exist on {far.host}", hint)
    for path, known in start.sources.items():
        if _hash_file(os.path.join(root, path)) != known:
            message = f"{path} is not the same on {far.host} as here"
            raise Refusal(message, "bring the project there up to date")
    try:
        found = find_root(root, root)
        config = read_config_bytes(root, found[1])
        variables = {**os.environ, **read_env_file(found, config, os.environ)}
    except OrchError as error:
        (problem, *_) = error.problems
        raise Refusal(f"{problem.message} on {far.host}", problem.hint) from None
    if variables != os.environ:
        prepare = replace(prepare, environment=variables)
    if start.resolves_database:
        url = ""
        with contextlib.suppress(OrchError):  # a database that is not configured there
            url = build_project(found, config, variables)[0].database
        if masked_url(url) != masked_url(prepare.database):
            raise Refusal(
                f"the database is {masked_url(url)} on {far.host}, and {prepare.database} here",
                "passwords are never sent: set DATABASE_URL there, or use get_connection()",
            )
        prepare = replace(prepare, database=url)
    if start.folder not in ("", folder_identity(root)):
        prepare = replace(prepare, is_remote=True)
    is_file = prepare.database.startswith(("sqlite:", "duckdb:")) and not prepare.has_connection
    if prepare.is_remote and start.takes_connection and is_file:
        where = f"has another folder at {root}" if far.host == near.host else f"is on {far.host}"
        raise Refusal(
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
#: Seconds within which a signal that comes again is the same: `timeout` sends it to its child and to the whole group.
SAME_SIGNAL = 0.5


class OneTool:
    """The talk about one attempt on stdin and stdout."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._controls = Mailbox[Heard]()
        self._attempt = ""
        self._code = 2
        self._signal = 0
        self._signal_at = 0.0
        # What else is written to stdout, as by libraries, must not come between the lines.
        self._out = os.dup(1)
        os.dup2(2, 1)

    def run(self) -> int:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        self._write(msgspec.json.encode(installation()) + b"\n")
        lines = sys.stdin.buffer
        first = lines.readline()
        if not first:
            message = "its standard input is closed, so it gets no orders"
            self._say(
                [Refused(message=message, hint="docker run needs -i, and ssh must not get -n")]
            )
            return self._code
        try:
            start = decode_far(first, Start)
        except ValueError as error:
            self._say([Refused(message=f"the order is not readable there: {error}")])
            return self._code
        self._attempt = start.attempt
        Thread(target=self._listen, daemon=True).start()
        if self._signal:
            self._controls.put("interrupt")
        carry_out(start, self._controls, self._say, owns_process=True)
        self._say([Ended()])
        return 128 + self._signal if self._signal else self._code

    def _listen(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are for the main thread
        for line in sys.stdin.buffer:
            with contextlib.suppress(ValueError):
                self._controls.put(decode_far(line, Control).word)
        self._controls.put(GONE)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        is_same = number == self._signal and now - self._signal_at < SAME_SIGNAL
        if not is_same:
            self._controls.put("kill" if self._signal else "interrupt")
            self._signal, self._signal_at = number, now

    def _say(self, events: Sequence[FarEvent]) -> None:
        for event in events:
            if isinstance(event, ToolFinished):
                self._code = 0 if event.status == "passed" else 1
        self._write(encode_said(Said(attempt=self._attempt, events=tuple(events))))

    def _write(self, line: bytes) -> None:
        rest = b"\n" + self._mark + line  # noise before may lack its newline
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except OSError:
            self._controls.put(GONE)


if __name__ == "__main__":
    code = OneTool(sys.argv[1]).run()
    sys.stdout.flush()
    os._exit(code)  # the thread may be reading stdin
