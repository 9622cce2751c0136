"""The worker of `orch run` as a fork of a fork server: a new interpreter and its imports cost more than most tools.

Whatever the server has imported beyond what a worker imports is taken away again, so the worker has the same modules,
path, signals, descriptors and `__main__` as a new interpreter (`tests/process/test_forked_workers.py`). The worker that
`orch run` starts before it reads its command line is a fork of `orch`: at that moment nothing has happened in it. Later
ones, of a watch and of `run --changed`, are forks of a fork that was made then (`forker.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable

import msgspec

from discover_orch.worker.spawn import PipeEnds

TYPE_CHECKING = False
if TYPE_CHECKING:  # it imports what no worker does
    from tests.support.forker import Forker

#: What no worker imports, and the folders that were searched for it.
OWN_PACKAGE = __name__.partition(".")[0]
OWN_PLACES = (os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__)))
#: With one of these a command may start workers after it has read its command line.
LATER = frozenset({"watch", "--changed"})
RUNS_NOTHING = frozenset({"-n", "--dry-run", "--help"})


class StartWorker(BaseException):
    """Raised in a new fork, which leaves `orch` with it and becomes a worker that runs `code`."""

    def __init__(self, code: str) -> None:
        self.code = code


class ForkedWorkers:
    """Remembers the interpreter as it is now, with all that a worker imports and nothing else."""

    def __init__(self) -> None:
        self._modules = {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] != OWN_PACKAGE
        }
        self._path = sys.path[:]
        self._finders = sys.meta_path[:], sys.path_hooks[:]
        self._places = sys.path_importer_cache.keys() - {*OWN_PLACES}
        self._filters = warnings.filters[:]

    def leave_out(self, place: str) -> None:
        """This is on the path for the forker alone."""
        self._path.remove(place)

    def install(self) -> None:
        """From now on early workers are forks. To be called when all is imported that commands need."""
        from discover_orch.cli.app import run_command_line

        spawn, main = PipeEnds.spawn, threading.main_thread()

        def fork_early(
            self: PipeEnds, code: str, *, default: tuple[int, ...], mask: tuple[int, ...]
        ) -> int:
            if threading.current_thread() is not main or _is_called_by(run_command_line):
                return spawn(self, code, default=default, mask=mask)
            return _fork(self._given, code, default, mask)

        PipeEnds.spawn = fork_early  # type: ignore[method-assign]
        gc.collect()
        gc.freeze()

    def run(self, command: Callable[[], None]) -> Callable[[], None]:
        """Runs `orch`, which ends the process. In a worker it returns the rest of its life, to be called where nothing
        else is on the stack."""
        words = {*sys.argv}
        if words & LATER and not words & RUNS_NOTHING and (fd := self._fork_forker()):
            return lambda: self.serve(fd)
        try:
            command()
        except StartWorker as start:
            code = start.code
            return lambda: self._work(code)
        raise AssertionError("orch has not ended the process")

    def serve(self, fd: int) -> None:
        """As a forker with this socket. Returns in each worker, at the end of its life."""
        from tests.support.forker import wait_for_first_order, wait_for_order

        wait_for_first_order(fd)
        self._forget()
        gc.freeze()
        self._execute(wait_for_order(fd))

    def _fork_forker(self) -> int:
        """Its socket in the new process, 0 in this one."""
        from tests.support.forker import Forker, can_fork, make_sockets

        if not can_fork():
            return 0
        ours, theirs = make_sockets()
        pid = os.fork()
        if pid:
            os.close(theirs)
            forker = Forker(pid, ours)
            PipeEnds.spawn = spawn_by(lambda: forker, PipeEnds.spawn)  # type: ignore[method-assign]
            return 0
        os.setpgid(0, 0)
        os.close(ours)
        for number in range(
            3
        ):  # else who reads the output of `orch` would wait for the end of this process
            os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), number)
        return theirs

    def _work(self, code: str) -> None:
        self._forget()
        close_as_exec_does()
        self._execute(code)

    def _forget(self) -> None:
        """What only `orch` has imported."""
        main = sys.modules["__main__"].__dict__
        # Taking modules down would take longer than all the rest.
        _keep_for_ever([self, main.copy(), *sys.modules.values()])
        for name in [*sys.modules]:
            if name not in self._modules:
                module = sys.modules.pop(name)
                parent, _, own = name.rpartition(".")
                holder = vars(self._modules[parent]) if parent in self._modules else {}
                if holder.get(own) is module:
                    del holder[own]
        sys.path[:] = self._path
        sys.meta_path[:], sys.path_hooks[:] = self._finders
        for place in sys.path_importer_cache.keys() - self._places:
            del sys.path_importer_cache[place]
        warnings.filters[:] = self._filters  # type: ignore[index]
        sys.argv[:] = ["-c"]
        for name in [*main]:
            if not name.startswith("__"):
                del main[name]

    def _execute(self, code: str) -> None:
        gc.enable()
        exec(compile(code, "<string>", "exec"), sys.modules["__main__"].__dict__)


Spawn = Callable[..., int]  # as `PipeEnds.spawn`


def spawn_by(find_forker: Callable[[], Forker], spawn: Spawn) -> Spawn:
    """A `PipeEnds.spawn` that forks workers; `spawn` starts them where the forker cannot."""
    from tests.support.forker import Order

    def fork(self: PipeEnds, code: str, *, default: tuple[int, ...], mask: tuple[int, ...]) -> int:
        given = self._given
        targets = {target for _, target in given}
        inherited = [(fd, fd) for fd in range(3) if fd not in targets and _is_open(fd)]
        try:
            pid = find_forker().fork(
                Order(
                    what=code,
                    folder=os.getcwd(),
                    environment=os.environ,
                    given=[*given, *inherited],
                    default=default,
                    mask=mask,
                )
            )
        except OSError:
            return spawn(self, code, default=default, mask=mask)
        for theirs, _ in given:
            os.close(theirs)
        return pid

    return fork


def build_decoders(kind: type[msgspec.Struct] = msgspec.Struct) -> None:
    """msgspec reads the annotations of a class when it first decodes one, which takes a fifth of a small run."""
    for one in kind.__subclasses__():
        with contextlib.suppress(TypeError, NameError):  # it is never decoded
            msgspec.json.Decoder(one)
        build_decoders(one)


def _is_called_by(function: Callable[..., object]) -> bool:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame.f_code is function.__code__


def _fork(
    given: Iterable[tuple[int, int]], code: str, default: Iterable[int], mask: Iterable[int]
) -> int:
    """As `posix_spawn` in `PipeEnds.spawn`. In the child it raises `StartWorker`."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    pid = os.fork()
    if pid:
        os.setpgid(pid, pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for theirs, _ in given:
            os.close(theirs)
        return pid
    os.setpgid(0, 0)
    for theirs, target in given:
        os.dup2(theirs, target)
    for number in default:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    raise StartWorker(code)


def close_as_exec_does() -> None:
    for fd in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # that of the listing itself
            if fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _keep_for_ever(something: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(something))
