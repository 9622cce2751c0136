"""`--pdb` and `breakpoint()`: the worker asks for the terminal, gets it, and debugs there.

From the first breakpoint to the end of the step nothing is captured, so that the output of the tool appears where its
user debugs it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from discover_orch.model.tool_events import DebuggerOpened
from discover_orch.worker.channel import Capture, Channel
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.protocol import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class NoTerminal(Exception):
    """The tool wants to debug, but the worker can get no terminal."""

    hint = "run orch from a terminal, or remove the breakpoint()"


class Debugger:
    """Holds the terminal for at most one step."""

    def __init__(self, channel: Channel, capture: Capture, interrupts: Interrupts) -> None:
        self._channel = channel
        self._capture = capture
        self._interrupts = interrupts
        self._module = ""  # of the running tool
        #: Called before the first prompt of a step.
        self.note_stop: Callable[[], None] = lambda: None
        self._has_terminal = False

    def install(self) -> None:
        sys.breakpointhook = self._breakpoint

    def begin_step(self, module: str) -> None:
        self._module = module

    def end_step(self) -> None:
        """The parent takes the terminal back when it hears that the tool has ended. The caller restores the output."""
        self._has_terminal = False
        self._module = ""

    def debug_failure(self, error: BaseException, traceback: str) -> None:
        """Open the debugger on a failed tool, if there is a terminal."""
        if not self._acquire_terminal():
            return
        sys.stderr.write(traceback)
        with contextlib.suppress(BaseException):  # leaving the debugger raises
            prompt = self._make_prompt()
            prompt.reset()
            prompt.interaction(None, _skip_own_frames(error.__traceback__))

    def _breakpoint(self, *args: Any, **named: Any) -> Any:
        """`sys.breakpointhook`: like the standard one, but on the terminal."""
        wanted = os.environ.get("PYTHONBREAKPOINT", "")
        if wanted == "0":
            return None
        if not self._acquire_terminal():
            raise NoTerminal("breakpoint() needs a terminal, and there is none")
        if wanted:
            return sys.__breakpointhook__(*args, **named)
        self._make_prompt().set_trace(sys._getframe(1))
        return None

    def _make_prompt(self) -> Any:
        """The standard debugger. Ctrl-C at its prompt does not interrupt the run."""
        import pdb  # takes 30 ms

        interrupts = self._interrupts

        class Prompt(pdb.Pdb):
            def cmdloop(self, intro: Any = None) -> None:
                before, interrupts.is_debugging = interrupts.is_debugging, True
                try:
                    super().cmdloop(intro)
                finally:
                    interrupts.is_debugging = before

        return Prompt()

    def _acquire_terminal(self) -> bool:
        if self._has_terminal:
            return True
        if not self._module:
            return False
        self._channel.send(DebuggerOpened(module=self._module))
        answer = self._channel.receive()
        if not isinstance(answer, Terminal) or not answer.granted:
            return False
        try:
            fd = os.open("/dev/tty", os.O_RDWR)
        except OSError:
            return False
        self._capture.redirect_to(fd)
        os.close(fd)
        with contextlib.suppress(ValueError):  # not in the main thread
            # Ctrl-Z would stop only this process, and the shell would still wait for orch.
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        self._has_terminal = True
        self.note_stop()
        return True


def _skip_own_frames(traceback: Any) -> Any:
    """The traceback from the user's first frame on."""
    from discover_orch.worker.tracebacks import is_own_file

    while traceback.tb_next is not None and is_own_file(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback
