"""`--pdb` and `breakpoint()`: the worker asks for the terminal, gets it, and debugs there.

`Debugger` is the worker's side, `LentTerminal` the parent's. Orders that were sent ahead wait. From the
first breakpoint to the end of the step nothing is captured, since whoever steps through a tool wants to see
its output where the debugger is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from discover_orch.worker.capture import Capture
from discover_orch.worker.channel import Channel
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.protocol import DebugEnded, DebugStarted, Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NoTerminal(Exception):
    """There is nobody to debug with."""

    hint = "run it from a terminal, with one worker, or take the breakpoint() out"


class Debugger:
    """Holds the terminal for at most one step."""

    def __init__(self, channel: Channel, capture: Capture, interrupts: Interrupts) -> None:
        self._channel = channel
        self._capture = capture
        self._interrupts = interrupts
        self._step: int | None = None
        self._has_terminal = False

    def install(self) -> None:
        sys.breakpointhook = self._stop

    def begin_step(self, step: int) -> None:
        self._step = step

    def end_step(self) -> None:
        """Give the terminal back; the caller puts back the output."""
        if self._has_terminal and self._step is not None:
            self._has_terminal = False
            self._channel.send(DebugEnded(step=self._step))
        self._step = None

    def examine(self, error: BaseException, traceback: str) -> None:
        """Post-mortem of a failed tool, where there is a terminal."""
        if not self._take_terminal():
            return
        sys.stderr.write(traceback)
        with contextlib.suppress(BaseException):  # leaving the debugger is no second failure
            prompt = self._make_prompt()
            prompt.reset()
            prompt.interaction(None, _find_users(error.__traceback__))

    def _stop(self, *args: Any, **named: Any) -> Any:
        """`sys.breakpointhook`: as the standard one does, but on the terminal."""
        wanted = os.environ.get("PYTHONBREAKPOINT", "")
        if wanted == "0":
            return None
        if not self._take_terminal():
            raise NoTerminal("breakpoint() needs a terminal, and this worker has none")
        if wanted:
            return sys.__breakpointhook__(*args, **named)
        self._make_prompt().set_trace(sys._getframe(1))
        return None

    def _make_prompt(self) -> Any:
        """The standard debugger; Ctrl-C at its prompt is for it, and no wish to end the tool."""
        import pdb  # 30 ms, and only to debug

        interrupts = self._interrupts

        class Prompt(pdb.Pdb):
            def cmdloop(self, intro: Any = None) -> None:
                before, interrupts.is_debugging = interrupts.is_debugging, True
                try:
                    super().cmdloop(intro)
                finally:
                    interrupts.is_debugging = before

        return Prompt()

    def _take_terminal(self) -> bool:
        if self._has_terminal:
            return True
        if self._step is None:
            return False
        self._channel.send(DebugStarted(step=self._step))
        answer = self._channel.receive_only(Terminal)
        if not isinstance(answer, Terminal) or not answer.granted:
            return False
        try:
            fd = os.open("/dev/tty", os.O_RDWR)
        except OSError:
            self._channel.send(DebugEnded(step=self._step))
            return False
        self._capture.use(fd)
        os.close(fd)
        with contextlib.suppress(ValueError):  # not in the main thread
            # Ctrl-Z would stop this process alone, and leave the shell waiting for orch.
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        self._has_terminal = True
        return True


def _find_users(traceback: Any) -> Any:
    """The traceback from the first frame that is the user's."""
    from discover_orch.worker.tracebacks import is_own_file

    while traceback.tb_next is not None and is_own_file(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


class LentTerminal:
    """The controlling terminal, while the worker's process group has it. Raises OSError at the start."""

    def __init__(self, group: int) -> None:
        import termios  # only to debug

        self._fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                raise OSError("orch runs in the background")
            self._attributes = termios.tcgetattr(self._fd)
            os.tcsetpgrp(self._fd, group)
        except (OSError, termios.error):
            os.close(self._fd)
            raise OSError("no terminal to lend") from None

    def take_back(self) -> None:
        import termios

        # A process in the background is stopped by SIGTTOU when it changes the terminal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            with contextlib.suppress(OSError, termios.error):
                os.tcsetpgrp(self._fd, os.getpgrp())
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._attributes)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(self._fd)
