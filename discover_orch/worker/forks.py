"""Makes several workers from one interpreter, which imports what a worker needs and then forks itself.

The interpreter ends as soon as it has forked, so that the workers become children of orch, as orphans below it do.
Only Linux can do that; elsewhere every worker gets an interpreter of its own, which takes 45 ms instead of 3. As
`spawn` this is used before the command line is read, and imports as little.
"""

from __future__ import annotations

import gc
import os
import sys
from _signal import SIGKILL  # type: ignore[import-not-found]

from discover_orch.worker.spawn import (
    HELD,
    OWN_FDS,
    STOPPED,
    Interpreter,
    PipeEnds,
    Pipes,
    find_start_code,
    open_pid,
)

#: Workers of one interpreter. Each needs five descriptors in it.
MOST_FORKS = 32
#: The first descriptor of the pipes of all workers in the interpreter: orders, messages, life, output, errors.
_FIRST_FD = 8
_PER_WORKER = 5


class Forks:
    """At most `count` workers of one interpreter, which is started at once. As many are made as are `wanted`, when
    `begin` is called, or else at the first `claim`. `pids` has all of them only after `wait`."""

    def __init__(self, count: int) -> None:
        self.wanted = count
        self.pids: set[int] = set()  # of the interpreter and of the workers that are not claimed
        self._workers: list[Interpreter] = []
        self._pipes: list[Pipes] = []
        self._interpreter = self._go = self._report = -1
        self._ordered = -1  # workers; -1 before `begin`
        count = min(count, MOST_FORKS)
        if count > 0 and sys.platform == "linux":
            try:
                self._start(count)
            except OSError:  # each worker gets an interpreter of its own then
                return

    def begin(self) -> None:
        """Has the interpreter fork. This does not wait for the workers."""
        from discover_orch.worker.child_processes import become_subreaper

        if self._interpreter < 0 or self._ordered >= 0:
            return
        self._ordered = min(max(self.wanted, 0), len(self._pipes)) if become_subreaper() else 0
        try:
            os.write(self._go, b"%d\n" % self._ordered)
        except BrokenPipeError:  # it has died
            self._ordered = 0
        os.set_blocking(self._report, True)

    @property
    def is_forking(self) -> bool:
        """Whether there may be workers that are not in `pids`."""
        return self._ordered >= 0 and self._interpreter > 0

    def wait(self) -> None:
        """Returns when all workers are known."""
        if not self.is_forking:
            return
        text = b""
        while text.count(b"\n") < self._ordered and (data := os.read(self._report, 4096)):
            text += data
        for word in text.split():
            pid = int(word)
            self.pids.add(pid)
            pipes = self._pipes.pop(0)
            pipes.pidfd = open_pid(pid)
            self._workers.append((pid, pipes))
        os.waitpid(self._interpreter, 0)
        self.pids.discard(self._interpreter)
        self._interpreter = -1

    def claim(self) -> Interpreter | None:
        """A worker that has captured output and waits for orders; None if there is none left."""
        self.begin()
        self.wait()  # until the interpreter ends, the workers are its children
        if not self._workers:
            return None
        pid, pipes = self._workers.pop(0)
        self.pids.discard(pid)
        return pid, pipes

    def close(self) -> None:
        """Ends what is not claimed. It has received no order and has done nothing."""
        self.wait()
        for pid in self.pids:
            _end(pid)
        self.pids.clear()
        for pipes in (*self._pipes, *(pipes for _, pipes in self._workers)):
            pipes.close()
        self._pipes.clear()
        self._workers.clear()
        for fd in (self._go, self._report):
            if fd >= 0:
                os.close(fd)
        self._interpreter = self._go = self._report = -1

    def _start(self, count: int) -> None:
        last = _FIRST_FD + _PER_WORKER * count + 2
        ends = PipeEnds(above=last)
        try:
            ends.give_null(0)
            ends.give_null(1, os.O_WRONLY)
            ends.give_null(2, os.O_WRONLY)
            for fd in range(_FIRST_FD, last - 2, _PER_WORKER):
                self._pipes.append(ends.open_worker(tuple(range(fd, fd + _PER_WORKER))))
            self._go = ends.pipe(last - 2, reads=True)
            self._report = ends.pipe(last - 1, reads=False)
            code = find_start_code(f"main(forks={count})")
            self._interpreter = ends.spawn(code, default=STOPPED, mask=HELD)
        except BaseException:
            ends.close()
            self._pipes.clear()
            self._go = self._report = -1
            raise
        self.pids.add(self._interpreter)


def fork(count: int) -> None:
    """In the interpreter, which has pipes for `count` workers: forks as many as orch says, and ends. Returns in each
    worker."""
    go = _FIRST_FD + _PER_WORKER * count
    order = os.read(go, 16)
    gc.freeze()
    for number in range(int(order or b"0")):
        pid = os.fork()
        if pid == 0:
            _take_pipes(_FIRST_FD + _PER_WORKER * number, go + 2)
            return
        _lead_group(pid)
        os.write(go + 1, b"%d\n" % pid)
    os._exit(0)


def _lead_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except OSError:  # it has done so itself
        return


def _end(pid: int) -> None:
    try:
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _take_pipes(first: int, end: int) -> None:
    """In a worker: its pipes get their usual numbers, and those of the others are closed."""
    os.setpgid(0, 0)
    for offset, target in enumerate((*OWN_FDS, 1, 2)):
        os.dup2(first + offset, target)
    os.closerange(_FIRST_FD, end)
