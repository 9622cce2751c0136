"""A run in a thread of its own, so that the thread that asked for it is never inside orch when an interrupt comes.

The thread that asks waits for events and may be any thread of any program: a notebook, a scheduler, a test.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from threading import Thread

from discover_orch.execution.run_events import Event
from discover_orch.execution.signal_handlers import SignalHandlers

#: Seconds after which a wait looks for signals: Python misses one that comes just before it waits for a lock.
LONGEST_WAIT = 0.5


class Interrupts(SignalHandlers):
    """The requests to a run, made by any thread: the first `interrupt` interrupts it, the second kills. No handler is
    installed."""

    def interrupt(self) -> None:
        self._pending.append(signal.SIGINT)
        self.wake_up()


def run_in_background(
    start: Callable[[Interrupts], Generator[Event, None, None]],
) -> Iterator[Event]:
    """The events of the run that `start` begins. If the caller is interrupted or closes the iterator, the run is
    interrupted too; a second interrupt kills it. Either way it has ended when this returns."""
    interrupts = Interrupts()
    queue: SimpleQueue[Event | BaseException | None] = SimpleQueue()

    def run() -> None:
        events = start(interrupts)
        try:
            for event in events:
                queue.put(event)
        except BaseException as error:
            queue.put(error)
        finally:
            events.close()
            queue.put(None)

    thread = Thread(target=run, name="discover_orch run")
    thread.start()
    try:
        while (event := _get(queue)) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    except BaseException:  # KeyboardInterrupt, or the iterator was closed
        interrupts.interrupt()
        raise
    finally:
        _wait_for(thread, interrupts)
        interrupts.close()


def _get(queue: SimpleQueue[Event | BaseException | None]) -> Event | BaseException | None:
    while True:
        try:
            return queue.get(timeout=LONGEST_WAIT)
        except Empty:
            continue


def _wait_for(thread: Thread, interrupts: Interrupts) -> None:
    is_interrupted = False
    while thread.is_alive():
        try:
            thread.join(LONGEST_WAIT)
        except KeyboardInterrupt:
            is_interrupted = True
            interrupts.interrupt()
    if is_interrupted:
        raise KeyboardInterrupt
