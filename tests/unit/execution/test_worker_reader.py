"""What a tool has printed stands above its end and the debugger's prompt, also if only the message was ready to be
read; and whatever way the bytes of an output are cut, the same text comes out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.execution.worker_reader import LONGEST_LINE, OutputStream, WorkerReader
from discover_orch.model.tool_events import DebuggerOpened, ToolFinished, ToolOutput, ToolStarted
from discover_orch.worker.protocol import Message, encode_line


@pytest.fixture
def pipes() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The reading and the writing ends of messages, stdout and stderr."""
    reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
    for fd in reads:
        os.set_blocking(fd, False)
    yield reads, writes
    for fd in (*reads, *writes):
        os.close(fd)


@pytest.mark.parametrize(
    "message", [DebuggerOpened(module="a"), ToolFinished(module="a", status="passed")]
)
def test_output_before_a_message_comes_before_it(
    pipes: tuple[tuple[int, ...], tuple[int, ...]], message: DebuggerOpened | ToolFinished
) -> None:
    reads, writes = pipes
    messages, out, err = reads
    reader = WorkerReader(messages, out, err, lambda fd: None)
    os.write(writes[0], encode_line(ToolStarted(module="a")))
    os.write(writes[1], b"before\n")
    os.write(writes[0], encode_line(message))
    assert reader.read({messages}) == [
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text="before\n"),
        message,
    ]


def read_output(stream: OutputStream) -> list[str]:
    found: list[Message] = []
    stream.emit("a", found)
    return [one.text for one in found if isinstance(one, ToolOutput)]


@given(
    st.text(st.sampled_from("aé€😀\n\0 orch"), max_size=60),
    st.lists(st.integers(1, 12)),
)
def test_a_text_survives_any_cut(text: str, sizes: list[int]) -> None:
    stream, data = OutputStream("stdout", 1), text.encode()
    while data:
        size = sizes.pop(0) if sizes else len(data)
        stream.feed(data[:size])
        data = data[size:]
    lines = read_output(stream)
    assert all(one.endswith("\n") for one in lines)
    stream.end_step()
    assert "".join([*lines, *read_output(stream)]) == text


def test_half_a_character_at_the_end_of_a_step_is_no_part_of_the_next() -> None:
    stream = OutputStream("stdout", 1)
    stream.feed("a€".encode()[:-1])
    stream.end_step()
    stream.feed(b"b\n")
    assert read_output(stream) == ["a\\xe2\\x82", "b\n"]


def test_an_endless_line_is_handed_on_in_pieces() -> None:
    stream = OutputStream("stdout", 1)
    data = ("é" * (3 * LONGEST_LINE)).encode()
    for at in range(0, len(data), 65_535):
        stream.feed(data[at : at + 65_535])
    stream.end_step()
    found = read_output(stream)
    assert "".join(found).encode() == data
    assert len(found) > 2
