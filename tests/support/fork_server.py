"""`orch`, or a program, in forks of one process that has all modules imported: it starts in milliseconds.

Each command is still a process of its own, with its own environment, output and exit code, and can be killed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.project_builder import Answer, clean_environment

SERVER = """
import array, json, os, select, socket, sys
replies = os.fdopen(os.dup(1), "w", buffering=1)
shells = socket.socket(fileno=int(sys.argv[1]))
os.set_inheritable(shells.fileno(), False)
work, typed = None, b""
def become(words, folder, environment, opened):
    os.setpgid(0, 0)
    for fd, other in enumerate(opened):
        os.dup2(other, fd)
    os.close(replies.fileno())
    shells.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return do(words)
def attempt(*order):
    code, left = 1, None
    try:
        left = become(*order)
    except SystemExit as end:
        code = end.code or 0
    finally:
        if left is None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return left
def open_files(out, err):
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.open(os.devnull, os.O_RDONLY), os.open(out, flags), os.open(err, flags)
def wait_for(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
while work is None:
    if shells in select.select([0, shells], [], [])[0]:  # a command in a shell: its descriptors come with it
        end, _ = shells.accept()
        if os.fork():
            end.close()
            continue
        data, parts, _, _ = end.recvmsg(1 << 17, socket.CMSG_SPACE(12))
        fds = array.array("i", parts[0][2])
        pid = os.fork()
        if pid == 0:
            end.close()
            work = attempt(*json.loads(data), fds)
            break
        end.send(b"%d" % wait_for(pid))
        os._exit(0)
    more = os.read(0, 1 << 17)
    typed += more
    if not more:
        break
    if not typed.endswith(b"\\n"):
        continue
    (words, folder, environment, out, err), typed = json.loads(typed), b""
    pid = os.fork()
    if pid == 0:
        work = attempt(words, folder, environment, open_files(out, err))
        break
    replies.write(f"{pid}\\n")
    replies.write(f"{wait_for(pid)}\\n")
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
if work is not None:
    work()
"""
#: What a shell starts in place of `orch`: it hands its words and descriptors to the server, and ends as the command.
CLIENT = """
import _socket, os, sys
end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
end.connect(sys.argv[1])
def quoted(text):
    plain = lambda one: " " <= one < "\\x7f" and one not in '"\\\\' or ord(one) > 0xffff
    return '"' + "".join(one if plain(one) else f"\\\\u{ord(one):04x}" for one in text) + '"'
words = ", ".join(map(quoted, sys.argv[2:]))
names = ", ".join(f"{quoted(one)}: {quoted(text)}" for one, text in os.environ.items())
order = f"[[{words}], {quoted(os.getcwd())}, {{{names}}}]"
fds = b"".join(one.to_bytes(4, sys.byteorder) for one in range(3))
end.sendmsg([order.encode("utf-8", "surrogateescape")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
code = int(end.recv(16) or 1)
os._exit(code if code >= 0 else 128 - code)
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
    """Commands run one at a time. `code` is one of the two above, perhaps with more to import; `prefix` is a command
    that starts the server."""

    def __init__(self, code: str = ORCH, prefix: Sequence[str] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orch-forks-")
        self._code = code
        self._prefix = prefix
        self.socket = os.path.join(self._folder.name, "shells")
        self._process = _start_server(code, self.socket, prefix)

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
            os.unlink(self.socket)  # of the one that has ended
            self._process = _start_server(self._code, self.socket, self._prefix)
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


def _start_server(code: str, path: str, prefix: Sequence[str]) -> subprocess.Popen[bytes]:
    """Commands of shells reach it by the socket at `path`, from now on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as shells:
        shells.bind(path)
        shells.listen()
        return subprocess.Popen(
            [*prefix, sys.executable, "-P", "-c", code + SERVER, str(shells.fileno())],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=[shells.fileno()],
        )


def has_ended(pid: int) -> bool:
    """Whether a process of the server has ended, though the server may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return not os.path.exists(f"/proc/{pid}")
