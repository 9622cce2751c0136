"""What a tool has printed stands above the debugger's prompt, also if only the message was ready to be read."""

from __future__ import annotations

import os

from discover_orch.execution.worker_reader import WorkerReader
from discover_orch.model.run_events import DebuggerOpened, ToolOutput, ToolStarted
from discover_orch.worker.protocol import encode_message


def test_output_before_a_debugger_comes_before_it() -> None:
    reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
    for fd in reads:
        os.set_blocking(fd, False)
    messages, out, err = reads
    reader = WorkerReader(messages, out, err, "\0mark\n", lambda fd: None)
    os.write(writes[0], encode_message(ToolStarted(module="a")))
    os.write(writes[1], b"before\n")
    os.write(writes[0], encode_message(DebuggerOpened(module="a")))
    assert reader.read({reads[0]}) == [
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text="before\n"),
        DebuggerOpened(module="a"),
    ]
    for fd in (*reads, *writes):
        os.close(fd)
