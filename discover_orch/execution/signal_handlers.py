"""The signals that stop or suspend a run, which the handlers only note, and the terminal while a worker has it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import termios
import time
from types import FrameType
from typing import Any

from discover_orch.model.errors import BlockedInterrupt

#: Seconds until a signal that was not drained ends whatever blocks the process, and until a second signal does.
FIRST_TIMEOUT, REPEAT_TIMEOUT = 1.0, 0.2
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalHandlers:
    """Signal handlers during a run, which only note the signal. `drain` gives them as requests.

    The first of SIGINT, SIGTERM and SIGHUP interrupts, the second kills. SIGTSTP also stops the worker.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._pending: list[int] = []
        self._pending_since = 0.0
        self._drain_count = 0
        self._drain_count_at_alarm = -1
        self.wake, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self.wake, False)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandlers:
        for number in (*STOPPING, signal.SIGTSTP):
            if signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGINT:
                continue  # ignored under nohup, or by a shell without job control
            self._before[number] = signal.signal(number, self._on_signal)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        self._before_wakeup = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before_wakeup)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            signal.signal(number, before)

    def close(self) -> None:
        os.close(self.wake)
        os.close(self._wake_writer)

    @property
    def poll_interval(self) -> float:
        """Signals make `wake` readable."""
        return math.inf

    def wake_up(self) -> None:
        """Makes `wake` readable, from any thread."""
        with contextlib.suppress(BlockingIOError):  # it is readable already
            os.write(self._wake_writer, b"\0")

    def drain(self) -> list[str]:
        self._drain_count += 1
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass
        requests = []
        while self._pending:
            number = self._pending.pop(0)
            if number == signal.SIGTSTP:
                requests.append("suspend")
            else:
                requests.append("kill" if self.signal else "interrupt")
                self.signal = self.signal or number
        return requests

    def pause(self) -> None:
        """Stops this process, as SIGTSTP would have; returns when it is continued."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        is_blocked = bool(self._pending) and now > self._pending_since + REPEAT_TIMEOUT
        if not self._pending:
            self._pending_since = now
        self._pending.append(number)
        if number != signal.SIGTSTP:
            self._drain_count_at_alarm = -1
            signal.setitimer(signal.ITIMER_REAL, FIRST_TIMEOUT)
            if is_blocked:
                self._on_alarm(number, None)

    def _on_alarm(self, _: int, __: FrameType | None) -> None:
        """If the signal was not drained since the last alarm, the process is blocked, as by a reader of its output
        that does not read. Otherwise checks again later."""
        ends = [number for number in self._pending if number != signal.SIGTSTP]
        if ends or (self.signal and self._drain_count == self._drain_count_at_alarm):
            raise BlockedInterrupt(self.signal or ends[0])
        self._drain_count_at_alarm = self._drain_count
        signal.setitimer(signal.ITIMER_REAL, FIRST_TIMEOUT)

    def cancel_alarm(self) -> None:
        """What follows only cleans up, and may take longer."""
        signal.setitimer(signal.ITIMER_REAL, 0)


class LentTerminal:
    """The controlling terminal while a worker's process group has it, from `__init__` to `take_back`.

    Raises OSError where there is no terminal, or orch runs in the background.
    """

    def __init__(self, group: int) -> None:
        self._fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                raise OSError("orch runs in the background")
            self._attributes = termios.tcgetattr(self._fd)
            os.tcsetpgrp(self._fd, group)
        except (OSError, termios.error):
            os.close(self._fd)
            raise OSError("there is no terminal") from None

    def take_back(self) -> None:
        # The system stops a background process that changes the terminal with SIGTTOU.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            with contextlib.suppress(OSError, termios.error):
                os.tcsetpgrp(self._fd, os.getpgrp())
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._attributes)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(self._fd)
