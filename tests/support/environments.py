"""Environments of Python for a test: with a package that is installed in editable form."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def make_environment_with(package: Path, folder: Path) -> str:
    """A new package, and a command that runs what follows with a Python in which it is installed as editable."""
    (package / "shared").mkdir(parents=True)
    (package / "shared/__init__.py").touch()
    (package / "shared/utils.py").write_text("X = 1\n")
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    info = site / "shared-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shared\nVersion: 1.0\n")
    (info / "RECORD").write_text("shared.pth,,\nshared-1.0.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(
        f'{{"dir_info": {{"editable": true}}, "url": "{package.as_uri()}"}}'
    )
    (site / "shared.pth").write_text(f"{package}\n")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    repository = str(Path(__file__).parents[2])
    (site / "ours.pth").write_text("\n".join([*ours, repository]) + "\n")
    (folder / "bin").mkdir()
    (folder / "pyvenv.cfg").write_text(
        f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n"
        "include-system-site-packages = false\n"
    )
    python = folder / "bin/python"
    python.symlink_to(os.path.realpath(sys.executable))
    start = folder / "bin/start"
    start.write_text(f'#!/bin/sh\nshift\nexec "{python}" "$@"\n')  # in place of the tests' Python
    start.chmod(0o755)
    return str(start)
