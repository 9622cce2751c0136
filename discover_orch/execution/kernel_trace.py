"""What the kernel tells of the processes of one worker: who used which file, and what the file was before.

The worker puts a filter on itself (`worker/kernel_filter.py`). Each call that it names waits until the thread here has
looked at its path and let it go on; the call itself is never changed. The worker asks for what was seen when a step
has ended. Reads the memory of these processes, and looks at files; writes nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import select
import signal
import stat
import struct
import time
from _socket import CMSG_SPACE, MSG_WAITALL, socket
from collections.abc import Sequence
from fcntl import ioctl

from discover_orch.model.observation import file_mark
from discover_orch.worker.child_processes import find_descendants
from discover_orch.worker.kernel_filter import (
    ANSWER,
    ASK,
    BEGIN,
    DRAIN,
    GOES_ON,
    LENGTH,
    LINK,
    LISTEN,
    NO,
    NONE,
    RECEIVE,
    REQUEST,
    SEND,
    YES,
    Call,
    CannotTrace,
    Traced,
    encode_traced,
    find_calls,
)
from discover_orch.worker.observed_paths import find_links

_SET_FLAGS = 0x40082104  # a request of `ioctl` (<linux/seccomp.h>)
#: The answer wakes who waits for it on this core, which is ten times faster in a virtual machine (since Linux 6.6).
_WAKES_HERE = 1
_CURRENT_FOLDER = 0xFFFFFF9C  # AT_FDCWD
_ONLY_ASKS, _UNNAMED = 0o10000000, 0o20000000  # O_PATH, __O_TMPFILE
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT
_SWAPS = 2  # RENAME_EXCHANGE
_ADDRESSES = {2: slice(4, 8), 10: slice(8, 24)}  # AF_INET, AF_INET6: where the address stands
_THIS_MACHINE = (b"\x7f", bytes(15) + b"\1", bytes(10) + b"\xff\xff\x7f")  # how its addresses begin
_LISTENS = "0A"  # the state of a socket (<net/tcp_states.h>)
_SHORT, _PAGE = 256, 4096  # bytes
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*\w?$")
CODE_SUFFIXES = (".py", ".pyc")
#: What Python asks about to find modules and itself.
LOOKED_FOR = (*CODE_SUFFIXES, ".so", "/pyvenv.cfg")
NARROW = "ran a program in a mode of the processor that orch does not trace"
UNREADABLE = "made a call that orch could not read"
OTHER_WAYS = {
    "chroot": "changed the root folder of a process",
    "mount": "mounted something",
    "io_uring_setup": "used io_uring, which the kernel does not trace",
    "open_by_handle_at": "opened files by their handles",
}


class KernelTrace:
    """Of one worker."""

    def __init__(self, worker: int, connection: socket) -> None:
        self._worker, self._connection = worker, connection
        self._machine, self._calls = NONE, dict[int, Call]()
        self._listener = NONE
        self._poll = select.poll()
        self._open: set[int] = set()
        self._memory = Memory()
        self._root = ""
        self._passing: tuple[bytes, ...] = ()  # what the paths begin with that never count
        self._events: list[Traced] = []
        self._seen: set[tuple[str, str, bool]] = set()
        self._own: dict[int, bool] = {}  # thread or process -> whether it is the worker's own
        self._python: dict[int, bool] = {}  # process -> whether it runs Python
        self._ran: set[bytes] = set()  # programs of the system that were run, or looked for

    def serve(self) -> None:
        """Answers until the worker is over. Runs in a thread of its own."""
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # for the main thread
            self._poll.register(self._connection, select.POLLIN)
            self._open = {self._connection.fileno()}
            while self._open:
                self._serve_next()
        except BaseException:
            # What waits for an answer would fail in a way that has nothing to do with it.
            with contextlib.suppress(OSError):
                os.kill(self._worker, signal.SIGKILL)
            raise
        finally:
            if self._listener != NONE:
                os.close(self._listener)

    def _serve_next(self) -> None:
        """Waits for the worker or the kernel."""
        ready = self._poll.poll()
        if ready[0][0] != self._listener or len(ready) > 1:  # what the worker says comes first
            if not self._obey():
                self._close(self._connection.fileno())
        elif ready[0][1] & select.POLLIN:
            self._answer()
        else:  # no process is left that has the filter
            self._close(self._listener)

    def _close(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.discard(fd)

    def _obey(self) -> bool:
        """Does what one word of the worker says; False when it says no more. A process that it has started, or what it
        has become, may go on."""
        try:
            word, rights, _, _ = self._connection.recvmsg(1, CMSG_SPACE(4))
            if word == ASK:
                (length,) = LENGTH.unpack(self._connection.recv(LENGTH.size, MSG_WAITALL))
                root, *passing = self._connection.recv(length, MSG_WAITALL).split(b"\0")
                self._root = os.fsdecode(root).rstrip("/") + "/"
                self._passing = tuple(one + b"/" for one in passing)
                self._connection.sendall(YES if self._is_permitted() else NO)
            elif word == LISTEN:
                (self._listener,) = struct.unpack("i", rights[0][2])
                with contextlib.suppress(OSError):
                    ioctl(self._listener, _SET_FLAGS, _WAKES_HERE)
                self._poll.register(self._listener, select.POLLIN)
                self._open.add(self._listener)
            elif word == BEGIN:
                self._forget()
            elif word == DRAIN:
                found = encode_traced(self._events)
                self._forget()
                self._connection.sendall(LENGTH.pack(len(found)) + found)
        except ConnectionError:
            return False
        return word != b""

    def _is_permitted(self) -> bool:
        """Whether this process may read the memory of the worker."""
        try:
            self._machine, self._calls = find_calls()
            os.close(os.open(f"/proc/{self._worker}/mem", os.O_RDONLY | os.O_CLOEXEC))
        except (OSError, CannotTrace):
            return False
        return True

    def _forget(self) -> None:
        """The numbers of processes are used again."""
        for one in (self._events, self._seen, self._own, self._python, self._ran):
            one.clear()

    # One call.

    def _answer(self) -> None:
        request = bytearray(REQUEST.size)
        try:
            ioctl(self._listener, RECEIVE, request)
        except OSError:  # it has died, or a signal came
            return
        ident, pid, _, number, machine, _, *arguments = REQUEST.unpack(request)
        try:
            if machine == self._machine and number in self._calls:
                self._note(pid, self._calls[number], arguments)
            else:
                self._add("gap", NARROW)
        except OSError:  # it has died, or gave an address or a descriptor that there is not
            pass
        except Exception:  # what cannot be read must never harm the tool
            self._add("gap", UNREADABLE)
        with contextlib.suppress(OSError):  # it has died
            ioctl(self._listener, SEND, ANSWER.pack(ident, 0, 0, GOES_ON))

    def _note(self, pid: int, call: Call, arguments: Sequence[int]) -> None:
        is_own = self._own.get(pid)
        if is_own is None:
            is_own = os.path.exists(f"/proc/{self._worker}/task/{pid}")
            self._own[pid] = is_own
        if call.path == NONE:
            if call.folder != NONE:
                self._note_listed(pid, arguments[call.folder], is_own=is_own)
            elif call.name == "connect":
                self._note_connected(pid, arguments, is_own=is_own)
            else:
                self._add("gap", OTHER_WAYS[call.name])
            return
        if call.is_question and is_own and not call.name.startswith("readlink"):
            return  # Python shows what it asks
        place = call.folder if call.folder != NONE else -1
        if runs := call.name.startswith("exec"):
            self._python.pop(pid, None)
        path = self._read_path(pid, place, call.path, arguments, runs=runs)
        if path is None and call.name != "linkat":  # of an open file that has no name yet
            return
        path = path or ""
        flags = arguments[call.flags] if call.flags != NONE else 0
        match call.name:
            case "openat" | "open":
                self._note_open(pid, path, flags, is_own=is_own)
            case "openat2":
                (flags,) = struct.unpack("Q", self._memory.read(pid, flags, 8))
                self._note_open(pid, path, flags, is_own=is_own)
            case "creat":
                self._note_open(pid, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, is_own=is_own)
            case "rename" | "renameat" | "renameat2":
                if new := self._read_second(pid, call, arguments):
                    self._note_rename(path, new, is_own=is_own, swaps=bool(flags & _SWAPS))
            case "link" | "linkat":
                if new := self._read_second(pid, call, arguments):
                    self._note_link(new, path, is_own=is_own)
            case "symlink" | "symlinkat":
                self._note_link(path, "", is_own=is_own)
            case "mkdir" | "mkdirat":
                if not os.path.lexists(path):
                    self._add("made", path, is_own=is_own)
            case "unlink" | "unlinkat" | "rmdir":
                if found := find_state(path, follows=False):
                    self._add("removed", path, found, is_own=is_own)
            case "truncate":
                if found := find_state(path):
                    self._add("updated", path, found, is_own=is_own)
            case "chdir":
                self._note_links(path)
            case "execve" | "execveat":
                self._note_run(path)
            case "readlink" | "readlinkat":
                if os.path.islink(path):
                    self._add("followed", path, is_own=is_own, more=os.readlink(path))
                elif not is_own:
                    self._note_question(pid, path)
            case _:
                self._note_question(pid, path)

    def _read_path(
        self,
        pid: int,
        folder: int,
        place: int,
        arguments: Sequence[int],
        *,
        runs: bool = False,
    ) -> str | None:
        """The absolute path that the argument at `place` gives, relative to that of a folder; None where it never
        counts, or where an open file is meant. A program of the system counts once a step, since it may have rights of
        its own: each process that is started looks for it in all folders of PATH."""
        given = self._memory.read_text(pid, arguments[place])
        if given[:1] != b"/":
            fd = arguments[folder] & 0xFFFFFFFF if folder >= 0 else _CURRENT_FOLDER
            if not given:
                return None
            where = "cwd" if fd == _CURRENT_FOLDER else f"fd/{fd}"
            given = os.fsencode(os.readlink(f"/proc/{pid}/{where}")) + b"/" + given
        if given.startswith((b"/proc/", b"/dev/fd/")):
            given = _resolve_open(given, pid)
        if b"/." in given or b"//" in given:
            if b"/../" in given:
                self._note_links(os.fsdecode(given.partition(b"/../")[0]))
            given = _normalize(given)
        if given.startswith(self._passing):
            if not runs or given in self._ran:
                return None
            self._ran.add(given)
        return os.fsdecode(given)

    def _read_second(self, pid: int, call: Call, arguments: Sequence[int]) -> str | None:
        """The new path of a rename or of a link, whose arguments follow those of the old one."""
        if call.folder == NONE:
            return self._read_path(pid, -1, call.path + 1, arguments)
        return self._read_path(pid, call.path + 1, call.path + 2, arguments)

    def _note_links(self, folder: str) -> None:
        """What comes by way of this folder has its real name: whoever switches a link to it changes what that is."""
        for link in find_links(folder, self._root.rstrip("/")):
            self._add("followed", link, more=os.readlink(link))

    # What was done.

    def _add(
        self, kind: str, path: str, state: str = "", more: str = "", *, is_own: bool = False
    ) -> None:
        key = kind, path, is_own
        if key not in self._seen:
            self._seen.add(key)
            self._events.append(Traced(kind, path, is_own, time.monotonic_ns(), state, more))

    def _note_open(self, pid: int, path: str, flags: int, *, is_own: bool) -> None:
        is_code = path.endswith(CODE_SUFFIXES)
        if not flags & _WRITES and (("read", path, is_own) in self._seen or (is_code and is_own)):
            return  # what the worker imports is known
        try:
            found = os.lstat(path)
            if is_link := stat.S_ISLNK(found.st_mode):
                found = os.stat(path)
        except OSError:
            makes = "appended" if flags & os.O_APPEND else "written"
            self._add(makes if flags & os.O_CREAT else "missed", path, is_own=is_own)
            return
        if not stat.S_ISREG(found.st_mode):  # listing a folder is another call
            self._note_links(path)
            return
        if flags & _ONLY_ASKS and not flags & _UNNAMED:
            self._note_question(pid, path)
            return
        if flags & os.O_CREAT and flags & os.O_EXCL:
            return  # it fails
        kind = "read"
        if flags & os.O_TRUNC:
            kind = "written"
        elif flags & (os.O_WRONLY | os.O_RDWR):
            kind = "appended" if flags & os.O_APPEND and flags & os.O_WRONLY else "updated"
        elif is_code and self._runs_python(pid):
            kind = "code"
        self._add(kind, path, file_mark(found), LINK if is_link else "", is_own=is_own)

    def _note_rename(self, old: str, new: str, *, is_own: bool, swaps: bool) -> None:
        found = os.lstat(old)
        if stat.S_ISDIR(found.st_mode):
            self._add("moved", new, more=old, is_own=is_own)
            return
        self._add("named", new, find_state(new, follows=False), old, is_own=is_own)
        if swaps:
            self._add("named", old, file_mark(found), new, is_own=is_own)
        else:
            self._add("removed", old, file_mark(found), is_own=is_own)

    def _note_link(self, path: str, target: str, *, is_own: bool) -> None:
        """`target` is that of a hard link."""
        if not os.path.lexists(path):  # else it fails
            self._add("linked", path, more=target, is_own=is_own)

    def _note_listed(self, pid: int, fd: int, *, is_own: bool) -> None:
        path = os.readlink(f"/proc/{pid}/fd/{fd & 0xFFFFFFFF}")
        if os.fsencode(path + "/").startswith(self._passing):
            return
        kind = "searched" if not is_own and self._runs_python(pid) else "listed"
        if (kind, path, is_own) not in self._seen:
            self._add(kind, path, more="/".join(os.listdir(path)), is_own=is_own)

    def _note_run(self, path: str) -> None:
        """A program is about to run. Python reads its own program itself."""
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return
        if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            self._add("setuid", path)
        if not (path.endswith(CODE_SUFFIXES) or os.fsencode(path).startswith(self._passing)):
            self._add("read", path, file_mark(found))

    def _note_question(self, pid: int, path: str) -> None:
        """A child process asks whether something of the project is there. Python lists folders to find modules."""
        looks_for_module = path.endswith(LOOKED_FOR) and self._runs_python(pid)
        if path.startswith(self._root) and not looks_for_module:
            try:
                is_folder = stat.S_ISDIR(os.stat(path).st_mode)
            except OSError:
                self._add("absent", path)
            else:
                self._add("asked", f"{path}/" if is_folder else path)

    def _note_connected(self, pid: int, arguments: Sequence[int], *, is_own: bool) -> None:
        """A socket is about to be connected: with the network, unless it is with a process of the worker."""
        given = self._memory.read(pid, arguments[1], min(arguments[2], 28))
        where = _ADDRESSES.get(int.from_bytes(given[:2], "little"))
        if where is None:
            return
        port, address = given[2:4].hex().upper(), given[where]
        if not address.startswith(_THIS_MACHINE) or self._is_of_others(pid, port):
            self._add("connected", f"{address.hex()}:{port}", is_own=is_own)

    def _is_of_others(self, pid: int, port: str) -> bool:
        """Whether another process than those of the worker listens on this port. /proc/net/tcp: proc_net_tcp(5)."""
        waiting: set[str] = set()
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}") as file:
                rows = [line.split() for line in file][1:]
                waiting |= {
                    f"socket:[{row[9]}]"
                    for row in rows
                    if row[3] == _LISTENS and row[1].endswith(f":{port}")
                }
        if waiting:
            for one in (self._worker, *find_descendants(self._worker)):
                with contextlib.suppress(OSError):
                    for fd in os.listdir(f"/proc/{one}/fd"):
                        with contextlib.suppress(OSError):
                            waiting.discard(os.readlink(f"/proc/{one}/fd/{fd}"))
        return bool(waiting)

    def _runs_python(self, pid: int) -> bool:
        known = self._python.get(pid)
        if known is None:
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            known = self._python[pid] = _PYTHON.match(program) is not None
        return known


class Unreadable(Exception):
    """The memory of a process, as of one that has gained rights."""


class Memory:
    """Reads the memory of other processes. Opens no file, since there may be many processes."""

    def __init__(self) -> None:
        self._bytes = bytearray(_PAGE)
        here = (ctypes.c_char * _PAGE).from_buffer(self._bytes)
        self._here = (ctypes.c_size_t * 2)(ctypes.addressof(here), 0)  # `struct iovec`
        self._there = (ctypes.c_size_t * 2)()
        libc = ctypes.CDLL(None, use_errno=True)
        self._call = libc.process_vm_readv
        self._call.restype = ctypes.c_ssize_t
        self._call.argtypes = [
            ctypes.c_int,
            *(ctypes.c_void_p, ctypes.c_ulong) * 2,
            ctypes.c_ulong,
        ]

    def read_text(self, pid: int, address: int) -> bytes:
        """What stands there up to a null byte. Raises OSError, Unreadable."""
        size = min(_SHORT, _PAGE - address % _PAGE)
        self._read(pid, address, size)
        end = self._bytes.find(0, 0, size)
        if end >= 0:
            return bytes(self._bytes[:end])
        found = bytes(self._bytes[:size])
        while b"\0" not in found[size:] and len(found) < 2 * _PAGE:
            place = address + len(found)
            found += self.read(pid, place, _PAGE - place % _PAGE)
        return found.partition(b"\0")[0]

    def read(self, pid: int, address: int, size: int) -> bytes:
        """So many bytes, at most a page. Raises OSError, Unreadable."""
        self._read(pid, address, size)
        return bytes(self._bytes[:size])

    def _read(self, pid: int, address: int, size: int) -> None:
        self._here[1] = self._there[1] = size
        self._there[0] = address
        if self._call(pid, self._here, 1, self._there, 1, 0) != size:
            if ctypes.get_errno() == errno.EPERM:
                raise Unreadable
            raise OSError


def find_state(path: str, *, follows: bool = True) -> str:
    """The state of a file, as that of a `Use`; "" where there is none."""
    try:
        return file_mark(os.stat(path, follow_symlinks=follows))
    except OSError:
        return ""


def _normalize(path: bytes) -> bytes:
    """Without `.`, `..` and empty parts. Only the file system knows what `..` after a link is."""
    if b"/.." in path:
        end = path.rindex(b"/..") + 3
        path = os.path.realpath(path[:end]) + path[end:] if path[end:][:1] in (b"", b"/") else path
    return b"/" + os.path.normpath(path).lstrip(b"/")


def _resolve_open(path: bytes, pid: int) -> bytes:
    """What a path means that goes by way of a folder or an open file of the process. No other below /proc counts."""
    path = path.replace(b"/dev/fd/", b"/proc/self/fd/", 1)
    path = path.replace(b"/proc/self/", b"/proc/%d/" % pid, 1)
    is_through = any(one in path + b"/" for one in (b"/cwd/", b"/root/", b"/fd/"))
    return os.path.realpath(path) if is_through else path
