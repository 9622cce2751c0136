"""Runs each step in a `concurrent.futures.Executor` of the user's, made by the factory `module:factory`.

The executor gets a few words; all else goes through a socket in a folder of this user, so its workers must
be on this machine.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import shutil
import socket
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future
from threading import Thread

from discover_orch.config.project import Project
from discover_orch.execution.executors.far_messages import (
    Control,
    Ended,
    FarEvent,
    Lost,
    Refused,
    Start,
    Word,
    decode_said,
    drain_events,
    encode_control,
    encode_start,
)
from discover_orch.execution.executors.futures_worker import run_attempt
from discover_orch.model.errors import Failure, Location, Problem, UsageError
from discover_orch.worker.child_processes import find_children, kill_all
from discover_orch.worker.protocol import Closed, Declined

READ_SIZE = 1 << 16
#: Seconds for the executor to end its threads and processes, which have nothing to do any more.
TIME_TO_CLOSE = 2.0


def open_futures(name: str, project: Project, *, is_guest: bool = False) -> FuturesSide:
    """`name` is `module:factory`. The processes of a guest are its program's and are left alone. Raises UsageError."""
    before = None if is_guest else find_children(os.getpid())
    return FuturesSide(name, _make_executor(name, project, is_guest=is_guest), before)


class FuturesSide:
    """One future for each attempt."""

    def __init__(self, name: str, executor: Executor, others: Collection[int] | None) -> None:
        """`others` are the child processes that are not the executor's; None if that is not known."""
        self.name = name
        self._others = others
        self._executor = executor
        self._folder = tempfile.mkdtemp(prefix="orch-")
        self._path = os.path.join(self._folder, "socket")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self._path)
        self._server.listen(64)
        self._server.setblocking(False)
        self._attempts: dict[str, _Attempt] = {}
        self._links: list[_Link] = []
        self._done: deque[tuple[str, str]] = deque()  # attempt, and what went wrong
        self._wake, self._wake_writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_writer, False)

    def start(self, start: Start) -> None:
        one = self._attempts[start.attempt] = _Attempt(start)
        try:
            future = self._executor.submit(
                run_attempt, self._path, start.attempt, os.getpid(), self._others is not None
            )
        except Exception as error:  # it is broken, or was shut down
            one.events.append(Refused(message=self._describe(error)))
            return
        one.future = future
        future.add_done_callback(lambda done: self._note_done(start.attempt, done))

    def control(self, attempt: str, word: Word) -> None:
        one = self._attempts.get(attempt)
        if one is None:
            return
        if one.link is not None:
            one.link.send(encode_control(Control(attempt=attempt, word=word)))
        elif word in ("interrupt", "kill") and not one.is_stopped:
            one.is_stopped = True
            one.decline()
            if one.future is not None:
                one.future.cancel()

    def drain(self, attempt: str) -> list[FarEvent]:
        self._read()
        return drain_events(self._attempts, attempt, self.forget)

    def forget(self, attempt: str) -> None:
        one = self._attempts.pop(attempt, None)
        if one is not None and one.link is not None:
            self._links.remove(one.link)
            one.link.close()

    def filenos(self) -> tuple[int, ...]:
        return (self._server.fileno(), self._wake, *(one.fileno() for one in self._links))

    def next_deadline(self, now: float) -> float:
        has_news = any(one.events for one in self._attempts.values())
        return now if has_news else math.inf

    def close(self) -> list[Closed]:
        for one in self._attempts.values():
            if one.future is not None:
                one.future.cancel()
        for link in self._links:
            link.close()
        self._links.clear()
        self._attempts.clear()
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        # The process of orch may end at once. What is left of the pool then would wait for ever.
        errors: list[Failure] = []
        closing = Thread(target=self._shut_down, args=(errors,), daemon=True)
        closing.start()
        closing.join(TIME_TO_CLOSE)
        closed = Closed(errors=tuple(errors))  # not those that come from killing its processes
        if self._others is not None:
            kill_all(find_children(os.getpid()).difference(self._others))
        # The descriptors that wake us stay open: threads of the executor may still write to them.
        return [closed]

    def _shut_down(self, errors: list[Failure]) -> None:
        try:
            self._executor.shutdown()
        except (Exception, SystemExit) as error:
            message = f"{self.name} could not be shut down: {type(error).__name__}: {error}"
            errors.append(Failure(kind="exception", type=type(error).__name__, message=message))

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass
        with contextlib.suppress(BlockingIOError):
            while True:
                self._links.append(_Link(self._server.accept()[0]))
        for link in [*self._links]:
            self._read_link(link)
        while self._done:
            attempt, error = self._done.popleft()
            one = self._attempts.get(attempt)
            if one is not None and one.link is None and not one.is_stopped:
                one.events.append(Refused(message=error or f"{self.name} did not run it"))

    def _read_link(self, link: _Link) -> None:
        for line in link.read():
            said = decode_said(line)
            one = self._attempts.get(said.attempt)
            if link.attempt:
                if one is not None:
                    one.events.extend(said.events)
            elif one is None or one.link is not None or one.is_stopped:
                break  # a repeated call
            else:
                link.attempt, one.link = said.attempt, link
                link.send(encode_start(one.start))
        else:
            if not link.is_over:
                return
        if link.attempt in self._attempts:
            one = self._attempts[link.attempt]
            if not any(isinstance(event, Ended) for event in one.events):
                one.events.append(Lost(sentence=f"the worker of {self.name} was lost"))
            return
        self._links.remove(link)
        link.close()

    def _note_done(self, attempt: str, future: Future[None]) -> None:
        """Called in a thread of the executor."""
        error = None if future.cancelled() else future.exception()
        self._done.append((attempt, "" if error is None else self._describe(error)))
        with contextlib.suppress(OSError):
            os.write(self._wake_writer, b"\0")

    def _describe(self, error: BaseException) -> str:
        if isinstance(error, FileNotFoundError):
            return f"the workers of {self.name} are not on this machine; use --executor dask or command"
        return f"{self.name} could not run it: {type(error).__name__}: {error}"


class _Attempt:
    def __init__(self, start: Start) -> None:
        self.start = start
        self.future: Future[None] | None = None
        self.link: _Link | None = None
        self.events: list[FarEvent] = []
        self.is_stopped = False  # before it started

    def decline(self) -> None:
        self.events += [Declined(step=self.start.order.step), Ended()]


class _Link:
    """A connection from a worker; until its first line it has no attempt."""

    def __init__(self, connection: socket.socket) -> None:
        self.attempt = ""
        self.is_over = False
        self._connection = connection
        self._unread = b""
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._connection.fileno()

    def read(self) -> list[bytes]:
        while not self.is_over:
            try:
                data = self._connection.recv(READ_SIZE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self._unread += data
            self.is_over = not data
        *lines, self._unread = self._unread.split(b"\n")
        return lines

    def send(self, line: bytes) -> None:
        """An order is short beside a socket's buffer; a worker that does not read is lost."""
        self._connection.settimeout(5.0)
        try:
            self._connection.sendall(line)
        except OSError:
            self.is_over = True
        self._connection.setblocking(False)

    def close(self) -> None:
        self._connection.close()


def _make_executor(name: str, project: Project, *, is_guest: bool) -> Executor:
    module_name, _, factory_name = name.partition(":")
    # At the end, and for good: orch's own imports come first, and the pool's processes may need them.
    sys.path += [os.path.normpath(os.path.join(project.root, one)) for one in project.pythonpath]
    is_loaded = False
    try:
        with contextlib.nullcontext() if is_guest else _at_root(project.root):
            factory = getattr(importlib.import_module(module_name), factory_name, None)
            is_loaded = True
            if not callable(factory):
                raise _refuse(
                    f"the module {module_name} has no function {factory_name}",
                    f"define {factory_name}() there; it returns a concurrent.futures.Executor",
                )
            made = factory()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            raise _refuse(
                f"the executor {name} cannot be loaded: the module {module_name} does not exist",
                "correct the name, or add the folder of the module to pythonpath",
            ) from None
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _refuse(
            f"the executor {name} cannot be {'created' if is_loaded else 'loaded'}: {type(error).__name__}"
            + (f": {text}" if text else ""),
            f"correct {factory_name}() in {module_name}" if is_loaded else f"correct {module_name}",
            _find_place(error, project.root),
        ) from None
    if type(made).__module__.startswith("distributed."):
        raise _refuse(f"{name} makes an executor of Dask", "use --executor dask --dask-address URL")
    if not isinstance(made, Executor):
        raise _refuse(
            f"{name} returns {type(made).__name__}, which is not a concurrent.futures.Executor",
            "return one, such as ThreadPoolExecutor(4)",
        )
    return made


@contextlib.contextmanager
def _at_root(root: str) -> Iterator[None]:
    """With this current folder, and with nothing printed to stdout, which may hold JSON."""
    with contextlib.chdir(root), contextlib.redirect_stdout(sys.stderr):
        yield


def _find_place(error: BaseException, root: str) -> Location | None:
    """The line of the project that raised it."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    for path, line in reversed(places):
        relative = os.path.relpath(path, root)
        if path and not relative.startswith("..") and "site-packages" not in relative:
            return Location(path=relative, line=line)
    return None


def _refuse(message: str, hint: str, place: Location | None = None) -> UsageError:
    return UsageError(Problem(code="executor", message=message, hint=hint, location=place))
