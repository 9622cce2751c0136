"""`python -m discover_orch.execution.executors.one_tool MARK`: runs one tool, and talks with orch on its own pipes.

What the command prefix runs, on whatever machine. It first says `MARK` and its installation, then reads a `Start` and
carries it out. Each of its lines begins with the mark, so that noise of the prefix is recognised. Its exit code is 0
if the tool passed, 1 if it failed, 128 + N after signal N, and 2 if it could not start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from threading import Thread
from types import FrameType

import msgspec

from discover_orch.execution.executors.far_messages import (
    Ended,
    FarEvent,
    Refused,
    Said,
    decode_control,
    decode_start,
    encode_said,
    installation,
)
from discover_orch.execution.executors.far_side import GONE, Controls, carry_out
from discover_orch.execution.worker_shutdown import WorkerDied
from discover_orch.worker.protocol import StepFinished

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds within which a signal that comes again is the same: `timeout` sends it to its child and to the whole group.
SAME_SIGNAL = 0.5


class OneTool:
    """The talk about one attempt on stdin and stdout."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._controls = Controls()
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
            start = decode_start(first)
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
                self._controls.put(decode_control(line).word)
        self._controls.put(GONE)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        is_same = number == self._signal and now - self._signal_at < SAME_SIGNAL
        if not is_same:
            self._controls.put("kill" if self._signal else "interrupt")
            self._signal, self._signal_at = number, now

    def _say(self, events: Sequence[FarEvent]) -> None:
        for event in events:
            match event:
                case StepFinished(status=status):
                    self._code = 0 if status == "passed" else 1
                case WorkerDied(exit_code=code, signal=name):
                    self._code = code or (128 + signal.Signals[name] if name else 1)
                case _:
                    pass
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
