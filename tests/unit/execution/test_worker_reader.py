"""In which order the messages and the output of a worker are told, whatever order they are read in: real pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from discover_orch.execution.worker_reader import (
    StepOutput,
    StepProgress,
    WorkerReader,
    WorkerSaid,
)
from discover_orch.worker.protocol import (
    DebugStarted,
    Message,
    StepFinished,
    StepStarted,
    encode_message,
)

MARK = "\0mark "


class Worker:
    """What a worker writes, and the transcript of it."""

    def __init__(self, mark: str = MARK) -> None:
        self.left: list[int] = []
        ends = [os.pipe() for _ in range(3)]
        self.reads, self.writes = [one for one, _ in ends], [one for _, one in ends]
        for fd in self.reads:
            os.set_blocking(fd, False)
        self.open = set(self.writes)
        out, err = self.reads[1:] if mark else (-1, -1)
        self.transcript = WorkerReader(self.reads[0], out, err, mark, self.left.append)

    def say(self, *messages: Message) -> None:
        for one in messages:
            os.write(self.writes[0], encode_message(one))

    def write(self, text: str, *, to: int = 1) -> None:
        os.write(self.writes[to], text.encode())

    def mark(self, step: int) -> None:
        """The end of the output of a step, on both streams."""
        for fd in self.writes[1:]:
            os.write(fd, f"{MARK}{step}\n".encode())

    def hear(self) -> list[WorkerSaid]:
        return self.transcript.read(set(self.reads))

    def end(self) -> None:
        while self.open:
            os.close(self.open.pop())

    def close(self) -> None:
        self.end()
        for fd in self.reads:
            os.close(fd)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def out(text: str, step: int | None = 1) -> StepOutput:
    return StepOutput(step=step, stream="stdout", text=text)


BEGIN = StepStarted(step=1)
END = StepFinished(step=1, status="passed", duration=1.0)


def test_a_silent_worker_says_nothing(worker: Worker) -> None:
    assert worker.hear() == []
    assert worker.transcript.read(set()) == []


def test_all_output_of_a_step_comes_before_its_end(worker: Worker) -> None:
    worker.say(BEGIN, END)
    worker.write("one\ntwo")
    assert worker.hear() == [BEGIN, out("one\n")]
    worker.mark(1)
    assert worker.hear() == [out("two"), END]


def bar(text: str) -> StepOutput:
    return StepOutput(step=1, stream="stderr", text=text)


def state(text: str) -> StepProgress:
    return StepProgress(step=1, text=text)


def test_the_state_of_a_bar_is_told_while_it_is_redrawn_and_its_last_one_is_output(
    worker: Worker,
) -> None:
    worker.say(BEGIN)
    worker.write("\r1%", to=2)
    assert worker.hear() == [BEGIN, state("1%")]
    worker.write("\r1%", to=2)
    assert worker.hear() == []
    worker.write("\r9%", to=2)
    worker.write("printed beside it\n")
    assert worker.hear() == [
        state("9%"),
        out("printed beside it\n"),
    ]
    worker.say(END)
    worker.mark(1)
    assert worker.hear() == [state(""), bar("9%\n"), END]


def test_a_bar_that_has_ended_stands_above_what_is_printed_after_it(worker: Worker) -> None:
    worker.say(BEGIN)
    worker.write("\r9%", to=2)
    worker.hear()
    worker.write("\n", to=2)
    worker.write("done\n")
    assert worker.hear() == [state(""), bar("9%\n"), out("done\n")]


def test_output_is_given_as_it_comes(worker: Worker) -> None:
    worker.say(BEGIN)
    assert worker.hear() == [BEGIN]
    worker.write("one\n")
    worker.write("oops\n", to=2)
    assert worker.hear() == [out("one\n"), StepOutput(step=1, stream="stderr", text="oops\n")]


def test_each_text_is_of_its_step(worker: Worker) -> None:
    second = StepStarted(step=2)
    worker.say(BEGIN, END, second)
    worker.write("one\n")
    worker.mark(1)
    worker.write("two\n")
    assert worker.hear() == [BEGIN, out("one\n"), END, second, out("two\n", 2)]


def test_what_is_written_between_steps_is_of_none(worker: Worker) -> None:
    worker.write("early\n")
    assert worker.hear() == [out("early\n", None)]


def test_a_line_in_two_pieces_is_one_message(worker: Worker) -> None:
    line = encode_message(BEGIN)
    os.write(worker.writes[0], line[:5])
    assert worker.hear() == []
    os.write(worker.writes[0], line[5:])
    assert worker.hear() == [BEGIN]


def test_what_is_no_message_is_kept_as_a_crash(worker: Worker) -> None:
    os.write(worker.writes[0], b"Fatal Python error\n")
    worker.say(BEGIN)
    os.write(worker.writes[0], b"half")
    assert worker.hear() == [BEGIN]
    assert worker.transcript.crash == "Fatal Python error\n"
    worker.end()
    assert worker.transcript.read_rest() == []
    assert worker.transcript.crash == "Fatal Python error\nhalf"


def test_where_output_is_not_captured_no_end_waits_for_it() -> None:
    worker = Worker(mark="")
    worker.say(BEGIN, END)
    assert worker.hear() == [BEGIN, END]
    worker.close()


def test_a_dead_worker_is_heard_to_the_end(worker: Worker) -> None:
    worker.say(BEGIN)
    worker.write("its last wor")
    worker.end()
    assert worker.transcript.read_rest() == [BEGIN, out("its last wor")]
    assert sorted(worker.left) == sorted(worker.reads)


def test_output_before_a_debugger_comes_before_it(worker: Worker) -> None:
    worker.say(StepStarted(step=0))
    worker.write("before\n")
    worker.say(DebugStarted(step=0))
    assert worker.transcript.read({worker.reads[0]}) == [
        StepStarted(step=0),
        StepOutput(step=0, stream="stdout", text="before\n"),
        DebugStarted(step=0),
    ]
