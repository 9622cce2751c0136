"""The house: each module can be imported alone, and imports point down only."""

from __future__ import annotations

import os
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


def test_the_map_names_every_module() -> None:
    """docs/architecture.md has a row for each module of the package."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {Path(*name.split(".")[1:]) for name in MODULES if not name.endswith("__init__")}
    missing = [
        name
        for name in sorted(modules)
        if f"`{name}.py`" not in text and not any(f"`{one}/`" in text for one in name.parents)
    ]
    assert missing == []
