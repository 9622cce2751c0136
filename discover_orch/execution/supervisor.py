"""The parent of one worker: starts it, talks with it, interrupts it, and leaves nothing of it behind.

A worker is a new interpreter, started before anything is known of the project. All its messages and output come out of
`events`, in the order that `worker_reader` finds. The supervisor knows no steps and prints nothing. It is the first
thing that a run needs, so it imports little: no `subprocess`, no `selectors`.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import time
from _socket import MSG_PEEK, socket
from _thread import LockType, allocate_lock, get_native_id, start_new_thread
from typing import Literal

from msgspec import Struct

from discover_orch.execution.worker_reader import WorkerReader
from discover_orch.model.tool_events import ToolFinished
from discover_orch.worker.child_processes import (
    become_subreaper,
    find_children,
    find_descendants,
    kill_all,
    kill_group,
    sweep,
)
from discover_orch.worker.protocol import (
    Closed,
    Greet,
    Message,
    Order,
    Prepare,
    RunStep,
    Terminal,
    encode_line,
)
from discover_orch.worker.spawn import Pipes, start_interpreter
from discover_orch.worker.tracebacks import LOST_STATUS, describe_exit, read_crash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.execution.signal_handlers import LentTerminal
    from discover_orch.worker.spawn import Interpreter

SWEEP_TIME = 1.0
POLL_INTERVAL = 0.05  # seconds, if the system has no descriptor for the end of a process
WRITE_INTERVAL = 0.005  # seconds, while a long order is written

#: Seconds in which the thread ends that answers the kernel, unless a process of the worker goes on.
TIME_TO_ANSWER = 0.2
#: Seconds from `Closed` until the worker is killed.
TIME_TO_END = 2.0
#: Seconds after an interrupt, and the signal that the worker's process group gets then. Python notices a signal that
#: came just before a system call only when that call ends. SIGCONT ends it and does nothing else.
STOP_SIGNALS: tuple[tuple[float, signal.Signals], ...] = (
    (0.0, signal.SIGINT),
    (0.02, signal.SIGCONT),
    (0.1, signal.SIGCONT),
    (0.5, signal.SIGCONT),
    (1.0, signal.SIGCONT),
    (2.0, signal.SIGTERM),
    (3.0, signal.SIGKILL),
)


class WorkerDied(
    Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, tag_field="event"
):
    """The worker ended before it was asked to.

    One of `exit_code` and `signal` (its name) is set. `traceback`, `path` and `line` say where the user's code
    was when it crashed, if that is known. A worker elsewhere is `refused` if it has not got its step and never will,
    and `lost` if it is unknown whether and how it ended.
    """

    sentence: str
    cause: Literal["crash", "refused", "lost"] = "crash"
    hint: str = ""
    exit_code: int | None = None
    signal: str | None = None
    traceback: str = ""
    path: str | None = None
    line: int | None = None


class WorkerEnded(
    Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, tag_field="event"
):
    """The worker ended after `Closed`. If it was killed or crashed, `sentence` says so.

    `threads` are those that kept it from ending; empty if it ended in time.
    """

    sentence: str = ""
    threads: tuple[str, ...] = ()


WorkerEvent = Message | WorkerDied | WorkerEnded
#: What is to happen to a worker. `interrupt` and `kill`, after which it ends; `suspend` stops its processes, as Ctrl-Z
#: does, and `resume` continues them.
Word = Literal["interrupt", "kill", "suspend", "resume"]
KILLED = "was killed by the second interrupt"

_start_lock = allocate_lock()
#: Workers and observers of this process, which are not orphans.
OWN_CHILDREN: set[int] = set()
_others: set[int] | None = None  # children that this process had before its first worker


class Supervisor:
    """One worker. Made by `start`; done when `events` has given `WorkerDied` or `WorkerEnded`."""

    runs_one_step = False

    def __init__(self, pid: int, pipes: Pipes, *, is_raw: bool, adopts: bool) -> None:
        self.pid = pid
        self.is_over = False
        self._pipes = pipes
        self._adopts = adopts
        self._has_adopted = False
        self._is_raw = is_raw
        self._root = ""
        self._unsent = b""
        self._exit = WorkerExit()
        self._status: int | None = None
        self._descendants: set[int] = set()  # descendants seen before it was killed
        self._terminal: LentTerminal | None = None
        self._poll = select.poll()
        readable = (pipes.messages, pipes.out, pipes.err, pipes.pidfd)
        self._readable = [fd for fd in readable if fd >= 0]
        for fd in self._readable:
            self._poll.register(fd, select.POLLIN)
        self._answering = allocate_lock()  # held as long as the thread lives
        self._answering.acquire()
        start_new_thread(_answer_kernel, (pid, pipes.trace, self._answering))
        self._reader = WorkerReader(pipes.messages, pipes.out, pipes.err, self._stop_polling)

    @classmethod
    def start(
        cls,
        *,
        raw_output: bool = False,
        adopts_orphans: bool = True,
        interpreter: Interpreter | None = None,
    ) -> Supervisor:
        """Starts a worker. It gets ready while the caller finds out what to do.

        `interpreter`: one that was started before, with its output captured.
        `raw_output`: the worker writes to the stdout and stderr of this process; nothing is captured.
        `adopts_orphans`: processes that outlive a worker become children of this process and are killed. Only for a
        process without other children.
        Raises OSError.
        """
        global _others
        if adopts_orphans and _others is None:
            _others = find_children(os.getpid())
            if interpreter is not None:
                _others.discard(interpreter[0])
        with _start_lock:
            pid, pipes = interpreter or start_interpreter(raw_output=raw_output)
        OWN_CHILDREN.add(pid)
        made = cls(pid, pipes, is_raw=raw_output, adopts=adopts_orphans)
        # The kernel signals the end of the thread that started the worker, not of the process.
        watches_death = sys.platform == "linux" and get_native_id() == os.getpid()
        made._write(encode_line(Greet(parent=os.getpid(), watches_death=watches_death)))
        return made

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `events` has something."""
        return tuple(self._readable)

    def send(self, order: Order) -> None:
        """Never blocks: what the pipe does not take is written by `events`."""
        if isinstance(order, Prepare):
            if order.raw_output != self._is_raw:
                raise ValueError("raw output is chosen when the worker is started")
            self._root = order.root
        self._write(encode_line(order))
        if self._adopts and not self._has_adopted and isinstance(order, RunStep):
            self._has_adopted = True  # late, as it costs 3 ms in which the worker already works
            become_subreaper()

    def events(self, timeout: float | None, wake: int | None = None) -> list[WorkerEvent]:
        """What has arrived. Waits up to `timeout` seconds for the first (None: without limit).

        The wait ends when the descriptor `wake` is readable (for signal handlers). Also sends the signals that are due
        after `interrupt`, and kills a worker that does not end after `Closed`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_over:
            now = time.monotonic()
            self._send_due_signals(now)
            ready = self._wait(now, deadline, wake)
            if ready is None:
                break
            found = self._collect(ready)
            if found:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                break
        return []

    def control(self, word: Word) -> None:
        """`interrupt` raises KeyboardInterrupt in the running tool. Later, `events` sends SIGTERM and SIGKILL."""
        if self.is_over:
            return
        match word:
            case "interrupt":
                now = time.monotonic()
                self._exit.interrupt(now)
                self._send_due_signals(now)
            case "kill":
                self.kill(KILLED)
            case "suspend":
                kill_group(self.pid, signal.SIGSTOP)
            case "resume":
                kill_group(self.pid, signal.SIGCONT)

    def kill(self, reason: str = "") -> None:
        """Kills the worker and its descendants."""
        if not self.is_over:
            self._exit.kill_reason = self._exit.kill_reason or reason
            self._signal(signal.SIGKILL)

    def lend_terminal(self) -> None:
        """Answers `DebuggerOpened`: hands over the controlling terminal, if there is one."""
        from discover_orch.execution.signal_handlers import LentTerminal  # only to debug

        with contextlib.suppress(OSError):
            self._terminal = LentTerminal(self.pid)
        self.send(Terminal(granted=self._terminal is not None))

    def close(self, timeout: float | None = None) -> list[WorkerEvent]:
        """All events until the worker is over; the last is `WorkerEnded` or `WorkerDied`.

        `Finish` must have been sent. The worker is killed after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        found: list[WorkerEvent] = []
        while not self.is_over:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self.kill(f"did not close its resources within {timeout:g} s and was killed")
                left = deadline = None
            found += self.events(left)
        return found

    # Waiting.

    def _wait(self, now: float, deadline: float | None, wake: int | None) -> set[int] | None:
        """The descriptors that can be read; None if it is only `wake`."""
        until = min(math.inf if deadline is None else deadline, self.next_deadline(now))
        wait = None if until == math.inf else max(0.0, until - now) * 1000 + 0.5
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        ready = {fd for fd, _ in self._poll.poll(wait)}
        if wake is not None:
            self._poll.unregister(wake)
        return None if ready == {wake} else ready

    def next_deadline(self, now: float) -> float:
        """When something must be done even if nothing arrives; infinite if nothing is due."""
        due = self._exit.due()
        if self._unsent:
            return min(due, now + WRITE_INTERVAL)
        return due if self._pipes.pidfd >= 0 else min(due, now + POLL_INTERVAL)

    def _send_due_signals(self, now: float) -> None:
        for number in self._exit.drain(now):
            self._signal(number)

    def _signal(self, number: int) -> None:
        """Sends a signal to the worker and its process group, SIGKILL also to descendants outside the group."""
        if number in (signal.SIGTERM, signal.SIGKILL):
            self._descendants |= find_descendants(self.pid)
        kill_group(self.pid, number)
        kill_group(self.pid, signal.SIGCONT)  # a stopped process takes no signal but KILL
        if number == signal.SIGKILL:
            kill_all(self._descendants)

    # Reading.

    def _collect(self, ready: set[int]) -> list[WorkerEvent]:
        """Reads what there is, and puts it in order."""
        is_dead = self._has_ended(ready)
        if self._unsent:
            self._write(b"")
        found: list[WorkerEvent] = []
        found += self._track(self._reader.read(ready, is_dead=is_dead))
        if is_dead:
            self._clean_up(found)
        return found

    def _track(self, said: list[Message]) -> list[Message]:
        for message in said:
            if isinstance(message, ToolFinished):
                self._take_terminal_back()
            elif isinstance(message, Closed):
                self._exit.close(time.monotonic(), message.threads)
        return said

    def _stop_polling(self, fd: int) -> None:
        if fd in self._readable:
            self._readable.remove(fd)
            self._poll.unregister(fd)

    def _write(self, data: bytes) -> None:
        """Writes what the pipe takes; the rest when it can be written again."""
        self._unsent += data
        fd = self._pipes.orders
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(fd, self._unsent) :]
        except BlockingIOError:
            self._poll.register(fd, select.POLLOUT)
            return
        except BrokenPipeError:  # it has died: `events` will say so
            self._unsent = b""
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    # The end.

    def _has_ended(self, ready: set[int]) -> bool:
        """Whether the worker is dead. It is not reaped yet, so that its group keeps its number."""
        if self._pipes.pidfd >= 0:
            return self._pipes.pidfd in ready
        self._status = read_wait_status(self.pid, reap=not hasattr(os, "waitid"))
        return self._status is not None

    def _clean_up(self, found: list[WorkerEvent]) -> None:
        """Kills the descendants of a dead worker, reads what it still wrote, and closes its descriptors."""
        self.is_over = True
        kill_group(self.pid)
        if hasattr(os, "waitid"):  # else it was reaped when it was found dead
            self._status = read_wait_status(self.pid, reap=True)
        OWN_CHILDREN.discard(self.pid)
        kill_all(self._descendants)
        if self._adopts:
            sweep(OWN_CHILDREN | (_others or set()), time.monotonic() + SWEEP_TIME)
        found += self._track(self._reader.read_rest())
        self._take_terminal_back()
        self._pipes.close()
        self._answering.acquire(timeout=TIME_TO_ANSWER)
        found.append(self._exit.final_event(self._status, self._reader.crash, self._root))

    def _take_terminal_back(self) -> None:
        if self._terminal is not None:
            self._terminal.take_back()
            self._terminal = None


def _answer_kernel(worker: int, connection: socket, lock: LockType) -> None:
    """In a thread of its own: waits until the worker asks to be traced, which few tools need."""
    try:
        if connection.recv(1, MSG_PEEK):
            from discover_orch.execution.kernel_trace import KernelTrace

            KernelTrace(worker, connection).serve()
    finally:
        connection.close()
        lock.release()


class WorkerExit:
    """What is known of the end of one worker. `kill_reason` is empty until it is killed for a reason."""

    def __init__(self) -> None:
        self.kill_reason = ""
        self._has_closed = False
        self._threads: tuple[str, ...] = ()
        self._began_at: float | None = None  # the interrupt, or the end of its work
        self._signals = STOP_SIGNALS  # that it has not got

    def interrupt(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now

    def close(self, now: float, threads: tuple[str, ...]) -> None:
        """The worker has closed its resources; `threads` are still running in it."""
        self._has_closed, self._threads = True, threads
        self._began_at, self._signals = now, ((TIME_TO_END, signal.SIGKILL),)

    def due(self) -> float:
        """When the next signal is due; infinite if none is."""
        if self._began_at is None or not self._signals:
            return math.inf
        return self._began_at + self._signals[0][0]

    def drain(self, now: float) -> list[signal.Signals]:
        """The signals that became due since the last call."""
        found = []
        while self.due() <= now:
            (at, number), *rest = self._signals
            self._signals = tuple(rest)
            found.append(number)
            if self._has_closed:
                late = f"did not end within {at:g} s of finishing its work and was killed"
                self.kill_reason = self.kill_reason or late
            elif number in (signal.SIGTERM, signal.SIGKILL):
                self.kill_reason = f"did not stop within {at:g} s of the interrupt and was killed"
        return found

    def final_event(self, status: int | None, crash: str, root: str) -> WorkerDied | WorkerEnded:
        """`status` is the wait status, `crash` is what the fault handler wrote in the project at `root`."""
        sentence, code, name = describe_exit(status)
        if self._has_closed:
            if self.kill_reason:
                return WorkerEnded(sentence=self.kill_reason, threads=self._threads)
            return WorkerEnded(sentence="" if code == 0 else f"{sentence} while it ended")
        traceback, path, line = read_crash(crash, root)
        return WorkerDied(
            sentence=self.kill_reason or sentence,
            exit_code=code,
            signal=name,
            traceback=traceback,
            path=path,
            line=line,
        )


def read_wait_status(pid: int, *, reap: bool) -> int | None:
    """The wait status of a process that has ended; None while it runs."""
    try:
        if not reap:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return None if ended is None else 0
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return LOST_STATUS
    return status if found else None
