"""Reads what a worker says, in true order: its messages, and all output of a step before the end of that step.

Of a line that is redrawn, such as a progress bar, only the last state is output; until then it is a `ToolProgress`.

It never waits, and knows of a step only that it starts and ends. A line that is no message is kept as a crash report.
It imports little, since every run needs it at its start.
"""

from __future__ import annotations

import codecs
import os
import re

from discover_orch.model.tool_events import (
    DebuggerOpened,
    ToolFinished,
    ToolOutput,
    ToolProgress,
    ToolStarted,
)
from discover_orch.worker.protocol import Message, decode_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from discover_orch.model.tool_events import Stream

READ_SIZE = 1 << 16
LAST_READS = 64  # more than a pipe holds
LONGEST_LINE = 1 << 20  # characters; a longer line is passed on in pieces
#: What hides and shows the cursor, and what clears a line or moves the cursor within lines.
_CURSOR, _MOVES = r"\x1b\[\?25[hl]", r"\x1b\[\d*[A-HJK]"


class WorkerReader:
    """Reads one worker. Descriptors are -1 if there is none. `stop_polling` is called with a descriptor that has
    reached its end."""

    def __init__(
        self, messages: int, out: int, err: int, stop_polling: Callable[[int], None]
    ) -> None:
        self.crash = ""  # what the fault handler wrote among the messages
        self._messages, self._stop_polling = messages, stop_polling
        self._unread: list[bytes] = []  # the pieces of a message that has not ended
        self._held: list[Message] = []  # messages that were read
        self._streams = [OutputStream("stdout", out), OutputStream("stderr", err)]
        self._module, self._is_running = "", False  # the tool that started last
        self._progress = ""  # what was emitted last of it

    def read(self, ready: set[int], *, is_dead: bool = False) -> list[Message]:
        """Everything whose order is known by now; `ready` are the descriptors that can be read."""
        # A progress bar that ends stands above what was then printed to the other stream.
        self._streams.sort(key=lambda stream: not stream.is_redrawn)
        # Output first: the worker writes that a step starts before its output, so that message is read too.
        is_new = False
        for stream in self._streams:
            if stream.fd in ready:
                self._read_stream(stream)
                is_new = True
        if is_new or self._messages in ready or is_dead:
            self._read_messages()
        found: list[Message] = []
        if self._progress:  # before its last state is output
            self._emit_progress(found)
        self._emit_in_order(found)
        self._emit_progress(found)
        return found

    def read_rest(self) -> list[Message]:
        """The rest of what a dead worker wrote."""
        for stream in self._streams:
            self._read_all(stream)
            stream.end()
        while self._read_messages():
            pass
        self.crash += b"".join(self._unread).decode("utf-8", "replace")
        found: list[Message] = []
        self._emit_in_order(found)
        return found

    def _emit_progress(self, found: list[Message]) -> None:
        """What the running step is redrawing, if that has changed."""
        is_ending = any(isinstance(one, ToolFinished) for one in self._held)
        states = [stream.state for stream in self._streams if stream.state]
        state = states[0] if states and self._is_running and not is_ending else ""
        if self._is_running and state != self._progress:
            found.append(ToolProgress(module=self._module, text=state))
        self._progress = state

    def _emit_in_order(self, found: list[Message]) -> None:
        """Adds messages in their order to `found`, the end of a step after all output of that step. What comes between
        two tools is the first's; what comes before all of them is of none."""
        for message in self._held:
            self._emit_message(message, found)
        self._held.clear()
        for stream in self._streams:
            stream.emit(self._module, found)

    def _emit_message(self, message: Message, found: list[Message]) -> None:
        """Adds it to `found`, after the output that belongs before it. What a step has written is in the pipes before
        the worker says that it has ended, and no other starts before that was read."""
        match message:
            case ToolStarted(module=module):
                self._module, self._is_running = module, True
            case ToolFinished():
                self._is_running, self._progress = False, ""
                for stream in self._streams:
                    self._read_all(stream)
                    stream.end_step()
                    stream.emit(self._module, found)
            case DebuggerOpened():  # show earlier output before the debugger opens
                for stream in self._streams:
                    self._read_all(stream)
                    stream.emit(self._module, found)
        found.append(message)

    def _read_all(self, stream: OutputStream) -> None:
        for _ in range(LAST_READS):  # its child processes may write without end
            if not self._read_stream(stream):
                break

    def _read_stream(self, stream: OutputStream) -> bool:
        """Reads what is there; whether there was anything."""
        if stream.is_over:
            return False
        data = _read(stream.fd)
        if data == b"":
            self._stop_polling(stream.fd)
            stream.end()
        elif data is not None:
            stream.feed(data)
        return data is not None

    def _read_messages(self) -> bool:
        data = _read(self._messages)
        if not data:
            if data == b"":
                self._stop_polling(self._messages)
            return False
        if b"\n" not in data:
            self._unread.append(data)
            return True
        *lines, rest = b"".join((*self._unread, data)).split(b"\n")
        self._unread = [rest]
        for line in lines:
            try:
                message = decode_message(line)
            except ValueError:
                self.crash += line.decode("utf-8", "replace") + "\n"
                continue
            self._held.append(message)
        return True


class OutputStream:
    """One of the worker's outputs: what was read of it and not yet emitted, and the last line, which has not ended. A
    carriage return starts that one again: only its last state is output."""

    def __init__(self, name: Stream, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.is_over = fd < 0
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._ended: list[str] = []  # lines
        self._line = ""
        self.is_redrawn = False
        self._is_at_start = False  # what comes next replaces the line

    @property
    def state(self) -> str:
        """The line as it is now, if it is redrawn."""
        return re.sub(_MOVES, "", self._line).strip() if self.is_redrawn else ""

    def feed(self, data: bytes) -> None:
        text = self._decode(data)
        if "\x1b[?25" in text:
            text = re.sub(_CURSOR, "", text)
        if "\r" in text or self.is_redrawn:
            *ended, rest = text.replace("\r\n", "\n").split("\n")
            for part in ended:
                self._draw(part)
                self._end_line("\n")
            self._draw(rest)
        else:
            text = self._line + text
            cut = text.rfind("\n") + 1
            self._add(text[:cut])
            self._line = text[cut:]
        if len(self._line) > LONGEST_LINE:
            self._end_line()

    def emit(self, module: str, found: list[Message]) -> None:
        """Adds the lines that have ended to `found`, as output of this tool."""
        found.extend(ToolOutput(module=module, stream=self.name, text=one) for one in self._ended)
        self._ended.clear()

    def _end_line(self, newline: str = "") -> None:
        text, is_redrawn = self._line, self.is_redrawn
        self._line, self.is_redrawn, self._is_at_start = "", False, False
        if is_redrawn:
            text = re.sub(_MOVES, "", text).rstrip()
            newline = "\n" if text else ""
        self._add(text + newline)

    def end_step(self) -> None:
        """Nothing more comes to the last line."""
        self._line += self._decode(b"", True)
        self._end_line()

    def end(self) -> None:
        """Nothing more will be read."""
        self.is_over = True
        self.end_step()

    def _add(self, text: str) -> None:
        if text:
            self._ended.append(text)

    def _draw(self, part: str) -> None:
        for number, piece in enumerate(part.split("\r")):
            if number:
                self.is_redrawn = self._is_at_start = True
            if piece:
                self._line = piece if self._is_at_start else self._line + piece
                self._is_at_start = False


def _read(fd: int) -> bytes | None:
    """What can be read without waiting; b"" at the end, None if there is nothing now."""
    try:
        return os.read(fd, READ_SIZE)
    except BlockingIOError:
        return None
