"""Permissions that hold: root may read everything, so a test about them takes that right away."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

_RIGHTS = "-dac_override,-dac_read_search"


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
