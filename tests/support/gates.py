"""A place where tools of a real run wait for the test, and the test for them, without a file that orch could see."""

from __future__ import annotations

import os
import secrets
import socket
from types import TracebackType

from tests.support.running import DEADLINE


class Gate:
    """Tools that have `code` in their module call `wait_at_gate()`; they pass at once where nobody listens.

    It is an abstract socket, so Linux alone has it, and it is in no folder.
    """

    def __init__(self) -> None:
        self.name = f"orch-gate-{os.getpid()}-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE)
        self._socket.bind(f"\0{self.name}")
        self._socket.listen()
        self._ends: list[socket.socket] = []

    @property
    def code(self) -> str:
        return f"""
import socket
def wait_at_gate():
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect("\\0{self.name}")
        except ConnectionRefusedError:
            return
        end.recv(1)
"""

    def wait_for(self, count: int = 1) -> None:
        """Until so many tools wait."""
        while len(self._ends) < count:
            self._ends.append(self._socket.accept()[0])

    def let_pass(self) -> None:
        """All that wait go on; who comes next waits."""
        while self._ends:
            self._ends.pop().close()

    def open(self) -> None:
        """All that wait go on, and from now on nobody has to wait."""
        self._socket.close()
        self.let_pass()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open()
