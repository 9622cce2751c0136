"""Permissions that hold: root may read everything, so a test about them takes that right away.

On Linux root stays root, since it owns the folders above, and gives up the right alone; elsewhere it becomes
nobody. Run as a program, this does so and then becomes the command behind it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

_READING_RIGHTS = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
_CAPABILITIES_3 = 0x20080522  # version 3 of the kernel's structure: two words of 32 bits each
_PR_CAPBSET_DROP = 24
_NOBODY = 65534


def bound_by_permissions() -> list[str]:
    """The command before a command that permissions must hold for."""
    return [] if os.geteuid() != 0 else [sys.executable, "-I", os.path.abspath(__file__)]


def run_bound(function: Callable[[], str]) -> str:
    """What the function says in a process that permissions hold for; how it raised, if it did."""
    from tests.support.forked import run_forked  # not where this file is run as a program

    def bound() -> str:
        _give_up_reading_rights()
        return function()

    return run_forked(bound)


def _give_up_reading_rights(*, for_good: bool = False) -> None:
    """`for_good`: a program that is started has them no more either."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capget"):
        os.setuid(_NOBODY)
        return
    for right in _READING_RIGHTS if for_good else ():
        _check(libc.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and the upper halves
    _check(libc.capget(header, words))
    for at in range(3):
        for right in _READING_RIGHTS:
            words[at] &= ~(1 << right) & 0xFFFFFFFF
    _check(libc.capset(header, words))


def _check(answer: int) -> None:
    if answer:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    _give_up_reading_rights(for_good=True)
    os.execvp(sys.argv[1], sys.argv[1:])
