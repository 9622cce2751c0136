"""Permissions that hold: root may read everything, so a test about them takes that right away."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import traceback
from collections.abc import Callable

import pytest

_RIGHTS = "-dac_override,-dac_read_search"
_CAPABILITIES_3 = 0x20080522  # version 3 of the kernel's structure: two words of 32 bits each
_READING_RIGHTS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
_NOBODY = 65534


def bound_by_permissions() -> list[str]:
    """The command before a command that permissions must hold for; skips where there is none."""
    if os.geteuid() != 0:
        return []
    command = ["setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}"]
    if (
        shutil.which("setpriv") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("root may read everything here")
    return command


def run_bound(function: Callable[[], str]) -> str:
    """What the function says in a process that permissions hold for; how it raised, if it did."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            try:
                _give_up_reading_rights()
                answer = function()
            except BaseException:
                answer = traceback.format_exc()
            with os.fdopen(send, "w", encoding="utf-8") as pipe:
                pipe.write(answer)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def _give_up_reading_rights() -> None:
    """On Linux root stays root, since it owns the folders above; elsewhere it becomes nobody."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capget"):
        os.setuid(_NOBODY)
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and the upper halves
    if libc.capget(header, words):
        raise OSError(ctypes.get_errno(), "capget")
    for at in range(3):
        words[at] &= ~_READING_RIGHTS & 0xFFFFFFFF
    if libc.capset(header, words):
        raise OSError(ctypes.get_errno(), "capset")
