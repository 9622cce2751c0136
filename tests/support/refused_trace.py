"""Runs a command below a listener of the kernel, as in some containers: whatever the command starts is refused another.

    python refused_trace.py COMMAND...

The listener asks about `mkdir` alone, and lets each of them go on. It is installed by ctypes, as root or with
`no_new_privs`. It runs by itself, without the package of the tests.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys

_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NEW_LISTENER = 1 << 3
_CONTINUE = 1
#: seccomp, mkdir (mkdirat on AArch64)
_NUMBERS = {"x86_64": (317, 83), "aarch64": (277, 34)}


class _Step(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def install() -> int:
    """Put the filter on this process, and return the listener. Raises OSError; EBUSY where there is one above."""
    seccomp, mkdir = _NUMBERS[platform.machine()]
    steps = (_Step * 4)(
        _Step(0x20, 0, 0, 0), _Step(0x15, 1, 0, mkdir), _Step(0x06, 0, 0, _ALLOW), _Step(0x06, 0, 0, _NOTIFY)
    )  # fmt: skip
    program = _Program(len(steps), steps)
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(seccomp, 1, _NEW_LISTENER, ctypes.byref(program))
    if fd < 0 and ctypes.get_errno() == errno.EACCES:
        libc.prctl(38, 1, 0, 0, 0)
        fd = libc.syscall(seccomp, 1, _NEW_LISTENER, ctypes.byref(program))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def answer_all(listener: int) -> None:
    """Until the last process below has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, event),) = poll.poll()
        if event & select.POLLHUP and not event & select.POLLIN:
            return
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
            (number,) = struct.unpack_from("Q", request)
            fcntl.ioctl(listener, _SEND, struct.pack("QqiI", number, 0, 0, _CONTINUE))
        except OSError:  # the process has died meanwhile
            pass


def main(command: list[str]) -> int:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        listener = install()
        socket.send_fds(theirs, [b"."], [listener])
        os.close(listener)
        os.execvp(command[0], command)
    theirs.close()
    _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # its child gets it too, and decides
    for fd in (0, 1):  # its child alone has the ends of pipes
        os.close(fd)
    answer_all(listener)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
