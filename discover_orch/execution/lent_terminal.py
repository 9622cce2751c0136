"""The terminal while the process group of a worker has it, so that the user can debug a tool."""

from __future__ import annotations

import contextlib
import os
import signal
import termios


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
