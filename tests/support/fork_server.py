"""`orch`, or a program, in forks of one process that has all modules imported: it starts in milliseconds.

Each command is still a process of its own, with its own environment, output and exit code, and can be killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tests.support.project_builder import Answer, clean_environment

SERVER = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w", buffering=1)
work = None
for line in sys.stdin.buffer:
    words, folder, environment, out, err = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            for fd, path in ((0, os.devnull), (1, out), (2, err)):
                flags = os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                os.dup2(os.open(path, flags), fd)
            os.close(replies.fileno())
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            work = do(words)
        except SystemExit as end:
            code = end.code or 0
        finally:
            if work is None:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        break
    replies.write(f"{pid}\\n")
    replies.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n")
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
if work is not None:
    work()
"""
#: What a server imports, and what each of its forks does with the words of the command.
ORCH = """
import importlib, pkgutil, sys
import discover_orch
for each in pkgutil.walk_packages(discover_orch.__path__, "discover_orch."):
    if "dask" not in each.name and not each.name.endswith(("__main__", "worker.main")):
        importlib.import_module(each.name)
from discover_orch.__main__ import main
def do(words):
    sys.argv = ["orch", *words]
    main()
"""
_WORKERS = """
import gc, sys
from discover_orch.worker.main import COMMON_IMPORTS, main
from discover_orch.worker.protocol import prepare_for_orders
for each in COMMON_IMPORTS:
    __import__(each)
prepare_for_orders()
from tests.support.forked_workers import ForkedWorkers, build_decoders
workers = ForkedWorkers()
"""
_COMMANDS = """
import importlib, pkgutil
import tests.support.forker
import discover_orch
for each in pkgutil.walk_packages(discover_orch.__path__, "discover_orch."):
    if "dask" not in each.name and not each.name.endswith("__main__"):
        if not each.name.startswith(("discover_orch.databases.", "discover_orch.worker.")):
            importlib.import_module(each.name)
from discover_orch.__main__ import main
build_decoders()
workers.install()
def do(words):
    sys.argv = ["orch", *words]
    return workers.run(main)
"""
#: The same, and workers are forks too. Drivers of databases are imported by the commands that need them: a library of
#: C code cannot be imported a second time, as a worker would do. A fork of a command that outlives it ends at once, and
#: the server waits for it.
ORCH_AND_WORKERS = f"""{_WORKERS}{_COMMANDS}
from discover_orch.worker.child_processes import become_subreaper
become_subreaper()
"""
#: Forkers (`forker.py`) of such commands, and of workers alone.
ORCH_FORKER = f"""{_WORKERS}{_COMMANDS}
from tests.support.forker import wait_for_order
work = do(wait_for_order(fd))
work()
"""
_ROOT = str(Path(__file__).parents[2])
WORKERS_FORKER = f"""
import sys
sys.path.insert(0, {_ROOT!r})
{_WORKERS}
workers.leave_out({_ROOT!r})
workers.serve(fd)
"""
#: The command is one word, a program. Like an interpreter it ends with a traceback and 1 if the program raises.
PROGRAMS = """
import traceback
def do(words):
    try:
        exec(words[0], {"__name__": "__main__"})
    except Exception:
        traceback.print_exc()
        raise SystemExit(1)
    raise SystemExit(0)
"""


class ForkServer:
    """Commands run one at a time. `code` is one of the two above, perhaps with more to import."""

    def __init__(self, code: str = ORCH) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orch-forks-")
        self._code = code
        self._process = _start_server(code)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self,
        root: Path,
        *words: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        meanwhile: Callable[[int], None] | None = None,
    ) -> Answer:
        """`meanwhile` is called with the process id while the command runs, and may end it."""
        if self._process.poll() is not None:
            # A test has ended all processes that its own had started.
            self._end()
            self._process = _start_server(self._code)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        environment = clean_environment(**(env or {}))
        order = [words, str(cwd or root), environment, str(out), str(err)]
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = int(self._process.stdout.readline())
        if meanwhile is not None:
            meanwhile(pid)
        code = int(self._process.stdout.readline())
        texts = [path.read_text("utf-8", "surrogateescape") for path in (out, err)]
        return Answer(code, *texts)


def _start_server(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code + SERVER],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def has_ended(pid: int) -> bool:
    """Whether a process of the server has ended, though the server may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return not os.path.exists(f"/proc/{pid}")
