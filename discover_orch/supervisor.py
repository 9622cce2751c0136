"""The parent of one worker: starts it, talks with it, interrupts it, and leaves nothing of it behind.

A worker is a new interpreter, started before anything is known of the project. Everything that comes from
it, messages and output alike, comes out of `events` in true order: all output of a step before its
`StepFinished`. It does not know what a step means, and prints nothing. It imports little, since it is the
first thing that a run needs: no `subprocess`, no `selectors`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from _thread import allocate_lock, get_native_id

from discover_orch.capture import Splitter
from discover_orch.debugger import LentTerminal
from discover_orch.failure import LOST_STATUS, describe_end, read_crash
from discover_orch.orphans import (
    become_subreaper,
    find_children,
    find_descendants,
    kill_all,
    kill_group,
    sweep,
)
from discover_orch.protocol import (
    Closed,
    DebugEnded,
    Declined,
    Greet,
    Message,
    Order,
    Prepare,
    RunStep,
    StepFinished,
    StepStarted,
    Terminal,
    decode_message,
    encode_order,
)
from discover_orch.spawn import Pipes, start_interpreter
from discover_orch.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.protocol import Stream as StreamName
    from discover_orch.spawn import Interpreter

# From an interrupt on: seconds, and what the worker's process group is sent then.
LADDER = ((0.0, signal.SIGINT), (2.0, signal.SIGTERM), (3.0, signal.SIGKILL))
# And when a nudge: Python sees a signal that came just before a system call only when that call ends,
# and SIGCONT, which harms nobody, ends it (the worker has a handler for it, which does nothing).
NUDGES = (0.02, 0.1, 0.5, 1.0)
TIME_TO_END = 2.0  # seconds from `Closed` until the worker is killed
SWEEP_TIME = 1.0
SHORTEST_WAIT = 0.05  # seconds between looks at a worker, where the system does not tell of its end
READ_SIZE = 1 << 16
LAST_READS = 64  # more than a pipe holds


@value
class Output:
    """Text that a step wrote: whole lines, but for the last of a step. `step` is None between steps."""

    step: int | None
    stream: StreamName
    text: str


@value
class Died:
    """The worker ended though nobody had told it to. `step` was running; None where none was.

    One of `exit_code` and `signal` (its name) is set. `traceback`, `path` and `line` say where the
    user's code was at a crash, as far as it could still be told.
    """

    sentence: str
    exit_code: int | None = None
    signal: str | None = None
    step: int | None = None
    traceback: str = ""
    path: str | None = None
    line: int | None = None


@value
class Ended:
    """The worker ended after `Closed`. Where it had to be killed or crashed, `sentence` says so.

    `threads` are those that kept it from ending, empty where it ended in time.
    """

    sentence: str = ""
    threads: tuple[str, ...] = ()


Event = Message | Output | Died | Ended

_start_lock = allocate_lock()
_alive: set[int] = set()  # workers of this process: never swept up with the orphans
_others: set[int] | None = None  # children that this process had before its first worker


def rung(elapsed: float) -> int:
    """How many rungs of the ladder are due, so many seconds after the interrupt."""
    return sum(elapsed >= at for at, _ in LADDER)


def next_rung(elapsed: float) -> float | None:
    """Seconds until the next rung is due; None after the last."""
    return min((at - elapsed for at, _ in LADDER if at > elapsed), default=None)


class Supervisor:
    """One worker. Made by `start`; done when `events` has given `Died` or `Ended`."""

    def __init__(self, pid: int, pipes: Pipes, mark: str, adopts: bool) -> None:
        self.pid = pid
        self.is_over = False
        self.failures = 0  # failed steps that `events` has told of: for `RunStep.failures`
        self._pipes = pipes
        self._adopts = adopts
        self._has_adopted = False
        self._is_raw = not mark
        self._root = ""
        self._unsent = b""
        self._unread = b""
        self._crash = ""  # what the fault handler wrote among the messages
        self._held: list[Message] = []  # those that wait for the output before them
        self._streams = [Stream("stdout", pipes.out, mark), Stream("stderr", pipes.err, mark)]
        self._started: list[int] = []  # steps in the order in which they began
        self._places: dict[int, int] = {}  # the place of each in that order
        self._running: int | None = None
        self._unanswered: dict[int, None] = {}
        self._closed_at: float | None = None
        self._threads: tuple[str, ...] = ()
        self._interrupted_at: float | None = None
        self._rungs = 0
        self._nudges = 0
        self._kill_reason = ""
        self._status: int | None = None
        self._below: set[int] = set()  # descendants seen before it was killed
        self._terminal: LentTerminal | None = None
        self._poll = select.poll()
        for fd in self.filenos():
            self._poll.register(fd, select.POLLIN)

    @classmethod
    def start(
        cls,
        *,
        raw_output: bool = False,
        adopts_orphans: bool = True,
        interpreter: Interpreter | None = None,
    ) -> Supervisor:
        """Start a worker; it gets ready while the caller finds out what it is to do.

        `interpreter`: one that has been started already, its output captured.
        `raw_output`: it writes to this process's own stdout and stderr, and nothing is captured.
        `adopts_orphans` is for a process that has no other children than its workers, as `orch`: what
        outlives a worker becomes its child, and is ended. Raises OSError.
        """
        global _others
        if adopts_orphans and _others is None:
            _others = find_children(os.getpid())
            if interpreter is not None:
                _others.discard(interpreter[0])
        mark = "" if raw_output else f"\0orch {os.urandom(16).hex()} "
        with _start_lock:
            pid, pipes = interpreter or start_interpreter(raw_output=raw_output)
        _alive.add(pid)
        made = cls(pid, pipes, mark, adopts_orphans)
        # The kernel's signal comes when the thread ends that started it, not the process.
        is_main = sys.platform == "linux" and get_native_id() == os.getpid()
        made._write(encode_order(Greet(mark=mark, parent=os.getpid(), watches_death=is_main)))
        return made

    @property
    def unanswered(self) -> tuple[int, ...]:
        """Steps that were sent and neither begun nor declined, in order."""
        return tuple(self._unanswered)

    @property
    def running(self) -> int | None:
        """The step that `events` has told the start of, and not yet the end."""
        return self._running

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that can be read when `events` has something, for a poll over many workers."""
        pipes = self._pipes
        return tuple(fd for fd in (pipes.messages, pipes.out, pipes.err, pipes.pidfd) if fd >= 0)

    def send(self, order: Order) -> None:
        """Never blocks: what the pipe does not take is written by `events`."""
        if isinstance(order, Prepare):
            if order.raw_output != self._is_raw:
                raise ValueError("raw output is chosen when the worker is started")
            self._root = order.root
        if isinstance(order, RunStep):
            self._unanswered[order.step] = None
        self._write(encode_order(order))
        if self._adopts and not self._has_adopted and isinstance(order, RunStep):
            self._has_adopted = True  # late, as it costs 3 ms; the worker has begun meanwhile
            become_subreaper()

    def events(self, timeout: float | None, wake: int | None = None) -> list[Event]:
        """What has come; waits for the first of it, `timeout` seconds at most (None: without limit).

        `wake` is a descriptor that ends the wait when it can be read (for signal handlers). Also
        climbs the ladder after `interrupt`, and kills a worker that does not end after `Closed`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_over:
            now = time.monotonic()
            self._climb(now)
            ready = self._wait(now, deadline, wake)
            if ready is None:
                break
            found = self._collect(ready)
            if found or (deadline is not None and time.monotonic() >= deadline):
                return found
        return []

    def interrupt(self) -> None:
        """KeyboardInterrupt for the running tool; then, as time goes by, TERM and KILL by `events`."""
        if self._interrupted_at is None and not self.is_over:
            self._interrupted_at = time.monotonic()
            self._climb(self._interrupted_at)

    def kill(self, reason: str = "") -> None:
        """End it and all that is below it, at once."""
        if not self.is_over:
            self._kill_reason = self._kill_reason or reason
            self._signal(signal.SIGKILL)

    def suspend(self) -> None:
        """Stop the worker's processes, as a terminal's Ctrl-Z does; `resume` lets them go on."""
        if not self.is_over:
            kill_group(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if not self.is_over:
            kill_group(self.pid, signal.SIGCONT)

    def lend_terminal(self) -> bool:
        """The answer to `DebugStarted`: hand over the controlling terminal, where there is one."""
        try:
            self._terminal = LentTerminal(self.pid)
        except OSError:
            self._terminal = None
        granted = self._terminal is not None
        self.send(Terminal(granted=granted))
        return granted

    def refuse_terminal(self) -> None:
        """The other answer to `DebugStarted`."""
        self.send(Terminal(granted=False))

    def close(self, timeout: float | None = None, wake: int | None = None) -> list[Event]:
        """All events until the worker is over; the last is `Ended` or `Died`.

        `Finish` must have been sent. It is killed after `timeout` seconds. A readable `wake` ends the
        wait early: call it again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        found: list[Event] = []
        while not self.is_over:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self.kill(f"did not close its resources within {timeout:g} s and was killed")
                left = deadline = None
            found += self.events(left, wake)
            if wake is not None and select.select([wake], [], [], 0)[0]:
                break
        return found

    # Waiting.

    def _wait(self, now: float, deadline: float | None, wake: int | None) -> set[int] | None:
        """Descriptors that can be read; None when there is nothing but `wake`."""
        until = [at for at in (deadline, self._next_deed(now)) if at is not None]
        if self._pipes.pidfd < 0:
            until.append(now + SHORTEST_WAIT)
        wait = max(0.0, min(until) - now) * 1000 + 0.5 if until else None
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        ready = {fd for fd, _ in self._poll.poll(wait)}
        if wake is not None:
            self._poll.unregister(wake)
        return None if ready == {wake} else ready

    def _next_deed(self, now: float) -> float | None:
        """When something must be done though nothing comes."""
        if self._closed_at is not None:
            return None if self._kill_reason else self._closed_at + TIME_TO_END
        if self._interrupted_at is not None:
            elapsed = now - self._interrupted_at
            due = [*NUDGES[self._nudges : self._nudges + 1]]
            left = next_rung(elapsed)
            if left is not None:
                due.append(elapsed + left)
            return min(due) + self._interrupted_at if due else None
        return None

    def _climb(self, now: float) -> None:
        """Do what is due."""
        if self._closed_at is not None:
            if now >= self._closed_at + TIME_TO_END:
                self.kill(f"did not end within {TIME_TO_END:g} s after its work, and was killed")
        elif self._interrupted_at is not None:
            elapsed = now - self._interrupted_at
            if self._nudges < len(NUDGES) and elapsed >= NUDGES[self._nudges]:
                self._nudges += 1
                kill_group(self.pid, signal.SIGCONT)
            due = rung(elapsed)
            for at, number in LADDER[self._rungs : due]:
                if number != signal.SIGINT:
                    self._kill_reason = (
                        f"did not stop within {at:g} s of the interrupt, and was killed"
                    )
                self._signal(number)
            self._rungs = max(self._rungs, due)

    def _signal(self, number: int) -> None:
        """To the worker and all that is below it, in its process group or out of it."""
        if number != signal.SIGINT:
            self._below |= find_descendants(self.pid)
        kill_group(self.pid, number)
        kill_group(self.pid, signal.SIGCONT)  # a stopped process takes no signal but KILL
        if number == signal.SIGKILL:
            kill_all(self._below)

    # Reading.

    def _collect(self, ready: set[int]) -> list[Event]:
        """Read what there is, and put it in order."""
        is_dead = self._has_ended(ready)
        found: list[Event] = []
        if self._unsent:
            self._write(b"")
        # Output before messages: that a step has begun is written before its output, and so is known.
        is_new = False
        for stream in self._streams:
            if stream.fd in ready:
                self._read_stream(stream)
                is_new = True
        if is_new or self._pipes.messages in ready or is_dead:
            self._read_messages()
        self._sort(found)
        if is_dead:
            self._bury(found)
        return found

    def _sort(self, found: list[Event]) -> None:
        """Give out messages in their order, the end of a step behind all output of that step."""
        while True:
            while self._held and self._give_message(self._held[0], found):
                del self._held[0]
            if self._held or not any(one.is_ahead(self._started) for one in self._streams):
                break
            if not self._read_messages():
                break
        if not self._held:
            for stream in self._streams:
                stream.give(self._started, None, found)

    def _give_message(self, message: Message, found: list[Event]) -> bool:
        """Give it out, unless output that belongs before it is still on its way."""
        if isinstance(message, StepFinished) and not self._is_raw:
            place = self._places[message.step]
            for stream in self._streams:
                stream.give(self._started, place, found)
                while stream.passed <= place and self._read_stream(stream):
                    stream.give(self._started, place, found)
            if any(one.passed <= place and not one.is_over for one in self._streams):
                return False
        self._note(message)
        found.append(message)
        return True

    def _note(self, message: Message) -> None:
        match message:
            case StepStarted(step=step):
                self._running = step
                self._unanswered.pop(step, None)
            case StepFinished(status=status):
                self._running = None
                self.failures += status == "failed"
            case Declined(step=step):
                self._unanswered.pop(step, None)
            case DebugEnded():
                self._take_terminal_back()
            case Closed(threads=threads):
                self._threads = threads
                self._closed_at = time.monotonic()

    def _read_stream(self, stream: Stream) -> bool:
        """Read what is there; whether there was anything."""
        if stream.is_over:
            return False
        data = _read(stream.fd)
        if data == b"":
            self._poll.unregister(stream.fd)
            stream.end()
        elif data is not None:
            stream.pending += stream.splitter.feed(data)
        return data is not None

    def _read_messages(self) -> bool:
        data = _read(self._pipes.messages)
        if not data:
            if data == b"":
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._pipes.messages)
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                message = decode_message(line)
            except ValueError:
                self._crash += line.decode("utf-8", "replace") + "\n"
                continue
            if isinstance(message, StepStarted):
                self._places[message.step] = len(self._started)
                self._started.append(message.step)
            self._held.append(message)
        return True

    def _write(self, data: bytes) -> None:
        """Write what the pipe takes; the rest when it can be written again."""
        self._unsent += data
        fd = self._pipes.orders
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(fd, self._unsent) :]
        except BlockingIOError:
            self._poll.register(fd, select.POLLOUT)
            return
        except BrokenPipeError:  # it has died: `events` will tell
            self._unsent = b""
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    # The end.

    def _has_ended(self, ready: set[int]) -> bool:
        """Whether the worker is dead; it is not waited for yet, so that its group keeps its number."""
        if self._pipes.pidfd >= 0:
            return self._pipes.pidfd in ready
        self._status = _wait_for(self.pid, reap=not hasattr(os, "waitid"))
        return self._status is not None

    def _bury(self, found: list[Event]) -> None:
        """Take leave of a dead worker: everything below it, what it still said, and its descriptors."""
        self.is_over = True
        kill_group(self.pid)
        if hasattr(os, "waitid"):  # else it was reaped when it was found dead
            self._status = _wait_for(self.pid, reap=True)
        _alive.discard(self.pid)
        kill_all(self._below)
        if self._adopts:
            sweep(_alive | (_others or set()), time.monotonic() + SWEEP_TIME)
        for stream in self._streams:
            for _ in range(LAST_READS):  # who is left below may go on writing for ever
                if not self._read_stream(stream):
                    break
            stream.end()
        while self._read_messages():
            pass
        self._crash += self._unread.decode("utf-8", "replace")
        self._sort(found)
        for stream in self._streams:
            stream.give(self._started, len(self._started), found)
        self._take_terminal_back()
        for fd in (*self.filenos(), self._pipes.orders, self._pipes.life):
            os.close(fd)
        found.append(self._find_last_word(self._status))

    def _find_last_word(self, status: int | None) -> Died | Ended:
        sentence, code, name = describe_end(status)
        if self._closed_at is not None:
            if self._kill_reason:
                return Ended(sentence=self._kill_reason, threads=self._threads)
            return Ended(sentence="" if code == 0 else f"{sentence} while it ended")
        traceback, path, line = read_crash(self._crash, self._root)
        return Died(
            sentence=self._kill_reason or sentence,
            exit_code=code,
            signal=name,
            step=self._running,
            traceback=traceback,
            path=path,
            line=line,
        )

    def _take_terminal_back(self) -> None:
        if self._terminal is not None:
            self._terminal.take_back()
            self._terminal = None


class Stream:
    """One of the worker's outputs: what was read of it and not yet given out."""

    def __init__(self, name: StreamName, fd: int, mark: str) -> None:
        self.name = name
        self.fd = fd
        self.splitter = Splitter(mark)
        self.pending: list[str | int] = []
        self.passed = 0  # steps whose end has been given out; each step has one mark
        self.is_over = fd < 0

    def is_ahead(self, started: list[int]) -> bool:
        """Whether there is text of a step whose start has not been read."""
        return bool(self.pending) and self.passed >= len(started)

    def give(self, started: list[int], until: int | None, found: list[Event]) -> None:
        """Give out text up to the end of the step at place `until`, or up to the next mark."""
        while self.pending:
            one = self.pending[0]
            if until is not None and self.passed > until:
                return
            if isinstance(one, str):
                step = started[self.passed] if self.passed < len(started) else None
                found.append(Output(step=step, stream=self.name, text=one))
            elif until is None:
                return
            else:
                self.passed += 1
            del self.pending[0]

    def end(self) -> None:
        """No more will be read."""
        self.is_over = True
        rest = self.splitter.flush()
        if rest:
            self.pending.append(rest)


def _read(fd: int) -> bytes | None:
    """What can be read at once; b"" at the end, None where there is nothing now."""
    try:
        return os.read(fd, READ_SIZE)
    except BlockingIOError:
        return None


def _wait_for(pid: int, *, reap: bool) -> int | None:
    """The wait status of a process that has ended; None while it runs."""
    try:
        if not reap:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return None if ended is None else 0
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return LOST_STATUS
    return status if found else None
