"""Has the kernel ask about each file that this process and its children use (Linux, seccomp user notification).

Each call of the table waits until the parent has looked at its path and let it go on (`execution/kernel_trace.py`). So
it is certain who opened a file, and what the file was before. The filter stays as long as the process, and children
inherit it. Numbers: <linux/seccomp.h>, <linux/filter.h>, <linux/audit.h>, <asm/unistd.h>.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from collections.abc import Iterable, Iterator

from msgspec import Struct

from discover_orch.worker import child_processes
from discover_orch.worker.protocol import CHANNEL_LOST

NONE = -1  # in place of a number: the machine, or the call, has none


class Call(Struct, frozen=True, gc=False):
    """A call that is asked about: its numbers, and which of its arguments are the descriptor of a folder, a path
    relative to that folder, and flags. `is_question`: it changes and reads nothing."""

    name: str
    x86_64: int
    aarch64: int
    folder: int = NONE
    path: int = NONE
    flags: int = NONE
    is_question: bool = False


CALLS = (
    Call("open", 2, NONE, path=0, flags=1),
    Call("creat", 85, NONE, path=0),
    Call("openat", 257, 56, folder=0, path=1, flags=2),
    Call("openat2", 437, 437, folder=0, path=1, flags=2),  # a pointer to them
    Call("rename", 82, NONE, path=0),
    Call("renameat", 264, 38, folder=0, path=1),
    Call("renameat2", 316, 276, folder=0, path=1, flags=4),
    Call("link", 86, NONE, path=0),
    Call("linkat", 265, 37, folder=0, path=1, flags=4),
    Call("symlink", 88, NONE, path=1),
    Call("symlinkat", 266, 36, folder=1, path=2),
    Call("mkdir", 83, NONE, path=0),
    Call("mkdirat", 258, 34, folder=0, path=1),
    Call("rmdir", 84, NONE, path=0),
    Call("unlink", 87, NONE, path=0),
    Call("unlinkat", 263, 35, folder=0, path=1),
    Call("truncate", 76, 45, path=0),
    Call("getdents", 78, NONE, folder=0),
    Call("getdents64", 217, 61, folder=0),
    Call("execve", 59, 221, path=0),
    Call("execveat", 322, 281, folder=0, path=1),
    Call("connect", 42, 203),
    Call("chdir", 80, 49, path=0),
    Call("chroot", 161, 51),
    Call("mount", 165, 40),
    Call("io_uring_setup", 425, 425),
    Call("open_by_handle_at", 304, 265),
    Call("stat", 4, NONE, path=0, is_question=True),
    Call("lstat", 6, NONE, path=0, is_question=True),
    Call("newfstatat", 262, 79, folder=0, path=1, flags=3, is_question=True),
    Call("statx", 332, 291, folder=0, path=1, flags=2, is_question=True),
    Call("access", 21, NONE, path=0, is_question=True),
    Call("faccessat", 269, 48, folder=0, path=1, is_question=True),
    Call("faccessat2", 439, 439, folder=0, path=1, flags=3, is_question=True),
    Call("readlink", 89, NONE, path=0, is_question=True),
    Call("readlinkat", 267, 78, folder=0, path=1, is_question=True),
)
#: By the name that the machine has for itself: its number in <linux/audit.h>, the field of a `Call`, the number of
#: `seccomp`, and calls that each program makes which runs in the 32-bit mode: `open`, `execve`, `openat`.
_MACHINES = {
    "x86_64": (0xC000003E, "x86_64", 317, (5, 11, 295)),
    "aarch64": (0xC00000B7, "aarch64", 277, (5, 11, 322)),
}
_X32 = 0x40000000  # numbers from here on are of a second table of x86-64, which nearly nothing uses
_EMPTY_PATH = 0x1000  # it asks about an open file
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_NUMBER, _MACHINE, _CALLER, _ARGUMENTS = 0, 4, 8, 16  # places in `struct seccomp_data`
_SET_MODE_FILTER = 1
_SAME_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE of <linux/personality.h>
#: For all threads, as a descriptor that tells; what waits for an answer can only be killed (since Linux 5.19), so that
#: no signal makes it wait again.
_FLAGS, _WAITS_KILLABLE = 1 << 0 | 1 << 3 | 1 << 4, 1 << 5
_SET_NO_NEW_PRIVILEGES = 38  # of <linux/prctl.h>


#: What the worker sends to the parent, and the answers to the first. `ASK` comes with the root of the project and what
#: the paths begin with that never count; `LISTEN` with the descriptor on which the kernel asks, or `NO_FILTER`.
ASK, LISTEN, NO_FILTER, BEGIN, DRAIN = b"A", b"L", b"X", b"B", b"D"
YES, NO = b"Y", b"N"
LENGTH = struct.Struct("I")
#: Requests of `ioctl` on the descriptor on which the kernel asks, what it asks and is answered: that the call goes on.
RECEIVE, SEND = 0xC0502100, 0xC0182101
REQUEST, ANSWER, GOES_ON = struct.Struct("QIIiIQ6Q"), struct.Struct("QqiI"), 1


class CannotTrace(Exception):
    """Why, as the end of a sentence."""


class Traced(Struct, frozen=True, gc=False):
    """What the kernel reported: something was done to the file or folder `path`, or asked about it. `is_own`: by the
    worker itself, not by a child process. `at` is when, in ns, by the monotonic clock.

    - `read`, `missed`, `written` (made or emptied), `appended`, `updated` (opened to change it in place), `removed`.
      `state` is what it was before, as the state of a `Use`; "" where it was not there. `more` is LINK if it is one.
    - `named`, `moved`: it got this name, a file or a folder; `more` is its name before. `linked`: a link was made.
    - `made`, `listed`, `searched` by a child that runs Python: a folder; `more` has the names in it, with `/` between.
    - `code`: a child that runs Python read a Python file.
    - `asked`: it was there; a folder has a slash at the end. `absent`: it was not. `followed`: a link, to `more`.
    - `connected` to an address; `gap`: why there may be more, as the end of a sentence; `setuid`: a program was run
      that has rights of its own.
    """

    kind: str
    path: str
    is_own: bool
    at: int
    state: str = ""
    more: str = ""


_FIELDS = 6
LINK = "link"


def encode_traced(events: Iterable[Traced]) -> bytes:
    """No path has a null character in it, and some are not UTF-8."""
    fields = [
        text
        for one in events
        for text in (one.kind, one.path, "1"[: one.is_own], str(one.at), one.state, one.more)
    ]
    return os.fsencode("\0".join(fields))


def decode_traced(data: bytes) -> Iterator[Traced]:
    fields = os.fsdecode(data).split("\0") if data else []
    for place in range(0, len(fields), _FIELDS):
        kind, path, own, at, state, more = fields[place : place + _FIELDS]
        yield Traced(kind, path, bool(own), int(at), state, more)


class TraceChannel:
    """The worker's end of the talk with the thread of the parent that answers the kernel."""

    def __init__(self, fd: int) -> None:
        self._connection = socket(fileno=os.dup(fd))

    def begin(self, root: str, passing: Iterable[str]) -> bool:
        """Have this process traced from now on; whether programs gain no rights any more. Raises CannotTrace."""
        find_calls()
        text = os.fsencode("\0".join((root, *passing)))
        self._connection.sendall(ASK + LENGTH.pack(len(text)) + text)
        if self._read(1) != YES:
            raise CannotTrace("the process that started it may not look at its memory")
        child_processes.keep_children()
        try:
            fd, has_lost_rights = install_filter()
        except CannotTrace:
            self._connection.sendall(NO_FILTER)
            raise
        self._connection.sendmsg([LISTEN], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", fd))])
        os.close(fd)  # so that no call waits for a parent that is gone: it fails
        return has_lost_rights

    def begin_step(self) -> None:
        """Forget what was reported until now."""
        self._connection.sendall(BEGIN)

    def drain(self) -> Iterator[Traced]:
        """What was reported since then."""
        self._connection.sendall(DRAIN)
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        return decode_traced(self._read(length))

    def _read(self, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            part = self._connection.recv(min(length - len(found), 1 << 20))
            if not part:
                os._exit(CHANNEL_LOST)
            found += part
        return bytes(found)


def find_calls() -> tuple[int, dict[int, Call]]:
    """The number of this machine, and its calls by their numbers. Raises CannotTrace."""
    if sys.platform != "linux":
        raise CannotTrace("only Linux tells it")
    machine = os.uname().machine
    if machine not in _MACHINES or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        raise CannotTrace(f"orch does not know the calls of {machine}")
    number, field, _, _ = _MACHINES[machine]
    return number, {place: one for one in CALLS if (place := getattr(one, field)) != NONE}


def install_filter() -> tuple[int, bool]:
    """Puts the filter on all threads of this process. The descriptor on which the kernel asks, and whether programs
    gain no rights from now on, as `sudo` does. Raises CannotTrace."""
    import ctypes

    machine, calls = find_calls()
    _, _, seccomp, narrow = _MACHINES[os.uname().machine]
    steps = _build_filter(machine, calls, narrow, _find_own_questions())
    code = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    has_lost_rights = False
    flags = _FLAGS | _WAITS_KILLABLE
    while True:
        fd = libc.syscall(seccomp, _SET_MODE_FILTER, flags, ctypes.c_char_p(program))
        error = ctypes.get_errno()
        if fd >= 0:
            return fd, has_lost_rights
        if error == errno.EACCES and not has_lost_rights:  # it has not CAP_SYS_ADMIN
            has_lost_rights = libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
            if has_lost_rights:
                continue
        if error == errno.EINVAL and flags & _WAITS_KILLABLE:
            flags &= ~_WAITS_KILLABLE
            continue
        raise CannotTrace(_find_reason(error))


def _find_reason(error: int) -> str:
    match error:
        case errno.EBUSY:
            return "another program traces it already"
        case errno.EINVAL | errno.ENOSYS:
            return "this Linux is older than 5.7 or has no seccomp"
        case errno.ESRCH:
            return "one of its threads has a filter of its own"
        case _:
            return f"this system does not permit it: {os.strerror(error)}"


def _find_own_questions() -> range:
    """The addresses from which this process asks about files: those of its C library. A program that it starts has its
    own somewhere else; where that is not certain there are none."""
    import ctypes

    address = ctypes.cast(ctypes.CDLL(None).access, ctypes.c_void_p).value or 0
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/randomize_va_space") as file:
            is_random = file.read().strip() != "0"
        with open("/proc/self/personality") as file:
            is_random &= not int(file.read(), 16) & _SAME_ADDRESSES
        program = os.readlink("/proc/self/exe")  # it may have a library in it, and one place
        with open("/proc/self/maps") as file:
            for line in file if is_random else ():
                begin, end = (int(one, 16) for one in line.split(maxsplit=1)[0].split("-"))
                if begin <= address < end and not line.rstrip().endswith(program):
                    return range(begin, end) if begin >> 32 == end >> 32 else range(0)
    return range(0)


def _build_filter(
    machine: int, calls: dict[int, Call], narrow: Iterable[int], own_questions: range
) -> list[bytes]:
    """Of another mode of the machine only some calls are asked about, to know that there is such a program. What comes
    from `own_questions` goes on: Python shows it, and asks all the time while it looks for modules."""
    steps: list[tuple[int, int | str, int | str, int]] = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 0, "narrow", machine),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == _MACHINES["x86_64"][0]:
        steps.append((_AT_LEAST, "notify", 0, _X32))
    begin, end = own_questions.start, own_questions.stop
    for number, call in calls.items():
        if call.is_question and end and not call.name.startswith("readlink"):
            steps += [
                (_EQUAL, 0, 5, number),
                (_LOAD, 0, 0, _CALLER + 4),
                (_EQUAL, 0, 3, begin >> 32),
                (_LOAD, 0, 0, _CALLER),
                (_AT_LEAST, 0, 1, begin & 0xFFFFFFFF),
                (_AT_LEAST, 0, "allow", end & 0xFFFFFFFF),
                (_LOAD, 0, 0, _NUMBER),
            ]
        if call.is_question and call.flags != NONE:
            steps += [
                (_EQUAL, 0, 2, number),
                (_LOAD, 0, 0, _ARGUMENTS + 8 * call.flags),
                (_HAS_BIT, "allow", "notify", _EMPTY_PATH),
            ]
        else:
            steps.append((_EQUAL, "notify", 0, number))
    steps.append((_RETURN, 0, 0, _ALLOW))
    places = {"narrow": len(steps)}
    steps.append((_LOAD, 0, 0, _NUMBER))
    steps += [(_EQUAL, "notify", 0, number) for number in narrow]
    places["allow"] = len(steps)
    steps.append((_RETURN, 0, 0, _ALLOW))
    places["notify"] = len(steps)
    steps.append((_RETURN, 0, 0, _NOTIFY))

    def distance(here: int, to: int | str) -> int:
        return places[to] - here - 1 if isinstance(to, str) else to

    return [
        struct.pack("HBBI", code, distance(here, yes), distance(here, no), value)
        for here, (code, yes, no, value) in enumerate(steps)
    ]
