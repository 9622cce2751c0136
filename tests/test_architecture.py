"""The house: each module can be imported alone, and imports point down only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project_builder import clean_environment

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "discover_orch").rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_importable_alone_with_warnings_as_errors(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module.removesuffix('.__init__')}"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_imports_point_down_only() -> None:
    """The import contract of pyproject.toml."""
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [os.fspath(command), "--config", os.fspath(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_map_names_every_package_and_only_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent for path in (ROOT / "discover_orch").glob("*/__init__.py")}
    assert [path.name for path in sorted(packages) if path.name not in text] == []
    named = re.findall(r"`((?!src/)(?:\w+/)+\w+\.py)`", text)
    assert named
    gone = [
        name
        for name in named
        if not any((ROOT / top / name).exists() for top in ("", "discover_orch"))
    ]
    assert gone == []
